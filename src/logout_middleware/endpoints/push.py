"""Revocations that others push to us, and our own for others (group `push`).

Security events are in `ssf.py`, Universal Logout in `global_revocation.py`, the feed for other services in `feed.py`.
"""

from __future__ import annotations

from functools import partial

from .feed import Feed
from .global_revocation import Bearers, revoke_globally
from .service import Methods, Service
from .ssf import receive_push


def paths(service: Service, prefix: str) -> dict[str, Methods]:
    """The paths of this group."""
    here = f"{prefix}/global-token-revocation"
    bearers = Bearers.of(service, path=f"{service.settings.prefix}/global-token-revocation")
    return {
        f"{prefix}/ssf/events": {"POST": partial(receive_push, service)},
        here: {"POST": partial(revoke_globally, service, bearers)},
        f"{prefix}/feed": {"GET": Feed(service).answer},
    }
