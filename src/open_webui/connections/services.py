"""Calls to services that an admin configured and that are no chat models: embeddings, rankings, search engines, parsers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import aiohttp

from open_webui.connections.transport import FAILURES, failure, read_all, refusal, request
from open_webui.errors import ProviderError

TRIES: Final = 3
# Seconds before the second try where the service does not say; twice as many before the third.
_FIRST_PAUSE: Final = 0.5
# A service that asks for a longer rest than this is taken at its word: nobody waits so long.
_LONGEST_PAUSE: Final = 30.0


async def call_service(
    http: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    payload: Mapping[str, Any] | None = None,
    timeout: float = 60.0,
    secrets: Sequence[str] = (),
    tries: int = TRIES,
) -> bytes:
    """The body of a service's answer. What may succeed at another try is tried again, after as long as the service asks for.

    timeout: seconds for each try. secrets: keys, which no error shows. Raises ProviderError.
    """
    for number in range(1, tries + 1):
        try:
            response = await request(http, method, url, headers=headers or {}, payload=payload, timeout=timeout)
            try:
                return await read_all(response, url)
            finally:
                response.close()
        except ProviderError as error:
            pause = error.retry_after if error.retry_after is not None else _FIRST_PAUSE * 2 ** (number - 1)
            if not error.retryable or number == tries or pause > _LONGEST_PAUSE:
                raise _without(error, secrets) from None
        await asyncio.sleep(pause)
    raise AssertionError("the last try returns or raises")


def _without(error: ProviderError, secrets: Sequence[str]) -> ProviderError:
    """The error with no key in it: some services repeat what they were sent."""
    for secret in secrets:
        if secret:
            error.detail = error.detail.replace(secret, "***")
    error.body = None
    error.args = (error.detail,)
    return error


@contextlib.asynccontextmanager
async def open_service(
    http: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    payload: Mapping[str, Any] | None = None,
    data: Any = None,
    timeout: float = 60.0,
    secrets: Sequence[str] = (),
) -> AsyncIterator[aiohttp.ClientResponse]:
    """A service's response once its status is there and good, to be read as it comes. It is asked once.

    payload: sent as JSON; else data: bytes or a form. Raises ProviderError, also for what reading raises inside.
    """
    try:
        if payload is not None:
            response = await request(http, method, url, headers=headers or {}, payload=payload, timeout=timeout)
        else:
            response = await http.request(
                method,
                url,
                headers=dict(headers or {}),
                data=data,
                timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=10),
                allow_redirects=False,
            )
    except ProviderError as error:
        raise _without(error, secrets) from None
    except FAILURES as error:
        raise _without(failure(error, url), secrets) from None
    try:
        if response.status >= 300:
            raise _without(await refusal(response, url), secrets) from None
        yield response
    except (aiohttp.ClientError, TimeoutError) as error:
        raise _without(failure(error, url, started=True), secrets) from None
    finally:
        response.close()
