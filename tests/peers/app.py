"""The application of the tests behind the middleware, for a real server; all settings are LOGOUT_* variables."""

from __future__ import annotations

import os
import time

from logout_middleware.asgi import LogoutMiddleware
from tests.apps import JWT_KEY, Application, Issuer, starlette_app

# Every worker mints tokens, and so does the test; no two of them are to have one name.
issuer = Issuer(time.time, os.environ.get("LOGOUT_JWT_KEY", JWT_KEY), first=os.getpid() * 1_000_000)
app = LogoutMiddleware(starlette_app(Application(issuer)))
