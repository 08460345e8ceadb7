"""Requests in flight while their browser logs out: the races M5, M6 and M7 of what was measured in released packages.

`steps` runs requests of one application side by side and stops each at its steps, so that a seed decides the order
of everything; `sites` puts applications behind the middleware; `apps_*` are those applications; `play` plays
interleavings and judges them. `python -m tests.races <application> defects|interleavings` does so in a process of its
own, which the tests need for an old Starlette and for the settings of Django.
"""
