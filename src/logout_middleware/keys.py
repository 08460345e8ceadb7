"""The keys of settings that verify JWTs. Those that somebody else publishes are in `providers.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .errors import ConfigurationError


class StaticKeys:
    """The keys of LOGOUT_JWT_KEY, parsed once. Raises ConfigurationError for a key its algorithms cannot use."""

    def __init__(self, texts: Sequence[str], algorithms: Sequence[str]) -> None:
        self._keys = tuple(_parse_key(text, algorithms) for text in texts)

    async def find(self, text: str) -> Sequence[Any]:
        """All of them; a token's `kid` decides nothing."""
        return self._keys


def _parse_key(text: str, algorithms: Sequence[str]) -> Any:
    import jwt

    is_public = "-----BEGIN" in text
    fitting = [name for name in algorithms if name.startswith("HS") != is_public]
    for name in fitting:
        try:
            return jwt.get_algorithm_by_name(name).prepare_key(text)
        except NotImplementedError:
            raise ConfigurationError(
                f"E211 LOGOUT_JWT_ALGORITHMS: {name} needs: pip install 'logout-middleware[crypto]'"
            ) from None
        except (jwt.InvalidKeyError, ValueError, TypeError):
            continue
    kind = "a public key" if is_public else "a shared secret"
    raise ConfigurationError(
        f"E210 LOGOUT_JWT_KEY: one of the keys is {kind}, but none of LOGOUT_JWT_ALGORITHMS={','.join(algorithms)} "
        "can use it; a PEM block goes with RS, PS, ES or EdDSA, a secret with HS256, HS384 or HS512"
    )
