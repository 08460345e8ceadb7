"""Userfront's own client, unchanged, logs out at a server of ours that has its preset and the account's name."""

from __future__ import annotations

from pathlib import Path

from . import node
from .server import running

PROGRAM = Path(__file__).parent / "userfront_client.mjs"
CORE = ("@userfront/core", "build/userfront-core.js")
ALL_THREE = ["access.abcdefg", "id.abcdefg", "refresh.abcdefg"]


def test_UF_1_4_5_6_7_9_12_userfronts_own_client_logs_out_here(tmp_path: Path) -> None:
    """`Userfront.logout()`: dead at the server, out of the browser, and on to /login of the page's own host."""
    with running(tmp_path, bare=True, LOGOUT_PRESET="userfront", LOGOUT_COOKIES="access.abcdefg") as service:
        token, other = service.issuer.mint("ann"), service.issuer.mint("ann")
        before = service.me(token)

        told = node.run(PROGRAM, node.address(*CORE), service.origin, token)

        assert before == "ann"
        assert told["before"] == {"token": token, "kept": ALL_THREE}
        assert told["after"] == {"token": None, "kept": []}
        assert told["visited"] == ["https://example.com/login"]
        assert (service.me(token), service.me(other)) == (None, "ann")
        assert '"GET /auth/logout HTTP/1.1" 200' in service.log()
