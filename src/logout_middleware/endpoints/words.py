"""In which language a page speaks to its visitor, and its words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header

from ..texts import DIRECTION, FALLBACK, Languages, widening

_LONGEST_FIELD = 1024


@dataclass(frozen=True, slots=True)
class Words:
    """The texts of one language, by name; not escaped."""

    language: str
    languages: Languages

    def __getitem__(self, name: str) -> str:
        return self.languages[self.language][name]

    def __contains__(self, name: str) -> bool:
        return name in self.languages[self.language]

    @property
    def direction(self) -> str:
        """`ltr` or `rtl`."""
        return self[DIRECTION]


def words(languages: Languages, accept_language: str | None) -> Words:
    """The words for who sent this Accept-Language field; English for who says nothing that we speak.

    That is the lookup of RFC 4647 3.4, so that `de-AT, en;q=0.9` gets German, and what has q=0 is not spoken.
    """
    asked = parse_accept_header((accept_language or "")[:_LONGEST_FIELD], LanguageAccept)
    refused = {tag.lower() for tag, quality in asked if quality == 0}
    found = next((tag for tag in _spoken(asked, languages) if tag not in refused), FALLBACK)
    return Words(found, languages)


def _spoken(asked: LanguageAccept, languages: Languages) -> Iterator[str]:
    """Which of our languages do, the dearest first."""
    for tag, quality in asked:
        if quality > 0:
            yield from (each for each in widening(tag.lower().replace("_", "-")) if each in languages)
