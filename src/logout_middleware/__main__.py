"""`python -m logout_middleware` is the command line."""

from .cli import main

main()
