"""Flask-JWT-Extended with its blocklist in Redis.

https://flask-jwt-extended.readthedocs.io/en/stable/blocklist_and_token_revoking.html ("Redis")
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import flask
import flask_jwt_extended
import redis

LIFETIME = timedelta(hours=1)

_blocklist = redis.StrictRedis.from_url(os.environ["PEER_REDIS"], decode_responses=True)


def _app() -> flask.Flask:
    app = flask.Flask(__name__)
    app.config["JWT_SECRET_KEY"] = "the secret of the benchmark is long enough for HS256"
    app.config["JWT_ACCESS_TOKEN_EXPIRES"] = LIFETIME
    manager = flask_jwt_extended.JWTManager(app)

    @manager.token_in_blocklist_loader
    def is_blocked(header: dict[str, Any], payload: dict[str, Any]) -> bool:
        return _blocklist.get(payload["jti"]) is not None

    @app.get("/")
    @flask_jwt_extended.jwt_required()
    def root() -> str:
        return "ok"

    return app


checked = _app()


def prepare() -> None:
    """Nothing: Redis needs no tables."""


def issue(count: int) -> list[str]:
    with checked.app_context():
        scopes = {"scope": " ".join(f"orders:read:{region}" for region in range(16))}
        return [
            flask_jwt_extended.create_access_token(f"user-{number}", additional_claims=scopes)
            for number in range(count)
        ]


def revoke(tokens: Sequence[str]) -> None:
    with checked.app_context():
        for text in tokens:
            _blocklist.set(flask_jwt_extended.decode_token(text)["jti"], "", ex=LIFETIME)
