"""`<logout-button>` and the React hooks in Chromium, under a policy that allows no inline script and no inline style.

`served.py` is the application, `conftest.py` runs it under uvicorn and opens tabs that remember everything that must
not happen, `tab.py` is such a tab.
"""
