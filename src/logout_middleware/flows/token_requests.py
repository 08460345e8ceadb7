"""Tokens in the body of a request to the application, on the paths of LOGOUT_TOKEN_REQUESTS.

The body is read the way a lenient application might, whatever its content type says, so that a revoked
refresh token is found where the application would find it. What is in it is never changed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..errors import Refused
from ..rules.credentials import Credential
from ..rules.http import MAX_BODY, Request, parse_form, parse_json_object


async def tokens_in_body(request: Request, fields: Collection[str]) -> list[Credential]:
    """The tokens in these fields. A body that hides what is in it, or names a field twice, is `Refused`."""
    body = await request.read_body(MAX_BODY)
    if not body:
        return []
    kind = (request.header("content-type") or "").partition(";")[0].strip().lower()
    if kind.startswith("multipart/") or request.header("content-encoding") not in (None, "", "identity"):
        raise Refused(415, "unsupported_media_type", "send the token as JSON or as a form, not encoded further")
    members = _members(body)
    return [
        Credential("body", name, members[name])
        for name in sorted(fields)
        if isinstance(members.get(name), str) and members[name]
    ]


def _members(body: bytes) -> Mapping[str, Any]:
    """The body's members as JSON, in any encoding that `json.loads` would detect, else as a form, else none."""
    try:
        return parse_json_object(body)
    except Refused as refused:
        if refused.code == "repeated_member":
            raise
    try:
        return parse_form(body.decode("utf-8"))
    except UnicodeDecodeError:
        return {}
