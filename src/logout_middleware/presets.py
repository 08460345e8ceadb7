"""The presets (LOGOUT_PRESET): five published logouts, each reproduced exactly, and three levels of assurance.

A preset is defaults for settings, which a variable still overrides, plus what no variable can say: the
exact members of the answer, a required parameter, a stricter refusal.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .rules.cookies import GuardedCookie


@dataclass(frozen=True, slots=True)
class Preset:
    """`members`: the answer's members, None for all of contract 4.1; a text in angle brackets is filled in.

    `body_only`: only tokens in the body are logged out, and nothing else is read. `tolerant_body`: a body that cannot
    be read is no token. `failure_status`: the answer when nothing could record the logout. `strict_redirect`: an
    unlisted target is 400 and nothing happens. `required_client`: a redirect logout names a registered client.
    `jwt_only`: the demanded credential is a JWT in the Authorization header, and what our keys did not sign is no
    login. `get_on_aliases`: aliases serve the redirect logout, too. `get_by_bearer`: a GET with a bearer token is a
    script's logout, answered like a POST. `groups`: endpoints that it switches on. `cookie_kinds`: an account's
    cookies are named `<kind>.<account>`, and to name one of them is to name all. `requires`: settings that the
    operator must give, with an example; without them the seed's promises could not be kept. `needs_key`: so is a key.
    `client_headers`: what its client sends beside the usual, so that a page of a trusted origin may.
    """

    defaults: Mapping[str, str] = field(default_factory=dict)
    members: Mapping[str, Any] | None = None
    body_only: bool = False
    tolerant_body: bool = False
    failure_status: int = 503
    strict_redirect: bool = False
    required_client: bool = False
    jwt_only: bool = False
    get_on_aliases: bool = False
    get_by_bearer: bool = False
    groups: frozenset[str] = frozenset()
    client_headers: tuple[str, ...] = ()
    cookie_kinds: tuple[str, ...] = ()
    requires: Mapping[str, str] = field(default_factory=dict)
    needs_key: bool = False

    def completed(self, cookies: Sequence[GuardedCookie]) -> tuple[GuardedCookie, ...]:
        """These cookies, and those that the same account has beside them, with the same format and scope."""
        more: dict[str, GuardedCookie] = {}
        for cookie in cookies:
            kind, _, account = cookie.name.partition(".")
            for other in self.cookie_kinds if kind in self.cookie_kinds and account else ():
                more.setdefault(f"{other}.{account}", replace(cookie, name=f"{other}.{account}"))
        named = {cookie.name for cookie in cookies}
        return (*cookies, *(cookie for name, cookie in more.items() if name not in named))

    def missing(self, given: Collection[str], own_name: str | None, *, keyed: bool) -> Iterator[str]:
        """What these given settings lack, as mistakes of the preset of this name. `keyed`: can they verify tokens?"""
        for name, example in self.requires.items():
            if name not in given:
                yield f"E105 LOGOUT_{name.upper()}: LOGOUT_PRESET={own_name} needs it; write e.g. {example}"
        if self.needs_key and not keyed:
            why = "it must verify tokens to say whose they are"
            yield f"E105 LOGOUT_JWT_KEY: LOGOUT_PRESET={own_name} needs it, or LOGOUT_JWKS_URL: {why}"


NONE = Preset()
# A refresh token in a body is only seen where it is looked for; without it a logout would not reach the refresh.
_REFRESH = {"token_requests": "POST /refresh: refreshToken"}

PRESETS: Mapping[str, Preset] = {
    "genauth": Preset(
        defaults={"revoke_bound": "true", "scope": "local"},
        # Its SDK is configured with an id and a secret, and revokes and verifies by them (GA-7); E113 asks for those.
        groups=frozenset({"oauth"}),
        needs_key=True,
    ),
    "user-management": Preset(
        defaults={"aliases": "/logout", "scope": "global", "require_credential": "true"},
        members={"message": "<message>", "timestamp": "<timestamp>"},
        jwt_only=True,
        requires=_REFRESH,
        needs_key=True,
    ),
    "spid": Preset(
        defaults={"aliases": "/logout", "on_get": "allow", "revoke_bound": "false"},
        strict_redirect=True,
        required_client=True,
        get_on_aliases=True,
        requires={"clients": '{"my-app": {"redirect_uris": ["https://app.example.com/bye"]}}'},
    ),
    "userfront": Preset(
        defaults={"redirect_url": "/login"},
        members={"message": "ok", "redirectTo": "<redirect_to>"},
        # Its own client asks by GET, with the access token as a bearer, and reads `redirectTo`.
        get_by_bearer=True,
        client_headers=("x-userfront-source", "x-application-id", "x-origin"),
        cookie_kinds=("access", "id", "refresh"),
        requires={"cookies": "access.<account>"},
    ),
    "campusbite": Preset(
        # The seed knows 200 and 500 only, any number of times (CB-8); the quota of unverifiable tokens stays.
        defaults={"aliases": "/api/auth/logout", "revoke_bound": "false", "rate_limit": "off"},
        members={"success": True, "message": "<message>"},
        body_only=True,
        tolerant_body=True,
        failure_status=500,
        requires=_REFRESH,
    ),
    # NIST SP 800-63B-4 2.1.3, 2.2.3, 2.3.3: reauthentication at each assurance level.
    "aal1": Preset(defaults={"absolute_timeout": "30d"}),
    "aal2": Preset(defaults={"absolute_timeout": "24h", "idle_timeout": "1h"}),
    "aal3": Preset(defaults={"absolute_timeout": "12h", "idle_timeout": "15m"}),
}  # fmt: skip
