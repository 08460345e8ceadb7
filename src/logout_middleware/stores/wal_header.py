"""The 48 bytes that change with every commit: the header of SQLite's WAL index, read from shared memory.

`PRAGMA data_version` costs three system calls; looking at these bytes costs none, and says the same: the header
holds the salts, the number of frames and their running checksum, so equal bytes mean that nothing was committed
in between. A writer updates it before its commit returns (walIndexWriteHdr in SQLite's wal.c; the layout is fixed
by https://sqlite.org/walformat.html 2.1). Whoever cannot be watched this way is asked by the pragma.

The rule of this file: **a descriptor of the -shm file is never closed while SQLite has it open.** Closing any
descriptor of a file drops all POSIX locks that the process has on it, SQLite's own included.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

HEADER_BYTES = 48
_FORMAT = 3007000

# Watches that outlived their store: they stay open to the end of the process (see the rule above).
_kept_open: list[WalHeader] = []
_abandoned: list[int] = []


class WalHeader:
    """The WAL index header of one database; make it with `watch` after a connection has read from the database."""

    def __init__(self, shared_memory: Path, descriptor: int, view: mmap.mmap) -> None:
        self._shared_memory, self._descriptor, self._view = shared_memory, descriptor, view

    def read(self) -> bytes:
        """The header as it is now. Only while a connection of this process has the database open."""
        return self._view[:HEADER_BYTES]

    def release(self) -> None:
        """Let go after the store's connections were closed; at once if the file is gone, else with the process."""
        mine = os.fstat(self._descriptor)
        try:
            theirs = os.stat(self._shared_memory)
        except OSError:
            pass  # the last connection of all deleted it, so nobody has a lock on it
        else:
            if (mine.st_dev, mine.st_ino) == (theirs.st_dev, theirs.st_ino):
                _kept_open.append(self)
                return
        self._view.close()
        os.close(self._descriptor)

    def keep_open(self) -> None:
        """Never let go: a child of a fork, or a connection that is left as it is."""
        _kept_open.append(self)


def watch(database: Path) -> WalHeader | None:
    """The header of this database, or None where it cannot be watched (another system, another format)."""
    shared_memory = database.with_name(database.name + "-shm")
    try:
        descriptor = os.open(shared_memory, os.O_RDONLY)
    except OSError:
        return None
    try:
        view = mmap.mmap(descriptor, mmap.PAGESIZE, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        _abandoned.append(descriptor)
        return None
    header = WalHeader(shared_memory, descriptor, view)
    if struct.unpack("=I", header.read()[:4])[0] != _FORMAT:
        header.keep_open()
        return None
    return header
