"""S3 for tests: moto's server as a process of its own, buckets in it, and a wire to it that can be cut, slowed and mended."""

import asyncio
import contextlib
import itertools
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.process import clean_environment, die_with_parent, free_port

START_SECONDS = 60
KEYS = {"s3_access_key_id": "tester", "s3_secret_access_key": "secret of the tester"}
# moto wants to see that a request is signed, and doesn't look at how.
_SIGNED = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=tester/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
}
_numbers = itertools.count(1)


class S3Server:
    """moto on a free port, in memory. It takes any keys, but while `refusing`."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            env=clean_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )  # fmt: skip
        self._http = httpx.Client(base_url=self.url, headers=_SIGNED, trust_env=False, timeout=30)
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(httpx.TransportError):
                self._http.get("/moto-api/")
                return
            assert self._process.poll() is None, "moto's server did not start"
            assert time.monotonic() < deadline, "moto's server did not start in time"
            time.sleep(0.05)

    def stop(self) -> None:
        self._http.close()
        self._process.kill()
        self._process.wait(timeout=10)

    def bucket(self) -> str:
        """A new bucket's name."""
        name = f"bucket-{next(_numbers)}"
        self._http.put(f"/{name}").raise_for_status()
        return name

    def object(self, bucket: str, name: str, content: bytes | None = None) -> bytes:
        """What an object holds, changed first if a content is given."""
        if content is not None:
            self._http.put(f"/{bucket}/{name}", content=content).raise_for_status()
        return self._http.get(f"/{bucket}/{name}").raise_for_status().content

    def names(self, bucket: str) -> list[str]:
        """The names of all objects of a bucket with few of them."""
        told = self._http.get(f"/{bucket}", params={"list-type": "2"}).raise_for_status().text
        return [part.partition("</Key>")[0] for part in told.split("<Key>")[1:]]

    @contextlib.contextmanager
    def refusing(self) -> Any:
        """Meanwhile it knows no keys at all."""
        self._http.post("/moto-api/reset-auth", content="0").raise_for_status()
        try:
            yield
        finally:
            self._http.post("/moto-api/reset-auth", content="Infinity").raise_for_status()


@dataclass
class Wire:
    """A TCP way to a server. down: it refuses and cuts. delay: seconds before an answer. cuts: see `cut_after`."""

    target: int
    port: int = 0
    down: bool = False
    delay: float = 0.0
    connections: int = 0
    _left: int | None = None
    _then_down: bool = False
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut_after(self, size: int, *, then_down: bool = False) -> None:
        """Cuts the connection that brings this many bytes more of answers, and with then_down all that come later."""
        self._left, self._then_down = size, then_down

    def cut(self) -> None:
        """Is down from now on."""
        self.down = True
        for writer in self._open:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.down:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        self._open |= {writer, back}
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(reader, back, answers=False))
                both.create_task(self._carry(there, writer, answers=True))
        except* OSError:
            pass
        finally:
            self._open -= {writer, back}
            for one in (writer, back):
                one.transport.abort()

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, answers: bool) -> None:
        while data := await source.read(16 * 1024):
            if answers and self.delay:
                await asyncio.sleep(self.delay)
            if answers and self._left is not None:
                self._left -= len(data)
                if self._left < 0:
                    self._left = None
                    self.down = self._then_down
                    raise ConnectionResetError
            target.write(data)
            await target.drain()
        raise ConnectionResetError


@contextlib.asynccontextmanager
async def wire_to(port: int) -> AsyncIterator[Wire]:
    wire = Wire(port)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        wire.cut()
        server.close()
        await server.wait_closed()
