"""The pages a person may see: the question, the goodbye, the way on, and what went wrong.

No script but the one line of the way on, a policy of their own, every value and every text escaped here.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from html import escape
from importlib import resources
from string import Template

from ..rules import redirects
from ..rules.http import NO_STORE, Response
from .words import Words


@lru_cache(maxsize=1)
def _template() -> tuple[Template, str]:
    """The page and the CSP source of its style, whose hash lets it pass without 'unsafe-inline'."""
    text = resources.files("logout_middleware.browser").joinpath("page.html").read_text("utf-8")
    style = text.partition("<style>")[2].partition("</style>")[0]
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    return Template(text), f"'sha256-{digest}'"


# What each page draws above its title: a door and the way out, a tick, an exclamation mark.
_DOOR = '<path class="door" d="M13 4H6v16h7M10 12h11M17 8l4 4-4 4"/>'
_TICK = '<path d="M4 13l5 5L20 6"/>'
_MARK = '<path d="M12 4v10M12 19.5v.5"/>'


def confirm(
    words: Words, action: str, hidden: Mapping[str, str], *, cancel: str, target: str, private: bool,
    provider: str | None = None,
) -> Response:  # fmt: skip
    """Ask before logging out. `private`: the address carried a token, so nothing of it may leave by Referer.

    `target` is where the logout will lead, by way of the `provider` if there is one: browsers hold every redirect of
    a form against form-action, too.
    """
    body = _form(action, hidden, words["confirm_button"]) + _way(cancel, words["confirm_cancel"])
    page = _Page(words, words["confirm_title"], words["confirm_text"], body, _DOOR, private=private)
    return page.response(leads_to=source(target) + _anywhere_by(provider))


def source(target: str) -> str:
    """The CSP source of a redirect target: its origin, or its scheme alone; nothing for a path of our own."""
    found = redirects.source_of(target)
    return "" if found is None else f" {found}"


def _anywhere_by(provider: str | None) -> str:
    """The CSP sources of a way over this address: where a provider leads its browsers, only it knows."""
    return "" if provider is None else f" https:{source(provider)}"


_SUBMIT = "document.forms[0].submit()"


def onward(words: Words, action: str, hidden: Mapping[str, str]) -> Response:
    """Go on to the provider with parameters that are too long for an address; by itself, or by the button."""
    body = f"{_form(action, hidden, words['onward_button'])}<script>{_SUBMIT}</script>"
    digest = b64encode(hashlib.sha256(_SUBMIT.encode()).digest()).decode("ascii")
    page = _Page(words, words["onward_title"], words["onward_text"], body, _DOOR, private=True)
    return page.response(leads_to=_anywhere_by(action), script=f"; script-src 'sha256-{digest}'")


def signed_out(words: Words, login: str, *, private: bool = False) -> Response:
    """Say that nobody is logged in here."""
    body = f'<a class="button" href="{escape(login)}">{escape(words["signed_out_link"])}</a>'
    page = _Page(words, words["signed_out_title"], words["signed_out_text"], body, _TICK, private=private)
    return page.response()


def problem(words: Words, status: int, code: str, detail: str) -> Response:
    """An error for a person. `detail`: the English message for programs, which is safe to show.

    It is shown below where the code has no words of its own: then only it says what is wrong.
    """
    name, title = f"error_{code}", f"error_{code}_title"
    body = "" if name in words else f'<p class="detail" lang="en" dir="ltr">{escape(detail)}</p>'
    body += _way("/", words["error_back"])
    name, title = name if name in words else "error_text", title if title in words else "error_title"
    return _Page(words, words[title], words[name], body, _MARK, private=True).response(status)


def _form(action: str, hidden: Mapping[str, str], label: str) -> str:
    fields = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in hidden.items()
    )
    return (
        f'<form method="post" action="{escape(action)}">{fields}<button type="submit">{escape(label)}</button></form>'
    )


def _way(address: str, label: str) -> str:
    """A link to somewhere else."""
    return f'<p class="way"><a href="{escape(address)}">{escape(label)}</a></p>'


@dataclass(frozen=True, slots=True)
class _Page:
    """What stands on a page; `title` and `text` are not escaped yet, `body` is HTML."""

    words: Words
    title: str
    text: str
    body: str
    icon: str
    private: bool = field(kw_only=True)

    def response(self, status: int = 200, *, leads_to: str = "", script: str = "") -> Response:
        """The page, and the policy that lets its own style pass, and nothing else but what is named here."""
        template, style = _template()
        html = template.substitute(
            language=escape(self.words.language), direction=self.words.direction, icon=self.icon,
            title=escape(self.title), text=escape(self.text), body=self.body,
        )  # fmt: skip
        policy = (
            f"default-src 'none'; style-src {style}{script}; form-action 'self'{leads_to}; base-uri 'none'; "
            "frame-ancestors 'none'"
        )
        headers = (
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Language", self.words.language),
            NO_STORE,
            ("Content-Security-Policy", policy),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer" if self.private else "same-origin"),
            ("Vary", "Cookie, Authorization, Accept-Language, Sec-Fetch-Site, Origin"),
        )
        return Response(status, headers, html.encode("utf-8"))
