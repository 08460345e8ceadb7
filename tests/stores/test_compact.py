"""Fingerprints: small, never wrong about who is free, and never the last word about who is not."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from logout_middleware.colour import run_blocking
from logout_middleware.rules.revocation import FOREVER, Revocation, key_of
from logout_middleware.stores import PURGE_DELAY
from logout_middleware.stores.compact import Copy, Fingerprints
from logout_middleware.stores.index import Index

NOW = 1_800_000_000.0


def record(name: str, *, before: float = FOREVER, until: float = NOW + 7200) -> Revocation:
    return Revocation(key_of("test", None, name), before, until, "logout")


class Books:
    """A store that answers from a list and counts how often it is asked."""

    def __init__(self, *records: Revocation) -> None:
        self.records, self.asked = list(records), 0

    async def __call__(self, keys: Sequence[bytes]) -> Sequence[Revocation]:
        self.asked += 1
        return [record for record in self.records if record.key in keys]


def compact(*records: Revocation) -> Copy:
    copy = Copy(compact_above=-1)
    copy.add(records)
    while isinstance(copy.held, Index):
        copy.compact_if_large()
    return copy


@settings(deadline=None)
@given(st.lists(st.tuples(st.binary(min_size=16, max_size=16), st.floats(0, 1e12)), max_size=60))
def test_every_key_that_was_added_is_suspect(added: list[tuple[bytes, float]]) -> None:
    """Whatever the bytes, the order and the repetitions."""
    prints = Fingerprints()

    prints.add(Revocation(key, FOREVER, until) for key, until in added[:30])
    prints.add(Revocation(key, FOREVER, until) for key, until in added[30:])

    assert prints.suspects([key for key, _ in added]) == [key for key, _ in added]
    assert len(prints) == len({key[:8] for key, _ in added})


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(range(8)), st.floats(0, 40)), max_size=40), st.floats(-30, 80))
def test_only_what_ended_long_ago_is_dropped(added: list[tuple[int, float]], hours: float) -> None:
    """The later end of two counts, and a day after it must have passed."""
    prints, now = Fingerprints(), NOW + PURGE_DELAY + hours * 3600
    ends: dict[bytes, float] = {}
    for number, after in added:
        each = record(f"{number}", until=NOW + after * 3600)
        ends[each.key] = max(each.until, ends.get(each.key, 0.0))
        prints.add([each])

    prints.drop_ended(now)

    left = prints.suspects(list(ends))
    assert set(left) >= {key for key, until in ends.items() if until + PURGE_DELAY > now}
    assert set(left) <= {key for key, until in ends.items() if until + PURGE_DELAY + 3600 > now}
    assert len(prints) == len(left)


def test_what_never_ends_is_never_dropped() -> None:
    """Neither year 9999 nor infinity wraps around into the past."""
    prints = Fingerprints()
    forever = [record("a", until=FOREVER), record("b", until=math.inf), record("c", until=1e300)]
    prints.add(forever)

    prints.drop_ended(1e12)

    assert len(prints.suspects([each.key for each in forever])) == 3


def test_a_match_across_two_rows_is_not_taken_for_the_row_itself() -> None:
    """A false match may make us ask; it must not keep a record from being added."""
    place, first = b"\1\2", bytes(range(10, 16))
    prints = Fingerprints()
    prints.add([Revocation(place + first + bytes(8), FOREVER, 0x414243 * 3600.0)])
    across = first[2:] + b"AB"
    key = place + across + bytes(8)
    assert prints.suspects([key]) == [key]

    prints.add([Revocation(key, FOREVER, NOW)])

    assert len(prints) == 2


def test_a_false_suspicion_refuses_nobody() -> None:
    """The store has the last word."""
    held = record("ann")
    other = Revocation(held.key[:8] + b"another!", FOREVER, NOW)

    copy, books = compact(held), Books(held)

    assert run_blocking(copy.find([other.key], books)) == []
    assert list(run_blocking(copy.find([held.key, other.key], books))) == [held]


def test_a_client_that_keeps_trying_makes_us_ask_once() -> None:
    """Until something changes; then the store may say something new."""
    old, new = record("ann", before=100.0), record("ann", before=200.0)
    copy, books = compact(old), Books(old)

    for _ in range(5):
        assert list(run_blocking(copy.find([old.key], books))) == [old]
    asked_once = books.asked
    books.records = [new]
    copy.add([new])

    assert asked_once == 1
    assert list(run_blocking(copy.find([old.key], books))) == [new]


def test_an_answer_that_was_overtaken_is_not_remembered() -> None:
    """What is added while the store is being asked must be found by the next who asks."""
    old, new = record("ann", before=100.0), record("ann", before=200.0)
    copy, books = compact(old), Books(old)

    async def overtaken(keys: Sequence[bytes]) -> Sequence[Revocation]:
        found = await books(keys)
        books.records = [new]
        copy.add([new])
        return found

    run_blocking(copy.find([old.key], overtaken))

    assert list(run_blocking(copy.find([old.key], books))) == [new]


def test_what_is_remembered_of_the_store_stays_small() -> None:
    """Thousands of revoked clients at once cost no memory."""
    records = [record(f"{n}") for n in range(3000)]
    copy, books = compact(*records), Books(*records)

    for each in records:
        assert list(run_blocking(copy.find([each.key], books))) == [each]

    assert len(copy._confirmed[1]) <= 1024


def test_growing_past_the_limit_loses_nothing_that_is_added_meanwhile() -> None:
    """It happens in steps, and others add and ask between them."""
    copy, books = Copy(compact_above=60_000), Books()
    names = [f"{n}" for n in range(70_000)]
    copy.add([record(name) for name in names])
    exact = copy.held.bytes_held()

    late = 0
    while isinstance(copy.held, Index):
        copy.compact_if_large()
        copy.add([record(f"late {late}")])
        late += 1
    books.records = [record(f"late {n}") for n in range(late)]

    assert late > 1
    assert len(copy.held) == 70_000 + late
    assert isinstance(copy.held, Fingerprints)
    assert len(copy.held.suspects([record(name).key for name in names])) == 70_000
    assert all(run_blocking(copy.find([record(f"late {n}").key], books)) for n in range(late))
    assert copy.held.bytes_held() < exact


def test_ended_records_leave_an_exact_copy_and_a_compact_one() -> None:
    """In small steps, so that nobody waits."""
    for copy in (Copy(), compact()):
        copy.add([record(f"{n}") for n in range(2000)])
        for _ in range(200):
            copy.tidy(NOW + 7200 + PURGE_DELAY + 3601)

        assert len(copy.held) == 0
