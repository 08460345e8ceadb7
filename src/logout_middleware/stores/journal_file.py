"""The journal's file: what waits for the store, how far its delivery came, and which store it is for."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigurationError, StoreError
from . import StoreForgot
from .epoch import Mark
from .sqlite import SqliteStore
from .sqlite_file import JOURNAL

if sys.platform != "win32":
    import fcntl

_WRITE_SECONDS = 1.0
_log = logging.getLogger("logout_middleware")

Marks = Mapping[int, Mark]


@dataclass(frozen=True, slots=True)
class Progress:
    """The last row of this file that was delivered, and how often the delivery was begun anew. `noted`: as written."""

    noted: str | None
    file: str
    begun: int
    reached: int


class Outbox:
    """The file: what waits for the store, how far the delivery came, and which store it is for."""

    def __init__(self, path: str | Path, clock: Callable[[], float]) -> None:
        self.rows = SqliteStore(path, clock=clock, kind=JOURNAL, write_seconds=_WRITE_SECONDS)
        self.path = self.rows.path

    def begin(self) -> tuple[Marks, bool]:
        """What an earlier life left: the marks of the store, and does anything wait? ConfigurationError if damaged."""
        try:
            progress = self.progress()
            # The newest row of a file is never deleted, so the one that was delivered last, or a later one, is there.
            if progress.reached and not self.rows.count_after(progress.reached - 1):
                _log.critical("rows of the journal %s are gone; logouts that waited in it are lost", self.path)
                self.advance(progress, begun=progress.begun, reached=0)
            elif not progress.noted:
                self.advance(progress, begun=0, reached=0)
            return self.marks(), self.has_mail()
        except (StoreError, ValueError, TypeError) as error:
            raise ConfigurationError(
                f"E325 LOGOUT_JOURNAL: {self.path} is damaged or cannot be written ({error}); repair it, or move it "
                "away: logouts that wait in it are then in force nowhere"
            ) from error

    def progress(self) -> Progress:
        """How far the delivery came."""
        file, noted = self.rows.note("id") or "", self.rows.note("delivered")
        of_file, begun, reached = (noted or f"{file} 0 0").split(" ")
        # An adopted file counts its rows anew, perhaps from 1.
        return Progress(noted, file, int(begun), int(reached) if of_file == file else 0)

    def advance(self, was: Progress, *, begun: int, reached: int) -> bool:
        """Note how far it came, unless somebody noted something else meanwhile; was it noted?"""
        return self.rows.set_note("delivered", f"{was.file} {begun} {reached}", was=was.noted)

    def waiting(self) -> int:
        """How many revocations the store does not have yet."""
        return self.rows.count_after(self.progress().reached)

    def has_mail(self) -> bool:
        """Does anything wait for the store, revocations or facts?"""
        return self.waiting() > 0 or bool(self.rows.some_facts(1))

    def marks(self) -> dict[int, Mark]:
        """What was last known of the store."""
        return {int(part): Mark(*mark) for part, mark in json.loads(self.rows.note("marks") or "{}").items()}

    def remember(self, marks: Marks) -> bool:
        """Keep the newer of what is noted and these, unless somebody does so meanwhile; was it noted?

        A store that was adopted is taught everything again.
        """
        noted, old = self.rows.note("marks"), self.marks()
        new = newest(old, marks)
        for part, mark in marks.items():
            if new[part].id != mark.id and new[part].adopted_at == mark.adopted_at:
                raise StoreForgot(f"LOGOUT_JOURNAL={self.path} is the journal of another store; name another file")
        if new == old:
            return True
        if any(mark.adopted_at > old[part].adopted_at for part, mark in new.items() if part in old):
            progress = self.progress()
            if not self.advance(progress, begun=progress.begun + 1, reached=0):
                return False
        text = json.dumps({part: (mark.id, mark.adopted_at, mark.changes) for part, mark in new.items()})
        return self.rows.set_note("marks", text, was=noted)

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        """Is no other process of this host delivering? For as long as this lasts, none will."""
        try:
            descriptor = os.open(f"{self.path}.replay", os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise StoreError(f"cannot open {self.path}.replay: {error.strerror}") from error
        try:
            yield _locked(descriptor)
        finally:
            os.close(descriptor)


def _locked(descriptor: int) -> bool:
    if sys.platform == "win32":
        return True  # every worker delivers, which is only more work
    try:
        # Not flock: a child that is forked meanwhile would hold it, too, and go on holding it.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def newest(*several: Marks) -> dict[int, Mark]:
    """Of each part the mark that was adopted last, and of that one the most changes; of two strangers the first."""
    found: dict[int, Mark] = {}
    for part, mark in ((part, mark) for marks in several for part, mark in marks.items()):
        best = found.setdefault(part, mark)
        if mark.adopted_at > best.adopted_at or (mark.id == best.id and mark.changes > best.changes):
            found[part] = mark
    return found
