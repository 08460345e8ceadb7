"""Forward-auth: may this request pass? For nginx, Traefik, Caddy, HAProxy and Envoy (group `check`).

200 means that somebody is logged in, and nothing else does: neither LOGOUT_MODE=observe nor LOGOUT_FAIL_MODE=open
makes this answer a yes. Every answer has every identity header, so that a proxy which copies them replaces what the
client sent under their names (R5). Never 204, which Envoy takes for a refusal (R3); never 400, which nginx
takes for an error of its own (R6).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from urllib.parse import quote

from ..flows.decisions import PASS, Decision
from ..flows.sessions import Visit
from ..rules.cookies import cookie_names
from ..rules.credentials import read_authorization
from ..rules.http import NO_STORE, Request, Response, json_response, quoted
from ..rules.identity import Identity
from ..rules.revocation import FOREVER
from .service import ANY_METHOD, Methods, Service

IDENTITY_HEADERS = ("X-Auth-Subject", "X-Auth-Session", "X-Auth-Client", "X-Auth-Issuer", "X-Auth-Expires")
_VARY = ("Vary", "Authorization, Cookie")
# What a proxy, or a list in a header, could give a meaning of its own to is not among them: , ; " \ < > { } and %.
_PLAIN = "!$&'()*+/:=?@|~"
_SIMPLE_PATH = re.compile(r"/(?:[A-Za-z0-9_~!$&'()*+,;=:@-][A-Za-z0-9._~!$&'()*+,;=:@-]*/)*[A-Za-z0-9._~-]*")
_FORWARDED_PATHS = ("x-forwarded-uri", "x-original-uri")


def paths(service: Service, prefix: str) -> dict[str, Methods]:
    """The path of this group; `route_below` has those below it, which name the path that the client asked for."""
    return {f"{prefix}/check": {ANY_METHOD: partial(check, service)}}


async def check(service: Service, request: Request, below: str = "") -> Response:
    """200 for a live login, 401 for anything else, 503 where that cannot be known. The body is never read.

    `below`: the path behind our own, where Envoy writes the one of the original request.
    """
    decision = await _decide(service, request, below)
    if decision.refusal is not None:
        return await _refused(service, request, decision.refusal, decision.delete)
    holders = _named(decision.identities)
    if not holders:
        return _unknown(service, request, decision.identities)
    if len({(each.issuer, each.user_id or "", each.user_id or each.client_id) for each in holders}) > 1:
        # The application may believe the one that we do not name.
        return _unauthenticated(service, request, "The request carries the logins of two users")
    told = (("Content-Type", "text/plain"), NO_STORE, _VARY, *_about(service, request, holders[0]))
    return Response(200, told)


async def _decide(service: Service, request: Request, below: str) -> Decision:
    """What the guard says to these credentials, wherever the original request went: no path is exempt here."""
    authorization, cookie = request.header_lines("authorization"), request.header_lines("cookie")
    one, other = (lines[0] if lines else None for lines in (authorization, cookie))

    def visit() -> Visit:
        return _visit(service, request, below)

    if one is None and other is None:
        return PASS
    if len(authorization) > 1 or len(cookie) > 1:
        return await service.gate.judge(authorization, cookie, visit=visit)
    known = service.gate.seen_alive(one, other)
    if known is not None:
        return Decision(known.identity, identities=known.identities)
    return await service.gate.check(one, other, visit)


def _visit(service: Service, request: Request, below: str) -> Visit:
    """Who is here. If one of the paths that the proxy names is passive, this is no activity."""
    forwarded = [request.header_lines(name) for name in _FORWARDED_PATHS]
    named = [below, *(lines[0].partition("?")[0] for lines in forwarded if len(lines) == 1)]
    visits = [service.visit(request, path) for path in named if _SIMPLE_PATH.fullmatch(path)]
    return next((each for each in visits if each.passive), service.visit(request, ""))


def _named(identities: Sequence[Identity]) -> list[Identity]:
    """The verified ones that name somebody: frameworks sign the session of an anonymous visitor, too."""
    known = [each for each in identities if each.verified and each.addressed]
    return [each for each in known if each.user_id is not None or each.client_id is not None]


async def _refused(service: Service, request: Request, refusal: Response, dead: Sequence[str]) -> Response:
    """The guard's refusal. It deletes these revoked cookies, if the proxy hands that on."""
    if refusal.status == 400:
        refusal = Response(401, refusal.headers, refusal.body)
    if dead:
        present, https = cookie_names(request.header_lines("cookie")), service.is_https(request)
        lines = await service.learned.deletions(dead, present, https=https)
        refusal = refusal.with_headers([("Set-Cookie", line) for line in lines])
    return _about_nobody(refusal)


def _unknown(service: Service, request: Request, identities: Sequence[Identity]) -> Response:
    """401 for who presents nothing, or nothing that says verifiably who he is."""
    if any(each.verified for each in identities):
        service.advise(
            "check-names-nobody",
            "GET /auth/check refuses a verified credential because it names no user: set LOGOUT_USER_CLAIM to the "
            "claim, or the member of the session, that does",
        )
        return _unauthenticated(service, request, "The access token names nobody")
    return _unauthenticated(service, request, "The access token cannot be verified")


def _unauthenticated(service: Service, request: Request, why: str) -> Response:
    """401 with the challenge of RFC 6750 3; it names no error where no token was sent (3.1)."""
    token = read_authorization(request.header_lines("authorization"))
    scheme = "DPoP" if token is not None and token.source == "dpop" else "Bearer"
    challenge = f"{scheme} realm={quoted(service.gate.realm)}"
    if token is not None:
        challenge += f', error="invalid_token", error_description={quoted(why)}'
    members = {"error": "login_required", "error_description": "Log in first"}
    return _about_nobody(json_response(401, members, (("WWW-Authenticate", challenge), _VARY)))


def _about_nobody(response: Response) -> Response:
    return response.with_headers([(name, "") for name in IDENTITY_HEADERS])


def _about(service: Service, request: Request, identity: Identity) -> list[tuple[str, str]]:
    ends, settings = identity.expires_at, service.settings
    issuer = identity.claimed_issuer
    if issuer is None and not request.header_lines("authorization"):
        # A cookie is of our own realm, and does not say by whose word.
        issuer = settings.jwt_issuer or settings.oidc_issuer
    values = (
        identity.user_id, identity.session_id, identity.client_id, issuer, str(int(ends)) if ends < FOREVER else None,
    )  # fmt: skip
    return [(name, header_text(value)) for name, value in zip(IDENTITY_HEADERS, values, strict=True)]


def header_text(value: str | None) -> str:
    """The value as a header may carry it: no name, however it is chosen, ends the line or says something else.

    Percent-encoded UTF-8 (`urllib.parse.unquote` gives it back), but for letters, digits and a few harmless signs.
    """
    # As in keys: a lone surrogate is a legal JSON string, and must not become the name of somebody else.
    return quote((value or "").encode("utf-8", "surrogatepass"), safe=_PLAIN)
