"""What a browser can do for a test, whichever browser it is: profiles, their tabs, and a person's hands.

A script is the source of a JavaScript function of one argument; what it returns may be a promise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

PATIENCE_SECONDS = 10.0

# The parts of a shadow tree have no address of their own, so each name leads into the one before: "x-y >>> button".
_FIND = """
const find = path => path.split(" >>> ").reduce(
    (found, name, depth) => (depth ? found?.shadowRoot : document)?.querySelector(name), null);
"""
_CENTRE = f"""path => {{
    {_FIND}
    const found = find(path), box = found?.getBoundingClientRect();
    if (!box?.width || !box.height || getComputedStyle(found).visibility !== "visible") return null;
    if (box.top < 0 || box.left < 0 || box.bottom > innerHeight || box.right > innerWidth) {{
        found.scrollIntoView({{block: "center", behavior: "instant"}});
        return null;
    }}
    return {{x: Math.round(box.x + box.width / 2), y: Math.round(box.y + box.height / 2)}};
}}"""
_TEXT = f"path => {{ {_FIND} return find(path)?.textContent.trim() ?? null; }}"


class Tab(ABC):
    """One tab. It may be in the background; whatever is done with it brings it to the front if it must be there."""

    @abstractmethod
    def go(self, url: str) -> None:
        """Type an address, and wait for the page."""

    @abstractmethod
    def evaluate(self, script: str, argument: Any = None) -> Any:
        """What the page's JavaScript says; an error of the script is one here."""

    @abstractmethod
    def wait(self, script: str, argument: Any = None, *, seconds: float = PATIENCE_SECONDS) -> Any:
        """The script's first value that is true, on whatever page is there by then. An error counts as "not yet"."""

    @abstractmethod
    def click_at(self, point: dict[str, int]) -> None:
        """Press the mouse button at this place of the view."""

    @abstractmethod
    def press(self, *keys: str) -> None:
        """Press and release these keys: Tab, Enter, Space, Escape, or a character."""

    @abstractmethod
    def back(self) -> None:
        """Press the back button; what comes is for `wait`."""

    @property
    @abstractmethod
    def url(self) -> str:
        """The address in the address bar."""

    @property
    @abstractmethod
    def uncaught(self) -> list[str]:
        """What the browser itself tells of errors that no script of the page caught (WebKitGTK tells nothing)."""

    @abstractmethod
    def close(self) -> None:
        """Close the tab."""

    def click(self, path: str) -> None:
        """Click into the middle of an element, as soon as it can be seen."""
        self.click_at(self.wait(_CENTRE, path))

    def text(self, path: str) -> str | None:
        """The text of an element; None where there is none."""
        found = self.evaluate(_TEXT, path)
        return None if found is None else str(found)

    def wait_for(self, path: str) -> None:
        """Return as soon as the element can be seen."""
        self.wait(_CENTRE, path)

    def wait_until_at(self, url: str) -> None:
        """Return as soon as the page of this address is there, and has loaded."""
        self.wait("url => location.href === url && document.readyState === 'complete'", url)

    @property
    def notes(self) -> list[tuple[str, str]]:
        """What `watch.js` noted in this tab, on any page since it was opened."""
        return [(what, text) for what, text in self.evaluate("() => JSON.parse(window.name || '[]')")]

    def told(self, *names: str) -> list[str]:
        """The texts of the notes of these names."""
        return [text for what, text in self.notes if what in names]

    @property
    def complaints(self) -> list[str]:
        """What went wrong: errors, rejections that nobody handled, violations of the CSP, words on the console."""
        all_of_them = [*self.told("error", "rejection", "csp", "console.error"), *self.uncaught]
        # Browsers look for this icon unasked, and this policy forbids them to.
        return [each for each in all_of_them if "/favicon.ico" not in each]


class Profile(ABC):
    """Somebody's browser, with cookies and storage of its own: another profile is another device."""

    @abstractmethod
    def tab(self) -> Tab:
        """A new tab."""

    @abstractmethod
    def cookies(self, tab: Tab) -> dict[str, str]:
        """The cookies that are sent to the site in this tab, also those that no script can read."""

    @abstractmethod
    def close(self) -> None:
        """Close it with all its tabs."""


class Browser(ABC):
    """A browser that runs."""

    @abstractmethod
    def profile(self, *, scripts: bool = True) -> Profile:
        """A new profile. `scripts`: does JavaScript run?"""

    @abstractmethod
    def stop(self) -> None:
        """End it, and every process of it."""


def missing(programs: Sequence[tuple[str, str]], found: Any) -> str | None:
    """What to install, where one of these (program, Debian package) is not there."""
    lacking = [(program, package) for program, package in programs if found(program) is None]
    if not lacking:
        return None
    names, packages = (", ".join(sorted(set(column))) for column in zip(*lacking, strict=True))
    return f"{names} not installed; on Debian: apt-get install {packages.replace(',', '')} (or make servers)"
