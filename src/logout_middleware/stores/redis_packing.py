"""How records and marks are written in Redis. The scripts (redis_scripts.py) read and write the same.

A record is packed in 4 bytes where it is the usual one: whenever issued, to be forgotten at a full hour, a known
reason. Any other float, text and keep set comes back exactly.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..rules.revocation import FOREVER, KEY_BYTES, Revocation
from .epoch import Mark

PARTS = 16
# Numbers are stored: only ever append, and never beyond 15.
REASONS = (
    "logout", "", "revoke_token", "revoke_session", "revoke_user", "revoke_other_sessions", "revoke_client",
    "revoke_everyone", "backchannel", "adopt_store",
)  # fmt: skip
SPELLED = 15
DOUBLE = struct.Struct("<d")
_REASON_NUMBERS = {reason: number for number, reason in enumerate(REASONS)}
_MOST_HOURS = 1 << 24
_LENGTH = struct.Struct("<I")
_KEPT = 4096


def tag(prefix: str, part: int) -> str:
    """What the names of all keys of a partition begin with."""
    return f"{{{prefix}{part}}}:"


def part_of(key: bytes) -> int:
    """The partition of a key."""
    return key[0] & 15


@dataclass(frozen=True, slots=True)
class RawMark:
    """The mark of a partition, as the scripts write it; `id` None: it has none.

    `seq`: changes so far. `sure`: those that replicas confirmed. `last`: a random word of the last change, because
    after a fail-over another change can have the same number.
    """

    raw: bytes
    part: int
    id: str | None = None
    adopted_at: int = 0
    seq: int = 0
    sure: int = 0
    last: str = ""

    @classmethod
    def of(cls, raw: bytes) -> RawMark:
        """The mark that these bytes say."""
        part, *rest = raw.decode().split(" ")
        if not rest:
            return cls(raw, int(part))
        return cls(raw, int(part), rest[0], int(rest[1]), int(rest[2]), int(rest[3]), rest[4])

    def mark(self, sure: int = 0) -> Mark | None:
        """What is to be remembered of it; `sure`: so many are known to be confirmed by now."""
        return None if self.id is None else Mark(self.id, self.adopted_at, max(self.sure, sure))


def pack(record: Revocation) -> bytes:
    """A record without its key; equal records give equal bytes.

    A byte of flags: 1 `before` follows (else FOREVER); 2 `until` is a double, 4 it is FOREVER (else hours, 3 bytes);
    8 a keep set follows; the upper half is the number of the reason, or 15: it is spelled out.
    """
    flags, parts = 0, []
    if record.before != FOREVER:
        flags |= 1
        parts.append(DOUBLE.pack(record.before))
    hours, beyond = divmod(record.until, 3600.0)
    if record.until == FOREVER:
        flags |= 4
    elif beyond == 0.0 and 0 <= hours < _MOST_HOURS:
        parts.append(int(hours).to_bytes(3, "little"))
    else:
        flags |= 2
        parts.append(DOUBLE.pack(record.until))
    reason = _REASON_NUMBERS.get(record.reason, SPELLED)
    flags |= reason << 4
    if reason == SPELLED:
        spelled = record.reason.encode("utf-8", "surrogatepass")
        parts.append(_LENGTH.pack(len(spelled)) + spelled)
    if record.keep:
        flags |= 8
        parts.append(_LENGTH.pack(len(record.keep) * KEY_BYTES) + b"".join(sorted(record.keep)))
    return bytes((flags,)) + b"".join(parts)


_Row = tuple[float, float, str, frozenset[bytes]]
_nothing_kept: frozenset[bytes] = frozenset()
_unpacked: dict[bytes, tuple[_Row, ...]] = {}


def unpack(key: bytes, packed: bytes) -> Sequence[Revocation]:
    """The records of a key."""
    rows = _unpacked.get(packed)
    if rows is None:
        rows = tuple(_rows(packed))
        # A million records have a few hundred different ends; what is long is hardly ever said twice.
        if len(packed) <= KEY_BYTES:
            if len(_unpacked) >= _KEPT:
                _unpacked.clear()
            _unpacked[packed] = rows
    return [Revocation(key, *row) for row in rows]


def _rows(packed: bytes) -> Iterable[_Row]:
    at = 0
    while at < len(packed):
        flags, at = packed[at], at + 1
        before = until = FOREVER
        reason, keep = "", _nothing_kept
        if flags & 1:
            before, at = DOUBLE.unpack_from(packed, at)[0], at + 8
        if flags & 2:
            until, at = DOUBLE.unpack_from(packed, at)[0], at + 8
        elif not flags & 4:
            until, at = int.from_bytes(packed[at : at + 3], "little") * 3600.0, at + 3
        if flags >> 4 == SPELLED:
            spelled, at = _piece(packed, at)
            reason = spelled.decode("utf-8", "surrogatepass")
        else:
            reason = REASONS[flags >> 4]
        if flags & 8:
            kept, at = _piece(packed, at)
            keep = frozenset(kept[start : start + KEY_BYTES] for start in range(0, len(kept), KEY_BYTES))
        yield before, until, reason, keep


def _piece(packed: bytes, at: int) -> tuple[bytes, int]:
    start = at + 4
    end = start + _LENGTH.unpack_from(packed, at)[0]
    return packed[start:end], end
