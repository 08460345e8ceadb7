"""The texts of our pages, by language: those that we ship, and the operator's own (LOGOUT_TEXTS).

Both have one shape, language → name → text. Texts are plain text: whoever shows one escapes it. Which language a
visitor gets is in `endpoints/words.py`.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from .errors import ConfigurationError

Languages = Mapping[str, Mapping[str, str]]
"""Language tags in lower case, each with its texts by name."""

FALLBACK = "en"
DIRECTION = "dir"
"""The name that is no text: `ltr`, or `rtl` where the language is written from right to left."""
_DIRECTIONS = ("ltr", "rtl")
_TAG = re.compile(r"[a-z]{2,8}(-[a-z0-9]{1,8})*")  # RFC 5646 2.1, as far as a header needs it
_LIKE = '{"de": {"confirm_title": "Abmelden?"}}'


@cache
def shipped() -> Languages:
    """The texts of this package; each language has every name."""
    found: Languages = json.loads(
        resources.files("logout_middleware.browser").joinpath("texts.json").read_text("utf-8")
    )
    return found


def texts(value: Any) -> Languages:
    """The operator's texts: the path of a JSON file, the JSON itself, or a mapping.

    ConfigurationError with every mistake that is in it.
    """
    where, found = _read(value)
    if not isinstance(found, dict) or not all(isinstance(each, dict) for each in found.values()):
        raise ConfigurationError(f"E129 {where} is not an object of objects; write {_LIKE}")
    mistakes = [mistake for tag, named in found.items() for mistake in _mistakes(where, tag, named)]
    tags = [str(tag).lower() for tag in found]
    twice = sorted({tag for tag in tags if tags.count(tag) > 1})
    mistakes += [f"E130 {where} {tag!r} is there twice, in large and small letters; keep one of them" for tag in twice]
    if mistakes:
        raise ConfigurationError(mistakes)
    return {tag.lower(): dict(named) for tag, named in found.items()}


def completed(own: Languages) -> Languages:
    """All languages with all names: the operator's texts before ours.

    What a language lacks it takes from the one it is a kind of (`de-at` from `de`), and that from English.
    """
    found: dict[str, Mapping[str, str]] = {}
    shorter_first = sorted({FALLBACK, *shipped(), *own}, key=lambda tag: (tag != FALLBACK, tag.count("-"), tag))
    for tag in shorter_first:
        wider = next((found[each] for each in widening(tag) if each in found), found.get(FALLBACK, {}))
        found[tag] = {**wider, **shipped().get(tag, {}), **own.get(tag, {})}
    return found


def widening(tag: str) -> Iterator[str]:
    """The tag, and what it is a kind of, the nearest first: `de-at-1996`, `de-at`, `de` (RFC 4647 3.4)."""
    while tag:
        yield tag
        tag = tag.rpartition("-")[0]


def _read(value: Any) -> tuple[str, Any]:
    """How a message about it begins, and what is in it."""
    if not isinstance(value, str | Path):
        return "LOGOUT_TEXTS:", value
    where, written = "LOGOUT_TEXTS:", str(value).strip()
    if not written.startswith("{"):
        where = f"LOGOUT_TEXTS: {written!r}:"
        written = _content(written)
    try:
        return where, json.loads(written, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"E129 {where} is not JSON ({error}); write {_LIKE}") from None


def _content(path: str) -> str:
    try:
        return Path(path).read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        text = f"E128 LOGOUT_TEXTS: cannot read {path!r} ({type(error).__name__}); name a readable file in UTF-8"
        raise ConfigurationError(text) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        twice = sorted({name for name, _ in pairs if sum(name == each for each, _ in pairs) > 1})
        raise ValueError(f"{', '.join(map(repr, twice))} is there twice")
    return members


def _mistakes(where: str, tag: Any, named: Mapping[Any, Any]) -> Iterator[str]:
    """What is wrong with one language."""
    if not isinstance(tag, str) or not _TAG.fullmatch(tag.lower()):
        yield f"E130 {where} {tag!r} is not a language; write a tag such as de or pt-BR"
    names = shipped()[FALLBACK]
    for name, text in named.items():
        if name not in names:
            near = difflib.get_close_matches(str(name), names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"write {', '.join(names)}"
            yield f"E131 {where} {name!r} of {tag!r} is the name of no text; {hint}"
        elif name == DIRECTION and text not in _DIRECTIONS:
            yield f"E132 {where} {name!r} of {tag!r} is not {' or '.join(_DIRECTIONS)}"
        elif not isinstance(text, str) or not text.strip() or _is_broken(text):
            yield f"E132 {where} {name!r} of {tag!r} is not a text; write one, or remove it to have ours"


def _is_broken(text: str) -> bool:
    """Is there half a character in it, which no page could be made of?"""
    return any("\ud800" <= character <= "\udfff" for character in text)
