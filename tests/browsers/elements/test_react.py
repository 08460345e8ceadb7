"""The React hooks, in an application as its author would write it (`static/react-page.js`), in React's strict mode."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Route, expect

from ..axe import violations
from .conftest import Opened
from .tab import Tab


def shown(tab: Tab) -> Locator:
    """What the component that uses `useAuth` shows."""
    return tab.page.locator("output")


def button(tab: Tab, name: str = "Leave") -> Locator:
    return tab.page.get_by_role("button", name=name)


def busy(tab: Tab) -> Locator:
    return tab.page.locator("button[aria-busy=true]")


def test_UM_8_use_logout_gives_logout_is_loading_and_error(tab: Tab) -> None:
    """Exactly these three, and at first nothing runs and nothing is wrong."""
    tab.open("react")

    given = tab.page.evaluate("() => Object.entries(given).map(([name, value]) => [name, typeof value, value])")

    assert [(name, kind) for name, kind, _ in given] == [
        ("logout", "function"), ("isLoading", "boolean"), ("error", "object"),
    ]  # fmt: skip
    assert [value for _, _, value in given][1:] == [False, None]


def test_UM_8_its_logout_logs_out(tab: Tab) -> None:
    """The function is given to onClick as it is; the server, the page and the hook agree that nobody is logged in."""
    tab.open("react")
    expect(shown(tab)).to_have_text("in as ann")

    button(tab).click()

    expect(shown(tab)).to_have_text("out")
    expect(busy(tab)).to_have_count(0)
    assert tab.page.get_by_role("alert").all_inner_texts() == ["", ""]
    assert len(tab.posts) == 1
    assert tab.known() == "nobody"


def test_UM_8_its_options_are_those_of_logout(tab: Tab) -> None:
    """The defaults that the component gave, and what a call says, which is stronger."""
    tab.open("react")

    tab.page.evaluate("() => addEventListener('auth.logout', event => console.info('why:', event.detail.reason))")

    with tab.page.expect_console_message(lambda message: message.text.startswith("why:")) as heard:
        tab.page.evaluate("() => { given.logout({reason: 'tired', redirect: '/bye'}); }")
    tab.page.wait_for_url(f"{tab.origin}/bye")

    assert heard.value.text == "why: tired"


@pytest.mark.parametrize("status", [500, 0], ids=["an-error", "no-server"])
def test_UM_8_the_error_says_what_failed_and_the_browser_is_out(tab: Tab, status: int) -> None:
    """The person sees that the server did not take it, and is logged out here all the same; nothing is thrown."""
    tab.open("react")
    expect(shown(tab)).to_have_text("in as ann")
    if status:
        tab.server_answers(status)
    else:
        tab.server_is_away()

    button(tab).click()

    why = f"the server answered {status}" if status else "the server could not be reached"
    expect(tab.page.get_by_role("alert")).to_have_text([f"Logged out in this browser, but {why}"] * 2)
    expect(shown(tab)).to_have_text("out")
    expect(busy(tab)).to_have_count(0)
    assert tab.page.evaluate("() => [given.error instanceof Error, given.error.result.status]") == [True, status]


def test_UM_23_is_loading_from_the_click_to_the_end(tab: Tab) -> None:
    """Every component that uses the hook shows it; a second click joins the logout that runs."""
    tab.open("react")
    expect(shown(tab)).to_have_text("in as ann")
    before = busy(tab).count()

    with tab.slow_server():
        at_once = tab.page.evaluate(
            "async () => { document.querySelector('#Leave button').click(); await null; return given.isLoading; }"
        )
        expect(busy(tab)).to_have_count(2)
        button(tab, "Go").click(force=True)
    expect(busy(tab)).to_have_count(0)

    assert before == 0
    assert at_once
    assert len(tab.posts) == 1


def test_UM_9_auth_provider_tells_who_is_logged_in(tab: Tab) -> None:
    """`useAuth` says that it is asking, and then who it is, with the session itself."""
    tab.open("react")
    expect(shown(tab)).to_have_text("in as ann")

    auth = tab.page.evaluate("() => ({...auth, logout: typeof auth.logout})")

    assert set(auth) == {"session", "isAuthenticated", "isLoading", "logout", "connection"}
    assert tab.page.evaluate("() => shown")[0] == "asking"
    assert (auth["isAuthenticated"], auth["isLoading"], auth["logout"]) == (True, False, "function")
    assert (auth["session"]["authenticated"], auth["session"]["sub"]) == (True, "ann")


def test_UM_9_auth_provider_tells_that_nobody_is(tab: Tab) -> None:
    """Without a login `useAuth` says so, and is not asking for ever."""
    tab.page.goto(f"{tab.origin}/page/react")

    expect(shown(tab)).to_have_text("out")

    assert tab.page.evaluate("() => auth.session.authenticated") is False


def test_UM_9_what_cannot_be_known_is_not_logged_out(tab: Tab) -> None:
    """The server cannot say who is logged in: `useAuth` is still asking, until it can."""
    with tab.session_unknown():
        tab.open("react")
        tab.page.wait_for_function("() => auth.session?.unknown")
        while_unknown = tab.page.evaluate("() => [auth.isLoading, auth.isAuthenticated]")
        expect(shown(tab)).to_have_text("asking")
    # It asks again.
    tab.page.evaluate("async () => (await import('/auth/logout.js')).configure({})")

    expect(shown(tab)).to_have_text("in as ann")
    assert while_unknown == [True, False]
    assert tab.page.evaluate("() => [auth.isLoading, shown.includes('out')]") == [False, False]


def test_UM_9_auth_provider_hears_of_a_logout_that_something_else_made(tab: Tab) -> None:
    """The page's plain script logs out, or another tab; the components follow."""
    tab.open("react")
    expect(shown(tab)).to_have_text("in as ann")

    tab.page.evaluate("async () => { await (await import('/auth/logout.js')).logout({redirect: false}); }")

    expect(shown(tab)).to_have_text("out")


def test_UM_9_auth_provider_hears_of_a_login(tab: Tab) -> None:
    """The application logs in without loading a page, and asks anew; the components follow."""
    tab.page.goto(f"{tab.origin}/page/react")
    expect(shown(tab)).to_have_text("out")

    tab.log_in()
    tab.page.evaluate("async () => { await (await import('/auth/logout.js')).session({fresh: true}); }")

    expect(shown(tab)).to_have_text("in as ann")


def test_UM_9_use_auth_has_the_logout_too(new_tab: Opened) -> None:
    """The context's `logout` takes the same options; here all devices."""
    tab, other_device = new_tab(), new_tab()
    other_device.log_in()
    tab.open("react")
    expect(shown(tab)).to_have_text("in as ann")

    tab.page.locator("#members").click()
    tab.at_login()

    assert (tab.known(), other_device.known()) == ("nobody", "nobody")


def test_UM_9_without_a_provider_use_auth_says_what_is_missing(tab: Tab) -> None:
    """Not a null somewhere later, but a sentence."""
    tab.open("react")

    said = tab.page.evaluate("() => outside()")

    assert said == "useAuth() needs an <AuthProvider> above it"


def test_hooks_of_the_page_s_own_react(tab: Tab) -> None:
    """The three names can be imported as they are where React is a global, and say what is missing where it is not."""
    tab.open("react")

    without = tab.page.evaluate("() => withoutReact()")
    tab.page.evaluate("() => renderWithGlobalReact()")

    assert without == "logout-react.js finds no globalThis.React; call createHooks(React) instead"
    expect(tab.page.locator("#global")).to_have_text("in, idle")


def test_the_same_react_has_the_same_hooks(tab: Tab) -> None:
    """Two files of one application may both call `createHooks`."""
    tab.open("react")

    assert tab.page.evaluate("() => createHooks(React) === createHooks(React)")


def test_an_answer_from_before_the_logout_logs_nobody_in(tab: Tab) -> None:
    """The first question who is logged in is still on its way when the person logs out."""
    late: list[Route] = []
    tab.page.route("**/auth/session", lambda route: late.append(route))
    tab.open("react")
    expect(shown(tab)).to_have_text("asking")
    button(tab).click()
    expect(shown(tab)).to_have_text("out")
    so_far = tab.page.evaluate("() => shown.length")

    for each in late:
        each.fulfill(json={"authenticated": True, "sub": "ann", "sid": "1", "expires_at": None})
    tab.page.unroute("**/auth/session")
    # Whoever waited for the same answer has it by the time that this one is there.
    tab.page.evaluate("async () => { await (await import('/auth/logout.js')).session({fresh: true}); }")

    assert late != []
    assert set(tab.page.evaluate("from => shown.slice(from)", so_far)) <= {"out"}
    expect(shown(tab)).to_have_text("out")


def test_what_was_unmounted_can_come_back(tab: Tab) -> None:
    """An application that is taken from the page and put back shows what is true by then."""
    tab.open("react")
    expect(shown(tab)).to_have_text("in as ann")

    tab.page.evaluate("() => unmount()")
    tab.page.evaluate("async () => { await (await import('/auth/logout.js')).logout({redirect: false}); }")
    tab.page.evaluate("() => mount()")

    expect(shown(tab)).to_have_text("out")


def test_what_was_unmounted_listens_no_more(tab: Tab) -> None:
    """Mounting and unmounting for hours leaves nothing behind."""
    tab.open("react")
    expect(shown(tab)).to_have_text("in as ann")
    tab.page.evaluate("() => unmount()")
    tab.page.evaluate("""() => {
      window.listening = 0;
      window.mostListening = 0;
      for (const [name, step] of [["addEventListener", 1], ["removeEventListener", -1]]) {
        const original = window[name];
        window[name] = function (type, ...rest) {
          if (String(type).startsWith("auth.")) listening += step;
          mostListening = Math.max(mostListening, listening);
          return original.call(window, type, ...rest);
        };
      }
    }""")

    tab.page.evaluate("() => mount()")
    expect(shown(tab)).to_have_text("in as ann")
    tab.page.evaluate("() => unmount()")

    tab.page.wait_for_function("() => listening === 0")
    assert tab.page.evaluate("() => mostListening") > 0


def test_the_hooks_can_render_on_a_server(tab: Tab) -> None:
    """There is nobody known yet, and nothing is asked."""
    tab.open("react")

    html = tab.page.evaluate("() => renderedOnServer()")

    assert "asking" in html


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_application_of_these_tests_is_accessible(new_tab: Opened, scheme: str) -> None:
    """Busy or not, axe finds nothing in it."""
    tab = new_tab(color_scheme=scheme)
    tab.open("react")
    expect(shown(tab)).to_have_text("in as ann")

    idle = violations(tab.page)
    with tab.slow_server():
        button(tab).click()
        expect(busy(tab)).to_have_count(2)
        while_busy = violations(tab.page)

    assert idle == while_busy == []
