"""What is done to a site. Each injury breaks something, waits, and heals it; randomness comes from the seed.

`away` and `back` in the history frame the time in which a logout may be answered 202.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import socket
import sqlite3
import subprocess
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

from tests.services import Cluster, Postgres, Redis, Sentinels, until

from .topology import Site

Injury = Callable[[Site, random.Random], Any]


@contextlib.asynccontextmanager
async def _away(site: Site, what: str, break_it: Callable[[], Any], heal: Callable[[], Any]) -> AsyncIterator[None]:
    await site.do(what, break_it, op="away")
    try:
        yield
    finally:
        await site.do("healed", heal, op="back")


# ---- the store ---------------------------------------------------------------------------------------


async def kill_store(site: Site, chance: random.Random) -> None:
    """Kill -9 for the store (of several nodes: the primary), and start it again."""
    store = site.store
    primary = getattr(store, "primary", store)

    def heal() -> None:
        if isinstance(store, Sentinels):
            store.wait_for_failover(primary)
        if isinstance(store, Cluster):
            store.wait_until_whole()
        store.start()

    async with _away(site, "kill -9 for the store", primary.kill, heal):
        await asyncio.sleep(chance.uniform(0.2, 0.8))


async def restart_store(site: Site, chance: random.Random) -> None:
    """End every node of the store in order, and start them again."""
    nodes = getattr(site.store, "nodes", [site.store])

    def stop() -> None:
        for node in nodes:
            node.stop()

    async with _away(site, "restart of the store", stop, site.store.start):
        await asyncio.sleep(chance.uniform(0.1, 0.4))


async def hang_store(site: Site, chance: random.Random) -> None:
    """Nothing answers for a while, and no connection breaks."""
    async with _away(site, "the store hangs", site.store.pause, site.store.resume):
        await asyncio.sleep(chance.uniform(1.2, 1.8))


async def fill_redis(site: Site, chance: random.Random) -> None:
    """A memory limit below what is in use already, with writes of others on top; then it is lifted."""
    nodes = getattr(site.store, "nodes", [site.store])

    def fill() -> None:
        for node in nodes:
            used = int(node.call("INFO", "memory")["used_memory"])
            node.call("CONFIG", "SET", "maxmemory", used + 1_500_000)
        for number in range(300):
            with contextlib.suppress(Exception):
                nodes[0].call("SETEX", f"of-others:{number}", 3600, "x" * 10_000)

    def lift() -> None:
        for node in nodes:
            node.call("CONFIG", "SET", "maxmemory", 0)

    async with _away(site, "memory full", fill, lift):
        await asyncio.sleep(chance.uniform(1.5, 2.5))


async def flush(site: Site, chance: random.Random) -> None:
    """Somebody empties the store; an operator notices and adopts it."""
    store = site.store

    def empty() -> None:
        if isinstance(store, Postgres):
            tables = store.run("SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'")
            store.run(f"TRUNCATE {', '.join(name for (name,) in tables)}")
        for node in _primaries(store):
            node.call("FLUSHALL")

    await site.do("everything deleted", empty)
    await asyncio.sleep(chance.uniform(1.0, 1.5))
    await site.adopt()


def _primaries(store: Any) -> list[Redis]:
    if isinstance(store, Redis):
        return [store]
    return [node for node in getattr(store, "nodes", ()) if node.is_primary]


async def restore_old_copy(site: Site, chance: random.Random) -> None:
    """An operator brings back a copy from a while ago, and then adopts it."""
    copy = site.folder / "copy"
    take, bring_back = _copying(site.store, copy)
    await site.do("copy taken", take)
    await asyncio.sleep(chance.uniform(1.0, 1.5))
    async with _away(site, "old copy restored", bring_back, lambda: None):
        pass
    await asyncio.sleep(chance.uniform(0.8, 1.2))
    await site.adopt()
    shutil.rmtree(copy, ignore_errors=True)


def _copying(store: Any, copy: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """How to take a copy of a store, and how to bring it back in place."""
    if isinstance(store, Redis):
        # The append-only file up to now is a copy as good as any; a cut-off end of it is no error.
        def bring_back_aof() -> None:
            store.kill()
            shutil.rmtree(store.folder / "appendonlydir")
            shutil.copytree(copy, store.folder / "appendonlydir")
            store.start()

        return lambda: shutil.copytree(store.folder / "appendonlydir", copy), bring_back_aof
    if isinstance(store, Postgres):
        from tests.services import DATABASE, HOST, USER, binary

        address = ["-h", HOST, "-p", str(store.port), "-U", USER, "-d", DATABASE]

        def run(program: str, *options: str) -> None:
            subprocess.run([binary(program), *address, *options], check=True, capture_output=True)

        return (
            lambda: run("pg_dump", "-Fc", "-f", str(copy) + ".dump"),
            lambda: run("pg_restore", "--clean", "--single-transaction", str(copy) + ".dump"),
        )

    def into(source: Any, target: Any) -> None:
        with contextlib.closing(sqlite3.connect(source)) as one, contextlib.closing(sqlite3.connect(target)) as other:
            one.backup(other)

    return lambda: into(store, str(copy) + ".db"), lambda: into(str(copy) + ".db", store)


async def lock_sqlite(site: Site, chance: random.Random) -> None:
    """Another program holds the write lock of the file, for longer than a logout waits for it."""
    held = await asyncio.to_thread(lambda: sqlite3.connect(site.store, check_same_thread=False, isolation_level=None))
    async with _away(site, "write lock held", lambda: held.execute("BEGIN IMMEDIATE"), held.close):
        await asyncio.sleep(chance.uniform(5.2, 5.8))


# ---- workers and the way to the store ----------------------------------------------------------------


async def kill_worker(site: Site, chance: random.Random) -> None:
    """Kill -9 for one worker, and start it again."""
    worker = chance.choice(site.workers)
    await site.do(f"kill -9 for {worker.name}", worker.kill)
    await asyncio.sleep(chance.uniform(0.1, 0.4))
    await site.do(f"{worker.name} started", worker.start)


async def kill_all_workers(site: Site, chance: random.Random) -> None:
    """Kill -9 for all workers at once, and start them again."""
    await site.do("kill -9 for all workers", site.restart_workers)


async def move_clock(site: Site, chance: random.Random) -> None:
    """One worker's clock is an hour fast, then an hour slow, then right."""
    worker = chance.choice(site.workers)
    for offset in (3600, -3600, 0):
        await site.do(
            f"clock of {worker.name} {offset:+d} s", lambda offset=offset: worker.clock.write_text(str(offset))
        )
        await asyncio.sleep(chance.uniform(0.7, 1.0))


async def cut_feed(site: Site, chance: random.Random) -> None:
    """The connections on which workers wait for changes break; new ones are allowed."""

    def cut() -> None:
        if isinstance(site.store, Postgres):
            site.store.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                "AND query ILIKE 'LISTEN%'"
            )
        for node in _primaries(site.store):
            node.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    for _ in range(3):
        await site.do("feeds cut", cut)
        await asyncio.sleep(chance.uniform(0.3, 0.6))


async def cut_off_last_worker(site: Site, chance: random.Random) -> None:
    """Host b cannot reach the store: at first nothing comes through, then connections are refused."""
    proxy = site.proxy
    for what, harm in {"silent": proxy.hold, "refusing": proxy.cut}.items():
        async with _away(site, f"the way of w3 to the store is {what}", harm, proxy.heal):
            await asyncio.sleep(chance.uniform(1.0, 1.6))
        await asyncio.sleep(0.3)


class Proxy:
    """A way to the store that can be held up or cut. It runs in threads of its own, apart from the load."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._open = threading.Event()
        self._open.set()
        self._refusing = False
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self) -> None:
        """Keep all connections, and let nothing through."""
        self._open.clear()

    def cut(self) -> None:
        """Break all connections, and new ones at once."""
        self._refusing = True
        for each in list(self._sockets):
            self._end(each)

    def heal(self) -> None:
        """Let everything through."""
        self._refusing = False
        self._open.set()

    def close(self) -> None:
        """End it."""
        self._listener.close()
        self.cut()
        self._open.set()

    def _end(self, *sockets: socket.socket) -> None:
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
            self._sockets.discard(each)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
            except OSError:
                if self._listener.fileno() < 0:
                    return
                near.close()
                continue
            if self._refusing:
                self._end(near, far)
                continue
            self._sockets |= {near, far}
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._open.wait()
                target.sendall(data)
        self._end(source, target)


async def split_brain(site: Site, chance: random.Random) -> None:
    """The primary and the first Sentinel are cut off from the others, which elect another one.

    Clients reach both sides: the first worker asks that Sentinel only, the others all of them.
    """
    sentinels, old = site.store, site.store.primary
    others = [node.host for node in sentinels.nodes if node is not old]
    rules = [rule for host in others for rule in ((old.host, host), (host, old.host))]

    def change(action: str) -> None:
        for source, target in rules:
            rule = ["ip", "rule", action, "pref", "10", "from", source, "to", target, "blackhole"]
            subprocess.run(rule, check=True)

    def heal() -> None:
        change("del")
        until(lambda: not old.is_primary, "the old primary to follow the new one")
        sentinels.start()

    async with _away(site, f"{old.host} cut off", lambda: change("add"), heal):
        await site.do("another one elected", lambda: until(lambda: sentinels.elected_without(old), "an election"))
        await asyncio.sleep(chance.uniform(2.5, 3.5))


def prepare_network() -> None:
    """In a network namespace of our own: bring up the loopback, and let rules come before the local table."""
    for command in ("ip link set lo up", "ip rule add pref 1000 lookup local", "ip rule del pref 0"):
        subprocess.run(command.split(), check=True)
