"""What a Redis URL says, and how records are packed."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logout_middleware.rules.redis_url import parse_redis_url
from logout_middleware.rules.revocation import FOREVER, Revocation
from logout_middleware.stores.redis_packing import pack, unpack

KEY = b"k" * 16


@pytest.mark.parametrize(
    ("text", "kind", "addresses", "db", "shown"),
    [
        ("redis://host", "single", ["host:6379"], 0, "redis://host:6379"),
        ("redis://ann:s%40cret@host:1/2", "single", ["host:1"], 2, "redis://host:1/2"),
        ("rediss://[::1]:7/0?ssl_ca_certs=/ca.pem", "single", ["::1:7"], 0, "rediss://::1:7"),
        ("unix:///run/redis.sock?db=3", "unix", ["/run/redis.sock"], 3, "unix:///run/redis.sock"),
        (
            "redis+sentinel://:pw@a,b:1/main/4?sentinel_password=spw&ssl=true",
            "sentinel", ["a:26379", "b:1"], 4, "redis+sentinel://a:26379,b:1/main/4",
        ),
        ("redis+cluster://a:7000,b", "cluster", ["a:7000", "b:6379"], 0, "redis+cluster://a:7000,b:6379"),
    ],
)  # fmt: skip
def test_a_url_says_where_and_how(text: str, kind: str, addresses: list[str], db: int, shown: str) -> None:
    """Every form of the reference is understood, and shown without its secrets."""
    url = parse_redis_url(text)

    assert (url.kind, list(map(str, url.addresses)), url.db, str(url)) == (kind, addresses, db, shown)


def test_secrets_are_read_and_not_shown() -> None:
    """Neither str nor repr gives a password away."""
    url = parse_redis_url("redis+sentinel://ann:s%40cret@a/main?sentinel_password=spw&ssl=1&ssl_password=tpw")

    assert (url.username, url.password, url.sentinel_password, url.tls) == ("ann", "s@cret", "spw", True)
    assert set(url.secrets) == {"s@cret", "spw", "tpw"}
    assert not any(secret in f"{url} {url!r}" for secret in url.secrets)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("http://host", "begins with"),
        ("redis://:topsecret@a,b", "several hosts"),
        ("redis://:topsecret@", "host is missing"),
        ("redis://:topsecret@host:port", "not host:port"),
        ("redis://:topsecret@host/x", "not a number"),
        ("redis://:topsecret@host/1/2", "more than a database"),
        ("redis://:topsecret@host?socket_timeout=5", "not known here"),
        ("redis://:top#secret@host", "#"),
        ("redis+sentinel://:topsecret@host", "service is missing"),
        ("redis+cluster://:topsecret@host/3", "only the database 0"),
        ("redis+cluster://:topsecret@host?ssl=maybe", "neither true nor false"),
        ("rediss://:topsecret@host?ssl_cert_reqs=some", "none of"),
        ("unix://relative", "absolute path"),
    ],
)
def test_a_mistake_is_named_without_the_password(text: str, why: str) -> None:
    """The message can be logged."""
    with pytest.raises(ValueError, match=why) as caught:
        parse_redis_url(text)

    assert "secret" not in str(caught.value)


TEXTS = st.text(st.characters(exclude_categories=()), max_size=40)
FLOATS = st.floats(allow_nan=False)


@given(
    before=st.one_of(st.just(FOREVER), FLOATS),
    until=st.one_of(st.just(FOREVER), st.integers(0, 1 << 25).map(lambda hours: hours * 3600.0), FLOATS),
    reason=st.one_of(st.sampled_from(["logout", ""]), TEXTS),
    keep=st.frozensets(st.binary(min_size=16, max_size=16), max_size=3),
)
def test_every_record_comes_back_exactly(before: float, until: float, reason: str, keep: frozenset[bytes]) -> None:
    """Any float to the last bit, any text, lone surrogates too."""
    record = Revocation(KEY, before, until, reason, keep)

    (found,) = unpack(KEY, pack(record))

    assert found == record
    assert struct.pack("<d", found.before) == struct.pack("<d", before)


def test_the_usual_record_takes_four_bytes() -> None:
    """A million of them decide about the memory."""
    assert len(pack(Revocation(KEY, FOREVER, 1_800_000_000.0, "logout"))) == 4
