"""What can go wrong, and whose fault it is.

    LogoutError
    ├── ConfigurationError   the operator: a setting is missing or wrong; raised at start-up
    ├── StoreError           the system: the store cannot answer or cannot promise; raised per call
    └── Refused              the client: this request cannot be granted; becomes a 4xx answer

No message ever contains a token, a cookie value or a secret.
"""

from __future__ import annotations

from collections.abc import Sequence


class LogoutError(Exception):
    """The root of every error this package raises on purpose."""


class ConfigurationError(LogoutError):
    """One or more settings are wrong; `mistakes` lists all of them, each with id, variable and remedy."""

    def __init__(self, mistakes: Sequence[str] | str) -> None:
        self.mistakes: tuple[str, ...] = (mistakes,) if isinstance(mistakes, str) else tuple(mistakes)
        super().__init__("\n".join(self.mistakes))


class StoreError(LogoutError):
    """The store could not answer, or could not promise that it keeps what it was given.

    After a failed `add` the revocation may or may not be stored: add it again.
    """


class Refused(LogoutError):
    """The request is the client's mistake: `status` is the 4xx to answer, `code` its stable name.

    `headers`: fields that this answer needs, such as a challenge.
    """

    def __init__(self, status: int, code: str, description: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        self.status, self.code, self.description, self.headers = status, code, description, headers
        super().__init__(f"{status} {code}: {description}")
