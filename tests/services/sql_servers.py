"""PostgreSQL, alone and with a synchronous standby, and MariaDB."""

from __future__ import annotations

import atexit
import contextlib
import os
import pwd
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .process import HOST, Process, as_user, binary, folder, free_port, running, until

DATABASE = USER = "logout"


def _unprivileged(name: str) -> str | None:
    """As whom a server runs that refuses to be root; None: as whoever we are."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(name).pw_name
    return "nobody"


def _copy(template: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", "--reflink=auto", template, target], check=True)


class _Template:
    """A data folder that was initialised once in this process, to be copied for each server."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._made: dict[str, Path] = {}

    def get(self, name: str, user: str | None, make: Callable[[Path], list[str]]) -> Path:
        if name not in self._made:
            atexit.register(self._stack.close)
            path = self._stack.enter_context(folder(user)) / name
            done = subprocess.run(make(path), capture_output=True, text=True, cwd=path.parent, **as_user(user))
            if done.returncode:
                raise RuntimeError(f"{done.args}: {done.stdout}{done.stderr}")
            self._made[name] = path
        return self._made[name]


_template = _Template()


class Postgres(Process):
    """One PostgreSQL server. `run` executes a statement as its superuser."""

    ends_by = signal.SIGINT

    def __init__(self, folder: Path, conf: dict[str, Any]) -> None:
        self.port = free_port()
        self.data = folder / "data"
        options = {
            "listen_addresses": HOST, "port": self.port, "unix_socket_directories": folder, "max_connections": 50,
            "dynamic_shared_memory_type": "mmap", "shared_buffers": "16MB", "max_wal_senders": 4, **conf,
        }  # fmt: skip
        given = [text for name, value in options.items() for text in ("-c", f"{name}={value}")]
        super().__init__(
            [binary("postgres"), "-D", str(self.data), *given], folder, self._answers, user=_unprivileged("postgres")
        )
        self.url = f"postgresql+psycopg://{USER}@{HOST}:{self.port}/{DATABASE}"

    def run(self, statement: str, database: str = DATABASE) -> list[tuple[Any, ...]]:
        """The rows of one statement, in its own transaction."""
        import psycopg

        address = f"host={HOST} port={self.port} user={USER} dbname={database} connect_timeout=2"
        with psycopg.connect(address, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def _answers(self) -> bool:
        return bool(self.run("SELECT 1", "postgres"))

    def end(self) -> None:
        """End it in order: killed, it would leave shared memory behind."""
        self.stop()


@contextlib.contextmanager
def postgres(**conf: Any) -> Iterator[Postgres]:
    """A PostgreSQL with Debian's defaults of durability, and an empty database."""
    user = _unprivileged("postgres")
    program = binary("initdb")
    make = ["-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    template = _template.get("postgres", user, lambda path: [program, "-D", str(path), *make])
    with folder(user) as path:
        server = Postgres(path, conf)
        _copy(template, server.data)
        with running(server):
            server.run(f"CREATE DATABASE {DATABASE}", "postgres")
            yield server


class PostgresPair(Process):
    """A primary and its synchronous standby. What is not said here goes to the primary."""

    def __init__(self, primary: Postgres, standby: Postgres) -> None:
        self.primary, self.standby = primary, standby
        self.url = (
            f"postgresql+psycopg://{USER}@/{DATABASE}?host={HOST}:{primary.port}&host={HOST}:{standby.port}"
        )  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        return getattr(self.primary, name)

    def promote(self) -> None:
        """Make the standby the primary; it no longer waits for anyone."""
        self.standby.run("SELECT pg_promote()", "postgres")


@contextlib.contextmanager
def postgres_with_standby(**conf: Any) -> Iterator[PostgresPair]:
    """A primary that acknowledges only what its standby has, too."""
    with postgres(wal_level="replica", **conf) as primary, folder(_unprivileged("postgres")) as path:
        standby = Postgres(path, {"synchronous_standby_names": "", **conf})
        address = f"host={HOST} port={primary.port} user={USER} application_name=standby"
        command = [binary("pg_basebackup"), "-D", str(standby.data), "-R", "-c", "fast", "--no-sync", "-d", address]
        user = _unprivileged("postgres")
        subprocess.run(command, check=True, capture_output=True, cwd=path, **as_user(user))
        with running(standby):
            primary.run("ALTER SYSTEM SET synchronous_standby_names = '*'")
            primary.run("SELECT pg_reload_conf()")
            until(lambda: primary.run("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"), "the standby")
            yield PostgresPair(primary, standby)


class MariaDb(Process):
    """One MariaDB server. `run` executes a statement as its root."""

    def __init__(self, folder: Path, conf: dict[str, Any]) -> None:
        self.port = free_port()
        self.data = folder / "data"
        first = folder / "first.sql"
        first.write_text(
            f"CREATE DATABASE IF NOT EXISTS {DATABASE};\nCREATE USER IF NOT EXISTS {USER}@'{HOST}';\n"
            f"GRANT ALL ON {DATABASE}.* TO {USER}@'{HOST}';\n"
        )
        options = {
            "datadir": self.data, "port": self.port, "bind-address": HOST, "socket": folder / "socket",
            "pid-file": folder / "pid", "init-file": first, "skip-name-resolve": "ON", **_SMALL_INNODB, **conf,
        }  # fmt: skip
        given = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        super().__init__(
            [binary("mariadbd"), "--no-defaults", *given], folder, self._answers, user=_unprivileged("mysql")
        )
        self.url = f"mysql+pymysql://{USER}@{HOST}:{self.port}/{DATABASE}"

    def run(self, statement: str, *, user: str = "root") -> list[tuple[Any, ...]]:
        """The rows of one statement, in its own transaction."""
        import pymysql

        connection = pymysql.connect(
            host=HOST, port=self.port, user=user, autocommit=True, connect_timeout=2, read_timeout=5
        )
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def _answers(self) -> bool:
        return bool(self.run(f"SELECT 1 FROM information_schema.schemata WHERE schema_name = '{DATABASE}'", user=USER))


_SMALL_INNODB = {"innodb-log-file-size": "8M", "innodb-buffer-pool-size": "32M"}


@contextlib.contextmanager
def mariadb(**conf: Any) -> Iterator[MariaDb]:
    """A MariaDB with its defaults, and an empty database."""
    user = _unprivileged("mysql")
    program = binary("mariadb-install-db")
    options = ["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]
    options += [f"--{name}={value}" for name, value in _SMALL_INNODB.items()]
    template = _template.get("mariadb", user, lambda path: [program, *options, f"--datadir={path}"])
    with folder(user) as path:
        server = MariaDb(path, conf)
        _copy(template, server.data)
        with running(server):
            yield server
