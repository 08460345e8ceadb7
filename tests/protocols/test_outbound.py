"""Requests to a provider over TLS: the address that was looked at is asked, in the name of the provider."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from logout_middleware import outbound
from logout_middleware.outbound import Unreachable

from .op import rsa_key

NAME = "op.example.com"


def certificate(folder: Path) -> tuple[Path, Path]:
    """A key, and a certificate of this name that signed itself."""
    key, name = rsa_key("tls"), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    paths = folder / "key.pem", folder / "cert.pem"
    paths[0].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    paths[1].write_bytes(made.public_bytes(Encoding.PEM))
    return paths


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """An https server that says under which name it was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"host": "%s"}' % self.headers["host"].encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads, block_on_close = True, False

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Whoever hung up had a reason."""

    key, cert = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    served = Server(("127.0.0.1", 0), Handler)
    served.socket = context.wrap_socket(served.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    monkeypatch.setattr(outbound, "_is_public", lambda address: ipaddress.ip_address(address).version == 4)
    yield served
    served.shutdown()
    served.server_close()


def resolve(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Let every name have these addresses; gives the names that were asked for."""
    asked: list[str] = []
    genuine = socket.getaddrinfo

    def answer(host: Any, port: Any, *given: Any, **more: Any) -> Any:
        if host in addresses:
            return genuine(host, port, *given, **more)
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    monkeypatch.setattr("socket.getaddrinfo", answer)
    return asked


def test_the_address_that_was_looked_at_is_asked_under_its_name(
    server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look at the name, and the certificate, the Host and the SNI are of the name."""
    asked = resolve(monkeypatch, "127.0.0.1")

    answer = outbound.fetch(f"https://{NAME}:{server.server_port}/jwks")

    assert answer.json() == {"host": f"{NAME}:{server.server_port}"}
    assert asked == [NAME]


def test_a_certificate_of_another_name_is_refused(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever answers at the address must be who was meant."""
    resolve(monkeypatch, "127.0.0.1")

    with pytest.raises(Unreachable, match="cannot be reached"):
        outbound.fetch(f"https://other.example.com:{server.server_port}/jwks")


def test_the_next_address_is_tried_where_one_takes_no_connection(
    server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider may have several, and not all of them be there."""
    resolve(monkeypatch, "127.0.0.2", "127.0.0.1")

    assert outbound.fetch(f"https://{NAME}:{server.server_port}/jwks").status == 200


def test_an_address_that_is_not_public_is_not_asked(
    server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever in the list it is."""
    resolve(monkeypatch, "127.0.0.1", "::1")

    with pytest.raises(Unreachable, match="not on the public internet"):
        outbound.fetch(f"https://{NAME}:{server.server_port}/jwks")


def test_an_address_that_never_answers_leaves_time_for_the_next(
    server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firewall that drops what it does not like is no reason not to reach a provider that has a second address."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.2", server.server_port))
        silent.listen(5)
        resolve(monkeypatch, "127.0.0.2", "127.0.0.1")

        assert outbound.fetch(f"https://{NAME}:{server.server_port}/jwks", seconds=6.0).status == 200


def test_an_address_that_takes_a_request_is_asked_alone(
    server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What may have been done there is not asked for a second time."""
    resolve(monkeypatch, "127.0.0.1", "127.0.0.3")
    asked: list[str | None] = []
    genuine = outbound._exchanged

    async def exchanged(client: Any, method: str, url: str, address: str | None, *given: Any, **more: Any) -> Any:
        asked.append(address)
        await genuine(client, method, url, address, *given, **more)
        raise httpx2.ReadTimeout("nothing came")

    monkeypatch.setattr(outbound, "_exchanged", exchanged)

    with pytest.raises(Unreachable, match="ReadTimeout"):
        outbound.fetch(f"https://{NAME}:{server.server_port}/jwks")

    assert asked == ["127.0.0.1"]


@pytest.mark.parametrize("private", [True, False])
def test_no_proxy_of_the_environment_is_asked(
    server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch, private: bool
) -> None:
    """It would look up the name by itself, and a stream's secrets would go by way of it."""
    with socket.socket() as proxy:
        proxy.bind(("127.0.0.1", 0))
        proxy.listen(5)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
            monkeypatch.setenv(name.lower(), f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "nothing.example.com")
        resolve(monkeypatch, "127.0.0.1")

        assert outbound.fetch(f"https://{NAME}:{server.server_port}/jwks", private=private).status == 200


SOUND = [
    "https://op.example.com", "https://op.example.com:8443/realms/a-b_c/~x.y?p=policy&q=%20+$(!)*@", "https://[2606:4700::1]/",
    "https://op.example.com/a:b=c",
]  # fmt: skip
STRANGE = [
    "https://op.example.com/end\r\nSet-Cookie: admin=1", "https://op.example.com/\t", "https://op.example.com/a b",
    "https://op.example.com/\x00", "https://op.example.com/\x7f", 'https://op.example.com/"x', "https://op.example.com/'x",
    "https://op.example.com;script-src *", "https://op.example.com;/end", "https://op.example.com/a;b",
    "https://op.example.com,other.example.com/", "https://op.example.com/a,b", "https://op.example.com/#fragment",
    "https://op.example.com/#", "https://op.example.com/<b>", "https://op.example.com/\\x", "https://op.example.com\\@evil",
    "https://op.example.com/`", "https://op.example.com/{x}", "https://op.example.com/|", "https://op.example.com/^",
    "https://ö.example.com/", "https://op.example.com/ö", "https://user@op.example.com/", "https://op.example.com%0a/",
    "https://*.example.com/", "https://op_x.example.com/", "https://op.example.com=a/", "https://op$x/", " https://op.example.com",
    "https://op.example.com/\n", "https://op.example.com\n", "\x01https://op.example.com/", "https:/op.example.com",
    "https://", "https://:8/", "https://[::1", "https://op.example.com:0/", "https://op.example.com:99999/", "ftp://op.example.com/",
]  # fmt: skip


@pytest.mark.parametrize("url", SOUND)
def test_an_ordinary_address_may_be_asked(url: str) -> None:
    """With everything that providers have in theirs."""
    assert outbound.fault_in_address(url, private=False) is None


@pytest.mark.parametrize("url", STRANGE, ids=ascii)
@pytest.mark.parametrize("private", [True, False])
def test_what_could_end_a_header_or_a_policy_is_no_address(url: str, private: bool) -> None:
    """It comes from a document on the network, and goes into Location fields and a Content-Security-Policy."""
    assert outbound.fault_in_address(url, private=private) is not None


PUBLIC = ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2a00:1450::1%eth0"]
NOT_PUBLIC = [
    "127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "255.255.255.255",
    "224.0.0.1", "239.1.2.3", "232.1.1.1", "240.0.0.1", "198.18.0.1", "192.0.2.1", "::", "::1", "fe80::1",
    "fe80::1%eth0", "fc00::1",
    "fd00:ec2::254", "fec0::1", "feff::1", "ff02::1", "ff0e::1", "2001:db8::1", "2002:7f00:1::", "2002:101:101::1",
    "2001:0:102:304::1", "2001::1", "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254",
    "64:ff9b::224.0.0.1", "64:ff9b:1::1.1.1.1", "::127.0.0.1", "::1.1.1.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "::ffff:224.0.0.1",
    "::ffff:0:10.0.0.1", "::ffff:0:1.1.1.1", "100::1", "4000::1", "192.88.99.1",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_on_the_public_internet_is_asked(address: str) -> None:
    """Where there is only IPv6, names of IPv4 have the addresses of NAT64 (RFC 6147)."""
    assert outbound._is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_what_leads_elsewhere_is_not_public(address: str) -> None:
    """Groups, reserved ranges, and IPv6 addresses that lead to an IPv4 one inside."""
    assert not outbound._is_public(address)
