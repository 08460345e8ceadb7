"""The Flask example: `app.py` is all of it."""
