"""Connections to Redis servers, in both colours, with one deadline for everything that one call waits for.

redis-py makes and speaks each connection; what is here is who may use it when. A line is used by one exchange at a
time, and one on which anything went wrong is closed, never used again: no answer can reach the wrong caller.
Nothing is retried here. An error that a server answers is an answer, and stands among the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from redis.exceptions import RedisError, ResponseError

from ..errors import StoreError
from ..rules.redis_url import Address

Command = tuple[Any, ...]
Requests = Mapping[Address, Sequence[Command]]
Answers = dict[Address, "list[Any] | NoAnswer"]

_LINES = 64
_LEAST_SECONDS = 0.001
# Lines of a parent process: closing them here would end them there, so the child keeps them and never looks.
_inherited: list[object] = []


class NoAnswer(StoreError):
    """A server could not be reached, or did not answer in time."""


def _left(until: float) -> float:
    return max(until - time.monotonic(), _LEAST_SECONDS)


class BlockingLines:
    """Lines for threads. At most `_LINES` to one server; who comes then waits, within its own deadline."""

    def __init__(self, make: Callable[[Address], Any]) -> None:
        self.pid = os.getpid()
        self._make = make
        self._idle: defaultdict[Address, list[Any]] = defaultdict(list)
        self._room: defaultdict[Address, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(_LINES))
        self._busy: set[Any] = set()

    async def exchange(self, requests: Requests, until: float) -> Answers:
        """What each server answers to its commands, in their order. Never suspends."""
        lines: dict[Address, Any] = {}
        answers: Answers = {}
        try:
            # In one order for all threads, so that two never hold what the other waits for.
            for address in sorted(requests):
                try:
                    line = lines[address] = self._take(address, until)
                    line.send_packed_command(line.pack_commands(requests[address]), check_health=False)
                # UnicodeError: a host that cannot be a name.
                except (RedisError, OSError, TimeoutError, UnicodeError) as error:
                    answers[address] = NoAnswer(str(error))
            for address, line in lines.items():
                if address not in answers:
                    answers[address] = self._read(line, len(requests[address]), until)
        finally:
            for address, line in lines.items():
                self._give_back(address, line, whole=type(answers.get(address)) is list)
        return answers

    def _take(self, address: Address, until: float) -> Any:
        if not self._room[address].acquire(timeout=_left(until)):
            raise TimeoutError(f"all {_LINES} connections to {address} are in use")
        idle, line = self._idle[address], None
        try:
            while idle and line is None:
                line = self._usable(idle.pop())
            if line is None:
                line = self._make(address)
                line.socket_timeout = line.socket_connect_timeout = _left(until)
                line.connect()
        except BaseException:
            self._room[address].release()
            raise
        self._busy.add(line)
        return line

    @staticmethod
    def _usable(line: Any) -> Any:
        # A server that restarted has closed it, and an answer that nobody read would be the next caller's.
        with contextlib.suppress(RedisError, OSError):
            if not line.can_read(0):
                return line
        line.disconnect()
        return None

    def _read(self, line: Any, count: int, until: float) -> list[Any] | NoAnswer:
        answers: list[Any] = []
        try:
            for _ in range(count):
                try:
                    answers.append(line.read_response(timeout=_left(until)))
                except ResponseError as error:
                    answers.append(error)
        except (RedisError, OSError, TimeoutError) as error:
            return NoAnswer(str(error))
        return answers

    def _give_back(self, address: Address, line: Any, *, whole: bool) -> None:
        self._busy.discard(line)
        if whole:
            self._idle[address].append(line)
        else:
            line.disconnect()
            self._drop_idle(address)
        self._room[address].release()

    def _drop_idle(self, address: Address) -> None:
        idle = self._idle[address]
        with contextlib.suppress(IndexError):
            while True:
                idle.pop().disconnect()

    def close(self) -> None:
        """Close every line; who is waiting on one is told so."""
        for address in list(self._idle):
            self._drop_idle(address)
        for line in list(self._busy):
            line.disconnect()


class AsyncLines:
    """The same for the tasks of one event loop. Whoever is cancelled takes its line with it."""

    def __init__(self, make: Callable[[Address], Any]) -> None:
        self._make = make
        self._idle: defaultdict[Address, list[Any]] = defaultdict(list)
        self._room: defaultdict[Address, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_LINES))

    async def exchange(self, requests: Requests, until: float) -> Answers:
        """What each server answers to its commands, in their order."""
        if len(requests) == 1:
            ((address, commands),) = requests.items()
            return {address: await self._one(address, commands, until)}
        answers = await asyncio.gather(*(self._one(address, requests[address], until) for address in requests))
        return dict(zip(requests, answers, strict=True))

    async def _one(self, address: Address, commands: Sequence[Command], until: float) -> list[Any] | NoAnswer:
        try:
            async with asyncio.timeout(_left(until)), self._room[address]:
                return await self._speak(address, commands)
        except TimeoutError:
            error: Exception = TimeoutError(f"Timeout reading from {address}")
        except (RedisError, OSError) as caught:
            error = caught
        while self._idle[address]:
            await self._idle[address].pop().disconnect(nowait=True)
        return NoAnswer(str(error))

    async def _speak(self, address: Address, commands: Sequence[Command]) -> list[Any]:
        idle, line = self._idle[address], None
        while idle and line is None:
            line = idle.pop()
            if await line.can_read():
                await line.disconnect(nowait=True)
                line = None
        line = line or self._make(address)
        answers: list[Any] = []
        try:
            if not line.is_connected:
                await line.connect()
            await line.send_packed_command(line.pack_commands(commands), check_health=False)
            for _ in commands:
                try:
                    answers.append(await line.read_response())
                except ResponseError as error:
                    answers.append(error)
        except BaseException:
            await line.disconnect(nowait=True)
            raise
        idle.append(line)
        return answers

    async def close(self) -> None:
        """Close every line that is not in use."""
        for idle in self._idle.values():
            while idle:
                await idle.pop().disconnect()


class Lines:
    """The lines of this process, and under asyncio of this event loop: made when first asked for."""

    def __init__(self, make: Callable[[Address], Any], *, blocking: bool) -> None:
        self._make, self._blocking = make, blocking
        self._threads: BlockingLines | None = None
        self._pid = os.getpid()
        self._loops: dict[asyncio.AbstractEventLoop, tuple[AsyncLines, AsyncIterator[None]]] = {}

    def here(self) -> BlockingLines | AsyncLines:
        """Those that may be used here and now."""
        if self._blocking:
            lines = self._threads
            if lines is None or lines.pid != os.getpid():
                # What a parent process opened is closed, here only, when the last reference to it goes.
                lines = self._threads = BlockingLines(self._make)
            return lines
        if self._pid != os.getpid():
            _inherited.append(self._loops)
            self._pid, self._loops = os.getpid(), {}
        loop = asyncio.get_running_loop()
        known = self._loops.get(loop)
        return known[0] if known else self._open(loop)

    def _open(self, loop: asyncio.AbstractEventLoop) -> AsyncLines:
        lines = AsyncLines(self._make)
        # A loop ends its asynchronous generators before it closes: the one moment at which lines can be closed well.
        ending = self._close_with(loop, lines)
        with contextlib.suppress(StopIteration):
            ending.__anext__().__await__().__next__()
        self._loops[loop] = lines, ending
        return lines

    async def _close_with(self, loop: asyncio.AbstractEventLoop, lines: AsyncLines) -> AsyncIterator[None]:
        try:
            yield
        finally:
            self._loops.pop(loop, None)
            await lines.close()

    async def close(self) -> None:
        """Close the lines of this process, and those of this event loop; other loops close theirs when they end."""
        if self._threads is not None and self._threads.pid == os.getpid():
            self._threads.close()
        if self._loops and not self._blocking:
            with contextlib.suppress(RuntimeError):
                known = self._loops.get(asyncio.get_running_loop())
                if known:
                    await known[0].close()
