"""The examples as a person, a browser and an API client use them."""

from __future__ import annotations

import re

import httpx2
import pytest

from .server import A_LINK_CLICKED, PASSWORDS


@pytest.fixture
def browser(server):
    """A browser that follows redirects, keeps cookies, and says where a form was sent from."""
    headers = {"Origin": server.origin, "Accept": "text/html,*/*;q=0.8"}
    with httpx2.Client(base_url=server.origin, headers=headers, follow_redirects=True, timeout=20) as client:
        yield client


def log_in(browser, user="ann", password=None):
    return browser.post("/login", data={"username": user, "password": password or PASSWORDS[user]})


def press(browser, page, label):
    """Send the form of the page that has this button."""
    action, fields = re.search(
        rf'<form method="post" action="([^"]+)">((?:(?!</form>).)*){label}</button>', page
    ).groups()
    hidden = dict(re.findall(r'name="([^"]+)" value="([^"]+)"', fields))
    return browser.post(action, data=hidden)


def test_visitor_is_sent_to_the_login_form(browser):
    """Without a session there is no page, only the way to log in."""
    page = browser.get("/")

    assert page.url.path == "/login"
    assert 'autocomplete="current-password"' in page.text


@pytest.mark.parametrize(("user", "password"), [("ann", "wrong"), ("ann", PASSWORDS["ben"]), ("nobody", "wrong")])
def test_wrong_password_is_refused(browser, user, password):
    """A wrong password and an unknown name get the same answer, and no session."""
    page = log_in(browser, user, password)

    assert page.status_code == 401
    assert "Name or password is wrong" in page.text
    assert "session" not in browser.cookies


def test_login_greets_the_user(browser):
    """The form leads to the page of who logged in, which no cache keeps."""
    page = log_in(browser, "ben")

    assert page.url.path == "/"
    assert "Hello, ben" in page.text
    assert page.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("label", ["Log out", "Log out everywhere"])
def test_button_logs_out_and_lands_on_login(browser, label):
    """Pressing a button shows the login form, and the browser has no session any more."""
    page = log_in(browser)

    landed = press(browser, page.text, label)

    assert (landed.status_code, landed.url.path) == (200, "/login")
    assert "session" not in browser.cookies
    assert browser.get("/").url.path == "/login"


def test_link_logs_out_and_lands_on_login(browser):
    """Clicking the link on our page is enough of a wish."""
    log_in(browser)

    landed = browser.get("/auth/logout", headers=A_LINK_CLICKED)

    assert landed.url.path == "/login"
    assert "session" not in browser.cookies


@pytest.mark.parametrize("query", ["", "?oauth_token=abc.def"])
def test_address_typed_in_asks_first(browser, query):
    """Opening the logout address from elsewhere shows a question, whose button works as browsers send it."""
    log_in(browser)

    question = browser.get(f"/auth/logout{query}", headers={"Sec-Fetch-Site": "none"})
    still = browser.get("/")
    # Fetch 3.1: a form on a page under no-referrer is sent with `Origin: null`.
    origin = "null" if question.headers["Referrer-Policy"] == "no-referrer" else browser.headers["Origin"]
    browser.headers |= {"Origin": origin, "Sec-Fetch-Site": "same-origin"}
    landed = press(browser, question.text, "Log out")

    assert "Log out?" in question.text
    assert "Hello, ann" in still.text
    assert (landed.status_code, landed.url.path) == (200, "/login")


def test_signed_out_visitor_is_told_so(browser):
    """The logout address without a session says that nobody is logged in, and where to log in."""
    page = browser.get("/auth/logout")

    assert "You are logged out" in page.text
    assert 'href="/login"' in page.text


def test_same_browser_logs_in_again_at_once(browser):
    """A logout does not stand in the way of the next login, even with everything ended a moment ago."""
    page = log_in(browser)

    press(browser, page.text, "Log out everywhere")
    again = log_in(browser)

    assert "Hello, ann" in again.text


def test_login_with_a_dead_token_in_the_header_works(server, ann):
    """An API client that still sends its revoked token can log in again and refresh (TOKEN_RESPONSES)."""
    server.ask("POST", "/auth/logout", bearer=ann.access)

    form = {"username": "ann", "password": PASSWORDS["ann"]}
    answer = server.ask("POST", "/api/login", bearer=ann.access, body=form)

    assert answer.status == 200
    assert server.ask("GET", "/api/me", bearer=answer.json["access_token"]).json == {"user": "ann"}


def test_refresh_gives_a_token_that_works(server, ann):
    """The refresh endpoint answers with another access token for the same user."""
    answer = server.ask("POST", "/api/refresh", body={"refresh_token": ann.refresh})

    assert answer.json["access_token"] != ann.access
    assert server.ask("GET", "/api/me", bearer=answer.json["access_token"]).json == {"user": "ann"}


def test_tokens_are_not_taken_for_each_other(server, ann):
    """A refresh token opens no page of the API, and an access token refreshes nothing."""
    as_access = server.ask("GET", "/api/me", bearer=ann.refresh)
    as_refresh = server.ask("POST", "/api/refresh", body={"refresh_token": ann.access})

    assert (as_access.status, as_refresh.status) == (401, 401)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/login", {"username": "ann", "password": "wrong"}, 401),
        ("/api/login", {"username": "nobody", "password": "wrong"}, 401),
        ("/api/login", {"username": "ann", "password": "\ud800"}, 401),
        ("/api/login", {"username": ["ann"], "password": None}, 401),
        ("/api/login", {}, 401),
        ("/api/login", ["ann"], 400),
        ("/api/refresh", {}, 401),
        ("/api/refresh", {"refresh_token": "garbage"}, 401),
        ("/api/refresh", {"refresh_token": "\ud800.\ud800.\ud800"}, 401),
        ("/api/refresh", {"refresh_token": 7}, 401),
        ("/api/refresh", "text", 400),
    ],
)
def test_bad_input_is_the_clients_mistake(server, path, body, status):
    """Whatever a client sends, it is told 4xx, and the application does not fall over."""
    assert server.ask("POST", path, body=body).status == status


def test_no_token_is_401(server):
    """The API without a token asks for one."""
    answer = server.ask("GET", "/api/me")

    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
