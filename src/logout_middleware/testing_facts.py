"""The part of `testing.StoreContract` that is about facts, and about a feed that begins at its end."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Protocol, TypeAlias

import pytest

from .colour import run_blocking
from .errors import StoreError
from .rules.revocation import FOREVER, Revocation, key_of
from .stores import NOW, PURGE_DELAY, Fact, Store, merge_facts

Run: TypeAlias = Callable[[Coroutine[Any, Any, Any]], Any]


class Clock(Protocol):
    """What a test needs of `testing.MovableClock`."""

    now: float

    def move(self, seconds: float) -> None:
        """Let time pass, or go back."""
        ...


def _key(name: object) -> bytes:
    return key_of("test", None, str(name))


def _fact(subject: object, name: object = "name", *, at: float = 1.5, until: float = 2e9, text: str = "") -> Fact:
    return Fact(_key(subject), _key(name), at, until, text)


class FactsContract:
    """What `Store.learn`, `Store.facts` and the cursor NOW promise; `StoreContract` has the fixtures."""

    shared = True

    def test_what_was_learned_is_known_and_nothing_else(self, store: Store, run: Run) -> None:
        """`facts` returns exactly those of the subjects it is asked for, each once."""
        about_ann = [_fact("ann", "one", at=1.25, text="Zoë’s phone \0 \U0001f4f1"), _fact("ann", "two", until=FOREVER)]
        run(store.learn([*about_ann, _fact("ben")]))

        assert set(run(store.facts([_key("ann"), _key("nobody"), _key("ann")]))) == set(about_ann)
        assert list(run(store.facts([_key("ben")]))) == [_fact("ben")]
        assert list(run(store.facts([_key("nobody")]))) == []
        assert list(run(store.facts([]))) == []

    def test_nothing_to_learn_is_nothing(self, store: Store, run: Run) -> None:
        """An empty list is no error."""
        run(store.learn([]))

        assert list(run(store.facts([_key("ann")]))) == []

    def test_another_instance_knows_what_was_learned(
        self, store: Store, run: Run, another: Callable[[], Store]
    ) -> None:
        """Another worker knows at its next request; so does one that starts later."""
        if not self.shared:
            assert not store.durable
            return
        early = another()
        assert list(run(early.facts([_key("ann")]))) == []

        run(store.learn([_fact("ann")]))

        assert list(run(early.facts([_key("ann")]))) == [_fact("ann")]
        assert list(run(another().facts([_key("ann")]))) == [_fact("ann")]

    def test_facts_of_one_name_merge_in_any_order_to_the_same(self, store: Store, run: Run) -> None:
        """The later wins, of two of one moment the greater text, and the longer memory of both, at once or in turn."""
        texts = ["", "a", "ab", "b", "Ä", "\uffff", "\U00010000", "\ud800", "\0"]
        versions = [
            *(_fact("x", at=5.0, until=2e9 + n % 2, text=text) for n, text in enumerate(texts)),
            *(_fact("x", at=at, until=until, text="m") for at, until in itertools.product((-1.0, 5.25), (2e9, 3e9))),
        ]
        told = [
            [replace(fact, subject=_key(n)) for fact in pair]
            for n, pair in enumerate(itertools.permutations(versions, 2))
        ]

        for turn in (0, 1):
            run(store.learn([pair[turn] for pair in told]))
        run(store.learn([replace(fact, name=_key("at once")) for pair in told for fact in pair]))

        found = {(fact.subject, fact.name): fact for fact in run(store.facts([pair[0].subject for pair in told]))}
        for pair in told:
            expected = merge_facts(*pair)
            assert found.pop((expected.subject, expected.name)) == expected
            assert found.pop((expected.subject, _key("at once"))) == replace(expected, name=_key("at once"))
        assert found == {}

    def test_learning_again_changes_nothing(self, store: Store, run: Run) -> None:
        """Callers may retry."""
        for _ in range(3):
            run(store.learn([_fact("ann", text="here")]))

        assert list(run(store.facts([_key("ann")]))) == [_fact("ann", text="here")]

    def test_what_ended_is_no_fact_any_more(self, store: Store, run: Run, clock: Clock) -> None:
        """At its end, not before; purged or not, and whoever was wrong about the time by a day has lost nothing."""
        run(store.learn([_fact("ann", "short", until=clock.now + 60), _fact("ann", "long")]))
        clock.move(59.0)
        before = run(store.facts([_key("ann")]))
        clock.move(1.0)
        after = run(store.facts([_key("ann")]))
        clock.move(PURGE_DELAY - 3600)
        run(store.purge())
        run(store.learn([_fact("ben")]))
        clock.move(-PURGE_DELAY)
        set_back = run(store.facts([_key("ann")]))

        assert {fact.name for fact in before} == {_key("short"), _key("long")}
        assert [fact.name for fact in after] == [_key("long")]
        assert {fact.name for fact in set_back} == {_key("short"), _key("long")}

    def test_what_ended_long_ago_is_forgotten(self, store: Store, run: Run, clock: Clock) -> None:
        """Purging takes it, counts it not, and leaves what is live; so does learning more of the same subject."""
        ended = [_fact("ann", n, until=clock.now + 60) for n in range(20)]
        run(store.learn([*ended, _fact("ben", "live")]))
        clock.move(PURGE_DELAY + 120)

        purged = run(store.purge())
        run(store.learn([_fact("ann", "live")]))
        clock.move(-PURGE_DELAY - 120)

        assert purged == 0
        assert [fact.name for fact in run(store.facts([_key("ann")]))] == [_key("live")]
        assert [fact.name for fact in run(store.facts([_key("ben")]))] == [_key("live")]

    def test_facts_are_no_revocations(self, store: Store, run: Run, feed: Store) -> None:
        """They change no version, come in no feed, and are not counted."""
        run(store.find([_key("one")]))
        cursor = run_blocking(feed.changes(NOW)).cursor
        version = store.version()

        run(store.learn([_fact("one"), _fact("two")]))

        page = run_blocking(feed.changes(cursor))
        assert store.version() == version
        assert (list(page.revocations), page.complete) == ([], True)
        assert run(store.count()) == 0
        assert list(run(store.find([_key("one"), _key("name")]))) == []

    def test_five_hundred_subjects_are_asked_at_once(self, store: Store, run: Run) -> None:
        """However many sessions somebody has."""
        facts = [_fact(n, f"name {n}", at=float(n), text=f"text {n}") for n in range(500)]
        run(store.learn(facts))

        found = run(store.facts([fact.subject for fact in facts]))

        assert len(found) == 500
        assert set(found) == set(facts)

    def test_a_feed_that_begins_now_gives_what_is_added_from_here_on(self, store: Store, run: Run, feed: Store) -> None:
        """It begins at once; nothing that was there before comes, and everything after, however late it is read."""
        run(store.add([Revocation(_key(f"old {n}"), FOREVER, 2e9, "logout") for n in range(30)]))
        asked = time.monotonic()
        first = run_blocking(feed.changes(NOW, 20.0))
        took = time.monotonic() - asked
        new = [Revocation(_key(f"new {n}"), FOREVER, 2e9, "logout") for n in range(30)]
        for record in new:
            run(store.add([record]))

        found: list[Revocation] = []
        page = first
        while not found or not page.complete:
            page = run_blocking(feed.changes(page.cursor, 5.0))
            found += page.revocations

        assert took < 10.0
        assert (list(first.revocations), first.complete) == ([], True)
        assert set(found) == set(new)

    def test_a_feed_that_begins_now_begins_in_an_empty_store(self, store: Store, run: Run, feed: Store) -> None:
        """The first worker of a new installation."""
        cursor = run_blocking(feed.changes(NOW)).cursor
        record = Revocation(_key("one"), FOREVER, 2e9, "logout")

        run(store.add([record]))

        assert list(run_blocking(feed.changes(cursor, 5.0)).revocations) == [record]

    def test_a_closed_store_knows_no_facts_and_says_so(self, store: Store, run: Run) -> None:
        """Never an empty answer for "I cannot look"."""
        run(store.close())

        with pytest.raises(StoreError):
            run(store.facts([_key("ann")]))
        with pytest.raises(StoreError):
            run(store.learn([_fact("ann")]))

    def test_a_time_that_is_no_number_is_refused(self, store: Store, run: Run) -> None:
        """Nobody could say when it may be forgotten."""
        for fact in (_fact("ann", until=float("inf")), _fact("ann", at=float("nan"))):
            with pytest.raises(StoreError, match="finite"):
                run(store.learn([fact]))

        assert list(run(store.facts([_key("ann")]))) == []
