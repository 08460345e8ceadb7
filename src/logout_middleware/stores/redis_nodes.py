"""Which server holds what: one server, the master that Sentinels name, or the nodes of a Cluster.

The store speaks of partitions, not of servers. Where a partition may move, one that answered "not here" or not at
all is looked up again and asked once more, within the same deadline.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from redis.asyncio.connection import Connection as AsyncConnection
from redis.asyncio.connection import SSLConnection as AsyncSSLConnection
from redis.asyncio.connection import UnixDomainSocketConnection as AsyncUnixConnection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, NoScriptError, ReadOnlyError, ResponseError
from redis.retry import Retry

from ..errors import StoreError
from ..rules.redis_url import Address, RedisUrl
from .redis_lines import Answers, Command, Lines, NoAnswer
from .redis_packing import PARTS, tag
from .redis_scripts import as_eval

_CONNECTIONS: dict[tuple[str, bool], Any] = {
    ("tcp", True): Connection, ("tls", True): SSLConnection, ("unix", True): UnixDomainSocketConnection,
    ("tcp", False): AsyncConnection, ("tls", False): AsyncSSLConnection, ("unix", False): AsyncUnixConnection,
}  # fmt: skip
_SENTINEL_SECONDS = 1.0
_SENTINEL_PATIENCE = 0.05
_ELSEWHERE = (MovedError, ClusterDownError, ReadOnlyError)
_REMEDIES = (
    ("WRONGPASS", "check user and password in LOGOUT_STORE"),
    ("invalid username-password", "check user and password in LOGOUT_STORE"),
    ("Authentication required", "put user and password into LOGOUT_STORE"),
    ("unauthenticated", "put user and password into LOGOUT_STORE"),
    ("invalid password", "check the password in LOGOUT_STORE"),
    ("DB index", "check the database number at the end of LOGOUT_STORE"),
    ("permission", "allow this user EVALSHA, EVAL, WAIT and the keys of LOGOUT_KEY_PREFIX"),
    ("maxmemory", "its memory is full: raise maxmemory, and keep the policy noeviction"),
    ("read only replica", "name the master in LOGOUT_STORE, or use redis+sentinel://"),
    ("good replicas", "too few replicas follow it (min-replicas-to-write)"),
    ("MISCONF", "it cannot write to its disk"),
    ("non local key", "a slot is being moved; it can answer again when that is done"),
    ("MOVED", "it is a node of a Cluster: use redis+cluster:// in LOGOUT_STORE"),
    ("connecting to", "start it, or correct LOGOUT_STORE"),
    ("Timeout", "it did not answer within LOGOUT_STORE_DEADLINE"),
)


class Nodes:
    """One server. `blocking` chooses the colour."""

    moves = False
    cluster = False

    def __init__(self, url: RedisUrl, *, prefix: str, blocking: bool, deadline: float) -> None:
        self.url, self._blocking, self._deadline = url, blocking, deadline
        self._tags = [tag(prefix, part) for part in range(PARTS)]
        self.lines = Lines(lambda address: self._line(address), blocking=blocking)

    def _line(self, address: Address, *, sentinel: bool = False) -> Any:
        url = self.url
        options: dict[str, Any] = {
            # No HELLO, no CLIENT SETINFO: a connection is usable after AUTH and SELECT, in one round trip each.
            "protocol": 2, "driver_info": None, "socket_timeout": self._deadline if self._blocking else None,
            # Its own default would hide a hang for a minute.
            "retry": Retry(NoBackoff(), 0) if self._blocking else AsyncRetry(NoBackoff(), 0),
            "username": url.sentinel_username if sentinel else url.username,
            "password": url.sentinel_password if sentinel else url.password,
            "db": 0 if sentinel else url.db,
        }  # fmt: skip
        if address.port:
            options.update(host=address.host, port=address.port, **(dict(url.ssl_options) if url.tls else {}))
        else:
            options["path"] = address.host
        kind = "unix" if not address.port else "tls" if url.tls else "tcp"
        return _CONNECTIONS[kind, self._blocking](**options)

    # ---- where ---------------------------------------------------------------------------------------

    async def route(self, until: float) -> Sequence[Address]:
        """The server of each partition."""
        return self.url.addresses * PARTS

    def lost(self) -> None:
        """What `route` answered was wrong: find out again."""

    def groups(self, parts: Iterable[int]) -> list[list[int]]:
        """Partitions that one command may name together."""
        return [list(parts)]

    async def everyone(self, until: float) -> Sequence[Address]:
        """Every server that may come to hold records."""
        return tuple(dict.fromkeys(await self.route(until)))

    # ---- asking --------------------------------------------------------------------------------------

    async def ask(
        self, requests: Sequence[tuple[int, Command]], until: float, then: Command | None = None
    ) -> tuple[list[Any], list[Any]]:
        """The answers to commands, each sent to the server of its partition, in one round trip.

        And the answer of each server to `then`, which it gets after them on the same connection. Raises StoreError
        if any of them is an error.
        """
        try:
            return await self._ask_once(requests, until, then)
        except (NoAnswer, _Elsewhere) as error:
            self.lost()
            if not self.moves or time.monotonic() >= until:
                raise StoreError(self._text(error)) from error
        try:
            return await self._ask_once(requests, until, then)
        except (NoAnswer, _Elsewhere) as error:
            self.lost()
            raise StoreError(self._text(error)) from error

    async def _ask_once(
        self, requests: Sequence[tuple[int, Command]], until: float, then: Command | None
    ) -> tuple[list[Any], list[Any]]:
        route = await self.route(until)
        wanted: dict[Address, list[Command]] = {}
        places: dict[Address, list[int]] = {}
        for place, (part, command) in enumerate(requests):
            # Whole where something follows: what follows an unknown script would be done for nothing, and WAIT waits.
            wanted.setdefault(route[part], []).append(as_eval(command) if then else command)
            places.setdefault(route[part], []).append(place)
        if then is not None:
            for commands in wanted.values():
                commands.append(then)
        answers = await self.exchange(wanted, until)
        replies: list[Any] = [None] * len(requests)
        tails = []
        for address, found in answers.items():
            for place, reply in zip(places[address], found, strict=False):
                replies[place] = reply
            if then is not None:
                tails.append(found[-1])
        return replies, tails

    async def exchange(self, wanted: dict[Address, list[Command]], until: float) -> dict[Address, list[Any]]:
        """What these servers answer, no error among it; scripts that they do not know yet are sent whole."""
        answers = await self.lines.here().exchange(wanted, until)
        unknown = {
            address: [as_eval(command) for command in wanted[address]]
            for address, found in answers.items()
            if type(found) is list and any(type(reply) is NoScriptError for reply in found)
        }
        if unknown:
            answers |= await self.lines.here().exchange(unknown, until)
        return {address: self._sound(address, found) for address, found in answers.items()}

    def _sound(self, address: Address, found: list[Any] | NoAnswer) -> list[Any]:
        if type(found) is not list:
            raise NoAnswer(f"{address}: {found}")
        for reply in found:
            if isinstance(reply, ResponseError):
                if isinstance(reply, _ELSEWHERE) or "good replicas" in str(reply):
                    raise _Elsewhere(f"{address}: {explain(reply)}")
                raise StoreError(self._text(f"{address}: {explain(reply)}")) from reply
        return found

    def _text(self, error: object) -> str:
        text = str(error)
        for secret in self.url.secrets:
            text = text.replace(secret, "***")
        remedy = next((f"; {remedy}" for sign, remedy in _REMEDIES if sign in text), "")
        return f"the store {self.url} cannot answer: {text}{remedy}"

    async def close(self) -> None:
        """Close all connections."""
        await self.lines.close()


class _Elsewhere(StoreError):
    """This server does not hold the partition, or may not answer for it any more."""


class Sentinel(Nodes):
    """The master that the Sentinels name.

    They are asked when it is lost, and every second, because one that was cut off and replaced does not know it.
    """

    moves = True

    def __init__(self, url: RedisUrl, *, prefix: str, blocking: bool, deadline: float) -> None:
        super().__init__(url, prefix=prefix, blocking=blocking, deadline=deadline)
        self.sentinels = Lines(lambda address: self._line(address, sentinel=True), blocking=blocking)
        self._master: Address | None = None
        self._asked = 0.0

    async def route(self, until: float) -> Sequence[Address]:
        """See Nodes.route."""
        master, now = self._master, time.monotonic()
        if master is None or now - self._asked > _SENTINEL_SECONDS:
            # At once, so that one caller asks while the others go on.
            self._asked = now
            master = self._master = await self._find_master(until, master)
        return (master,) * PARTS

    def lost(self) -> None:
        """See Nodes.lost."""
        self._master = None

    async def _find_master(self, until: float, known: Address | None) -> Address:
        # The address is the new master's as soon as it is one; the other answer says how new that is.
        commands: list[Command] = [
            ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.url.service), ("SENTINEL", "MASTER", self.url.service),
        ]  # fmt: skip
        patience = time.monotonic() + max((until - time.monotonic()) / 4, _SENTINEL_PATIENCE)
        answers = await self.sentinels.here().exchange(dict.fromkeys(self.url.addresses, commands), patience)
        named = {}
        for found in answers.values():
            if type(found) is list and type(found[0]) is type(found[1]) is list:
                facts = dict(zip(found[1][::2], found[1][1::2], strict=True))
                named[int(facts[b"config-epoch"])] = Address(found[0][0].decode(), int(found[0][1]))
        if not named:
            # A master that answers is better than none: who cut it off will be told by `min-replicas-to-write`.
            if known is not None:
                return known
            raise NoAnswer(f"no Sentinel names a master of {self.url.service!r} ({_reasons(answers)})")
        # Those on the wrong side of a split still name the old one; a fail-over raises the epoch.
        master = named[max(named)]
        if master != known:
            await self._is_master(master, until)
        return master

    async def _is_master(self, address: Address, until: float) -> None:
        found = (await self.lines.here().exchange({address: [("ROLE",)]}, until))[address]
        if type(found) is not list:
            raise NoAnswer(f"{address}: {found}")
        if type(found[0]) is list and found[0][0] != b"master":
            raise _Elsewhere(f"{address} is named as the master, and is {found[0][0].decode()}")

    async def close(self) -> None:
        """See Nodes.close."""
        await self.sentinels.close()
        await super().close()


class Cluster(Nodes):
    """The nodes of a Cluster. Only its own errors make us look again where a partition is.

    A slot that is being moved is "cannot know" until it has arrived: during the move each side holds a part of it,
    and an ASK redirection would make the empty half answer.
    """

    moves = True
    cluster = True

    def __init__(self, url: RedisUrl, *, prefix: str, blocking: bool, deadline: float) -> None:
        super().__init__(url, prefix=prefix, blocking=blocking, deadline=deadline)
        self._slots = [key_slot(text.encode()) for text in self._tags]
        self._route: Sequence[Address] | None = None
        self._known: tuple[Address, ...] = url.addresses

    async def route(self, until: float) -> Sequence[Address]:
        """See Nodes.route."""
        if self._route is None:
            self._route = await self._look(until)
        return self._route

    def lost(self) -> None:
        """See Nodes.lost."""
        self._route = None

    def groups(self, parts: Iterable[int]) -> list[list[int]]:
        """Each has a slot of its own."""
        return [[part] for part in parts]

    async def everyone(self, until: float) -> Sequence[Address]:
        """Masters and replicas."""
        await self.route(until)
        return self._known

    async def _look(self, until: float) -> Sequence[Address]:
        reasons: Answers = {}
        candidates = tuple(dict.fromkeys((*self._known, *self.url.addresses)))
        for number, address in enumerate(candidates):
            now = time.monotonic()
            # A part of what is left for each, so that one that hangs does not use up the time of all.
            patience = now + max((until - now) / min(len(candidates) - number, 3), _SENTINEL_PATIENCE)
            found = (await self.lines.here().exchange({address: [("CLUSTER", "SLOTS")]}, patience))[address]
            if type(found) is list and type(found[0]) is list:
                route = self._routed(found[0], address)
                if route is not None:
                    # Who answered is asked first next time.
                    self._known = tuple(dict.fromkeys((address, *self._known)))
                    return route
            reasons[address] = found
            if time.monotonic() >= until:
                break
        raise NoAnswer(f"no node tells where all slots are ({_reasons(reasons)})")

    def _routed(self, ranges: list[Any], asked: Address) -> Sequence[Address] | None:
        owners: dict[int, Address] = {}
        seen: list[Address] = []
        for first, last, *servers in ranges:
            addresses = [Address(server[0].decode() if server[0] else asked.host, server[1]) for server in servers]
            seen += addresses
            owners.update((slot, addresses[0]) for slot in self._slots if first <= slot <= last)
        if any(slot not in owners for slot in self._slots):
            return None
        self._known = tuple(dict.fromkeys(seen))
        return [owners[slot] for slot in self._slots]


def explain(reply: ResponseError) -> str:
    """An error of the server in its words; redis-py cuts some of them off."""
    words = {MovedError: "MOVED", AskError: "ASK", ClusterDownError: "CLUSTERDOWN"}
    return " ".join(filter(None, (words.get(type(reply)), str(reply))))


def _reasons(answers: Answers) -> str:
    return "; ".join(
        f"{address}: {found if isinstance(found, NoAnswer) else 'no useful answer'}"
        for address, found in answers.items()
    )


def nodes_of(url: RedisUrl, *, prefix: str, blocking: bool, deadline: float) -> Nodes:
    """The servers that a URL means."""
    kind = {"sentinel": Sentinel, "cluster": Cluster}.get(url.kind, Nodes)
    return kind(url, prefix=prefix, blocking=blocking, deadline=deadline)
