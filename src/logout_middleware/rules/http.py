"""What flows see of HTTP: a request that is parsed only when asked, and a response that is a value.

The shells build `Request` from their server's shapes; nothing here knows ASGI or WSGI.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl

from ..errors import Refused
from .identity import Identity

MAX_BODY = 64 * 1024
"""The largest body that our endpoints read, in bytes."""
MAX_FIELDS = 100

NO_STORE = ("Cache-Control", "no-store")


@dataclass(slots=True)
class Request:
    """One request. Header names are lower-case, texts latin-1; `path` is below the application's root."""

    method: str
    path: str
    query_string: str
    headers: list[tuple[str, str]]
    scheme: str
    client: str | None
    read_body: Callable[[int], Awaitable[bytes]]

    def header(self, name: str) -> str | None:
        """The value of a header that occurs once; None if it is absent, repeated values joined by commas."""
        values = self.header_lines(name)
        return ", ".join(values) if values else None

    def header_lines(self, name: str) -> list[str]:
        """All values of a header, in order."""
        return [value for key, value in self.headers if key == name]

    def single_headers(self) -> dict[str, str]:
        """All headers by name, repeated ones joined by commas."""
        found: dict[str, list[str]] = {}
        for name, value in self.headers:
            found.setdefault(name, []).append(value)
        return {name: ", ".join(values) for name, values in found.items()}

    def query(self) -> dict[str, str]:
        """The query parameters; a repeated one, bad UTF-8 or too many are the client's mistake (400)."""
        return parse_form(self.query_string)

    async def fields(self) -> Mapping[str, Any]:
        """The members of a JSON object or a form; empty for an empty body. Any defect is `Refused`, 400 to 415."""
        body = await self.read_body(MAX_BODY)
        if not body:
            return {}
        kind = self._kind()
        if kind == "application/json":
            return parse_json_object(body)
        if kind == "application/x-www-form-urlencoded":
            return parse_form(_ascii(body))
        raise Refused(415, "unsupported_media_type", "send application/json or application/x-www-form-urlencoded")

    async def form(self) -> dict[str, str]:
        """The parameters of a form, as the endpoints of OAuth and OpenID take them. Any defect is `Refused`."""
        if self._kind() != "application/x-www-form-urlencoded":
            raise Refused(415, "invalid_request", "send application/x-www-form-urlencoded")
        return parse_form(_ascii(await self.read_body(MAX_BODY)))

    async def json_object(self) -> Mapping[str, Any]:
        """The members of a JSON object, for endpoints that take nothing else. Any defect is `Refused`."""
        if self._kind() != "application/json":
            raise Refused(415, "unsupported_media_type", "send application/json")
        return parse_json_object(await self.read_body(MAX_BODY))

    def _kind(self) -> str:
        return (self.header("content-type") or "").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer. Header order is kept; `body` is complete."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def with_headers(self, headers: Iterable[tuple[str, str]]) -> Response:
        """The same answer with more headers behind its own."""
        return replace(self, headers=(*self.headers, *headers))


@dataclass(frozen=True, slots=True)
class EventStream(Response):
    """What tells a browser of the end of these logins, from a shell that holds connections open.

    For any other shell it is the whole answer that it also is.
    """

    identities: tuple[Identity, ...] = ()


def json_response(status: int, value: Mapping[str, Any], headers: Iterable[tuple[str, str]] = ()) -> Response:
    """A JSON answer that no cache keeps."""
    body = json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"  # else a shell's prompt sticks to it
    return Response(status, (("Content-Type", "application/json"), NO_STORE, *headers), body)


def parse_json_object(body: bytes) -> Mapping[str, Any]:
    """A JSON object in UTF-8 without repeated members, or `Refused` 400."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            raise Refused(400, "repeated_member", "the JSON body names a member twice")
        return members

    try:
        value = json.loads(body, object_pairs_hook=unique)
    except (ValueError, RecursionError):
        raise Refused(400, "invalid_request", "the body is not JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise Refused(400, "invalid_request", "the body is not a JSON object")
    return value


def parse_form(text: str) -> dict[str, str]:
    """Form or query parameters, each at most once (RFC 6749 3.1), or `Refused` 400."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise Refused(400, "invalid_request", "the parameters are not UTF-8, or there are too many") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Refused(400, "invalid_request", "a parameter is repeated")
    return fields


def _ascii(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(400, "invalid_request", "the body is not UTF-8") from None


def quoted(text: str) -> str:
    """A quoted-string for WWW-Authenticate; characters RFC 6750 3 does not allow become spaces."""
    return '"' + "".join(c if " " <= c <= "~" and c not in '"\\' else " " for c in text) + '"'
