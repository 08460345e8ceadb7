"""The Starlette example: `app.py` is all of it."""
