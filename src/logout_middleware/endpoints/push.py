"""Revocations that others push to us, and our own for others (group `push`)."""

from __future__ import annotations

from .service import Methods, Service


def paths(service: Service, prefix: str) -> dict[str, Methods]:
    """The paths of this group."""
    return {}
