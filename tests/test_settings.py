"""LOGOUT_* variables: what they become, and how mistakes are told."""

from __future__ import annotations

import re
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest

from logout_middleware import ConfigurationError, LogoutSettings
from logout_middleware.presets import PRESETS
from logout_middleware.rules.cookies import GuardedCookie
from logout_middleware.values import RateLimit, TokenPath

CONTRACT = re.findall(
    r"[A-Z_]+",
    """
STORE MAX_STALENESS FAIL_MODE JOURNAL KEY_PREFIX MODE PRESET JWT_KEY JWKS_URL JWT_ALGORITHMS JWT_ISSUER JWT_AUDIENCE
JWT_LEEWAY COOKIES COOKIE_SECRET USER_CLAIM SESSION_CLAIM MAX_LIFETIME REVOKED_COOKIE EXEMPT_PATHS PREFIX ENDPOINTS
ALIASES SCOPE REQUIRE_CREDENTIAL REDIRECT_URL REDIRECT_ALLOW ON_GET CLIENTS PUBLIC_URL TRUSTED_ORIGINS TRUSTED_PROXIES
RATE_LIMIT CLEAR_SITE_DATA IDLE_TIMEOUT ABSOLUTE_TIMEOUT PASSIVE_PATHS
ON_BROWSER_CLOSE OIDC_ISSUER OIDC_CLIENT_ID OIDC_CLIENT_SECRET
OIDC_POST_LOGOUT_REDIRECT_URI ISSUERS SECRET REVOKE_BOUND TOKEN_REQUESTS TOKEN_RESPONSES MAX_SESSIONS REDIS_WAIT
ALLOW_UNSAFE_STORE STORE_DEADLINE ADMIN_KEY AUDIT PRIVATE_ADDRESSES
""",
)


def load(**variables: str) -> LogoutSettings:
    return LogoutSettings.load({f"LOGOUT_{name}": value for name, value in variables.items()}, env_file=None)


def mistakes(**variables: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(**variables)
    return list(caught.value.mistakes)


def test_every_variable_of_the_contract_is_declared_and_no_other() -> None:
    """Users find the names that the documentation has."""
    assert {each.name.upper() for each in fields(LogoutSettings)} == set(CONTRACT)


def test_every_setting_says_what_it_is_for() -> None:
    """The README's table is made of these."""
    assert [each.name for each in fields(LogoutSettings) if not each.metadata["doc"]] == []


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("STORE", "sqlite:////var/lib/x.db", "sqlite:////var/lib/x.db"),
        ("JWT_ALGORITHMS", "RS256, ES256", ("RS256", "ES256")),
        ("JWT_LEEWAY", "250ms", 0.25),
        ("MAX_LIFETIME", "30d", 30 * 86400.0),
        ("MAX_LIFETIME", "90", 90.0),
        ("MAX_STALENESS", "1s", 1.0),
        ("STORE_DEADLINE", "100ms", 0.1),
        ("JOURNAL", "/var/lib/app/journal.db", "/var/lib/app/journal.db"),
        ("STORE", "redis+sentinel://a:26379,b:26379/main/0", "redis+sentinel://a:26379,b:26379/main/0"),
        ("RATE_LIMIT", "off", None),
        ("RATE_LIMIT", "5 per minute", RateLimit(5, 60.0)),
        ("RATE_LIMIT", "20 per 5 minutes", RateLimit(20, 300.0)),
        ("COOKIES", "sid", (GuardedCookie("sid", "auto"),)),
        ("COOKIES", "access.abcdefg:jwt", (GuardedCookie("access.abcdefg", "jwt"),)),
        (
            "COOKIES",
            "s:jwt; Path=/app; Domain=example.com; SameSite=None; Secure; Partitioned, t:opaque",
            (GuardedCookie("s", "jwt", "/app", "example.com", True, "None", True), GuardedCookie("t", "opaque")),
        ),
        ("PREFIX", "/", ""),
        ("PREFIX", "/api/auth/", "/api/auth"),
        ("REQUIRE_CREDENTIAL", "yes", True),
        ("PUBLIC_URL", "https://App.example.com/", "https://app.example.com"),
        ("TRUSTED_PROXIES", "10.0.0.0/8, ::1", ("10.0.0.0/8", "::1")),
        ("COOKIE_SECRET", '["a,b", "c"]', ("a,b", "c")),
        ("COOKIE_SECRET", "new, old", ("new", "old")),
        ("EXEMPT_PATHS", "/health, /static/", ("/health", "/static/")),
        (
            "TOKEN_REQUESTS",
            "POST /refresh: refresh_token; POST /token: token, refresh",
            (TokenPath("POST", "/refresh", ("refresh_token",)), TokenPath("POST", "/token", ("token", "refresh"))),
        ),
    ],
)
def test_a_text_becomes_a_value(name: str, text: str, value: object) -> None:
    """The environment and keyword arguments give the same, and parsed values are taken as they are."""
    extra = {"jwt_key": "k" * 32} if name == "JWT_ALGORITHMS" and "HS256" in text else {}
    if name == "JWT_ALGORITHMS":
        extra = {"jwks_url": "https://issuer.example.com/jwks"}

    from_text = LogoutSettings.load({f"LOGOUT_{name}": text}, env_file=None, **extra)
    from_keyword = LogoutSettings.load({}, env_file=None, **{name.lower(): text}, **extra)
    from_value = LogoutSettings.load({}, env_file=None, **{name.lower(): "off" if value is None else value}, **extra)

    assert getattr(from_text, name.lower()) == getattr(from_keyword, name.lower()) == value
    assert from_value == from_text


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("STORE", "file.db", "'file.db' is not a kind of store"),
        ("STORE", "sqlite:///", "not a kind of store"),
        ("STORE", "postgres://u:secret@h/db", "write postgresql+psycopg://"),
        ("STORE", "mysql://u:secret@h/db", "write mysql+pymysql://"),
        ("STORE", "redis://h:99999/0", "is not host:port"),
        ("STORE", "redis+sentinel://h:26379", "service"),
        ("REDIS_WAIT", "2", "LOGOUT_STORE is not a Redis"),
        ("REDIS_WAIT", "-1", "not a whole number"),
        ("STORE_DEADLINE", "1ms", "from 10ms to 60s"),
        ("MAX_STALENESS", "20ms", "write 0, or 100ms and more"),
        ("JOURNAL", "logout.db", "is the file of LOGOUT_STORE"),
        ("FAIL_MODE", "opne", "'opne' is not one of closed, open"),
        ("MAX_LIFETIME", "soon", "not a duration"),
        ("RATE_LIMIT", "lots", "not a rate"),
        ("RATE_LIMIT", "0 per minute", "not a rate"),
        ("COOKIES", "a b:jwt", "not a cookie name"),
        ("COOKIES", "sid:jwe", "'jwe' is not a format"),
        ("COOKIES", "sid:jwt; Colour=red", "'Colour=red' is not Path="),
        ("COOKIES", "sid:jwt, sid:opaque", "named twice"),
        ("JWT_ALGORITHMS", "none", "'none' is not an algorithm"),
        ("JWKS_URL", "http://issuer.example.com/jwks", "not https"),
        ("JWKS_URL", "https://issuer.example.com/a;b", "not a plain address"),
        ("JWKS_URL", "https://[::1/jwks", "not a plain address"),
        ("ISSUERS", '{"https://i.example": {"ssf": {"poll_url": "https://i.example/a b"}}}', "no plain address"),
        ("EXEMPT_PATHS", "/static/../x", "not a plain path"),
        ("EXEMPT_PATHS", "health", "not a plain path"),
        ("PUBLIC_URL", "app.example.com", "not an origin"),
        ("TRUSTED_ORIGINS", "https://a.example/path", "not an origin"),
        ("TRUSTED_PROXIES", "proxy", "not an address or network"),
        ("CLEAR_SITE_DATA", "everything", "not a type of Clear-Site-Data"),
        ("CLIENTS", "{", "is not JSON"),
        ("CLIENTS", '{"a": {"secret": 5}}', "the secret of client 'a' is not a text"),
        ("CLIENTS", '{"a": {"redirect_uris": "x"}}', "not a list of addresses"),
        ("CLIENTS", '{"a": {"secret": "s", "feed": "true"}}', "feed of client 'a' is not true or false"),
        ("CLIENTS", '{"a": {"feed": true}}', "client 'a' has no secret"),
        ("CLIENTS", '{"a": {"redirect_uris": ["x.example/bye"]}}', "has no scheme"),
        ("REDIRECT_ALLOW", "example.com", "has no scheme; write https://example.com"),
        ("REDIRECT_ALLOW", "https://*", "the only pattern is"),
        ("REDIRECT_URL", "//evil.example", "has no scheme"),
        ("REDIRECT_ALLOW", "javascript:alert(1)", "scheme that runs"),
        ("TOKEN_REQUESTS", "/refresh", "is not understood"),
        ("REQUIRE_CREDENTIAL", "maybe", "not a yes or no"),
        ("ENDPOINTS", "logout, browsers", "'browsers' is not a group of endpoints"),
        ("ENDPOINTS", "nothing", "not a group of endpoints"),
        ("IDLE_TIMEOUT", "0", "must be above 0; remove it to have none"),
        ("MAX_SESSIONS", "0", "must be above 0; remove it to have no limit"),
        ("ADMIN_KEY", "x" * 31, "is shorter than 32 bytes and can be guessed"),
        ("ENDPOINTS", "check", "'check' says who is logged in, so it must verify credentials"),
        ("OIDC_ISSUER", "login.example.com", "is not an issuer; write its address"),
        ("OIDC_ISSUER", "https://login.example.com/?tenant=1", "is not an issuer"),
        ("OIDC_CLIENT_ID", "app", "has no provider to go with; set LOGOUT_OIDC_ISSUER"),
        ("OIDC_CLIENT_SECRET", "s", "has no provider to go with"),
        ("OIDC_POST_LOGOUT_REDIRECT_URI", "/bye", "is not an address"),
        ("OIDC_POST_LOGOUT_REDIRECT_URI", "javascript:alert(1)", "is not an address"),
        ("ISSUERS", "{", "is not JSON"),
        ("ISSUERS", "[]", "is not a JSON object"),
        ("ISSUERS", '{"https://i.example": {"jwks": "x"}}', "must be an object of algorithms, audience"),
        ("ISSUERS", '{"https://i.example": {"keys": "k", "jwks_url": "https://i.example/k"}}', "keep one of them"),
        ("ISSUERS", '{"https://i.example": {"jwks_url": "http://i.example/k"}}', "not https"),
        ("ISSUERS", '{"https://i.example": {"algorithms": "none"}}', "'none' is not an algorithm"),
        ("ISSUERS", '{"https://i.example": {"client_secret": 5}}', "client_secret of issuer"),
        ("ISSUERS", '{"https://i.example": {"ssf": {"url": "x"}}}', "ssf of issuer"),
        ("ISSUERS", '{"https://i.example": {"ssf": {"poll_url": "http://i.example/poll"}}}', "is not https"),
    ],
)
def test_a_mistake_names_the_variable_and_what_to_write(name: str, text: str, said: str) -> None:
    """An operator fixes it without reading code."""
    (mistake,) = mistakes(**{name: text})

    assert mistake.startswith("E")
    assert f" LOGOUT_{name}: " in mistake
    assert said in mistake


def test_all_mistakes_are_told_at_once() -> None:
    """Nobody restarts five times to learn of five mistakes."""
    told = mistakes(SCOPE="all", STORRE="x", MODE="see", AUDIT="x", SECRET_FILE="/does/not/exist")

    assert [mistake.split(":")[0] for mistake in told] == [
        "E001 LOGOUT_STORRE",
        "E005 LOGOUT_SECRET_FILE",
        "E002 LOGOUT_MODE",
        "E002 LOGOUT_SCOPE",
        "E002 LOGOUT_AUDIT",
    ]
    assert "did you mean LOGOUT_STORE?" in told[0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"OIDC_ISSUER": "https://i.example"}, "E114 LOGOUT_OIDC_CLIENT_ID: required with LOGOUT_OIDC_ISSUER"),
        ({"OIDC_ISSUER": "http://i.example", "OIDC_CLIENT_ID": "app"}, "E118 issuer 'http://i.example': is not https"),
        ({"ENDPOINTS": "oauth", "JWT_KEY": "k" * 32, "JWT_ALGORITHMS": "HS256"}, "E113 LOGOUT_CLIENTS: "),
        ({"ENDPOINTS": "push"}, "E119 LOGOUT_ENDPOINTS: 'push' has nobody to hear from and nobody to tell"),
        ({"ENDPOINTS": "push", "CLIENTS": '{"a": {"secret": "s"}}'}, "E119 LOGOUT_ENDPOINTS: 'push'"),
        ({"ENDPOINTS": "admin"}, "E116 LOGOUT_ADMIN_KEY: LOGOUT_ENDPOINTS=admin needs it"),
        ({"ISSUERS": '{"https://i.example": {"client_id": "app", "ssf": {}}}'}, "E120 issuer 'https://i.example': "),
        (
            {"ENDPOINTS": "push", "ISSUERS": '{"https://i.example": {"ssf": {"poll_url": "https://i.example/poll"}}}'},
            "E121 issuer 'https://i.example': ",
        ),
        (
            {"ISSUERS": '{"https://i.example": {"client_id": "app", "client_secret": "hidden"}}'},
            "E122 issuer 'https://i.example': its client_secret is never used",
        ),
        (
            {
                "OIDC_ISSUER": "https://other.example",
                "OIDC_CLIENT_ID": "app",
                "ISSUERS": '{"https://i.example": {"post_logout_redirect_uri": "https://app.example/cb"}}',
            },
            "E122 issuer 'https://i.example': its post_logout_redirect_uri is never used",
        ),
    ],
)
def test_a_group_says_what_it_needs(given: dict[str, str], said: str) -> None:
    """What cannot be answered truly is not served at all."""
    (mistake,) = mistakes(**given)

    assert mistake.startswith(said)


@pytest.mark.parametrize(
    "given",
    [
        {"ENDPOINTS": "push", "ISSUERS": '{"https://i.example": {"audience": "api", "ssf": {}}}'},
        {"ISSUERS": '{"https://i.example": {"client_id": "app", "ssf": {"poll_url": "https://i.example/poll"}}}'},
        {
            "ENDPOINTS": "push", "OIDC_ISSUER": "https://i.example", "OIDC_CLIENT_ID": "app",
            "ISSUERS": '{"https://i.example": {"client_secret": "s", "ssf": {}}}',
        },
    ],
)  # fmt: skip
def test_an_issuer_with_all_that_it_needs_is_no_mistake(given: dict[str, str]) -> None:
    """A stream that is polled needs no endpoint, and the client may be named beside the issuer."""
    assert load(**given).providers["https://i.example"].addressees


def test_groups_are_switched_on_by_what_they_need() -> None:
    """A provider, or an admin key, is enough."""
    settings = load(OIDC_ISSUER="https://i.example", OIDC_CLIENT_ID="app", ADMIN_KEY="k" * 32)

    assert settings.groups == {"logout", "sessions", "browser", "oidc", "admin"}
    assert settings.own_issuers == {"https://i.example"}


def test_what_is_said_of_an_issuer_twice_is_put_together() -> None:
    """LOGOUT_ISSUERS says how the keys of LOGOUT_OIDC_ISSUER are found; the secrets of neither are shown."""
    more = '{"https://i.example": {"jwks_url": "https://keys.example/jwks", "algorithms": "ES256"}}'
    settings = load(OIDC_ISSUER="https://i.example", OIDC_CLIENT_ID="app", OIDC_CLIENT_SECRET="hidden", ISSUERS=more)

    issuer = settings.providers["https://i.example"]

    assert (issuer.client_id, issuer.jwks_url, issuer.algorithms) == ("app", "https://keys.example/jwks", ("ES256",))
    assert "hidden" not in repr(settings) + repr(issuer)


def test_one_issuer_of_tokens_and_of_logins_has_one_set_of_keys() -> None:
    """JWT_ISSUER and OIDC_ISSUER are the same: its JWKS_URL verifies logout tokens, too."""
    settings = load(
        JWT_ISSUER="https://i.example", JWKS_URL="https://i.example/jwks", JWT_ALGORITHMS="ES256",
        OIDC_ISSUER="https://i.example", OIDC_CLIENT_ID="app",
    )  # fmt: skip

    issuer = settings.providers["https://i.example"]

    assert (issuer.jwks_url, issuer.algorithms) == ("https://i.example/jwks", ("ES256",))


def test_unknown_keywords_are_mistakes_too() -> None:
    """A misspelt keyword is not ignored."""
    with pytest.raises(ConfigurationError, match="did you mean LOGOUT_COOKIES"):
        LogoutSettings.load({}, env_file=None, cookiess="x")


def test_what_kubernetes_sets_for_a_service_named_logout_is_ignored() -> None:
    """LOGOUT_PORT and its kin are not ours."""
    settings = load(PORT="tcp://10.0.0.1:80", PORT_80_TCP="x", SERVICE_HOST="10.0.0.1", SERVICE_PORT_HTTP="80")

    assert settings == load()


def test_an_empty_variable_means_not_set() -> None:
    """Compose files write NAME= for that."""
    assert load(SECRET="", PRESET="") == load()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"JWT_KEY": "k" * 32}, "E101 LOGOUT_JWT_ALGORITHMS: required with a key"),
        ({"JWT_ALGORITHMS": "HS256"}, "E102 LOGOUT_JWT_ALGORITHMS: has no key"),
        ({"JWT_KEY": "k", "JWKS_URL": "https://a.example/j", "JWT_ALGORITHMS": "HS256"}, "E103 LOGOUT_JWKS_URL"),
        ({"PRESET": "spid"}, "E105 LOGOUT_CLIENTS: LOGOUT_PRESET=spid needs it; write e.g. {"),
        ({"PRESET": "genauth"}, "E105 LOGOUT_JWT_KEY: LOGOUT_PRESET=genauth needs it, or LOGOUT_JWKS_URL"),
        ({"PRESET": "campusbite"}, "E105 LOGOUT_TOKEN_REQUESTS: LOGOUT_PRESET=campusbite needs it; write e.g. POST"),
        ({"PRESET": "user-management", "TOKEN_REQUESTS": "POST /refresh: token"}, "E105 LOGOUT_JWT_KEY: LOGOUT_PRESET"),
        ({"PRESET": "userfront"}, "E105 LOGOUT_COOKIES: LOGOUT_PRESET=userfront needs it"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(variables: dict[str, str], said: str) -> None:
    """Each alone is right; together they are not."""
    assert said in mistakes(**variables)[0]


def test_a_secret_is_read_from_a_file(tmp_path: Path) -> None:
    """LOGOUT_X_FILE is how orchestrators hand over secrets."""
    (tmp_path / "secret").write_text("from-a-file\n")

    assert load(SECRET_FILE=str(tmp_path / "secret")).secret == ("from-a-file",)
    assert "keep one of them" in mistakes(SECRET_FILE=str(tmp_path / "secret"), SECRET="x")[0]


def test_keywords_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    """The nearest to the code decides."""
    file = tmp_path / ".env"
    file.write_text("# a comment\nexport LOGOUT_SCOPE='global'\nLOGOUT_MODE=observe\nOTHER=1\nLOGOUT_AUDIT=off\n")

    settings = LogoutSettings.load({"LOGOUT_MODE": "enforce", "LOGOUT_AUDIT": "text"}, env_file=file, audit="json")

    assert (settings.scope, settings.mode, settings.audit) == ("global", "enforce", "json")


def test_no_secret_is_in_a_repr_or_a_message() -> None:
    """Settings are logged by frameworks."""
    secret = "planted-secret-4711"
    settings = LogoutSettings.load(
        {}, env_file=None, secret=secret, cookie_secret=secret, jwt_key=secret, jwt_algorithms="HS256",
        clients={"a": {"secret": secret, "redirect_uris": []}},
    )  # fmt: skip

    assert secret not in repr(settings)
    for name in ("JWT_KEY", "SECRET", "COOKIE_SECRET", "CLIENTS"):
        told = mistakes(**{name: f'["{secret}", 5]', "SCOPE": "x"})
        assert secret not in " ".join(told)


def test_a_preset_gives_defaults_that_a_variable_overrides() -> None:
    """A preset is a starting point."""
    refresh = {"TOKEN_REQUESTS": "POST /refresh: refreshToken"}
    needed = refresh | {"JWT_KEY": "k" * 32, "JWT_ALGORITHMS": "HS256"}

    assert load(PRESET="user-management", **needed).scope == "global"
    assert load(PRESET="user-management", SCOPE="local", **needed).scope == "local"
    assert load(PRESET="campusbite", **refresh).aliases == ("/api/auth/logout",)


def test_every_preset_has_only_settings_that_exist() -> None:
    """A preset with a misspelt default would be silently weaker."""
    names = {each.name for each in fields(LogoutSettings)}

    assert all(set(preset.defaults) <= names for preset in PRESETS.values())


def test_durations_may_be_timedeltas() -> None:
    """Python code has its own type for them."""
    assert LogoutSettings.load({}, env_file=None, max_lifetime=timedelta(days=2)).max_lifetime == 172800.0
