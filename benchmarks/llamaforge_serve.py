"""What `llamaforge serve` costs beside the engine's own HTTP server, and what its slots gain.

Run with `python -m benchmarks.llamaforge_serve` from the repository's root. One random model (512 wide, 8 layers, one thread)
is served twice: by `llamaforge serve` with its child process, and by xllamacpp's own HTTP server alone in a process. Rounds of
streamed chats alternate between the two in one run, in the order A B B A, so that a busy machine hits both alike. CPU seconds
are those of the server and all its children; the client is another process and counts for neither.

Then eight requests through `llamaforge serve`, one after the other and all at once, give the throughput of real slots.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import Client, cpu
from tests.support.process import clean_environment, die_with_parent
from tests.support.tiny_gguf import write_random

ROOT = Path(__file__).resolve().parents[1]
SLOTS = 8

SERVE = """
import json, sys
from llamaforge.forge import LlamaForge
from llamaforge.server import ApiServer
path, slots = sys.argv[1], int(sys.argv[2])
forge = LlamaForge(":memory:")
forge.add_model("random", path, parameters={"n_threads": 1, "n_ctx": 1024, "n_parallel": slots})
server = ApiServer(forge, port=0)
print(json.dumps({"url": server.url, "key": None}), flush=True)
server.run()
"""
ENGINE = """
import json, sys, time
from llamaforge.backends import get_backend
path, slots = sys.argv[1], int(sys.argv[2])
backend = get_backend("llama.cpp")()
backend.load_model(path, {"n_threads": 1, "n_ctx": 1024, "n_parallel": slots})
print(json.dumps({"url": backend.endpoint.url, "key": backend.endpoint.api_key}), flush=True)
while True:
    time.sleep(60)
"""


class Target:
    """A server in a process of its own."""

    def __init__(self, name: str, program: str, model: Path, slots: int) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, str(model), str(slots)],
            env=clean_environment(), stdout=subprocess.PIPE, cwd=ROOT, preexec_fn=die_with_parent,  # noqa: PLW1509 -- no thread runs yet
        )  # fmt: skip
        assert self.process.stdout is not None
        told = json.loads(self.process.stdout.readline())
        self.port, self.key = int(told["url"].rpartition(":")[2]), told["key"]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)

    async def chat(self, number: int, tokens: int) -> int:
        """One streamed chat; returns its chunks. `number` makes prompts differ."""
        body: dict[str, Any] = {
            "model": "random",
            "messages": [{"role": "user", "content": f"{number}: tell me"}],
            "stream": True,
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
        }
        answer = await Client(self.port, self.key).request("POST", "/v1/chat/completions", body)
        assert answer.status == 200, answer.body
        assert answer.chunks >= tokens, (answer.chunks, answer.body[-300:])
        return answer.chunks


async def cost(targets: list[Target], rounds: int, tokens: int) -> dict[str, list[float]]:
    """CPU microseconds a token, for each target by round."""
    found: dict[str, list[float]] = {target.name: [] for target in targets}
    for target in targets:
        await target.chat(0, tokens)
    for number in range(1, rounds + 1):
        for target in targets if number % 2 else targets[::-1]:
            before = cpu(target.process.pid)
            await target.chat(number, tokens)
            found[target.name].append((cpu(target.process.pid) - before) / tokens * 1e6)
    return found


async def throughput(target: Target, tokens: int) -> tuple[float, float]:
    """Tokens a second of eight requests, one after the other and all at once."""
    begun = time.perf_counter()
    for number in range(SLOTS):
        await target.chat(100 + number, tokens)
    serial = SLOTS * tokens / (time.perf_counter() - begun)
    begun = time.perf_counter()
    await asyncio.gather(*(target.chat(200 + number, tokens) for number in range(SLOTS)))
    return serial, SLOTS * tokens / (time.perf_counter() - begun)


async def main(rounds: int, tokens: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        model = write_random(Path(folder) / "random.gguf", dim=512, layers=8)
        serve = Target("serve", SERVE, model, SLOTS)
        engine = Target("engine", ENGINE, model, SLOTS)
        try:
            costs = await cost([serve, engine], rounds, tokens)
            serial, parallel = await throughput(serve, tokens)
        finally:
            serve.stop()
            engine.stop()
    ratios = [one / other for one, other in zip(costs["serve"], costs["engine"], strict=True)]
    return {
        "cpu_us_per_token": {name: round(statistics.median(values), 1) for name, values in costs.items()},
        "ratio_median": round(statistics.median(ratios), 4),
        "ratio_of_sums": round(sum(costs["serve"]) / sum(costs["engine"]), 4),
        "serial_tokens_per_second": round(serial, 1),
        "parallel_tokens_per_second": round(parallel, 1),
        "gain": round(parallel / serial, 2),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=200)
    arguments = parser.parse_args()
    print(json.dumps(asyncio.run(main(arguments.rounds, arguments.tokens)), indent=2))
