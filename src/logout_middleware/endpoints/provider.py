"""A logout goes on to the provider, and comes back (OpenID Connect RP-Initiated Logout 1.0).

The login here is over, durably, before the browser leaves (RPI-10). Where it goes in the end is remembered in a cookie
of ten minutes beside a random `state`: only the browser that left comes back to it, and only to an allowed target.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from hmac import compare_digest
from urllib.parse import parse_qsl, urlencode

from ..errors import StoreError
from ..flows.identify import KnownProvider, Presented
from ..rules import jose, redirects
from ..rules.credentials import Credential
from ..rules.http import Request, Response
from ..rules.signed_cookies import session_in
from . import pages
from .service import Arrived, Service, see_other, with_state
from .words import Words

LONGEST_ADDRESS = 2000
"""Characters that every browser, proxy and provider takes in an address; beyond it the parameters are posted."""
_LONGEST_COOKIE = 3000
"""Beyond it the caller's state is not handed back: browsers drop larger cookies, and proxies answers with them."""
_STATE_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Onward:
    """Where the browser goes now: the provider's address, its parameters, and the cookie that awaits its return."""

    endpoint: str
    parameters: Mapping[str, str]
    cookie: tuple[str, str]

    @property
    def address(self) -> str:
        """All in one address; without the hint where that would be too long for one."""
        whole = _with_query(self.endpoint, self.parameters)
        if len(whole) <= LONGEST_ADDRESS:
            return whole
        return _with_query(self.endpoint, {k: v for k, v in self.parameters.items() if k != "id_token_hint"})

    def response(self, headers: list[tuple[str, str]], words: Words) -> Response:
        """303 to the provider, or a page in these words that posts itself there."""
        headers = [*headers, self.cookie]
        if len(_with_query(self.endpoint, self.parameters)) <= LONGEST_ADDRESS:
            return see_other(self.address, headers)
        return pages.onward(words, self.endpoint, self.parameters).with_headers(headers)


def go_on(
    service: Service, request: Request, further: Onward | None, target: str, headers: list[tuple[str, str]]
) -> Response:
    """Where a browser goes after a logout: on to the provider, or to the target."""
    return see_other(target, headers) if further is None else further.response(headers, service.words(request))


def _with_query(endpoint: str, parameters: Mapping[str, str]) -> str:
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(parameters)}"


async def onward(
    service: Service, request: Request, arrived: Arrived, *, target: str, state: str | None,
    client_id: str | None = None, hint: str | None = None,
) -> Onward | None:  # fmt: skip
    """How a logout that was done here goes on to our provider; None if it ends here.

    That is so where there is no provider, nobody was logged in, or the provider has no such endpoint or cannot be asked
    now: the user is logged out here all the same. `target`, `state`: where it ends, and what is handed back there.
    `client_id`, `hint`: a client, whose target it may be, and an ID token that the request named.
    """
    provider = service.providers.get(service.settings.oidc_issuer or "")
    if provider is None or not arrived.presented:
        return None
    try:
        endpoint = await provider.address_of("end_session_endpoint")
        hint = await _hint(service, provider, arrived, hint)
    except StoreError as error:
        await service.audit(request, kind="provider_unreachable", outcome="failed", detail=str(error))
        return None
    if endpoint is None:
        return None
    random = service.entropy()
    parameters = {
        "id_token_hint": hint, "client_id": provider.issuer.client_id,
        "post_logout_redirect_uri": provider.issuer.post_logout_redirect_uri,
        # Without an address to come back to there is nobody to hand it back to (RPI 2).
        "state": random if provider.issuer.post_logout_redirect_uri is not None else None,
    }  # fmt: skip
    given = {name: value for name, value in parameters.items() if value is not None}
    remembered = _remembered_as(random, target, client_id or "", state or "")
    return Onward(endpoint, given, _remembering(service, request, remembered, _STATE_SECONDS))


def _remembered_as(*parts: str) -> str:
    """The value of the cookie; it ends before the first part for which there is no place."""
    random, *others = parts
    value = random
    for number, each in enumerate(others):
        packed = _packed(each)
        if len(value) + len(packed) + len(others) - number > _LONGEST_COOKIE:
            break
        value += f".{packed}"
    return value


async def _hint(service: Service, provider: KnownProvider, arrived: Arrived, named: str | None) -> str | None:
    """The ID token of this session, expired or not: from the request, or from a session that the application signed."""
    held = [_id_token_in(service, each) for each in arrived.presented]
    for text in (named, *held):
        try:
            claims = jose.parse(text).claims if text else {}
        except jose.Malformed:
            continue
        # RP-Initiated Logout 2: with both, the client must be one the token was issued to.
        if (
            text
            and jose.is_for(claims, (provider.issuer.client_id or "",))
            and claims.get("iss") == provider.issuer.name
        ):
            return text
    return None


def _id_token_in(service: Service, presented: Presented) -> str | None:
    """The `id_token` of a session cookie, or of an object in it, as applications of Authlib keep it."""
    if presented.cookie is None or not isinstance(presented.credential, Credential):
        return None
    session = session_in(presented.credential.text, presented.cookie.format, service.settings.cookie_secret)
    inner = [each for each in session.values() if isinstance(each, dict)]
    found = (each.get("id_token") for each in (session, *inner))
    return next((text for text in found if isinstance(text, str)), None)


async def way_back(service: Service, request: Request) -> Response:
    """303 to where the logout was to end, if this browser left from here; else to LOGOUT_REDIRECT_URL."""
    # What it is called with comes from anybody: nothing of it is an error (RPI-9).
    given = [value for name, value in parse_qsl(request.query_string) if name == "state"]
    random, target, client_id, state = ((_remembered(service, request) or "") + "...").split(".")[:4]
    is_ours = bool(random) and len(given) == 1 and compare_digest(given[0].encode(), random.encode())
    location = _allowed(service, _unpacked(target), _unpacked(client_id)) if is_ours else None
    forget = [_remembering(service, request, "", 0)]
    if location is None:
        return see_other(service.settings.redirect_url, forget)
    return see_other(with_state(location, _unpacked(state)), forget)


def _allowed(service: Service, target: str | None, client_id: str | None) -> str | None:
    """This target, if it is one of everybody's or of that client: the cookie is as good as whoever could set it."""
    return target if target is not None and redirects.is_allowed(target, service.targets(client_id)) else None


# ---- the cookie ------------------------------------------------------------------------------------------


def _cookie_name(service: Service, request: Request) -> str:
    return "__Host-logout_state" if service.is_https(request) else "logout_state"


def _remembering(service: Service, request: Request, value: str, seconds: int) -> tuple[str, str]:
    secure = "; Secure" if service.is_https(request) else ""
    name = _cookie_name(service, request)
    return "Set-Cookie", f"{name}={value}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Lax{secure}"


def _remembered(service: Service, request: Request) -> str | None:
    """The value of our cookie, if the browser has exactly one."""
    name = _cookie_name(service, request)
    pairs = [pair.strip(" \t").partition("=") for line in request.header_lines("cookie") for pair in line.split(";")]
    found = [value for key, _, value in pairs if key == name]
    return found[0] if len(found) == 1 else None


def _packed(target: str) -> str:
    return urlsafe_b64encode(target.encode("utf-8")).decode("ascii").rstrip("=")


def _unpacked(text: str) -> str | None:
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("utf-8") or None
    except (binascii.Error, ValueError):
        return None


# ---- the provider's own tokens -----------------------------------------------------------------------------


async def revoke_at_provider(service: Service, arrived: Arrived) -> None:
    """Have the provider revoke those of these tokens that are its own (RFC 7009), beside the answer to the user.

    Only for who proved a login: anybody else could have us post whatever he likes, in our name.
    """
    provider = service.providers.get(service.settings.oidc_issuer or "")
    if provider is None or provider.issuer.client_secret is None:
        return
    is_ours = any(each.issuer is None for each in arrived.verified)
    for each in arrived.presented:
        if each.cookie is None and isinstance(each.credential, Credential) and _is_of(each, provider, is_ours=is_ours):
            text = each.credential.text
            service.later(partial(_revoke_at, provider.issuer.name, text), doubtful=True, name=f"revoke {text}")


def _is_of(presented: Presented, provider: KnownProvider, *, is_ours: bool) -> bool:
    """Did the provider issue this token? A refresh token beside a login of ours, saying nothing of itself, is its."""
    identity = presented.identity
    if identity is not None and identity.verified:
        return identity.claimed_issuer == provider.issuer.name
    opaque = isinstance(presented.credential, Credential) and not jose.looks_like_jose(presented.credential.text)
    return is_ours and opaque and presented.source == "body"


async def _revoke_at(issuer: str, text: str, service: Service) -> None:
    await service.providers[issuer].revoke(text)
