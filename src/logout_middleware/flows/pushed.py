"""Logging out whom another party names, who holds no credential of his: by a logout token, a push, Universal Logout.

Who may name whom is decided before. Every effect ends in `Logouts`, and repeating one changes nothing; so a message is
known as dealt with (`burnt`) only when all of its effect is durable, and one that failed half-way can be sent again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..errors import StoreError
from ..events import LogoutEvent
from ..rules.revocation import FOREVER, Revocation, forgettable_after, key_of, pair_key, session_key, user_key
from ..stores import Outcome, PartlyKnown
from .logout import Caller, Logouts, worse
from .sessions import REGISTERED, SEEN


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


BURNT = "!burnt"
"""The reason of a record that a message was dealt with; it revokes nothing. No caller can give it (`orders.told`)."""


@dataclass(frozen=True, slots=True)
class Message:
    """What was asked for, once: `kind`, `sender` and `token_id` name it, and `about` where one id may be of several.

    `detail`: for the audit record. `ends`: from when on it is refused anyway, so that nobody need remember it.
    """

    kind: str
    sender: str
    token_id: str
    reason: str
    detail: str | None = None
    ends: float | None = None
    about: tuple[bytes, ...] = ()

    @property
    def key(self) -> bytes:
        """The name under which it is remembered."""
        return key_of(self.kind, self.sender, self.token_id, *self.about)


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
    if message.ends is not None:
        until = min(until, forgettable_after(message.ends + logouts.leeway))
    return await logouts.confirm([*records, Revocation(message.key, FOREVER, until, BURNT)])


async def end(logouts: Logouts, target: Target, message: Message, *, before: float, caller: Caller) -> Outcome:
    """Log them out, as far as they logged in up to `before`; durable, and the message is burnt, when this returns.

    StoreError, too, if the store took the logout but could not say what belongs to it: a part of one is no success.
    """
    plan = await (_for_session if target.session is not None else _for_user)(logouts, target, message.reason, before)
    event = LogoutEvent(
        kind="logout", outcome="done", time=logouts.clock(), user=target.user, session=target.session,
        scope="user" if target.session is None else "session", reason=message.reason, client_address=caller.address,
        user_agent=caller.user_agent, detail=message.detail,
    )  # fmt: skip
    done = await logouts.end(plan.records, roots=plan.roots, event=event, sessions=plan.sessions)
    if plan.is_of_another:
        why = "this session is of another user here; does the application keep the issuer's sub in it?"
        await logouts.events.emit(replace(event, kind="session_of_another", outcome="nothing", detail=why))
    if plan.doubt is not None and done.outcome is not Outcome.PENDING:
        raise plan.doubt
    return worse(done.outcome, await burn(logouts, message, plan.records))


@dataclass(slots=True)
class _Plan:
    """What is revoked, which sessions are known to end by it, and what ends with all that is bound to it.

    `doubt`: why there may be more of those. `is_of_another`: the session is known, but not as the user's.
    """

    records: list[Revocation]
    sessions: dict[bytes, str | None] = field(default_factory=dict)
    roots: list[bytes] = field(default_factory=list)
    doubt: StoreError | None = None
    is_of_another: bool = False


async def _for_user(logouts: Logouts, target: Target, reason: str, before: float) -> _Plan:
    now = logouts.clock()
    plan = _Plan([logouts.cut_off(target.key, before=before, reason=reason, now=now)])
    try:
        listed = await logouts.listed(target.key, target.realm) if logouts.listed is not None else ()
    except StoreError as error:
        plan.doubt, listed = error, ()
    # A session that was refreshed since has tokens that are younger than the cut-off, and is as old as it was. What
    # began in the second of the cut-off is left to that: there are marks for who came later (`login_marks`).
    plan.sessions = {each.key: each.sid for each in listed if each.created_at < math.floor(before)}
    plan.roots = list(plan.sessions)
    plan.records[:0] = [Revocation(key, FOREVER, logouts.lasting(now), reason) for key in plan.roots]
    return plan


async def _for_session(logouts: Logouts, target: Target, reason: str, before: float) -> _Plan:
    lasting, key = logouts.lasting(logouts.clock()), target.key
    whole = Revocation(key, FOREVER, lasting, reason)
    if target.user is None:
        return _Plan([whole], {key: target.session}, [key])
    both, session_alone, user_alone = target.pairs
    records = [Revocation(each, FOREVER, lasting, reason) for each in (both, session_alone)]
    try:
        facts = await logouts.store.facts([user_key(target.user, target.realm), key])
    except StoreError as error:
        return _Plan([*records, Revocation(user_alone, before, lasting, reason)], doubt=error)
    if any(fact.name == key and fact.text == REGISTERED for fact in facts):
        return _Plan([*records, whole], {key: target.session}, [key])
    # Nobody knows this session: it may be one of those that do not say which they are. And where no registry says
    # whose a session is, what is bound to it is taken for its user's.
    records.append(Revocation(user_alone, before, lasting, reason))
    is_known = any(fact.subject == key and fact.name == SEEN for fact in facts)
    return _Plan(records, roots=[key] if logouts.listed is None else [], is_of_another=is_known)
