"""Facts on their way into a store and out of it: merged, in one order, and with their text as bytes.

Which of two texts is the greater, every store must say alike: they are compared as UTF-8, byte by byte, which is the
order that Python gives them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from ..errors import StoreError
from ..rules.revocation import KEY_BYTES
from . import Fact, merge_facts

FactRow: TypeAlias = tuple[bytes, bytes, float, float, bytes]
"""subject, name, at, until, text: a fact as stores hold it."""


def merged(facts: Iterable[Fact]) -> list[Fact]:
    """These facts, one of each subject and name, in the order of their keys.

    In that order two who learn the same at once never wait for each other.
    """
    found: dict[tuple[bytes, bytes], Fact] = {}
    for fact in facts:
        if len(fact.subject) != KEY_BYTES or len(fact.name) != KEY_BYTES:
            raise ValueError(f"a fact's keys have {KEY_BYTES} bytes")
        if not (math.isfinite(fact.at) and math.isfinite(fact.until)):
            raise StoreError("a fact's times must be finite; use rules.revocation.FOREVER")
        name = (fact.subject, fact.name)
        found[name] = merge_facts(found[name], fact) if name in found else fact
    return [found[name] for name in sorted(found)]


def rows_of_facts(facts: Iterable[Fact]) -> list[FactRow]:
    """The rows of these facts, merged: a statement may not change a row twice."""
    return [
        (fact.subject, fact.name, float(fact.at), float(fact.until), fact.text.encode("utf-8", "surrogatepass"))
        for fact in merged(facts)
    ]


def facts_of(rows: Iterable[FactRow]) -> list[Fact]:
    """The facts in these rows."""
    return [
        Fact(subject, name, at, until, text.decode("utf-8", "surrogatepass")) for subject, name, at, until, text in rows
    ]


def distinct(subjects: Sequence[bytes]) -> list[bytes]:
    """Each subject once, however often it was named."""
    return list(dict.fromkeys(subjects))
