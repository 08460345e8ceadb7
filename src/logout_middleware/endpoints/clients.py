"""Which registered application is calling: HTTP Basic, or `client_id` and `client_secret` in the form (RFC 6749 2.3.1).

Clients and their secrets are those of LOGOUT_CLIENTS. Whatever is wrong is one answer, 401 `invalid_client`: nobody
learns which clients there are. Whoever guesses must wait, and is in the audit log.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping, Sequence
from urllib.parse import unquote_plus

from ..errors import Refused
from ..rules.http import Request
from ..values import Client
from .service import Service

AUTH_METHODS = ("client_secret_basic", "client_secret_post")
"""By their names in metadata (RFC 8414 2)."""
_CHALLENGE = ("WWW-Authenticate", 'Basic realm="logout", charset="UTF-8"')
_NOBODY = Client()


async def authenticated(service: Service, request: Request, form: Mapping[str, str] | None = None) -> str:
    """The id of the client that this request proves to be from; `Refused` 400, 401 or 429 if there is none."""
    service.demand_https(request)
    await service.demand_patience(request, service.wrong_secrets, "secrets")
    readings = _readings(request.header_lines("authorization"), form or {})
    proven = {name for name, secret in readings if _is_client(service.settings.clients, name, secret)}
    if len(proven) == 1:
        return proven.pop()
    if readings:
        # Without any secret nobody has guessed.
        service.wrong_secrets.count(request.client)
    detail = "a wrong secret, or no such client" if readings else "no readable client authentication"
    await service.audit(request, kind="client_refused", detail=detail)
    raise Refused(401, "invalid_client", "the client cannot be authenticated", (_CHALLENGE,))


def _is_client(clients: Mapping[str, Client], name: str, secret: str) -> bool:
    """Compares a secret for an unknown client, too, so that it takes as long."""
    return clients.get(name, _NOBODY).is_secret(secret)


def _readings(authorization: Sequence[str], form: Mapping[str, str]) -> list[tuple[str, str]]:
    """What the request may mean as id and secret: one reading as a rule, none if there is nothing to read."""
    named, secret = form.get("client_id"), form.get("client_secret")
    if not authorization:
        return [(named, secret)] if named is not None and secret is not None else []
    readings = _basic(authorization[0]) if len(authorization) == 1 else []
    if secret is not None:
        raise Refused(400, "invalid_request", "two client authentications; send one")
    if named is not None and readings and all(name != named for name, _ in readings):
        raise Refused(400, "invalid_request", "client_id names another client than Authorization")
    return readings


def _basic(field: str) -> list[tuple[str, str]]:
    """Id and secret of a Basic field, decoded as forms are, and as they stand: many clients forget to encode them.

    Where the two mean different clients and both are right, nobody knows who it is, and it is nobody.
    """
    scheme, _, rest = field.partition(" ")
    if scheme.lower() != "basic":
        return []
    try:
        text = b64decode(rest.strip(" "), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return []
    name, colon, secret = text.partition(":")
    if not colon:
        return []
    readings = [(name, secret)]
    try:
        decoded = (unquote_plus(name, errors="strict"), unquote_plus(secret, errors="strict"))
    except UnicodeDecodeError:
        return readings
    return readings if decoded in readings else [decoded, *readings]
