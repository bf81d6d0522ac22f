"""Outgoing HTTP: the one client for addresses that an admin configured (providers). Others come with their own checks."""

from contextvars import ContextVar
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler

from open_webui import __version__
from open_webui.env import Settings
from open_webui.internal.db import dumps

# Whether a connection was opened since the current task set this to False: False after a request that went over one
# that was kept from an earlier request.
was_opened: Final = ContextVar("was_opened", default=True)


class Connector(aiohttp.TCPConnector):
    """Connections that note in `was_opened` that they are new. Costs nothing where a kept one is used again."""

    async def _create_connection(self, *args: Any, **named: Any) -> ResponseHandler:
        was_opened.set(True)
        return await super()._create_connection(*args, **named)


def open_http(settings: Settings) -> aiohttp.ClientSession:
    """A session for provider calls: no cookies kept, no proxy credentials from the environment, no total time limit
    unless configured (a local model may think for minutes; what is silent is stopped by a person).
    """
    return aiohttp.ClientSession(
        connector=Connector(limit=0, keepalive_timeout=60, ttl_dns_cache=60),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=settings.aiohttp_client_timeout, sock_connect=10),
        headers={"user-agent": f"oui-backend/{__version__}"},
        json_serialize=dumps,
        read_bufsize=256 * 1024,
        max_line_size=64 * 1024,
        max_field_size=64 * 1024,
        auto_decompress=True,
    )


def open_visit(seconds: float, headers: dict[str, str]) -> aiohttp.ClientSession:
    """A session for one visit to a server that an admin configured, where one signs in: with cookies of its own.

    seconds: for each request.
    """
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.CookieJar(unsafe=True),
        timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=min(10.0, seconds)),
        headers={"user-agent": f"oui-backend/{__version__}"} | headers,
    )
