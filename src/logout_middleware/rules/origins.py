"""Is this request of our own site? (Fetch Metadata; RFC 6454 7; contract 4.1, 4.2)"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

_NOT_IN_A_HOST = set("/\\@?#, \t")


def is_same_origin(
    *,
    fetch_site: Sequence[str],
    origin: Sequence[str],
    public_url: str | None,
    host: str | None,
    trusted: Collection[str],
) -> bool | None:
    """True for our own pages and trusted origins, False for any other, None where the request does not say.

    Our own origin is `public_url`, else any scheme with this Host. A repeated or contradicting header is False. A
    trusted origin is cross-site to the browser, so Origin decides for it.
    """
    if len(origin) > 1 or len(fetch_site) > 1:
        return False
    said = origin[0] if origin else None
    if said is not None and said in trusted:
        return True
    if fetch_site:
        # No page can forge Sec-Fetch-Site. A page of ours under `Referrer-Policy: no-referrer` posts with
        # `Origin: null` (Fetch 3.1); an opaque origin, which says null as well, is cross-site to the browser.
        return fetch_site[0] == "same-origin" and (public_url is None or said in (None, "null", public_url))
    if said is None:
        return None
    if public_url is not None:
        return said == public_url
    # A proxy may have ended TLS, so the scheme that we see is not the browser's; the host is.
    return host is not None and not set(host) & _NOT_IN_A_HOST and said in (f"http://{host}", f"https://{host}")


def is_navigation_by_user(header: dict[str, str]) -> bool:
    """Did a person follow a link of our own site in this window? (Fetch Metadata; no script can forge `?1`)"""
    wanted = {
        "sec-fetch-site": "same-origin",
        "sec-fetch-mode": "navigate",
        "sec-fetch-dest": "document",
        "sec-fetch-user": "?1",
    }
    return all(header.get(name) == value for name, value in wanted.items())


def is_prefetch(header: dict[str, str]) -> bool:
    """Is a browser loading this ahead of any wish to see it? Such a request must not change anything."""
    return any("prefetch" in header.get(name, "").lower() for name in ("sec-purpose", "purpose", "x-moz"))


def is_this_machine(host: str | None) -> bool:
    """Is this Host the developer's own machine, where plain http harms nobody? (W3C Secure Contexts 3.1)"""
    return bool(re.fullmatch(r"(localhost|([a-z0-9-]+\.)+localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?", host or ""))
