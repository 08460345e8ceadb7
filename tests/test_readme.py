"""Every code block of the README is executed, and its table of settings is the truth."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.test import Client

from logout_middleware.wsgi import LogoutMiddleware

from . import settings_table

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", settings_table.README.read_text("utf-8"), re.DOTALL | re.MULTILINE)
PYTHON = [code for kind, code in BLOCKS if kind == "python"]
SHELL = [code for kind, code in BLOCKS if kind == "sh"]
EXPORTS = re.findall(r"^export (\w+)=(.*)$", "\n".join(SHELL), re.MULTILINE)
SETTINGS = {name: shlex.split(value)[0] for name, value in EXPORTS}

# Sends a login's token to whatever the block made, logs it out, and sends it again.
TRY_IT = """
import jwt, os, time
token = jwt.encode({"sub": "ann", "sid": "s1", "jti": "j1", "iat": time.time(), "exp": time.time() + 60},
                   os.environ["LOGOUT_JWT_KEY"], algorithm="HS256")
headers = {"Authorization": "Bearer " + token}
"""
TRY_ASGI = (
    TRY_IT
    + """
from starlette.testclient import TestClient
client = TestClient(app)
statuses = [client.get("/", headers=headers).status_code, client.post("/auth/logout", headers=headers).status_code,
            client.get("/", headers=headers).status_code]
assert statuses == [404, 200, 401], statuses
"""
)
TRY_WSGI = (
    TRY_IT
    + """
from werkzeug.test import Client
client = Client(globals().get("application") or app)
statuses = [client.get("/", headers=headers).status_code, client.post("/auth/logout", headers=headers).status_code,
            client.get("/", headers=headers).status_code]
assert statuses == [404, 200, 401], statuses
"""
)
DJANGO = """
from django.conf import settings
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x")
urlpatterns = []
"""


def run(code: str, place: Path) -> subprocess.CompletedProcess[str]:
    script = place / "block.py"
    script.write_text(code, "utf-8")
    return subprocess.run(
        [sys.executable, str(script)], env=os.environ | SETTINGS, cwd=place, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("code", PYTHON, ids=[re.findall(r"import (\w+)", code)[0] for code in PYTHON])
def test_a_python_block_works_as_it_stands(code: str, tmp_path: Path) -> None:
    """What a newcomer copies logs out for real; blocks without an application run without an error."""
    trial = TRY_ASGI if "asgi import Logout" in code else TRY_WSGI if "wsgi import Logout" in code else ""

    ended = run((DJANGO if "django" in code else "") + code + trial, tmp_path)

    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("code", SHELL, ids=[code.split("\n")[0] for code in SHELL])
def test_a_shell_block_works_as_it_stands(code: str, tmp_path: Path) -> None:
    """Commands run; `make` is only asked what it would do, because this test is part of one of its targets."""
    script = re.sub(r"^make ", f"make --dry-run --directory={ROOT} ", code, flags=re.MULTILINE)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    ended = subprocess.run(
        ["bash", "-euc", script], env=os.environ | SETTINGS | {"PATH": path}, cwd=tmp_path, capture_output=True,
        text=True, check=False,
    )  # fmt: skip

    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("code", [code for kind, code in BLOCKS if kind == "html"], ids=["form", "element"])
def test_an_html_block_is_a_complete_logout_button(code: str) -> None:
    """What a browser without script makes of it: one request, which ends the session of its cookie."""
    found: dict[str, dict[str, str | None]] = {}
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.update({tag: dict(attributes)})  # type: ignore[method-assign]
    parser.feed(code)
    site = LogoutMiddleware(Flask("site").wsgi_app, store="memory://", allow_unsafe_store=True, cookies="sid:opaque")
    client = Client(site, use_cookies=False)
    cookie = {"Cookie": "sid=a-session"}

    form = found["form"]
    sent = {"Sec-Fetch-Site": "same-origin", "Accept": "text/html", "Content-Type": "application/x-www-form-urlencoded"}
    pressed = client.open(str(form["action"]), method=str(form["method"]).upper(), headers=cookie | sent)

    assert "button" in found
    assert (pressed.status_code, pressed.headers["location"]) == (303, "/login")
    assert client.get("/", headers=cookie).headers["set-cookie"].startswith("sid=;")


def test_every_picture_is_there_small_and_told_in_words() -> None:
    """A page with a hole in it says nothing, and a picture says nothing to who cannot see it."""
    pictures = re.findall(r'<img src="([^"]+)" width="\d+" alt="([^"]+)">', settings_table.README.read_text("utf-8"))

    assert [path for path, _ in pictures] == ["examples/screenshots/light.png", "examples/screenshots/dark.png"]
    assert [path for path, _ in pictures if not 0 < (ROOT / path).stat().st_size <= 60 * 1024] == []


def test_there_is_nothing_in_the_readme_that_is_not_tried() -> None:
    """A block of another kind would be one that nobody runs. Those for browsers run in `browsers/elements`."""
    assert {kind for kind, _ in BLOCKS} == {"sh", "python", "html", "js", "jsx"}
    assert len(PYTHON) == 5
    assert len(SHELL) == 6


def test_the_settings_table_is_what_the_settings_say() -> None:
    """Run `python -m tests.settings_table` after changing one."""
    text = settings_table.README.read_text("utf-8")

    assert text == settings_table.with_table(text)
