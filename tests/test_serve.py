"""`logout-middleware serve`, run for real: the endpoints as a service that no application is needed for."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from logout_middleware.service_app import service_settings

from .serving import KEY, Answer, ask, mint, serve_command, serve_environment, serving

WORKERS = 2


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory):
    """A service with two workers on one SQLite file; afterwards it must have stopped in order."""
    folder = tmp_path_factory.mktemp("serve")
    with serving(folder, "--workers", str(WORKERS), "--log-level", "warning") as (port, process):
        yield port
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    said = (folder / "log").read_text()
    assert "Traceback" not in said
    assert KEY not in said


def often(port: int, token: str) -> list[Answer]:
    """The same question on so many connections that every worker gets some of them."""
    return [ask(port, "GET", "/auth/check/app", token=token) for _ in range(20)]


def test_who_is_logged_in_passes_until_he_logs_out(port: int) -> None:
    """On every worker, from the very next request on."""
    token, bystander = mint("ann"), mint("bob")
    assert {(each.status, each.headers["X-Auth-Subject"]) for each in often(port, token)} == {(200, "ann")}

    logged_out = ask(port, "POST", "/auth/logout", token=token)

    assert (logged_out.status, json.loads(logged_out.body)["revoked"]["tokens"]) == (200, 1)
    assert {(each.status, each.headers["X-Auth-Subject"]) for each in often(port, token)} == {(401, "")}
    assert {each.status for each in often(port, bystander)} == {200}


def test_everything_else_is_not_there(port: int) -> None:
    """A service of its own has no application behind it."""
    for path in ("/", "/app", "/auth", "/auth/", "/auth/nothing", "/healthz/x"):
        assert ask(port, "GET", path).status == 404


def test_liveness_says_nothing_but_that_it_lives(port: int) -> None:
    """An orchestrator needs no credential for it, and learns nothing."""
    answer = ask(port, "GET", "/healthz")

    assert (answer.status, answer.body) == (200, b"ok\n")
    assert ask(port, "HEAD", "/healthz").status == 200


def test_a_proxy_may_ask_with_the_upgrade_of_a_websocket(port: int) -> None:
    """Caddy hands `Upgrade` on with its question; the answer is an ordinary one all the same."""
    upgrade = [
        ("Upgrade", "websocket"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), ("Sec-WebSocket-Version", "13"),
    ]  # fmt: skip

    assert ask(port, "GET", "/auth/check", headers=upgrade, token=mint()).status == 200
    assert ask(port, "GET", "/auth/check", headers=upgrade).status == 401


def test_one_process_serves_and_stops_in_order(tmp_path: Path) -> None:
    """As told by SIGTERM: exit status 0; audit records stand on standard output, each a line of JSON."""
    with serving(tmp_path) as (port, process):
        token = mint("ann")
        assert ask(port, "POST", "/auth/logout", token=token).status == 200
        assert ask(port, "GET", "/auth/check", token=token).status == 401
        process.send_signal(signal.SIGTERM)
        status = process.wait(15)

    said = (tmp_path / "log").read_text()
    records = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert status == 0
    assert "logout" in {record["kind"] for record in records}
    assert token not in said


def test_a_logout_outlives_the_service(tmp_path: Path) -> None:
    """The next one that is started on this store refuses, too."""
    token = mint()
    with serving(tmp_path) as (port, _):
        assert ask(port, "POST", "/auth/logout", token=token).status == 200

    with serving(tmp_path) as (port, _):
        assert ask(port, "GET", "/auth/check", token=token).status == 401


def refused(*more: str, **settings: str) -> tuple[int, str]:
    """The exit status and the words of a service that must not start."""
    ended = subprocess.run(
        serve_command(0, *more), env=serve_environment(**settings), capture_output=True, text=True, check=False,
        timeout=30,
    )  # fmt: skip
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stderr


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"LOGOUT_STORRE": "x"}, "E001 LOGOUT_STORRE: there is no such setting; did you mean LOGOUT_STORE?"),
        ({"LOGOUT_JWT_KEY": "", "LOGOUT_JWT_ALGORITHMS": ""}, "E112 LOGOUT_ENDPOINTS: 'check'"),
        ({"LOGOUT_FAIL_MODE": "maybe", "LOGOUT_MODE": "see"}, "E002 LOGOUT_MODE"),
    ],
)
def test_mistakes_are_printed_and_nothing_is_served(tmp_path: Path, settings: dict[str, str], told: str) -> None:
    """Exit status 1, and what to write instead."""
    status, said = refused(**{"LOGOUT_STORE": f"sqlite:///{tmp_path}/logout.db"} | settings)

    assert (status, told in said) == (1, True), said


def test_workers_do_not_share_what_is_in_the_memory_of_one(tmp_path: Path) -> None:
    """A logout that only one of them knows of would be none."""
    status, said = refused("--workers", "2", LOGOUT_STORE="memory://")

    assert (status, "E009 LOGOUT_STORE: memory:// is one process's own" in said) == (1, True), said


def test_without_uvicorn_it_says_what_to_install(tmp_path: Path) -> None:
    """The server is an extra."""
    code = "import sys; sys.modules['uvicorn'] = None; from logout_middleware.cli import main; main()"

    ended = subprocess.run(
        [sys.executable, "-c", code, "serve"], env=serve_environment(), capture_output=True, text=True, check=False
    )

    assert (ended.returncode, ended.stderr) == (2, "serve needs: pip install 'logout-middleware[serve]'\n")


def test_a_service_checks_unless_it_is_told_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment wins, then `.env`; the default of the service comes last."""
    monkeypatch.setenv("LOGOUT_JWT_KEY", KEY)
    monkeypatch.setenv("LOGOUT_JWT_ALGORITHMS", "HS256")
    assert service_settings().endpoints == ("logout", "sessions", "check")

    Path(".env").write_text("LOGOUT_ENDPOINTS=sessions\n")
    assert service_settings().endpoints == ("sessions",)

    monkeypatch.setenv("LOGOUT_ENDPOINTS", "logout")
    assert service_settings().endpoints == ("logout",)
