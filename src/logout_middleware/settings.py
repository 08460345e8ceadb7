"""LogoutSettings: every LOGOUT_* variable, with its default and its reason.

The environment, keyword arguments and a `.env` file give the same; keywords win over the environment, the
environment over the file. `LOGOUT_X_FILE` names a file that holds the value of a secret. All mistakes are
reported together. How texts become values is in `values.py`, the presets are in `presets.py`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from . import issuers as issuers_
from . import values
from .errors import ConfigurationError
from .issuers import Issuer
from .presets import NONE, PRESETS, Preset
from .rules import redirects
from .rules.cookies import GuardedCookie
from .values import Client, RateLimit, TokenPath

PREFIX = "LOGOUT_"
# Kubernetes sets these for a service named "logout" (contract 5).
_NOT_OURS = ("LOGOUT_PORT", "LOGOUT_SERVICE_")


def _setting(parse: Any, default: Any, doc: str, *, secret: bool = False) -> Any:
    metadata = {"parse": parse, "doc": doc, "secret": secret}
    if isinstance(default, dict):
        return field(default_factory=dict, repr=not secret, metadata=metadata)
    return field(default=default, repr=not secret, metadata=metadata)


def default_of(each: Field[Any]) -> Any:
    """The default of a setting."""
    return each.default if each.default is not MISSING else {}


@dataclass(frozen=True)
class LogoutSettings:
    """One checked set of settings. Build it with `LogoutSettings.load(...)`; values may be texts or parsed.

    Raises ConfigurationError that lists every mistake.
    """

    store: str = _setting(
        values.store_url,
        "sqlite:///logout.db",
        "`sqlite:///path`, which every worker of the host shares; `redis://` `rediss://` `redis+sentinel://h1:26379,"
        "h2:26379/service/0` `redis+cluster://h1:7000,h2:7000` `postgresql+psycopg://` `mysql+pymysql://`; `memory://`",
        secret=True,
    )
    max_staleness: float = _setting(
        values.duration,
        0.0,
        "above 0, a copy in memory answers that is never older, where the store is behind a network; 0: every request "
        "knows every logout",
    )
    store_deadline: float = _setting(values.duration, 0.25, "the longest that a guarded request waits for the store")
    journal: str | None = _setting(
        values.text, None, "a file on this host that keeps logouts (answered 202) while the store is away"
    )
    redis_wait: int = _setting(values.whole, 0, "Redis replicas that must confirm a logout before it is acknowledged")
    fail_mode: str = _setting(
        values.one_of("closed", "open"),
        "closed",
        "what a guarded request gets while the store is away: 503, or it passes",
    )
    key_prefix: str = _setting(values.text, "logout:", "names the tables of one application in a shared store")
    mode: str = _setting(
        values.one_of("enforce", "observe"),
        "enforce",
        "`observe` refuses nothing and reports what it would have refused",
    )
    preset: str | None = _setting(
        values.one_of(*PRESETS),
        None,
        "reproduces one published logout, or sets the time-outs of a NIST assurance level: "
        + ", ".join(f"`{name}`" for name in PRESETS),
    )
    jwt_key: tuple[str, ...] = _setting(
        values.keys, (), "verifies JWTs: secrets, or PEM public keys; several for rotation (commas, or a JSON list)",
        secret=True,
    )  # fmt: skip
    jwks_url: str | None = _setting(values.key_url, None, "or the address of the keys: https, or http on loopback")
    jwt_algorithms: tuple[str, ...] = _setting(values.algorithms, (), "pinned; required with a key, e.g. `RS256`")
    jwt_issuer: str | None = _setting(values.text, None, "our `iss`; makes a user's tokens and cookies one user")
    jwt_audience: tuple[str, ...] = _setting(values.listed, (), "accepted `aud`, any of them")
    jwt_leeway: float = _setting(values.duration, 0.0, "tolerated clock difference to the issuer")
    cookies: tuple[GuardedCookie, ...] = _setting(
        values.cookies, (GuardedCookie("session", "auto"), GuardedCookie("sessionid", "opaque")),
        "guarded cookies, `name:format`; formats `auto jwt flask starlette django opaque`; a scope other than the "
        "default as in Set-Cookie: `sid:jwt; Path=/app; Domain=example.com`",
    )  # fmt: skip
    cookie_secret: tuple[str, ...] = _setting(
        values.keys, (), "the secret of `flask`, `starlette` and `django` cookies; several for rotation", secret=True
    )
    user_claim: tuple[str, ...] = _setting(
        values.listed, ("sub", "user_id", "_user_id", "_auth_user_id"), "the first found names the user"
    )
    session_claim: tuple[str, ...] = _setting(values.listed, ("sid",), "the first found names the session")
    max_lifetime: float = _setting(
        values.duration, 400 * 86400.0, "the longest any credential lives; a verified one issued earlier is refused"
    )
    revoked_cookie: str = _setting(
        values.one_of("anonymous", "reject"), "anonymous", "a revoked cookie makes an anonymous visitor, or a 401"
    )
    exempt_paths: tuple[str, ...] = _setting(values.paths, (), "never guarded: exact, or a prefix that ends in `/`")
    prefix: str = _setting(values.prefix, "/auth", "where the endpoints are")
    endpoints: tuple[str, ...] = _setting(
        values.endpoints, ("logout", "sessions", "browser"), "which groups are served"
    )
    aliases: tuple[str, ...] = _setting(
        values.paths, (), "further paths of the logout, e.g. `/logout,/api/auth/logout`"
    )
    scope: str = _setting(values.one_of("local", "others", "global"), "local", "what a logout ends if it does not say")
    require_credential: bool = _setting(values.boolean, False, "401 for a logout without any credential")
    redirect_url: str = _setting(values.text, "/login", "where a redirect logout ends; itself always allowed")
    redirect_allow: tuple[str, ...] = _setting(
        values.listed, (), "further targets, compared byte for byte; `https://*.example.com/path` is the only pattern"
    )
    on_get: str = _setting(
        values.one_of("confirm", "allow", "deny"), "confirm", "a GET without proof of intent asks, logs out, or is 405"
    )
    clients: Mapping[str, Client] = _setting(
        values.clients,
        {},
        'JSON: `{"id": {"secret": "…", "redirect_uris": ["…"], "feed": true}}`; `feed`: may read every revocation',
        secret=True,
    )
    public_url: str | None = _setting(values.origin, None, "our own origin, e.g. `https://app.example.com`")
    trusted_origins: tuple[str, ...] = _setting(values.origins, (), "other origins whose pages may log out here")
    trusted_proxies: tuple[str, ...] = _setting(
        values.networks, (), "addresses or networks that may set X-Forwarded-For and -Proto"
    )
    rate_limit: RateLimit | None = _setting(
        values.rate_limit, RateLimit(20, 300.0), "logouts per user and time, or `off`"
    )
    clear_site_data: tuple[str, ...] = _setting(values.site_data, (), "sent with a logout, e.g. `storage`")
    secret: tuple[str, ...] = _setting(
        values.keys, (), "signs links and forms; several for rotation; needed for `logout_url()`", secret=True
    )
    revoke_bound: bool = _setting(
        values.boolean, True, "a logout ends the session of each verified credential, and all that is of the same login"
    )
    token_requests: tuple[TokenPath, ...] = _setting(
        values.token_paths, (), "body fields that carry tokens: `POST /refresh: refresh_token; POST /token: token`"
    )
    token_responses: tuple[TokenPath, ...] = _setting(
        values.token_paths,
        (),
        "members of login and refresh answers that carry tokens, e.g. `POST /login: access_token`: "
        "they are bound to their login; and a dead bearer is taken out there, so that a login works",
    )
    idle_timeout: float | None = _setting(
        values.lasting, None, "a verified login that nobody used for so long is ended, exact to a twentieth or a minute"
    )
    absolute_timeout: float | None = _setting(
        values.lasting, None, "a verified login is ended so long after it began, however busy it is"
    )
    on_browser_close: bool = _setting(
        values.boolean, False, "guarded cookies end with the browser, and the kit logs out when the last page is closed"
    )
    passive_paths: tuple[str, ...] = _setting(
        values.paths, (), "paths that a page asks for by itself, which is no activity: exact, or a prefix ending in `/`"
    )
    max_sessions: int | None = _setting(values.counted, None, "a further session of a user ends his oldest")
    allow_unsafe_store: bool = _setting(values.boolean, False, "start on a store that can forget, without a warning")
    audit: str = _setting(values.one_of("json", "text", "off"), "json", "form of the audit log")

    oidc_issuer: str | None = _setting(
        issuers_.issuer_name, None,
        "the OpenID provider that logs our users in: its `sid` and `sub` are those in our sessions. Switches `oidc` on",
    )  # fmt: skip
    oidc_client_id: str | None = _setting(values.text, None, "what the provider knows this application as")
    oidc_client_secret: str | None = _setting(
        values.text, None, "with it, tokens are revoked at the provider, too, if it can", secret=True
    )
    oidc_post_logout_redirect_uri: str | None = _setting(
        issuers_.landing, None,
        "where the provider sends the browser back to, as registered there: `<PUBLIC_URL>/auth/logout/callback`",
    )  # fmt: skip
    issuers: Mapping[str, Issuer] = _setting(
        issuers_.issuers, {},
        "JSON, where one issuer is not enough: `{\"https://…\": {\"jwks_url\", \"keys\", \"algorithms\", "
        "\"audience\", \"client_id\", \"client_secret\", \"post_logout_redirect_uri\", \"ssf\"}}`",
        secret=True,
    )  # fmt: skip
    private_addresses: bool = _setting(
        values.boolean, False, "a provider may be on this host or in a private network, and speak plain http there"
    )
    admin_key: tuple[str, ...] = _setting(
        values.keys, (), "switches `admin` on: the bearer key of operators, at least 32 bytes; several for rotation",
        secret=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        mistakes = list(self._read_fields())
        if not mistakes:
            object.__setattr__(self, "cookies", self.preset_rules.completed(self.cookies))
            mistakes = list(self._contradictions())
        if mistakes:
            raise ConfigurationError(mistakes)

    def _read_fields(self) -> Iterator[str]:
        for each in fields(self):
            given = getattr(self, each.name)
            if given == default_of(each):
                continue
            name = PREFIX + each.name.upper()
            try:
                object.__setattr__(self, each.name, each.metadata["parse"](given))
            except ValueError as error:
                yield f"E002 {name}: {error}"

    def _contradictions(self) -> Iterator[str]:
        keyed = bool(self.jwt_key) or self.jwks_url is not None
        if keyed and not self.jwt_algorithms:
            yield "E101 LOGOUT_JWT_ALGORITHMS: required with a key, so that no token chooses; write e.g. RS256 or HS256"
        if self.jwt_algorithms and not keyed:
            yield "E102 LOGOUT_JWT_ALGORITHMS: has no key to go with; set LOGOUT_JWT_KEY or LOGOUT_JWKS_URL"
        if self.jwt_key and self.jwks_url:
            yield "E103 LOGOUT_JWKS_URL: LOGOUT_JWT_KEY is set, too; keep one of them"
        for name, entries in self._redirect_lists():
            for entry in entries:
                fault = redirects.fault_in_entry(entry)
                if fault:
                    yield f"E104 {name}: {entry!r} {fault}"
        given = {each.name for each in fields(self) if getattr(self, each.name) != default_of(each)}
        yield from self.preset_rules.missing(given, self.preset, keyed=keyed or bool(self.providers))
        yield from self._store_contradictions()
        yield from self._verifying_contradictions(keyed=keyed)
        yield from self._group_contradictions()
        names = [cookie.name for cookie in self.cookies]
        for twice in sorted({name for name in names if names.count(name) > 1}):
            yield f"E106 LOGOUT_COOKIES: {twice!r} is named twice"

    def _verifying_contradictions(self, *, keyed: bool) -> Iterator[str]:
        """What groups of endpoints need, so that none of them answers what it cannot know."""
        keyed = keyed or bool(self.providers)
        if "check" in self.groups and not keyed and not self.cookie_secret:
            yield (
                "E112 LOGOUT_ENDPOINTS: 'check' says who is logged in, so it must verify credentials; set "
                "LOGOUT_JWT_KEY, LOGOUT_JWKS_URL, LOGOUT_COOKIE_SECRET or LOGOUT_OIDC_ISSUER"
            )
        if "oauth" in self.endpoints and not keyed:
            # Without a key every token would be called inactive, silently.
            yield (
                "E112 LOGOUT_ENDPOINTS: 'oauth' says which tokens are alive, so it must verify them; set "
                "LOGOUT_JWT_KEY, LOGOUT_JWKS_URL or LOGOUT_OIDC_ISSUER"
            )
        for group in sorted({"check", "oauth"} & self.groups):
            for issuer in self.providers.values():
                if not issuer.audience and issuer.client_id is None:
                    yield (
                        f"E127 LOGOUT_ISSUERS: {group!r} would say yes to every token of {issuer.name}, also to those "
                        "made for others; give it an audience or a client_id"
                    )

    def _group_contradictions(self) -> Iterator[str]:
        """What groups of endpoints need beside keys."""
        if "oauth" in self.groups and not any(client.secret for client in self.clients.values()):
            yield 'E113 LOGOUT_CLIENTS: the group oauth serves clients with a secret; write {"id": {"secret": "…"}}'
        if "oidc" in self.groups and not any(each.client_id for each in self.providers.values()):
            yield "E114 LOGOUT_OIDC_CLIENT_ID: required with LOGOUT_OIDC_ISSUER: logout tokens are addressed to it"
        if "push" in self.groups and not self.providers and not any(each.feed for each in self.clients.values()):
            yield (
                "E119 LOGOUT_ENDPOINTS: 'push' has nobody to hear from and nobody to tell; set LOGOUT_ISSUERS, or "
                '"feed": true in LOGOUT_CLIENTS'
            )
        for name in ("oidc_client_id", "oidc_client_secret", "oidc_post_logout_redirect_uri"):
            if getattr(self, name) is not None and self.oidc_issuer is None:
                yield f"E115 {PREFIX}{name.upper()}: has no provider to go with; set LOGOUT_OIDC_ISSUER"
        if "admin" in self.groups and not self.admin_key:
            yield "E116 LOGOUT_ADMIN_KEY: LOGOUT_ENDPOINTS=admin needs it"
        if any(len(key.encode("utf-8")) < 32 for key in self.admin_key):
            yield "E117 LOGOUT_ADMIN_KEY: is shorter than 32 bytes and can be guessed; `openssl rand -hex 32` makes one"
        yield from issuers_.contradictions(
            self.providers, self.issuers, ours=self.oidc_issuer, pushed="push" in self.groups,
            private=self.private_addresses,
        )  # fmt: skip

    def _store_contradictions(self) -> Iterator[str]:
        if self.redis_wait and self.store.partition(":")[0] not in values.REDIS_SCHEMES:
            yield "E107 LOGOUT_REDIS_WAIT: LOGOUT_STORE is not a Redis; remove it"
        if self.journal is not None and self.store.startswith("sqlite:///"):
            if Path(self.journal).absolute() == Path(self.store.removeprefix("sqlite:///")).absolute():
                yield "E108 LOGOUT_JOURNAL: is the file of LOGOUT_STORE; it must outlive it, so name another file"
        if not 0.01 <= self.store_deadline <= 60:
            yield "E109 LOGOUT_STORE_DEADLINE: must be from 10ms to 60s; the default is 250ms"
        if 0 < self.max_staleness < 0.1:
            yield "E110 LOGOUT_MAX_STALENESS: a copy cannot prove that it is so young; write 0, or 100ms and more"

    def _redirect_lists(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        yield "LOGOUT_REDIRECT_URL", (self.redirect_url,)
        yield "LOGOUT_REDIRECT_ALLOW", self.redirect_allow
        for client in self.clients.values():
            yield "LOGOUT_CLIENTS", client.redirect_uris

    @property
    def groups(self) -> frozenset[str]:
        """The groups of endpoints that are served: those of LOGOUT_ENDPOINTS, and those that a setting switches on."""
        implied = {"oidc"} if self.oidc_issuer is not None else set()
        implied |= self.preset_rules.groups
        return frozenset({*self.endpoints, *implied, *(["admin"] if self.admin_key else [])})

    @property
    def providers(self) -> Mapping[str, Issuer]:
        """All issuers beside JWT_KEY and JWKS_URL, by name: LOGOUT_ISSUERS, and that of LOGOUT_OIDC_ISSUER."""
        found = {name: self._completed(each) for name, each in self.issuers.items()}
        if self.oidc_issuer is None:
            return found
        own = found.get(self.oidc_issuer) or self._completed(Issuer(self.oidc_issuer))
        own = replace(
            own, client_id=self.oidc_client_id or own.client_id,
            client_secret=self.oidc_client_secret or own.client_secret,
            post_logout_redirect_uri=self.oidc_post_logout_redirect_uri or own.post_logout_redirect_uri,
        )  # fmt: skip
        return {**found, self.oidc_issuer: own}

    def _completed(self, issuer: Issuer) -> Issuer:
        """What the other variables say of one of our own issuers holds, unless its entry says something else."""
        if issuer.name in self.own_issuers and not issuer.audience:
            issuer = replace(issuer, audience=self.jwt_audience)
        if issuer.name == self.jwt_issuer and not issuer.keys and issuer.jwks_url is None:
            # One issuer, said twice: the keys that verify its tokens verify its logout tokens.
            algorithms = self.jwt_algorithms or issuer.algorithms
            issuer = replace(issuer, keys=self.jwt_key, jwks_url=self.jwks_url, algorithms=algorithms)
        return issuer

    @property
    def own_issuers(self) -> frozenset[str]:
        """The issuers whose users and sessions are our own (contract 2, Realm)."""
        return frozenset(name for name in (self.jwt_issuer, self.oidc_issuer) if name is not None)

    @property
    def preset_rules(self) -> Preset:
        """What the preset fixes beyond settings."""
        return PRESETS[self.preset] if self.preset else NONE

    @classmethod
    def load(
        cls, environ: Mapping[str, str] | None = None, *, env_file: str | Path | None = ".env",
        defaults: Mapping[str, Any] | None = None, **given: Any,
    ) -> LogoutSettings:  # fmt: skip
        """The settings of the environment (default: this process's), a `.env` file and keywords.

        A keyword is a field's name; unknown names, keyword or variable, are mistakes. `defaults` are in place of those
        written here: whatever says anything else wins over them.
        """
        environment = dict(os.environ if environ is None else environ)
        found = _from_file(env_file) | {name: value for name, value in environment.items() if name.startswith(PREFIX)}
        known = {each.name: each for each in fields(cls)}
        mistakes = [_unknown(name, known) for name in found if not _is_known(name, known)]
        mistakes += [_unknown(PREFIX + name.upper(), known) for name in given if name not in known]
        texts, unreadable = _read_secret_files(found, known)
        chosen: dict[str, Any] = texts | {name: value for name, value in given.items() if name in known}
        preset = PRESETS.get(str(chosen.get("preset") or "").strip())
        chosen = {**(defaults or {}), **(preset.defaults if preset else {}), **chosen}
        try:
            settings = cls(**chosen)
        except ConfigurationError as error:
            raise ConfigurationError([*mistakes, *unreadable, *error.mistakes]) from None
        if mistakes or unreadable:
            raise ConfigurationError([*mistakes, *unreadable])
        return settings


def _from_file(path: str | Path | None) -> dict[str, str]:
    """The LOGOUT_* lines of a `.env` file, `NAME=value` with optional quotes; nothing if there is no such file."""
    if path is None or not Path(path).is_file():
        return {}
    found = {}
    for line in Path(path).read_text("utf-8").splitlines():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        value = value.strip()
        if equals and name.strip().startswith(PREFIX):
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
            found[name.strip()] = value[1:-1] if quoted else value
    return found


def _is_known(name: str, known: Mapping[str, Field[Any]]) -> bool:
    bare = name.removeprefix(PREFIX).lower()
    return bare in known or bare.removesuffix("_file") in known or name.startswith(_NOT_OURS)


def _unknown(name: str, known: Mapping[str, Field[Any]]) -> str:
    names = [PREFIX + each.upper() for each in known]
    near = difflib.get_close_matches(name, names, n=1)
    return f"E001 {name}: there is no such setting" + (f"; did you mean {near[0]}?" if near else "")


def _read_secret_files(found: Mapping[str, str], known: Mapping[str, Field[Any]]) -> tuple[dict[str, Any], list[str]]:
    texts: dict[str, Any] = {}
    mistakes = []
    for variable, value in found.items():
        name = variable.removeprefix(PREFIX).lower()
        if name in known:
            if value.strip():  # an empty variable is how a shell or a compose file says "not set"
                texts[name] = value
            continue
        name = name.removesuffix("_file")
        if name not in known or variable.startswith(_NOT_OURS):
            continue
        if PREFIX + name.upper() in found:
            mistakes.append(f"E004 {variable}: {PREFIX}{name.upper()} is set, too; keep one of them")
            continue
        try:
            texts[name] = Path(value).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            mistakes.append(f"E005 {variable}: cannot read {value!r} ({type(error).__name__}); name a readable file")
    return texts, mistakes
