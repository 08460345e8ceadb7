"""OpenID Connect RP-Initiated Logout 1.0, the relying party's side: RPI-1 to RPI-13 of the checklist."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from logout_middleware import ConfigurationError, LogoutSettings
from logout_middleware.endpoints import pages
from logout_middleware.testing import MovableClock
from tests.client import ALL, OWN_LINK, OWN_PAGE, Answer, BuildSite, Device, Site

from .op import CALLBACK, CLIENT, LANDING
from .op_server import DISCOVERY, END_SESSION, OpServer

BYE = "https://www.example.com/bye"
BuildRp = Callable[..., Site]


@pytest.fixture
def build(site: BuildSite, op_server: OpServer) -> BuildRp:
    """Build the application with these settings beside those of a client of the provider."""

    def built(**more: Any) -> Site:
        return site(**op_server.settings(**({"redirect_allow": BYE} | more)))

    return built


@pytest.fixture
def rp(build: BuildRp) -> Site:
    """The application, client of a provider that it finds by discovery."""
    return build()


def leave(rp: Site, device: Device, query: str = "", **more: Any) -> Answer:
    """A person clicks "log out"."""
    return rp.get(f"/auth/logout{query}", cookie=device.cookie, headers=OWN_LINK | more)


def sent(answer: Answer) -> dict[str, str]:
    """The parameters with which the browser goes to the provider."""
    found = parse_qs(urlsplit(str(answer.header("location"))).query, strict_parsing=True)
    assert all(len(values) == 1 for values in found.values())
    return {name: values[0] for name, values in found.items()}


def state_cookie(answer: Answer) -> str:
    """The Cookie field with which the browser comes back."""
    (line,) = [line for line in answer.all("set-cookie") if "logout_state=" in line and "Max-Age=0" not in line]
    return line.partition(";")[0]


def come_back(rp: Site, query: str, cookie: str | None = None) -> Answer:
    """What the provider's redirect makes the browser ask for."""
    return rp.get(f"{CALLBACK}{query}", headers={"Cookie": cookie} if cookie else {})


def test_RPI_1_the_browser_goes_to_the_providers_own_endpoint(rp: Site, op_server: OpServer) -> None:
    """The one that its discovery document names."""
    alice = rp.login("alice")

    answer = leave(rp, alice)

    assert str(answer.header("location")).startswith(f"{op_server.issuer}{END_SESSION}?")
    assert rp.alive(alice) == set()


def test_RPI_1_parameters_of_the_endpoint_itself_are_kept(rp: Site, op_server: OpServer) -> None:
    """Some providers select a policy by one."""
    op_server.more["end_session_endpoint"] = f"{op_server.issuer}{END_SESSION}?p=policy"

    answer = leave(rp, rp.login("alice"))

    assert sent(answer)["p"] == "policy"
    assert sent(answer)["client_id"] == CLIENT


def test_RPI_2_3_the_id_token_of_the_session_is_the_hint_expired_or_not(
    rp: Site, op_server: OpServer, clock: MovableClock
) -> None:
    """The application keeps it in its signed session, and we find it there."""
    token = op_server.id_token("alice", "s-1")
    alice = rp.login("alice", sid="s-1", id_token=token)
    clock.move(2 * 3600.0)

    answer = leave(rp, alice)

    assert sent(answer)["id_token_hint"] == token


def test_RPI_2_a_hint_of_the_request_counts_as_well(rp: Site, op_server: OpServer) -> None:
    """A front end that keeps the ID token itself sends it along."""
    token = op_server.id_token("alice", "s-1")
    alice = rp.login("alice", sid="s-1")

    answer = rp.get(f"/auth/logout?id_token_hint={token}", cookie=alice.cookie)

    assert answer.status == 303
    assert sent(answer)["id_token_hint"] == token
    assert rp.alive(alice) == set()


@pytest.mark.parametrize("claims", [{"aud": "client-2"}, {"iss": "https://other.example.com"}])
def test_RPI_4_a_hint_that_is_not_ours_is_not_sent_beside_our_client_id(
    rp: Site, op_server: OpServer, claims: dict[str, str]
) -> None:
    """With both, they must agree, or the provider refuses the request."""
    alice = rp.login("alice", id_token=op_server.id_token("alice", **claims))

    answer = leave(rp, alice)

    assert sent(answer)["client_id"] == CLIENT
    assert "id_token_hint" not in sent(answer)


def test_RPI_5_the_landing_is_byte_for_byte_the_registered_one(build: BuildRp) -> None:
    """Whatever the target of the logout is."""
    rp = build(oidc_post_logout_redirect_uri=f"{LANDING}?Tenant=%2f")

    answer = leave(rp, rp.login("alice"), f"?redirect_uri={BYE}")

    assert sent(answer)["post_logout_redirect_uri"] == f"{LANDING}?Tenant=%2f"


def test_RPI_5_without_a_landing_there_is_no_state(build: BuildRp) -> None:
    """Nobody is sent back, so nothing is handed back (section 2)."""
    rp = build(oidc_post_logout_redirect_uri=None)

    answer = leave(rp, rp.login("alice"))

    assert sent(answer) == {"client_id": CLIENT}


@pytest.mark.parametrize(
    "landing", ["/auth/logout/callback", "app.example.com/cb", "ftp://a.example/cb", "https://*.a.de/"]
)
def test_RPI_6_a_landing_that_no_provider_registers_is_a_mistake(landing: str) -> None:
    """It is told at start."""
    with pytest.raises(ConfigurationError, match="E002 LOGOUT_OIDC_POST_LOGOUT_REDIRECT_URI"):
        LogoutSettings.load(
            environ={}, env_file=None, oidc_issuer="https://a.example", oidc_client_id="c",
            oidc_post_logout_redirect_uri=landing,
        )  # fmt: skip


def test_RPI_7_a_hint_that_is_too_long_for_an_address_is_posted(rp: Site, op_server: OpServer) -> None:
    """By a page that sends itself; its script, and nothing else, is allowed by its hash."""
    token = op_server.id_token("alice", "s-1", groups=["a group with a long name"] * 100)
    alice = rp.login("alice", sid="s-1")

    answer = rp.get(f"/auth/logout?id_token_hint={token}&state=x", cookie=alice.cookie)

    assert len(token) > 2000
    assert answer.status == 200
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', answer.text))
    assert fields["id_token_hint"] == token
    assert set(fields) == {"id_token_hint", "client_id", "post_logout_redirect_uri", "state"}
    (action,) = re.findall(r'<form method="post" action="([^"]*)">', answer.text)
    assert unescape(action) == f"{op_server.issuer}{END_SESSION}"
    (script,) = re.findall(r"<script>(.*?)</script>", answer.text)
    policy = str(answer.header("content-security-policy"))
    assert f"script-src 'sha256-{b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    assert f"style-src 'sha256-{b64encode(hashlib.sha256(style.encode()).digest()).decode()}'" in policy
    assert answer.header("referrer-policy") == "no-referrer"
    assert answer.header("cache-control") == "no-store"
    assert rp.alive(alice) == set()
    assert come_back(rp, f"?state={fields['state']}", state_cookie(answer)).header("location") == "/login?state=x"


def test_RPI_7_a_program_gets_an_address_without_the_long_hint(rp: Site, op_server: OpServer) -> None:
    """A JSON answer cannot post."""
    token = op_server.id_token("alice", "s-1", groups=["a group with a long name"] * 60)
    alice = rp.login("alice", sid="s-1", id_token=token)

    answer = rp.post("/auth/logout", cookie=alice.cookie, json={}, headers=OWN_PAGE)

    address = answer.json["redirect_to"]
    assert address.startswith(f"{op_server.issuer}{END_SESSION}?client_id={CLIENT}&")
    assert "id_token_hint" not in address
    assert state_cookie(answer)


def test_RPI_8_state_is_random_and_new_each_time(rp: Site) -> None:
    """At least 128 bits."""
    states = {sent(leave(rp, rp.login("alice")))["state"] for _ in range(20)}

    assert len(states) == 20
    assert all(len(state) >= 22 for state in states)


@pytest.mark.parametrize("query", ["", f"?redirect_uri={BYE}&state=a%26b"])
def test_RPI_8_who_left_from_here_comes_back_to_where_he_wanted(rp: Site, query: str) -> None:
    """With the state that he gave, encoded."""
    gone = leave(rp, rp.login("alice"), query)

    back = come_back(rp, f"?state={sent(gone)['state']}", state_cookie(gone))

    assert back.status == 303
    assert back.header("location") == (f"{BYE}?state=a%26b" if query else "/login")
    assert back.header("cache-control") == "no-store"
    assert back.deleted == {"__Host-logout_state"}


@pytest.mark.parametrize("query", ["", "?state=", "?state=other", "?state={state}x", "?state={state}&state={state}"])
def test_RPI_8_9_a_state_that_is_not_ours_leads_to_the_local_page(rp: Site, query: str) -> None:
    """Never off this site, and never an error."""
    gone = leave(rp, rp.login("alice"), f"?redirect_uri={BYE}")

    back = come_back(rp, query.replace("{state}", sent(gone)["state"]), state_cookie(gone))

    assert (back.status, back.header("location")) == (303, "/login")


@pytest.mark.parametrize(
    "cookie",
    [None, "__Host-logout_state=", "__Host-logout_state=x", "__Host-logout_state=..", "__Host-logout_state={state}.%.x",
     "__Host-logout_state={state}.aHR0cHM6Ly9ldmlsLmV4YW1wbGU.", "__Host-logout_state={state}.!!!.",
     "__Host-logout_state={state}._____w.", "{own}; {own}"],
)  # fmt: skip
def test_RPI_8_another_browser_or_a_made_up_cookie_leads_to_the_local_page(rp: Site, cookie: str | None) -> None:
    """A state is worth nothing without the cookie of the browser that left, and the cookie no more than its target."""
    gone = leave(rp, rp.login("alice"), f"?redirect_uri={BYE}")
    state = sent(gone)["state"]
    held = cookie and cookie.replace("{state}", state).replace("{own}", state_cookie(gone))

    back = come_back(rp, f"?state={state}", held)

    assert (back.status, back.header("location")) == (303, "/login")


def test_RPI_8_the_cookie_is_of_this_host_alone(rp: Site) -> None:
    """No neighbour can set or read it, no script either, and it is over after ten minutes."""
    gone = leave(rp, rp.login("alice"))

    (line,) = [line for line in gone.all("set-cookie") if line.startswith("__Host-logout_state=")]
    assert line.split("; ")[1:] == ["Max-Age=600", "Path=/", "HttpOnly", "SameSite=Lax", "Secure"]


@pytest.mark.parametrize("door", ["GET", "GET of nobody", "form", "JSON", "query of a POST"])
def test_RPI_8_a_state_that_is_too_long_is_refused_before_anything_is_done(rp: Site, door: str) -> None:
    """What no cookie and few addresses can hold is told at once, not lost on the way."""
    alice, state = rp.login("alice"), "x" * 513
    given: dict[str, Any] = {"cookie": alice.cookie, "headers": OWN_PAGE}
    answer = {
        "GET": lambda: leave(rp, alice, f"?state={state}"),
        "GET of nobody": lambda: rp.get(f"/auth/logout?state={state}", headers=OWN_LINK),
        "form": lambda: rp.post("/auth/logout", form={"state": state}, **given),
        "JSON": lambda: rp.post("/auth/logout", json={"state": state}, **given),
        "query of a POST": lambda: rp.post(f"/auth/logout?state={state}", json={}, **given),
    }[door]()  # fmt: skip

    assert (answer.status, answer.json["error"]) == (400, "invalid_request")
    assert answer.all("set-cookie") == []
    assert rp.alive(alice) == ALL


def test_RPI_8_the_cookie_is_never_too_large_for_a_browser(build: BuildRp) -> None:
    """Beyond 4 KiB they drop it, and proxies the answer; rather than the target, the state is left out."""
    bye, client = "https://www.example.com/" + "b" * 2020, "client" * 20
    rp = build(redirect_allow=bye, clients={client: {}})
    states = ["x" * 512, "\U0001f600" * 512]

    for state in states:
        alice = rp.login("alice")
        order = {"redirect_uri": bye, "client_id": client, "state": state}
        gone = rp.post("/auth/logout", json=order, cookie=alice.cookie, headers=OWN_PAGE | {"Accept": "text/html"})
        (line,) = [line for line in gone.all("set-cookie") if "logout_state=" in line]
        back = come_back(rp, f"?state={sent(gone)['state']}", state_cookie(gone))

        assert gone.status == 303
        assert len(line) <= 3500
        assert str(back.header("location")).startswith(bye)


def test_RPI_8_the_way_back_leads_to_no_target_of_another_client(build: BuildRp) -> None:
    """Whoever could set the cookie gets no further than the request itself would have: to the client that it names."""
    shop, bank = "https://shop.example.com/bye", "https://bank.example.com/bye"
    rp = build(clients={"shop": {"redirect_uris": [shop]}, "bank": {"redirect_uris": [bank]}})
    gone = leave(rp, rp.login("alice"), f"?redirect_uri={shop}&client_id=shop&state=x")
    name, _, value = state_cookie(gone).partition("=")
    random, _, *named = value.split(".")

    def back(target: str, *rest: str) -> str | None:
        held = ".".join([random, b64encode(target.encode()).decode().rstrip("="), *rest])
        return come_back(rp, f"?state={random}", f"{name}={held}").header("location")

    assert come_back(rp, f"?state={random}", state_cookie(gone)).header("location") == f"{shop}?state=x"
    assert back(bank, *named) == "/login"
    assert back(bank) == back(shop) == "/login"
    assert back(BYE) == BYE


def test_RPI_9_unknown_parameters_are_no_error(rp: Site) -> None:
    """Providers add their own."""
    answers = [come_back(rp, query) for query in ("", "?error=x&a=%ff", "?" + "a=b&" * 500, "?%00=%00", "?;&=&&")]

    assert [(answer.status, answer.header("location")) for answer in answers] == [(303, "/login")] * 5


def test_SM_1_session_management_by_frames_is_ignored(rp: Site) -> None:
    """What it adds to an answer or a login changes nothing, and nothing of ours offers it."""
    alice = rp.login("alice")

    answer = come_back(rp, "?session_state=abc.def")
    ours = rp.get("/.well-known/logout-configuration")

    assert (answer.status, answer.header("location")) == (303, "/login")
    assert rp.alive(alice) == {"access", "refresh", "cookie"}
    assert ours.status == 200
    assert "check_session_iframe" not in ours.text


def test_RPI_9_a_callback_logs_nobody_out(rp: Site) -> None:
    """Nor is a login needed for it."""
    alice = rp.login("alice")

    assert rp.get(f"{CALLBACK}?state=x", cookie=alice.cookie).status == 303

    assert rp.alive(alice) == {"access", "refresh", "cookie"}


def test_RPI_10_the_login_is_over_before_the_browser_leaves(rp: Site) -> None:
    """Where that cannot be recorded, nobody is sent anywhere."""
    alice = rp.login("alice")
    rp.store.broken = True

    refused = leave(rp, alice)

    rp.store.broken = False
    assert (refused.status, refused.header("location")) == (503, None)
    assert leave(rp, alice).status == 303
    assert rp.alive(alice) == set()


def test_RPI_11_it_is_a_303_and_a_form_gets_one_too(rp: Site) -> None:
    """302 and 307 would repeat a POST at the provider."""
    form = rp.post("/auth/logout", cookie=rp.login("alice").cookie, form={}, headers=OWN_PAGE | {"Accept": "text/html"})

    assert leave(rp, rp.login("alice")).status == form.status == 303
    assert END_SESSION in str(form.header("location"))


def test_RPI_12_the_id_token_is_in_no_event_and_no_referrer(
    rp: Site, op_server: OpServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It says who somebody is."""
    token = op_server.id_token("alice", "s-1")
    alice = rp.login("alice", sid="s-1", id_token=token)

    with caplog.at_level(0):
        answer = rp.get(f"/auth/logout?id_token_hint={token}", cookie=alice.cookie)
        op_server.more["end_session_endpoint"] = None

    assert answer.header("referrer-policy") == "no-referrer"
    assert token not in caplog.text
    assert all(token not in repr(event) for event in rp.events)


def test_RPI_13_who_is_logged_out_here_already_still_leaves_the_provider(rp: Site) -> None:
    """His cookie is dead, and his login there may live."""
    alice = rp.login("alice")
    rp.call("revoke_token", alice.access)

    answer = leave(rp, alice)

    assert END_SESSION in str(answer.header("location"))


def test_RPI_13_nobody_at_all_goes_nowhere(rp: Site, op_server: OpServer) -> None:
    """A visitor without any login ends at the local page."""
    answer = rp.get("/auth/logout?redirect_uri=" + BYE, headers=OWN_LINK)

    assert (answer.status, answer.header("location")) == (303, BYE)
    assert op_server.asked[DISCOVERY] == 0


def test_a_provider_without_such_an_endpoint_is_left_out(rp: Site, op_server: OpServer) -> None:
    """Google has none: the logout ends here."""
    op_server.more["end_session_endpoint"] = None
    alice = rp.login("alice")

    answer = leave(rp, alice, f"?redirect_uri={BYE}")

    assert (answer.status, answer.header("location")) == (303, BYE)
    assert rp.alive(alice) == set()


def test_a_provider_that_cannot_be_asked_keeps_nobody_logged_in(rp: Site, op_server: OpServer) -> None:
    """The logout here is done, and told; that it went no further is told as well."""
    op_server.status = 500
    alice = rp.login("alice")

    answer = leave(rp, alice, f"?redirect_uri={BYE}")

    assert (answer.status, answer.header("location")) == (303, BYE)
    assert [event.outcome for event in rp.told("provider_unreachable")] == ["failed"]
    assert rp.me(cookie=alice.cookie) is None


def test_an_endpoint_that_is_not_https_is_not_gone_to(site: BuildSite, op_server: OpServer) -> None:
    """An ID token goes over no open line, whatever the document says; the rest of it is used."""
    op_server.more["end_session_endpoint"] = "ftp://op.example.com/end"
    rp = site(**op_server.settings())

    answer = leave(rp, rp.login("alice"))

    assert (answer.status, answer.header("location")) == (303, "/login")


def test_the_question_lets_its_form_go_on_to_the_provider(rp: Site, op_server: OpServer) -> None:
    """Browsers hold the redirects of a form against its page's policy, and the provider's own redirects with them."""
    alice = rp.login("alice")

    page = rp.get(f"/auth/logout?redirect_uri={BYE}", cookie=alice.cookie)

    policy = dict(part.strip().partition(" ")[::2] for part in str(page.header("content-security-policy")).split(";"))
    sources = policy["form-action"].split()
    assert page.status == 200
    assert {"'self'", "https:", op_server.issuer} <= set(sources)
    assert rp.alive(alice) == {"access", "refresh", "cookie"}


def test_the_page_that_posts_may_be_led_on_by_the_provider(rp: Site, op_server: OpServer) -> None:
    """Back to us, and on to the target."""
    token = op_server.id_token("alice", "s-1", groups=["a group with a long name"] * 100)

    page = rp.get(f"/auth/logout?id_token_hint={token}&redirect_uri={BYE}", cookie=rp.login("alice", sid="s-1").cookie)

    policy = dict(part.strip().partition(" ")[::2] for part in str(page.header("content-security-policy")).split(";"))
    assert {"'self'", "https:", op_server.issuer} <= set(policy["form-action"].split())


def test_the_question_asks_nobody_while_the_provider_is_away(rp: Site, op_server: OpServer) -> None:
    """It is shown all the same."""
    op_server.status = 500

    page = rp.get("/auth/logout", cookie=rp.login("alice").cookie)

    assert page.status == 200
    assert "Log out?" in page.text


def test_state_works_over_plain_http_on_the_own_machine(site: BuildSite, op_server: OpServer) -> None:
    """Where a __Host- cookie is impossible."""
    rp = site(origin="http://localhost:8000", **op_server.settings())
    gone = leave(rp, rp.login("alice"), "?state=mine")

    assert state_cookie(gone).startswith("logout_state=")
    back = come_back(rp, f"?state={sent(gone)['state']}", state_cookie(gone))

    assert back.header("location") == "/login?state=mine"


@pytest.mark.parametrize("tail", ["/end\r\nX: y", ";script-src *", "/a;b", " https://x", "/#x"], ids=ascii)
def test_RPI_1_a_strange_endpoint_ends_the_logout_here(build: BuildRp, op_server: OpServer, tail: str) -> None:
    """What could end a header field or a policy is not where a browser is sent; the user is logged out all the same."""
    op_server.more["end_session_endpoint"] = f"{op_server.issuer}{tail}"
    rp = build()
    alice = rp.login("alice")

    answer = leave(rp, alice)

    assert (answer.status, answer.header("location")) == (303, "/login")
    assert rp.alive(alice) == set()


@pytest.mark.parametrize(
    ("address", "source"),
    [("https://a.example.com/x?y", " https://a.example.com"), ("https://a.example.com:8/", " https://a.example.com:8"),
     ("/login", ""), ("app://", " app:"), ("com.example:/bye", " com.example:"), ("app://open/x", " app://open"),
     ("https://a.example.com;script-src *", ""), ("https://a,b/", ""), ("https://a b/", ""), ("https://a'b/", ""),
     ("https://*/", ""), ("https://ö/", ""), ("https://u@a.example.com/", ""), ("a;b:c", ""), ("https://[::1", "")],
)  # fmt: skip
def test_a_source_in_a_policy_is_an_origin_and_nothing_else(address: str, source: str) -> None:
    """Whatever an address holds, it adds no directive and no further source."""
    assert pages.source(address) == source
