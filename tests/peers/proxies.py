"""The proxies of `examples/proxies`, started from those very files; only the ports in them are others."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from examples.demo import HOST, free_port

from ..serving import answers, running
from .programs import find

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "proxies"
PROXY_PORT, CHECK_PORT, APPLICATION_PORT = "8080", "8088", "9000"
"""The ports in the examples."""


@dataclass(frozen=True)
class Kind:
    """One proxy: the files that are its example, and the command that starts it on the first of them."""

    files: tuple[str, ...]
    command: Callable[[Path], list[str]]


# As root it would give its work to a user who may not enter the folder of a test.
_NGINX = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
KINDS = {
    "nginx": Kind(("nginx.conf",), lambda file: [find("nginx"), "-c", str(file), "-p", str(file.parent), "-g", _NGINX]),
    "caddy": Kind(("Caddyfile",), lambda file: [find("caddy"), "run", "--config", str(file), "--adapter", "caddyfile"]),
    "haproxy": Kind(("haproxy.cfg", "haproxy_check.lua"), lambda file: [find("haproxy"), "-db", "-f", str(file)]),
    "envoy": Kind(
        ("envoy.yaml",),
        lambda file: [find("envoy"), "-c", str(file), "--disable-hot-restart", "--concurrency", "1", "-l", "warning"],
    ),
}


@contextlib.contextmanager
def proxying(kind: str, folder: Path, *, check: int, application: int) -> Iterator[int]:
    """The port of a running proxy that asks at `check` and is in front of `application`."""
    port = free_port()
    ports = {PROXY_PORT: port, CHECK_PORT: check, APPLICATION_PORT: application}
    for name in KINDS[kind].files:
        text = (EXAMPLES / name).read_text("utf-8")
        (folder / name).write_text(re.sub(r"\b(8080|8088|9000)\b", lambda found: str(ports[found[0]]), text))
    command = KINDS[kind].command(folder / KINDS[kind].files[0])
    # Where Caddy would keep things.
    env = os.environ | {"XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with running(command, folder, ready=lambda: answers(port, "/"), env=env):
        yield port


@dataclass(frozen=True)
class Received:
    """One request as it reached the application."""

    method: str
    path: str
    fields: tuple[tuple[str, str], ...]
    body: bytes

    def environ(self, name: str) -> list[str]:
        """All that an application gets under this name, if dash and underscore are one to it, as in CGI and WSGI."""
        return [value for key, value in self.fields if key.replace("_", "-").lower() == name.lower()]


@dataclass
class Upstream:
    """An application that believes whatever it is told, and remembers it."""

    port: int
    received: list[Received] = field(default_factory=list)


@contextlib.contextmanager
def application() -> Iterator[Upstream]:
    """It runs in a thread of this process."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            with contextlib.suppress(ConnectionResetError):  # some proxies reset a connection that they need no more
                super().handle()

        def _answer(self) -> None:
            body = self._body()
            upstream.received.append(Received(self.command, self.path, tuple(self.headers.items()), body))
            self.send_response(200)
            self.send_header("Content-Length", "7")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(b"welcome")

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        do_GET = do_HEAD = do_POST = do_DELETE = do_OPTIONS = _answer  # noqa: N815 - the names are the library's

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
            pass

    server = ThreadingHTTPServer((HOST, 0), Handler)
    server.daemon_threads = True
    upstream = Upstream(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield upstream
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
