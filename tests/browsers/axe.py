"""What axe-core, Deque's accessibility checker, finds on a page that is open in the browser."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from playwright.sync_api import Page

from tests.peers.node import node_modules

# Style sheets of other origins would be fetched for one rule about rotated phones, past the page's own policy.
_RUN = "(within) => axe.run(within ?? document, {resultTypes: ['violations'], preload: false})"


@dataclass(frozen=True)
class Violation:
    """A rule that is broken: its name, what it asks for, and the elements that break it, as HTML."""

    rule: str
    help: str
    elements: tuple[str, ...]


@cache
def _program() -> str:
    return (node_modules() / "axe-core" / "axe.min.js").read_text("utf-8")


def violations(page: Page, within: str | None = None) -> list[Violation]:
    """Every rule that the page breaks as it is shown now, open shadow roots included; best practices are rules, too.

    `within`: a CSS selector of the only part to look at. It runs under any Content-Security-Policy: nothing is put
    into the document, the browser's debugger evaluates it.
    """
    # A second program would forget what the first one is doing.
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(_program())
    found = page.evaluate(_RUN, within)
    return [
        Violation(each["id"], each["help"], tuple(node["html"] for node in each["nodes"]))
        for each in found["violations"]
    ]
