"""An application that is the client of a provider, under both shells."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from logout_middleware.testing import MovableClock
from tests.client import BuildSite, Site

from .op import OTHER_ISSUER, Op
from .op_server import OpServer


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The providers of the tests are on this host; no name of another one is asked for."""
    resolve = socket.getaddrinfo

    def loopback_only(host: str | bytes | None, *given: Any, **more: Any) -> Any:
        if host not in (None, "127.0.0.1", b"127.0.0.1", "localhost"):
            raise socket.gaierror("there is no network in the tests")
        return resolve(host, *given, **more)

    monkeypatch.setattr("socket.getaddrinfo", loopback_only)


@pytest.fixture
def op(clock: MovableClock) -> Op:
    """The provider that logs the application's users in."""
    return Op(clock)


@pytest.fixture
def other_op(clock: MovableClock) -> Op:
    """A second provider, whose users are strangers to those of the first."""
    return Op(clock, OTHER_ISSUER, key="k2")


@pytest.fixture
def rp(site: BuildSite, op: Op) -> Site:
    """The application, client of one provider, whose keys it has."""
    return site(**op.settings(rate_limit="off"))


@pytest.fixture
def op_server(clock: MovableClock) -> Iterator[OpServer]:
    """A provider under an address of its own."""
    server = OpServer(clock)
    yield server
    server.close()
