"""Prepare one peer, in a process of its own: `python -m benchmarks.peers NAME COUNT REVOKED`."""

from __future__ import annotations

import importlib
import json
import sys


def main() -> None:
    """Print the tokens that it accepts, and one of those that it does not."""
    name, count, revoked = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    peer = importlib.import_module(f"benchmarks.peers.{name}.app")
    peer.prepare()
    dead = peer.issue(max(1, revoked))
    peer.revoke(dead)
    print(json.dumps({"tokens": peer.issue(count), "live": peer.issue(1)[0], "revoked": dead[0]}))


if __name__ == "__main__":
    main()
