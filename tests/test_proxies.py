"""Who is at the other end: X-Forwarded-* is believed only from proxies of our own."""

from __future__ import annotations

import pytest

from logout_middleware.rules import proxies

PROXIES = ("10.0.0.0/8", "fd00::1")


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6", "198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["nonsense"], "nonsense"),
        ("unix:", ["198.51.100.1"], "unix:"),
        (None, ["198.51.100.1"], None),
    ],
)
def test_the_client_is_the_nearest_that_is_not_a_trusted_proxy(
    peer: str | None, forwarded: list[str], address: str | None
) -> None:
    """Read from the right, where proxies append; what a client wrote in front is not believed."""
    assert proxies.client_address(peer, forwarded, PROXIES) == address


@pytest.mark.parametrize(
    ("peer", "said", "scheme"),
    [
        ("10.0.0.1", ["https"], "https"),
        ("203.0.113.9", ["https"], "http"),
        ("10.0.0.1", ["https", "http"], "http"),
        ("10.0.0.1", ["gopher"], "http"),
        ("fd00::1", [" HTTPS "], "https"),
    ],
)
def test_the_scheme_is_believed_from_a_trusted_proxy_only(peer: str, said: list[str], scheme: str) -> None:
    """A repeated or strange value is as good as none."""
    assert proxies.scheme(peer, said, PROXIES, "http") == scheme


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("198.51.100.1", "198.51.100.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8:0:0:ffff::9", "2001:db8::/64"),
        ("unix:", "unix:"),
        (None, ""),
    ],
)
def test_an_ipv6_caller_is_counted_by_its_network(address: str | None, counted: str) -> None:
    """It has 2^64 addresses to choose from."""
    assert proxies.counted_address(address) == counted
