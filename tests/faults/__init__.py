"""Is an acknowledged logout ever lost? Real servers are broken under load, and a pure function judges what was seen.

    python -m tests.faults [--seconds 10] [--only NAME] [--seed N] [--list]

`topology` starts stores and workers, `injuries` breaks them, `clients` logs in, uses and logs out, and writes a
history; `judge` reads it. `scenarios` says what is broken where; `moments` kills at a thousand random moments.
"""
