"""Applications whose connections never end by themselves, behind the middleware; they note what reaches them.

`/ws`, `/stream` and `/download` tick; `/sse` is Starlette's own streamed response. The first thing that each says is
the pid of its worker. The query of a connection: `id` names it in `/counts`, `every` is the pause between two ticks in
seconds, `accept_after` how long the application thinks about a handshake, `pad` the bytes that each tick has more, and
`deaf=1` makes it never look at what comes in, so that it learns from `send` alone that somebody left.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import parse_qsl

import jwt
from starlette.responses import StreamingResponse

from logout_middleware import asgi, wsgi

PID = str(os.getpid())
KEY = os.environ["LOGOUT_JWT_KEY"]
EVENT_STREAM, ENDLESS = "text/event-stream", "application/octet-stream"

_noted: dict[str, dict[str, Any]] = {}
"""By the name of a connection: which words were heard how often, and how the application learned of its end."""


def _note(asked: dict[str, str]) -> dict[str, Any]:
    return _noted.setdefault(asked.get("id", ""), {"pid": PID, "heard": {}, "ended": [], "heard_after_end": 0})


def _query(text: str) -> dict[str, str]:
    return {"every": "0.05", "accept_after": "0", "pad": "0", "deaf": "", **dict(parse_qsl(text))}


# ---- ASGI ----------------------------------------------------------------------------------------------


async def application(scope: Any, receive: Any, send: Any) -> None:
    """The ASGI application, not guarded."""
    if scope["type"] == "lifespan":
        await _live_and_die(receive, send)
    elif scope["type"] == "websocket":
        await _talk(_query(scope["query_string"].decode()), receive, send)
    else:
        await _PAGES[scope["path"]](scope, receive, send)


async def _live_and_die(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _talk(asked: dict[str, str], receive: Any, send: Any) -> None:
    """A socket: ticks, and repeats what it hears."""
    note = _note(asked)
    connecting = await receive()
    assert connecting["type"] == "websocket.connect"
    await asyncio.sleep(float(asked["accept_after"]))
    try:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": PID})
    except OSError as error:
        note["ended"].append(type(error).__name__)
        return
    ticking = asyncio.create_task(_tick(float(asked["every"]), note, send))
    try:
        if asked["deaf"]:
            await ticking
            return
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                note["ended"].append(f"disconnect {message.get('code')}")
                return
            word = message.get("text") or (message.get("bytes") or b"").decode()
            note["heard"][word] = note["heard"].get(word, 0) + 1
            note["heard_after_end"] += bool(note["ended"])
            with contextlib.suppress(OSError):
                await send({"type": "websocket.send", "text": word})
    finally:
        ticking.cancel()


async def _tick(every: float, note: dict[str, Any], send: Any) -> None:
    number = 0
    try:
        while True:
            await asyncio.sleep(every)
            number += 1
            await send({"type": "websocket.send", "text": f"tick {number}"})
    except OSError:
        note["ended"].append("OSError")


async def _flow(scope: Any, receive: Any, send: Any) -> None:
    """A streamed body: an event stream, or a download without end."""
    asked = _query(scope["query_string"].decode())
    note = _note(asked)
    is_events = scope["path"] == "/stream"
    start = b"data: %b\n\n" if is_events else b"%b\n"
    await receive()  # the request itself
    kind = EVENT_STREAM if is_events else ENDLESS
    leaving = None if asked["deaf"] else asyncio.ensure_future(receive())
    try:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind.encode())]})
        await send({"type": "http.response.body", "body": start % PID.encode(), "more_body": True})
        number = 0
        while True:
            if await _left_within(leaving, float(asked["every"])):
                note["ended"].append(leaving.result()["type"])
                return
            number += 1
            tick = b"tick %d" % number + b"." * int(asked["pad"])
            await send({"type": "http.response.body", "body": start % tick, "more_body": True})
    except OSError:
        note["ended"].append("OSError")
    finally:
        if leaving is not None:
            leaving.cancel()


async def _left_within(leaving: asyncio.Future[Any] | None, seconds: float) -> bool:
    if leaving is None:
        await asyncio.sleep(seconds)
        return False
    done, _ = await asyncio.wait([leaving], timeout=seconds)
    return bool(done)


async def _starlette(scope: Any, receive: Any, send: Any) -> None:
    """The event stream as Starlette sends it."""
    asked = _query(scope["query_string"].decode())
    note = _note(asked)

    async def events() -> AsyncIterator[str]:
        try:
            yield f"data: {PID}\n\n"
            number = 0
            while True:
                await asyncio.sleep(float(asked["every"]))
                number += 1
                yield f"data: tick {number}\n\n"
        finally:
            note["ended"].append("generator left")

    await StreamingResponse(events(), media_type=EVENT_STREAM)(scope, receive, send)


async def _who(scope: Any, receive: Any, send: Any) -> None:
    await _say({"pid": PID}, send)


async def _counts(scope: Any, receive: Any, send: Any) -> None:
    """What this worker noted of the connections whose name begins with this `id`."""
    wanted = _query(scope["query_string"].decode()).get("id", "")
    await _say({name: note for name, note in _noted.items() if name.startswith(wanted)}, send)


async def _refresh(scope: Any, receive: Any, send: Any) -> None:
    """Another access token of the same session; with `retire=1` the old one is revoked, as a rotation does."""
    old = next(value for name, value in scope["headers"] if name == b"authorization").decode()[len("Bearer ") :]
    claims = jwt.decode(old, KEY, algorithms=["HS256"])
    new = jwt.encode({**claims, "jti": os.urandom(8).hex(), "iat": time.time()}, KEY, algorithm="HS256")
    if _query(scope["query_string"].decode()).get("retire"):
        await app.logout.revoke_token(old, reason="refresh")
    await _say({"access_token": new}, send)


async def _say(found: Any, send: Any) -> None:
    body = json.dumps(found).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


_PAGES = {
    "/stream": _flow, "/download": _flow, "/sse": _starlette, "/who": _who, "/counts": _counts, "/refresh": _refresh,
}  # fmt: skip

app = asgi.LogoutMiddleware(application)


# ---- WSGI ----------------------------------------------------------------------------------------------


def _wsgi_application(environ: dict[str, Any], start_response: Any) -> Any:
    path, asked = environ["PATH_INFO"], _query(environ["QUERY_STRING"])
    if path in ("/stream", "/download"):
        start_response("200 OK", [("Content-Type", EVENT_STREAM if path == "/stream" else ENDLESS)])
        return _iterate(b"data: %b\n\n" if path == "/stream" else b"%b\n", float(asked["every"]), _note(asked))
    found = {"pid": PID} if path == "/who" else _noted
    body = json.dumps({k: v for k, v in found.items() if path == "/who" or k.startswith(asked.get("id", ""))}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def _iterate(form: bytes, every: float, note: dict[str, Any]) -> Iterator[bytes]:
    try:
        yield form % PID.encode()
        number = 0
        while True:
            time.sleep(every)
            number += 1
            yield form % b"tick %d" % number
    finally:
        note["ended"].append("iterator closed")


wsgi_app = wsgi.LogoutMiddleware(_wsgi_application)
"""The WSGI application, guarded: the same streams, of an iterator that sleeps."""
