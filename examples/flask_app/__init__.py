"""The Flask example: `app.py`, with the page and its style and script in `../templates` and `../static`."""
