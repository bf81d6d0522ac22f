"""Websockets that follow no redirect. aiohttp follows them for a handshake, and has no word against it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp


class Redirected(aiohttp.ClientError):
    """The server sends the one who asks elsewhere."""


async def _refuse(
    _session: aiohttp.ClientSession, _context: object, params: aiohttp.TraceRequestRedirectParams
) -> None:
    params.response.close()
    raise Redirected


@asynccontextmanager
async def straight(session: aiohttp.ClientSession) -> AsyncIterator[aiohttp.ClientSession]:
    """A session over the connections of another, whose requests raise Redirected instead of following one."""
    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_refuse)
    async with aiohttp.ClientSession(
        connector=session.connector,
        connector_owner=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        trace_configs=[trace],
    ) as made:
        yield made
