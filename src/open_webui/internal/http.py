"""Outgoing HTTP: the one client for addresses that an admin configured (providers). Others come with their own checks."""

from types import SimpleNamespace

import aiohttp

from open_webui import __version__
from open_webui.env import Settings
from open_webui.internal.db import dumps


class Attempt:
    """What became known of a request while it was made; handed to the session as `trace_request_ctx`.

    reused: it went over a connection that was kept from an earlier request.
    """

    __slots__ = ("reused",)

    def __init__(self) -> None:
        self.reused = False


async def _note_reuse(
    _session: aiohttp.ClientSession, context: SimpleNamespace, _params: aiohttp.TraceConnectionReuseconnParams
) -> None:
    if isinstance(context.trace_request_ctx, Attempt):
        context.trace_request_ctx.reused = True


def _tracing() -> aiohttp.TraceConfig:
    config = aiohttp.TraceConfig()
    config.on_connection_reuseconn.append(_note_reuse)
    return config


def open_http(settings: Settings) -> aiohttp.ClientSession:
    """A session for provider calls: no cookies kept, no proxy credentials from the environment, no total time limit
    unless configured (a local model may think for minutes; what is silent is stopped by a person).
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60, ttl_dns_cache=60),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=settings.aiohttp_client_timeout, sock_connect=10),
        headers={"user-agent": f"oui-backend/{__version__}"},
        json_serialize=dumps,
        read_bufsize=256 * 1024,
        max_line_size=64 * 1024,
        max_field_size=64 * 1024,
        auto_decompress=True,
        trace_configs=[_tracing()],
    )
