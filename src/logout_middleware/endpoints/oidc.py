"""OpenID Connect as a relying party: back-channel, front-channel, and the way back from the provider (group `oidc`)."""

from __future__ import annotations

from .service import Methods, Service


def paths(service: Service, prefix: str) -> dict[str, Methods]:
    """The paths of this group."""
    return {}
