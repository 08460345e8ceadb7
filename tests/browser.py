"""What a browser keeps of the cookies that it is sent (RFC 6265bis 5.7): a model, as small as the tests need.

Checked against real browsers in `identity.md` section 9: a deletion that breaks a rule of its name prefix is
ignored, and the cookie is sent on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

Place = tuple[str, str, str, bool, bool]
"""Name, domain, path, host-only, partitioned: what makes two cookies one."""


@dataclass
class Jar:
    """The cookies of one browser."""

    kept: dict[Place, tuple[str, bool]] = field(default_factory=dict)

    def take(self, url: str, lines: list[str]) -> None:
        """Obey these Set-Cookie lines of an answer from this address, each as far as the rules allow."""
        for line in lines:
            self._take(url, line)

    def _take(self, url: str, line: str) -> None:
        pair, *rest = (part.strip() for part in line.split(";"))
        name, _, value = pair.partition("=")
        given = {key.strip().lower(): text.strip() for key, _, text in (part.partition("=") for part in rest)}
        parts = urlsplit(url)
        host, is_secure = parts.hostname or "", parts.scheme == "https"
        domain = given.get("domain", "").lstrip(".").lower()
        host_only = not domain or (domain == host and "domain" not in given)
        path = given.get("path", "")
        if not path.startswith("/"):
            path = parts.path.rpartition("/")[0] or "/"
        if domain and host != domain and not host.endswith("." + domain):
            return
        if not _keeps_the_rules(name, given, is_secure=is_secure, path=path):
            return
        place = (name, domain or host, path, host_only, "partitioned" in given)
        if (given.get("max-age", "1").lstrip("-").isdigit() and int(given.get("max-age", "1")) <= 0) or (
            "max-age" not in given and "1970" in given.get("expires", "")
        ):
            self.kept.pop(place, None)
        else:
            self.kept[place] = (value, "secure" in given)

    def sent_to(self, url: str) -> dict[str, str]:
        """The cookies that go with a request to this address."""
        parts = urlsplit(url)
        host, path = parts.hostname or "", parts.path or "/"
        found = {}
        for (name, domain, at, host_only, _), (value, secure) in self.kept.items():
            right_host = host == domain or (not host_only and host.endswith("." + domain))
            right_path = path == at or path.startswith(at.rstrip("/") + "/")
            if right_host and right_path and (parts.scheme == "https" or not secure):
                found[name] = value
        return found


def _keeps_the_rules(name: str, given: dict[str, str], *, is_secure: bool, path: str) -> bool:
    """Would a browser look at this cookie at all? (RFC 6265bis 5.7, steps 8 to 22)"""
    prefix, secure = name.lower(), "secure" in given
    if secure and not is_secure:
        return False
    if (given.get("samesite", "").lower() == "none" or "partitioned" in given) and not secure:
        return False
    if prefix.startswith(("__secure-", "__host-", "__http-", "__host-http-")) and not secure:
        return False
    if prefix.startswith(("__http-", "__host-http-")) and "httponly" not in given:
        return False
    if prefix.startswith(("__host-", "__host-http-")):
        return not given.get("domain") and given.get("path") == "/" and path == "/"
    return True
