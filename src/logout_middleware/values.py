"""How the text of a setting becomes a value.

Each function takes a text, or a value that is right already, and raises ValueError with what is wrong.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from .rules import redirects
from .rules.cookies import GuardedCookie, parse_guarded_cookie
from .rules.redis_url import parse_redis_url

COOKIE_FORMATS = frozenset({"auto", "jwt", "flask", "starlette", "django", "opaque"})
ENDPOINT_GROUPS = ("logout", "sessions", "browser", "oauth", "oidc", "check", "push", "admin")
REDIS_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "redis+cluster")
SQL_SCHEMES = ("postgresql+psycopg", "mysql+pymysql")
ALGORITHMS = (
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
    "ES256", "ES256K", "ES384", "ES512", "EdDSA",
)  # fmt: skip
_UNITS = {
    "ms": 0.001, "s": 1, "second": 1, "seconds": 1, "m": 60, "minute": 60, "minutes": 60,
    "h": 3600, "hour": 3600, "hours": 3600, "d": 86400, "day": 86400, "days": 86400,
}  # fmt: skip
_PEM = re.compile(r"-----BEGIN [^-]+-----.*?-----END [^-]+-----", re.DOTALL)
HASHED = "sha256:"
"""How the secret of a client begins where LOGOUT_CLIENTS holds only its SHA-256."""
_SITE_DATA = ("cache", "cookies", "storage", "prefetchCache", "prerenderCache")


@dataclass(frozen=True, slots=True)
class RateLimit:
    """So many logouts in so many seconds."""

    count: int
    window: float


@dataclass(frozen=True, slots=True)
class Client:
    """A registered application: its secret, or `sha256:` and the digest of it, and where it may go after a logout.

    `feed`: may it read every revocation of every user?
    """

    secret: str | None = field(default=None, repr=False)
    redirect_uris: tuple[str, ...] = ()
    feed: bool = False

    def is_secret(self, given: str) -> bool:
        """Is this its secret? Takes as long for every answer. Without a secret nothing is."""
        held = self.secret or ""
        # A second digest, so that the comparison is of one length whatever the secret is.
        wanted = bytes.fromhex(held[len(HASHED) :]) if held.startswith(HASHED) else _digest(held)
        return hmac.compare_digest(_digest(given), wanted) and bool(held)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, slots=True)
class TokenPath:
    """A path whose body carries tokens in these fields."""

    method: str
    path: str
    fields: tuple[str, ...]


def text(value: Any) -> str:
    """A non-empty text."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("is empty; write a value or remove it")
    return value.strip()


def boolean(value: Any) -> bool:
    """True or false."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word not in ("true", "false", "1", "0", "yes", "no", "on", "off"):
        raise ValueError(f"{value!r} is not a yes or no; write true or false")
    return word in ("true", "1", "yes", "on")


def moment(value: Any) -> datetime:
    """A time with its zone (RFC 3339)."""
    try:
        found = datetime.fromisoformat(text(value))
    except ValueError:
        raise ValueError(f"{value!r} is not a time; write e.g. 2026-11-20T10:29:00+00:00") from None
    if found.tzinfo is None:
        raise ValueError(f"{value!r} does not say its time zone; write e.g. 2026-11-20T10:29:00+00:00")
    return found


def one_of(*choices: str) -> Callable[[Any], str]:
    """One of these words."""

    def parse(value: Any) -> str:
        word = str(value).strip()
        if word not in choices:
            raise ValueError(f"{value!r} is not one of {', '.join(choices)}")
        return word

    return parse


def listed(value: Any) -> tuple[str, ...]:
    """Texts with commas between."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise ValueError(f"{value!r} is not a list; write values with commas between")
    return tuple(item.strip() for item in items if item.strip())


def duration(value: Any) -> float:
    """Seconds, or a number with ms, s, m, h or d."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", str(value).strip().lower())
    if isinstance(value, bool) or not match or (match[2] or "s") not in _UNITS:
        raise ValueError(f"{value!r} is not a duration; write seconds, or e.g. 250ms, 15m, 12h, 30d")
    return float(match[1]) * _UNITS[match[2] or "s"]


def lasting(value: Any) -> float:
    """A duration above 0."""
    seconds = duration(value)
    if seconds <= 0:
        raise ValueError("must be above 0; remove it to have none")
    return seconds


def rate_limit(value: Any) -> RateLimit | None:
    """`20 per 5 minutes`, or `off`."""
    if isinstance(value, RateLimit):
        return value
    words = str(value).strip().lower()
    if words == "off":
        return None
    match = re.fullmatch(r"(\d+)\s*(?:per|/)\s*(\d+\s*[a-z]+|[a-z]+)", words)
    if not match or int(match[1]) == 0:
        raise ValueError(f"{value!r} is not a rate; write e.g. 20 per 5 minutes, or off")
    window = duration(match[2] if match[2][0].isdigit() else "1 " + match[2])
    return RateLimit(int(match[1]), window)


def keys(value: Any) -> tuple[str, ...]:
    """One secret or several; never shown in a message."""
    found = split_keys(value) if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not all(isinstance(key, str) and key for key in found) or not found:
        raise ValueError("holds no key; write a secret, PEM blocks, or a JSON list of them")
    return tuple(found)


def split_keys(value: str) -> tuple[str, ...]:
    """Several keys in one text: PEM blocks one after the other, a JSON list, or secrets with commas between."""
    value = value.strip()
    if "-----BEGIN" in value:
        return tuple(_PEM.findall(value.replace("\\n", "\n")))
    if value.startswith("["):
        try:
            listed_keys = json.loads(value)
        except ValueError:
            return ()
        return tuple(listed_keys) if isinstance(listed_keys, list) else ()
    return tuple(key.strip() for key in value.split(",") if key.strip())


def algorithms(value: Any) -> tuple[str, ...]:
    """Signature algorithms that we verify."""
    names = listed(value)
    for name in names:
        if name not in ALGORITHMS:
            raise ValueError(f"{name!r} is not an algorithm we verify; write one of {', '.join(ALGORITHMS)}")
    return names


def cookies(value: Any) -> tuple[GuardedCookie, ...]:
    """Guarded cookies, `name:format` with commas between."""
    items = listed(value) if isinstance(value, str) else value
    return tuple(
        item if isinstance(item, GuardedCookie) else parse_guarded_cookie(str(item), COOKIE_FORMATS) for item in items
    )


def paths(value: Any) -> tuple[str, ...]:
    """Paths with commas between."""
    found = listed(value)
    for path in found:
        if not path.startswith("/") or set(path) & set("?#\\%* ") or "/.." in path or "/./" in path:
            raise ValueError(f"{path!r} is not a plain path; write it from '/', without query, pattern or dots")
    return found


def prefix(value: Any) -> str:
    """A path without a slash at its end; empty for the root."""
    word = str(value).strip().rstrip("/")
    return paths([word])[0] if word else ""


def endpoints(value: Any) -> tuple[str, ...]:
    """Groups of endpoints."""
    found = listed(value)
    for group in found:
        if group not in ENDPOINT_GROUPS:
            raise ValueError(f"{group!r} is not a group of endpoints; write {', '.join(ENDPOINT_GROUPS)}")
    return found


def store_url(value: Any) -> str:
    """The address of a store. What is wrong with it is said without it: it may hold a password."""
    url = text(value)
    scheme, colon, _ = url.partition(":")
    if url.endswith(":memory:"):
        raise ValueError("a SQLite database in memory is one connection's own; write memory://")
    if url == "memory://" or (url.startswith("sqlite:///") and len(url) > len("sqlite:///")):
        return url
    if colon and scheme in REDIS_SCHEMES:
        parse_redis_url(url)
        return url
    if colon and scheme in SQL_SCHEMES:
        return url  # SQLAlchemy reads it when it is opened; nothing here may need SQLAlchemy
    near = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg", "mysql": "mysql+pymysql"}.get(scheme)
    if near is not None:
        raise ValueError(f"{scheme}:// does not name the driver; write {near}://")
    raise ValueError(
        f"{scheme!r} is not a kind of store; write sqlite:///logout.db, redis://host/0, redis+sentinel://…, "
        "redis+cluster://…, postgresql+psycopg://…, mysql+pymysql://… or memory://"
    )


def whole(value: Any) -> int:
    """A whole number that is not negative."""
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,9}", str(value).strip()):
        raise ValueError(f"{value!r} is not a whole number; write e.g. 2")
    return int(value)


def counted(value: Any) -> int:
    """A whole number above 0."""
    number = whole(value)
    if number < 1:
        raise ValueError("must be above 0; remove it to have no limit")
    return number


def key_url(value: Any) -> str:
    """An https address, or http on this host."""
    url = text(value)
    if not redirects.is_plain(url):
        raise ValueError(f"{url!r} is not a plain address; write e.g. https://login.example.com/keys")
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return url
    if parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1"):
        return url
    raise ValueError(f"{url!r} is not https; keys that anyone on the way can change verify nothing")


def origin(value: Any) -> str:
    """`scheme://host[:port]` as browsers spell an Origin."""
    word = text(value).rstrip("/")
    parts = urlsplit(word)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path or parts.query or "@" in parts.netloc:
        raise ValueError(f"{value!r} is not an origin; write e.g. https://app.example.com")
    return word.lower()


def origins(value: Any) -> tuple[str, ...]:
    """Origins with commas between."""
    return tuple(origin(item) for item in listed(value))


def networks(value: Any) -> tuple[str, ...]:
    """Addresses or networks with commas between."""
    found = listed(value)
    for item in found:
        try:
            ipaddress.ip_network(item, strict=False)
        except ValueError:
            raise ValueError(f"{item!r} is not an address or network; write e.g. 10.0.0.0/8") from None
    return found


def site_data(value: Any) -> tuple[str, ...]:
    """Types of Clear-Site-Data."""
    found = tuple(item.strip('"') for item in listed(value))
    for item in found:
        if item not in _SITE_DATA:
            raise ValueError(f"{item!r} is not a type of Clear-Site-Data; write one of {', '.join(_SITE_DATA)}")
    return found


def json_object(value: Any, *, like: str) -> Mapping[str, Any]:
    """The members of a JSON object; none of them is shown in a message."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError("is not JSON") from None
    if not isinstance(value, dict):
        raise ValueError(f"is not a JSON object; write {like}")
    return value


def clients(value: Any) -> Mapping[str, Client]:
    """JSON of clients; the secrets are never shown in a message.

    A secret may be written as `sha256:` and the 64 hex digits of its SHA-256, so that who reads the setting cannot use
    it. That is for random secrets of 32 bytes and more: shorter ones are found from their digest by trying. With
    `"feed": true` the client reads the feed of all revocations (`endpoints/feed.py`).
    """
    found = json_object(value, like='{"id": {"secret": "…", "redirect_uris": ["…"]}}')
    return {str(name): _client(str(name), each) for name, each in found.items()}


def _client(name: str, value: Any) -> Client:
    if isinstance(value, Client):
        value = {"secret": value.secret, "redirect_uris": list(value.redirect_uris), "feed": value.feed}
    if not isinstance(value, dict) or set(value) - {"secret", "redirect_uris", "feed"}:
        raise ValueError(f'client {name!r} is not {{"secret": "…", "redirect_uris": ["…"], "feed": false}}')
    secret, uris, feed = value.get("secret"), value.get("redirect_uris", []), value.get("feed", False)
    if secret is not None and (not isinstance(secret, str) or not secret):
        raise ValueError(f"the secret of client {name!r} is not a text")
    if secret is not None and secret.startswith(HASHED) and not re.fullmatch(r"[0-9a-f]{64}", secret[len(HASHED) :]):
        raise ValueError(f"the secret of client {name!r} is not {HASHED} and 64 lower-case hex digits")
    if not isinstance(uris, list) or not all(isinstance(uri, str) for uri in uris):
        raise ValueError(f"the redirect_uris of client {name!r} are not a list of addresses")
    if not isinstance(feed, bool):
        raise ValueError(f"feed of client {name!r} is not true or false")
    if feed and secret is None:
        raise ValueError(f"client {name!r} has no secret, so it cannot read the feed")
    return Client(secret, tuple(uris), feed)


def token_paths(value: Any) -> tuple[TokenPath, ...]:
    """`METHOD /path: field, field` with semicolons between."""
    if not isinstance(value, str):
        if isinstance(value, list | tuple) and all(isinstance(each, TokenPath) for each in value):
            return tuple(value)
        raise ValueError("is not a text; write e.g. POST /refresh: refresh_token")
    found = []
    for item in filter(None, (part.strip() for part in value.split(";"))):
        match = re.fullmatch(r"([A-Z]+) (/[^\s:?#]*)\s*:\s*([A-Za-z0-9_.\-]+(?:\s*,\s*[A-Za-z0-9_.\-]+)*)", item)
        if match is None:
            raise ValueError(f"{item!r} is not understood; write e.g. POST /refresh: refresh_token")
        found.append(TokenPath(match[1], match[2], listed(match[3])))
    return tuple(found)
