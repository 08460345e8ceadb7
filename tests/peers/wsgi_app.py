"""The same as `app`, in Flask and for a WSGI server."""

from __future__ import annotations

import os
import time

from logout_middleware.wsgi import LogoutMiddleware
from tests.apps import JWT_KEY, Application, Issuer, flask_app

# Every worker mints tokens, and so does the test; no two of them are to have one name.
issuer = Issuer(time.time, os.environ.get("LOGOUT_JWT_KEY", JWT_KEY), first=os.getpid() * 1_000_000)
app = flask_app(Application(issuer))
app.wsgi_app = LogoutMiddleware(app.wsgi_app)  # type: ignore[method-assign]  # as Flask recommends
