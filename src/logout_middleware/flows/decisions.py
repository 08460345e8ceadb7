"""What the guard decides about a request."""

from __future__ import annotations

from dataclasses import dataclass

from ..rules.http import Response, json_response
from ..rules.identity import Identity

RETRY_AFTER = 1
"""Seconds that a client is told to wait when the store could not answer."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with a request. With `refusal` None it passes, after `strip` and `drop_authorization`.

    `strip`: guarded cookies to take out. `delete`: those of them whose deletion the answer carries.
    `identity`: whom to tell the application about; None if nothing guarded is left. `identities`: all that is left.
    """

    identity: Identity | None = None
    refusal: Response | None = None
    strip: tuple[str, ...] = ()
    delete: tuple[str, ...] = ()
    drop_authorization: bool = False
    identities: tuple[Identity, ...] = ()


PASS = Decision()


def unavailable() -> Response:
    """503: whether the credential is revoked cannot be known right now (RFC 9110 15.6.4)."""
    return json_response(
        503,
        {"error": "temporarily_unavailable", "error_description": "The login state cannot be checked right now"},
        (("Retry-After", str(RETRY_AFTER)),),
    )
