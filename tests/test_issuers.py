"""LOGOUT_ISSUERS and LOGOUT_OIDC_*: what they take, and that every mistake is told at start without a secret."""

from __future__ import annotations

import json
from typing import Any

import pytest

from logout_middleware import ConfigurationError, LogoutSettings
from logout_middleware.issuers import Issuer, Stream

NAME = "https://login.example.com"
SECRET = "a-secret-that-no-message-shows"


def load(**given: Any) -> LogoutSettings:
    """The settings of these variables alone."""
    environ = {f"LOGOUT_{name.upper()}": value for name, value in given.items()}
    return LogoutSettings.load(environ=environ, env_file=None)


def test_an_issuer_may_say_all_of_it() -> None:
    """Keys, algorithms, audience, the client that we are there, and its stream of security events."""
    settings = load(issuers=json.dumps({NAME: {
        "jwks_url": "https://login.example.com/jwks", "algorithms": ["ES256", "RS256"], "audience": "api://a, api://b",
        "client_id": "app", "client_secret": SECRET, "post_logout_redirect_uri": "https://app.example.com/cb",
        "ssf": {"authorization_header": SECRET, "stream_id": "1", "poll_url": "https://login.example.com/poll",
                "poll_token": SECRET},
    }}), oidc_issuer=NAME)  # fmt: skip

    assert settings.providers == {NAME: Issuer(
        NAME, (), "https://login.example.com/jwks", ("ES256", "RS256"), ("api://a", "api://b"), "app", SECRET,
        "https://app.example.com/cb", Stream(SECRET, "1", "https://login.example.com/poll", SECRET),
    )}  # fmt: skip
    assert SECRET not in repr(settings)
    assert SECRET not in repr(settings.providers)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "is not JSON"), ("[]", "is not a JSON object"), ('"x"', "is not a JSON object"),
        ('{"login.example.com": {}}', "is not an issuer"), ('{"https://a.example/?q": {}}', "is not an issuer"),
        ('{"https://a.example/#f": {}}', "is not an issuer"), ('{"https://u@a.example": {}}', "is not an issuer"),
        ('{"ftp://a.example": {}}', "is not an issuer"), (f'{{"{NAME}": []}}', "must be an object of"),
        (f'{{"{NAME}": {{"secret": "{SECRET}"}}}}', "must be an object of"),
        (f'{{"{NAME}": {{"client_id": 5}}}}', "client_id of issuer"),
        (f'{{"{NAME}": {{"client_secret": ""}}}}', "client_secret of issuer"),
        (f'{{"{NAME}": {{"keys": ["{SECRET}"], "jwks_url": "https://a.example/jwks"}}}}', "keep one of them"),
        (f'{{"{NAME}": {{"jwks_url": "http://a.example/jwks"}}}}', "is not https"),
        (f'{{"{NAME}": {{"keys": []}}}}', "holds no key"),
        (f'{{"{NAME}": {{"algorithms": "none"}}}}', f"issuer '{NAME}'"),
        (f'{{"{NAME}": {{"post_logout_redirect_uri": "/cb"}}}}', "is not an address"),
        (f'{{"{NAME}": {{"ssf": []}}}}', "ssf of issuer"), (f'{{"{NAME}": {{"ssf": {{"x": "y"}}}}}}', "ssf of issuer"),
        (f'{{"{NAME}": {{"ssf": {{"stream_id": 5}}}}}}', "stream_id of issuer"),
        (f'{{"{NAME}": {{"ssf": {{"poll_url": "http://a.example/{SECRET}"}}}}}}', "is not https"),
    ],
)  # fmt: skip
def test_a_mistake_in_it_is_told_without_its_secrets(value: str, message: str) -> None:
    """At start, by the name of the variable."""
    with pytest.raises(ConfigurationError, match="E002 LOGOUT_ISSUERS: ") as caught:
        load(issuers=value)

    assert message in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "mistake"),
    [
        ({"oidc_issuer": NAME}, "E114 LOGOUT_OIDC_CLIENT_ID"),
        ({"endpoints": "logout, oidc"}, "E114 LOGOUT_OIDC_CLIENT_ID"),
        ({"oidc_client_id": "app"}, "E115 LOGOUT_OIDC_CLIENT_ID"),
        ({"oidc_client_secret": SECRET}, "E115 LOGOUT_OIDC_CLIENT_SECRET"),
        ({"oidc_post_logout_redirect_uri": "https://a.example/cb"}, "E115 LOGOUT_OIDC_POST_LOGOUT_REDIRECT_URI"),
        ({"oidc_issuer": "http://op.example", "oidc_client_id": "app"}, "E118 issuer 'http://op.example'"),
        ({"issuers": '{"http://op.example": {}}'}, "E118 issuer 'http://op.example'"),
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other_are_told(given: dict[str, str], mistake: str) -> None:
    """Nobody starts with a provider that cannot work."""
    with pytest.raises(ConfigurationError, match=mistake) as caught:
        load(**given)

    assert SECRET not in str(caught.value)


def test_private_addresses_allow_plain_http() -> None:
    """For a test machine."""
    settings = load(oidc_issuer="http://localhost:3000", oidc_client_id="app", private_addresses="true")

    assert settings.providers["http://localhost:3000"].client_id == "app"
    assert "oidc" in settings.groups


def test_one_issuer_said_twice_is_one() -> None:
    """The keys that verify its tokens verify its logout tokens, and its users are our own."""
    settings = load(
        jwt_issuer=NAME, jwks_url="https://login.example.com/jwks", jwt_algorithms="ES256", oidc_issuer=NAME,
        oidc_client_id="app", issuers=json.dumps({NAME: {"client_secret": SECRET}}),
    )  # fmt: skip

    own = settings.providers[NAME]
    assert (own.jwks_url, own.algorithms) == ("https://login.example.com/jwks", ("ES256",))
    assert (own.client_id, own.client_secret) == ("app", SECRET)
    assert settings.own_issuers == {NAME}
