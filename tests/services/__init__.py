"""Real servers for tests: Redis (single, Sentinel, Cluster), PostgreSQL (also with a standby) and MariaDB.

    with services.redis(maxmemory="4mb") as server:
        server.url, server.kill(), server.start(), server.pause(), server.resume(), server.stop()

Each lives on free loopback ports and in a folder of its own, and is ended by its pid: at the end of the `with`, at
the end of this process, and by a watcher if this process is killed. `Missing` names the binary and Debian's package.
Ports lie below the range that outgoing connections use, so that a server which was killed gets its own again.
"""

from __future__ import annotations

from .process import HOST, Missing, Process, binary, folder, free_port, until
from .redis_servers import SERVICE, Cluster, Redis, Sentinels, cluster, redis, sentinel
from .sql_servers import DATABASE, USER, MariaDb, Postgres, PostgresPair, mariadb, postgres, postgres_with_standby

__all__ = [
    "DATABASE", "HOST", "SERVICE", "USER", "Cluster", "MariaDb", "Missing", "Postgres", "PostgresPair", "Process",
    "Redis", "Sentinels", "binary", "cluster", "folder", "free_port", "mariadb", "postgres", "postgres_with_standby",
    "redis", "sentinel", "until",
]  # fmt: skip
