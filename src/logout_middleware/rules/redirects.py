"""Where a logout may send the browser (contract 4.2).

A target must equal an entry of the allow-list byte for byte (RFC 3986 6.2.1, RFC 9700 2.1); nothing is
normalised, because every parser normalises differently. The one pattern is `https://*.host/path`, where
the star is exactly one label.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

_ALLOWED_CHARACTERS = re.compile(r"[\x21\x23-\x3b\x3d\x3f-\x5b\x5d\x5f\x61-\x7a\x7e]+\Z")
# They quote, end a directive or a list, or begin what is never sent: addresses that we ask have none of them.
_SPECIAL = frozenset("'\";,#")
_PLACE = re.compile(r"[A-Za-z0-9.\-:\[\]]+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*")
_LABEL = r"(?!xn--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)+"
_WILDCARD = re.compile(rf"https://\*\.({_HOST}(?::[0-9]{{1,5}})?)(/[^*]*)\Z")
_ABSOLUTE = re.compile(r"[a-z][a-z0-9+.\-]*:")
_MAX_TARGET = 2048


def is_allowed(target: str, allowed: Iterable[str]) -> bool:
    """Does this target equal an entry of the list, or fit a wildcard entry?"""
    if len(target) > _MAX_TARGET or not _ALLOWED_CHARACTERS.match(target):
        return False
    return any(_fits(target, entry) for entry in allowed)


def is_plain(address: str) -> bool:
    """Is this an absolute address that can stand in a header field or a policy, and means there what it means here?"""
    if not _ALLOWED_CHARACTERS.match(address) or not _SPECIAL.isdisjoint(address):
        return False
    with contextlib.suppress(ValueError):
        return bool(_PLACE.fullmatch(urlsplit(address).netloc))
    return False


def source_of(target: str) -> str | None:
    """The origin of this target, or its scheme alone, as a policy names it; None where it has neither."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return None
    if not _SCHEME.fullmatch(parts.scheme):
        return None
    if not parts.netloc:
        return f"{parts.scheme}:"
    return f"{parts.scheme}://{parts.netloc}" if _PLACE.fullmatch(parts.netloc) else None


def _fits(target: str, entry: str) -> bool:
    if "*" not in entry:
        return target == entry
    wildcard = _WILDCARD.match(entry)
    if wildcard is None:
        return False
    host, path = wildcard.groups()
    label, dot, rest = target.removeprefix("https://").partition(".")
    return target.startswith("https://") and bool(re.fullmatch(_LABEL, label)) and dot + rest == f".{host}{path}"


def fault_in_entry(entry: str) -> str | None:
    """What is wrong with an entry of an allow-list, for the operator; None if it can match something."""
    if not _ALLOWED_CHARACTERS.match(entry):
        return "has characters that an address cannot have"
    if "*" in entry:
        return None if _WILDCARD.match(entry) else "uses '*'; the only pattern is https://*.example.com/path"
    if entry.startswith("/") and not entry.startswith(("//", "/\\")):
        return None
    if not _ABSOLUTE.match(entry):
        return f"has no scheme; write https://{entry.lstrip('/')} or a path that starts with one '/'"
    if entry.startswith(("javascript:", "data:", "vbscript:", "file:", "blob:")):
        return "has a scheme that runs or reads something"
    return None
