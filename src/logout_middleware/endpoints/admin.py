"""Revoke, explain, health: for operators, with a key of their own (group `admin`)."""

from __future__ import annotations

from .service import Methods, Service


def paths(service: Service, prefix: str) -> dict[str, Methods]:
    """The paths of this group."""
    return {}
