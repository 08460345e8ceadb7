"""`logout-middleware serve`: the endpoints and forward-auth as a service of their own, under uvicorn."""

from __future__ import annotations

import logging
import signal
import sys
from typing import Any

import click

from ..errors import ConfigurationError
from ..logout import BlockingLogout
from ..service_app import service_settings
from .commands import mistakes_told

APP = "logout_middleware.service_app:app"
_STOP_SECONDS = 10
"""What is still open then (an event stream, say) is cut; an orchestrator kills after 30 seconds as a rule."""
LEVELS = ("critical", "error", "warning", "info", "debug")


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on; 0.0.0.0 for all.")
@click.option("--port", default=8088, show_default=True, type=click.IntRange(0, 65535), help="0 for a free one.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes.")
@click.option("--log-level", default="info", show_default=True, type=click.Choice(LEVELS))
def serve(*, host: str, port: int, workers: int, log_level: str) -> None:
    """Serve the endpoints at LOGOUT_PREFIX, and forward-auth at LOGOUT_PREFIX/check, until SIGTERM.

    For nginx, Caddy, HAProxy, Envoy and Traefik in front of applications that cannot be wrapped. GET /healthz says
    that it is alive. Anybody who reaches this port can log out what he holds; let only the proxy reach it.
    """
    try:
        import uvicorn
    except ModuleNotFoundError as error:
        if error.name != "uvicorn":
            raise
        click.echo("serve needs: pip install 'logout-middleware[serve]'", err=True)
        sys.exit(2)
    with mistakes_told(printing_json=False):
        _look_at_settings(workers)
    # uvicorn raises the signal that ended it once more when all is done: the end that was asked for is no failure.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    uvicorn.run(
        APP, factory=True, host=host, port=port, workers=workers, log_level=log_level, log_config=_logs(log_level),
        # A query may hold a token (`oauth_token`), so paths are not logged.
        access_log=False,
        # Whom to believe about addresses is what LOGOUT_TRUSTED_PROXIES says.
        proxy_headers=False, server_header=False,
        # A proxy may ask with the `Upgrade` of the request it asks about; the answer is an ordinary one.
        ws="none", timeout_graceful_shutdown=_STOP_SECONDS, lifespan="on",
    )  # fmt: skip


def _look_at_settings(workers: int) -> None:
    """Find the mistakes here, once, before any worker does."""
    settings = service_settings()
    if workers > 1 and settings.store == "memory://":
        raise ConfigurationError(
            f"E009 LOGOUT_STORE: memory:// is one process's own, and --workers is {workers}; "
            "write sqlite:///logout.db, or a server's address"
        )
    logging.disable(logging.CRITICAL)  # each worker will say what it finds; here it would be said twice
    try:
        BlockingLogout(settings).close()
    finally:
        logging.disable(logging.NOTSET)


def _logs(level: str) -> dict[str, Any]:
    """The audit records, bare, on standard output; all else on standard error."""
    upper = level.upper()
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "bare": {"format": "%(message)s"},
            "plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
        },
        "handlers": {
            "audit": {"class": "logging.StreamHandler", "formatter": "bare", "stream": "ext://sys.stdout"},
            "rest": {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stderr"},
        },
        "loggers": {
            "logout_middleware.audit": {"handlers": ["audit"], "level": "INFO", "propagate": False},
            "uvicorn": {"handlers": ["rest"], "level": upper, "propagate": False},
        },
        "root": {"handlers": ["rest"], "level": upper},
    }
