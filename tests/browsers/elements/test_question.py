"""UM-10: a button that asks first, by mouse, keyboard and screen reader."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from .tab import Tab

QUESTION = "Really log out?"
WAYS_TO_SAY_NO: dict[str, Callable[[Tab], None]] = {
    "cancel": lambda tab: tab.dialog.get_by_role("button", name="Stay").click(),
    "escape": lambda tab: tab.page.keyboard.press("Escape"),
    "enter-at-once": lambda tab: tab.page.keyboard.press("Enter"),
}


def test_UM_10_it_asks_and_then_logs_out(tab: Tab) -> None:
    """Nothing is sent before the answer is yes."""
    tab.open("asks")
    tab.button.click()
    expect(tab.dialog).to_have_accessible_name(QUESTION)
    before = len(tab.posts)

    tab.dialog.get_by_role("button", name="Yes, log out").click()
    tab.at_login()

    assert before == 0
    assert len(tab.posts) == 1
    assert tab.known() == "nobody"


@pytest.mark.parametrize("way", WAYS_TO_SAY_NO)
def test_UM_10_saying_no_does_nothing(tab: Tab, way: str) -> None:
    """Cancel, Escape, and an Enter that was held too long: still logged in, and the focus is on the button again."""
    tab.open("asks")
    tab.button.click()
    expect(tab.dialog).to_be_visible()

    WAYS_TO_SAY_NO[way](tab)
    expect(tab.dialog).to_have_count(0)

    assert tab.focused == "Log out"
    assert tab.posts == []
    assert tab.events == []
    assert not tab.host.evaluate("host => host.hasAttribute('pending')")
    assert tab.known() == "ann"


def test_UM_10_it_asks_again_after_a_no(tab: Tab) -> None:
    """An answer is of its question alone."""
    tab.open("asks")
    tab.button.click()
    tab.dialog.get_by_role("button", name="Stay").click()

    tab.button.click()
    tab.dialog.get_by_role("button", name="Yes, log out").click()
    tab.at_login()

    assert len(tab.posts) == 1


def test_UM_10_by_keyboard_alone(tab: Tab) -> None:
    """The question begins with the way back, Tab leads to yes, and the page behind it cannot be reached."""
    tab.open("asks")
    tab.page.keyboard.press("Tab")
    tab.page.keyboard.press("Space")
    expect(tab.dialog).to_be_visible()
    order = [tab.focused]
    tab.page.keyboard.press("Tab")
    order.append(tab.focused)

    tab.page.keyboard.press("Enter")
    tab.at_login()

    assert order == ["Stay", "Yes, log out"]
    assert tab.known() == "nobody"


def test_UM_10_without_words_of_its_own_it_asks_all_the_same(tab: Tab) -> None:
    """The attribute alone is enough."""
    tab.open("asks-briefly")

    tab.button.click()

    expect(tab.dialog).to_have_accessible_name("Log out?")
    assert [each.inner_text() for each in tab.dialog.get_by_role("button").all()] == ["Cancel", "Log out"]


def test_UM_23_it_is_busy_only_after_the_yes(tab: Tab) -> None:
    """While it asks, nothing runs; from the yes on it says so, with the focus on the button."""
    tab.open("asks")
    tab.host.evaluate("host => host.setAttribute('redirect', 'false')")
    pending = "host => host.hasAttribute('pending')"
    tab.button.click()
    asking = tab.host.evaluate(pending)

    with tab.slow_server():
        tab.dialog.get_by_role("button", name="Yes, log out").click()
        expect(tab.host.get_by_role("status")).to_have_text("Logging out…")
        focused = tab.focused
    expect(tab.host).not_to_have_attribute("pending", "")

    assert not asking
    assert focused == "Log out"


def test_a_press_while_it_asks_does_not_ask_twice(tab: Tab) -> None:
    """A script can press what the question covers."""
    tab.open("asks")
    tab.button.click()

    tab.host.evaluate("host => host.click()")

    expect(tab.dialog).to_have_count(1)


def test_taken_from_the_page_while_it_asks_it_is_a_no(tab: Tab) -> None:
    """Nobody is logged out by a question that vanished, and the element still works where it is put back."""
    tab.open("asks")
    tab.button.click()

    tab.page.evaluate("() => { window.gone = document.querySelector('logout-button'); gone.remove(); }")
    tab.page.wait_for_function("() => !gone.shadowRoot.querySelector('dialog')")
    tab.page.evaluate("() => document.querySelector('main').append(gone)")
    after = len(tab.posts)
    tab.button.click()
    tab.dialog.get_by_role("button", name="Yes, log out").click()
    tab.at_login()

    assert after == 0
    assert len(tab.posts) == 1


def test_clicks_on_the_answers_stay_inside(tab: Tab) -> None:
    """A page that listens to clicks on the button hears of one, and not of those in the question."""
    tab.open("asks")
    tab.page.evaluate("() => { window.clicks = 0; document.body.addEventListener('click', () => { clicks += 1; }); }")

    tab.button.click()
    tab.dialog.get_by_role("button", name="Stay").click()
    expect(tab.dialog).to_have_count(0)

    assert tab.page.evaluate("() => clicks") == 1
