"""The README's table of presets: each row is started as it says, and each of its requests is sent."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from logout_middleware import ConfigurationError
from logout_middleware.presets import PRESETS
from tests.client import Answer, BuildSite, Device, Site

README = Path(__file__).parents[2] / "README.md"
ORDINARY = ("jwt_key", "jwt_algorithms", "cookie_secret", "token_requests", "token_responses", "secret")
"""What the sites of the tests have unless it is taken away."""


@dataclass(frozen=True)
class Row:
    """One preset as the README describes it. `exchanges`: the code spans of each request, and of its answer."""

    required: Mapping[str, str | None]
    exchanges: list[tuple[list[str], list[str]]]


def _spans(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def _row(cells: list[str]) -> tuple[str, Row]:
    (preset,), required = _spans(cells[0]), [span.partition("=") for span in _spans(cells[2])]
    requests, answers = (cell.split("<br>") for cell in cells[3:5])
    return preset, Row(
        {name.removeprefix("LOGOUT_").lower(): value or None for name, _, value in required},
        [(_spans(asked), _spans(answered)) for asked, answered in zip(requests, answers, strict=True)],
    )


SECTION = README.read_text("utf-8").partition("\n## Presets\n")[2].partition("\n## ")[0]
TABLE = [line.strip("| ").split(" | ") for line in SECTION.splitlines() if line.startswith("| `")]
ROWS = dict(_row(cells) for cells in TABLE)


def start(site: BuildSite, preset: str, *, but: str | None = None) -> Site:
    """The site of a row: its preset and what it requires, and nothing else; `but`: without this one."""
    required = {name: value for name, value in ROWS[preset].required.items() if name != but}
    taken: dict[str, Any] = {name: None for name in ORDINARY if name not in required}
    if "jwt_key" in required:
        taken.pop("jwt_algorithms")  # the two are one
    return site(preset=preset, **taken, **{name: value for name, value in required.items() if value is not None})


def send(http: Site, spans: list[str], device: Device) -> Answer:
    """Send a request as it is written, with this device's credentials where they belong."""
    known = {"<access token>": device.access, "<refresh token>": device.refresh, "<session>": device.cookie}
    headers: list[tuple[str, str]] = []
    body = b""
    (line, *rest) = spans
    for span in rest:
        for name, value in known.items():
            span = span.replace(name, value)
        span = re.sub(r"Basic <(.+)>", lambda pair: "Basic " + b64encode(pair[1].encode()).decode(), span)
        header = re.fullmatch(r"([A-Z][A-Za-z-]+): (.+)", span)
        assert "<" not in span, f"what is {span!r}?"
        if header:
            headers.append((header[1], header[2]))
        else:
            body = span.encode()
            kind = "json" if span.startswith("{") else "x-www-form-urlencoded"
            headers.append(("Content-Type", f"application/{kind}"))
    method, path = line.split(" ")
    return http.request(method, path, headers=headers, body=body)


def check(answer: Answer, spans: list[str], now: float) -> None:
    """The status, the headers that are named, and all of the body."""
    (status, *rest) = spans
    bodies = [span for span in rest if span.startswith("{")]
    assert answer.status == int(status)
    for name, _, value in (span.partition(": ") for span in rest if span not in bodies):
        assert answer.header(name) == value
    if not bodies:
        assert answer.body == b""
        return
    expected = json.loads(bodies[0])
    moment = [name for name, value in expected.items() if value == "<now>"]
    for name in moment:
        assert abs(datetime.fromisoformat(answer.json[name]).timestamp() - now) <= 1
        expected[name] = answer.json[name]
    assert list(answer.json.items()) == list(expected.items())


def alive(http: Site, device: Device) -> set[str]:
    """What of this device is accepted; a refresh token is sent as the README's settings say."""
    accepted = {
        "access token": http.me(token=device.access) == device.user,
        "refresh token": http.post("/refresh", json={"refreshToken": device.refresh}).status == 200,
        "session": http.me(cookie=device.cookie) == device.user,
    }
    return {name for name, is_accepted in accepted.items() if is_accepted}


def test_every_preset_of_a_seed_has_a_row() -> None:
    """In the order of the code, each once."""
    assert [_spans(cells[0])[0] for cells in TABLE] == [name for name in PRESETS if not name.startswith("aal")]
    assert {len(cells) for cells in TABLE} == {6}


@pytest.mark.parametrize("preset", ROWS)
def test_a_request_of_the_readme_gets_its_answer(site: BuildSite, preset: str) -> None:
    """With nothing but what the row requires; and what was sent is dead."""
    http = start(site, preset)
    ann, bob = http.login("ann"), http.login("bob")
    before = alive(http, ann)

    for asked, answered in ROWS[preset].exchanges:
        check(send(http, asked, ann), answered, http.clock())

    sent = " ".join(span for asked, _ in ROWS[preset].exchanges for span in asked)
    dead = {name for name in before if f"<{name}>" in sent}
    assert len(before) == 3
    assert len(dead) == 1
    assert not dead & alive(http, ann)
    assert alive(http, bob) == before


@pytest.mark.parametrize(("preset", "name"), [(preset, name) for preset, row in ROWS.items() for name in row.required])
def test_what_a_row_requires_is_required(site: BuildSite, preset: str, name: str) -> None:
    """Each of them: without it nothing starts, and the mistake is named."""
    with pytest.raises(ConfigurationError, match=f"LOGOUT_{name.upper()}: "):
        start(site, preset, but=name)
