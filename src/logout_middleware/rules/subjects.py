"""Whom a subject identifier names (RFC 9493; SSF 1.0 section 3): a user, a session, or both together.

What cannot be mapped to exactly that is never widened: it is `Unmappable`, and nobody is logged out by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_COMPLEX = frozenset({"user", "session", "device", "tenant"})


class Malformed(ValueError):
    """Not a subject identifier; the message is safe to show."""


class Unmappable(ValueError):
    """A subject identifier that names nothing we know; the message is safe to show."""


@dataclass(frozen=True, slots=True)
class Subject:
    """All that it says must be true together. `issuer`: whose `user` it is, if that is said."""

    user: str | None = None
    session: str | None = None
    issuer: str | None = None
    is_email: bool = False


def read_simple(value: Any) -> Subject:
    """The user of an identifier by email, issuer and subject, or opaque id."""
    members = _members(value)
    kind = _text(members, "format")
    if kind == "email":
        address = _text(members, "email")
        name, at, domain = address.rpartition("@")
        if not (name and at and domain):
            raise Malformed("the email of the subject is no address")
        return Subject(user=address, is_email=True)
    if kind == "iss_sub":
        return Subject(user=_text(members, "sub"), issuer=_text(members, "iss"))
    if kind == "opaque":
        return Subject(user=_text(members, "id"))
    raise Unmappable("subjects of this format cannot be mapped; email, iss_sub and opaque can")


def read_subject(value: Any, *, opaque_is_session: bool) -> Subject:
    """The subject of a security event. `opaque_is_session`: an opaque id that stands alone is a session's (CAEP 3.1).

    In a complex subject a device or a tenant narrows what it stands with (SSF 3.2). A session is on one device and in
    one tenant, and a user in one tenant of an issuer, so there they change nothing. A user's devices are unknown here.
    """
    members = _members(value)
    kind = _text(members, "format")
    if kind == "complex":
        return _read_complex(members)
    subject = read_simple(members)
    if kind == "opaque" and opaque_is_session:
        return Subject(session=subject.user)
    return subject


def _read_complex(members: Mapping[str, Any]) -> Subject:
    given = {name: _members(value) for name, value in members.items() if name != "format"}
    if not given:
        raise Malformed("the complex subject names nobody")
    # SSF 3.6: a member that narrows the subject and is not understood makes it another subject.
    if set(given) - _COMPLEX:
        raise Unmappable("the complex subject has a member that is not understood")
    for value in given.values():
        _text(value, "format")
    session = _session(given["session"]) if "session" in given else None
    user = read_simple(given["user"]) if "user" in given else Subject()
    if session is None and user.user is None:
        raise Unmappable("the complex subject names neither a user nor a session")
    if session is None and "device" in given:
        raise Unmappable("which of a user's sessions are on a device is not known here")
    return Subject(user.user, session, user.issuer, user.is_email)


def _session(value: Mapping[str, Any]) -> str:
    if value["format"] != "opaque":
        raise Unmappable("a session can only be named by an opaque id")
    return _text(value, "id")


def _members(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Malformed("the subject is not an object")
    return value


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str) or not value:
        raise Malformed(f"the {name} of the subject is not a text")
    return value
