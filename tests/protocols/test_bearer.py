"""Tokens in requests: RFC 6750 (BEAR), RFC 9449 (DPOP) and RFC 9068 (AT), as far as a guard of logouts plays a part."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from logout_middleware import LogoutSettings
from logout_middleware.rules.http import quoted
from logout_middleware.testing import MovableClock
from tests.apps import JWT_KEY
from tests.client import ALL, Answer, BuildSite, Site

from .op import public_pem, rsa_key

REVOKED = 'realm="api", error="invalid_token", error_description="The access token was revoked"'
SPA = "https://spa.example.com"
AS, API = "https://as.example.com", "https://api.example.com"
AS_KEY = "the key of the authorization server which is long enough for each of the three HMAC algorithms"


def asked(http: Site, *lines: str, path: str = "/me") -> Answer:
    """The answer to a request with these Authorization fields."""
    return http.get(path, headers=[("Authorization", line) for line in lines])


def who(http: Site, *lines: str) -> str | None:
    """Whom the guard takes the sender of these Authorization fields for, verifiably."""
    user: str | None = asked(http, *lines, path="/auth/session").json.get("sub")
    return user


def error(answer: Answer) -> tuple[int, str | None]:
    """Status, and the code in the challenge."""
    found = re.search(r'error="([^"]*)"', answer.header("www-authenticate") or "")
    return answer.status, found[1] if found else None


def challenge(answer: Answer) -> tuple[str, dict[str, str]]:
    """Scheme and parameters of the one challenge, whose grammar is checked (RFC 9110 11.6.1, RFC 6750 3)."""
    scheme, _, rest = (answer.header("www-authenticate") or "").partition(" ")
    parameter = r'([a-z_]+)="([\x20\x21\x23-\x5b\x5d-\x7e]*)"'
    assert re.fullmatch(rf"{parameter}(?:, {parameter})*", rest), rest
    pairs = re.findall(parameter, rest)
    assert len(dict(pairs)) == len(pairs), "a parameter occurs twice"
    return scheme, dict(pairs)


# ---- RFC 6750 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "bEaReR ", "Bearer    "])
def test_BEAR_1_the_scheme_is_read_without_case_and_after_any_spaces(http: Site, scheme: str) -> None:
    """One token in every lawful spelling of its header: known while it lives, refused when it was logged out."""
    token = http.issuer.mint("ann")
    assert who(http, scheme + token) == "ann"

    http.post("/auth/logout", token=token)

    assert asked(http, scheme + token).json["error"] == "token_revoked"


def test_BEAR_2_two_tokens_in_one_request_are_400(http: Site) -> None:
    """The application could take the one that nobody asked about."""
    ann, bob = http.issuer.mint("ann"), http.issuer.mint("bob")

    answer = asked(http, f"Bearer {ann}", f"Bearer {bob}")
    logout = http.post("/auth/logout", headers=[("Authorization", f"Bearer {each}") for each in (ann, bob)])

    assert error(answer) == (400, "invalid_request")
    assert logout.status == 400
    assert (http.me(token=ann), http.me(token=bob)) == ("ann", "bob")


def test_BEAR_3_a_token_in_the_address_is_not_looked_at(http: Site) -> None:
    """It stands for nobody, it logs nobody out, and the answer of ours is kept by no cache."""
    token = http.issuer.mint("ann")

    session = http.get(f"/auth/session?access_token={token}")
    logout = http.post(f"/auth/logout?access_token={token}")

    assert session.json["authenticated"] is False
    assert logout.json["revoked"] == {"tokens": 0, "sessions": 0, "connections": 0}
    assert (session.header("cache-control"), logout.header("cache-control")) == ("no-store", "no-store")
    assert http.me(token=token) == "ann"


def test_BEAR_4_every_401_of_ours_says_how_to_authenticate(site: BuildSite) -> None:
    """Whatever is wrong with the credential, and whichever of our addresses is asked."""
    http = site(
        revoked_cookie="reject", require_credential="true", endpoints="logout,sessions,check",
        admin_key="the key of the operators of the tests",
    )  # fmt: skip
    dead, expired = http.login("ann"), http.issuer.mint("ann", life=-1)
    http.post("/auth/logout", token=dead.access)

    answers = [
        http.get("/me", token=dead.access),
        http.get("/me", cookie=dead.cookie),
        http.get("/me", token=expired),
        http.get("/me", token=expired[:-4] + "AAAA"),
        http.refresh(dead.refresh),
        http.post("/auth/logout"),
        http.get("/auth/sessions"),
        http.get("/auth/check"),
        http.get("/auth/admin/health"),
    ]

    assert [each.status for each in answers] == [401] * len(answers)
    assert [challenge(each)[0] for each in answers] == ["Bearer"] * len(answers)


@pytest.mark.parametrize("path", ["/auth/logout", "/auth/sessions"])
def test_BEAR_5_who_sent_nothing_made_no_error(site: BuildSite, path: str) -> None:
    """The challenge has the realm alone."""
    http = site(require_credential="true")

    answer = http.post(path) if path == "/auth/logout" else http.get(path)

    assert (answer.status, answer.header("www-authenticate")) == (401, 'Bearer realm="api"')


@pytest.mark.parametrize("again", [False, True])
def test_BEAR_6_a_revoked_and_an_expired_token_are_invalid_tokens(http: Site, again: bool) -> None:
    """The guard's refusal says which of the two it is, at first sight and after many requests that passed."""
    revoked, expired = http.issuer.mint("ann"), http.issuer.mint("ann", life=60)
    for token in (revoked, expired) if again else ():
        assert http.me(token=token) == "ann"

    http.call("revoke_token", revoked)
    http.clock.move(60)

    assert http.get("/me", token=revoked).header("www-authenticate") == f"Bearer {REVOKED}"
    assert challenge(http.get("/me", token=expired)) == (
        "Bearer", {"realm": "api", "error": "invalid_token", "error_description": "The access token expired"},
    )  # fmt: skip


def test_BEAR_7_each_error_has_its_status(http: Site) -> None:
    """What is malformed is 400, what is not valid is 401."""
    token = http.issuer.mint("ann")

    assert error(asked(http, f"Bearer {token}, Bearer {token}")) == (400, "invalid_request")
    assert error(asked(http, f"Bearer {token[:-4]}AAAA")) == (401, "invalid_token")


HOSTILE = ['"', "\\", '", error="none', "\t", "é", "%0d%0aX-Injected: 1"]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("place", ["after the token", "instead of it", "in a claim", "in the type"])
def test_BEAR_8_a_challenge_is_well_formed_whatever_was_sent(http: Site, place: str, text: str) -> None:
    """Each parameter once, in the characters that it may have; nothing of the request is in it."""
    now = int(http.clock())
    claims = {"sub": "ann", "iat": now, "exp": now + 60}
    token = http.issuer.mint("ann")
    line = {
        "after the token": f"Bearer {token}{text} more",
        "instead of it": f"Bearer {text} more",
        "in a claim": f"Bearer {jwt.encode(claims | {'nbf': text}, JWT_KEY)}",
        "in the type": f"Bearer {jwt.encode(claims, JWT_KEY, headers={'typ': text})}",
    }[place]

    answer = asked(http, line)

    scheme, parameters = challenge(answer)
    assert scheme == "Bearer"
    assert parameters.keys() == {"realm", "error", "error_description"}
    assert text not in parameters["error_description"]
    assert answer.header("x-injected") is None


@pytest.mark.parametrize("text", [*HOSTILE, "\r\nX-Injected: 1", "\x7f", "\u2028"])
def test_BEAR_8_a_description_of_any_text_is_one_quoted_string(text: str) -> None:
    """Should a message ever name what was sent, it still ends where it should."""
    assert re.fullmatch(r'"[\x20\x21\x23-\x5b\x5d-\x7e]*"', quoted(f"before {text} after"))


SPELLINGS: dict[str, Sequence[str]] = {
    "two fields": ("Bearer {}", "Bearer {}"),
    "two schemes": ("Bearer {}", "Basic YW5uOmFubg=="),
    "a list": ("Bearer {}, Bearer {}",),
    "a list with another scheme": ("Basic YW5uOmFubg==, Bearer {}",),
    "a tab": ("Bearer\t{}",),
    "a no-break space": ("Bearer\xa0{}",),
    "a word more": ("Bearer {} more",),
    "a word before": ("my Bearer {}",),
    "quotes": ('Bearer "{}"',),
    "a parameter": ("Bearer token={}",),
    "the scheme twice": ("Bearer Bearer {}",),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("scheme", ["Bearer", "DPoP"])
def test_BEAR_9_what_two_parsers_read_differently_is_400(http: Site, scheme: str, spelling: str) -> None:
    """It is not guessed: the application is not asked, and nothing is logged out by it."""
    token = http.issuer.mint("ann")
    lines = [line.format(token, token).replace("Bearer", scheme) for line in SPELLINGS[spelling]]

    answer = asked(http, *lines)
    logout = http.post("/auth/logout", headers=[("Authorization", line) for line in lines])

    assert error(answer) == (400, "invalid_request")
    assert logout.status == 400
    assert http.me(token=token) == "ann"


def test_BEAR_10_a_page_of_a_trusted_origin_may_read_the_challenge(site: BuildSite) -> None:
    """Its script learns why it was refused; a stranger's learns nothing."""
    http = site(trusted_origins=SPA)
    token = http.issuer.mint("ann")
    http.post("/auth/logout", token=token)

    friend = http.get("/me", token=token, headers={"Origin": SPA})
    stranger = http.get("/me", token=token, headers={"Origin": "https://evil.example.com"})

    assert friend.header("access-control-allow-origin") == SPA
    assert "WWW-Authenticate" in (friend.header("access-control-expose-headers") or "").split(", ")
    assert stranger.header("access-control-allow-origin") is None
    assert [error(each) for each in (friend, stranger)] == [(401, "invalid_token")] * 2


HANDSHAKES = {
    "header": lambda token: {"headers": [(b"authorization", b"Bearer " + token.encode())]},
    "query": lambda token: {"query_string": b"access_token=" + token.encode()},
    "subprotocol": lambda token: {"headers": [(b"sec-websocket-protocol", b"bearer, " + token.encode())]},
}


def shake_hands(http: Site, *, answers: bool, **given: Any) -> list[dict[str, Any]]:
    """What a server is told by a handshake; `answers`: it can send an HTTP answer to one."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    extensions = {"websocket.http.response": {}} if answers else {}
    scope = {"type": "websocket", "path": "/ws", "headers": [], "query_string": b"", "extensions": extensions} | given
    http.client.runner.run(http.client.app(scope, receive, send))  # type: ignore[attr-defined]  # under ASGI
    return sent


@pytest.fixture
def sockets(clock: MovableClock, tmp_path: Path) -> Iterator[Site]:
    """The site under ASGI, which alone has sockets; its application has none, and closes what reaches it."""
    settings = LogoutSettings.load(
        environ={}, env_file=None, store=f"sqlite:///{tmp_path / 'logout.db'}", jwt_key=JWT_KEY, jwt_algorithms="HS256"
    )
    built = Site("asgi", clock, settings, origin="https://app.example.com")
    yield built
    built.close()


@pytest.mark.parametrize("place", HANDSHAKES)
def test_BEAR_11_a_revoked_token_opens_no_websocket(sockets: Site, place: str) -> None:
    """Refused before it is accepted: 401 where the server can say so, and else it is closed with 4401."""
    token = sockets.issuer.mint("ann")
    asking = HANDSHAKES[place](token)
    before = shake_hands(sockets, answers=True, **asking)

    sockets.call("revoke_token", token)
    told, closed = (shake_hands(sockets, answers=can, **asking) for can in (True, False))

    assert [each["type"] for each in before] == ["websocket.close"], "the application's own answer"
    assert (told[0]["type"], told[0]["status"]) == ("websocket.http.response.start", 401)
    assert (b"www-authenticate", f"Bearer {REVOKED}".encode()) in told[0]["headers"]
    assert [(each["type"], each["code"]) for each in closed] == [("websocket.close", 4401)]


def test_BEAR_2_a_handshake_with_two_tokens_is_refused(sockets: Site) -> None:
    """One in its header and one in its address: 400, whoever of them is alive."""
    header, query = (HANDSHAKES[place](sockets.issuer.mint("ann")) for place in ("header", "query"))

    told = shake_hands(sockets, answers=True, **header, **query)

    assert told[0]["status"] == 400


# ---- RFC 9449 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "then"), [("DPoP", "Bearer"), ("Bearer", "DPoP"), ("DPoP", "dpop")])
def test_DPOP_1_a_token_is_the_same_under_either_scheme(http: Site, first: str, then: str) -> None:
    """Logged out by one, it is dead by the other, and the login that it is a part of with it."""
    ann = http.login("ann")
    assert who(http, f"{first} {ann.access}") == who(http, f"{then} {ann.access}") == "ann"

    answer = http.post("/auth/logout", headers={"Authorization": f"{first} {ann.access}"})

    assert answer.json["revoked"]["tokens"] == 1
    assert asked(http, f"{then} {ann.access}").json["error"] == "token_revoked"
    assert http.alive(ann) == set()


def test_DPOP_4_a_revoked_token_is_challenged_by_its_own_scheme(http: Site) -> None:
    """As a client that binds its tokens expects it; what cannot be read is 400."""
    token = http.issuer.mint("ann")
    http.call("revoke_token", token)

    dead, twice = asked(http, f"DPoP {token}"), asked(http, f"DPoP {token}", f"Bearer {token}")

    assert (dead.status, dead.header("www-authenticate")) == (401, f"DPoP {REVOKED}")
    assert error(twice) == (400, "invalid_request")


def test_DPOP_6_a_proof_is_no_login(http: Site) -> None:
    """Neither in its own header nor as a token, whether its own key signed it or, somehow, ours did."""
    key = ec.generate_private_key(ec.SECP256R1())
    claims = {"sub": "ann", "jti": "p1", "htm": "GET", "htu": f"{http.origin}/me", "iat": int(http.clock())}
    jwk = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    proof = jwt.encode(claims, key, algorithm="ES256", headers={"typ": "dpop+jwt", "jwk": jwk})
    ours = jwt.encode(claims | {"exp": int(http.clock()) + 60}, JWT_KEY, headers={"typ": "dpop+jwt"})

    alone = http.get("/auth/session", headers={"DPoP": proof})

    assert alone.json["authenticated"] is False
    for each in (proof, ours):
        for scheme in ("Bearer", "DPoP"):
            assert error(asked(http, f"{scheme} {each}")) == (401, "invalid_token")
            assert who(http, f"{scheme} {each}") is None


def test_DPOP_6_a_proof_beside_a_token_changes_nothing(http: Site) -> None:
    """It goes on to the application, which verifies it; the token alone decides whether the login is alive."""
    ann = http.login("ann")
    fields = {"Authorization": f"DPoP {ann.access}", "DPoP": "whatever the application makes of it"}

    before = http.get("/auth/session", headers=fields).json["sub"]
    http.post("/auth/logout", headers=fields)

    assert before == "ann"
    assert http.get("/me", headers=fields).json["error"] == "token_revoked"


# ---- RFC 9068 --------------------------------------------------------------------------------------------


@pytest.fixture
def api(site: BuildSite) -> Site:
    """A resource server of one authorization server."""
    return site(jwt_key=AS_KEY, jwt_issuer=AS, jwt_audience=API)


def access_token(http: Site, *, typ: str | None = "at+jwt", key: Any = AS_KEY, alg: str = "HS256", **more: Any) -> str:
    """A token as RFC 9068 2 has it; a claim given as None is left out."""
    now = int(http.clock())
    usual = {
        "iss": AS, "aud": API, "sub": "ann", "client_id": "shop", "jti": "t1", "iat": now, "exp": now + 60,
        "kind": "access",
    }  # fmt: skip
    claims = {name: value for name, value in (usual | more).items() if value is not None}
    return jwt.encode(claims, key, algorithm=alg, headers={"typ": typ})


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt", "JWT", None])
def test_AT_1_an_access_token_is_known_by_its_type_in_any_case(api: Site, typ: str | None) -> None:
    """An authorization server that is older than the type sends none, or `JWT`."""
    assert who(api, f"Bearer {access_token(api, typ=typ)}") == "ann"


@pytest.mark.parametrize(
    "typ", ["logout+jwt", "secevent+jwt", "dpop+jwt", "command+jwt", "at+jwt2", "at jwt", "rt+jwt"]
)
def test_AT_1_AT_4_a_token_of_another_type_is_an_invalid_token(api: Site, typ: str) -> None:
    """Whatever else it says, and whoever signed it."""
    token = access_token(api, typ=typ)

    assert error(asked(api, f"Bearer {token}")) == (401, "invalid_token")
    assert who(api, f"Bearer {token}") is None


WRONG: dict[str, dict[str, Any]] = {
    "another audience": {"aud": "https://other.example.com"},
    "an audience that only begins like ours": {"aud": API + "/"},
    "no audience": {"aud": None},
    "another key": {"key": "a key of somebody else, which is long enough"},
    "no signature": {"key": None, "alg": "none"},
    "another algorithm": {"alg": "HS512"},
    "expired": {"exp": 1_700_000_000},
    "not yet": {"nbf": 1_900_000_000},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_AT_2_AT_4_a_token_that_is_not_sound_is_an_invalid_token(api: Site, wrong: str) -> None:
    """401 `invalid_token` by the challenge of RFC 6750 3.1."""
    token = access_token(api, **WRONG[wrong])

    assert error(asked(api, f"Bearer {token}")) == (401, "invalid_token")
    assert who(api, f"Bearer {token}") is None


@pytest.mark.parametrize("issuer", [AS + "/", AS.upper(), "https://other.example.com"])
def test_AT_2_a_token_of_another_issuer_is_a_strangers(api: Site, issuer: str) -> None:
    """Exactly the issuer that is configured; what a stranger's token says is believed by nobody here."""
    token = access_token(api, iss=issuer)

    assert who(api, f"Bearer {token}") is None
    assert api.post("/auth/logout/all", token=token).status == 403


def test_AT_2_several_audiences_and_rs256_are_taken(site: BuildSite) -> None:
    """We are one of those that the token is for, and RS256 is what every authorization server has."""
    http = site(jwt_issuer=AS, jwt_audience=API, jwt_key=public_pem(rsa_key("k1")), jwt_algorithms="RS256")
    token = access_token(http, aud=["https://other.example.com", API], key=rsa_key("k1"), alg="RS256")

    assert who(http, f"Bearer {token}") == "ann"


@pytest.mark.parametrize(("leeway", "late", "user"), [("0", 60, None), ("30", 89, "ann"), ("30", 90, None)])
def test_AT_2_the_end_counts_with_the_leeway_that_is_set(
    site: BuildSite, leeway: str, late: int, user: str | None
) -> None:
    """To the second, and none by default."""
    http = site(jwt_key=AS_KEY, jwt_issuer=AS, jwt_audience=API, jwt_leeway=leeway)
    token = access_token(http)
    http.clock.now = float(int(http.clock()) + late)

    assert who(http, f"Bearer {token}") == user


def test_AT_3_issuer_and_jti_are_the_name_of_a_token(api: Site) -> None:
    """Signed again, with other claims, it is the same token, and dies with it; another `jti` is another token."""
    token, again, other = access_token(api), access_token(api, scope="write"), access_token(api, jti="t2")

    api.call("revoke_token", token)

    assert [error(asked(api, f"Bearer {each}"))[0] for each in (token, again)] == [401, 401]
    assert who(api, f"Bearer {other}") == "ann"


def test_AT_5_a_client_and_a_user_of_one_name_are_two(http: Site) -> None:
    """Neither's logout, nor the end of the client, reaches the other; only `everywhere` goes by the name alone."""
    user, client = http.login("shop"), http.issuer.mint("shop", client_id="shop")

    http.post("/auth/logout", token=user.access)
    after_the_users = (http.alive(user), http.me(token=client))
    user = http.login("shop")
    http.post("/auth/logout", token=client)
    after_the_clients = (http.alive(user), http.me(token=client))
    everywhere = http.post("/auth/logout/all", token=http.issuer.mint("shop", client_id="shop"))
    other = http.issuer.mint("shop", client_id="shop")
    http.call("revoke_client", "shop")

    assert everywhere.status == 403
    assert after_the_users == (set(), "shop")
    assert after_the_clients == (ALL, None)
    assert http.alive(user) == ALL
    assert http.me(token=other) is None
