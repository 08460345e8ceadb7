"""Who is at the other end, and over what scheme, when proxies of our own are in between.

X-Forwarded-* is believed only from addresses in TRUSTED_PROXIES; anybody can send it.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

_MAX_HOPS = 32
_MAX_FORWARDED = 2048


def is_trusted(address: str | None, proxies: Sequence[str]) -> bool:
    """Is this address one of the trusted proxies or in one of their networks?"""
    if address is None:
        return False
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in ip_network(proxy, strict=False) for proxy in proxies)


def client_address(peer: str | None, forwarded_for: Sequence[str], proxies: Sequence[str]) -> str | None:
    """The nearest address that is not a trusted proxy, read from the right as proxies append."""
    hops = [hop.strip() for hop in ",".join(forwarded_for)[-_MAX_FORWARDED:].split(",") if hop.strip()][-_MAX_HOPS:]
    address = peer
    while hops and is_trusted(address, proxies):
        address = hops.pop()
    return address


def counted_address(address: str | None) -> str:
    """As whom an address is counted: an IPv6 caller owns a whole /64 (RFC 6177), and is one caller."""
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return address or ""
    return str(ip_network((parsed, 64), strict=False)) if parsed.version == 6 else str(parsed)


def scheme(peer: str | None, forwarded_proto: Sequence[str], proxies: Sequence[str], seen: str) -> str:
    """The scheme the browser used: X-Forwarded-Proto from a trusted proxy, else what the server saw."""
    said = forwarded_proto[0].strip().lower() if len(forwarded_proto) == 1 else ""
    return said if said in ("http", "https") and is_trusted(peer, proxies) else seen
