"""What a PostgreSQL server promises, for the operator: one question, and what is unsafe named with the remedy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .sql_server import clock_finding

_SETTINGS = ("server_version", "fsync", "full_page_writes", "synchronous_commit", "synchronous_standby_names")
QUESTION = (
    "SELECT " + "".join(f"current_setting('{name}'), " for name in _SETTINGS) + "pg_is_in_recovery(), "
    "(SELECT count(*) FROM pg_stat_replication)::int8, "
    "(SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit'), "
    "extract(epoch FROM clock_timestamp())::float8"
)


def described(answer: Sequence[Any], now: float) -> dict[str, str]:
    """See Server.describe; the answer is that to QUESTION."""
    version, fsync, pages, commit, standbys, in_recovery, replicas, chosen, clock = answer
    durability = f"fsync before every acknowledgement (synchronous_commit={commit})"
    if fsync != "on":
        durability = "UNSAFE: fsync is off, a power cut can lose everything; set fsync = on and restart PostgreSQL"
    elif pages != "on":
        durability = "UNSAFE: full_page_writes is off; set full_page_writes = on"
    elif chosen == "off":
        durability += "; the default is off, this package turns it on for itself"
    return {
        "server": f"PostgreSQL {version}",
        "durability": durability,
        "role": "UNSAFE: a standby; name the primary in LOGOUT_STORE" if in_recovery else "primary",
        "replication": _replication(standbys, replicas, commit),
        "clock": clock_finding(clock - now),
    }


def _replication(standbys: str, replicas: int, commit: str) -> str:
    if not replicas and not standbys:
        return "none"
    if standbys and commit != "local":
        return f"synchronous: {standbys} ({replicas} connected)"
    return (
        f"UNSAFE: {replicas} standbys, none of them synchronous: a fail-over can forget acknowledged logouts; "
        "set synchronous_standby_names (and synchronous_commit = on)"
    )
