"""The browser kit as files: `GET /auth/logout.js` and its like (contract 4, group browser).

Each has two addresses. The plain one is asked for anew with its ETag; the one with a digest in its name never changes
and may be kept for ever (RFC 8246), and what it imports it imports under such a name, too.
"""

from __future__ import annotations

import gzip
import hashlib
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib import resources
from typing import Any

from werkzeug.http import parse_accept_header, parse_etags

from ..rules.http import Request, Response
from ..settings import LogoutSettings
from .events import follow
from .service import Methods, Service
from .sessions import who_am_i

# In this order: each imports only what stands before it.
MODULES = ("logout-watch.js", "logout.js", "logout-button.js", "logout-react.js", "logout-adapters.js")
_VARY = ("Vary", "Accept-Encoding, Origin")
_OF_SCRIPTS = (
    ("Content-Type", "text/javascript; charset=utf-8"),
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'"),
    ("Cross-Origin-Resource-Policy", "cross-origin"),  # there is nothing in it that is anybody's
)
_REVALIDATED = "no-cache"
_FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class File:
    """One text under one name."""

    name: str
    body: bytes
    zipped: bytes
    digest: str
    cache_control: str

    @property
    def integrity(self) -> str:
        """What a script element's `integrity` must say (SRI 3.1)."""
        return f"sha384-{b64encode(hashlib.sha384(self.body).digest()).decode('ascii')}"


@lru_cache(maxsize=1)
def files() -> Mapping[str, tuple[File, File]]:
    """Every module: under its plain name, and under the name with its digest."""
    found: dict[str, tuple[File, File]] = {}
    for name in MODULES:
        text = resources.files("logout_middleware.browser").joinpath(name).read_text("utf-8")
        plain = _file(name, text, _REVALIDATED)
        for other, (_, lasting) in found.items():
            text = text.replace(f'"./{other}"', f'"./{lasting.name}"')
        digest = hashlib.sha256(text.encode("utf-8")).hexdigest()[:12]
        found[name] = plain, _file(f"{name.removesuffix('.js')}.{digest}.js", text, _FOR_EVER)
    return found


def _file(name: str, text: str, cache_control: str) -> File:
    body = text.encode("utf-8")
    zipped = gzip.compress(body, 9, mtime=0)
    return File(name, body, zipped, hashlib.sha256(body).hexdigest()[:32], cache_control)


async def send(file: File, request: Request) -> Response:
    """The file, or 304 for whoever has it (RFC 9110 13.1.2)."""
    accepted = parse_accept_header((request.header("accept-encoding") or "")[:256])
    is_zipped = accepted["gzip"] > 0
    # A strong tag names exact bytes, so each form has its own (RFC 9110 8.8.3.3).
    tag = f"{file.digest}-gzip" if is_zipped else file.digest
    headers = (("ETag", f'"{tag}"'), ("Cache-Control", file.cache_control), _VARY)
    if parse_etags((request.header("if-none-match") or "")[:1024]).contains_weak(tag):
        return Response(304, headers)
    if is_zipped:
        return Response(200, (*headers, *_OF_SCRIPTS, ("Content-Encoding", "gzip")), file.zipped)
    return Response(200, (*headers, *_OF_SCRIPTS), file.body)


def addresses(settings: LogoutSettings) -> dict[str, Any]:
    """Where pages find the modules: by name, the lasting address and what `integrity` it has."""
    base = (settings.public_url or "") + settings.prefix
    return {
        name: {"url": f"{base}/{lasting.name}", "integrity": lasting.integrity}
        for name, (_, lasting) in files().items()
    }


def paths(service: Service, prefix: str) -> dict[str, Methods]:
    """The table of this group."""
    # The kit asks who is logged in, whether the group `sessions` is served or not.
    table: dict[str, Methods] = {
        f"{prefix}/events": {"GET": partial(follow, service)}, f"{prefix}/session": {"GET": partial(who_am_i, service)},
    }  # fmt: skip
    for pair in files().values():
        table |= {f"{prefix}/{file.name}": {"GET": partial(send, file)} for file in pair}
    return table
