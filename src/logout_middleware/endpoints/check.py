"""Forward-auth: may this request pass? For nginx, Traefik, Caddy, HAProxy and Envoy (group `check`)."""

from __future__ import annotations

from ..rules.http import Request, Response
from .service import Methods, Service


def paths(service: Service, prefix: str) -> dict[str, Methods]:
    """The paths of this group."""
    return {}


async def check(service: Service, request: Request) -> Response:
    """Not built yet."""
    raise NotImplementedError
