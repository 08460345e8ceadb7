"""The README's blocks for the browser, as somebody would paste them into a page."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests import settings_table
from tests.peers.node import node_modules

from .served import POLICY
from .tab import Tab

BLOCKS = re.findall(r"^```(html|js|jsx)\n(.*?)^```", settings_table.README.read_text("utf-8"), re.DOTALL | re.MULTILINE)
(BUTTON,) = [code for kind, code in BLOCKS if kind == "html" and "<logout-button" in code]
(MODULE,) = [code for kind, code in BLOCKS if kind == "js"]
(REACT,) = [code for kind, code in BLOCKS if kind == "jsx"]


def pasted(tab: Tab, body: str, script: str = "") -> None:
    """Open a page with this body and this module of its own, logged in."""
    tab.log_in()
    head = '<!doctype html><html lang="en"><title>Pasted</title>'
    own = '<script type="module" src="/pasted.js"></script>' if script else ""
    html = f"{head}{own}<body>{body}</body></html>"
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
    tab.page.route("**/pasted.js", lambda route: route.fulfill(body=script, content_type="text/javascript"))
    tab.page.route(
        "**/pasted", lambda route: route.fulfill(body=html, content_type="text/html", headers=headers, status=200)
    )
    tab.page.goto(f"{tab.origin}/pasted")


def test_the_button_asks_and_logs_out(tab: Tab) -> None:
    """A script element and an element, nothing else."""
    pasted(tab, BUTTON)
    assert tab.known() == "ann"

    tab.button.click()
    tab.dialog.get_by_role("button", name="Log out").click()

    tab.at_login()
    assert tab.known() == "nobody"


def test_the_module_logs_out_and_says_why(tab: Tab) -> None:
    """The whole block: options, a listener, a button of the page's own."""
    pasted(tab, '<button id="out">Out</button>', MODULE)
    tab.page.evaluate("() => localStorage.setItem('user', 'ann')")
    tab.page.wait_for_function("() => document.querySelector('#out').onclick")

    with tab.page.expect_console_message(lambda message: message.text == "logout in this tab"):
        tab.page.get_by_role("button", name="Out").click()

    tab.page.wait_for_url(f"{tab.origin}/bye")
    assert tab.known() == "nobody"
    assert tab.page.evaluate("() => localStorage.getItem('user')") is None


@pytest.fixture
def compiled(tmp_path: Path) -> str:
    """The React block as a bundler hands it to browsers, with what an application would do with it."""
    node = shutil.which("node")
    assert node is not None, "node is not there"
    # `React` is whatever the page has by that name.
    source = f"""{REACT}
const {{ createRoot }} = await import("/vendor/react.js");
createRoot(document.querySelector("#root")).render(<AuthProvider><Out /></AuthProvider>);
"""
    path = tmp_path / "block.jsx"
    path.write_text(source, "utf-8")
    command = [node, str(node_modules() / "esbuild" / "bin" / "esbuild"), str(path), "--format=esm", "--target=es2022"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout


def test_the_hooks_log_out(tab: Tab, compiled: str) -> None:
    """The component shows that it is at work, and the browser is logged out."""
    tab.page.route("**/block.js", lambda route: route.fulfill(body=compiled, content_type="text/javascript"))
    start = 'import { React } from "/vendor/react.js"; globalThis.React = React; await import("/block.js");'
    pasted(tab, '<div id="root"></div>', start)

    with tab.slow_server():
        tab.page.get_by_role("button", name="Log out").click()
        expect(tab.page.locator("button[aria-busy=true]")).to_be_visible()

    tab.at_login()
    assert tab.known() == "nobody"
