"""One process of each browser for this folder, and one server; new profiles for each test."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser as Running

from .browser import Browser, Profile
from .chromium import Chromium
from .remote import Firefox, WebKit, missing_for
from .site import Site, serve

KINDS = ("chromium", "firefox", "webkit")


@pytest.fixture(scope="package", params=KINDS)
def browser_kind(request: pytest.FixtureRequest) -> str:
    """Which browser; the tests of one come together, so that no two of them run at a time."""
    return str(request.param)


@pytest.fixture(scope="package")
def browser(
    browser_kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    """The running browser."""
    if browser_kind == "chromium":
        start: Callable[..., Running] = request.getfixturevalue("start_browser")
        yield Chromium(start(with_back_forward_cache=True))
        return
    kind = Firefox if browser_kind == "firefox" else WebKit
    lacking = missing_for(kind)
    if lacking is not None:
        pytest.skip(lacking)
    running = kind(tmp_path_factory.mktemp(browser_kind))
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The server of all these tests."""
    with serve(tmp_path_factory.mktemp("three-browsers")) as site:
        yield site


@pytest.fixture
def site(server: Site) -> Site:
    """The server, running, with nothing remembered of other tests' requests."""
    server.server.start()
    server.forget()
    return server


@pytest.fixture(scope="package")
def login_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Another server, which has the login page where the application's own is away."""
    with serve(tmp_path_factory.mktemp("login-server")) as site:
        yield site


NewProfile = Callable[..., Profile]


@pytest.fixture
def new_profile(browser: Browser) -> Iterator[NewProfile]:
    """Another device of somebody; closed after the test."""
    with contextlib.ExitStack() as stack:

        def make(*, scripts: bool = True) -> Profile:
            profile = browser.profile(scripts=scripts)
            stack.callback(profile.close)
            return profile

        yield make


@pytest.fixture
def profile(new_profile: NewProfile) -> Profile:
    """Somebody's browser."""
    return new_profile()
