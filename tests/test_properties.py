"""Laws that hold for all values, tried with Hypothesis, which prints the example (and its seed) that breaks one."""

from __future__ import annotations

import contextlib
from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from logout_middleware.rules import redirects
from logout_middleware.rules.credentials import Ambiguous, Credential, read_authorization, read_cookie, without_cookies
from logout_middleware.rules.identity import Identity, opaque
from logout_middleware.rules.revocation import Revocation, is_revoked, key_of, merge
from logout_middleware.stores.index import Index, pack_keep, unpack_keep

KEYS = [key_of("test", None, str(number)) for number in range(4)]
times = st.floats(min_value=0, max_value=4e9) | st.sampled_from([0.0, 1.0, 1.5, 2.0])
keeps = st.frozensets(st.sampled_from(KEYS), max_size=2)


@st.composite
def records(draw: st.DrawFn, key: bytes | None = None, keep: frozenset[bytes] | None = None) -> Revocation:
    return Revocation(
        key or draw(st.sampled_from(KEYS)), draw(times), draw(times), draw(st.sampled_from(["", "a", "b"])),
        draw(keeps) if keep is None else keep,
    )  # fmt: skip


same = records(key=KEYS[0], keep=frozenset())


@given(same, same, same)
def test_merging_is_idempotent_commutative_and_associative(a: Revocation, b: Revocation, c: Revocation) -> None:
    """Retries, replays and reordered deliveries all come to the same."""
    assert merge(a, a) == a
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c))


@given(st.lists(records(), max_size=5), records(), st.lists(st.sampled_from(KEYS), min_size=1, max_size=3), times)
def test_adding_a_revocation_never_revives_anything(
    before: list[Revocation], more: Revocation, keys: list[bytes], issued_at: float
) -> None:
    """Any match refuses; no record has precedence over another."""
    identity = Identity(keys[0], keys[0], issued_at=issued_at, keys=tuple(keys))

    def refused(added: list[Revocation]) -> bool:
        index = Index()
        index.add(added)
        return is_revoked(identity, index.find(identity.keys)) is not None

    assert not refused(before) or refused([*before, more])


@given(st.lists(records(), max_size=4))
@settings(max_examples=50)
def test_the_order_of_arrival_does_not_matter(arrived: list[Revocation]) -> None:
    """The index ends up the same."""
    ends = []
    for order in permutations(arrived):
        index = Index()
        index.add(order)
        ends.append({key: set(index.find([key])) for key in KEYS})

    assert all(end == ends[0] for end in ends)


@given(keeps)
def test_a_keep_set_survives_its_packing(keep: frozenset[bytes]) -> None:
    """Equal sets are equal bytes, which is how stores tell them apart."""
    assert unpack_keep(pack_keep(keep)) == keep


names = st.text(max_size=12)


@given(
    st.tuples(names, names), st.tuples(names, names), st.sampled_from([None, "", "x"]), st.sampled_from([None, "", "x"])
)
def test_no_two_names_share_a_key(
    one: tuple[str, str], other: tuple[str, str], realm: str | None, other_realm: str | None
) -> None:
    """However their parts run together."""
    same_name = (realm, one) == (other_realm, other)

    assert (key_of("kind", realm, *one) == key_of("kind", other_realm, *other)) is same_name
    assert key_of("kind", realm, *one) != key_of("kind", realm, "".join(one))


pieces = st.sampled_from(
    [
        "Bearer",
        "bearer",
        "DPoP",
        "Basic",
        "Token",
        " ",
        "  ",
        "\t",
        ",",
        ", ",
        "abc",
        "a.b.c",
        "=",
        "\xa0",
        '"',
        ";",
        "x=",
    ]
)


@given(st.lists(pieces, max_size=6).map("".join))
@settings(max_examples=500)
def test_an_authorization_field_is_read_as_flask_jwt_extended_would_or_refused(line: str) -> None:
    """The most lenient reader that we know finds `Bearer` anywhere; we never let its token pass unseen."""
    ours = read_authorization([line])
    theirs = [part.split()[1] for part in line.split(",") if part.split()[:1] == ["Bearer"] and len(part.split()) == 2]

    if theirs:
        assert isinstance(ours, Ambiguous) or (isinstance(ours, Credential) and ours.text == theirs[0])


@given(
    st.lists(
        st.sampled_from(["s", "x", "s2", "=", "A", "B", ";", "; ", " ", ",", '"', "\\", "\t", "\xa0", "%41", "{", "}"]),
        max_size=10,
    ).map("".join)
)
@settings(max_examples=1000)
def test_a_cookie_is_read_as_every_framework_reads_it_or_refused(line: str) -> None:
    """Starlette, Werkzeug and the standard library; and what we take out, none of them finds."""
    from http.cookies import CookieError, SimpleCookie

    from starlette.requests import cookie_parser
    from werkzeug.http import parse_cookie

    def found(text: str) -> set[str]:
        values = {cookie_parser(text).get("s", "")}
        with contextlib.suppress(UnicodeDecodeError):  # Werkzeug itself fails on bytes that are no UTF-8
            values.add(parse_cookie(text).get("s", ""))
        try:
            jar: SimpleCookie = SimpleCookie(text)
        except CookieError:
            return values - {""}
        return (values | ({jar["s"].value} if "s" in jar else set())) - {""}

    ours = read_cookie([line], "s")

    if isinstance(ours, Credential):
        assert found(line) <= {ours.text}
    elif ours is None:
        assert found(line) == set()
    assert {value for rest in without_cookies([line], ["s"]) for value in found(rest)} == set()


@given(st.uuids())
def test_all_spellings_of_a_uuid_are_one_identity(value: object) -> None:
    """`uuid.UUID()` accepts eight of them."""
    text = str(value)
    spellings = [
        text,
        text.upper(),
        text.replace("-", ""),
        "{" + text + "}",
        "urn:uuid:" + text,
        text[:3] + "-" + text[3:],
    ]

    assert len({opaque(spelling).digest for spelling in spellings}) == 1


@given(st.text(max_size=40))
@settings(max_examples=500)
def test_nothing_but_a_listed_target_is_allowed(target: str) -> None:
    """Whatever is allowed is an entry, byte for byte, or one label in front of one."""
    allowed = ["/login", "https://app.example.com/bye", "https://*.tenant.example.com/out"]

    if redirects.is_allowed(target, allowed):
        assert target in allowed[:2] or (target.startswith("https://") and target.endswith(".tenant.example.com/out"))
