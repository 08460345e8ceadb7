"""A Flask application with a login form, a page and a JSON API; logging out is the line at the end.

What it must do itself: check passwords, keep the user in the session, sign tokens and verify them. Ending all
of that again is LogoutMiddleware and the LOGOUT_* variables of `settings.env`. Start it with `make demo-flask`.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from typing import Any

import jwt
from flask import Flask, abort, redirect, render_template, request, session
from flask.typing import ResponseReturnValue
from werkzeug.security import check_password_hash

from logout_middleware.wsgi import LogoutMiddleware

# The application signs with the variables that the middleware verifies with, so the two cannot differ.
JWT_KEY = os.environ["LOGOUT_JWT_KEY"]
SESSION_SECRET = os.environ["LOGOUT_COOKIE_SECRET"]
ACCESS_SECONDS = 15 * 60
REFRESH_SECONDS = 30 * 24 * 3600
NO_STORE = {"Cache-Control": "no-store"}
# The page and the browser kit need no inline script or style, so nobody else's can run either.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; img-src 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
# Not stored, so that the back button shows nothing after logging out.
OF_PAGES = NO_STORE | {"Content-Security-Policy": POLICY}

# As werkzeug.security.generate_password_hash made them. The passwords are correct-horse and battery-staple.
USERS = {
    "ann": "scrypt:32768:8:1$DgNHydN46W3X8Biz$ec10932783c42d05e0d6060b56f07a5328a043ecc33d3a9641d5ee50fb963c19"
    "2e18a5346df08850d469e9142d6585e0ae4c988e7d21a568eeeb8807c8880248",
    "ben": "scrypt:32768:8:1$vP4YI2BcSad8wR4C$efbc6a56c422bfbb9cab3babacbb4209af39a526352b250f329018ebed8a42c9"
    "0f09384070fac7c4432161f68d58d5870945ea9455e01e3c92b264101a490e1f",
}
NOBODY = "scrypt:32768:8:1$nobody$"

logging.basicConfig(level=logging.INFO)  # shows the audit log, one JSON line for each logout
app = Flask(__name__, static_folder="../static", template_folder="../templates")
app.config.update(SECRET_KEY=SESSION_SECRET, SESSION_COOKIE_SAMESITE="Lax")


def password_matches(username: str, password: str) -> bool:
    """Is this the user's password? An unknown name takes as long as a wrong password."""
    try:
        return check_password_hash(USERS.get(username, NOBODY), password)
    except UnicodeError:
        return False


# ---- pages: the user is in a signed session cookie -----------------------------------------------------


@app.get("/")
def home() -> ResponseReturnValue:
    """Greet who is logged in; everybody else logs in first."""
    user = session.get("user_id")
    if user is None:
        return redirect("/login", 303)
    return render_template("page.html", user=user), OF_PAGES


@app.get("/login")
def login_form() -> ResponseReturnValue:
    """Ask for name and password."""
    return render_template("page.html"), OF_PAGES


@app.post("/login")
def login() -> ResponseReturnValue:
    """Start a session, or show the form again."""
    username, password = request.form.get("username", ""), request.form.get("password", "")
    if not password_matches(username, password):
        page = render_template("page.html", error="Name or password is wrong.", username=username)
        return page, 401, OF_PAGES
    session.clear()  # a login is a new session, whatever the browser had before
    session["user_id"] = username
    return redirect("/", 303)


# ---- API: the user is in signed tokens -----------------------------------------------------------------


def signed_token(use: str, user: str, sid: str, seconds: int) -> str:
    """A JWT. All tokens of one login share its `sid`; the fraction of `iat` tells logins of one second apart."""
    now = time.time()
    claims = {"use": use, "sub": user, "sid": sid, "jti": secrets.token_urlsafe(16), "iat": now, "exp": now + seconds}
    return jwt.encode(claims, JWT_KEY, algorithm="HS256")


def verified_claims(use: str, token: Any) -> dict[str, Any] | None:
    """The claims of a token that we signed for this use, or None."""
    try:
        claims = jwt.decode(token, JWT_KEY, algorithms=["HS256"], options={"require": ["sub", "sid", "exp"]})
    except (jwt.InvalidTokenError, UnicodeError):
        return None
    return claims if claims.get("use") == use else None


def json_body() -> dict[str, Any]:
    """The body as a JSON object; 400 for anything else."""
    body = request.get_json()
    if not isinstance(body, dict):
        abort(400, "Send a JSON object.")
    return body


@app.post("/api/login")
def api_login() -> ResponseReturnValue:
    """Name and password for an access and a refresh token."""
    body = json_body()
    username = str(body.get("username", ""))
    if not password_matches(username, str(body.get("password", ""))):
        return {"error": "invalid_credentials"}, 401
    sid = secrets.token_urlsafe(16)
    tokens = {
        "access_token": signed_token("access", username, sid, ACCESS_SECONDS),
        "refresh_token": signed_token("refresh", username, sid, REFRESH_SECONDS),
        "token_type": "Bearer",
        "expires_in": ACCESS_SECONDS,
    }
    return tokens, NO_STORE


@app.post("/api/refresh")
def api_refresh() -> ResponseReturnValue:
    """A refresh token for a new access token of the same session."""
    claims = verified_claims("refresh", json_body().get("refresh_token"))
    if claims is None:
        return {"error": "invalid_grant"}, 401
    token = signed_token("access", claims["sub"], claims["sid"], ACCESS_SECONDS)
    return {"access_token": token, "token_type": "Bearer", "expires_in": ACCESS_SECONDS}, NO_STORE


@app.get("/api/me")
def api_me() -> ResponseReturnValue:
    """Who the access token is for."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    claims = verified_claims("access", token) if scheme.lower() == "bearer" else None
    if claims is None:
        return {"error": "invalid_token"}, 401, {"WWW-Authenticate": "Bearer"}
    return {"user": claims["sub"]}


app.wsgi_app = LogoutMiddleware(app.wsgi_app)  # type: ignore[method-assign]
