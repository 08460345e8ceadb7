"""Which credentials a request carries, or that it can be read in two ways.

The application behind us reads the same headers with a parser of its own. Whatever two parsers could read
differently is `Ambiguous` and refused, never guessed (identity.md section 8, rules 2 and 4; measured
against Starlette, Flask, Django, Litestar, Quart, Falcon, Bottle and WebOb). Header text is latin-1:
one character is one byte. WSGI servers join repeated fields with commas, which these rules refuse by themselves.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl, unquote

from ..errors import Refused

MAX_CREDENTIAL = 16 * 1024
"""A longer token or cookie is refused before anything is hashed or decoded (bytes)."""

_TCHAR = r"!#$%&'*+\-.^_`|~0-9A-Za-z"
_ONE_CREDENTIAL = re.compile(rf"([{_TCHAR}]+)(?: +([A-Za-z0-9\-._~+/]+=*))?[ \t]*\Z")
# The words that some framework takes for the start of a token: flask-jwt-extended finds `Bearer` anywhere.
_GUARDED_WORD = re.compile(rf"(?:^|[^{_TCHAR}\"'<])(?:bearer|dpop|token|jwt)(?![{_TCHAR}])", re.IGNORECASE)
_GUARDED_SCHEMES = {"bearer": "bearer", "dpop": "dpop", "token": "bearer", "jwt": "bearer"}
_MENTION = rf"(?<![{_TCHAR}]){{name}}[\x00-\x20\x7f-\xff]*="
_OCTETS = r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*"
_COOKIE_VALUE = re.compile(rf'(?:({_OCTETS})|"({_OCTETS})")\Z')


@dataclass(frozen=True, slots=True)
class Credential:
    """What arrived: `source` is bearer, dpop, cookie, body, query or subprotocol; `name` a cookie's or field's."""

    source: str
    name: str
    text: str

    def __repr__(self) -> str:
        return f"Credential(source={self.source!r}, name={self.name!r}, text=<{len(self.text)} characters>)"


def required_token(token: object) -> str:
    """The token that a caller gave, or `Refused` 400 if that is none."""
    if not isinstance(token, str) or not token:
        raise Refused(400, "invalid_request", "token must be a text that is not empty")
    return token


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """A guarded credential that two parsers may read differently; `why` is safe to tell the client."""

    source: str
    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A credential that came in one piece but is not a well-formed token, so that no verifier should accept it."""

    source: str
    name: str
    why: str


def read_authorization(lines: Sequence[str]) -> Credential | Ambiguous | None:
    """The one token of the Authorization fields (RFC 6750 2.1, RFC 9449 7.1), or None if none is guarded.

    Basic, Digest and other schemes pass untouched; so does a guarded scheme with nothing behind it.
    """
    if len(lines) == 1:
        line = lines[0]
        match = _ONE_CREDENTIAL.match(line)
        if match:
            source = _GUARDED_SCHEMES.get(match[1].lower())
            if source is None or match[2] is None:
                return None
            if len(match[2]) > MAX_CREDENTIAL:
                return Ambiguous(source, "", f"a token must not exceed {MAX_CREDENTIAL} bytes")
            return Credential(source, "", match[2])
    if not any(_GUARDED_WORD.search(line) for line in lines):
        return None
    if len(lines) > 1:
        return Ambiguous("bearer", "", "the request has more than one Authorization field")
    return Ambiguous("bearer", "", "the Authorization field must be one scheme, a space and one token")


@lru_cache(maxsize=256)
def _cookie_mention(name: str) -> re.Pattern[str]:
    """Where any parser we know could start reading a cookie of this name."""
    return re.compile(_MENTION.format(name=re.escape(name)))


@lru_cache(maxsize=256)
def _pairs_with_mention(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|;)[^;]*?{_MENTION.format(name=re.escape(name))}[^;]*")


@lru_cache(maxsize=256)
def _cookie_pair(name: str) -> re.Pattern[str]:
    """Where every parser agrees that a cookie of this name is, and its value."""
    return re.compile(rf"(?:^|;)[ \t]*{re.escape(name)}=([^;]*)")


def read_cookie(lines: Sequence[str], name: str) -> Credential | Ambiguous | None:
    """The guarded cookie of this name over all Cookie fields (RFC 6265bis 4.2), or None if it is not there.

    It must occur once, as name=octets or name="octets", without escapes. An empty value is no credential.
    """
    mention = _cookie_mention(name)
    mentions = sum(len(mention.findall(line)) for line in lines if name in line)
    if mentions == 0:
        return None
    found = [value.rstrip(" \t") for line in lines for value in _cookie_pair(name).findall(line)]
    if mentions != 1 or len(found) != 1:
        return Ambiguous("cookie", name, f"the cookie {name!r} can be read in more than one way")
    match = _COOKIE_VALUE.match(found[0])
    if match is None:
        return Ambiguous("cookie", name, f"the cookie {name!r} has characters that parsers read differently")
    text: str = match[1] if match[1] is not None else match[2]
    if len(text) > MAX_CREDENTIAL:
        return Ambiguous("cookie", name, f"the cookie {name!r} exceeds {MAX_CREDENTIAL} bytes")
    if "%" in text and not _is_plain(unquote(text, "latin-1")):
        return Ambiguous("cookie", name, f"the cookie {name!r} hides characters behind percent signs")
    return Credential("cookie", name, text) if text else None


_PIECE = re.compile(r"(\.|__?|C)([0-9]{1,9})")
_ANNOUNCED = re.compile(r"chunks-[0-9]+")
_MOST_PIECES = 50


def _is_plain(text: str) -> bool:
    return all("\x21" <= character <= "\x7e" for character in text)


def read_pieces(lines: Sequence[str], name: str) -> Credential | Ambiguous | None:
    """The guarded cookie of this name that was cut into pieces because it is long, put together; None if there is none.

    `session.0`, `session_0` or `session__0` and on, or what `session=chunks-2` announces as `sessionC1` and on. What
    could be put together in another way is ambiguous. `session_1` alone is a cookie of somebody else.
    """
    whole = read_cookie(lines, name)
    announced = isinstance(whole, Credential) and _ANNOUNCED.fullmatch(whole.text)
    if whole is not None and not announced:
        return whole
    by_mark: dict[str, list[str]] = {}
    for piece in pieces_of(lines, name):
        match = _PIECE.fullmatch(piece, len(name))
        if match is not None and (match[1] == "C") == bool(announced):
            by_mark.setdefault(match[1], []).append(match[2])
    for mark, numbers in sorted(by_mark.items()):
        first = 1 if mark == "C" else 0
        wanted = [str(number) for number in range(first, first + len(numbers))]
        if mark.startswith("_") and "0" not in map(str, map(int, numbers)):
            continue
        if sorted(numbers, key=int) != wanted:
            return Ambiguous("cookie", name, f"the pieces of the cookie {name!r} can be put together in several ways")
        read = [read_cookie(lines, f"{name}{mark}{number}") for number in wanted]
        texts = [each.text for each in read if isinstance(each, Credential)]
        if len(texts) < len(wanted) or len(texts) > _MOST_PIECES:
            return Ambiguous("cookie", name, f"a piece of the cookie {name!r} can be read in more than one way")
        return Credential("cookie", name, "".join(texts))
    if announced:
        return Ambiguous("cookie", name, f"the cookie {name!r} announces pieces that are not there")
    return None


def pieces_of(lines: Sequence[str], name: str) -> list[str]:
    """The names in these Cookie fields that somebody could take for pieces of this cookie."""
    piece = _pieces(name)
    return [found for line in lines if name in line for found in piece.findall(line)]


@lru_cache(maxsize=256)
def _pieces(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|[;,])[ \t]*({re.escape(name)}(?:\.|__?|C)[0-9]{{1,9}})[ \t]*=")


def without_cookies(lines: Sequence[str], names: Sequence[str]) -> list[str]:
    """The Cookie fields with every mention of these cookies taken out; other cookies keep their exact text.

    What could still be read as one of them takes its whole field with it.
    """
    kept = []
    for line in lines:
        rest = line
        for name in names:
            rest = _pairs_with_mention(name).sub("", rest)
        rest = rest.strip(" ;") if rest is not line else line
        if rest and not any(_cookie_mention(name).search(rest) for name in names):
            kept.append(rest)
    return kept


def read_subprotocols(lines: Sequence[str]) -> Credential | Ambiguous | None:
    """The token of a WebSocket client that sends `Sec-WebSocket-Protocol: bearer, <token>`."""
    offered = [item.strip(" \t") for line in lines for item in line.split(",")]
    marks = [index for index, item in enumerate(offered) if item.lower() == "bearer"]
    if not marks:
        return None
    if len(marks) > 1 or marks[0] + 1 >= len(offered):
        return Ambiguous("subprotocol", "", "the subprotocols must be: bearer, and one token after it")
    return _one_value("subprotocol", "", offered[marks[0] + 1])


def read_query(query_string: str, name: str = "access_token") -> Credential | Ambiguous | None:
    """The token of a handshake's query string (RFC 6750 2.3): once, or the request is ambiguous."""
    if name not in unquote(query_string):
        return None
    try:
        fields = parse_qsl(query_string, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        return Ambiguous("query", name, "the query string has too many parameters")
    values = [value for key, value in fields if key == name]
    if len(values) > 1:
        return Ambiguous("query", name, f"the parameter {name!r} is repeated")
    return _one_value("query", name, values[0]) if values and values[0] else None


def _one_value(source: str, name: str, text: str) -> Credential | Ambiguous:
    match = _ONE_CREDENTIAL.match("Bearer " + text)
    if match is None or match[2] is None or len(text) > MAX_CREDENTIAL:
        return Ambiguous(source, name, "the token has characters that a token cannot have, or is too long")
    return Credential(source, name, match[2])
