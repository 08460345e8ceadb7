"""A real browser, a real provider: the policy of our pages lets their forms go the whole way, and nothing else run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import jwt
import pytest
from playwright.sync_api import Browser, Page

from tests.peers.oidc_provider.world import World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A provider and an application that know each other."""
    made = World(Path(tmp_path_factory.mktemp("world")))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def page(world: World, start_browser: Callable[..., Browser]) -> Iterator[Page]:
    """A browser in which alice logged in by the provider."""
    context = start_browser().new_context()
    page = context.new_page()
    page.goto(f"{world.first}/login?user=alice")
    page.goto(f"{world.first}/me")
    assert '"user":"alice"' in page.content()
    yield page
    context.close()


def test_the_question_leads_through_the_provider_and_back(world: World, page: Page) -> None:
    """Chromium holds every redirect of a form against the policy of its page."""
    page.goto(f"{world.first}/auth/logout?state=mine")
    assert "Log out?" in page.title()

    page.click("button")

    page.wait_for_url(f"{world.provider}/session/end?**")
    page.click("button[value=yes]")
    page.wait_for_url(f"{world.first}/bye?state=mine")
    page.goto(f"{world.second}/me")
    assert '"user":null' in page.content()


def test_the_page_that_posts_does_so_by_itself(world: World, page: Page) -> None:
    """Its script is the one that its policy names; the provider gets the long hint, and here says what it thinks."""
    claims = {"iss": world.provider, "aud": "application", "sub": "alice", "groups": ["a long name of a group"] * 100}
    hint = jwt.encode(claims, "a key that the provider does not know")
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if "Content Security" in message.text else None)

    page.evaluate(
        """(address) => { const link = document.createElement("a"); link.href = address; link.id = "out";
           link.textContent = "Log out"; document.body.append(link); }""",
        f"{world.first}/auth/logout?id_token_hint={hint}",
    )
    page.click("#out")

    page.wait_for_url(f"{world.provider}/session/end")
    assert errors == []
    page.goto(f"{world.second}/me")
    assert '"user":null' in page.content()
