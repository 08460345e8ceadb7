"""A real browser, Debian's Chromium, logs in and out of real servers over https, and its cookie jar is looked into.

`kinds.py` says in which ways applications keep a login in cookies, `served.py` is such an application in Starlette
and in Flask, `site.py` runs it under uvicorn and gunicorn, `visitor.py` is a person with a browser.
"""
