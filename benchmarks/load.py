"""A small load generator for where wrk is not: `python -m benchmarks.load PORT SECONDS CONNECTIONS`.

Like `suites/rotate.lua` under wrk it reads BENCH_HEAD and BENCH_TOKENS and prints one line of JSON. It is slower than
wrk, so the workers are not saturated; their CPU time per request can be compared all the same.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path


async def one_connection(port: int, end: float, requests: Iterator[bytes], seen: Counter[str]) -> None:
    """Send one request after the other on one connection until the time is up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < end:
        writer.write(next(requests))
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        await reader.readexactly(length)
        seen["requests"] += 1
        seen["not_2xx"] += not head.startswith(b"http/1.1 2")
    writer.close()


async def load(port: int, seconds: float, connections: int) -> Counter[str]:
    """What so many connections saw in so many seconds."""
    head = Path(os.environ["BENCH_HEAD"]).read_bytes()
    texts = Path(os.environ["BENCH_TOKENS"]).read_bytes().split()
    requests = itertools.cycle([head + text + b"\r\n\r\n" for text in texts])
    seen = Counter(requests=0, not_2xx=0, broken=0)
    end = time.monotonic() + seconds
    running = [one_connection(port, end, requests, seen) for _ in range(connections)]
    outcomes = await asyncio.gather(*running, return_exceptions=True)
    seen["broken"] = sum(isinstance(outcome, BaseException) for outcome in outcomes)
    return seen


if __name__ == "__main__":
    print(json.dumps(asyncio.run(load(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))))
