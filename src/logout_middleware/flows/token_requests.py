"""Tokens in the body of a request to the application, on the paths of LOGOUT_TOKEN_REQUESTS.

The body is read the way a lenient application might, whatever its content type says, so that a revoked
refresh token is found where the application would find it. What is in it is never changed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import parse_qsl

from ..errors import Refused
from ..rules.credentials import Credential
from ..rules.http import MAX_BODY, Request, parse_form, parse_json_object


async def tokens_in_body(request: Request, fields: Collection[str]) -> list[Credential]:
    """The tokens in these fields. A body that hides what is in it, or names a field twice, is `Refused`."""
    body = await request.read_body(MAX_BODY)
    if not body:
        return []
    kinds = request.header_lines("content-type")
    kind = (kinds[0] if kinds else "").partition(";")[0].strip().lower()
    encoded = request.header("content-encoding") not in (None, "", "identity")
    if len(kinds) > 1 or kind.startswith("multipart/") or encoded:
        raise Refused(415, "unsupported_media_type", "send the token as JSON or as a form, not encoded further")
    members = _as_json(body, must_be=kind == "application/json" or kind.endswith("+json"))
    # Only the application knows how it reads a body; `{"a":"&token=...&"}` is JSON and a form at once.
    pairs = list(members.items()) if members is not None else []
    pairs += _as_form(body, strict=members is None)
    return [Credential("body", name, text) for name, text in pairs if name in fields and isinstance(text, str) and text]


def _as_json(body: bytes, *, must_be: bool) -> Mapping[str, Any] | None:
    try:
        return parse_json_object(body)
    except Refused as refused:
        if must_be or refused.code == "repeated_member":
            raise
        return None


def _as_form(body: bytes, *, strict: bool) -> list[tuple[str, Any]]:
    """Bytes that are not UTF-8 are read as latin-1, as Starlette and Django do."""
    text = body.decode("latin-1")
    if strict:
        return list(parse_form(text).items())
    try:
        return list(parse_qsl(text, errors="replace", max_num_fields=1000))
    except ValueError:
        raise Refused(400, "invalid_request", "the body can be read in two ways") from None
