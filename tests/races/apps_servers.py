"""Applications that keep the session on the server, and Django, which does either."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import flask

from logout_middleware.testing import MovableClock

from .apps_cookies import flask_pages
from .sites import SECRET, Application, Pause, count_up, in_place, visit

DJANGO_USER = "_auth_user_id"


def flask_session(pause: Pause, clock: MovableClock) -> Any:
    """Flask-Session on cachelib; a refresh gives the session another id."""
    from cachelib import SimpleCache
    from flask_session import Session

    app = flask.Flask("races")
    app.config.update(
        SECRET_KEY=SECRET, SESSION_TYPE="cachelib", PERMANENT_SESSION_LIFETIME=timedelta(days=14),
        SESSION_CACHELIB=SimpleCache(threshold=1_000_000, default_timeout=0),
    )  # fmt: skip
    Session(app)
    interface: Any = app.session_interface

    def rotate(session: Any) -> None:
        count_up(session)
        interface.regenerate(session)

    return flask_pages(app, pause, rotate).wsgi_app


def django(engine: str, shell: str, pause: Pause, clock: MovableClock) -> Any:
    """Django with sessions of this engine; a refresh gives the session another id, as a change of password does.

    Django has one set of settings in a process, so a process has one such application.
    """
    import django as package
    from django.conf import settings
    from django.contrib.auth import logout as log_out
    from django.core.handlers.asgi import ASGIHandler, ASGIRequest
    from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
    from django.db import connection
    from django.http import HttpRequest, JsonResponse
    from django.urls import path

    settings.configure(
        ALLOWED_HOSTS=["*"], SECRET_KEY=SECRET, USE_TZ=True,
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"],
        MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"], ROOT_URLCONF=(),
        SESSION_ENGINE=f"django.contrib.sessions.backends.{engine}",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "file:races?mode=memory&cache=shared",
                               "OPTIONS": {"uri": True}}},
        CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache",
                            "OPTIONS": {"MAX_ENTRIES": 1_000_000}}},
    )  # fmt: skip
    package.setup()
    from django.contrib.sessions.models import Session

    with connection.schema_editor() as editor:
        editor.create_model(Session)

    def login(request: HttpRequest) -> JsonResponse:
        request.session.cycle_key()
        request.session[DJANGO_USER] = request.GET["user"]
        return JsonResponse({})

    def logout(request: HttpRequest) -> JsonResponse:
        log_out(request)
        return JsonResponse({})

    def page(request: HttpRequest, change: Any) -> JsonResponse:
        return JsonResponse(in_place(visit(pause, _Renamed(request.session), change)))

    async def async_page(request: HttpRequest, change: Any) -> JsonResponse:
        return JsonResponse(await visit(pause, _Renamed(request.session), change))

    def rotate(session: Any) -> None:
        session.inner.cycle_key()

    def me(request: HttpRequest) -> JsonResponse:
        return JsonResponse({"user": request.session.get(DJANGO_USER)})

    view = page if shell == "wsgi" else async_page
    routes = (
        path("login", login), path("logout", logout), path("me", me), path("read", partial(view, change=None)),
        path("write", partial(view, change=count_up)), path("refresh", partial(view, change=rotate)),
    )  # fmt: skip
    handler = WSGIHandler() if shell == "wsgi" else ASGIHandler()
    base = WSGIRequest if shell == "wsgi" else ASGIRequest
    handler.request_class = type("RoutedRequest", (base,), {"urlconf": routes})
    return handler


class _Renamed:
    """A session of Django's under the name of the user that the other applications use."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def get(self, name: str, default: Any = None) -> Any:
        return self.inner.get(DJANGO_USER if name == "user_id" else name, default)

    def __setitem__(self, name: str, value: Any) -> None:
        self.inner[name] = value


FLASK_SESSION = Application(
    "flask-session", "wsgi", flask_session, "session", {"cookies": "session:opaque"}, names_users=False
)
_SIGNED = {"cookies": "sessionid:django", "cookie_secret": SECRET}
_STORED = {"cookies": "sessionid:opaque"}
DJANGO_SIGNED = Application("django-signed", "wsgi", partial(django, "signed_cookies", "wsgi"), "sessionid", _SIGNED)
DJANGO_ASGI = Application("django-asgi", "asgi", partial(django, "signed_cookies", "asgi"), "sessionid", _SIGNED)
DJANGO_DB = Application("django-db", "wsgi", partial(django, "db", "wsgi"), "sessionid", _STORED, names_users=False)
DJANGO_CACHE = Application(
    "django-cache", "wsgi", partial(django, "cache", "wsgi"), "sessionid", _STORED, names_users=False
)
