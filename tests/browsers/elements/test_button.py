"""`<logout-button>`: what a press does, what may stand in it, and what becomes of it while the logout runs."""

from __future__ import annotations

import json
from urllib.parse import parse_qs

import pytest
from playwright.sync_api import expect

from .conftest import Opened
from .tab import Tab


def states(tab: Tab) -> dict[str, object]:
    """How the first button says that it is busy: to assistive technology, to style sheets, to the reader."""
    return tab.host.evaluate(
        """host => {
          const button = host.shadowRoot.querySelector("button");
          return {
            "aria-disabled": button.getAttribute("aria-disabled"), "aria-busy": button.getAttribute("aria-busy"),
            disabled: button.disabled, pending: host.hasAttribute("pending"), state: host.matches(":state(pending)"),
            status: host.shadowRoot.querySelector("[role=status]").textContent,
          };
        }"""
    )


IDLE = {
    "aria-disabled": None, "aria-busy": None, "disabled": False, "pending": False, "state": False, "status": "",
}  # fmt: skip
BUSY = {
    "aria-disabled": "true", "aria-busy": "true", "disabled": False, "pending": True, "state": True,
    "status": "Logging out…",
}  # fmt: skip


def test_UF_2_a_button_logs_out(tab: Tab) -> None:
    """Whoever is logged in presses it, is logged out at the server, and finds the login page."""
    tab.open("button")

    tab.button.click()
    tab.at_login()

    assert tab.page.locator("#who").inner_text() == "nobody"
    assert tab.known() == "nobody"
    assert len(tab.posts) == 1


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_UF_2_the_keyboard_presses_it(tab: Tab, key: str) -> None:
    """Tab leads to it, Enter and Space press it."""
    tab.open("button")
    tab.page.keyboard.press("Tab")
    focused = tab.focused

    tab.page.keyboard.press(key)
    tab.at_login()

    assert focused == "Log out"
    assert tab.known() == "nobody"


def test_UF_3_several_buttons_send_one_request(tab: Tab) -> None:
    """While one logout runs, pressing it again and pressing the others joins it."""
    tab.open("three")
    tab.page.evaluate(
        "() => document.querySelectorAll('logout-button').forEach(each => each.setAttribute('redirect', 'false'))"
    )
    first, second, third = tab.page.locator("logout-button").all()

    with tab.slow_server():
        first.click()
        second.click()
        first.click()
        third.click()
        second.click()
        expect(tab.page.locator("logout-button[pending]")).to_have_count(3)
    expect(tab.page.locator("logout-button[pending]")).to_have_count(0)

    assert len(tab.posts) == 1
    assert [name for name, _ in tab.events] == ["auth.logout", "auth.statusChange", "auth.sessionChange"]
    assert tab.known() == "nobody"


def test_UF_3_a_second_click_after_the_logout_is_no_error(tab: Tab) -> None:
    """Who is out already and presses again is still out; so is who presses on another page."""
    tab.open("stays")
    tab.button.click()
    expect(tab.host).not_to_have_attribute("pending", "")
    tab.page.wait_for_function("() => seen.events.length === 3")

    tab.button.click()
    tab.page.wait_for_function("() => seen.events.length === 6")
    tab.page.goto(f"{tab.origin}/page/button")
    tab.button.click()
    tab.at_login()

    assert [(post.response() or pytest.fail("no answer")).status for post in tab.posts] == [200, 200, 200]
    assert tab.known() == "nobody"


def test_UF_3_a_double_click_is_one_request(tab: Tab) -> None:
    """The second click finds the button busy."""
    tab.open("stays")

    with tab.slow_server():
        tab.button.dblclick()
        expect(tab.host).to_have_attribute("pending", "")

    tab.page.wait_for_function("() => seen.events.length === 3")
    assert len(tab.posts) == 1


def test_UM_23_it_is_busy_from_the_click_to_the_end(tab: Tab) -> None:
    """It says so to everybody, is never `disabled`, keeps the focus, and is an ordinary button again afterwards."""
    tab.open("stays")
    before = states(tab)

    with tab.slow_server():
        tab.button.focus()
        # In the same moment, so that nothing can have answered in between.
        at_once = tab.host.evaluate(
            "host => { host.click(); return host.shadowRoot.querySelector('button').getAttribute('aria-busy'); }"
        )
        during, focused = states(tab), tab.focused
    expect(tab.host).not_to_have_attribute("pending", "")

    assert at_once == "true"
    assert before == IDLE
    assert during == BUSY
    assert states(tab) == IDLE
    assert focused == tab.focused == "Log out"


@pytest.mark.parametrize("failure", ["an error", "no server"])
def test_UM_23_it_is_not_busy_for_ever_when_the_server_fails(tab: Tab, failure: str) -> None:
    """The person is sent on or can try again; nothing hangs, and nothing is thrown."""
    tab.open("stays")
    if failure == "an error":
        tab.server_answers(500)
    else:
        tab.server_is_away()

    tab.button.click()
    tab.page.wait_for_function("() => seen.events.length === 3")

    expect(tab.host).not_to_have_attribute("pending", "")
    assert states(tab) == IDLE


def test_the_words_for_waiting_can_be_replaced(tab: Tab) -> None:
    """`text-busy` is read when the button is pressed."""
    tab.open("stays")
    tab.host.evaluate("host => host.setAttribute('text-busy', 'Einen Moment …')")

    with tab.slow_server():
        tab.button.click()
        expect(tab.host.get_by_role("status")).to_have_text("Einen Moment …")


def test_attributes_are_the_options_of_the_logout(tab: Tab) -> None:
    """`scope`, `reason` and `redirect` reach the server, the listeners and the address bar."""
    tab.open("bye")
    tab.page.evaluate("() => addEventListener('auth.logout', event => console.info('why:', event.detail.reason))")

    with tab.page.expect_console_message(lambda message: message.text.startswith("why:")) as heard:
        tab.button.click()
    tab.page.wait_for_url(f"{tab.origin}/bye")

    assert json.loads(tab.posts[0].post_data or "{}")["scope"] == "local"
    assert heard.value.text == "why: tired"


def test_redirect_false_stays_on_the_page(tab: Tab) -> None:
    """The page is told by the events, and nothing is loaded."""
    tab.open("stays")
    tab.page.evaluate("() => { window.stillHere = true; }")

    tab.button.click()
    tab.page.wait_for_function("() => seen.events.length === 3")

    assert tab.page.evaluate("() => window.stillHere")
    assert tab.page.url == f"{tab.origin}/page/stays"
    assert tab.known() == "nobody"


def test_redirect_true_follows_the_page(tab: Tab) -> None:
    """It goes where the address of the page says, if that is a path of this site."""
    tab.log_in()
    tab.page.goto(f"{tab.origin}/page/button?redirect=/bye")
    tab.host.evaluate("host => host.setAttribute('redirect', 'true')")

    tab.button.click()

    tab.page.wait_for_url(f"{tab.origin}/bye")


def test_an_attribute_without_a_value_says_nothing(tab: Tab) -> None:
    """Templates leave such behind; it is the login page then."""
    tab.open("button")
    tab.host.evaluate("host => ['redirect', 'scope', 'reason'].forEach(name => host.setAttribute(name, ''))")

    tab.button.click()

    tab.at_login()
    assert tab.known() == "nobody"


def test_scope_global_logs_out_every_device(new_tab: Opened) -> None:
    """Another browser of the same user is out, too; a stranger's is not."""
    tab, other_device, stranger = new_tab(), new_tab(), new_tab()
    other_device.log_in()
    stranger.log_in("bob")
    tab.open("everywhere")

    tab.button.click()
    tab.at_login()

    assert (tab.known(), other_device.known(), stranger.known()) == ("nobody", "nobody", "bob")


def test_without_script_it_is_a_form(new_tab: Opened, origin: str) -> None:
    """Where scripts are off, the button in it posts, and the answer leads to the login page."""
    tab = new_tab(java_script_enabled=False)
    tab.open("asks")

    with tab.page.expect_response(f"{origin}/auth/logout") as answered:
        tab.page.get_by_role("button", name="Log out").click()
    tab.at_login()

    assert answered.value.status == 303
    assert answered.value.request.method == "POST"
    assert parse_qs(answered.value.request.post_data or "") == {}
    assert tab.page.locator("#who").inner_text() == "nobody"


LABELS = {
    "empty": "Log out",
    "text": "Sign out",
    "form": "Abmelden",
    "input": "Leave",
    "icon": "Log me out",
    "link": "Leave by a link",
}


def test_its_label_is_what_stands_in_it(tab: Tab) -> None:
    """Text and elements are shown as they are; of a form, a link or a button only the words."""
    tab.open("labels")

    names = {
        name: [each.inner_text() for each in tab.page.locator(f"#{name}").get_by_role("button", name=label).all()]
        for name, label in LABELS.items()
    }
    interactive = tab.page.locator("logout-button").get_by_role("button").or_(tab.page.get_by_role("link"))

    assert {name: len(found) for name, found in names.items()} == dict.fromkeys(LABELS, 1)
    assert interactive.count() == len(LABELS)


def test_its_label_follows_the_page(tab: Tab) -> None:
    """A page that translates itself changes the text in the element, or what its form's button says."""
    tab.open("labels")

    tab.page.evaluate("""() => {
      document.querySelector("#text b").firstChild.data = "away";
      document.querySelector("#form button").textContent = "Log out";
      document.querySelector("#empty").append("Go away");
      document.querySelector("#link").replaceChildren();
    }""")

    for name, label in {"text": "Sign away", "form": "Log out", "empty": "Go away", "link": "Log out"}.items():
        expect(tab.page.locator(f"#{name}").get_by_role("button")).to_have_accessible_name(label)


def test_an_element_that_a_script_makes_works(tab: Tab) -> None:
    """Created without children, filled and put into the page later."""
    tab.open("empty")
    tab.page.evaluate("""() => {
      const made = document.createElement("logout-button");
      made.setAttribute("redirect", "/bye");
      document.querySelector("main").append(made);
      made.append("Made by hand");
    }""")

    tab.page.get_by_role("button", name="Made by hand").click()

    tab.page.wait_for_url(f"{tab.origin}/bye")
    assert tab.known() == "nobody"


def test_moved_while_it_waits_it_goes_on_waiting(tab: Tab) -> None:
    """A framework that sorts its elements anew does not start a second logout."""
    tab.open("stays")

    with tab.slow_server():
        tab.button.click()
        tab.host.evaluate("host => document.body.prepend(host)")
        moved = states(tab)
        tab.host.click()
    expect(tab.host).not_to_have_attribute("pending", "")

    assert moved == BUSY
    assert len(tab.posts) == 1


def test_removed_while_it_waits_the_logout_ends_well(tab: Tab) -> None:
    """Without the button the events come all the same; put back, it is an ordinary button."""
    tab.open("stays")

    with tab.slow_server():
        tab.button.click()
        tab.page.evaluate("() => { window.gone = document.querySelector('logout-button'); gone.remove(); }")
    tab.page.wait_for_function("() => seen.events.length === 3")
    tab.page.evaluate("() => document.querySelector('main').append(gone)")

    expect(tab.host).not_to_have_attribute("pending", "")
    assert states(tab) == IDLE
    assert tab.known() == "nobody"


def test_parts_take_the_style_of_the_page(tab: Tab) -> None:
    """Every part is styled from the page's style sheet, by its state, too."""
    tab.open("themed")
    background = "host => getComputedStyle(host.shadowRoot.querySelector('[part={}]')).backgroundColor"
    border = "host => getComputedStyle(host.shadowRoot.querySelector('[part={}]')).{}"

    button = tab.host.evaluate(background.format("button"))
    tab.button.click()
    dialog = tab.host.evaluate(border.format("dialog", "borderTopColor"))
    buttons = [tab.host.evaluate(background.format(part)) for part in ("confirm", "cancel")]
    with tab.slow_server():
        tab.dialog.get_by_role("button", name="Log out").click()
        expect(tab.host).to_have_attribute("pending", "")
        busy = [
            tab.host.evaluate(border.format("button", "borderTopStyle")),
            tab.host.evaluate(border.format("status", "position")),
        ]
    tab.at_login()

    assert button == "rgb(1, 2, 3)"
    assert dialog == "rgb(4, 5, 6)"
    assert buttons == ["rgb(7, 8, 9)", "rgb(10, 11, 12)"]
    assert busy == ["dashed", "static"]


def test_a_page_may_load_the_element_by_two_names(tab: Tab) -> None:
    """A second copy of the module finds the element defined, and leaves it so."""
    tab.open("stays")

    second = tab.page.evaluate("async () => Object.keys(await import('/auth/logout-button.js?again'))")

    assert second == ["LogoutButton"]
    tab.button.click()
    tab.page.wait_for_function("() => seen.events.length === 3")
