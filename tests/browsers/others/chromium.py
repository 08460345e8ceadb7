"""Chromium through Playwright."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser as Running
from playwright.sync_api import BrowserContext, Page
from playwright.sync_api import Error as PlaywrightError

from .browser import PATIENCE_SECONDS, Browser, Profile, Tab

_LOOK_AGAIN_MILLISECONDS = 20


class ChromiumTab(Tab):
    def __init__(self, page: Page) -> None:
        self.page = page
        self._uncaught: list[str] = []
        page.on("pageerror", lambda error: self._uncaught.append(str(error)))

    def go(self, url: str) -> None:
        self.page.goto(url)

    def evaluate(self, script: str, argument: Any = None) -> Any:
        return self.page.evaluate(script, argument)

    def wait(self, script: str, argument: Any = None, *, seconds: float = PATIENCE_SECONDS) -> Any:
        deadline, trouble = time.monotonic() + seconds, ""
        # Not wait_for_function: that one is compiled in the page, which a strict CSP forbids.
        while time.monotonic() < deadline:
            try:
                value = self.page.evaluate(script, argument)
                if value:
                    return value
            except PlaywrightError as error:
                trouble = str(error)
            self.page.wait_for_timeout(_LOOK_AGAIN_MILLISECONDS)
        raise TimeoutError(f"waited {seconds} s in vain at {self.url} for {script} {trouble}")

    def click_at(self, point: dict[str, int]) -> None:
        self.page.bring_to_front()
        self.page.mouse.click(point["x"], point["y"])

    def press(self, *keys: str) -> None:
        self.page.bring_to_front()
        for key in keys:
            self.page.keyboard.press(key)

    def back(self) -> None:
        # A page out of the back/forward cache has loaded long ago, so there is no load to wait for.
        self.page.go_back(wait_until="commit")

    @property
    def url(self) -> str:
        return self.page.url

    @property
    def uncaught(self) -> list[str]:
        return self._uncaught

    def close(self) -> None:
        self.page.close()


class ChromiumProfile(Profile):
    def __init__(self, context: BrowserContext) -> None:
        self.context = context

    def tab(self) -> ChromiumTab:
        return ChromiumTab(self.context.new_page())

    def cookies(self, tab: Tab) -> dict[str, str]:
        origin = "{0.scheme}://{0.netloc}/".format(urlsplit(tab.url))
        return {str(each["name"]): str(each["value"]) for each in self.context.cookies(origin)}

    def close(self) -> None:
        self.context.close()


class Chromium(Browser):
    """The running browser of the fixtures, which end it."""

    def __init__(self, running: Running) -> None:
        self.running = running

    def profile(self, *, scripts: bool = True) -> ChromiumProfile:
        context = self.running.new_context(java_script_enabled=scripts)
        context.set_default_timeout(PATIENCE_SECONDS * 1000)
        return ChromiumProfile(context)

    def stop(self) -> None:
        pass
