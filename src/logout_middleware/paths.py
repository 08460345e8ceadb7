"""Which paths are ours, which are exempt, which carry tokens: looked up, never matched.

Paths come from the server's own parsing (`scope["path"]`, `PATH_INFO`), never from Host or a forwarded header.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .endpoints import Endpoint
from .values import TokenPath


@dataclass(frozen=True, slots=True)
class Paths:
    """`special`: endpoints and token paths by exact path; one miss is all that an ordinary request pays."""

    special: Mapping[str, Endpoint | tuple[TokenPath, ...]]
    exempt: frozenset[str] = frozenset()
    exempt_prefixes: tuple[str, ...] = field(default=())

    def is_exempt(self, path: str) -> bool:
        """Is this path never guarded? A prefix does not cover what a proxy or the application could resolve away."""
        if path in self.exempt:
            return True
        plain = "/." not in path and "\\" not in path and "%" not in path
        return plain and path.startswith(self.exempt_prefixes) if self.exempt_prefixes else False


def lay_out(endpoints: Mapping[str, Endpoint], token_paths: tuple[TokenPath, ...], exempt: tuple[str, ...]) -> Paths:
    """The paths of one middleware. An endpoint wins over a token path of the same name."""
    special: dict[str, Endpoint | tuple[TokenPath, ...]] = {}
    for each in token_paths:
        # Many routers serve a path with and without a slash at its end.
        for path in {each.path, each.path.rstrip("/") + "/", each.path.rstrip("/") or "/"}:
            others = special.get(path, ())
            special[path] = (*others, each) if isinstance(others, tuple) else (each,)
    special.update(endpoints)
    exact = frozenset(path for path in exempt if not path.endswith("/"))
    return Paths(special, exact, tuple(path for path in exempt if path.endswith("/")))


def below_root(path: str, root: str) -> str:
    """The path below the place where the application is mounted; servers of the old reading give it without."""
    root = root.rstrip("/")
    if root and (path == root or path.startswith(root + "/")):
        return path[len(root) :]
    return path
