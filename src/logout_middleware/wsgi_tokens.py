"""WSGI answers of a login or a refresh, which hand out tokens in their body."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

from .colour import run_blocking
from .flows.answers import MAX_TOKEN_ANSWER, Answers, Began

StartResponse = Callable[..., Any]


class TokenAnswer:
    """Holds the answer of a login or refresh back until its tokens are dealt with.

    What is no JSON passes at once, and so does what is no success: an error may repeat tokens, and issues none.
    """

    def __init__(
        self, answers: Answers, began: Callable[[], Began], fields: set[str], start_response: StartResponse
    ) -> None:  # fmt: skip
        self._answers, self._began, self._fields, self._start_response = answers, began, fields, start_response
        self._started: tuple[Any, ...] | None = None
        self._written = bytearray()
        self._write: Callable[[bytes], object] | None = None

    def start(self, status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Callable[[bytes], object]:
        """Remember how the answer starts; once that has left, it is for the server to say."""
        self._started = (status, headers, *exc_info)
        if self._write is not None:
            self._begin()
        return self._take

    def _take(self, data: bytes) -> None:
        """What `start_response` returns, for applications that write."""
        if self._write is None:
            self._written += data
        else:
            self._write(data)

    def body(self, chunks: Iterable[bytes]) -> Iterable[bytes]:
        """The whole body, or as much of it as may be held, and then the rest."""
        try:
            return self._held(chunks)
        except BaseException:
            _close(chunks)  # The server never sees it (PEP 3333).
            raise

    def _held(self, chunks: Iterable[bytes]) -> Iterable[bytes]:
        parts = iter(chunks)
        for part in parts:
            self._written += part
            if (self._started is not None and not self._is_read()) or len(self._written) > MAX_TOKEN_ANSWER:
                return self._passing(parts, chunks)
        if self._is_read():
            lines = [value for name, value in self._started[1] if name.lower() == "set-cookie"] if self._started else []
            texts = self._answers.tokens_in(bytes(self._written), self._fields)
            run_blocking(self._answers.tokens(texts, lines, self._began()))
        return self._passing(iter(()), chunks)

    def _is_read(self) -> bool:
        """Does the answer, as far as it is known, hand out tokens that we can read?"""
        return self._started is not None and self._started[0].startswith("2") and _is_json(self._started[1])

    def _passing(self, rest: Iterator[bytes], whole: Iterable[bytes]) -> Iterable[bytes]:
        self._begin()
        return _Joined(bytes(self._written), rest, whole)

    def _begin(self) -> None:
        if self._started is not None:
            self._write = self._start_response(*self._started)


class _Joined:
    """What was held of a body and the rest of it, closed as the body that it is."""

    def __init__(self, held: bytes, rest: Iterator[bytes], whole: Iterable[bytes]) -> None:
        self._parts, self._whole = chain([held], rest), whole

    def __iter__(self) -> Iterator[bytes]:
        return self._parts

    def close(self) -> None:
        """For the server (PEP 3333)."""
        _close(self._whole)


def _close(chunks: Iterable[bytes]) -> None:
    close = getattr(chunks, "close", None)
    if close is not None:
        close()


def _is_json(headers: list[tuple[str, str]]) -> bool:
    fields = {name.lower(): value for name, value in headers}
    kind = fields.get("content-type", "").partition(";")[0].strip().lower()
    return fields.get("content-encoding", "identity") == "identity" and (
        kind == "application/json" or kind.endswith("+json")
    )
