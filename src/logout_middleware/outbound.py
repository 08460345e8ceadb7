"""Requests that we make ourselves, to a provider: with one time limit, one size limit, and no way to be led astray.

Addresses come from settings, or from the discovery document of a configured provider. They must be https and lead to
the public internet, unless LOGOUT_PRIVATE_ADDRESSES says otherwise; a redirect is no answer.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .errors import ConfigurationError, StoreError
from .rules.http import parse_json_object

FETCH_SECONDS = 2.5
MAX_ANSWER = 256 * 1024


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
    if not host or "@" in parts.netloc or port == 0:
        return "it names no host"
    if parts.scheme == "https" or (parts.scheme == "http" and private):
        return None
    return "it is not https"


def fetch(
    url: str, *, form: Mapping[str, str] | None = None, json: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None, auth: tuple[str, str] | None = None, private: bool = False,
    seconds: float = FETCH_SECONDS,
) -> Fetched:  # fmt: skip
    """GET this, or POST a form or JSON to it. Blocks; Unreachable for everything but a whole answer in time."""
    httpx2 = require_httpx("an address to fetch")
    fault = fault_in_address(url, private=private)
    if fault is not None:
        raise Unreachable(f"{_shown(url)} is not asked: {fault}")
    ends = time.monotonic() + seconds
    fields = {"accept": "application/json", **(headers or {})}
    method = "GET" if form is None and json is None else "POST"
    target, extensions = httpx2.URL(url), {}
    if not private:
        # The address that was looked at is the one that is asked: a name may say something else the next time.
        fields["host"] = target.netloc.decode("ascii")
        extensions["sni_hostname"] = target.host
        target = target.copy_with(host=_public_address(target.host, target.port or 443, url))
    try:
        with (
            httpx2.Client(follow_redirects=False, timeout=seconds) as client,
            client.stream(
                method, target, data=form, json=json, headers=fields, auth=auth, extensions=extensions
            ) as got,
        ):
            body = bytearray()
            for part in got.iter_bytes():
                body += part
                if len(body) > MAX_ANSWER or time.monotonic() > ends:
                    raise Unreachable(f"{_shown(url)} answers too much, or too slowly")
            return Fetched(got.status_code, bytes(body))
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        raise Unreachable(f"{_shown(url)} cannot be reached ({type(error).__name__})") from error


def _public_address(host: str, port: int, url: str) -> str:
    """An address of this host; Unreachable if any of its addresses is not on the public internet."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unreachable(f"{_shown(url)} has no address ({type(error).__name__})") from error
    addresses = [str(each[4][0]) for each in found]
    for address in addresses:
        if not ipaddress.ip_address(address.partition("%")[0]).is_global:
            raise Unreachable(
                f"{_shown(url)} is not asked: it is not on the public internet; LOGOUT_PRIVATE_ADDRESSES=true allows it"
            )
    return addresses[0]


def _shown(url: str) -> str:
    """The address as a log may have it: without what follows a question mark, which can be a secret."""
    return url.partition("?")[0][:200]
