"""`GET /auth/events`: tells a page that its login ended, the moment it does (contract 4, group `browser`).

Here is decided whose end a caller may hear of: that of what he presents, if it is alive. The stream itself is the
shell's (`asgi_events`); a shell that would hold a thread for it answers 204, and the page asks `/auth/session`.
"""

from __future__ import annotations

from ..errors import Refused, StoreError
from ..rules.http import NO_STORE, EventStream, Request, Response
from .service import Service, failure, refusal_of
from .sessions import alive

_VARY = ("Vary", "Cookie, Authorization")


async def follow(service: Service, request: Request) -> Response:
    """The events of the caller's logins; 204 for nobody, after which an EventSource does not come back (HTML 9.2.3)."""
    if service.same_origin(request) is False:
        return Response(204, (NO_STORE, _VARY))  # the page of another site could only use up what a login may have
    try:
        arrived = await service.arrived(request)
        # Also what cannot be verified: a revocation of it is known here all the same. Not what a verifier refuses.
        live = [each for each in arrived.live if each.fault is None and not each.is_client]
        # Who observes, ends nothing: the application goes on, so the page must, too.
        identities = [] if service.settings.mode == "observe" else await alive(service, request, live)
    except Refused as refused:
        return refusal_of(refused).with_headers((_VARY,))
    except StoreError:
        text = "Whether this login is alive cannot be known right now; try again"
        return failure(503, "temporarily_unavailable", text, (("Retry-After", "1"), _VARY))
    if not identities:
        return Response(204, (NO_STORE, _VARY))
    return EventStream(204, (NO_STORE, _VARY), identities=tuple(identities))


def refused(why: str) -> Response:
    """There are too many streams already; whoever asks may poll instead."""
    return failure(429, "too_many_streams", why, (("Retry-After", "30"), _VARY))
