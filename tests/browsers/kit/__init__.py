"""The browser kit (`logout.js`) in a real browser, against a real server, under a strict Content-Security-Policy."""
