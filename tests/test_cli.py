"""The command line, run for real in a process of its own against the embedded store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import jwt
import pytest

from logout_middleware import BlockingLogout

KEY = "k" * 32
NOW = int(time.time())
CLAIMS = {"sub": "ann", "sid": "s1", "client_id": "shop", "jti": "j1", "iat": NOW - 86400, "exp": NOW + 3600}


class Shell:
    """Runs `logout-middleware` with settings in the environment."""

    def __init__(self, place: Path) -> None:
        self.environ = {
            **os.environ,
            "LOGOUT_STORE": f"sqlite:///{place}/logout.db",
            "LOGOUT_JWT_KEY": KEY,
            "LOGOUT_JWT_ALGORITHMS": "HS256",
        }
        self.place = place

    def __call__(self, *arguments: str, given: str = "") -> tuple[int, str, str]:
        ended = subprocess.run(
            [sys.executable, "-m", "logout_middleware", *arguments], env=self.environ, cwd=self.place, input=given,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return ended.returncode, ended.stdout, ended.stderr

    def passes(self, token: str) -> bool:
        status, _, _ = self("explain", given=token)
        return status == 0


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        ["user", "ann", "--reason", "compromised"],
        ["session", "s1"],
        ["client", "shop"],
        ["everyone", "--yes"],
        ["token"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_each_kind_of_revoke_ends_the_token(shell: Shell, arguments: list[str]) -> None:
    """The command returns when it is durable; another process then refuses."""
    token = jwt.encode(CLAIMS, KEY)
    assert shell.passes(token)

    status, said, _ = shell("revoke", *arguments, "--json", given=token)

    assert (status, json.loads(said)["ok"]) == (0, True)
    assert not shell.passes(token)
    with_same_settings = BlockingLogout(
        store=shell.environ["LOGOUT_STORE"], jwt_key=KEY, jwt_algorithms="HS256", audit="off"
    )
    assert with_same_settings.is_revoked(token)
    with_same_settings.close()


def test_explain_says_who_when_and_why(shell: Shell) -> None:
    """For the person who is asked why somebody is logged out."""
    token = jwt.encode(CLAIMS, KEY)
    shell("revoke", "user", "ann", "--reason", "password_change")

    status, said, _ = shell("explain", "--json", given=token)

    told = json.loads(said)
    assert (status, told["passes"], told["because"], told["user"]) == (1, False, "revoked (password_change)", "ann")
    assert told["refused_by"]["reason"] == "password_change"
    assert token not in said


def test_a_kept_session_survives_and_a_later_login_was_never_meant(shell: Shell) -> None:
    """--keep spares a session; --before spares what came after."""
    kept, other = jwt.encode(CLAIMS, KEY), jwt.encode({**CLAIMS, "sid": "s2", "jti": "j2"}, KEY)
    later = jwt.encode({**CLAIMS, "sid": "s3", "jti": "j3", "iat": NOW - 60}, KEY)

    status, _, _ = shell(
        "revoke", "user", "ann", "--keep", "s1", "--before", datetime.fromtimestamp(NOW - 3600, UTC).isoformat()
    )

    assert status == 0
    assert [shell.passes(token) for token in (kept, other, later)] == [True, False, True]


def test_check_says_what_the_store_promises(shell: Shell) -> None:
    """Status 0 when there is nothing to say."""
    status, said, _ = shell("check", "--json")

    told = json.loads(said)
    assert (status, told["ok"], told["journal_mode"]) == (0, True, "wal")
    assert told["durability"] == "fsync before every acknowledgement"
    assert shell("check")[1].startswith("ok: True\n")


def test_check_finds_a_store_that_forgets(shell: Shell) -> None:
    """Status 1 is a finding."""
    shell.environ["LOGOUT_STORE"] = "memory://"

    status, said, _ = shell("check")

    assert status == 1
    assert "the store forgets when the process ends" in said


def test_wrong_settings_are_listed_without_a_stack_trace(shell: Shell) -> None:
    """All of them, on standard error, or as JSON."""
    shell.environ |= {"LOGOUT_SCOPE": "all", "LOGOUT_STORRE": "x"}

    status, said, errors = shell("check")
    assert (status, said) == (1, "")
    assert [line[:4] for line in errors.splitlines()] == ["E001", "E002"]
    status, said, _ = shell("purge", "--json")
    assert (status, len(json.loads(said)["problems"])) == (1, 2)


def test_a_missing_folder_is_a_finding_that_names_the_variable(shell: Shell) -> None:
    """What an operator reads at three in the morning."""
    shell.environ["LOGOUT_STORE"] = "sqlite:////does/not/exist/logout.db"

    status, _, errors = shell("check")

    assert status == 1
    assert errors.startswith("E302 LOGOUT_STORE: cannot use the database /does/not/exist/logout.db")
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    "arguments",
    [["nothing"], ["revoke", "user"], ["revoke", "user", "x", "--before", "noon"], ["explain"], ["revoke", "session"]],
    ids=" ".join,
)
def test_wrong_usage_is_status_2(shell: Shell, arguments: list[str]) -> None:
    """A script tells wrong usage from a finding."""
    status, _, errors = shell(*arguments)

    assert status == 2
    assert "Usage" in errors


def test_logging_out_everyone_asks_first(shell: Shell) -> None:
    """It is not undone by any command."""
    token = jwt.encode(CLAIMS, KEY)

    assert shell("revoke", "everyone", given="n\n")[0] == 1
    assert shell.passes(token)
    assert shell("revoke", "everyone", given="y\n")[0] == 0
    assert not shell.passes(token)


def test_purge_forgets_only_what_ended(shell: Shell) -> None:
    """And says how much."""
    shell("revoke", "user", "ann")

    status, said, _ = shell("purge", "--json")

    assert (status, json.loads(said)) == (0, {"ok": True, "forgotten": 0})


def test_without_click_it_says_what_to_install(shell: Shell) -> None:
    """The command line is an extra."""
    code = "import sys; sys.modules['click'] = None; from logout_middleware.cli import main; main()"

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert ended.returncode == 2
    assert ended.stderr == "the command line needs: pip install 'logout-middleware[cli]'\n"
