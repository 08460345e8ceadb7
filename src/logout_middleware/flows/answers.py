"""What the application's answer hands out, looked at before it leaves: cookies, and the tokens of a login or refresh.

Four things happen here. The *shield*: an answer that was under way while its login was ended must not bring it back, so
its cookies are taken out and deleted, and its tokens are born dead. A new login of the same second as a cut-off is
marked as younger. What was issued together is bound together. And the application's own Set-Cookie teaches how its
cookies are deleted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import Refused, StoreError
from ..events import LogoutEvent
from ..rules.cookies import GuardedCookie, cookie_names, with_deletions
from ..rules.credentials import Credential
from ..rules.http import MAX_BODY, parse_json_object
from ..rules.identity import Identity
from ..rules.revocation import FOREVER, Revocation
from ..rules.set_cookie import parse_set_cookie, until_browser_closes
from .guard import Guard
from .identify import Identifier
from .learned_cookies import LearnedCookies
from .logout import Logouts
from .sessions import Visit
from .stable_session import StableSessions

Headers = list[tuple[str, str]]
_NONE: Mapping[str, Identity] = {}
MAX_TOKEN_ANSWER = MAX_BODY
_SESSION_ID_LENGTH = 20
"""Characters; 128 random bits need as many (OWASP ASVS 7.2.3)."""
_REPLACED_A_MINUTE = 100
LATE = "late_answer"
"""The reason of what an answer handed out that was under way while its login was ended."""


@dataclass(frozen=True, slots=True)
class Began:
    """How a request began: with these live identities, at this moment, to this path as the browser wrote it.

    `cookies`: its Cookie fields. `https`: as the browser sees it. `delete`: guarded cookies that were dead already.
    `is_login`: to a path of TOKEN_RESPONSES, without a token to refresh. `visit`: who asks.
    """

    identities: tuple[Identity, ...]
    at: float
    path: str
    cookies: tuple[str, ...] = ()
    https: bool = False
    delete: tuple[str, ...] = ()
    is_login: bool = False
    visit: Visit = field(default_factory=Visit)


class Answers:
    """Looks at answers for one Logout object."""

    def __init__(
        self, identifier: Identifier, guard: Guard, logouts: Logouts, signing: StableSessions, learned: LearnedCookies,
        *, short_lived: bool = False,
    ) -> None:  # fmt: skip
        """`short_lived`: guarded cookies end with the browser, whatever the application says."""
        self._identifier, self._guard, self._logouts = identifier, guard, logouts
        self._signing = signing if signing.needed else None
        self._learned = learned
        self._short_lived = short_lived and not guard.observe
        self._replaced: list[float] = []
        self._cookies = {cookie.name: cookie for cookie in identifier.cookies}

    def sets_guarded(self, name: str) -> bool:
        """Is this the name of a guarded cookie, or of a piece of one?"""
        return self._learned.guarded_name(name) is not None

    # ---- cookies -------------------------------------------------------------------------------------

    async def cookies(self, headers: Headers, began: Began) -> Headers:
        """The header fields of an answer as they may leave."""
        if self._signing is not None:
            headers = self._signing.rewritten(headers, at=began.at or None)
        if self._short_lived:
            headers = [
                (name, self._shortened(value, began) if name.lower() == "set-cookie" else value)
                for name, value in headers
            ]
        lines = [value for name, value in headers if name.lower() == "set-cookie"]
        guarded = [line for line in lines if self.sets_guarded(_name_of(line))]
        if guarded:
            facts = [self._learned.sees(line, began.path) for line in guarded]
            await self._learned.remember([fact for fact in facts if fact is not None])
            set_anew = [(line, await self._identity(line, began)) for line in guarded]
            if self._guard.observe:
                return headers
            dead = await self._dead_of(began)
            if dead is None:
                return self._without_unknown(headers, set_anew, began)
            if dead:
                return await self._without_late(headers, set_anew, dead, began)
            # An answer that writes the session of its own request again, as most do, hands out nothing new.
            before = {each.login_key for each in began.identities}
            new = [found for _, found in set_anew if found is not None and found.login_key not in before]
            if new:
                named = {_name_of(line): found for line, found in set_anew if found is not None}
                await self._welcome(new, began, named)
        return with_deletions(headers, await self.deletions(began)) if began.delete else headers

    def _shortened(self, line: str, began: Began) -> str:
        if not self.sets_guarded(_name_of(line)):
            return line
        cookie = parse_set_cookie(line, began.path, self._logouts.clock())
        return line if cookie is None or cookie.deletes else until_browser_closes(line)

    async def deletions(self, began: Began) -> list[str]:
        """Set-Cookie values for the cookies that were dead when the request began."""
        return await self._learned.deletions(began.delete, cookie_names(began.cookies), https=began.https)

    async def _without_late(
        self,
        headers: Headers,
        set_anew: Sequence[tuple[str, Identity | None]],
        dead: Collection[Identity],
        began: Began,
    ) -> Headers:
        """Without the cookies of a login that ended while this answer was under way; they are deleted instead."""
        alive = {each.login_key for each in began.identities if each not in dead}
        before = {each.login_key for each in began.identities}

        def stays(found: Identity | None) -> bool:
            if found is None or not found.verified:
                return False
            is_new = began.is_login and found.session_key is not None and found.login_key not in before
            return is_new or found.login_key in alive

        late = [line for line, found in set_anew if not stays(found)]
        names = {self._learned.guarded_name(_name_of(line)) for line in late} | set(began.delete)
        kept = [(name, value) for name, value in headers if name.lower() != "set-cookie" or value not in late]
        if await self._logged_in_anew(dead):
            return kept  # The deletion could arrive after the new login's cookie, and take that away.
        present = [*cookie_names(began.cookies), *map(_name_of, late)]
        deletions = await self._learned.deletions(
            [name for name in names if name is not None], present, https=began.https
        )
        return with_deletions(kept, deletions)

    def _without_unknown(
        self, headers: Headers, set_anew: Sequence[tuple[str, Identity | None]], began: Began
    ) -> Headers:
        """Whether its login ended cannot be known: it may keep what it has, and gets nothing new (FAIL_MODE=closed)."""
        before = {each.login_key for each in began.identities}
        new = [line for line, found in set_anew if found is not None and found.login_key not in before]
        if self._guard.fail_open or not new:
            return headers
        return [(name, value) for name, value in headers if name.lower() != "set-cookie" or value not in new]

    async def _logged_in_anew(self, dead: Collection[Identity]) -> bool:
        """Has a user of these a login that is younger than the dead one, perhaps in the same browser?"""
        registry = self._guard.registry
        for each in dead if registry is not None else ():
            with contextlib.suppress(StoreError):
                sessions = await registry.of_user(each.user_key, each.issuer) if registry and each.user_key else []
                if any(session.created_at > (each.issued_at or 0.0) for session in sessions):
                    return True
        return False

    async def _identity(self, line: str, began: Began) -> Identity | None:
        """Whom a Set-Cookie value stands for; None for a deletion, and for what only its pieces together say."""
        cookie = parse_set_cookie(line, began.path, self._logouts.clock())
        guarded: GuardedCookie | None = self._cookies.get(cookie.name) if cookie is not None else None
        if cookie is None or guarded is None or cookie.deletes or not cookie.value:
            return None
        text = cookie.value.strip('"')
        with contextlib.suppress(StoreError):  # the keys cannot be fetched now
            return (await self._identifier.cookie(Credential("cookie", cookie.name, text), guarded)).identity
        return None

    async def _dead_of(self, began: Began) -> Collection[Identity] | None:
        """Who of those that were alive when the request began is dead by now; None if the store cannot say."""
        if not began.identities:
            return ()
        try:
            return await self._guard.died(began.identities)
        except StoreError:
            return None

    # ---- tokens --------------------------------------------------------------------------------------

    def tokens_in(self, body: bytes, fields: Collection[str]) -> list[str]:
        """The tokens in these members of a JSON answer, and in those of an object in it, e.g. `data`."""
        try:
            members = parse_json_object(body)
        except Refused:
            return []
        inner = [each for each in members.values() if isinstance(each, dict)]
        found = [each.get(name) for each in (members, *inner) for name in fields]
        return [text for text in found if isinstance(text, str) and text]

    async def tokens(self, texts: Sequence[str], set_cookies: Sequence[str], began: Began) -> None:
        """Deal with the tokens, and cookies, that a login or a refresh hands out, before they leave."""
        issued = [found for line in set_cookies if (found := await self._identity(line, began)) is not None]
        with contextlib.suppress(StoreError):
            for text in texts:
                found = (await self._identifier.token(Credential("body", "", text))).identity
                if found is not None:
                    issued.append(found)
            before = {each.own_key for each in began.identities}
            await self._welcome([each for each in issued if each.own_key not in before], began)

    async def _welcome(self, issued: Sequence[Identity], began: Began, cookies: Mapping[str, Identity] = _NONE) -> None:
        """Bind and mark what was issued, or end it if its login ended meanwhile. A store that is away is no failure.

        `cookies`: those of it that are cookies, by name.
        """
        if self._guard.observe:
            return
        now = self._logouts.clock()
        old = {each.login_key for each in began.identities}
        # A login with a session of its own is another one than the login that it was asked for with.
        own = began.is_login and any(each.session_key is not None and each.login_key not in old for each in issued)
        of = () if own else began.identities
        with contextlib.suppress(StoreError):
            await self._note_replaced(cookies, began, now)
            # First this, then the question: a logout that is under way finds the binding, or we find the logout.
            await self._logouts.bindings.bind([*of, *issued], now)
            dead = await self._guard.died(of) if of else ()
            if dead:
                await self._condemn(issued, dead, now)
            else:
                await self._mark(issued, began, now)
                await self._register(issued, began)

    async def _note_replaced(self, cookies: Mapping[str, Identity], began: Began, now: float) -> None:
        """An opaque cookie that gets another value is the same login (`Bindings.replaced`), except by a login.

        Short values are no session ids but the same for many, and a flood of made-up ones must not fill the store.
        """
        if began.is_login or not any(not each.verified for each in cookies.values()):
            return
        alive = {each.own_key for each in began.identities if not each.verified}
        for each in await self._identifier.headers((), began.cookies) if alive else ():
            old, new = each.identity, cookies.get(each.credential.name)
            if old is None or new is None or new.verified or old.own_key not in alive or new.own_key == old.own_key:
                continue
            if isinstance(each.credential, Credential) and len(each.credential.text) >= _SESSION_ID_LENGTH:
                self._replaced = [at for at in self._replaced if now - 60 < at <= now][-_REPLACED_A_MINUTE:]
                if len(self._replaced) < _REPLACED_A_MINUTE:
                    self._replaced.append(now)
                    await self._logouts.bindings.replaced(old, new, now)

    async def _register(self, issued: Sequence[Identity], began: Began) -> None:
        """A new login is in the registry from its first moment."""
        registry = self._guard.registry
        for each in issued:
            if registry is not None and each.session_key is not None:
                await registry.register(each, began.visit)

    async def _condemn(self, issued: Sequence[Identity], dead: Collection[Identity], now: float) -> None:
        """What was issued by a login that is dead by now is dead, too; what is of another user is not of it."""
        users = {each.user_key for each in dead if each.user_key is not None}
        keys = {each.login_key for each in dead}
        late = [
            each
            for each in issued
            if each.login_key in keys or each.user_key in users or (each.user_key is None and not each.is_client)
        ]
        if late:
            await self._end(late, now, user=next((each.user_id for each in dead), None))

    async def _end(self, issued: Sequence[Identity], now: float, *, user: str | None) -> None:
        bound = self._logouts.bindings.enabled
        keys = dict.fromkeys(each.login_key if bound else each.own_key for each in issued)
        event = LogoutEvent(kind="logout", outcome="done", time=now, user=user, scope="token", reason=LATE)
        await self._logouts.revoke([Revocation(key, FOREVER, self._logouts.lasting(now), LATE) for key in keys], event)

    async def _mark(self, issued: Sequence[Identity], began: Began, now: float) -> None:
        """Mark those that are younger than a cut-off which refuses them; what it refuses a part of, it refuses."""
        verified = [each for each in issued if each.verified]
        if not verified:
            return
        records = await self._guard.store.find([key for each in verified for key in each.keys])
        own = frozenset(each.login_key for each in began.identities)
        for each in verified if records else ():
            await self._logouts.marks.mark_younger(each, records, began=began.at, now=now, of=own)
        dead = await self._guard.died(verified) if records else ()
        if dead and len(dead) < len(issued):
            await self._end(issued, now, user=dead[0].user_id)


def _name_of(line: str) -> str:
    return line.partition(";")[0].partition("=")[0].strip(" \t")
