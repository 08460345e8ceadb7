"""The cursors of feeds as text, for readers outside this process, and back again.

What each store's cursor is made of stays its own affair: numbers, texts, bytes, tuples, and a few classes by name.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

from . import FeedGap

_CLASSES = {
    "redis": ("redis_feed", "Cursor"),
    "place": ("redis_feed", "_Place"),
    "sql": ("sql", "_Cursor"),
}
_DEEPEST = 6


def to_text(cursor: Any) -> str:
    """A cursor that a store gave, as JSON."""
    return json.dumps(_plain(cursor), separators=(",", ":"))


def from_text(text: str) -> Any:
    """The cursor of such a text; FeedGap for every other."""
    try:
        return _cursor(json.loads(text), _DEEPEST)
    except (ValueError, TypeError, RecursionError):
        raise FeedGap("this is no cursor of this store") from None


def _plain(value: Any) -> Any:
    if value is None or type(value) in (int, str):
        return value
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    for name, (module, kind) in _CLASSES.items():
        if type(value).__name__ == kind and type(value).__module__ == f"{__package__}.{module}":
            named = [each.name for each in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else None
            members = [getattr(value, each) for each in named] if named is not None else list(value)
            return {name: [_plain(each) for each in members]}
    if type(value) is tuple:
        return [_plain(each) for each in value]
    raise TypeError(f"a cursor cannot hold {type(value).__name__}")


def _cursor(value: Any, depth: int) -> Any:
    if depth == 0:
        raise ValueError("too deep")
    if value is None or type(value) in (int, str):
        return value
    if isinstance(value, list):
        return tuple(_cursor(each, depth - 1) for each in value)
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError("not a part of a cursor")
    ((name, inner),) = value.items()
    if name == "bytes":
        return bytes.fromhex(inner)
    module, kind = _CLASSES.get(name, ("", ""))
    # Never imported here: whose class is not loaded, that store is not in use, and the cursor is another's.
    made_by = getattr(sys.modules.get(f"{__package__}.{module}"), kind, None)
    if made_by is None or not isinstance(inner, list):
        raise ValueError("not a cursor of a store in use")
    return made_by(*(_cursor(each, depth - 1) for each in inner))
