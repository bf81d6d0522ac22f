"""Connections are bounded: the size of a request's head, the time it and its body take, how many there are."""

import asyncio
import contextlib
import json
import resource
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from open_webui.internal import bounded_http
from open_webui.internal.bounded_http import MAX_HEAD, BoundedHttp
from tests.support.live import Actor, Live
from tests.support.raw_socket import RawSocket
from tests.support.server import Server
from tests.support.turns import slowness, watched_turns

KB, MB = 1024, 2**20
HEAD = b"Host: x\r\n"


@pytest.fixture
def database_kind() -> str:
    """Nothing here depends on it."""
    return "sqlite"


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """The times of the product, a tenth and less."""
    for name, value in {"HEAD_SECONDS": 0.4, "BODY_SECONDS": 0.5, "LOOK_SECONDS": 0.05, "PARTING_SECONDS": 0.2}.items():
        monkeypatch.setattr(bounded_http, name, value)


class Line:
    """A connection of bare bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, *pieces: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                self.writer.write(piece)
                await self.writer.drain()

    async def trickle(self, piece: bytes, seconds: float) -> None:
        """Sends this again and again, until the server closes."""
        while not self.writer.transport.is_closing() and not self.reader.at_eof():
            await self.send(piece)
            await asyncio.sleep(seconds)

    async def rest(self, timeout: float = 5) -> bytes:
        """All that comes until the server closes."""
        heard = b""
        async with asyncio.timeout(timeout):
            with contextlib.suppress(ConnectionError):
                while piece := await self.reader.read(64 * KB):
                    heard += piece
        return heard

    async def reply(self) -> bytes:
        """One reply: its head and its body of a declared length."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)
        size = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return head + await self.reader.readexactly(size)


@contextlib.asynccontextmanager
async def line(live: Live) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(live.url).port)
    try:
        yield Line(reader, writer)
    finally:
        writer.transport.abort()


TOO_LARGE = {
    "a long address": (b"GET /" + b"a" * 70 * KB + b" HTTP/1.1\r\n" + HEAD + b"\r\n", 414),
    "an address without end": (b"GET /" + b"a" * 200 * KB, 414),
    "a long query": (b"GET /health?q=" + b"a" * 65 * KB + b" HTTP/1.1\r\n" + HEAD + b"\r\n", 414),
    "a long header": (b"GET /health HTTP/1.1\r\nX: " + b"a" * 66 * KB + b"\r\n" + HEAD + b"\r\n", 431),
    "a header without end": (b"GET /health HTTP/1.1\r\nX: " + b"a" * 200 * KB, 431),
    "a name without end": (b"GET /health HTTP/1.1\r\n" + b"a" * 200 * KB, 431),
    "headers of 70 KB": (b"GET /health HTTP/1.1\r\n" + b"X: %s\r\n" % (b"a" * 700) * 100 + b"\r\n", 431),
    "201 headers": (b"GET /health HTTP/1.1\r\n" + b"X: a\r\n" * 201 + b"\r\n", 431),
    "headers without end": (b"GET /health HTTP/1.1\r\n" + b"X: a\r\n" * 20_000, 431),
    "lines without end": (b"\r\n" * 100 * KB, 431),
}


@pytest.mark.parametrize("name", TOO_LARGE)
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_head_that_is_too_large_is_refused_before_it_is_whole(live: Live, name: str, at_once: bool) -> None:
    sent, status = TOO_LARGE[name]
    async with line(live) as client:
        pieces = [sent] if at_once else [sent[at : at + 5_000] for at in range(0, len(sent), 5_000)]
        sending = asyncio.create_task(client.send(*pieces))
        # Where the client goes on to send, the reply may be lost with the connection.
        heard = await client.rest()
        assert heard == b"" or heard.startswith(b"HTTP/1.1 %d " % status), heard[:200]
        assert heard or not at_once or len(sent) > 2 * MAX_HEAD
        await sending


async def test_a_head_of_60_kilobytes_and_199_headers_is_taken(live: Live) -> None:
    async with line(live) as client:
        for _ in range(3):
            await client.send(
                b"GET /health?q="
                + b"a" * 30 * KB
                + b" HTTP/1.1\r\n"
                + b"X: %s\r\n" % (b"a" * 140) * 198
                + HEAD
                + b"\r\n"
            )
            assert (await client.reply()).startswith(b"HTTP/1.1 200 ")


async def test_a_large_body_in_small_and_in_large_pieces(live: Live, admin: Actor) -> None:
    """Bodies are not heads: nothing here counts them but the time they take."""
    title = "x" * 300 * KB
    for step in (700, 64 * KB, MB):
        body = json.dumps({"chat": {"title": "t", "params": {"system": title}}}).encode()
        async with line(live) as client:
            head = f"POST /api/v1/chats/new HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {admin.token}\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            await client.send(head.encode(), *(body[at : at + step] for at in range(0, len(body), step)))
            assert (await client.reply()).startswith(b"HTTP/1.1 200 ")
            await client.send(b"GET /health HTTP/1.1\r\n" + HEAD + b"\r\n")
            assert (await client.reply()).startswith(b"HTTP/1.1 200 ")


CHUNKED = b"POST /api/v1/auths/signin HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        CHUNKED + b"1;" + b"a" * 200 * KB,
        CHUNKED + b"2\r\n{}\r\n0\r\nX: " + b"a" * 200 * KB,
        CHUNKED + b"2\r\n{}\r\n0\r\n" + b"X: a\r\n" * 40_000,
        b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 5_000,
    ],
    ids=["an extension", "a trailer", "trailers", "requests at once"],
)
async def test_what_is_no_body_has_an_end(live: Live, sent: bytes) -> None:
    async with line(live) as client:
        sending = asyncio.create_task(client.send(sent))
        heard = await client.rest()
        assert heard.count(b"HTTP/1.1 200") <= bounded_http.MAX_WAITING + 1
        await sending


async def test_a_few_requests_at_once_are_all_answered(live: Live) -> None:
    async with line(live) as client:
        await client.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 8)
        for _ in range(8):
            assert (await client.reply()).startswith(b"HTTP/1.1 200 ")


class TestTime:
    pytestmark = pytest.mark.usefixtures("brief")

    async def test_who_sends_nothing_is_let_go(self, live: Live) -> None:
        async with line(live) as client:
            assert await client.rest() == b""

    @pytest.mark.parametrize("piece", [b"X: a\r\n", b"a"])
    async def test_a_head_has_its_time(self, live: Live, piece: bytes) -> None:
        async with line(live) as client:
            await client.send(b"GET /health HTTP/1.1\r\nX-")
            sending = asyncio.create_task(client.trickle(piece, 0.03))
            heard = await client.rest()
            assert heard == b"" or heard.startswith(b"HTTP/1.1 408 ")
            await sending

    @pytest.mark.parametrize("path", ["/api/v1/auths/signin", "/api/v1/chats/new", "/nowhere"])
    async def test_a_body_has_to_come(self, live: Live, path: str) -> None:
        async with line(live) as client:
            await client.send(
                f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n".encode()
            )
            sending = asyncio.create_task(client.trickle(b" ", 0.03))
            await client.rest()
            await sending

    async def test_a_slow_body_that_comes_is_taken(
        self, live: Live, admin: Actor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each piece has the whole time anew, and all of them take longer."""
        for name in ("HEAD_SECONDS", "BODY_SECONDS"):
            monkeypatch.setattr(bounded_http, name, 5.0)
        body = json.dumps({"chat": {"title": "x" * 40 * KB}}).encode()
        async with line(live) as client:
            head = f"POST /api/v1/chats/new HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {admin.token}\r\n"
            await client.send(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode())
            for at in range(0, len(body), 4 * KB):
                await client.send(body[at : at + 4 * KB])
                await asyncio.sleep(0.6)
            assert (await client.reply())[:12] in {b"HTTP/1.1 200", b"HTTP/1.1 422"}

    async def test_an_idle_connection_ends(self, live: Live) -> None:
        for piece in (b"", b"\r\n"):
            async with line(live) as client:
                await client.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                await client.reply()
                for connection in live.server.server_state.connections:
                    connection.timeout_keep_alive = 0.2
                await client.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                await client.reply()
                await client.send(piece)
                heard = await client.rest()
                assert heard == b"" or (piece and heard.startswith(b"HTTP/1.1 408 "))


class TestPatience:
    async def test_an_answer_may_take_as_long_as_it_takes(
        self, live: Live, admin: Actor, request: pytest.FixtureRequest
    ) -> None:
        """Longer than any of the times here; and a socket that is silent stays."""
        request.getfixturevalue("brief")
        body = {"model": "slow", "messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": 70}
        reply = await admin.client.post("/api/chat/completions", json=body)
        assert reply.status_code == 200
        assert reply.text.rstrip().endswith("[DONE]")
        async with await RawSocket.open(urlsplit(live.url).port or 0) as socket:
            await socket.sign_in(admin.token)
            await asyncio.sleep(1.2)
            assert await socket.ask("heartbeat", {}) == []


class TestCount:
    async def test_idle_ones_make_room(self, live: Live, admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(BoundedHttp, "max_connections", 30)
        async with contextlib.AsyncExitStack() as stack:
            page = await stack.enter_async_context(await RawSocket.open(urlsplit(live.url).port or 0))
            await page.sign_in(admin.token)
            for _ in range(100):
                await stack.enter_async_context(line(live))
            await asyncio.sleep(0.1)
            async with live.client() as client:
                assert (await client.get("/health")).status_code == 200
            assert await page.ask("heartbeat", {}) == [], "who has signed in stays"

    async def test_without_room_one_is_told(self, live: Live, monkeypatch: pytest.MonkeyPatch, admin: Actor) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(5):
                page = await stack.enter_async_context(await RawSocket.open(urlsplit(live.url).port or 0))
                await page.sign_in(admin.token)
            await admin.client.aclose()
            await asyncio.sleep(0.05)
            monkeypatch.setattr(BoundedHttp, "max_connections", 5)
            async with line(live) as client:
                assert (await client.rest()).startswith(b"HTTP/1.1 503 ")

    @pytest.fixture
    def few_files(self) -> Iterator[Callable[[], None]]:
        """The usual limit of a shell, for the server alone; the returned function ends it for this process."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (1_024, hard))
        yield lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    async def test_1100_idle_connections_at_the_usual_limit(
        self, few_files: Callable[[], None], tmp_path: Path
    ) -> None:
        server = Server(tmp_path).start()
        few_files()
        lines = []
        try:
            while len(lines) < 1_100:
                lines += [await asyncio.open_connection("127.0.0.1", server.port)]
            assert await asyncio.to_thread(server.healthy)
            reader, writer = lines[0]
            writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
            assert "open files" in server.log
        finally:
            for _, writer in lines:
                writer.transport.abort()
            server.kill()


async def test_the_loop_turns_on_while_heads_have_no_end(live: Live) -> None:
    floods = [
        b"GET /health HTTP/1.1\r\nX: " + b"a" * 32 * MB,
        b"GET /health HTTP/1.1\r\n" + b"X: a\r\n" * MB,
        b"GET /" + b"a" * 32 * MB,
        CHUNKED + b"1\r\n{\r\n" * MB,
        b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 100_000,
    ]
    slow = slowness()
    with watched_turns() as turns:
        for flood in floods:
            async with line(live) as client:
                sending = asyncio.create_task(client.send(flood))
                with contextlib.suppress(TimeoutError):
                    await client.rest(3)
                sending.cancel()
                await asyncio.wait({sending})
    assert turns.longest < 0.05 * max(slow, slowness()), turns
