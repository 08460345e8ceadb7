"""The applications that uvicorn serves; the guard is set up by LOGOUT_* variables, like anybody's."""

from __future__ import annotations

import os

from logout_middleware.asgi import LogoutMiddleware

from ..stacks import NothingAsgi, starlette_app

bare = starlette_app()
nothing = NothingAsgi(bare)
if "LOGOUT_STORE" in os.environ:
    guarded = LogoutMiddleware(bare)
