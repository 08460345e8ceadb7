"""What a browser makes of one Set-Cookie line: its cookie, and the scope that a deletion must repeat.

RFC 6265bis 5.1.1, 5.1.4 and 5.6; Partitioned as CHIPS says. Header text is latin-1: one character is one byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

MAX_PAIR = 4096
"""A name and value that are longer together are ignored by browsers (bytes)."""
MAX_ATTRIBUTE = 1024
"""So is an attribute whose value is longer."""

_BLANK = " \t"
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_SECONDS = re.compile(r"-?[0-9]+\Z")
_SAME_SITE = {"strict": "Strict", "lax": "Lax", "none": "None"}

_DATE_DELIMITER = re.compile(r"[\x09\x20-\x2f\x3b-\x40\x5b-\x60\x7b-\x7e]+")
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?![0-9])")
_DAY = re.compile(r"([0-9]{1,2})(?![0-9])")
_MONTH = re.compile(r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)", re.IGNORECASE)
_YEAR = re.compile(r"([0-9]{2,4})(?![0-9])")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


@dataclass(frozen=True, slots=True)
class CookieScope:
    """The attributes of a cookie. `domain` None: of this host only; `same_site` None: it was not said."""

    path: str = "/"
    domain: str | None = None
    secure: bool = False
    http_only: bool = False
    same_site: str | None = None
    partitioned: bool = False

    @property
    def place(self) -> tuple[str, str | None, bool]:
        """What, beside the name, makes it this cookie and no other: the rest may differ in a deletion."""
        return self.path, self.domain, self.partitioned


@dataclass(frozen=True, slots=True)
class SetCookie:
    """One Set-Cookie line as a browser understands it.

    `deletes`: it takes the cookie away. `path_is_implied`: the line named no path, so it is the request's directory.
    """

    name: str
    value: str
    scope: CookieScope
    deletes: bool
    path_is_implied: bool

    def __repr__(self) -> str:
        return f"SetCookie(name={self.name!r}, value=<{len(self.value)} characters>, scope={self.scope!r})"


def parse_set_cookie(text: str, request_path: str, now: float) -> SetCookie | None:
    """What a browser reads in a Set-Cookie value of the answer to this path, or None if it ignores the line.

    `request_path` is the path as the browser wrote it: with the prefix of a proxy or mount, percent-encoded, without
    the query.
    """
    pair, _, rest = text.partition(";")
    name, equals, value = pair.partition("=")
    name, value = (name.strip(_BLANK), value.strip(_BLANK)) if equals else ("", name.strip(_BLANK))
    if _CONTROL.search(text) or not (name or value) or len(name) + len(value) > MAX_PAIR:
        return None
    attributes = list(_attributes(rest))
    # Of an attribute that comes twice the last counts, even if it is empty; Secure=no is Secure.
    last = dict(attributes)
    path = last.get("path", "")
    is_implied = not path.startswith("/")
    scope = CookieScope(
        path=default_path(request_path) if is_implied else path,
        domain=last.get("domain", "").removeprefix(".").lower() or None,
        secure="secure" in last,
        http_only="httponly" in last,
        same_site=_SAME_SITE.get(last.get("samesite", "").lower()),
        partitioned="partitioned" in last,
    )
    return SetCookie(name, value, scope, _is_over(attributes, now), is_implied)


def until_browser_closes(text: str) -> str:
    """The same Set-Cookie value for a cookie that ends with the browser: without Max-Age and Expires (5.7)."""
    pair, *attributes = text.split(";")
    lasting = ("max-age", "expires")
    return ";".join(
        [pair, *(each for each in attributes if each.partition("=")[0].strip(_BLANK).lower() not in lasting)]
    )


def _attributes(text: str) -> Iterator[tuple[str, str]]:
    for part in text.split(";"):
        name, _, value = part.partition("=")
        name, value = name.strip(_BLANK).lower(), value.strip(_BLANK)
        if name and len(value) <= MAX_ATTRIBUTE:
            yield name, value


def _is_over(attributes: Sequence[tuple[str, str]], now: float) -> bool:
    """Max-Age wins over Expires, wherever they stand; what cannot be read is as good as not said."""
    for name, value in reversed(attributes):
        if name == "max-age" and _SECONDS.match(value):
            return int(value) <= 0
    for name, value in reversed(attributes):
        if name == "expires" and (ends := cookie_date(value)) is not None:
            return ends <= now
    return False


def default_path(request_path: str) -> str:
    """The Path of a cookie whose line names none: the directory of the request (RFC 6265bis 5.1.4)."""
    return (request_path.startswith("/") and request_path.rpartition("/")[0]) or "/"


def cookie_date(text: str) -> float | None:
    """The moment of an Expires attribute in seconds since 1970, None if it is none (RFC 6265bis 5.1.1).

    Every token may stand anywhere, and each is taken for the first part that it fits and that is still missing.
    """
    found: dict[str, re.Match[str]] = {}
    for token in _DATE_DELIMITER.split(text):
        for part, pattern in (("time", _TIME), ("day", _DAY), ("month", _MONTH), ("year", _YEAR)):
            if part not in found and (match := pattern.match(token)):
                found[part] = match
                break
    if len(found) < 4:
        return None
    year = int(found["year"][1])
    year += 1900 if 70 <= year <= 99 else 2000 if year < 70 else 0
    month = _MONTHS.index(found["month"][1].lower()) + 1
    hour, minute, second = (int(number) for number in found["time"].groups())
    try:
        moment = datetime(year, month, int(found["day"][1]), hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return moment.timestamp() if year >= 1601 else None
