"""Requests that we make ourselves, to a provider: with one time limit, one size limit, and no way to be led astray.

Addresses come from settings, or from the discovery document of a configured provider. They must be https and lead to
the public internet, unless LOGOUT_PRIVATE_ADDRESSES says otherwise; a redirect is no answer.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .errors import ConfigurationError, StoreError
from .rules import redirects
from .rules.http import parse_json_object

FETCH_SECONDS = 2.5
MAX_ANSWER = 256 * 1024
_MOST_ADDRESSES = 3
# Names of IPv4 hosts have these where there is only IPv6 (RFC 6052, RFC 6147).
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_RELAYS = ipaddress.ip_network("192.88.99.0/24")


class Unreachable(StoreError):
    """No usable answer came from this address in time; the message says why, without the address's query."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer, read whole."""

    status: int
    body: bytes

    def json(self) -> Mapping[str, Any]:
        """The JSON object of a 200; everything else is Unreachable."""
        if self.status != 200:
            raise Unreachable(f"the answer was {self.status}")
        try:
            return parse_json_object(self.body)
        except Exception as error:
            raise Unreachable("the answer was not a JSON object") from error


def require_httpx(what: str) -> Any:
    """The module httpx2; ConfigurationError that says what needs it."""
    try:
        import httpx2
    except ModuleNotFoundError:
        raise ConfigurationError(f"E212 {what}: needs: pip install 'logout-middleware[http]'") from None
    return httpx2


def fault_in_address(url: str, *, private: bool) -> str | None:
    """Why we would not ask this address, judged by its text alone; None if nothing speaks against it."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "it cannot be read"
    if not host or port == 0:
        return "it names no host"
    if not redirects.is_plain(url):
        return "it has characters that an address does not have"
    if parts.scheme == "https" or (parts.scheme == "http" and private):
        return None
    return "it is not https"


def fetch(
    url: str, *, form: Mapping[str, str] | None = None, json: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None, auth: tuple[str, str] | None = None, private: bool = False,
    seconds: float = FETCH_SECONDS,
) -> Fetched:  # fmt: skip
    """GET this, or POST a form or JSON to it. Blocks; Unreachable for everything but a whole answer in time."""
    require_httpx("an address to fetch")
    fault = fault_in_address(url, private=private)
    if fault is not None:
        raise Unreachable(f"{_shown(url)} is not asked: {fault}")
    ends = time.monotonic() + seconds
    fields = {"accept": "application/json", "accept-encoding": "identity", **(headers or {})}
    given = {"data": form, "json": json, "headers": fields, "auth": auth}
    method = "GET" if form is None and json is None else "POST"
    # The addresses that were looked at are those that are asked: a name may say something else the next time.
    addresses = [None] if private else _public_addresses(url)
    try:
        return asyncio.run(_fetched(method, url, addresses, given, ends - time.monotonic()))
    except TimeoutError:
        raise Unreachable(f"{_shown(url)} does not answer within {seconds:g} seconds") from None


async def _fetched(
    method: str, url: str, addresses: Sequence[str | None], given: dict[str, Any], seconds: float
) -> Fetched:
    """The answer of the first of these addresses that takes a connection in its part of the time."""
    import httpx2

    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds
    # Of the environment only its certificates: a proxy would look up the name anew, and be told what is sent.
    client = httpx2.AsyncClient(follow_redirects=False, trust_env=False, verify=httpx2.create_ssl_context())
    # A loop of its own, because nothing else limits a whole exchange: a peer can drip the fields of an answer.
    async with asyncio.timeout(seconds), client:
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            # TCP and TLS are connected one after the other, each in so much time.
            steps = 1 if left == 1 else 2 * left
            limits = httpx2.Timeout(seconds, connect=max(ends - loop.time(), 0.001) / steps)
            try:
                return await _exchanged(client, method, url, address, given | {"timeout": limits})
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
                if left == 1 or not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
                    raise Unreachable(f"{_shown(url)} cannot be reached ({type(error).__name__})") from error
    raise Unreachable(f"{_shown(url)} has no address")  # pragma: no cover - a name without one was refused before


async def _exchanged(client: Any, method: str, url: str, address: str | None, given: dict[str, Any]) -> Fetched:
    import httpx2

    target, extensions = httpx2.URL(url), {}
    if address is not None:
        given = given | {"headers": given["headers"] | {"host": target.netloc.decode("ascii")}}
        extensions["sni_hostname"] = target.host
        target = target.copy_with(host=address)
    async with client.stream(method, target, extensions=extensions, **given) as answer:
        body = bytearray()
        # As it comes: nobody asked for compression, and a little of it can be a lot.
        async for part in answer.aiter_raw():
            body += part
            if len(body) > MAX_ANSWER:
                raise Unreachable(f"{_shown(url)} answers too much")
        return Fetched(answer.status_code, bytes(body))


def _public_addresses(url: str) -> list[str]:
    """Some addresses of its host; Unreachable if any that it has is not on the public internet."""
    parts = urlsplit(url)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"{_shown(url)} has no address ({type(error).__name__})") from error
    addresses = [str(each[4][0]) for each in found]
    for address in addresses:
        if not _is_public(address):
            raise Unreachable(
                f"{_shown(url)} is not asked: it is not on the public internet; LOGOUT_PRIVATE_ADDRESSES=true allows it"
            )
    return list(dict.fromkeys(addresses))[:_MOST_ADDRESSES]


def _is_public(address: str) -> bool:
    """Is it one host of the public internet? What embeds an IPv4 address is where that is, if we know the form."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.sixtofour is not None or found.teredo is not None or found.is_site_local:
            return False
        inner = found.ipv4_mapped
        if found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF)
        found = found if inner is None else inner
    return found.is_global and not found.is_multicast and not found.is_reserved and found not in _RELAYS


def _shown(url: str) -> str:
    """The address as a log may have it: without what follows a question mark, which can be a secret."""
    return url.partition("?")[0][:200]
