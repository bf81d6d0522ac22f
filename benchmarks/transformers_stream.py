"""What streaming through the huggingface backend costs beside a bare `generate`, and what answers side by side gain.

Run: python -m benchmarks.transformers_stream [--json FILE]

A random Llama (512 wide, 8 layers unless told otherwise) writes greedily. Rounds are interleaved, so that whatever else
the machine does falls on both sides; the ratios are of the medians of CPU seconds (of the whole process) for a token.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llamaforge.backends.huggingface import HuggingFaceBackend
from tests.support.tiny_transformers import write_random

PROMPT = "The quick brown fox jumps over the lazy dog."


def measure(work: Callable[[], int]) -> tuple[float, float]:
    """Milliseconds of CPU and of wall time for each token; `work` returns how many it wrote."""
    cpu, wall = time.process_time(), time.perf_counter()
    tokens = work()
    return 1000 * (time.process_time() - cpu) / tokens, 1000 * (time.perf_counter() - wall) / tokens


def side_by_side(work: Callable[[], int], threads: int) -> int:
    """The tokens that `threads` calls at once write."""
    counts: list[int] = []
    workers = [threading.Thread(target=lambda: counts.append(work())) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts)


def contenders(folder: Path, tokens: int, threads: int, parallel: int) -> dict[str, Callable[[], int]]:
    """What is measured, by name."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(PROMPT, return_tensors="pt")
    backend = HuggingFaceBackend()
    backend.load_model(folder, {"device": "cpu", "n_threads": threads, "max_batch": parallel})
    torch.set_num_threads(threads)

    def bare() -> int:
        output = model.generate(**inputs, do_sample=False, max_new_tokens=tokens)
        return int(output.shape[1] - inputs["input_ids"].shape[1])

    def stream() -> int:
        return sum(1 for _ in backend.generate_stream(PROMPT, {"temperature": 0, "max_tokens": tokens}))

    def sampled() -> int:
        wish = {"temperature": 0.7, "top_p": 0.9, "seed": 1, "max_tokens": tokens}
        return int(backend.completion(PROMPT, wish)["usage"]["completion_tokens"])

    return {
        "bare generate": bare,
        "our stream": stream,
        "our stream, sampled": sampled,
        f"{parallel} one after the other": lambda: sum(stream() for _ in range(parallel)),
        f"{parallel} at once": lambda: side_by_side(stream, parallel),
    }


def first_token(folder: Path, threads: int, length: int) -> tuple[float, float]:
    """Seconds to the first token of a long prompt, and of a second one that begins like it."""
    backend = HuggingFaceBackend()
    backend.load_model(folder, {"device": "cpu", "n_threads": threads})
    text = "x" * length

    def wait(prompt: str) -> float:
        start = time.perf_counter()
        next(iter(backend.generate_stream(prompt, {"temperature": 0, "max_tokens": 1})))
        return time.perf_counter() - start

    wait("warm up")
    return wait(text + " first"), wait(text + " second")


def run(rounds: int, tokens: int, threads: int, parallel: int, size: tuple[int, int]) -> dict[str, Any]:
    """Medians for each contender, and the two ratios."""
    with tempfile.TemporaryDirectory() as place:
        folder = write_random(Path(place), dim=size[0], layers=size[1])
        works = contenders(folder, tokens, threads, parallel)
        figures: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
        for number in range(rounds + 1):
            for name, work in works.items():
                figure = measure(work)
                if number:  # the first round warms up
                    figures[name].append(figure)
        first, second = first_token(folder, threads, 1024)
    names = list(works)
    medians = {
        name: {
            "cpu_ms_per_token": statistics.median(cpu for cpu, _ in rows),
            "wall_ms_per_token": statistics.median(wall for _, wall in rows),
        }
        for name, rows in figures.items()
    }
    bare, stream, _, serial, parallel_name = (medians[name] for name in names)
    return {
        "contenders": medians,
        "stream_over_bare_tokens_per_cpu_second": bare["cpu_ms_per_token"] / stream["cpu_ms_per_token"],
        "at_once_over_serial_throughput": serial["wall_ms_per_token"] / parallel_name["wall_ms_per_token"],
        "time_to_first_token": {"first": first, "second": second, "ratio": second / first},
        "rounds": rounds,
        "tokens": tokens,
        "threads": threads,
        "parallel": parallel,
        "model": {"dim": size[0], "layers": size[1]},
    }


def show(result: dict[str, Any]) -> None:
    """The figures as a table."""
    print(f"{'':28}{'CPU ms a token':>16}{'wall ms a token':>17}{'tokens/s':>10}")
    for name, row in result["contenders"].items():
        cpu, wall = row["cpu_ms_per_token"], row["wall_ms_per_token"]
        print(f"{name:28}{cpu:16.2f}{wall:17.2f}{1000 / wall:10.1f}")
    print(
        f"stream / bare generate, tokens per CPU second: {result['stream_over_bare_tokens_per_cpu_second']:.2f} (goal 0.95)"
    )
    again = result["time_to_first_token"]
    print(f"time to first token with a prefix read before: {again['ratio']:.3f} of {again['first']:.2f} s (goal 0.3)")
    print(f"at once / one after the other, tokens per second: {result['at_once_over_serial_throughput']:.2f} (goal 2)")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--parallel", type=int, default=8)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    result = run(given.rounds, given.tokens, given.threads, given.parallel, (given.dim, given.layers))
    show(result)
    if given.json:
        given.json.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
