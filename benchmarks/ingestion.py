"""What it costs to take files in: from upload to ready, by words alone, against a real server.

    python benchmarks/ingestion.py [--files 1000] [--in-all 10000] [--pages 40]

Markdown files of 4 KB, eight at a time; a PDF, twice, since the first one starts the process that reads it; then more files
until there are as many as `--in-all`, and the server's memory. When files are ready is read in the database's file, which costs
the server nothing. `/health` is asked by a process of its own meanwhile. CPU is that of the server's process with its children.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
from measure import Answer, Client, cpu, load, percentile
from run import ADMIN, ROOT, free_port, process

sys.path.insert(0, str(ROOT))

from tests.support.documents import pdf

SIZE, AT_ONCE, LINES_A_PAGE = 4_096, 8, 30
FILES = "/api/v1/files/"
SYLLABLES = [a + b for a in "bcdfghklmnprstvw" for b in ("a", "e", "i", "o", "u", "an", "er", "is")]
VOCABULARY = ["".join(random.Random(n).choices(SYLLABLES, k=1 + n % 4)) for n in range(20_000)]


class Uploader(Client):
    """A client that also sends files."""

    async def upload(self, name: str, data: bytes, kind: str) -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self.host, self.port, limit=1 << 26)
        reader, writer = self._streams
        edge = uuid.uuid4().hex
        head = f'--{edge}\r\ncontent-disposition: form-data; name="file"; filename="{name}"\r\ncontent-type: {kind}\r\n\r\n'
        body = head.encode() + data + f"\r\n--{edge}--\r\n".encode()
        lines = [
            f"POST {FILES} HTTP/1.1",
            f"host: {self.host}:{self.port}",
            f"authorization: Bearer {self.token}",
            f"content-type: multipart/form-data; boundary={edge}",
            f"content-length: {len(body)}",
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        return await self._read(reader, time.perf_counter())


def words(number: int, count: int) -> list[str]:
    """Words of a text, some of them much more often than others."""
    drawn = random.Random(number)
    return [VOCABULARY[int(len(VOCABULARY) ** drawn.random()) - 1] for _ in range(count)]


def markdown(number: int) -> bytes:
    """A text with headings, lists and paragraphs."""
    told, parts = iter(words(number, SIZE // 3)), [f"# Text {number}\n"]
    while sum(map(len, parts)) < SIZE:
        parts.append(f"\n## {next(told)} {next(told)}\n\n" + " ".join(next(told) for _ in range(60)) + ".\n")
        parts.append("".join(f"\n- {next(told)} {next(told)} {next(told)}" for _ in range(4)) + "\n")
    return "".join(parts).encode()[:SIZE]


def long_pdf(pages: int, number: int) -> bytes:
    told = iter(words(number, pages * LINES_A_PAGE * 10))
    lines = [[" ".join(next(told) for _ in range(10)) for _ in range(LINES_A_PAGE)] for _ in range(pages)]
    return pdf([[f"# Page {n}", *page] for n, page in enumerate(lines, 1)])


class Bench:
    """A server with a person signed in, and its database."""

    def __init__(self, port: int, pid: int, token: str, database: Path) -> None:
        self.port, self.pid, self.token = port, pid, token
        self._database = sqlite3.connect(f"file:{database}?mode=ro", uri=True)

    def ready(self) -> int:
        failed = self._database.execute("SELECT count(*) FROM file WHERE status = 'failed'").fetchone()[0]
        if failed:
            raise RuntimeError(f"{failed} files could not be read")
        return int(self._database.execute("SELECT count(*) FROM file WHERE status = 'completed'").fetchone()[0])

    async def until_ready(self, count: int, pause: float = 0.05) -> None:
        while self.ready() < count:  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(pause)

    async def markdown(self, first: int, count: int) -> None:
        """Uploads so many, and waits until they are read."""
        before = self.ready()
        clients = [Uploader(self.port, self.token) for _ in range(AT_ONCE)]
        numbers = iter(range(first, first + count))

        async def one(client: Client) -> Answer:
            assert isinstance(client, Uploader)
            number = next(numbers)
            return await client.upload(f"text{number}.md", markdown(number), "text/markdown")

        await load(list(clients), count, one)
        await self.until_ready(before + count)
        for client in clients:
            client.close()

    async def pdf(self, pages: int, number: int) -> float:
        """Seconds until a PDF is read."""
        before, data = self.ready(), long_pdf(pages, number)
        client = Uploader(self.port, self.token)
        began = time.perf_counter()
        answer = await client.upload("long.pdf", data, "application/pdf")
        if answer.status != 200:
            raise RuntimeError(f"the PDF was not taken: {answer.status} {answer.body[:300]!r}")
        await self.until_ready(before + 1, 0.01)
        client.close()
        return time.perf_counter() - began

    async def probed(self, work: Callable[[], Awaitable[None]]) -> list[float]:
        """How long /health took to be answered meanwhile, in ms."""
        probe = await asyncio.create_subprocess_exec(
            sys.executable, str(ROOT / "benchmarks/probe.py"), str(self.port), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )  # fmt: skip
        await work()
        out, _ = await probe.communicate(b"")
        return [float(took) for took in json.loads(out)]


def memory(pid: int) -> float:
    """Memory of the server's own process: proportional set size, in MB."""
    return float(psutil.Process(pid).memory_full_info().pss / 2**20)


async def measure(b: Bench, files: int, in_all: int, pages: int) -> None:
    print(f"load {os.getloadavg()[0]:.1f}; memory before {memory(b.pid):.0f} MB PSS")
    await b.markdown(0, 50)
    used, began = cpu(b.pid), time.perf_counter()
    health = await b.probed(lambda: b.markdown(50, files))
    took, used = time.perf_counter() - began, cpu(b.pid) - used
    print(
        f"{files} Markdown files of {SIZE >> 10} KB: {took:.1f} s, CPU {used / files * 1e3:.1f} ms a file;"
        f" /health p50 {percentile(health, 0.5):.0f} ms, p99 {percentile(health, 0.99):.0f} ms, max {max(health):.0f} ms;"
        f" load {os.getloadavg()[0]:.1f}; memory {memory(b.pid):.0f} MB PSS"
    )
    first, second = await b.pdf(pages, 1), await b.pdf(pages, 2)
    print(f"a PDF of {pages} pages: {first:.2f} s, the next one {second:.2f} s; load {os.getloadavg()[0]:.1f}")
    if in_all > files:
        began = time.perf_counter()
        await b.markdown(50 + files, in_all - files)
        print(
            f"{in_all} files: memory {memory(b.pid):.0f} MB PSS; the last {in_all - files} took"
            f" {time.perf_counter() - began:.0f} s; load {os.getloadavg()[0]:.1f}"
        )


async def sign_up(port: int) -> str:
    client = Client(port)
    token = (await client.post("/api/v1/auths/signup", ADMIN)).json()["token"]
    client.close()
    return str(token)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000)
    parser.add_argument("--in-all", type=int, default=10_000)
    parser.add_argument("--pages", type=int, default=40)
    given = parser.parse_args()
    folder, port = Path(tempfile.mkdtemp(prefix="oui-ingestion-")), free_port()
    env = {
        "HOST": "127.0.0.1", "PORT": str(port), "DATA_DIR": str(folder), "PYTHONPATH": str(ROOT / "src"),
        "WEBUI_SECRET_KEY": "a secret that is long enough for benchmarks", "GLOBAL_LOG_LEVEL": "WARNING",
        "RAG_EMBEDDING_MODEL": "", "ENABLE_OLLAMA_API": "false",
    }  # fmt: skip
    serve = ["-m", "open_webui.cli", "serve"]
    try:
        # The first start migrates.
        with process(serve, port, "/health", env):
            pass
        with process(serve, port, "/health", env) as (pid, _):
            bench = Bench(port, pid, asyncio.run(sign_up(port)), folder / "webui.db")
            asyncio.run(measure(bench, given.files, given.in_all, given.pages))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
