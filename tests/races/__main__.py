"""`python -m tests.races <application> defects`, or `… interleavings --seed 1 --count 1000`: a verdict in JSON.

With `PYTHONPATH` naming a folder with another release of a framework, it is that release that is judged.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

from . import apps_cookies, apps_servers
from .play import defects, play
from .sites import Application, open_site

APPLICATIONS: dict[str, Application] = {
    each.name: each
    for each in (
        apps_cookies.STARLETTE, apps_cookies.STARLETTE_JWT, apps_cookies.FLASK, apps_cookies.FLASK_JWT,
        apps_servers.FLASK_SESSION, apps_servers.DJANGO_SIGNED,
        apps_servers.DJANGO_ASGI, apps_servers.DJANGO_DB, apps_servers.DJANGO_CACHE,
    )
}  # fmt: skip
RELEASES = ("starlette", "flask", "flask-session", "django")


def main() -> None:
    """Print the verdict."""
    parser = argparse.ArgumentParser(prog="python -m tests.races")
    parser.add_argument("application", choices=APPLICATIONS)
    parser.add_argument("what", choices=["defects", "interleavings", "logins"])
    parser.add_argument("--seed", type=int, default=0, help="the first of them")
    parser.add_argument("--count", type=int, default=1)
    given = parser.parse_args()
    application = APPLICATIONS[given.application]
    told: dict[str, Any] = {"releases": {name: version(name) for name in RELEASES}}
    if given.what == "defects":
        with open_site(application, None) as site:
            told |= defects(site)
    else:
        told |= interleavings(application, given.seed, given.count, login_again=given.what == "logins")
    print(json.dumps(told))


def interleavings(application: Application, seed: int, count: int, *, login_again: bool) -> dict[str, Any]:
    """How many of these courses went well; the story of each of the first that did not."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, open_site(application, Path(folder)) as site:
        courses = [play(site, number, login_again=login_again) for number in range(seed, seed + count)]
    return {
        "played": count,
        "well": sum(not course.wrong for course in courses),
        "late": sum(course.answered_late > 0 for course in courses),
        "wrong": Counter(kind for course in courses for kind in {kind for kind, _ in course.wrong}),
        "new login left the jar": sum(course.new_login_left_the_jar for course in courses),
        "stories": [course.story() for course in courses if course.wrong][:3],
        "seconds": round(time.monotonic() - began, 1),
    }


if __name__ == "__main__":
    main()
