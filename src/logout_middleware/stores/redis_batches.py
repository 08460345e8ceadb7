"""All lookups that wait in one turn of an event loop share one question to the server.

Each caller waits on a future of its own, and the question belongs to a task of ours that nobody else can cancel: a
caller that is cancelled takes nothing with it, and can receive nobody's answer. While as many questions are under
way as may be, those who come are collected for the next one.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from ..errors import StoreError

Found = Mapping[bytes, bytes]
_Waiting = list[tuple[Sequence[bytes], "asyncio.Future[Found]", float]]

_AT_ONCE = 4
_CALLERS = 256


class Batches:
    """The lookups of one event loop. `look` asks for keys, and has until a moment of the monotonic clock."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        look: Callable[[Sequence[bytes], float], Awaitable[Found]],
        deadline: float,
    ) -> None:
        self.pid = os.getpid()
        self._loop, self._look, self._deadline = loop, look, deadline
        self._waiting: _Waiting = []
        self._running = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def find(self, keys: Sequence[bytes]) -> asyncio.Future[Found]:
        """To be awaited: what was found, of these keys and of others."""
        future: asyncio.Future[Found] = self._loop.create_future()
        if not self._waiting and self._running < _AT_ONCE:
            self._running += 1
            self._loop.call_soon(self._start)
        self._waiting.append((keys, future, time.monotonic() + self._deadline))
        return future

    def _start(self) -> None:
        task = self._loop.create_task(self._serve())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_CALLERS], self._waiting[_CALLERS:]
                # The deadline of whoever waits longest is that of all who share the question.
                await self._answer(batch, batch[0][2])
        except asyncio.CancelledError:
            _fail(self._waiting, StoreError("the event loop is ending"))
            raise
        finally:
            # Nothing is awaited between the last look at the list and this: nobody is left behind.
            self._running -= 1

    async def _answer(self, batch: _Waiting, until: float) -> None:
        # Whoever was cancelled meanwhile is not asked for.
        wanted = {key: None for keys, future, _ in batch if not future.done() for key in keys}
        if not wanted:
            return
        try:
            found = await self._look(list(wanted), until)
        except asyncio.CancelledError:
            _fail(batch, StoreError("the event loop is ending"))
            raise
        # Whatever it is, it belongs to those who asked, not to this task.
        except Exception as error:  # noqa: BLE001
            _fail(batch, error)
            return
        for _, future, _ in batch:
            if not future.done():
                future.set_result(found)


def _fail(batch: _Waiting, error: Exception) -> None:
    for _, future, _ in batch:
        if not future.done():
            # One for each: a traceback grows in every task that raises it.
            own = type(error)(str(error)) if isinstance(error, StoreError) else StoreError(str(error))
            own.__cause__ = error
            future.set_exception(own)
