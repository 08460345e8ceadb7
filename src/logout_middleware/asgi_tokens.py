"""ASGI answers of a login or a refresh, which hand out tokens in their body."""

from __future__ import annotations

from collections.abc import Callable

from .asgi_messages import Message, Send, is_json_answer
from .flows.answers import MAX_TOKEN_ANSWER, Answers, Began

_BEFORE_START = ("http.response.debug", "http.response.early_hint", "http.response.push")
"""Messages that may come before the start of the answer that they are about."""


class TokenAnswer:
    """Holds the answer of a login or refresh back until its tokens are dealt with.

    What is no JSON passes at once, and so does what is no success: an error may repeat tokens, and issues none.
    """

    def __init__(self, answers: Answers, began: Callable[[], Began], fields: set[str], send: Send) -> None:
        self._answers, self._began, self._fields, self._send = answers, began, fields, send
        self._start: Message | None = None
        self._parts = bytearray()

    async def send(self, message: Message) -> None:
        """Forward this message, or keep it until the last."""
        kind = message["type"]
        if kind == "http.response.start" and 200 <= message["status"] < 300 and is_json_answer(message):
            self._start = message
        elif self._start is None or kind in _BEFORE_START:
            await self._send(message)
        elif kind != "http.response.body":
            # The body, or the rest of it, comes by a way that we do not see, e.g. `http.response.pathsend`.
            start, self._start = self._start, None
            await self._send(start)
            if self._parts:
                await self._send({"type": "http.response.body", "body": bytes(self._parts), "more_body": True})
            await self._send(message)
        else:
            self._parts += message.get("body", b"")
            more = message.get("more_body", False)
            if more and len(self._parts) <= MAX_TOKEN_ANSWER:
                return
            start, self._start = self._start, None
            await self._send(start if len(self._parts) > MAX_TOKEN_ANSWER else await self._dealt_with(start))
            await self._send({**message, "body": bytes(self._parts)})

    async def _dealt_with(self, start: Message) -> Message:
        lines = [value.decode("latin-1") for name, value in start["headers"] if name.lower() == b"set-cookie"]
        texts = self._answers.tokens_in(bytes(self._parts), self._fields)
        await self._answers.tokens(texts, lines, self._began())
        return start
