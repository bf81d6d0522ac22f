"""What a plugin's call costs: time, processor and memory, of the server's side and the worker's.

PYTHONPATH=src python benchmarks/plugins.py
"""

import asyncio
import os
import statistics
import time
from pathlib import Path
from typing import Any

from open_webui.env import Settings
from open_webui.plugins.host import PluginHost, PluginSource

CALLS = 1_000
TOOL = """
class Tools:
    def add(self, a: int, b: int) -> str:
        return str(a + b)
    async def add_async(self, a: int, b: int) -> str:
        return str(a + b)
"""
FILTER = """
class Filter:
    def stream(self, event, __user__=None, __metadata__=None):
        for choice in event.get("choices", ()):
            delta = choice.get("delta") or {}
            if "content" in delta:
                delta["content"] = delta["content"].upper()
        return event
"""
CHUNK = {
    "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
    "choices": [{"index": 0, "delta": {"content": " word"}, "finish_reason": None}],
}  # fmt: skip
CONTEXT: dict[str, Any] = {
    "user": {"id": "u", "name": "Ann", "email": "a@example.org", "role": "user"},
    "metadata": {"chat_id": "c", "message_id": "m", "session_id": "s", "tool_ids": [], "features": {}},
}
TICK = os.sysconf("SC_CLK_TCK")


def cpu(pid: int) -> float:
    """Seconds of processor that another process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory(pid: int, *kinds: str) -> float:
    """MB of a process: "Pss" is its share, "Private_Clean" and "Private_Dirty" what nobody else has."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.split(":")[0] in kinds) / 1024


def own(pid: int) -> float:
    """What would be free if it ended."""
    return memory(pid, "Private_Clean", "Private_Dirty")


async def calls(host: PluginHost, method: str) -> None:
    source = PluginSource(id="adder", kind="tool", content=TOOL)
    pid = worker_of(host)
    times = []
    began, theirs = time.process_time(), cpu(pid)
    for n in range(CALLS):
        start = time.perf_counter()
        await host.call(source, method, {"a": n, "b": 1}, context=CONTEXT)
        times.append(time.perf_counter() - start)
    ours, theirs = time.process_time() - began, cpu(pid) - theirs
    times.sort()
    print(
        f"warm call of {method}: median {statistics.median(times) * 1e3:.2f} ms, p95 {times[int(CALLS * 0.95)] * 1e3:.2f} ms,"
        f" CPU {ours / CALLS * 1e6:.0f} us here + {theirs / CALLS * 1e6:.0f} us there"
    )


async def chunks(host: PluginHost, at_once: int) -> None:
    source = PluginSource(id="upper", kind="function", content=FILTER)
    items = [{"event": CHUNK} for _ in range(at_once)]
    await host.batch(source, "stream", items, context=CONTEXT)
    pid = worker_of(host)
    rounds = 20_000 // at_once
    began, theirs = time.process_time(), cpu(pid)
    for _ in range(rounds):
        await host.batch(source, "stream", items, context=CONTEXT)
    ours, theirs = time.process_time() - began, cpu(pid) - theirs
    n = rounds * at_once
    print(
        f"stream filter, {at_once} chunks at once: CPU {ours / n * 1e6:.0f} us here + {theirs / n * 1e6:.0f} us there a chunk"
    )


def worker_of(host: PluginHost) -> int:
    """The number of the youngest worker."""
    return host.processes()[-1]


async def main() -> None:
    host = PluginHost(Settings(env="test"))
    before = own(os.getpid())
    for name in ("the first plugin", "the second plugin", "the third plugin"):
        source = PluginSource(id="adder" if name == "the first plugin" else name, kind="tool", content=TOOL)
        start, began = time.perf_counter(), time.process_time()
        await host.call(source, "add", {"a": 1, "b": 2})
        print(
            f"{name}: {(time.perf_counter() - start) * 1e3:.0f} ms, CPU {(time.process_time() - began) * 1e3:.0f} ms here"
        )
    zygote, *workers = host.processes()
    print(f"CPU of the zygote's start {cpu(zygote):.2f} s")
    together = memory(zygote, "Pss") + sum(memory(worker, "Pss") for worker in workers)
    added = ", ".join(f"{own(worker):.1f}" for worker in workers)
    print(
        f"memory: zygote and three workers {together:.1f} MB together, of which the workers' own {added} MB;", end=" "
    )
    print(f"the server has {own(os.getpid()) - before:.1f} MB more")
    host.unload("tool", "the second plugin")
    host.unload("tool", "the third plugin")
    while len(host.processes()) > 2:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await calls(host, "add")
    await calls(host, "add_async")
    for at_once in (1, 4, 16, 64):
        await chunks(host, at_once)
    worker = worker_of(host)
    print(f"after all that: zygote {memory(zygote, 'Pss'):.1f} MB (its share), worker's own {own(worker):.1f} MB")
    await host.close()


if __name__ == "__main__":
    asyncio.run(main())
