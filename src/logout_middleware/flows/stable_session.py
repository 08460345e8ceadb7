"""A stable session id in signed cookie sessions.

A framework signs a session cookie again and again; each copy is another text, and all of them are one login.
Where we hold the secret, every session that the application sets without an id of its own gets one. The
application carries it along as part of its session, so an old copy, or a later one, is still this session.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..rules import signed_cookies
from ..rules.cookies import GuardedCookie
from ..rules.identity import ADDED_SESSION_ID, IdentityPolicy, new_session_id

SIGNED_FORMATS = frozenset({"auto", "flask", "starlette", "django"})


@dataclass(slots=True)
class StableSessions:
    """Adds the ids. `entropy` gives a new unguessable text each time."""

    policy: IdentityPolicy
    cookies: Sequence[GuardedCookie]
    clock: Callable[[], float]
    entropy: Callable[[], str]

    @property
    def needed(self) -> bool:
        """Is there a cookie whose sessions we can sign? If not, no answer needs to be looked at."""
        return bool(self.policy.cookie_secrets) and any(each.format in SIGNED_FORMATS for each in self.cookies)

    def rewritten(self, headers: list[tuple[str, str]], *, at: float | None = None) -> list[tuple[str, str]]:
        """An answer's headers, its guarded sessions with an id. `at`: when the request began, and they with it."""
        return [
            (name, self.rewrite(value, at=at) if name.lower() == "set-cookie" else value) for name, value in headers
        ]

    def rewrite(self, set_cookie: str, *, at: float | None = None) -> str:
        """This Set-Cookie value, with an id in its session if that has none; anything else as it is."""
        pair, semicolon, attributes = set_cookie.partition(";")
        name, _, value = pair.partition("=")
        guarded = next((each for each in self.cookies if each.name == name.strip()), None)
        if guarded is None or guarded.format not in SIGNED_FORMATS:
            return set_cookie
        bare = value.strip().strip('"')
        forms = signed_cookies.FORMATS if guarded.format == "auto" else (guarded.format,)
        for form in forms:
            cookie = signed_cookies.read(bare, signed_cookies.FORMATS[form], self.policy.cookie_secrets)
            if cookie is not None and cookie.verified_by is not None:
                added = new_session_id(
                    cookie.session, self.policy, now=self.clock() if at is None else at, entropy=self.entropy()
                )
                if added is None:
                    return set_cookie
                quote = '"' if value.strip().startswith('"') else ""
                signed = signed_cookies.with_member(cookie, ADDED_SESSION_ID, added)
                return f"{name}={quote}{signed}{quote}{semicolon}{attributes}"
        return set_cookie
