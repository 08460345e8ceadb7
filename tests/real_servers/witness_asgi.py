"""The Starlette example, with a header that names the worker which answered."""

from __future__ import annotations

import os
from pathlib import Path

from examples.starlette_app.app import app as example

WORKER = str(os.getpid())
Path(os.environ["WORKERS_FOLDER"], WORKER).touch()


async def app(scope, receive, send):
    async def sign(message):
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], (b"x-worker-pid", WORKER.encode())]}
        await send(message)

    await example(scope, receive, sign)
