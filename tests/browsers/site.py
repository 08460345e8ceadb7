"""The application of `served.py` under uvicorn and gunicorn, over https."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import os
import socket
import sys
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.services import HOST, Process, free_port, until

from .kinds import DOMAIN, Kind

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate for every host of the tests. `pin`: how the browser is told to trust it."""

    certificate: Path
    key: Path
    pin: str


def make_certificate(folder: Path) -> Certificate:
    """A new certificate in this folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, DOMAIN)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(f"*.{DOMAIN}")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    of_key = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    made = Certificate(
        folder / "certificate.pem", folder / "key.pem", b64encode(hashlib.sha256(of_key).digest()).decode()
    )
    made.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made


@dataclass(frozen=True)
class Site:
    """A running server; `folder` holds its databases, and the files by which slow requests are steered."""

    port: int
    folder: Path

    def origin(self, kind: Kind, *, bare: bool = False) -> str:
        """The origin of the application with this kind of cookie. `bare`: without the middleware."""
        return f"https://{'bare-' if bare else ''}{kind.label}.{DOMAIN}:{self.port}"

    def wait_until_begun(self, key: str) -> None:
        """Return when the slow request of this key is in the application."""
        until((self.folder / f"begun-{key}").exists, f"the slow request {key}", 20)

    def let_go(self, key: str) -> None:
        """Let the slow request of this key end."""
        (self.folder / f"go-{key}").touch()


def _command(shell: str, port: int, tls: Certificate) -> list[str]:
    python = [sys.executable, "-m"]
    files = [str(tls.key), str(tls.certificate)]
    if shell == "asgi":
        return [
            *python, "uvicorn", "tests.browsers.served:asgi_app", "--factory", "--lifespan", "off", "--host", HOST,
            "--port", str(port), "--ssl-keyfile", files[0], "--ssl-certfile", files[1], "--log-level", "warning",
        ]  # fmt: skip
    return [
        *python, "gunicorn", "tests.browsers.served:wsgi_app()", "--bind", f"{HOST}:{port}", "--workers", "1",
        "--threads", "16", "--keyfile", files[0], "--certfile", files[1], "--log-level", "warning",
    ]  # fmt: skip


@contextlib.contextmanager
def serve(shell: str, folder: Path, tls: Certificate) -> Iterator[Site]:
    """One worker; another one in the same folder shares its databases."""
    port = free_port()
    own = folder / f"worker-{port}"
    own.mkdir(parents=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOGOUT_")} | {
        "FOLDER": str(folder),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")])),
    }

    def listens() -> bool:
        with socket.create_connection((HOST, port), timeout=1):
            return True

    server = Process(_command(shell, port, tls), own, listens, env=environment)
    try:
        server.start()
        yield Site(port, folder)
    finally:
        server.stop()
    assert "Traceback" not in server.log, server.log
