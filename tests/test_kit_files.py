"""The browser kit as the middleware serves it: names, caching, compression, and what else a browser is told."""

from __future__ import annotations

import gzip
import hashlib
import re
from base64 import b64encode

import pytest

from logout_middleware.endpoints.kit import MODULES

from .client import BuildSite, Site

ZIPPED = {"Accept-Encoding": "br, gzip;q=0.8"}


def lasting(http: Site, name: str) -> str:
    """The address of a module that never changes, as the configuration tells it."""
    url: str = http.get("/.well-known/logout-configuration").json["browser_kit"][name]["url"]
    return url


@pytest.mark.parametrize("name", MODULES)
def test_every_module_is_a_script_that_is_asked_for_anew(http: Site, name: str) -> None:
    """By its plain name, with what keeps browsers from reading anything else into it."""
    answer = http.get(f"/auth/{name}")

    assert answer.status == 200
    assert answer.header("content-type") == "text/javascript; charset=utf-8"
    assert answer.header("cache-control") == "no-cache"
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("content-security-policy") == "default-src 'none'"
    assert re.fullmatch(r'"[0-9a-f]{32}"', answer.header("etag") or "")
    assert "Accept-Encoding" in (answer.header("vary") or "")


@pytest.mark.parametrize("name", MODULES)
def test_who_has_it_gets_304(http: Site, name: str) -> None:
    """Each form has a strong tag of its own; another tag gets the whole file."""
    for headers in ({}, ZIPPED):
        tag = http.get(f"/auth/{name}", headers=headers).header("etag") or ""

        same = http.get(f"/auth/{name}", headers=headers | {"If-None-Match": f'"x", {tag}'})
        other = http.get(f"/auth/{name}", headers=headers | {"If-None-Match": '"x"'})

        assert (same.status, same.body, same.header("etag")) == (304, b"", tag)
        assert other.status == 200
    assert tag.endswith('-gzip"')


@pytest.mark.parametrize("name", MODULES)
def test_it_comes_compressed_to_who_can_read_that(http: Site, name: str) -> None:
    """And plain to everybody else, `gzip;q=0` included."""
    zipped, plain = http.get(f"/auth/{name}", headers=ZIPPED), http.get(f"/auth/{name}")
    refused = http.get(f"/auth/{name}", headers={"Accept-Encoding": "gzip;q=0"})

    assert zipped.header("content-encoding") == "gzip"
    assert gzip.decompress(zipped.body) == plain.body == refused.body
    assert plain.header("content-encoding") is None


@pytest.mark.parametrize("name", MODULES)
def test_a_name_with_a_digest_may_be_kept_for_ever(http: Site, name: str) -> None:
    """What it imports has such a name, too, and its integrity is told."""
    told = http.get("/.well-known/logout-configuration").json["browser_kit"][name]

    answer = http.get(told["url"])

    assert answer.header("cache-control") == "public, max-age=31536000, immutable"
    assert told["integrity"] == f"sha384-{b64encode(hashlib.sha384(answer.body).digest()).decode()}"
    imported = re.findall(r'"\./([\w.-]+\.js)"', answer.text)
    assert all(re.search(r"\.[0-9a-f]{12}\.js$", each) for each in imported)
    assert [http.get(f"/auth/{each}").status for each in imported] == [200] * len(imported)
    assert imported or name in ("logout.js", "logout-watch.js")


def test_a_digest_that_is_not_ours_is_the_applications_path(http: Site) -> None:
    """Nothing else under the prefix is taken."""
    assert http.get("/auth/logout.000000000000.js").status == 404


def test_without_the_group_there_is_no_kit(site: BuildSite) -> None:
    """LOGOUT_ENDPOINTS without `browser`."""
    http = site(endpoints="logout,sessions")

    assert http.get("/auth/logout.js").status == 404
    assert http.get("/auth/events").status == 404
    assert "browser_kit" not in http.get("/.well-known/logout-configuration").json


def test_a_page_of_a_trusted_origin_may_load_it(site: BuildSite) -> None:
    """A module script of another origin is a CORS request."""
    http = site(trusted_origins="https://www.example.org")

    answer = http.get("/auth/logout.js", headers={"Origin": "https://www.example.org"})

    assert answer.header("access-control-allow-origin") == "https://www.example.org"


def test_addresses_are_absolute_where_the_origin_is_known(site: BuildSite) -> None:
    """So that a page on another host can use them."""
    assert lasting(site(public_url="https://app.example.com"), "logout.js").startswith("https://app.example.com/auth/")
