"""One request to a model's process: a slot is waited for, the request sent, and a broken connection explained."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import aiohttp

from llamaforge.exceptions import GenerationError
from llamaforge.pool.lease import Lease
from llamaforge.pool.model import OnProgress
from llamaforge.pool.queue import OnWait
from llamaforge.pool.spec import Spec

_LARGE = 2**20
_FAILURES = (aiohttp.ClientError, OSError, TimeoutError)
log = logging.getLogger(__name__)


class Leasing(Protocol):
    """Whoever leases models: a pool, or something that asks one."""

    def lease(
        self,
        spec: Spec,
        *,
        user: str = "",
        on_wait: OnWait | None = None,
        on_progress: OnProgress | None = None,
        patient: bool = False,
    ) -> AbstractAsyncContextManager[Lease]:
        """See `Pool.lease`."""
        ...


@contextlib.asynccontextmanager
async def open_request(
    pool: Leasing,
    session: aiohttp.ClientSession,
    spec: Spec,
    asked: tuple[str, bytes],
    *,
    on_lease: Callable[[], object] | None = None,
    timeout: aiohttp.ClientTimeout | None = None,
    **how: Any,
) -> AsyncIterator[tuple[Lease, aiohttp.ClientResponse]]:
    """The open response to a POST, whatever its status. Leaving the block ends the generation and frees the slot.

    asked: the path, such as "/v1/completions", and the body, as JSON. on_lease: called when the slot is there. timeout: in
    the place of the session's. how: user, on_wait, on_progress and patient, see `Pool.lease`.

    It is sent a second time only where the process had died before the request could reach it. Raises what `Pool.lease`
    does, and GenerationError where the connection breaks, in the block, too: with the status 502, or 504 where the model is
    silent for too long, and the code "model_crashed" where its process has ended unasked.
    """
    path, body = asked
    for is_last in (False, True):
        async with pool.lease(spec, **how) as lease:
            if on_lease is not None:
                on_lease()
            # A connection for each: the process closes kept ones when it likes, and loopback is quick.
            headers = {
                "authorization": f"Bearer {lease.key}",
                "content-type": "application/json",
                "connection": "close",
            }
            # A large one goes out in pieces, so that the event loop goes on between them.
            data = io.BytesIO(body) if len(body) > _LARGE else body
            try:
                response = await session.post(
                    lease.url + path,
                    data=data,
                    headers=headers,
                    allow_redirects=False,
                    timeout=timeout or session.timeout,
                )
            except _FAILURES as error:
                why = await _explain(lease, error)
                unsent = isinstance(error, aiohttp.ClientConnectorError)
                if is_last or not unsent or why.code != "model_crashed":
                    raise why from error
                continue
            async with response:
                try:
                    yield lease, response
                except (aiohttp.ClientError, TimeoutError) as error:
                    raise await _explain(lease, error) from error
            return


async def _explain(lease: Lease, error: Exception) -> GenerationError:
    """Why the connection to the model's process broke."""
    failure = await lease.failure()
    if failure is not None:
        status, code = 502, "model_crashed" if lease.crashed else "model_unloaded"
        text = str(failure)
    elif isinstance(error, TimeoutError):
        status, code, text = 504, "timeout", f"The model '{lease.model}' took too long."
    else:
        log.warning("The connection to the model '%s' broke: %r", lease.model, error)
        status, code, text = 502, None, f"The connection to the model '{lease.model}' broke."
    explained = GenerationError(text)
    explained.status, explained.code = status, code
    return explained
