"""The same tests in Chromium, Firefox and WebKitGTK, against one real server under a strict CSP.

`browser.py` says what a browser, a profile and a tab can do, `chromium.py` does it through Playwright, `remote.py`
through `drive.mjs`, a remote control in Node for the other two. `served.py` is the application, `site.py` its server.
`watch.js` is in each of its pages and notes what goes wrong there; `test_remote_control.py` proves that it does.
"""
