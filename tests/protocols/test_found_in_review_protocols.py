"""What a security review of the protocols found, where it belongs to no test of one protocol alone."""

from __future__ import annotations

import logging

import pytest

from logout_middleware.colour import run_blocking
from logout_middleware.events import Events, LogoutEvent


@pytest.mark.parametrize(
    ("kind", "outcome", "level"),
    [
        ("store_failed", "failed", "ERROR"), ("store_failed", "failed_open", "ERROR"),
        ("backchannel_failed", "failed", "ERROR"), ("backchannel_failed", "deferred", "ERROR"),
        ("push_refused", "refused", "WARNING"), ("client_refused", "refused", "WARNING"),
        ("operator_refused", "refused", "WARNING"), ("logout_token_refused", "refused", "WARNING"),
        ("target_refused", "nothing", "WARNING"), ("body_ignored", "refused", "WARNING"),
        ("provider_unreachable", "failed", "WARNING"), ("push_unmapped", "nothing", "WARNING"),
        ("rate_limited", "refused", "WARNING"), ("logout", "done", "INFO"), ("push_noted", "nothing", "INFO"),
    ],
)  # fmt: skip
def test_failures_are_errors_and_what_was_refused_is_a_warning(
    kind: str, outcome: str, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An alarm on errors rings when a logout may be lost, and not for everybody who guesses."""
    with caplog.at_level(logging.INFO, logger="logout_middleware.audit"):
        run_blocking(Events().emit(LogoutEvent(kind, outcome, 0.0)))

    assert [record.levelname for record in caplog.records] == [level]
