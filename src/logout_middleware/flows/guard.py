"""May this request pass?

A request that passes as before costs: one look in a bounded cache from raw header to identity, and one question
to the store, whether its version is still the one in which that identity passed. No verdict outlives a version.
Everything else (a first sight, a hit, an ambiguity) goes
through `judge`, which says what to refuse, what to take out of the request, and what to delete.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ..errors import StoreError
from ..events import Events, LogoutEvent
from ..rules.credentials import Ambiguous, Credential, Unreadable
from ..rules.http import Response, json_response, quoted
from ..rules.identity import Identity
from ..rules.revocation import Revocation, is_revoked
from ..stores import PartlyKnown, Store
from .bindings import Bindings
from .decisions import PASS, Decision, unavailable
from .identify import Identifier, Presented
from .known_headers import Known, KnownHeaders
from .live import ROTATED
from .login_marks import LoginMarks
from .sessions import Sessions, Visit

GetVisit = Callable[[], Visit]
"""Who asks, in case the registry wants to know."""
_FAILURE_EVENT_SECONDS = 1.0


@dataclass(slots=True)
class _Finding:
    """What is wrong with one presented credential; `code` is the error name, None if all is well."""

    presented: Presented
    code: str | None = None
    why: str = ""
    positive: bool = False


@dataclass(slots=True)
class Guard:
    """The guard of one Logout object. `clock` gives seconds since 1970; `realm` is the one of WWW-Authenticate."""

    store: Store
    identifier: Identifier
    events: Events
    clock: Callable[[], float]
    fail_open: bool = False
    observe: bool = False
    reject_cookies: bool = False
    leeway: float = 0.0
    max_lifetime: float = 400 * 86400.0
    realm: str = "api"
    remember_seconds: float = math.inf
    marks: LoginMarks | None = None
    bindings: Bindings | None = None
    registry: Sessions | None = None
    bearers: KnownHeaders = field(default_factory=KnownHeaders)
    cookies: KnownHeaders = field(default_factory=KnownHeaders)
    _failure_told_at: float = -1e9
    _version: Callable[[], int | None] = field(init=False)

    def __post_init__(self) -> None:
        self._version = self.store.version

    def seen_alive(self, authorization: bytes | str | None, cookie: bytes | str | None) -> Known | None:
        """What these fields said before, if they may pass as they did: still in time, and not one revocation since.

        The store is asked for its version with each request; while that is the same, `find` would answer the same.
        None means nothing but "ask `check`".
        """
        bearer = None
        if authorization is not None:
            bearer = self.bearers.ready.get(authorization)
            if bearer is None or bearer.passed_at != self._version() or self.clock() >= bearer.not_after:
                return None
            if cookie is None:
                return bearer
        held = self.cookies.ready.get(cookie) if cookie is not None else None
        if held is None or held.passed_at != self._version() or self.clock() >= held.not_after:
            return None
        if bearer is None:
            return held
        return bearer.pair if bearer.beside is held else None

    async def check(
        self, authorization: bytes | str | None, cookie: bytes | str | None, visit: GetVisit = Visit
    ) -> Decision:
        """The decision on a request with at most one field of each; latin-1 bytes or text, as the server gives them."""
        now, version = self.clock(), self.store.version()
        raw = (authorization, cookie)
        known = []
        for header, headers in ((authorization, self.bearers), (cookie, self.cookies)):
            if header is not None:
                found = headers.recall(header)
                if found is None or now >= found.valid_until:
                    return await self.judge(_lines(authorization), _lines(cookie), remember=raw, visit=visit)
                known.append(found)
        identities = known[0].identities if len(known) == 1 else known[0].identities + known[1].identities
        if len(known) == 2 and known[0].beside is not known[1]:
            if self.bindings is not None and self.bindings.unbound(identities):
                return await self.judge(_lines(authorization), _lines(cookie), remember=raw, visit=visit)
            known[0].beside, known[0].pair = known[1], _pair_of(known[0], known[1])
        try:
            records = await self.store.find([key for each in known for key in each.keys])
            # Records that refuse nobody here are those of a logout of the others, for one.
            if records and (not identities or any(is_revoked(each, records) for each in identities)):
                return await self.judge(_lines(authorization), _lines(cookie), visit=visit)
            if not await self._note_seen(identities, now, visit):
                return await self.judge(_lines(authorization), _lines(cookie))
        except PartlyKnown:
            return await self.judge(_lines(authorization), _lines(cookie))
        except StoreError as error:
            return await self._cannot_know(error, identities)
        for each in known:
            # The version from before the question: what was added meanwhile makes it another one.
            each.passed_at = -1 if version is None else version
            each.not_after = self._in_peace_until(each)
        leading = known[0] if len(known) == 1 else _leading(*known)
        return Decision(leading.identity, identities=identities)

    async def _note_seen(self, identities: Sequence[Identity], now: float, visit: GetVisit) -> bool:
        """Have the registry know of these, where it is time to; False if the time of one was over."""
        registry = self.registry
        if registry is None:
            return True
        due = [each for each in identities if now >= registry.due_at(each)]
        return all([await registry.seen(each, visit()) for each in due]) if due else True

    def _in_peace_until(self, known: Known) -> float:
        if self.registry is None:
            return known.valid_until
        return min([known.valid_until, *map(self.registry.due_at, known.identities)])

    async def died(self, identities: Sequence[Identity]) -> tuple[Identity, ...]:
        """Those of these, which were alive before, that are dead by now. StoreError if that cannot be known.

        What its own refresh replaced is not: the login goes on.
        """
        found = await self.store.find([key for each in identities for key in each.keys])
        records = [record for record in found if record.reason != ROTATED]
        if not records:
            return ()
        exact = await self.marks.exact(identities, records) if self.marks is not None else identities
        return tuple(each for each, now in zip(identities, exact, strict=True) if is_revoked(now, records))

    async def judge(
        self,
        authorization: Sequence[str],
        cookie: Sequence[str],
        *,
        others: Sequence[Credential | Ambiguous] = (),
        login_path: bool = False,
        handshake: bool = False,
        remember: tuple[bytes | str | None, bytes | str | None] = (None, None),
        visit: GetVisit = Visit,
    ) -> Decision:
        """The decision on any request.

        `others`: tokens from elsewhere (query, subprotocol, body). `login_path`: a dead bearer is taken out instead
        of refused (TOKEN_REQUESTS, TOKEN_RESPONSES). `handshake`: a WebSocket; whatever is wrong refuses it.
        """
        known_since = self.bearers.times_forgotten
        try:
            presented = await self.identifier.headers(authorization, cookie)
            presented += [await self.identifier.perhaps(each) for each in others]
            presented, records, away = await self._known_of(presented)
        except StoreError as error:
            return await self._cannot_know(error)
        findings = [_Finding(each) for each in presented]
        for finding in findings:
            self._examine(finding, records)
        unknowing, sure = await self._unknowing(findings, away)
        if unknowing is not None:
            return unknowing
        tokens = [finding for finding in findings if finding.presented.cookie is None]
        if handshake and len(tokens) > 1:
            tokens[0].code, tokens[0].why = "invalid_request", "the handshake carries more than one token"
        good = [finding.presented for finding in findings if finding.code is None]
        decision: Decision | None = None
        if len(good) < len(findings):
            decision = await self._decide(findings, login_path=login_path, handshake=handshake)
            if decision.refusal is not None:
                return decision
        try:
            stays = away is not None or self.observe or await self._welcome(good, visit)
        except StoreError as error:
            return await self._cannot_know(error)
        if not stays:
            # Something of it ended while it was looked at, and the store says so now.
            return await self.judge(authorization, cookie, others=others, login_path=login_path, handshake=handshake)
        if decision is not None:
            return decision
        # Keys that were taken back meanwhile must not be believed from memory.
        sure = sure and known_since == self.bearers.times_forgotten
        return self._remember(presented, remember if sure else (None, None))

    async def _unknowing(self, findings: Sequence[_Finding], away: StoreError | None) -> tuple[Decision | None, bool]:
        """The decision, if it is that nothing can be known of what is left; and is all of that known for certain?"""
        left = [finding.presented for finding in findings if finding.code is None]
        doubt = next((each.doubt for each in left if each.doubt is not None), None)
        if away is not None and left:
            unknowing = await self._cannot_know(away, [each.identity for each in left if each.identity is not None])
            if unknowing.refusal is not None or len(left) == len(findings):
                return unknowing, False
        elif doubt is not None:
            # One credential cannot be verified now. FAIL_MODE=open lets that one pass unverified, and nothing else.
            unknowing = await self._cannot_know(doubt)
            if unknowing.refusal is not None:
                return unknowing, False
        return None, doubt is None

    async def _known_of(
        self, presented: list[Presented]
    ) -> tuple[list[Presented], Sequence[Revocation], StoreError | None]:
        """These, with the exact moment of a login that a cut-off of its second would refuse, and their revocations.

        With an error if those may be not all: what is refused whatever the store says is refused without it, too.
        """
        keys = [key for each in presented if each.identity is not None for key in each.identity.keys]
        try:
            records = await self.store.find(keys)
        except PartlyKnown as error:
            return presented, error.known, error
        except StoreError as error:
            if self.observe or not self.fail_open:
                raise
            return presented, (), error
        if not records or self.marks is None:
            return presented, records, None
        identities = [each.identity for each in presented if each.identity is not None]
        exact = iter(await self.marks.exact(identities, records))
        exactly = [replace(each, identity=next(exact)) if each.identity is not None else each for each in presented]
        return exactly, records, None

    async def _welcome(self, presented: Sequence[Presented], visit: GetVisit) -> bool:
        """Bind those that came together, and note that they were seen; False if one of them turned out to be over."""
        now = self.clock()
        # Of a body's token nobody asked yet if it is in time.
        identities = [
            each.identity
            for each in presented
            if each.identity is not None and now < each.identity.expires_at + self.leeway
        ]
        if self.bindings is not None and self.bindings.unbound(identities):
            with contextlib.suppress(StoreError):  # It is tried again with their next request.
                if await self.bindings.bind(identities, now) and await self.died(identities):
                    return False
        return await self._note_seen(identities, now, visit)

    def _examine(self, finding: _Finding, records: Sequence[Revocation]) -> None:
        """Fill in what is wrong with a credential, the worst first. Body tokens are only asked if they are revoked."""
        credential, identity = finding.presented.credential, finding.presented.identity
        if isinstance(credential, Ambiguous):
            finding.code, finding.why = "invalid_request", credential.why
        elif isinstance(credential, Unreadable):
            finding.code, finding.why = "invalid_token", f"The access token is not valid: {credential.why}"
        elif identity is None:  # pragma: no cover - whatever could be read has an identity
            raise AssertionError("a credential without an identity")
        elif is_revoked(identity, records):
            finding.code, finding.why, finding.positive = "token_revoked", "The access token was revoked", True
        elif finding.presented.source == "body":
            return
        elif identity.fault is not None:
            finding.code, finding.why = "invalid_token", f"The access token is not valid: {identity.fault}"
        elif identity.verified and self.clock() >= identity.expires_at + self.leeway:
            finding.code, finding.why = "invalid_token", "The access token expired"
        elif identity.verified and self.clock() < identity.not_before - self.leeway:
            finding.code, finding.why = "invalid_token", "The access token is not valid yet"
        elif identity.verified and identity.expires_at > self.clock() + self.max_lifetime + self.leeway:
            # A logout of its user is remembered for MAX_LIFETIME; what may live longer would come back to life.
            why = "it has no end (neither iat nor exp), or one beyond LOGOUT_MAX_LIFETIME"
            finding.code, finding.why = "invalid_token", f"The access token is not valid: {why}"

    def _remember(self, presented: Sequence[Presented], raw: tuple[bytes | str | None, bytes | str | None]) -> Decision:
        """Keep what the headers said for the next request, and let this one pass."""
        authorization, cookie = raw
        bearers = [each.identity for each in presented if each.cookie is None and each.identity is not None]
        held = [each.identity for each in presented if each.cookie is not None and each.identity is not None]
        # Schemes that are not ours (Basic) have no identity, and their secrets are not kept.
        if authorization is not None and bearers:
            self.bearers.remember(authorization, self._known(bearers))
        if cookie is not None:
            self.cookies.remember(cookie, self._known(held))
        everyone = _foremost_first(bearers + held)
        # Who observes, ends nothing: no answer is changed, and nothing open is cut.
        return Decision(everyone[0], identities=() if self.observe else everyone) if everyone else PASS

    def _known(self, identities: Sequence[Identity]) -> Known:
        ends = [identity.expires_at + self.leeway for identity in identities if identity.verified]
        keys = tuple(dict.fromkeys(key for identity in identities for key in identity.keys))
        ordered = _foremost_first(identities)
        known = Known(
            min([*ends, self.clock() + self.remember_seconds]), keys, ordered[0] if ordered else None,
            () if self.observe else ordered,
        )  # fmt: skip
        known.not_after = self._in_peace_until(known)
        return known

    async def _decide(self, findings: Sequence[_Finding], *, login_path: bool, handshake: bool) -> Decision:
        bad = [finding for finding in findings if finding.code is not None]
        cookies = [finding for finding in bad if finding.presented.cookie is not None]
        tokens = [finding for finding in bad if finding.presented.cookie is None]
        if self.observe:
            return await self._observed(findings, bad)
        strip = tuple(finding.presented.credential.name for finding in cookies)
        delete = tuple(finding.presented.credential.name for finding in cookies if finding.positive)
        headers_only = all(finding.presented.source in ("bearer", "dpop") for finding in tokens)
        dead_only = all(finding.code != "invalid_request" for finding in tokens)
        if tokens and not (login_path and headers_only and dead_only):
            return Decision(refusal=self.refusal(tokens[0]), delete=delete)
        if cookies and (self.reject_cookies or handshake):
            return Decision(refusal=self.refusal(cookies[0]), delete=delete)
        left = _foremost_first(
            [each.presented.identity for each in findings if each.code is None and each.presented.identity]
        )
        return Decision(
            left[0] if left else None, None, strip, delete, drop_authorization=bool(tokens), identities=left
        )

    async def _observed(self, findings: Sequence[_Finding], bad: Sequence[_Finding]) -> Decision:
        for finding in bad:
            identity = finding.presented.identity
            await self.events.emit(
                LogoutEvent(
                    kind="would_refuse",
                    outcome="nothing",
                    time=self.clock(),
                    keys=(identity.own_key.hex(),) if identity else (),
                    user=identity.user_id if identity else None,
                    session=identity.session_id if identity else None,
                    reason=finding.code,
                    detail=f"{finding.presented.source}: {finding.why}",
                )
            )
        everyone = _foremost_first([each.presented.identity for each in findings if each.presented.identity])
        return Decision(everyone[0] if everyone else None)

    async def _cannot_know(self, error: StoreError, identities: Sequence[Identity] = ()) -> Decision:
        """The store cannot answer: that is not "revoked", so no cookie is touched and nobody is told 401.

        What passes all the same is watched as that of these `identities`.
        """
        now = self.clock()
        if now - self._failure_told_at >= _FAILURE_EVENT_SECONDS or now < self._failure_told_at:
            self._failure_told_at = now
            outcome = "failed_open" if self.fail_open or self.observe else "failed_closed"
            await self.events.emit(LogoutEvent("store_failed", outcome, now, detail=str(error)))
        if self.observe:
            return PASS
        return Decision(identities=tuple(identities)) if self.fail_open else Decision(refusal=unavailable())

    def refusal(self, finding: _Finding) -> Response:
        """401 or 400 with the challenge of RFC 6750 3 (RFC 9449 7.1 for DPoP)."""
        code = finding.code or "invalid_token"
        status = 400 if code == "invalid_request" and finding.presented.cookie is None else 401
        scheme = "DPoP" if finding.presented.source == "dpop" else "Bearer"
        error = "invalid_token" if code == "token_revoked" else code
        challenge = (
            f"{scheme} realm={quoted(self.realm)}, error={quoted(error)}, error_description={quoted(finding.why)}"
        )
        return json_response(
            status,
            {"error": code, "error_description": finding.why},
            (("WWW-Authenticate", challenge), ("Vary", "Authorization, Cookie")),
        )


def _leading(one: Known, other: Known) -> Known:
    """The one of two whose identity the application is told: the first, unless only the other's is verified."""
    better = other.identity is not None and other.identity.verified
    none = one.identity is None
    return other if none or (better and one.identity is not None and not one.identity.verified) else one


def _pair_of(bearer: Known, held: Known) -> Known:
    """What both headers of a request say together."""
    return Known(0.0, (), _leading(bearer, held).identity, bearer.identities + held.identities)


def _foremost_first(identities: Sequence[Identity]) -> tuple[Identity, ...]:
    """The one to tell the application about first: one that was verified, if there is one."""
    return tuple(sorted(identities, key=lambda identity: not identity.verified))


def _lines(header: bytes | str | None) -> tuple[str, ...]:
    if header is None:
        return ()
    return (header.decode("latin-1") if isinstance(header, bytes) else header,)
