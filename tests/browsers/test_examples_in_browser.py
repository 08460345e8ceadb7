"""Both examples as somebody with two devices uses them, in a real browser, under their real servers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from examples.demo import EXAMPLES, HOST, free_port, running
from playwright.sync_api import Browser, Locator, Page, expect

from .axe import violations
from .conftest import PATIENCE_MILLISECONDS

PASSWORD = "correct-horse"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; img-src 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
FOLLOWS = {"starlette": "live", "flask": "polling"}
"""How the page of each example follows its login: asynchronous servers push, the others are asked."""

pytestmark = pytest.mark.parametrize("example", ["starlette", "flask"], scope="module")


@pytest.fixture(scope="module")
def origin(example: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the example is served."""
    chosen, port = EXAMPLES[example], free_port()
    environment = chosen.environment() | {"LOGOUT_RATE_LIMIT": "off"}
    with running(chosen.command(port), env=environment, cwd=tmp_path_factory.mktemp(example), port=port):
        yield f"http://{HOST}:{port}"


@dataclass
class Device:
    """A browser profile with one page of the example."""

    page: Page
    origin: str
    has_script: bool = True
    troubles: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE_MILLISECONDS)
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("console", lambda said: said.type == "error" and self.troubles.append(said.text))

    def log_in(self, user: str = "ann") -> Device:
        """By the form, like a person."""
        self.page.goto(f"{self.origin}/login")
        self.page.get_by_label("Name").fill(user)
        self.page.get_by_label("Password").fill(PASSWORD if user == "ann" else "battery-staple")
        self.page.get_by_role("button", name="Log in").click()
        expect(self.page.get_by_role("heading", name=f"Hello, {user}")).to_be_visible()
        if self.has_script:
            expect(self.page.locator("#connection")).to_be_visible()  # the kit's buttons stand in place of the forms'
        return self

    @property
    def listed(self) -> Locator:
        """The rows of "My devices"."""
        return self.page.locator("#devices li")

    def shows_connection(self, state: str) -> None:
        """Wait for the indicator."""
        expect(self.page.locator("#connection")).to_have_attribute("data-state", state, timeout=PATIENCE_MILLISECONDS)

    def shows_that_it_was_ended(self) -> None:
        """Wait for the words, with nothing private left on the page."""
        gone = self.page.get_by_role("heading", name="You were logged out")
        expect(gone).to_be_focused(timeout=PATIENCE_MILLISECONDS)
        expect(self.page.get_by_text("Hello, ann")).to_have_count(0)


NewDevice = Callable[..., Device]


@pytest.fixture
def device(start_browser: Callable[..., Browser], origin: str) -> Iterator[NewDevice]:
    """Take another device; its console may say nothing wrong until the end of the test."""
    taken: list[Device] = []
    with contextlib.ExitStack() as stack:

        def take(**options: Any) -> Device:
            context = stack.enter_context(contextlib.closing(start_browser().new_context(**options)))
            taken.append(Device(context.new_page(), origin, options.get("java_script_enabled", True)))
            return taken[-1]

        yield take
        troubles = [trouble for each in taken for trouble in each.troubles]
        # They end what they hold, so that the next test begins with an empty list of devices.
        for each in taken:
            each.page.context.request.post(f"{origin}/auth/logout", headers={"Sec-Fetch-Site": "same-origin"})
    assert troubles == []


def test_the_button_logs_out_and_lands_on_the_login_page(device: NewDevice) -> None:
    """One press; the back button shows nothing private any more."""
    mine = device().log_in()

    mine.page.get_by_role("button", name="Log out", exact=True).click()
    mine.page.wait_for_url("**/login")
    mine.page.go_back()

    expect(mine.page.get_by_label("Password")).to_be_visible()
    expect(mine.page.get_by_text("Hello, ann")).to_have_count(0)


def test_the_list_shows_both_devices_and_which_is_this_one(device: NewDevice) -> None:
    """A page that comes to the front again knows of the login that was made meanwhile."""
    mine = device().log_in()
    expect(mine.listed).to_have_count(1)

    device(user_agent="Mozilla/5.0 (Android 16; Mobile; rv:145.0) Gecko/145.0 Firefox/145.0").log_in()
    mine.page.evaluate("dispatchEvent(new Event('focus'))")

    expect(mine.listed).to_have_count(2)
    expect(mine.listed.filter(has_text="Firefox on Android").get_by_role("button", name="End")).to_be_visible()
    expect(mine.listed.filter(has_text="This device").get_by_role("button")).to_have_count(0)


def test_ending_the_other_device_changes_its_open_page(device: NewDevice, example: str) -> None:
    """Pushed in less than a second, or found out by the next question; the page says so and how to come back."""
    other = device().log_in()
    other.shows_connection(FOLLOWS[example])
    other.page.evaluate("addEventListener('auth.logout', () => { window.heardAt = Date.now() })")
    mine = device().log_in()
    expect(mine.listed).to_have_count(2)

    with mine.page.expect_response(lambda response: "/auth/sessions/" in response.url) as answered:
        mine.page.get_by_role("button", name="End").click()
    answered_at = mine.page.evaluate("Date.now()")
    other.shows_that_it_was_ended()

    assert answered.value.status == 200
    if example == "starlette":
        assert other.page.evaluate("heardAt") - answered_at < 1000
    expect(mine.page.get_by_text("is logged out.")).to_be_visible()
    expect(mine.listed).to_have_count(1)
    expect(mine.page.get_by_role("heading", name="My devices")).to_be_focused()
    other.page.get_by_role("link", name="Log in again").click()
    other.log_in()


def test_logging_out_everywhere_asks_and_then_ends_every_device(device: NewDevice) -> None:
    """The answer no changes nothing; yes leaves for the login page here, and is shown on the other device."""
    other, mine = device().log_in(), device().log_in()
    everywhere = mine.page.get_by_role("button", name="Log out everywhere")

    everywhere.click()
    question = mine.page.get_by_role("dialog")
    expect(question).to_contain_text("Log out on all your devices?")
    question.get_by_role("button", name="Cancel").click()
    still = mine.page.evaluate("fetch('/auth/session').then(answer => answer.json())")
    everywhere.click()
    question.get_by_role("button", name="Log out everywhere").click()

    assert still["authenticated"] is True
    mine.page.wait_for_url("**/login")
    other.shows_that_it_was_ended()


def test_somebody_elses_logout_changes_nothing(device: NewDevice, example: str) -> None:
    """Ben's devices are not in ann's list, and his page stays when she logs out everywhere."""
    bens, mine = device().log_in("ben"), device().log_in()
    bens.shows_connection(FOLLOWS[example])
    expect(mine.listed).to_have_count(1)

    mine.page.get_by_role("button", name="Log out everywhere").click()
    mine.page.get_by_role("dialog").get_by_role("button", name="Log out everywhere").click()
    mine.page.wait_for_url("**/login")

    assert bens.page.evaluate("fetch('/auth/session').then(answer => answer.json())")["authenticated"] is True
    expect(bens.page.get_by_role("heading", name="Hello, ben")).to_be_visible()


@pytest.mark.parametrize("label", ["Log out", "Log out everywhere"])
def test_without_script_the_forms_do_it(device: NewDevice, label: str) -> None:
    """What needs script is not shown; the buttons are those of plain forms."""
    mine = device(java_script_enabled=False).log_in()

    expect(mine.page.locator("#connection")).to_be_hidden()
    expect(mine.page.locator("#devices")).to_be_hidden()
    mine.page.get_by_role("button", name=label, exact=True).click()

    mine.page.wait_for_url("**/login")
    mine.page.goto(f"{mine.origin}/")
    expect(mine.page.get_by_label("Password")).to_be_visible()


def test_every_page_forbids_what_is_not_its_own(device: NewDevice) -> None:
    """The strict policy is on both pages, and neither of them needs more."""
    mine = device()

    policies = [mine.page.goto(f"{mine.origin}/login").header_value("content-security-policy")]
    mine.log_in()
    policies.append(mine.page.reload().header_value("content-security-policy"))

    assert policies == [POLICY, POLICY]


@pytest.mark.parametrize("look", ["light", "dark"])
def test_axe_finds_nothing(device: NewDevice, example: str, look: str) -> None:
    """The login page, the page with two devices, its question, and what is left when it was ended elsewhere."""
    mine = device(color_scheme=look)
    mine.page.goto(f"{mine.origin}/login")
    login_page = violations(mine.page)
    mine.log_in()
    other = device().log_in()
    mine.page.reload()
    mine.shows_connection(FOLLOWS[example])
    expect(mine.listed).to_have_count(2)
    page = violations(mine.page)
    mine.page.get_by_role("button", name="Log out everywhere").click()
    expect(mine.page.get_by_role("dialog")).to_be_visible()
    question = violations(mine.page)
    mine.page.get_by_role("dialog").get_by_role("button", name="Cancel").click()

    other.page.get_by_role("button", name="End").click()
    mine.shows_that_it_was_ended()

    assert (login_page, page, question, violations(mine.page)) == ([], [], [], [])


def test_it_fits_into_320_pixels(device: NewDevice) -> None:
    """Nobody scrolls sideways, whatever the devices call themselves."""
    mine = device(viewport={"width": 320, "height": 560}, user_agent="Mozilla/5.0 (iPad) Version/18.6 Safari/604.1")
    sideways = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    mine.page.goto(f"{mine.origin}/login")
    at_login = mine.page.evaluate(sideways)

    mine.log_in()
    device().log_in()
    mine.page.reload()
    expect(mine.listed).to_have_count(2)

    assert (at_login, mine.page.evaluate(sideways)) == (0, 0)
