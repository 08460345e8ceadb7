"""Logging out whom another party names, who holds no credential of his: by a push, or by Universal Logout.

Who may name whom is decided before. Every effect ends in `Logouts`, and repeating one changes nothing; so a message is
known as dealt with (`burnt`) only when all of its effect is durable, and one that failed half-way can be sent again.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

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
    def keys(self) -> tuple[bytes, ...]:
        """The names under which it is revoked."""
        if self.session is None:
            return (user_key(self.user or "", self.realm),)
        if self.user is None:
            return (session_key(self.session, self.realm),)
        # What does not say its user is named by its session; what does not say its session cannot be told from others.
        return tuple(pair_key(user, self.session, self.realm) for user in (self.user, None))


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

    Not knowing does no harm: the effect of a message is the same twice.
    """
    keys = target.keys if target is not None else ()
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
    if target.session is None:
        outcome, records = await _end_user(logouts, target, message, before, caller)
    else:
        outcome, records = await _end_session(logouts, target, message, caller)
    burnt = await burn(logouts, message, records)
    return Outcome.PENDING if Outcome.PENDING in (outcome, burnt) else Outcome.DONE


async def _end_user(
    logouts: Logouts, target: Target, message: Message, before: float, caller: Caller
) -> tuple[Outcome, list[Revocation]]:
    now, (key,) = logouts.clock(), target.keys
    # A session that was refreshed since has tokens that are younger than the cut-off, and is as old as it was. What
    # began in the second of the cut-off is left to that: there are marks for who came later (`login_marks`).
    old: dict[bytes, str | None] = {}
    members: list[bytes] = []
    with contextlib.suppress(StoreError):
        listed = await logouts.listed(key, target.realm) if logouts.listed is not None else ()
        old = {each.key: each.sid for each in listed if each.created_at < math.floor(before)}
        members = await logouts.bindings.members(list(old), now)
    cut = logouts.cut_off(key, before=before, reason=message.reason, now=now)
    ending = [
        Revocation(each, FOREVER, logouts.lasting(now), message.reason) for each in {**dict.fromkeys(members), **old}
    ]
    event = _event(target, message, caller, now, scope="user")
    done = await logouts.revoke([*ending, cut], event)
    await logouts.tell_ends(old, event)
    return done.outcome, [cut]


async def _end_session(
    logouts: Logouts, target: Target, message: Message, caller: Caller
) -> tuple[Outcome, list[Revocation]]:
    now, session = logouts.clock(), target.session or ""
    key = session_key(session, target.realm)
    records = [Revocation(each, FOREVER, logouts.lasting(now), message.reason) for each in target.keys]
    if target.user is not None and not await _is_of(logouts, target, key):
        done = await logouts.revoke(records, _event(target, message, caller, now, scope="session"))
        return done.outcome, records
    # Here it is known whose session it is: what is bound to it ends with it.
    ended = await logouts.end_sessions(
        {key: session}, reason=message.reason, user=target.user, caller=caller, detail=message.detail
    )
    return ended.outcome, [*records, Revocation(key, FOREVER, logouts.lasting(now), message.reason)]


async def _is_of(logouts: Logouts, target: Target, key: bytes) -> bool:
    """Is this session registered as one of the user? Not knowing is no: then it is ended if it is, by both names."""
    if logouts.listed is None or target.user is None:
        return False
    with contextlib.suppress(StoreError):
        listed = await logouts.listed(user_key(target.user, target.realm), target.realm)
        return any(key == each.key or target.session == each.sid for each in listed)
    return False


def _event(target: Target, message: Message, caller: Caller, now: float, *, scope: str) -> LogoutEvent:
    event = LogoutEvent(
        "logout", "done", now, scope=scope, user=target.user, session=target.session, reason=message.reason
    )
    return replace(event, client_address=caller.address, user_agent=caller.user_agent, detail=message.detail)
