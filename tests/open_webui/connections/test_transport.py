"""When a request is sent again: never where the provider may have worked on it. Servers that break off, on real sockets."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest

from open_webui.connections import transport
from open_webui.connections.transport import request
from open_webui.errors import ProviderError
from tests.support.process import free_port

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Serve = Callable[[Handle], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serves each connection with a function, until that returns, and closes it then."""
    servers: list[asyncio.Server] = []
    tasks: list[asyncio.Task[None] | None] = []

    async def make(handle: Handle) -> str:
        async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.append(asyncio.current_task())
            try:
                with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                    await handle(reader, writer)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

        server = await asyncio.start_server(run, "127.0.0.1", 0)
        servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    yield make
    for server in servers:
        server.close()
    for task in filter(None, tasks):
        task.cancel()
    await asyncio.gather(*filter(None, tasks), return_exceptions=True)


class Provider:
    """Answers the first request of each connection, unless `fresh`; what becomes of others a test says."""

    def __init__(self, end: Handle, *, fresh: bool = False) -> None:
        self.requests = 0
        self._end = end
        self._fresh = fresh

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._fresh:
            await self._read(reader)
            writer.write(ANSWER)
            await writer.drain()
        await self._read(reader)
        await self._end(reader, writer)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(2)
        self.requests += 1


async def close(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Ends the connection in good order."""


async def reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def begin(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Ends it in the middle of the answer's first line."""
    writer.write(ANSWER[:11])
    await writer.drain()


async def post(http: aiohttp.ClientSession, url: str, method: str = "POST") -> bytes:
    async with await request(http, method, url, headers={}, payload={}) as response:
        return await response.read()


@pytest.mark.parametrize("end", [close, reset])
async def test_a_request_on_a_new_connection_is_sent_once(
    http: aiohttp.ClientSession, serve: Serve, end: Handle
) -> None:
    provider = Provider(end, fresh=True)
    url = await serve(provider)
    with pytest.raises(ProviderError, match="closed the connection") as caught:
        await post(http, url)
    assert provider.requests == 1
    assert (caught.value.retryable, caught.value.untouched) == (True, False)


@pytest.mark.parametrize("end", [close, reset])
async def test_a_kept_connection_that_was_closed_is_no_error(
    http: aiohttp.ClientSession, serve: Serve, end: Handle
) -> None:
    provider = Provider(end)
    url = await serve(provider)
    assert await post(http, url) == b"{}"
    # The connection is the kept one, and ends instead of an answer; on another one it is answered.
    assert await post(http, url) == b"{}"
    assert provider.requests == 3


async def test_not_after_the_first_byte_of_an_answer(http: aiohttp.ClientSession, serve: Serve) -> None:
    provider = Provider(begin)
    url = await serve(provider)
    assert await post(http, url) == b"{}"
    with pytest.raises(ProviderError):
        await post(http, url)
    assert provider.requests == 2


async def test_not_when_it_took_longer_than_an_idle_connection_takes_to_show_its_end(
    http: aiohttp.ClientSession, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "CLOSED_WHILE_IDLE_SECONDS", 0.0)
    provider = Provider(close)
    url = await serve(provider)
    assert await post(http, url) == b"{}"
    with pytest.raises(ProviderError, match="closed the connection"):
        await post(http, url)
    assert provider.requests == 2


async def test_not_a_third_time(http: aiohttp.ClientSession, serve: Serve) -> None:
    """A provider that ends each connection at its second request, with two connections kept."""
    provider = Provider(close)
    url = await serve(provider)
    first, second = await asyncio.gather(*(request(http, "POST", url, headers={}, payload={}) for _ in range(2)))
    assert (await first.read(), await second.read()) == (b"{}", b"{}")
    with pytest.raises(ProviderError, match="closed the connection") as caught:
        await post(http, url)
    assert provider.requests == 4
    assert not caught.value.untouched


async def test_who_can_not_be_reached_has_not_worked(http: aiohttp.ClientSession) -> None:
    with pytest.raises(ProviderError, match="can't be reached") as caught:
        await post(http, f"http://127.0.0.1:{free_port()}")
    assert (caught.value.retryable, caught.value.untouched) == (True, True)


@pytest.mark.parametrize(
    ("status", "untouched"), [(429, True), (503, True), (529, True), (500, False), (502, False), (400, False)]
)
async def test_which_refusals_say_that_nothing_was_done(
    http: aiohttp.ClientSession, serve: Serve, status: int, untouched: bool
) -> None:
    async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n".encode())
        await writer.drain()

    provider = Provider(refuse, fresh=True)
    with pytest.raises(ProviderError) as caught:
        await post(http, await serve(provider))
    assert (caught.value.status, caught.value.untouched, provider.requests) == (status, untouched, 1)
