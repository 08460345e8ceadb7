"""What people use today, each set up as its own documentation says, in `<name>/app.py`.

An `app.py` has `checked`, the application that refuses what was logged out (`benchmarks/apps.py` has the same without a
check). `prepare()` makes tables and users, `issue(count)` gives
tokens that it accepts, `revoke(tokens)` logs them out in its own way. They find their stores in PEER_REDIS and
PEER_DATABASE (a SQLAlchemy URL). `python -m benchmarks.peers NAME COUNT REVOKED` prepares one, prints so many tokens
as JSON, and logs so many others out.

Their versions are those of `requirements.lock`, which `make bench-http` installs into an environment of its own.
"""
