"""The corpora themselves: complete, and the same as those that the projects share."""

from __future__ import annotations

import pytest

from . import corpus

FILES = [
    "README.md", "backchannel.jsonl", "credentials.jsonl", "exempt_paths.jsonl", "jwt_attacks.jsonl", "jwtkit.py",
    "key_collisions.jsonl", "logout_csrf.jsonl", "open_redirect.jsonl", "raw_http.jsonl",
    "rfc7009_7662.jsonl",
]  # fmt: skip
NUMBERS = {
    "backchannel": 72, "credentials": 188, "exempt_paths": 58, "jwt_attacks": 202, "key_collisions": 33,
    "logout_csrf": 38, "open_redirect": 479, "raw_http": 35, "rfc7009_7662": 53,
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_the_copy_of_a_corpus_equals_the_shared_one(name: str) -> None:
    """Where both exist, nobody may test against an old or weakened copy."""
    shared = corpus.SHARED / name if corpus.SHARED.is_dir() else corpus.OWN / name

    assert (corpus.OWN / name).read_bytes() == shared.read_bytes()


@pytest.mark.parametrize(("name", "number"), NUMBERS.items())
def test_a_corpus_is_complete_and_its_ids_are_its_own(name: str, number: int) -> None:
    """The README says how many cases there are; each is found by its id."""
    ids = [case["id"] for case in corpus.read(name)]

    assert len(ids) == len(set(ids)) == number


def test_a_macro_is_written_out_and_other_text_stays() -> None:
    """`<<unit|count>>` is the only macro."""
    assert corpus.expand({"a": ["x<<ab|3>>{GOOD}", 1, "<<;|2>>=<<\\|2>>"]}) == {"a": ["xababab{GOOD}", 1, ";;=\\\\"]}
