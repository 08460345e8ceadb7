"""The 48 bytes that change with every commit: the header of SQLite's WAL index, read from shared memory.

`PRAGMA data_version` costs three system calls; looking at these bytes costs none, and says the same: the header
holds the salts, the number of frames and their running checksum, so equal bytes mean that nothing was committed
in between. A writer updates it before its commit returns (walIndexWriteHdr in SQLite's wal.c; the layout is fixed
by https://sqlite.org/walformat.html 2.1). Whoever cannot be watched this way is asked by the pragma.

The rule of this file: **a descriptor of a -shm file is never closed while SQLite may have it open.** Closing any
descriptor of a file drops all POSIX locks that the process has on it, SQLite's own included. So each file is opened
once in a process, whoever watches it, and let go when it is gone from its folder: then nobody has a lock on it.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import sys
import threading
from pathlib import Path

HEADER_BYTES = 48
_FORMAT = 3007000

_open: dict[tuple[int, int], WalHeader] = {}
# Taken again by the same thread when a store is collected inside.
_opening = threading.RLock()


class WalHeader:
    """The WAL index header of one database, shared by all who watch it in this process; made by `watch`."""

    def __init__(self, shared_memory: Path, inode: tuple[int, int], descriptor: int, view: mmap.mmap) -> None:
        self._shared_memory, self._inode, self._descriptor, self._view = shared_memory, inode, descriptor, view
        self.is_readable = struct.unpack("=I", self.read()[:4])[0] == _FORMAT

    def read(self) -> bytes:
        """The header as it is now."""
        return self._view[:HEADER_BYTES]

    def is_in_place(self) -> bool:
        """Is this still the file in the folder? If not, other processes do not write to what we look at."""
        return _inode_of(self._shared_memory) == self._inode

    def close_descriptor(self) -> None:
        """Let go; the view goes by itself with the last one who holds this object."""
        os.close(self._descriptor)


def watch(database: Path) -> WalHeader | None:
    """The header of this database, or None where it cannot be watched (another system, another format).

    Ask after a connection of this process has read from the database, and at most once for each connection.
    """
    shared_memory = database.with_name(database.name + "-shm")
    with _opening:
        _let_go_of_the_gone()
        inode = _inode_of(shared_memory)
        header = _open.get(inode) if inode is not None else None
        if header is None:
            header = _opened(shared_memory)
        return header if header is not None and header.is_readable else None


def forget_gone() -> None:
    """Give back what was kept of files that are gone; to be called after connections were closed."""
    with _opening:
        _let_go_of_the_gone()


def _let_go_of_the_gone() -> None:
    for inode, header in list(_open.items()):
        if not header.is_in_place() and _open.pop(inode, None) is not None:
            header.close_descriptor()


def _opened(shared_memory: Path) -> WalHeader | None:
    with contextlib.suppress(OSError, ValueError):
        # CPython closes a descriptor of its own when a mapping fails, so a failure must come before the real one.
        mmap.mmap(-1, mmap.PAGESIZE).close()
        descriptor = os.open(shared_memory, os.O_RDONLY)
        status = os.fstat(descriptor)
        view = _mapped(descriptor) if status.st_size >= HEADER_BYTES else None
        if view is None:
            os.close(descriptor)  # empty: SQLite has never used it
            return None
        inode = (status.st_dev, status.st_ino)
        _open[inode] = WalHeader(shared_memory, inode, descriptor, view)
        return _open[inode]
    return None


def _mapped(descriptor: int) -> mmap.mmap:
    if sys.version_info >= (3, 13):
        return mmap.mmap(descriptor, mmap.PAGESIZE, access=mmap.ACCESS_READ, trackfd=False)
    return mmap.mmap(descriptor, mmap.PAGESIZE, access=mmap.ACCESS_READ)


def _inode_of(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
