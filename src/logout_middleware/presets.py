"""The presets (LOGOUT_PRESET): five published logouts, each reproduced exactly, and three levels of assurance.

A preset is defaults for settings, which a variable still overrides, plus what no variable can say: the
exact members of the answer, a required parameter, a stricter refusal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Preset:
    """`members`: the answer's members, None for all of contract 4.1; a text in angle brackets is filled in.

    `body_only`: only tokens in the body are logged out. `tolerant_body`: a body that cannot be read is no token.
    `failure_status`: the answer when nothing could record the logout. `strict_redirect`: an unlisted target is
    400 and nothing happens. `required_client`: a redirect logout names a registered client. `jwt_only`: a token
    that our keys did not sign is no login. `get_on_aliases`: aliases serve the redirect logout, too. `requires`:
    settings that the operator must give.
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
    requires: tuple[str, ...] = ()


NONE = Preset()

PRESETS: Mapping[str, Preset] = {
    "genauth": Preset(defaults={"revoke_bound": "true", "scope": "local"}),
    "user-management": Preset(
        defaults={"aliases": "/logout", "scope": "global", "require_credential": "true"},
        members={"message": "<message>", "timestamp": "<timestamp>"},
        jwt_only=True,
    ),
    "spid": Preset(
        defaults={"aliases": "/logout", "on_get": "allow", "revoke_bound": "false"},
        strict_redirect=True,
        required_client=True,
        get_on_aliases=True,
        requires=("clients",),
    ),
    "userfront": Preset(
        defaults={"redirect_url": "/login"},
        members={"message": "ok", "redirectTo": "<redirect_to>"},
        requires=("cookies",),
    ),
    "campusbite": Preset(
        # The seed knows 200 and 500 only, any number of times (CB-8); the quota of unverifiable tokens stays.
        defaults={"aliases": "/api/auth/logout", "revoke_bound": "false", "rate_limit": "off"},
        members={"success": True, "message": "<message>"},
        body_only=True,
        tolerant_body=True,
        failure_status=500,
    ),
    # NIST SP 800-63B-4 2.1.3, 2.2.3, 2.3.3: reauthentication at each assurance level.
    "aal1": Preset(defaults={"absolute_timeout": "30d"}),
    "aal2": Preset(defaults={"absolute_timeout": "24h", "idle_timeout": "1h"}),
    "aal3": Preset(defaults={"absolute_timeout": "12h", "idle_timeout": "15m"}),
}  # fmt: skip
