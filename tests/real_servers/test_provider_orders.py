"""What a provider ordered, and was told is done, survives whatever happens to the processes."""

from __future__ import annotations

import json
import time

import pytest
from examples.demo import EXAMPLES

from tests.protocols.op import BACKCHANNEL, CLIENT, ISSUER, Op, public_pem, rsa_key

from .server import DEAD, LIVE, RealServer


@pytest.fixture(params=["starlette", "flask"])
def relying_party(request, tmp_path):
    """An example whose users come from a provider, under its real server."""
    server = RealServer(EXAMPLES[request.param], tmp_path)
    server._environment |= {
        "LOGOUT_OIDC_ISSUER": ISSUER, "LOGOUT_OIDC_CLIENT_ID": CLIENT,
        "LOGOUT_ISSUERS": json.dumps({ISSUER: {"keys": [public_pem(rsa_key("k1"))]}}),
    }  # fmt: skip
    server.start()
    yield server
    server.stop()
    assert "Traceback" not in server.log


def test_kill_of_the_worker_that_said_200_keeps_the_providers_order(relying_party):
    """Kill -9 right after the answer: the user is logged out on every worker, and the one in its place."""
    ann, ben = relying_party.log_in("ann"), relying_party.log_in("ben")
    token = Op(time.time).logout_token("ann", iat=int(time.time()) + 2)

    answer = relying_party.ask("POST", BACKCHANNEL, form={"logout_token": token})
    relying_party.kill_worker(answer.worker)

    assert answer.status == 200
    assert relying_party.standing(ann) == DEAD
    assert relying_party.standing(ben) == LIVE
