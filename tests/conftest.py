"""What all tests share. With CI=1 a skipped test is a failure: nothing may go unseen there."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from coverage import Coverage

pytest_plugins = ["logout_middleware.testing", "tests.client", "tests.services_fixtures"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Turn a skip into a failure in CI."""
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report


@pytest.fixture
def unmeasured() -> Iterator[None]:
    """Nobody notes which lines run while thousands of courses are played: it would take three times as long."""
    measuring = Coverage.current()
    if measuring is not None:
        measuring.stop()
    yield
    if measuring is not None:
        measuring.start()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No LOGOUT_* variable and no .env file of the machine reaches a test."""
    for name in [name for name in os.environ if name.startswith("LOGOUT_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))
