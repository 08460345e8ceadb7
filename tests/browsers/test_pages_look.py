"""The pages in a real browser: nobody is kept out of them by colour, size, language or keyboard."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page

from logout_middleware.endpoints import pages
from logout_middleware.endpoints.words import Words, words
from logout_middleware.rules.http import Response
from logout_middleware.texts import completed, shipped

from .axe import violations

ADDRESS = "https://pages.app.test/auth/logout"
LONG = "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichen" * 3
Show = Callable[..., Page]

PAGES: dict[str, Callable[[Words], Response]] = {
    "confirm": lambda words: pages.confirm(words, "/auth/logout", {}, cancel="/", target="/login", private=False),
    "signed out": lambda words: pages.signed_out(words, "/login"),
    "error": lambda words: pages.problem(words, 400, "ambiguous_cookie", "in English"),
    "error with details": lambda words: pages.problem(words, 400, "invalid_request", "a parameter is repeated"),
}


@pytest.fixture
def show(start_browser: Callable[..., Browser]) -> Iterator[Show]:
    """Show one of the pages with the headers it is sent with; whatever the console says fails the test."""
    said: list[str] = []
    opened: dict[str, Page] = {}
    with contextlib.ExitStack() as stack:

        def new_page(look: dict[str, object]) -> Page:
            context = stack.enter_context(contextlib.closing(start_browser().new_context(**look)))
            page = context.new_page()
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            return page

        def open_it(name: str, language: str = "en", *, own: dict[str, str] | None = None, **look: object) -> Page:
            if str(look) not in opened:
                opened[str(look)] = new_page(look)
            page = opened[str(look)]
            answer = PAGES[name](words(completed({language: own or {}}), language))
            page.unroute_all()
            # The status of the errors is left out: browsers note every 4xx in the console.
            page.route("**/*", lambda route: route.fulfill(headers=dict(answer.headers), body=answer.body))
            page.goto(ADDRESS)
            return page

        yield open_it
    assert said == []


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("language", ["en", "ar"])
@pytest.mark.parametrize("look", [{"color_scheme": "light"}, {"color_scheme": "dark"}, {"contrast": "more"}], ids=str)
def test_axe_finds_nothing(show: Show, name: str, language: str, look: dict[str, str]) -> None:
    """Contrast, names, landmarks, language: in light and dark, from left and from right."""
    assert violations(show(name, language, **look)) == []


def sideways(page: Page) -> float:
    """By how much the content is wider than the window."""
    wider: float = page.evaluate(
        "Math.max(...['html', 'main'].map(each => document.querySelector(each))"
        ".map(each => each.scrollWidth - each.clientWidth))"
    )
    return wider


@pytest.mark.parametrize("name", PAGES)
def test_it_fits_into_320_pixels_in_every_language(show: Show, name: str) -> None:
    """WCAG 1.4.10, Reflow: nobody scrolls sideways."""
    narrow = {"viewport": {"width": 320, "height": 480}}

    assert {language: sideways(show(name, language, **narrow)) for language in shipped()} == dict.fromkeys(shipped(), 0)


def test_long_texts_of_the_operator_break(show: Show) -> None:
    """Somebody's longest word wraps in the title, the text and the button, in a narrow window, too."""
    own = {name: LONG for name in shipped()["en"] if name != "dir"}

    page = show("confirm", own=own, viewport={"width": 320, "height": 480})

    assert sideways(page) == 0
    assert violations(page) == []


def test_the_keyboard_reaches_the_button_first_and_one_sees_it(show: Show) -> None:
    """Tab: the button, Tab: the way back; each with an outline, and large enough to be met with a finger."""
    page = show("confirm")
    looks = (
        "[document.activeElement.tagName, getComputedStyle(document.activeElement).outlineWidth, "
        "document.activeElement.getBoundingClientRect().height >= 40]"
    )

    page.keyboard.press("Tab")
    first = page.evaluate(looks)
    page.keyboard.press("Tab")
    second = page.evaluate(looks)

    assert (first, second) == (["BUTTON", "3px", True], ["A", "3px", True])


def test_forced_colours_leave_the_button_a_border(show: Show) -> None:
    """Where the system takes the colours away, a button is still seen to be one."""
    page = show("confirm", forced_colors="active")

    button = "getComputedStyle(document.querySelector('button'))"
    assert page.evaluate(f"[{button}.borderStyle, {button}.borderColor !== {button}.backgroundColor]") == [
        "solid",
        True,
    ]


def test_arabic_runs_from_the_right_and_its_door_opens_to_the_left(show: Show) -> None:
    """The way out is where the line ends."""
    page = show("confirm", "ar")
    door = "getComputedStyle(document.querySelector('.door')).transform"

    assert page.evaluate("getComputedStyle(document.querySelector('p')).direction") == "rtl"
    assert page.evaluate(door).startswith("matrix(-1,")
    assert show("confirm", "en").evaluate(door) == "none"
