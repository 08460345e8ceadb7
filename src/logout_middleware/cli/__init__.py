"""The command line: `logout-middleware`, or `python -m logout_middleware`.

Settings come from the environment and `.env`, as for the middleware, so that both speak to the same store.
Exit status: 0 done, 1 a finding (a wrong setting, a refused token, a store that is away), 2 wrong usage.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; click comes with the extra `cli`."""
    try:
        from .commands import root
        from .serve import serve
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        print("the command line needs: pip install 'logout-middleware[cli]'", file=sys.stderr)
        sys.exit(2)
    root.add_command(serve)
    root(prog_name="logout-middleware")
