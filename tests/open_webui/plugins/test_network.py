"""Plugins reach what an admin lets them reach, with the libraries that they have."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from open_webui.plugins.egress import Policy, _is_open
from open_webui.plugins.host import PluginFailed, PluginHost
from tests.support.plugins import make_host, tool

pytestmark = pytest.mark.asyncio(loop_scope="function")
CLIENTS = tool(
    """
    async def aiohttp(self, url):
        async with aiohttp.ClientSession() as session, session.post(url, data=b"x" * 300_000) as response:
            return await response.text()
    async def httpx(self, url):
        async with httpx2.AsyncClient(timeout=10) as client:
            return (await client.post(url, content=b"x" * 300_000)).text
    def httpx_sync(self, url):
        return httpx2.post(url, content=b"x" * 300_000, timeout=10).text
    def requests(self, url):
        return requests.post(url, data=b"x" * 300_000, timeout=10).text
    def urllib(self, url):
        return urllib.request.urlopen(url, data=b"x" * 300_000, timeout=10).read().decode()
    async def streams(self, url):
        host, port = url.split("/")[2].split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST / HTTP/1.1\\r\\nhost: x\\r\\ncontent-length: 300000\\r\\n\\r\\n" + b"x" * 300_000)
        return (await reader.read()).split(b"\\r\\n\\r\\n")[1].decode()
    def many(self, port):
        kept, refused = [], []
        for _ in range(70):
            try:
                kept.append(socket.create_connection(("127.0.0.1", port), 10))
            except OSError as error:
                refused.append(str(error))
        return [len(kept), sorted(set(refused))]
    """,
    head="import aiohttp, httpx2, requests, socket, urllib.request",
)


@asynccontextmanager
async def counting() -> AsyncIterator[int]:
    """A server that answers with the number of bytes it was sent, and keeps connections open that send none. Its port."""
    writers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            size = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            body = await reader.readexactly(size)
            answer = json.dumps(len(body)).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(answer), answer)
            )
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for writer in writers:
        writer.close()


@asynccontextmanager
async def hosting(**settings: str) -> AsyncIterator[PluginHost]:
    host = make_host(**settings)
    yield host
    await host.close()


async def test_libraries_work_unchanged_with_what_is_allowed() -> None:
    async with counting() as port, hosting(plugin_allowed_hosts=f"127.0.0.1:{port}, localhost:{port}") as host:
        for method in ("aiohttp", "httpx", "httpx_sync", "requests", "urllib", "streams"):
            for name in ("127.0.0.1", "localhost"):
                assert await host.call(CLIENTS, method, {"url": f"http://{name}:{port}/"}) == "300000", method
        count, refused = await host.call(CLIENTS, "many", {"port": port})
        assert count == 64
        assert refused == ["[Errno 111] A plugin may have 64 connections at once."]


async def test_another_port_of_an_allowed_host_is_another_matter() -> None:
    async with counting() as port, hosting(plugin_allowed_hosts="127.0.0.1:1") as host:
        with pytest.raises(PluginFailed, match="no public address; an admin may add it to PLUGIN_ALLOWED_HOSTS"):
            await host.call(CLIENTS, "aiohttp", {"url": f"http://127.0.0.1:{port}/"})


async def test_with_a_list_nothing_else_is_reached() -> None:
    async with hosting(plugin_network="list", plugin_allowed_hosts="api.example.org") as host:
        with pytest.raises(PluginFailed, match=r"may not connect to example\.com:80"):
            await host.call(CLIENTS, "aiohttp", {"url": "http://example.com/"})


async def test_without_a_network_there_is_none() -> None:
    async with counting() as port, hosting(plugin_network="off", plugin_allowed_hosts="127.0.0.1") as host:
        for method in ("aiohttp", "requests"):
            with pytest.raises(PluginFailed, match="Plugins of this server may not use the network"):
                await host.call(CLIENTS, method, {"url": f"http://127.0.0.1:{port}/"})


async def test_hosts_are_compared_as_people_write_them() -> None:
    policy = Policy.of("list", "Api.Example.org, *.example.net:443, 10.0.0.1, [::1]:80")
    assert policy.lists("api.example.org", 1)
    assert policy.lists("API.example.org.", 1)
    assert policy.lists("a.example.net", 443)
    assert policy.lists("10.0.0.1", 80)
    assert policy.lists("::1", 80)
    for host, port in (
        ("example.org", 1),
        ("example.net", 443),
        ("a.example.net", 80),
        ("10.0.0.11", 80),
        ("evilexample.net", 443),
    ):
        assert not policy.lists(host, port)


async def test_addresses_of_this_network_are_no_public_ones() -> None:
    closed = "127.0.0.1 ::1 10.1.2.3 192.168.0.1 172.16.0.1 169.254.169.254 100.64.0.1 ::ffff:127.0.0.1 fe80::1%eth0 0.0.0.0 x"
    assert [address for address in closed.split() if _is_open(address)] == []
    assert _is_open("93.184.216.34")
