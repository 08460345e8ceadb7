"""Records as rows of the SQL store, and back."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from ..errors import StoreError
from ..rules.revocation import Revocation, merge
from .index import pack_keep, unpack_keep
from .sql_server import FullRow, NewRow


def rows_of(revocations: Sequence[Revocation]) -> list[NewRow]:
    """The rows of these records, merged: a statement may not change a row twice."""
    merged: dict[tuple[bytes, frozenset[bytes]], Revocation] = {}
    for record in revocations:
        if not (math.isfinite(record.before) and math.isfinite(record.until)):
            raise StoreError("a record's times must be finite; use rules.revocation.FOREVER")
        name = (record.key, record.keep)
        merged[name] = merge(merged[name], record) if name in merged else record
    rows = []
    for record in merged.values():
        keep = pack_keep(record.keep)
        reason = record.reason.encode("utf-8", "surrogatepass")
        rows.append((record.key, _digest(keep), keep, float(record.before), float(record.until), reason))
    return rows


def _digest(keep: bytes) -> bytes:
    return hashlib.sha256(keep).digest()[:16] if keep else b""


def revocations_of(rows: Sequence[FullRow]) -> list[Revocation]:
    """The records in these rows."""
    return [
        Revocation(key, before, until, reason.decode("utf-8", "surrogatepass"), unpack_keep(keep))
        for key, keep, before, until, reason, _, _ in rows
    ]
