"""What we remember about a logout, and what it refuses.

A revocation says: whatever `key` names and was issued up to `before` is dead. It may be forgotten after
`until`, when nothing it could hit can still be alive. Revocations merge, in any order and any number of
times, to the same result; that is why retries, replays and reordered deliveries are harmless everywhere.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .identity import Identity

# The end of year 9999: "whenever it was issued" as `before`, "never forget" as `until`. A number rather than
# infinity, because every store can hold it.
FOREVER = 253402300799.0
KEY_BYTES = 16


_HOUR = 3600.0


def forgettable_after(moment: float) -> float:
    """An `until` that is not before this moment: the next full hour.

    Later is always safe, and a million records with a few hundred different ends take a third of the memory.
    """
    return min(math.ceil(min(moment, FOREVER) / _HOUR) * _HOUR, FOREVER)


def key_of(kind: str, realm: str | None, *parts: str | bytes) -> bytes:
    """The 16 bytes under which one thing can be revoked.

    SHA-256 over length-prefixed parts, so that no two different names share a key, however they are built,
    and the store never sees a name. `realm` None is our own realm, which differs from the realm "".
    """
    digest = hashlib.sha256(b"logout-middleware/1")
    for part in (kind, "own" if realm is None else "issuer", realm or "", *parts):
        # A lone surrogate is a legal JSON string: it must become a key, never an exception.
        raw = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.digest()[:KEY_BYTES]


@functools.lru_cache(maxsize=8192)
def session_key(session_id: str, realm: str | None = None) -> bytes:
    """One login on one device: its tokens, cookie and connections together."""
    return key_of("session", realm, session_id)


@functools.lru_cache(maxsize=8192)
def user_key(user_id: str, realm: str | None = None) -> bytes:
    """Everything of one user; revoked with a cut-off time."""
    return key_of("user", realm, user_id)


def pair_key(user_id: str | None, session_id: str | None, realm: str | None = None) -> bytes:
    """The sessions that have both, for a logout token that names both (OpenID Connect Back-Channel Logout 2.4).

    None: a credential that does not say; it is named by what it does say.
    """
    return key_of(
        "pair",
        realm,
        *(b"" if part is None else b"=" + part.encode("utf-8", "surrogatepass") for part in (user_id, session_id)),
    )


def client_key(client_id: str, realm: str | None = None) -> bytes:
    """Everything issued to one application; revoked with a cut-off time."""
    return key_of("client", realm, client_id)


def everyone_key(realm: str | None = None) -> bytes:
    """Everything of one issuer; revoked with a cut-off time."""
    return key_of("everyone", realm)


@dataclass(frozen=True, slots=True)
class Revocation:
    """`key` is dead if issued up to `before` (seconds since 1970), unless it is one of `keep`.

    Records of one key with different `keep` sets are different records: each refuses by itself.
    """

    key: bytes
    before: float
    until: float
    reason: str = ""
    keep: frozenset[bytes] = frozenset()

    def refuses(self, keys: Iterable[bytes], issued_at: float | None) -> bool:
        """Is a credential with these keys, already known to include `self.key`, dead by this record?

        What does not say when it was issued is taken for old: a cut-off must not be dodged by leaving `iat` out.
        """
        if self.keep and not self.keep.isdisjoint(keys):
            return False
        return issued_at is None or issued_at <= self.before


def merge(one: Revocation, other: Revocation) -> Revocation:
    """The record that refuses all that either refuses: idempotent, commutative, associative.

    Both must have the same key and the same keep set.
    """
    if (one.key, one.keep) != (other.key, other.keep):
        raise ValueError("only records of one key and one keep set merge")
    latest = max(one, other, key=lambda record: (record.before, record.reason))
    return Revocation(one.key, latest.before, max(one.until, other.until), latest.reason, one.keep)


def is_revoked(identity: Identity, revocations: Sequence[Revocation]) -> Revocation | None:
    """The first of the found records that refuses this identity, or None. Any match refuses; nothing revives."""
    for record in revocations:
        if record.key in identity.keys and record.refuses(identity.keys, identity.issued_at):
            return record
    return None


def refusing(identity: Identity, revocations: Sequence[Revocation]) -> list[Revocation]:
    """All of the found records that refuse this identity, those that reach furthest first (user, session, own)."""
    widest_first = {key: -place for place, key in enumerate(identity.keys)}
    found = [
        each for each in revocations if each.key in widest_first and each.refuses(identity.keys, identity.issued_at)
    ]
    return sorted(found, key=lambda record: widest_first[record.key])


@dataclass(frozen=True, slots=True)
class Verdict:
    """What we say of one credential: whom it names, which record refuses it, and why it is refused, if it is."""

    identity: Identity | None
    revocation: Revocation | None = None
    refusal: str | None = None
