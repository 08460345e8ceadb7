"""Simple JWT for Django REST framework, with sliding tokens and its blacklist app.

https://django-rest-framework-simplejwt.readthedocs.io/en/stable/blacklist_app.html and …/token_types.html. Sliding
tokens, because they are the only ones whose blacklist is asked with each request: an access token lives on.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import django
from django.conf import settings
from sqlalchemy.engine import make_url

_url = make_url(os.environ.get("PEER_DATABASE") or "sqlite:///:memory:")
_ENGINES = {"sqlite": "django.db.backends.sqlite3", "postgresql": "django.db.backends.postgresql"}

settings.configure(
    SECRET_KEY="the secret of the benchmark is long enough for HS256",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    MIDDLEWARE=[],
    INSTALLED_APPS=[
        "django.contrib.contenttypes", "django.contrib.auth", "rest_framework",
        "rest_framework_simplejwt.token_blacklist",
    ],
    DATABASES={
        "default": {
            "ENGINE": _ENGINES[_url.get_backend_name()], "NAME": _url.database or "", "USER": _url.username or "",
            "HOST": _url.host or "", "PORT": str(_url.port or ""), "CONN_MAX_AGE": 60,
        }
    },
    SIMPLE_JWT={
        "AUTH_TOKEN_CLASSES": ["rest_framework_simplejwt.tokens.SlidingToken"],
        "SLIDING_TOKEN_LIFETIME": timedelta(hours=1),
    },
)  # fmt: skip
django.setup()

from django.contrib.auth import get_user_model  # noqa: E402 - Django must be set up first
from django.core.handlers.wsgi import WSGIHandler  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework.permissions import IsAuthenticated  # noqa: E402
from rest_framework.renderers import JSONRenderer  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402
from rest_framework_simplejwt.authentication import JWTAuthentication  # noqa: E402
from rest_framework_simplejwt.tokens import SlidingToken  # noqa: E402


class _Open(APIView):
    renderer_classes = (JSONRenderer,)
    authentication_classes: tuple[Any, ...] = ()
    permission_classes: tuple[Any, ...] = ()

    def get(self, request: Any) -> Response:
        return Response("ok")


class _Protected(_Open):
    authentication_classes = (JWTAuthentication,)
    permission_classes = (IsAuthenticated,)


# One process serves one of the two, which differ in the view alone: with a database it is the protected one.
_view = _Protected if os.environ.get("PEER_DATABASE") else _Open
urlpatterns = [path("", _view.as_view())]
bare = checked = WSGIHandler()


def prepare() -> None:
    """Make the tables and a few users."""
    call_command("migrate", verbosity=0)
    for number in range(10):
        get_user_model().objects.create(username=f"user-{number}")


def issue(count: int) -> list[str]:
    users = list(get_user_model().objects.all())
    return [str(SlidingToken.for_user(users[number % len(users)])) for number in range(count)]


def revoke(tokens: Sequence[str]) -> None:
    for text in tokens:
        SlidingToken(text).blacklist()
