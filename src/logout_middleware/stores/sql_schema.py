"""The tables of the SQL store: their names, their shape, and the text that makes them. No I/O, no statements.

Four tables: the records, the facts, the rate limit's counts, and one row of state. That row numbers every change of
the records: whoever adds locks it first, so that changes commit in the order of their numbers, and a reader who has
seen one number has seen all below it. It also says which store this is (`epoch.py`) and which schema.

SQLAlchemy is imported when something here is called: nobody else pays for it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import URL, Dialect, Index, MetaData, Table

SCHEMA_VERSION = 1
_DRIVERS = {"postgresql+psycopg": "postgresql", "mysql+pymysql": "mysql"}


@dataclass(frozen=True, slots=True)
class SqlAddress:
    """A server and a database. `shown` has no password, for messages; `kind` is postgresql or mysql."""

    url: URL
    kind: str
    shown: str


def parse_sql_url(text: str) -> SqlAddress:
    """The address in a `postgresql+psycopg://…` or `mysql+pymysql://…` URL; nothing is asked.

    ValueError says what is wrong without repeating the address, which may hold a password. ConfigurationError
    where SQLAlchemy is not installed.
    """
    scheme = text.partition(":")[0]
    if scheme not in _DRIVERS:
        raise ValueError(f"{scheme!r} is not a SQL server; write {' or '.join(f'{name}://…' for name in _DRIVERS)}")
    kind = _DRIVERS[scheme]
    try:
        from sqlalchemy import make_url
        from sqlalchemy.exc import ArgumentError
    except ImportError as error:
        raise missing_extra(kind) from error
    try:
        url = make_url(text)
        port = url.port
    except (ArgumentError, ValueError):
        port, url = None, None
    if url is None:
        raise ValueError(f"it is not a URL; write {scheme}://user:password@host/database")
    if port is not None and not 0 < port < 65536:
        raise ValueError(f"{port} is not a port; write a number from 1 to 65535")
    if not url.database:
        raise ValueError(f"it names no database; write {scheme}://user:password@host/database")
    hosts = url.query.get("host") or url.host or "localhost"
    host = hosts if isinstance(hosts, str) else ",".join(hosts)
    shown = f"{scheme}://{host}{f':{port}' if port else ''}/{url.database}"
    return SqlAddress(url, kind, shown)


def missing_extra(kind: str) -> ConfigurationError:
    """What to install for this kind of server."""
    return ConfigurationError(
        f"E311 LOGOUT_STORE: the driver of {kind} is not installed; pip install 'logout-middleware[{kind}]'"
    )


@dataclass(frozen=True, slots=True)
class Names:
    """The tables of one prefix: `logout:` gives logout_revocations, logout_facts, logout_hits and logout_state."""

    revocations: str
    facts: str
    hits: str
    state: str


def table_names(prefix: str) -> Names:
    """The tables of this prefix; two prefixes never share one.

    A prefix of the form `word:` is the beginning of the names. Of any other, whose capitals, signs or length not
    every server tells apart, the beginning is what is readable of it and a digest.
    """
    if re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*:", prefix) and len(prefix) <= 32:
        stem = prefix[:-1]
    else:
        readable = re.sub(r"[^a-z0-9]+", "_", prefix.lower()).strip("_")[:12].strip("_")
        # Beginning with a letter, and never of a form that a plain prefix can take.
        stem = f"p_{readable}__{hashlib.sha256(prefix.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
    return Names(f"{stem}_revocations", f"{stem}_facts", f"{stem}_hits", f"{stem}_state")


def _tables(names: Names, kind: str) -> MetaData:
    from sqlalchemy import (
        BigInteger,
        CheckConstraint,
        Column,
        Double,
        Index,
        Integer,
        LargeBinary,
        MetaData,
        SmallInteger,
        String,
        Table,
    )
    from sqlalchemy.dialects.mysql import BINARY, MEDIUMBLOB, VARBINARY

    metadata = MetaData()
    # Bytes, and not text, for the reason too: it is compared byte by byte everywhere, and holds any string.
    key, digest = LargeBinary().with_variant(BINARY(16), "mysql"), LargeBinary().with_variant(VARBINARY(16), "mysql")
    blob = LargeBinary().with_variant(MEDIUMBLOB(), "mysql")
    # A count may be forgotten in a crash: its table needs no log, and then a commit needs no fsync.
    forgettable = ["UNLOGGED"] if kind == "postgresql" else []
    Table(
        names.revocations, metadata,
        Column("before", Double(), nullable=False), Column("until", Double(), nullable=False),
        Column("seq", BigInteger, nullable=False),
        Column("key", key, primary_key=True), Column("kept", digest, primary_key=True),
        Column("keep", blob, nullable=False), Column("reason", blob, nullable=False),
        Index(f"{names.revocations}_seq", "seq"), Index(f"{names.revocations}_until", "until"),
        mysql_engine="InnoDB",
    )  # fmt: skip
    Table(
        names.facts, metadata,
        Column("at", Double(), nullable=False), Column("until", Double(), nullable=False),
        Column("subject", key, primary_key=True), Column("name", key, primary_key=True),
        Column("text", blob, nullable=False),
        Index(f"{names.facts}_until", "until"),
        mysql_engine="InnoDB",
    )  # fmt: skip
    Table(
        names.hits, metadata,
        Column("started", Double(), nullable=False), Column("ends", Double(), nullable=False),
        Column("count", Integer, nullable=False), Column("key", key, primary_key=True),
        Index(f"{names.hits}_ends", "ends"),
        mysql_engine="InnoDB", prefixes=forgettable,
    )  # fmt: skip
    Table(
        names.state, metadata,
        Column("one", SmallInteger, CheckConstraint("one = 1"), primary_key=True, autoincrement=False),
        Column("version", Integer, nullable=False), Column("id", String(64), nullable=False),
        Column("adopted_at", BigInteger, nullable=False), Column("seq", BigInteger, nullable=False),
        mysql_engine="InnoDB",
    )  # fmt: skip
    return metadata


def _dialect(kind: str) -> Dialect:
    from sqlalchemy.dialects.mysql.base import MySQLDialect
    from sqlalchemy.dialects.postgresql.base import PGDialect

    return PGDialect() if kind == "postgresql" else MySQLDialect()  # type: ignore[no-untyped-call]  # one is typed


def ddl_statements(names: Names, kind: str) -> list[str]:
    """The statements that make the tables, in order; those that are there stay as they are."""
    from sqlalchemy.schema import CreateIndex, CreateTable

    def indexes_of(table: Table) -> list[Index]:
        return sorted(table.indexes, key=lambda index: str(index.name))

    dialect = _dialect(kind)
    statements = []
    for table in _tables(names, kind).sorted_tables:
        made = str(CreateTable(table, if_not_exists=True).compile(dialect=dialect)).strip()
        if kind == "mysql":
            # In one statement, and so at once: MySQL has no CREATE INDEX IF NOT EXISTS, and no transaction around it.
            indexes = ", ".join(
                f"INDEX {index.name} ({', '.join(column.name for column in index.columns)})"
                for index in indexes_of(table)
            )
            made = made.replace("PRIMARY KEY", f"{indexes}, \n\tPRIMARY KEY") if indexes else made
            statements.append(made)
            continue
        statements.append(made)
        statements += [
            str(CreateIndex(index, if_not_exists=True).compile(dialect=dialect)) for index in indexes_of(table)
        ]
    return [re.sub(r"[ \t]+\n", "\n", statement) for statement in statements]


def schema_ddl(url: str, prefix: str = "logout:") -> str:
    """What an operator runs once where the application's user has no right to CREATE."""
    address = parse_sql_url(url)
    return ";\n\n".join(ddl_statements(table_names(prefix), address.kind)) + ";\n"
