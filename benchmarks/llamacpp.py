"""What llamaforge adds to llama.cpp: `python benchmarks/llamacpp.py [--json FILE]` prints a table and JSON.

One thread computes; every comparison interleaves both sides in one run, so that a busy machine slows both alike, and
takes the median of the ratios of its rounds. CPU is the whole process's (`time.process_time`), the engine's threads included.

- cpu_ratio: CPU per token of `generate_stream` over xllamacpp called with a callback, on a random model of 512 x 8 layers.
- own_us: CPU microseconds per token that `generate_stream` adds on the 2 MB model, where the engine costs next to nothing.
- parallel: CPU of 8 requests one after another over the same 8 at once (their wall times, on a quiet machine), on a random
  model of 1024 x 8 layers (322 MB) with 8 slots. parallel_share: that gain over the gain of xllamacpp called directly.
- cached_first_token: time to the first token of a second request with the same 2000-token prompt over the first's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from llamaforge.backends.llama_cpp import LlamaCppBackend  # noqa: E402 - found through the path above
from tests.support.tiny_gguf import write_gguf, write_random  # noqa: E402

LIMITS = {"cpu_ratio": 1.05, "own_us": 30.0, "parallel": 2.0, "parallel_share": 0.95, "cached_first_token": 0.3}


def loaded(path: Path, **parameters: Any) -> LlamaCppBackend:
    backend = LlamaCppBackend()
    backend.load_model(path, {"n_threads": 1, **parameters})
    return backend


def direct(backend: LlamaCppBackend, tokens: int) -> int:
    """The same request to xllamacpp itself, with the least that a caller can do."""
    pieces: list[str] = []

    def receive(chunk: Any) -> bool:
        pieces.append(chunk["choices"][0]["text"])
        return False

    request = {"prompt": "a", "max_tokens": tokens, "temperature": 0.0, "ignore_eos": True, "stream": True}
    backend._loaded().engine._server.handle_completions(request, receive)  # noqa: SLF001 - beneath what is measured
    return len(pieces) - 1  # the last has no text


def ours(backend: LlamaCppBackend, tokens: int) -> int:
    parameters = {"max_tokens": tokens, "temperature": 0.0, "ignore_eos": True}
    return sum(1 for _ in backend.generate_stream("a", parameters))


def cpu_per_token(run: Callable[[LlamaCppBackend, int], int], backend: LlamaCppBackend, tokens: int) -> float:
    began = time.process_time()
    count = run(backend, tokens)
    assert count == tokens, (count, tokens)
    return (time.process_time() - began) / count


def pairs(backend: LlamaCppBackend, tokens: int, rounds: int) -> list[tuple[float, float]]:
    """CPU per token of the direct call and of ours, round by round, the order changing."""
    found = []
    for number in range(rounds):
        order = (direct, ours) if number % 2 else (ours, direct)
        costs = {run: cpu_per_token(run, backend, tokens) for run in order}
        found.append((costs[direct], costs[ours]))
    return found


def parallel(path: Path, requests: int = 8, tokens: int = 20) -> tuple[float, float]:
    """What answers at once gain, by CPU a token: of `generate_stream`, and that over the gain of xllamacpp called directly."""
    backend = loaded(path, n_ctx=512, n_parallel=requests)

    def gain(run: Callable[[LlamaCppBackend, int], int]) -> float:
        began = time.process_time()
        for _ in range(requests):
            run(backend, tokens)
        middle = time.process_time()
        threads = [threading.Thread(target=run, args=(backend, tokens)) for _ in range(requests)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return (middle - began) / (time.process_time() - middle)

    gain(ours)
    gains = []
    for number in range(4):
        order = (direct, ours) if number % 2 else (ours, direct)
        gains.append({run: gain(run) for run in order})
    backend.unload()
    return statistics.median(each[ours] for each in gains), statistics.median(
        each[ours] / each[direct] for each in gains
    )


def first_token(backend: LlamaCppBackend, prompt: str) -> float:
    began = time.perf_counter()
    stream = backend.generate_stream(prompt, {"max_tokens": 2, "temperature": 0.0})
    next(stream)
    passed = time.perf_counter() - began
    list(stream)
    return passed


def cached_first_token(path: Path) -> float:
    backend = loaded(path)
    ratios = []
    for number in range(3):
        prefix = f"{number} " + "What is said here is long. " * 75
        ratio = 1 / first_token(backend, prefix + "First?")
        ratios.append(ratio * first_token(backend, prefix + "Second?"))
    backend.unload()
    return statistics.median(ratios)


def measure() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        tiny = write_gguf(Path(folder) / "tiny.gguf", endless=True)
        wide = write_random(Path(folder) / "wide.gguf")
        backend = loaded(wide)
        pairs(backend, 20, 2)
        ratio = statistics.median(own / theirs for theirs, own in pairs(backend, 150, 10))
        backend.unload()
        backend = loaded(tiny)
        pairs(backend, 200, 2)
        own = statistics.median(own - theirs for theirs, own in pairs(backend, 2000, 10)) * 1e6
        backend.unload()
        gain, share = parallel(write_random(Path(folder) / "large.gguf", dim=1024))
        return {
            "cpu_ratio": ratio,
            "own_us": own,
            "parallel": gain,
            "parallel_share": share,
            "cached_first_token": cached_first_token(wide),
        }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--json", type=Path, help="also write the figures to this file")
    given = arguments.parse_args()
    figures = {name: round(value, 3) for name, value in measure().items()}
    for name, value in figures.items():
        least = name.startswith("parallel")
        good = value >= LIMITS[name] if least else value <= LIMITS[name]
        word = "at least" if least else "at most"
        print(f"{name:20} {value:8.3f}   {word} {LIMITS[name]:g}   {'reached' if good else 'MISSED'}")
    text = json.dumps(figures)
    print(text)
    if given.json:
        given.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
