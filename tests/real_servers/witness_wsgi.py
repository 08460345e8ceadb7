"""The Flask example, with a header that names the worker which answered."""

from __future__ import annotations

import os
from pathlib import Path

from examples.flask_app.app import app as example

WORKER = str(os.getpid())
Path(os.environ["WORKERS_FOLDER"], WORKER).touch()


def app(environ, start_response):
    def sign(status, headers, *exc_info):
        return start_response(status, [*headers, ("X-Worker-Pid", WORKER)], *exc_info)

    return example(environ, sign)
