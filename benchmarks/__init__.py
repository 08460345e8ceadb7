"""What the guard costs, as ratios against the same application without it, and against what people use today.

`make bench` needs nothing but this package. `make bench-stores` starts Redis, PostgreSQL and MariaDB, `make bench-http`
also the peers, under wrk; what is not installed is skipped by name, and then the exit status is 2.

The map: `__main__.py` runs the suites and prints; `pair.py` measures fairly; `traffic.py` has the requests, `stacks.py`
the applications and how they are called in process, `apps.py` the same for `serving.py`, which starts servers, loads
them and reads what they used; `backends.py` opens stores on real servers; `suites/` has one file per question; `peers/`
has one folder per rival; `targets.toml` has the limits, `targets.py` compares; `noise.py` says how quiet this machine
is; `report.py` writes the tables and the JSON file.

The package never imports anything from here. Few limits are absolute times, and each says why: see `targets.toml`.
"""
