"""key_collisions.jsonl: revoking one identity never touches another, however alike their names are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jwt
import pytest

from logout_middleware.colour import run_blocking
from logout_middleware.rules.revocation import session_key, user_key
from logout_middleware.testing import MovableClock

from . import corpus
from .parsers import Site, bearer, site

KEY = "a shared secret of more than 32 bytes"
STORES = ("memory", "sqlite")
STACKS = ("asgi", "wsgi")


def token_of(claims: dict[str, str], clock: MovableClock) -> str:
    """A live token with these claims."""
    now = int(clock())
    return jwt.encode(claims | {"iat": now - 5, "exp": now + 600}, KEY, algorithm="HS256")  # type: ignore[operator]


def revoke(guard: Site, scope: str, claims: dict[str, Any], token: str) -> None:
    """Revoke by the Python API what the case says."""
    if scope == "session":
        guard.call("revoke_session", claims["sid"], issuer=claims["iss"])
    elif scope == "user":
        guard.call("revoke_user", claims["sub"], issuer=claims["iss"])
    else:
        guard.call("revoke_token", token)


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("case", corpus.cases("key_collisions"))
def test_revoking_one_identity_leaves_the_other_alive(
    case: corpus.Case, store: str, stack: str, tmp_path: Path
) -> None:
    """The revoked one is dead, the other is served as before."""
    clock = MovableClock()
    url = "memory://" if store == "memory" else f"sqlite:///{tmp_path / 'logout.db'}"
    # Tokens of many issuers are verified, each a realm of its own; only what is named is revoked.
    guard = site(stack, store=url, clock=clock, jwt_key=KEY, jwt_algorithms="HS256", revoke_bound=False)
    revoked, other = (token_of(case[name], clock) for name in ("revoke", "other"))
    assert guard.me(bearer(other)).status == 200

    try:
        revoke(guard, case["scope"], case["revoke"], revoked)
    except TypeError:
        assert case["revoke"]["sub"] == ""  # nobody has this name, and the API says so

    assert guard.me(bearer(revoked)).status == 401
    assert guard.me(bearer(other)).status == 200
    assert guard.call("is_revoked", other) is False
    run_blocking((guard.logout if guard.is_asgi else guard.logout.inner).raw_store.close())


@pytest.mark.parametrize("case", corpus.cases("key_collisions", lambda case: case["scope"] != "token"))
def test_two_identities_have_two_keys(case: corpus.Case) -> None:
    """The rule itself: different names, different keys."""
    key, name = {"session": (session_key, "sid"), "user": (user_key, "sub")}[case["scope"]]

    one, other = (key(case[side][name], case[side]["iss"]) for side in ("revoke", "other"))

    assert one != other
