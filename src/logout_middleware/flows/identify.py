"""From what a request carries to identities, with the keys fetched where one must be verified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ..errors import StoreError
from ..issuers import Issuer
from ..rules import jose
from ..rules.cookies import GuardedCookie
from ..rules.credentials import (
    MAX_CREDENTIAL,
    Ambiguous,
    Credential,
    Unreadable,
    pieces_of,
    read_authorization,
    read_pieces,
)
from ..rules.identity import Identity, IdentityPolicy, identify_cookie, identify_jwt, identify_token

# An access token that says that it is one is no ID token (RFC 8725 3.12).
_ID_TOKEN_TYPES = frozenset({"", "jwt", "application/jwt"})


class KeySource(Protocol):
    """Where verification keys come from."""

    async def find(self, text: str) -> Sequence[Any]:
        """The keys that may have signed this token; StoreError if that cannot be known."""
        ...


class KnownProvider(Protocol):
    """An issuer at run time (`providers.Provider`). Both ask it for what is not known yet, for so many seconds."""

    issuer: Issuer

    def moment(self) -> float:
        """Now, for `find(since=…)`."""
        ...

    async def find(self, text: str, *, seconds: float | None = None, since: float | None = None) -> Sequence[Any]:
        """The keys that may have signed this token, which came at `since`; StoreError while that cannot be known."""
        ...

    async def address_of(self, name: str, *, seconds: float | None = None) -> str | None:
        """An endpoint of its discovery document; None if it has none, StoreError while that cannot be known."""
        ...

    async def revoke(self, token: str) -> None:
        """Have it revoke one of its tokens; blocks, so it is a chore. StoreError: try again later."""
        ...


@dataclass(frozen=True, slots=True)
class Presented:
    """A credential of a request and who it claims to be, or why it cannot be read. `cookie` is set for cookies.

    `doubt`: why it cannot be said at the moment whether it is verified; till then it has its digest as its only name.
    """

    credential: Credential | Ambiguous | Unreadable
    identity: Identity | None
    cookie: GuardedCookie | None = None
    doubt: StoreError | None = None

    @property
    def source(self) -> str:
        """Where it was: bearer, dpop, cookie, body, query, subprotocol."""
        return self.credential.source


class Identifier:
    """Knows the guarded cookies, the keys and the policy of one Logout object."""

    def __init__(self, policy: IdentityPolicy, keys: KeySource, cookies: Sequence[GuardedCookie]) -> None:
        self.policy, self._keys, self.cookies = policy, keys, tuple(cookies)
        self.keys_change = False
        """Can a key that nobody here knows be a good one, because somebody else publishes them?"""
        self.unknowing = replace(policy, trusted=False, others={})

    async def headers(self, authorization: Sequence[str], cookie: Sequence[str]) -> list[Presented]:
        """Everything guarded in these header fields."""
        found = []
        bearer = read_authorization(authorization) if authorization else None
        if bearer is not None:
            found.append(await self.perhaps(bearer))
        for guarded in self.cookies if cookie else ():
            held = read_pieces(cookie, guarded.name)
            if held is not None:
                found.append(await self.perhaps(held, guarded))
        return found

    async def perhaps(self, credential: Credential | Ambiguous, guarded: GuardedCookie | None = None) -> Presented:
        """A token or guarded cookie; in doubt where the keys that would verify it cannot be had now."""
        try:
            return await (self.token(credential) if guarded is None else self.cookie(credential, guarded))
        except StoreError as doubt:
            assert isinstance(credential, Credential)  # noqa: S101 - for the type checker: others need no keys
            if guarded is None:
                presented = self._token(credential, (), self.unknowing)
            else:
                presented = _presented(
                    credential, identify_cookie(credential, guarded.format, (), self.unknowing), guarded
                )
            return replace(presented, doubt=doubt)

    def with_pieces(self, names: Sequence[str], lines: Sequence[str]) -> list[str]:
        """These guarded cookies and their pieces in these Cookie fields; what is guarded by itself is no piece."""
        guarded = {each.name for each in self.cookies}
        return [*names, *(piece for name in names for piece in pieces_of(lines, name) if piece not in guarded)]

    async def token(self, credential: Credential | Ambiguous) -> Presented:
        """A bearer, query or body token."""
        if isinstance(credential, Ambiguous):
            return Presented(credential, None)
        if len(credential.text) > MAX_CREDENTIAL:
            why = f"a token must not exceed {MAX_CREDENTIAL} bytes"
            return Presented(Unreadable(credential.source, credential.name, why), None)
        return self._token(credential, await self._keys_for(credential.text), self.policy)

    @staticmethod
    def _token(credential: Credential, keys: Sequence[Any], policy: IdentityPolicy) -> Presented:
        # What a body carries is a refresh token as a rule: made for the issuer, and of another type.
        for_us = credential.source != "body"
        return _presented(credential, identify_token(credential, keys, policy, for_us=for_us), None)

    async def cookie(self, credential: Credential | Ambiguous, guarded: GuardedCookie) -> Presented:
        """A guarded cookie."""
        if isinstance(credential, Ambiguous):
            return Presented(credential, None, guarded)
        keys = await self._keys_for(credential.text) if guarded.format in ("jwt", "auto") else ()
        return _presented(credential, identify_cookie(credential, guarded.format, keys, self.policy), guarded)

    async def id_token(self, text: str) -> Identity | None:
        """Who an `id_token_hint` names, if a configured key signed it; its audience is another and is not checked."""
        try:
            token = jose.parse(text)
        except jose.Malformed:
            return None
        if not jose.is_of_type(token, _ID_TOKEN_TYPES):
            return None
        identity = identify_jwt(token, await self._keys_for(text), self.policy, for_us=False)
        return identity if identity.verified else None

    async def _keys_for(self, text: str) -> Sequence[Any]:
        return await self._keys.find(text) if self.policy.verifies_tokens and jose.looks_like_jose(text) else ()


def _presented(credential: Credential, found: Identity | Unreadable, cookie: GuardedCookie | None) -> Presented:
    if isinstance(found, Unreadable):
        return Presented(found, None, cookie)
    return Presented(credential, found, cookie)
