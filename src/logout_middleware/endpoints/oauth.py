"""RFC 7009 revocation and RFC 7662 introspection (group `oauth`, contract 4)."""

from __future__ import annotations

from .service import Methods, Service


def paths(service: Service, prefix: str) -> dict[str, Methods]:
    """The paths of this group."""
    return {}
