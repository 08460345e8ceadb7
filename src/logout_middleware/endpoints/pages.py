"""The two pages a person may see: the question, and the goodbye. No script, own CSP, every value escaped here."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from functools import lru_cache
from html import escape
from importlib import resources
from string import Template

from ..rules import redirects
from ..rules.http import NO_STORE, Response


@lru_cache(maxsize=1)
def _template() -> tuple[Template, str]:
    """The page and the CSP source of its style, whose hash lets it pass without 'unsafe-inline'."""
    text = resources.files("logout_middleware.browser").joinpath("page.html").read_text("utf-8")
    style = text.partition("<style>")[2].partition("</style>")[0]
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    return Template(text), f"'sha256-{digest}'"


def confirm(
    action: str, hidden: Mapping[str, str], *, cancel: str, target: str, private: bool, provider: str | None = None
) -> Response:
    """Ask before logging out. `private`: the address carried a token, so nothing of it may leave by Referer.

    `target` is where the logout will lead, by way of the `provider` if there is one: browsers hold every redirect of
    a form against form-action, too.
    """
    body = (
        f'<form method="post" action="{escape(action)}">{_hidden(hidden)}'
        '<button type="submit">Log out</button></form>'
        f'<p><a href="{escape(cancel)}">Stay logged in</a></p>'
    )
    text = "You are about to log out of this site on this device."
    return _page(200, "Log out?", text, body, private=private, leads_to=source(target) + _anywhere_by(provider))


def source(target: str) -> str:
    """The CSP source of a redirect target: its origin, or its scheme alone; nothing for a path of our own."""
    found = redirects.source_of(target)
    return "" if found is None else f" {found}"


def _anywhere_by(provider: str | None) -> str:
    """The CSP sources of a way over this address: where a provider leads its browsers, only it knows."""
    return "" if provider is None else f" https:{source(provider)}"


_SUBMIT = "document.forms[0].submit()"


def onward(action: str, hidden: Mapping[str, str]) -> Response:
    """Go on to the provider with parameters that are too long for an address; by itself, or by the button."""
    body = f'<form method="post" action="{escape(action)}">{_hidden(hidden)}<button type="submit">Go on</button></form>'
    digest = b64encode(hashlib.sha256(_SUBMIT.encode()).digest()).decode("ascii")
    text = "You are logged out here. Your login provider is next."
    return _page(
        200, "Logging out", text, f"{body}<script>{_SUBMIT}</script>", private=True, leads_to=_anywhere_by(action),
        script=f"; script-src 'sha256-{digest}'",
    )  # fmt: skip


def _hidden(fields: Mapping[str, str]) -> str:
    return "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in fields.items()
    )


def signed_out(login: str, *, private: bool = False) -> Response:
    """Say that nobody is logged in here."""
    body = f'<p><a class="button" href="{escape(login)}">Log in</a></p>'
    return _page(200, "You are logged out", "Nobody is logged in on this device.", body, private=private)


def problem(status: int, title: str, text: str) -> Response:
    """An error for a person; `text` is safe to show."""
    return _page(status, title, text, '<p><a href="/">Back to the site</a></p>', private=True)


def _page(
    status: int, title: str, text: str, body: str, *, private: bool, leads_to: str = "", script: str = ""
) -> Response:
    template, style = _template()
    html = template.substitute(title=escape(title), text=escape(text), body=body)
    policy = (
        f"default-src 'none'; style-src {style}{script}; form-action 'self'{leads_to}; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
    headers = (
        ("Content-Type", "text/html; charset=utf-8"),
        NO_STORE,
        ("Content-Security-Policy", policy),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer" if private else "same-origin"),
        ("Vary", "Cookie, Authorization, Sec-Fetch-Site, Origin"),
    )
    return Response(status, headers, html.encode("utf-8"))
