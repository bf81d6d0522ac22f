"""What the scenarios share: a raw HTTP client, CPU seconds and memory (PSS) of a process tree, percentiles."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import psutil


def tree(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def cpu(pid: int) -> float:
    """CPU seconds that a process and its children have used, those that have ended among them."""
    total = 0.0
    for process in tree(pid):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def memory_mb(pid: int) -> float:
    """Memory of a process and its children: proportional set size, in MB."""
    return sum(process.memory_full_info().pss for process in tree(pid)) / 2**20


def percentile(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


@dataclass
class Answer:
    """One response. first, total: seconds after the request was written. chunks: `data:` lines of an event stream."""

    status: int
    body: bytes
    first: float
    total: float
    chunks: int = 0
    whole: bool = False

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One kept connection. It reads and counts; a library would cost more than the server under test."""

    def __init__(self, port: int, token: str | None = None, host: str = "127.0.0.1") -> None:
        self.host, self.port, self.token = host, port, token
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self, method: str, path: str, body: Any = None) -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self.host, self.port, limit=1 << 26)
        reader, writer = self._streams
        data = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", f"host: {self.host}:{self.port}"]
        if self.token:
            lines.append(f"authorization: Bearer {self.token}")
        if body is not None:
            lines += ["content-type: application/json", f"content-length: {len(data)}"]
        writer.write("\r\n".join([*lines, "", ""]).encode() + data)
        return await self._read(reader, time.perf_counter())

    async def _read(self, reader: asyncio.StreamReader, started: float) -> Answer:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].split(" ")[1])
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        if "content-length" in headers:
            body = await reader.readexactly(int(headers["content-length"]))
            took = time.perf_counter() - started
            return Answer(status, body, took, took)
        parts, first, chunks, tail = [], None, 0, b""
        keep = "event-stream" not in headers.get("content-type", "")
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            part = (await reader.readexactly(size + 2))[:-2]
            first = first or time.perf_counter() - started
            seam = tail[-5:]
            chunks += (seam + part).count(b"data: ") - seam.count(b"data: ")
            tail = (tail + part)[-200:]
            if keep:
                parts.append(part)
        await reader.readexactly(2)
        total = time.perf_counter() - started
        return Answer(status, b"".join(parts), first or total, total, chunks, b"[DONE]" in tail)

    async def get(self, path: str) -> Answer:
        return await self.request("GET", path)

    async def post(self, path: str, body: Any) -> Answer:
        return await self.request("POST", path, body)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


async def load(clients: list[Client], count: int, one: Callable[[Client], Awaitable[Answer]]) -> list[Answer]:
    """`count` calls of `one`, spread over the clients, each client one at a time. Raises when any was not answered 200."""
    left = iter(range(count))
    answers: list[Answer] = []

    async def worker(client: Client) -> None:
        for _ in left:
            answers.append(await one(client))

    await asyncio.gather(*(worker(client) for client in clients))
    bad = [answer for answer in answers if answer.status != 200]
    if bad:
        raise RuntimeError(
            f"{len(bad)} of {count} answers were not 200, the first: {bad[0].status} {bad[0].body[:300]!r}"
        )
    return answers
