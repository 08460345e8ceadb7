"""The pictures of the README: `python -m examples.screenshots` takes them of the Starlette example.

It needs Playwright and the system's Chromium, as the tests do.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from .demo import EXAMPLES, HERE, HOST, free_port, running

FOLDER = HERE / "screenshots"
LOOKS = ("light", "dark")
# What the devices of the list call themselves.
PHONE = "Mozilla/5.0 (Android 16; Mobile; rv:145.0) Gecko/145.0 Firefox/145.0"
TABLET = (
    "Mozilla/5.0 (iPad; CPU OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/604.1"
)


def take(browser: Browser, url: str, folder: Path) -> None:
    """One picture in each look: logged in, with two other devices in the list."""
    for user_agent in (PHONE, TABLET):
        log_in(browser, url, user_agent=user_agent)
    for look in LOOKS:
        page = log_in(browser, url, color_scheme=look, viewport={"width": 480, "height": 100}, device_scale_factor=1.25)
        page.locator("#devices li").nth(2).wait_for()
        page.locator("[data-state=live]").wait_for()
        page.screenshot(path=folder / f"{look}.png", full_page=True)
        page.get_by_role("button", name="Log out", exact=True).click()  # else it were in the list of the next one
        page.wait_for_url("**/login")


def log_in(browser: Browser, url: str, **options: Any) -> Page:
    """The page of ann in a browser profile of its own."""
    page = browser.new_context(**options).new_page()
    page.goto(f"{url}/login")
    page.get_by_label("Name").fill("ann")
    page.get_by_label("Password").fill("correct-horse")
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Hello, ann").wait_for()
    return page


def main() -> None:
    """Start the example, take the pictures, stop it."""
    example, port = EXAMPLES["starlette"], free_port()
    FOLDER.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="logout-screenshots-") as folder,
        running(example.command(port), env=example.environment(), cwd=Path(folder), port=port),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        take(browser, f"http://{HOST}:{port}", FOLDER)
        browser.close()


if __name__ == "__main__":
    main()
