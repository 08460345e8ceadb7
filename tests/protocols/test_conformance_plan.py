"""The modules of the OpenID Foundation's conformance plans for relying parties, under their own names.

Each is one round: a browser logs in, leaves by "log out" for the provider, the provider tells the application by its
back or front channel, and sends the browser back. The provider is a real HTTP server with discovery and keys, on which
the application has nothing but its address; what it demands of the application is asserted here as the suite does it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import jwt
import pytest

from logout_middleware.testing import MovableClock
from tests.client import ALL, OWN_LINK, Answer, BuildSite, Device, Site

from .op import CALLBACK, CLIENT, EVENT, FRONTCHANNEL, LANDING, order, rsa_key
from .op_server import DISCOVERY, END_SESSION, JWKS, OpServer

IGNORED = {"ignored_claim": {"of": ["the suite"]}}

LOGOUT_TOKENS: Mapping[str, tuple[int, Mapping[str, Any]]] = {
    "oidcc-client-test-rp-backchannel-rpinitlogout": (200, IGNORED),
    "oidcc-client-test-rp-backchannel-rpinitlogout-alg-none": (400, {"algorithm": "none", "key": ""}),
    "oidcc-client-test-rp-backchannel-rpinitlogout-no-event": (400, {"events": None}),
    "oidcc-client-test-rp-backchannel-rpinitlogout-with-nonce": (400, {"nonce": "a nonce"}),
    "oidcc-client-test-rp-backchannel-rpinitlogout-wrong-alg":
        (400, {"algorithm": "HS256", "key": "the client secret, of more than thirty-two bytes"}),
    "oidcc-client-test-rp-backchannel-rpinitlogout-wrong-aud": (400, {"aud": f"{CLIENT}1"}),
    "oidcc-client-test-rp-backchannel-rpinitlogout-wrong-event": (400, {"events": {f"{EVENT}1": {}}}),
    "oidcc-client-test-rp-backchannel-rpinitlogout-wrong-iss": (400, {"iss": "https://wrong.example.com/"}),
}  # fmt: skip

STATES: Mapping[str, Callable[[str], str]] = {
    "oidcc-client-test-rp-init-logout": lambda state: f"?state={quote(state)}",
    "oidcc-client-test-rp-init-logout-other-state": lambda state: f"?state={quote(state[::-1])}",
    "oidcc-client-test-rp-init-logout-no-state": lambda state: "",
}


@dataclass(frozen=True)
class Round:
    """A browser that left for the provider: what it said there, and the cookie with which it comes back."""

    asked: Mapping[str, str]
    cookie: str
    alice: Device

    def back(self, rp: Site, query: str) -> Answer:
        """The provider's redirect."""
        return rp.get(CALLBACK + query, headers={"Cookie": self.cookie})


@pytest.fixture
def rp(site: BuildSite, op_server: OpServer) -> Site:
    """The application under test."""
    return site(**op_server.settings(redirect_allow="https://www.example.com/bye"))


def leave(rp: Site, op: OpServer) -> Round:
    """Log in, and out: with all that the provider's end session endpoint demands of a request."""
    token = op.id_token("alice", "s-1")
    alice = rp.login("alice", sid="s-1", id_token=token)

    answer = rp.get("/auth/logout?redirect_uri=https://www.example.com/bye", cookie=alice.cookie, headers=OWN_LINK)

    assert answer.status == 303
    address = urlsplit(str(answer.header("location")))
    assert f"{address.scheme}://{address.netloc}{address.path}" == op.issuer + END_SESSION
    asked = {name: values[0] for name, values in parse_qs(address.query, strict_parsing=True).items()}
    hint = jwt.decode(
        asked["id_token_hint"], rsa_key(op.kid).public_key(), ["RS256"], audience=asked["client_id"],
        issuer=op.issuer, options={"verify_iat": False, "verify_exp": False},
    )  # fmt: skip
    assert (hint["sub"], hint["sid"]) == ("alice", "s-1")
    assert asked["post_logout_redirect_uri"] == LANDING
    assert len(asked["state"]) >= 22
    (line,) = [line for line in answer.all("set-cookie") if "logout_state=" in line]
    return Round(asked, line.partition(";")[0], alice)


@pytest.mark.parametrize("module", LOGOUT_TOKENS)
def test_plan_oidcc_client_back_channel_logout_rp_basic(
    rp: Site, op_server: OpServer, clock: MovableClock, module: str
) -> None:
    """200 exactly for the good logout token, 400 exactly for each bad one, and never to be kept by a cache."""
    status, claims = LOGOUT_TOKENS[module]
    tablet = rp.login("alice", sid="s-2")
    clock.move(2.0)
    gone = leave(rp, op_server)

    answer = order(rp, op_server.logout_token("alice", "s-2", **claims))

    assert answer.status == status
    assert "no-store" in str(answer.header("cache-control"))
    assert rp.alive(tablet) == (set() if status == 200 else ALL)
    assert rp.alive(gone.alice) == set()
    back = gone.back(rp, f"?state={quote(gone.asked['state'])}")
    assert (back.status, back.header("location")) == (303, "https://www.example.com/bye")
    assert (op_server.asked[DISCOVERY], op_server.asked[JWKS]) == (1, 1)


@pytest.mark.parametrize("module", STATES)
def test_plan_oidcc_client_rp_initiated_logout_rp_basic(rp: Site, op_server: OpServer, module: str) -> None:
    """The state is minded: without the right one the browser ends at our own page, logged out all the same."""
    gone = leave(rp, op_server)

    back = gone.back(rp, STATES[module](gone.asked["state"]))

    assert back.status == 303
    wanted = "https://www.example.com/bye" if module == "oidcc-client-test-rp-init-logout" else "/login"
    assert back.header("location") == wanted
    assert rp.alive(gone.alice) == set()


@pytest.mark.parametrize("module", ["oidcc-client-test-rp-frontchannel-rpinitlogout"])
def test_plan_oidcc_client_front_channel_logout_rp_basic(rp: Site, op_server: OpServer, module: str) -> None:
    """The provider's page frames the application before it sends the browser back."""
    tablet = rp.login("alice", sid="s-2")
    gone = leave(rp, op_server)

    framed = rp.get(
        f"{FRONTCHANNEL}?{urlencode({'iss': op_server.issuer, 'sid': 's-2'})}",
        headers={"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Site": "cross-site"},
    )

    assert framed.status == 200
    assert "no-store" in str(framed.header("cache-control"))
    assert rp.alive(tablet) == set()
    assert gone.back(rp, f"?state={quote(gone.asked['state'])}").status == 303
