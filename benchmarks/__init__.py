"""What the guard costs, as ratios against the same application without it. Run it with `make bench`.

The map: `__main__.py` runs the suites and prints; `pair.py` measures fairly; `traffic.py` has the requests, `stacks.py`
the applications and how they are called in process; `suites/` has one file per question; `targets.toml` has the limits,
`targets.py` compares; `noise.py` says how quiet this machine is; `report.py` writes the table and the JSON file.

The package never imports anything from here. No absolute time is ever a limit, with one exception that is printed
beside the bare application's own: see `targets.toml`.
"""
