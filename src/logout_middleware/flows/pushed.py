"""Logging out whom another party names, who holds no credential of his: by a push, or by Universal Logout.

Who may name whom is decided before. Every effect ends in `Logouts`, and repeating one changes nothing; so a message is
known as dealt with (`burnt`) only when all of its effect is durable, and one that failed half-way can be sent again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import StoreError
from ..events import LogoutEvent
from ..rules.revocation import FOREVER, Revocation, key_of, pair_key, session_key, user_key
from ..stores import Outcome, PartlyKnown
from .logout import Caller, Logouts


@dataclass(frozen=True, slots=True)
class Target:
    """Who is to be logged out: a user, a session, or the session that both name. `realm` None is our own."""

    realm: str | None
    user: str | None = None
    session: str | None = None

    @property
    def key(self) -> bytes:
        """The name of the session, else of the user."""
        if self.session is not None:
            return session_key(self.session, self.realm)
        return user_key(self.user or "", self.realm)

    @property
    def pairs(self) -> tuple[bytes, ...]:
        """The names of a session that must be this user's, too: of who says both, only the session, only the user."""
        if self.user is None or self.session is None:
            return ()
        said = ((self.user, self.session), (None, self.session), (self.user, None))
        return tuple(pair_key(user, session, self.realm) for user, session in said)


@dataclass(frozen=True, slots=True)
class Message:
    """What was asked for, once: `kind`, `sender` and `token_id` name it. `detail`: for the audit record."""

    kind: str
    sender: str
    token_id: str
    reason: str
    detail: str | None = None

    @property
    def key(self) -> bytes:
        """The name under which it is remembered."""
        return key_of(self.kind, self.sender, self.token_id)


async def known(logouts: Logouts, message: Message, target: Target | None) -> Sequence[Revocation]:
    """The records of this message and of its effect; none if it was not dealt with yet, or that cannot be known.

    Not knowing does no harm: twice, the effect of an event is the same, and that of a call is one more logout.
    """
    keys = (target.key, *target.pairs) if target is not None else ()
    try:
        found: Sequence[Revocation] = await logouts.store.find([message.key, *keys])
    except PartlyKnown as error:
        found = error.known
    except StoreError:
        return ()
    return found if any(each.key == message.key for each in found) else ()


async def burn(logouts: Logouts, message: Message, records: Sequence[Revocation] = ()) -> Outcome:
    """Remember that this message was dealt with: together with these records of its effect, and behind them."""
    until = logouts.lasting(logouts.clock())
    return await logouts.confirm([*records, Revocation(message.key, FOREVER, until, message.kind)])


async def end(logouts: Logouts, target: Target, message: Message, *, before: float, caller: Caller) -> Outcome:
    """Log them out, as far as they logged in up to `before`; durable, and the message is burnt, when this returns."""
    plan = _for_session if target.session is not None else _for_user
    records, sessions, roots = await plan(logouts, target, message.reason, before)
    event = LogoutEvent(
        kind="logout", outcome="done", time=logouts.clock(), user=target.user, session=target.session,
        scope="user" if target.session is None else "session", reason=message.reason, client_address=caller.address,
        user_agent=caller.user_agent, detail=message.detail,
    )  # fmt: skip
    done = await logouts.end(records, roots=roots, event=event, sessions=sessions)
    burnt = await burn(logouts, message, records)
    return Outcome.PENDING if Outcome.PENDING in (done.outcome, burnt) else Outcome.DONE


_Plan = tuple[list[Revocation], dict[bytes, str | None], list[bytes]]
"""What is revoked, which sessions are known to end by it, and what ends with all that is bound to it."""


async def _for_user(logouts: Logouts, target: Target, reason: str, before: float) -> _Plan:
    # A session that was refreshed since has tokens that are younger than the cut-off, and is as old as it was. What
    # began in the second of the cut-off is left to that: there are marks for who came later (`login_marks`).
    old = {each.key: each.sid for each in await _listed(logouts, target) if each.created_at < math.floor(before)}
    now = logouts.clock()
    ending = [Revocation(key, FOREVER, logouts.lasting(now), reason) for key in old]
    return [*ending, logouts.cut_off(target.key, before=before, reason=reason, now=now)], old, list(old)


async def _for_session(logouts: Logouts, target: Target, reason: str, before: float) -> _Plan:
    lasting, key = logouts.lasting(logouts.clock()), target.key
    whole = Revocation(key, FOREVER, lasting, reason)
    if target.user is None:
        return [whole], {key: target.session}, [key]
    both, session_alone, user_alone = target.pairs
    records = [Revocation(each, FOREVER, lasting, reason) for each in (both, session_alone)]
    records.append(Revocation(user_alone, before, lasting, reason))
    if any(key == each.key or target.session == each.sid for each in await _listed(logouts, target)):
        return [*records, whole], {key: target.session}, [key]
    # Where no registry says whose a session is, what is bound to it is taken for its user's.
    return records, {}, [key] if logouts.listed is None else []


async def _listed(logouts: Logouts, target: Target) -> Sequence[Any]:
    """The registered sessions of the user; none if that cannot be known now."""
    if logouts.listed is None or target.user is None:
        return ()
    try:
        return await logouts.listed(user_key(target.user, target.realm), target.realm)
    except StoreError:
        return ()
