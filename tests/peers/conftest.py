"""One running server for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .server import Service, running


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The application behind the middleware, under uvicorn."""
    with running(tmp_path_factory.mktemp("service")) as service:
        yield service
