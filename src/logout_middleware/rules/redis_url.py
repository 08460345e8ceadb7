"""What a Redis URL says. No I/O, and no import of redis: settings are checked before anything is installed.

    redis://[user:password@]host[:port][/db]          rediss://… the same over TLS
    unix://[user:password@]/path/to/socket[?db=0]
    redis+sentinel://[user:password@]host[:port][,host…]/service[/db][?sentinel_password=…&ssl=true]
    redis+cluster://[user:password@]host[:port][,host…][?ssl=true]

TLS is told more by ssl_ca_certs, ssl_ca_path, ssl_certfile, ssl_keyfile, ssl_password, ssl_cert_reqs,
ssl_check_hostname and ssl_ciphers, named as in redis-py. Time-outs are no part of it: the store has one deadline.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

_KINDS = {
    "redis": "single", "rediss": "single", "unix": "unix", "redis+sentinel": "sentinel", "redis+cluster": "cluster",
}  # fmt: skip
_TLS = (
    "ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_password", "ssl_cert_reqs",
    "ssl_check_hostname", "ssl_ciphers",
)  # fmt: skip
_ALLOWED = {
    "single": ("db", *_TLS),
    "unix": ("db", "username", "password"),
    "sentinel": ("db", "ssl", "sentinel_username", "sentinel_password", *_TLS),
    "cluster": ("ssl", *_TLS),
}
_PORTS = {"sentinel": 26379}
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


class Address(NamedTuple):
    """Where a server listens; `port` 0: `host` is the path of a Unix socket."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}" if self.port else self.host


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A parsed URL; str() of it names the place and no secret."""

    kind: str
    addresses: tuple[Address, ...]
    db: int = 0
    service: str = ""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    tls: bool = False
    ssl_options: tuple[tuple[str, str | bool], ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        place = ",".join(map(str, self.addresses))
        if self.kind == "unix":
            return f"unix://{place}"
        scheme = {"single": "rediss" if self.tls else "redis"}.get(self.kind, f"redis+{self.kind}")
        path = "/".join(["", *filter(None, [self.service]), *([str(self.db)] if self.db else [])])
        return f"{scheme}://{place}{path}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never appear in a message."""
        return tuple(filter(None, (self.password, self.sentinel_password, dict(self.ssl_options).get("ssl_password"))))  # type: ignore[arg-type]  # that option is text


def parse_redis_url(text: str) -> RedisUrl:
    """The parsed URL; ValueError says what is wrong with it, without repeating a password."""
    scheme, separator, rest = text.partition("://")
    kind = _KINDS.get(scheme.lower())
    if not separator or kind is None:
        raise ValueError(f"a Redis URL begins with one of {', '.join(f'{name}://' for name in _KINDS)}")
    # The scheme is replaced because urlsplit treats some that it knows in their own way.
    split = urlsplit(f"redis://{rest}")
    if _is_torn(split, kind):
        raise ValueError("a user name or password ends the address early; write %2F for '/' and %3F for '?' in it")
    options = _options(split.query, kind)
    if split.fragment:
        raise ValueError("'#' ends the URL early; write %23 in a password")
    userinfo, at, hosts = split.netloc.rpartition("@")
    username, password = _userinfo(userinfo) if at else (None, None)
    if kind == "unix":
        addresses: tuple[Address, ...] = (_socket_path(hosts, split),)
        service, db = "", options.pop("db", "")
    else:
        addresses = tuple(_address(host, _PORTS.get(kind, 6379)) for host in hosts.split(","))
        service, db = _path(split.path, kind, options.pop("db", ""))
    if kind == "single" and len(addresses) > 1:
        raise ValueError("several hosts need redis+sentinel:// or redis+cluster://")
    return RedisUrl(
        kind, addresses, _number(db, "database"), service,
        options.pop("username", username), options.pop("password", password),
        options.pop("sentinel_username", None), options.pop("sentinel_password", None),
        scheme.lower() == "rediss" or _truth(options.pop("ssl", "false"), "ssl"),
        tuple((name, _ssl_option(name, value)) for name, value in sorted(options.items())),
    )  # fmt: skip


def _is_torn(split: SplitResult, kind: str) -> bool:
    """Is what should be before the host behind it, because of a sign in a password? Then it must not be repeated."""
    if kind == "unix" or "@" in split.netloc:
        return False
    unknown = any(name not in _ALLOWED[kind] for name, _ in parse_qsl(split.query, keep_blank_values=True))
    return "@" in split.path or ("@" in split.query and unknown)


def _options(query: str, kind: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name not in _ALLOWED[kind]:
            known = ", ".join(_ALLOWED[kind])
            raise ValueError(f"the parameter {name!r} is not known here; known are {known}")
    return options


def _userinfo(userinfo: str) -> tuple[str | None, str | None]:
    username, colon, password = userinfo.partition(":")
    return unquote(username) or None, unquote(password) if colon else None


def _socket_path(hosts: str, split: SplitResult) -> Address:
    if hosts or len(split.path) < 2:
        raise ValueError("a Unix socket needs an absolute path: unix:///run/redis/redis.sock")
    return Address(unquote(split.path), 0)


def _address(host: str, default_port: int) -> Address:
    try:
        split = urlsplit(f"//{host}")
        name, port = split.hostname, split.port
    except ValueError:
        # What follows the colon may be a password whose '@' is missing.
        raise ValueError(f"what begins with {host.partition(':')[0]!r} is not host:port") from None
    if not name or split.path or "@" in host:
        raise ValueError("a host is missing; write redis://host:6379/0")
    return Address(name, port or default_port)


def _path(path: str, kind: str, db: str) -> tuple[str, str]:
    parts = [unquote(part) for part in path.split("/") if part]
    service = ""
    if kind == "sentinel":
        if not parts:
            raise ValueError("the name of the service is missing: redis+sentinel://host1,host2/mymaster/0")
        service, *parts = parts
    if kind == "cluster" and parts and parts != ["0"]:
        raise ValueError("a Redis Cluster has only the database 0; leave the path out")
    if len(parts) > 1 or (parts and db):
        raise ValueError(f"the path {path!r} says more than a database")
    return service, parts[0] if parts else db


def _number(text: str, what: str) -> int:
    if text and not (text.isascii() and text.isdigit()):
        raise ValueError(f"the {what} {text!r} is not a number")
    return int(text or 0)


def _truth(text: str, name: str) -> bool:
    if text.lower() not in _TRUE + _FALSE:
        raise ValueError(f"{name}={text!r} is neither true nor false")
    return text.lower() in _TRUE


def _ssl_option(name: str, value: str) -> str | bool:
    if name == "ssl_cert_reqs" and value not in ("none", "optional", "required"):
        raise ValueError(f"ssl_cert_reqs={value!r} is none of none, optional, required")
    return _truth(value, name) if name == "ssl_check_hostname" else value
