"""`LogoutClient` and `AsyncLogoutClient`: revoke and introspect tokens at a service elsewhere (group `oauth`).

For applications that share no store with the service. The methods are written once, as coroutines; the blocking class
runs the same coroutines to their end. Needs httpx2, the extra `http`.
"""

from __future__ import annotations

import inspect
import json
import time
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, NoReturn, Self
from urllib.parse import quote_plus, urlsplit

from .colour import blocking
from .errors import ConfigurationError, Refused, StoreError
from .rules.credentials import required_token
from .rules.origins import is_this_machine

SECONDS = 5.0
"""How long a call may take, all in all."""
_MAX_ANSWER = 64 * 1024


class AsyncLogoutClient:
    """Revokes and introspects tokens at the service at `base_url`, under an event loop.

    `prefix`: its LOGOUT_PREFIX. `seconds`: how long one call may take. `http`: an `httpx2.AsyncClient` to use, for a
    proxy or a private certificate authority; who gives it closes it.
    """

    def __init__(
        self, base_url: str, client_id: str, client_secret: str, *, prefix: str = "/auth", seconds: float = SECONDS,
        http: Any = None,
    ) -> None:  # fmt: skip
        self._base_url, self._client_id, self._seconds = _checked(base_url) + prefix.rstrip("/"), client_id, seconds
        self._http, self._owns_http = http if http is not None else _httpx2().AsyncClient(), http is None
        self._is_async = hasattr(self._http, "aclose")
        pair = f"{quote_plus(client_id)}:{quote_plus(client_secret)}"  # RFC 6749 2.3.1
        self._fields = {
            "Authorization": "Basic " + b64encode(pair.encode("ascii")).decode("ascii"),
            "Accept": "application/json",
        }

    async def revoke_token(self, token: str, *, token_type_hint: str | None = None) -> bool:
        """True once the token, and by default its session, is dead (RFC 7009).

        Dead everywhere; or, while the service's store is away and its journal took the revocation, dead on that host
        and durable, and everywhere once the store is back. StoreError: it may still be alive; try again. Refused: the
        service will not do this. ConfigurationError: it does not know this client, or is no such service.
        """
        status, body = await self._ask("revoke", token, token_type_hint)
        # A page that answers 200 to everything has revoked nothing; the service sends no body.
        if status not in (200, 202) or body:
            raise StoreError(f"{self._base_url}/revoke answered {status}, which says nothing of the token")
        return True

    async def introspect_token(self, token: str) -> dict[str, Any]:
        """RFC 7662: `{"active": true, …}` for a live token, exactly `{"active": false}` for any other.

        Errors as for `revoke_token`: not knowing is never "inactive".
        """
        status, body = await self._ask("introspect", token, None)
        members = _json_object(body)
        if status != 200 or not isinstance(members.get("active"), bool):
            raise StoreError(f"{self._base_url}/introspect answered {status}, which says nothing of the token")
        return dict(members)

    # The names that GenAuth's SDK gives them (GA-11).
    revokeToken = revoke_token  # noqa: N815
    introspectToken = introspect_token  # noqa: N815

    async def close(self) -> None:
        """Give back the connections, unless they are of an `http` that was given."""
        if self._owns_http:
            await _settled(self._http.aclose() if self._is_async else self._http.close())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()

    async def _ask(self, path: str, token: str, hint: str | None) -> tuple[int, bytes]:
        """Status and body of an answer that is no refusal."""
        form = {"token": required_token(token)} | ({"token_type_hint": hint} if hint else {})
        limit = _Limit(self._seconds)
        try:
            request = self._http.build_request(
                "POST", f"{self._base_url}/{path}", data=form, headers=self._fields, extensions={"timeout": limit}
            )
        except UnicodeEncodeError:
            raise Refused(400, "invalid_request", "the token is not Unicode") from None
        try:
            response = await _settled(self._http.send(request, stream=True, follow_redirects=False))
            try:
                body = await _read(response, limit, is_async=self._is_async)
            finally:
                await _settled(response.aclose() if self._is_async else response.close())
        except _httpx2().HTTPError as error:
            # Its text may show the address, never what was sent.
            raise StoreError(f"{self._base_url} cannot be reached: {type(error).__name__}") from error
        if 300 <= response.status_code < 500:
            self._refuse(response.status_code, body)
        return response.status_code, body

    def _refuse(self, status: int, body: bytes) -> NoReturn:
        if status == 401:
            raise ConfigurationError(
                f"E404 LogoutClient: {self._base_url} does not know the client {self._client_id!r} with this secret; "
                "compare them with its LOGOUT_CLIENTS"
            )
        if status < 400:
            raise ConfigurationError(
                f"E405 LogoutClient: {self._base_url} answers with a redirect ({status}); write the address it leads to"
            )
        members = _json_object(body)
        code, why = members.get("error"), members.get("error_description")
        unknown = "no reason was given; does LOGOUT_ENDPOINTS of the service have the group oauth?"
        raise Refused(status, code if isinstance(code, str) else "refused", why if isinstance(why, str) else unknown)


class LogoutClient:
    """`AsyncLogoutClient` for code without an event loop: the same methods, done when they return.

    `http`: an `httpx2.Client`.
    """

    def __init__(
        self, base_url: str, client_id: str, client_secret: str, *, prefix: str = "/auth", seconds: float = SECONDS,
        http: Any = None,
    ) -> None:  # fmt: skip
        self.inner = AsyncLogoutClient(
            base_url, client_id, client_secret, prefix=prefix, seconds=seconds, http=http or _httpx2().Client()
        )
        self.inner._owns_http = http is None

    revoke_token = blocking(AsyncLogoutClient.revoke_token)
    introspect_token = blocking(AsyncLogoutClient.introspect_token)
    close = blocking(AsyncLogoutClient.close)
    # The names that GenAuth's SDK gives them (GA-11).
    revokeToken = revoke_token  # noqa: N815
    introspectToken = introspect_token  # noqa: N815

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


class _Limit(dict[str, float]):
    """What is left of the time of one call, whichever step asks (an httpx2 `timeout` holds for each step anew)."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._ends = time.monotonic() + seconds

    def get(self, step: str, default: Any = None) -> float:
        """The seconds left; a moment if there are none, because 0 would mean not to wait at all."""
        return max(self._ends - time.monotonic(), 0.001)

    @property
    def is_over(self) -> bool:
        """Has the time run out?"""
        return time.monotonic() >= self._ends


async def _read(response: Any, limit: _Limit, *, is_async: bool) -> bytes:
    """The body, if it comes in time and is not larger than any answer of the service."""
    body = b""

    def take(chunk: bytes) -> None:
        nonlocal body
        body += chunk
        if limit.is_over or len(body) > _MAX_ANSWER:
            raise StoreError("the answer takes too long, or is no answer of a logout service")

    if is_async:
        async for chunk in response.aiter_bytes():
            take(chunk)
    else:
        for chunk in response.iter_bytes():
            take(chunk)
    return body


async def _settled(result: Any) -> Any:
    """The result of an `httpx2` client of either colour."""
    return await result if inspect.isawaitable(result) else result


def _json_object(body: bytes) -> Mapping[str, Any]:
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return members if isinstance(members, dict) else {}


def _checked(base_url: str) -> str:
    """The address without a slash at its end; ConfigurationError where a secret must not go there."""
    parts = urlsplit(base_url)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_this_machine(parts.netloc))
    if not is_safe or not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigurationError(
            f"E403 LogoutClient: {base_url!r} is not an https address, or http on this machine; write e.g. "
            "https://app.example.com"
        )
    return base_url.rstrip("/")


def _httpx2() -> Any:
    try:
        import httpx2
    except ImportError:
        raise ConfigurationError("E406 LogoutClient: needs httpx2; install logout-middleware[http]") from None
    return httpx2
