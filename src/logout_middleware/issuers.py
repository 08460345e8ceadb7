"""Whose signatures count beside our own: OpenID providers and transmitters of security events (LOGOUT_ISSUERS).

What one issuer says concerns only what that issuer issued. How its keys are fetched is in `providers.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from . import values
from .rules import redirects

_TEXTS = ("client_id", "client_secret", "post_logout_redirect_uri")
_MEMBERS = frozenset({"keys", "jwks_url", "algorithms", "audience", "ssf", *_TEXTS})
_STREAM_MEMBERS = frozenset({"authorization_header", "stream_id", "poll_url", "poll_token"})


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream of security events from this issuer (SSF 1.0).

    `authorization_header`: what its pushes carry. `poll_url`, `poll_token`: where to ask for them instead (RFC 8936).
    """

    authorization_header: str | None = field(default=None, repr=False)
    stream_id: str | None = None
    poll_url: str | None = None
    poll_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Issuer:
    """One issuer. Its keys are `keys`, else those at `jwks_url`, else those that its discovery document names.

    `audience`: the `aud` of its access tokens; its logout tokens are for `client_id`, its security events for either.
    """

    name: str
    keys: tuple[str, ...] = field(default=(), repr=False)
    jwks_url: str | None = None
    algorithms: tuple[str, ...] = ("RS256",)
    audience: tuple[str, ...] = ()
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    post_logout_redirect_uri: str | None = None
    stream: Stream | None = None

    @property
    def addressees(self) -> tuple[str, ...]:
        """Whom what it sends to us is for: the `aud` of its security events."""
        return (*self.audience, *([self.client_id] if self.client_id else []))


def issuer_name(value: Any) -> str:
    """An `iss`: an address without query or fragment (OpenID Connect Core 2), compared byte for byte."""
    name = values.text(value)
    parts = urlsplit(name)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.query or parts.fragment or "@" in name:
        raise ValueError(f"{name!r} is not an issuer; write its address, e.g. https://login.example.com")
    return name


def landing(value: Any) -> str:
    """Where a provider sends the browser back to: an absolute address, as it is registered there."""
    address = values.text(value)
    if urlsplit(address).scheme not in ("https", "http") or redirects.fault_in_entry(address) or "*" in address:
        raise ValueError(f"{address!r} is not an address; write e.g. https://app.example.com/auth/logout/callback")
    return address


def issuers(value: Any) -> Mapping[str, Issuer]:
    """JSON of issuers by name; the secrets are never shown in a message."""
    found = values.json_object(value, like='{"https://login.example.com": {"client_id": "…"}}')
    return {
        issuer_name(name): each if isinstance(each, Issuer) else _issuer(name, each) for name, each in found.items()
    }


def contradictions(
    known: Mapping[str, Issuer], listed: Mapping[str, Issuer], *, ours: str | None, pushed: bool, private: bool
) -> Iterator[str]:
    """What cannot work or would be ignored, so that nobody believes that it works.

    `listed`: as LOGOUT_ISSUERS has them; `known`: with what other settings say of them, and `ours` among them.
    """
    for name, issuer in known.items():
        stream = issuer.stream
        if name.startswith("http:") and not private:
            yield f"E118 issuer {name!r}: is not https; on a test machine set LOGOUT_PRIVATE_ADDRESSES=true"
        if stream is not None and stream.poll_url is None and not pushed:
            yield f"E120 issuer {name!r}: its ssf is pushed to nobody; add push to LOGOUT_ENDPOINTS, or a poll_url"
        if stream is not None and not issuer.addressees:
            yield f"E121 issuer {name!r}: nobody is the aud of its ssf; write its client_id or audience"
    for name, issuer in listed.items():
        for member in ("client_secret", "post_logout_redirect_uri"):
            if name != ours and getattr(issuer, member) is not None:
                yield f"E122 issuer {name!r}: its {member} is never used; only that of LOGOUT_OIDC_ISSUER is"


def _issuer(name: str, value: Any) -> Issuer:
    if not isinstance(value, dict) or set(value) - _MEMBERS:
        raise ValueError(f"issuer {name!r} must be an object of {', '.join(sorted(_MEMBERS))}")
    given: dict[str, Any] = {}
    for member in _TEXTS:
        if value.get(member) is not None:
            given[member] = _text(value, member, name)
    if "keys" in value and "jwks_url" in value:
        raise ValueError(f"issuer {name!r} has keys and a jwks_url; keep one of them")
    try:
        if "keys" in value:
            given["keys"] = values.keys(value["keys"])
        if "jwks_url" in value:
            given["jwks_url"] = values.key_url(value["jwks_url"])
        if "algorithms" in value:
            given["algorithms"] = values.algorithms(value["algorithms"])
        if "audience" in value:
            given["audience"] = values.listed(value["audience"])
        if "post_logout_redirect_uri" in given:
            given["post_logout_redirect_uri"] = landing(given["post_logout_redirect_uri"])
    except ValueError as error:
        raise ValueError(f"issuer {name!r}: {error}") from None
    if value.get("ssf") is not None:
        given["stream"] = _stream(name, value["ssf"])
    return Issuer(name, **given)


def _stream(name: str, value: Any) -> Stream:
    if not isinstance(value, dict) or set(value) - _STREAM_MEMBERS:
        raise ValueError(f"ssf of issuer {name!r} must be an object of {', '.join(sorted(_STREAM_MEMBERS))}")
    texts = {member: _text(value, member, name) for member in value}
    if "poll_url" in texts:
        try:
            values.key_url(texts["poll_url"])
        except ValueError:
            raise ValueError(f"poll_url of issuer {name!r} is not https, or no plain address") from None
    return Stream(**texts)


def _text(value: Mapping[str, Any], member: str, name: str) -> str:
    text = value[member]
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{member} of issuer {name!r} is not a text")
    return text
