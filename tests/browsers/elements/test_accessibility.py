"""`<logout-button>` for everybody: what axe-core finds, what a screen reader is told, and what each setting changes."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from ..axe import violations
from .conftest import Opened
from .tab import Tab

SCHEMES = ["light", "dark"]
STYLE = """(host, [selector, pseudo, names]) => {
  const style = getComputedStyle(host.shadowRoot.querySelector(selector), pseudo);
  return Object.fromEntries(names.map(name => [name, style[name]]));
}"""


def style(tab: Tab, selector: str, *names: str, pseudo: str = "") -> dict[str, str]:
    """How the browser shows a part of the first button."""
    return tab.host.evaluate(STYLE, [selector, pseudo, names])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_nothing_wrong(new_tab: Opened, scheme: str) -> None:
    """Neither with the buttons, nor with the question, nor with what waits."""
    tab = new_tab(color_scheme=scheme)
    tab.open("labels")
    labels = violations(tab.page)
    tab.open("asks")
    paper = tab.page.evaluate("() => getComputedStyle(document.querySelector('main')).color")

    found = {"idle": violations(tab.page)}
    tab.button.click()
    expect(tab.dialog).to_be_visible()
    found["asking"] = violations(tab.page)
    with tab.slow_server():
        tab.dialog.get_by_role("button", name="Yes").click()
        expect(tab.host).to_have_attribute("pending", "")
        found["waiting"] = violations(tab.page)
    tab.at_login()

    assert labels == []
    assert found == {"idle": [], "asking": [], "waiting": []}
    assert paper == ("rgb(0, 0, 0)" if scheme == "light" else "rgb(255, 255, 255)")


def test_axe_looks_into_the_shadow_root(tab: Tab) -> None:
    """It would find something wrong there: a button without a name."""
    tab.open("button")
    tab.host.evaluate("host => host.shadowRoot.querySelector('slot').remove()")

    found = violations(tab.page)

    assert [each.rule for each in found] == ["button-name"]
    assert 'part="button"' in found[0].elements[0]
    assert violations(tab.page, "#who") == []


def test_a_screen_reader_is_told_that_it_waits_and_that_it_is_over(tab: Tab) -> None:
    """The status is on the page before it speaks, or it would not be heard; the button keeps its name."""
    tab.open("stays")
    before = tab.host.aria_snapshot()

    with tab.slow_server():
        tab.button.click()
        expect(tab.host.get_by_role("status")).to_have_text("Logging out…")
        during = tab.host.aria_snapshot()
    expect(tab.host).not_to_have_attribute("pending", "")

    assert before == '- button "Log out"\n- status'
    assert during == '- button "Log out" [disabled]\n- status: Logging out…'
    assert tab.host.aria_snapshot() == before


def test_the_status_is_heard_and_not_seen(tab: Tab) -> None:
    """It takes no room of the page, and is not hidden from screen readers either."""
    tab.open("stays")
    sizes = "host => [host, host.shadowRoot.querySelector('button')].map(each => [each.offsetWidth, each.offsetHeight])"

    with tab.slow_server():
        tab.button.click()
        expect(tab.host.get_by_role("status")).to_have_text("Logging out…")
        shown = style(tab, "[role=status]", "position", "clipPath", "display", "visibility")
        host, button = tab.host.evaluate(sizes)

    assert shown == {"position": "absolute", "clipPath": "inset(50%)", "display": "block", "visibility": "visible"}
    assert host == button


def test_tab_visits_every_button_once_and_in_order(tab: Tab) -> None:
    """The element itself is no stop of its own."""
    tab.open("three")
    order = []
    for _ in range(5):
        tab.page.keyboard.press("Tab")
        order.append(tab.focused)
    tab.page.keyboard.press("Shift+Tab")

    assert order == ["input", "Log out", "Leave", "Go", "Last"]
    assert tab.focused == "Go"


def test_focus_and_click_of_the_element_are_the_button_s(tab: Tab) -> None:
    """Scripts treat it like a button."""
    tab.open("button")

    tab.host.evaluate("host => host.focus()")
    is_inside = tab.host.evaluate("host => host.shadowRoot.activeElement === host.shadowRoot.querySelector('button')")
    tab.host.evaluate("host => host.click()")
    tab.at_login()

    assert is_inside
    assert len(tab.posts) == 1


def test_the_focus_is_seen(tab: Tab) -> None:
    """By keyboard it has a ring that stands out from the button."""
    tab.open("button")
    without = style(tab, "button", "outlineStyle")

    tab.page.keyboard.press("Tab")

    assert without == {"outlineStyle": "none"}
    assert style(tab, "button", "outlineStyle", "outlineWidth") == {"outlineStyle": "solid", "outlineWidth": "3px"}


@pytest.mark.parametrize(("motion", "animation"), [("no-preference", "turn"), ("reduce", "none")])
def test_nothing_turns_for_who_wants_no_motion(new_tab: Opened, motion: str, animation: str) -> None:
    """The ring that shows the waiting stands still for them."""
    tab = new_tab(reduced_motion=motion)
    tab.open("stays")

    with tab.slow_server():
        tab.button.click()
        ring = style(tab, "button", "animationName", "content", pseudo="::after")

    assert ring == {"animationName": animation, "content": '""'}


def test_it_is_seen_in_forced_colors(new_tab: Opened) -> None:
    """Where the system chooses the colors, the button, the focus, the waiting and the question have their edges."""
    tab = new_tab(forced_colors="active")
    tab.open("asks")
    tab.host.evaluate("host => host.setAttribute('redirect', 'false')")
    system = tab.page.evaluate("""() => Object.fromEntries(["ButtonText", "ButtonFace", "Canvas"].map(name => {
      const probe = document.body.appendChild(document.createElement("i"));
      probe.style.color = name;
      return [name, getComputedStyle(probe).color];
    }))""")

    tab.page.keyboard.press("Tab")
    button = style(tab, "button", "borderTopStyle", "borderTopColor", "backgroundColor", "outlineStyle")
    tab.button.click()
    question = style(tab, "dialog", "borderTopStyle", "borderTopColor", "backgroundColor")
    found = violations(tab.page)
    with tab.slow_server():
        tab.dialog.get_by_role("button", name="Yes").click()
        expect(tab.host).to_have_attribute("pending", "")
        ring = style(tab, "button", "borderTopColor", "borderRightColor", pseudo="::after")

    assert found == []
    assert button["borderTopStyle"] == button["outlineStyle"] == question["borderTopStyle"] == "solid"
    assert button["backgroundColor"] == system["ButtonFace"]
    assert button["borderTopColor"] not in {system["ButtonFace"], system["Canvas"]}
    assert question["borderTopColor"] != question["backgroundColor"] == system["Canvas"]
    # A ring without a gap would not be seen to turn.
    assert ring["borderTopColor"] == system["ButtonText"]
    assert ring["borderRightColor"] == "rgba(0, 0, 0, 0)"


def test_it_is_large_enough_for_a_finger(tab: Tab) -> None:
    """At least 24 by 24 CSS pixels (WCAG 2.5.8), in small print, too."""
    tab.open("labels")
    box = tab.page.locator("#text").get_by_role("button").bounding_box()

    assert box is not None
    assert min(box["width"], box["height"]) >= 24
