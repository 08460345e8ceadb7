"""One Chromium and one server of each shell for this package; a new browser profile for each test.

The fixtures end with the package and not with the run: while Playwright's blocking interface is in use, its event
loop counts as running in this thread, and other tests could not start theirs.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from .kinds import DOMAIN, Kind
from .site import Certificate, Site, make_certificate, serve
from .visitor import Visitor

PATIENCE_MILLISECONDS = 10_000


@pytest.fixture(scope="package")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """The certificate of all servers."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """What drives the browsers."""
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="package")
def start_browser(playwright: Playwright, tls: Certificate) -> Iterator[Callable[..., Browser]]:
    """Start the system's Chromium: whole, with its back/forward cache, or without its own user interface.

    The second is Debian's chromium-headless-shell, the same engine in the fifth part of the processor's time.
    """
    programs = {True: shutil.which("chromium"), False: shutil.which("chromium-headless-shell")}
    if None in programs.values():
        pytest.skip("on Debian: apt-get install chromium chromium-headless-shell (or make servers)")
    started: dict[bool, Browser] = {}

    def start(*, with_back_forward_cache: bool = False) -> Browser:
        if with_back_forward_cache not in started:
            started[with_back_forward_cache] = playwright.chromium.launch(
                executable_path=programs[with_back_forward_cache],
                ignore_default_args=["--disable-back-forward-cache"] if with_back_forward_cache else None,
                args=[
                    "--no-sandbox",
                    "--disable-dev-shm-usage",
                    f"--host-resolver-rules=MAP *.{DOMAIN} 127.0.0.1, MAP *.partner.test 127.0.0.1",
                    # Not `ignore_https_errors`: what came with an error is kept in no cache, and a page out of a cache
                    # is what the tests of the back button look for.
                    f"--ignore-certificate-errors-spki-list={tls.pin}",
                ],
            )
        return started[with_back_forward_cache]

    yield start
    for each in started.values():
        each.close()


@pytest.fixture(scope="package")
def start_server(tls: Certificate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Site]]:
    """The running server of a shell; `second`: another worker that shares its databases."""
    with contextlib.ExitStack() as stack:
        started: dict[tuple[str, bool], Site] = {}
        folder = tmp_path_factory.mktemp("sites")

        def start(shell: str, *, second: bool = False) -> Site:
            if (shell, second) not in started:
                started[shell, second] = stack.enter_context(serve(shell, folder / shell, tls))
            return started[shell, second]

        yield start


@pytest.fixture
def site(start_server: Callable[..., Site], shell: str) -> Site:
    """The server of this shell."""
    return start_server(shell)


Arrive = Callable[..., Visitor]


@pytest.fixture
def arrive(start_browser: Callable[..., Browser], site: Site) -> Iterator[Arrive]:
    """Somebody with a new browser profile comes to the application with this kind of cookie."""
    with contextlib.ExitStack() as stack:

        def come(kind: Kind, *, bare: bool = False, with_back_forward_cache: bool = False) -> Visitor:
            browser = start_browser(with_back_forward_cache=with_back_forward_cache)
            context = stack.enter_context(contextlib.closing(browser.new_context()))
            context.set_default_timeout(PATIENCE_MILLISECONDS)
            return Visitor(context, context.new_page(), site.origin(kind, bare=bare), kind)

        yield come
