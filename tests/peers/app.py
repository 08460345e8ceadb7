"""The application of the tests behind the middleware, for a real server; all settings are LOGOUT_* variables."""

from __future__ import annotations

import os
import time

from logout_middleware.asgi import LogoutMiddleware
from tests.apps import Application, Issuer, starlette_app

app = LogoutMiddleware(starlette_app(Application(Issuer(time.time, os.environ["LOGOUT_JWT_KEY"]))))
