"""Authlib's resource server with the table of tokens in a database.

https://docs.authlib.org/en/latest/flask/2/resource-server.html
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence
from typing import Any

import flask
from authlib.integrations.flask_oauth2 import ResourceProtector
from authlib.integrations.sqla_oauth2 import OAuth2TokenMixin
from authlib.oauth2.rfc6750 import BearerTokenValidator
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Column, Integer, String

checked = flask.Flask(__name__)
checked.config["SQLALCHEMY_DATABASE_URI"] = os.environ["PEER_DATABASE"]
db = SQLAlchemy(checked)


class Token(db.Model, OAuth2TokenMixin):  # type: ignore[name-defined,misc]  # it is made at run time
    """One token that was given out."""

    id = Column(Integer, primary_key=True)
    user = Column(String(40))


class _Validator(BearerTokenValidator):
    def authenticate_token(self, token_string: str) -> Any:
        return Token.query.filter_by(access_token=token_string).first()


_protect = ResourceProtector()
_protect.register_token_validator(_Validator())


@checked.get("/")
@_protect("read")
def root() -> str:
    return "ok"


def prepare() -> None:
    with checked.app_context():
        db.create_all()


def issue(count: int) -> list[str]:
    texts = [secrets.token_urlsafe(32) for _ in range(count)]
    now = int(time.time())
    with checked.app_context():
        db.session.add_all(
            Token(
                user="user", client_id="orders", token_type="Bearer", access_token=text, scope="read", issued_at=now,
                expires_in=3600,
            )
            for text in texts
        )  # fmt: skip
        db.session.commit()
    return texts


def revoke(tokens: Sequence[str]) -> None:
    with checked.app_context():
        for text in tokens:
            Token.query.filter_by(access_token=text).one().access_token_revoked_at = int(time.time())
        db.session.commit()
