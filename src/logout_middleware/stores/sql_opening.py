"""Which server an address means, with its driver loaded; and what a driver says, in one line."""

from __future__ import annotations

from ..errors import ConfigurationError
from .sql_schema import SqlAddress, missing_extra, table_names
from .sql_server import Server


def open_server(address: SqlAddress, prefix: str, write_seconds: float) -> Server:
    """The server, not asked yet. ConfigurationError: its driver is missing, or refuses an option."""
    names = table_names(prefix)
    try:
        if address.kind == "postgresql":
            from .sql_postgresql import PostgreSql

            return PostgreSql(address, names, write_seconds)
        from .sql_mysql import MySql

        return MySql(address, names, write_seconds)
    except ImportError as error:
        raise missing_extra(address.kind) from error
    # The driver's own, of its own type, about an option it does not know or cannot use.
    except Exception as error:
        raise ConfigurationError(
            f"E312 LOGOUT_STORE: the driver refuses an option of {address.shown}: {said(error)}; "
            "correct what follows '?'"
        ) from error


def said(error: Exception) -> str:
    """What the driver says, in one line."""
    return " ".join(str(error.args[-1] if error.args else type(error).__name__).split())[:300]
