"""One running server per example, for all tests of this folder."""

from __future__ import annotations

import pytest
from examples.demo import EXAMPLES

from .server import RealServer


@pytest.fixture(scope="session", params=["starlette", "flask"])
def server(request, tmp_path_factory):
    """The Starlette example under uvicorn with two workers; the Flask one under gunicorn with three."""
    server = RealServer(EXAMPLES[request.param], tmp_path_factory.mktemp(request.param))
    server.start()
    yield server
    server.stop()
    assert "Traceback" not in server.log


@pytest.fixture
def ann(server):
    """A device that ann just logged in on."""
    return server.log_in("ann")
