"""How the store of this process is: can it answer, how old is the copy, what waits in the journal, which store is it.

Asks every layer of the stack for what it alone knows; changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import LogoutError, StoreError
from ..rules.revocation import everyone_key
from . import Store
from .epoch import Memory


async def health(store: Store) -> dict[str, Any]:
    """`status` ok or away, what the store says of itself, and what there is of replica, journal and epoch.

    It is away if either an operator's or a guarded request's question fails.
    """
    found: dict[str, Any]
    try:
        said = await store.check()
        await store.find([everyone_key(None)])
        found = {"status": "ok", "store": said}
    except LogoutError as error:
        found = {"status": "away", "because": str(error)}
    for layer in _layers(store):
        found |= await _known_to(layer)
    return found


def _layers(store: Any) -> Iterator[Any]:
    """The stack from the top (see `opening.py`); what is around another store has it as `inner`."""
    while store is not None:
        yield store
        store = getattr(store, "inner", None)


async def _known_to(layer: Any) -> dict[str, Any]:
    known: dict[str, Any] = {}
    if hasattr(layer, "age"):
        known["replica_age_seconds"] = layer.age()
    if hasattr(layer, "waiting"):
        try:
            known["journal_waiting"] = await layer.waiting()
        except StoreError as error:
            known["journal_waiting"], known["journal_because"] = None, str(error)
    memory = getattr(layer, "memory", None)
    if isinstance(memory, Memory):
        known["epoch"] = [
            {"part": part, "id": mark.id, "adopted_at": mark.adopted_at or None, "changes": mark.changes}
            for part, mark in sorted(memory.snapshot().items())
        ]
    return known
