"""How fast a model answers: tokens a second, time to the first token, percentiles."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Protocol

from llamaforge.exceptions import ParameterError
from llamaforge.formats.completions import Json, chunk_text
from llamaforge.model import expanded

DEFAULT_PROMPTS = (
    "Explain quantum computing in simple terms.",
    "Write a short story about a robot that learns to paint.",
    "What are the main differences between Python and JavaScript?",
)
PERCENTILES = (50, 90, 99)
_PROMPT_KEYS = ("prompt", "instruction", "text", "question")


class Forge(Protocol):
    """What a benchmark needs of a forge."""

    @property
    def current_model(self) -> Any: ...

    def load_model(self, name: str) -> Any: ...

    def completion_stream(self, prompt: str, parameters: Mapping[str, Any] | None = None) -> Iterator[Json]: ...


@dataclass(frozen=True, slots=True)
class Run:
    """One answer. Times in seconds. counted: the engine told the number of tokens; otherwise it is that of the pieces."""

    time: float
    time_to_first_token: float | None
    tokens: int
    counted: bool

    @property
    def tokens_per_second(self) -> float:
        """Over the whole answer, reading the prompt included."""
        return self.tokens / self.time if self.time > 0 else 0.0


def run(  # noqa: PLR0913 - one argument a setting
    forge: Forge,
    model: str | None = None,
    prompts: Sequence[str] | str | None = None,
    *,
    iterations: int = 3,
    max_tokens: int = 100,
    warmup: bool = True,
    parallel: int = 1,
    dataset: str | None = None,
    num_samples: int | None = None,
) -> Json:
    """Run every prompt `iterations` times on `model` (the current one by default) and return the figures:

    {model, backend, iterations, parallel, max_tokens, token_count: "engine" | "pieces", prompts: [{prompt, runs: [{time,
    time_to_first_token, tokens, tokens_per_second}], metrics}], overall: metrics + {total_tokens, total_time, wall_time,
    wall_tokens_per_second}}. Times in seconds; `total` is the sum of all runs, `wall` by the clock.
    parallel: runs at a time, of which a model computes as many as it has slots (`n_parallel`). dataset: a file of prompts
    (see `read_prompts`), instead of `prompts`; num_samples: its first so many.
    Raises ParameterError for arguments that can't be used, and whatever loading and generating raise.
    """
    asked = _prompts(prompts, dataset, num_samples)
    _at_least_one("iterations", iterations)
    _at_least_one("max_tokens", max_tokens)
    _at_least_one("parallel", parallel)
    if model is not None:
        forge.load_model(model)
    current = forge.current_model
    if current is None:
        raise ParameterError("No model is loaded; name the one to measure.")
    parameters = {"max_tokens": max_tokens}
    if warmup:
        measure(forge.completion_stream(asked[0], parameters))
    each = [prompt for prompt in asked for _ in range(iterations)]
    begin = time.perf_counter()
    measured = _all(lambda prompt: measure(forge.completion_stream(prompt, parameters)), each, parallel)
    results = [
        (prompt, measured[at : at + iterations]) for at, prompt in zip(count(0, iterations), asked, strict=False)
    ]
    wall = time.perf_counter() - begin
    runs = [one for _, of_prompt in results for one in of_prompt]
    totals = {"total_tokens": sum(one.tokens for one in runs), "total_time": sum(one.time for one in runs)}
    totals |= {"wall_time": wall, "wall_tokens_per_second": totals["total_tokens"] / wall}
    return {
        "model": current.name,
        "backend": current.backend,
        "iterations": iterations,
        "parallel": parallel,
        "max_tokens": max_tokens,
        "token_count": "engine" if all(one.counted for one in runs) else "pieces",
        "prompts": [
            {"prompt": prompt, "runs": [_shown(one) for one in of_prompt], "metrics": metrics(of_prompt)}
            for prompt, of_prompt in results
        ],
        "overall": {**metrics(runs), **totals},
        # Two figures under the names of the documentation.
        "avg_latency": metrics(runs)["avg_time"],
        "tokens_per_second": metrics(runs)["avg_tokens_per_second"],
    }


def _all(work: Callable[[str], Run], prompts: Sequence[str], at_once: int) -> list[Run]:
    """The runs of all prompts, in order; one at a time stays in this thread, where Ctrl-C ends it at once."""
    if at_once == 1:
        return [work(prompt) for prompt in prompts]
    with ThreadPoolExecutor(at_once) as threads:
        return list(threads.map(work, prompts))


def measure(chunks: Iterable[Json]) -> Run:
    """The figures of one answer in OpenAI's chunks, the clock running while they are fetched."""
    start = time.perf_counter()
    first: float | None = None
    pieces = 0
    told: int | None = None
    for chunk in chunks:
        if chunk_text(chunk):
            pieces += 1
            if first is None:
                first = time.perf_counter() - start
        usage = chunk.get("usage")
        if isinstance(usage, Mapping) and isinstance(usage.get("completion_tokens"), int):
            told = usage["completion_tokens"]
    return Run(time.perf_counter() - start, first, pieces if told is None else told, told is not None)


def metrics(runs: Sequence[Run]) -> Json:
    """Averages, extremes and percentiles over runs; tokens a second is all tokens by all time."""
    times = [one.time for one in runs]
    firsts = [one.time_to_first_token for one in runs if one.time_to_first_token is not None]
    rates = [one.tokens_per_second for one in runs]
    total = sum(times)
    return {
        "avg_time": fmean(times),
        "min_time": min(times),
        "max_time": max(times),
        "std_dev_time": stdev(times) if len(times) > 1 else 0.0,
        "avg_tokens": fmean([one.tokens for one in runs]),
        "avg_tokens_per_second": sum(one.tokens for one in runs) / total if total > 0 else 0.0,
        "avg_time_to_first_token": fmean(firsts) if firsts else None,
        "time_percentiles": _percentiles(times),
        "time_to_first_token_percentiles": _percentiles(firsts),
        "tokens_per_second_percentiles": _percentiles(rates),
    }


def percentile(values: Sequence[float], percent: float) -> float:
    """The percentile with linear interpolation between the two nearest values (NumPy's default)."""
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    low, high = math.floor(position), math.ceil(position)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def read_prompts(path: str | Path) -> list[str]:
    """The prompts of a file: a JSON list, JSON lines, or one a line. An object has it as prompt, instruction or text.

    Raises ParameterError when the file can't be read or holds none.
    """
    try:
        content = expanded(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(f"The dataset '{path}' can't be read; it must be a file of prompts. {error}") from error
    try:
        whole = json.loads(content)
    except ValueError:
        whole = None
    items = whole if isinstance(whole, list) else [_line(line) for line in content.splitlines()]
    prompts = [text for text in map(_prompt_of, items) if text]
    if not prompts:
        raise ParameterError(f"The dataset '{path}' holds no prompts.")
    return prompts


def _prompts(prompts: Sequence[str] | str | None, dataset: str | None, num_samples: int | None) -> Sequence[str]:
    if prompts and dataset is not None:
        raise ParameterError("Give 'prompts' or 'dataset', not both.")
    if num_samples is not None:
        _at_least_one("num_samples", num_samples)
    if dataset is not None:
        return read_prompts(dataset)[:num_samples]
    chosen = [prompts] if isinstance(prompts, str) else (prompts or DEFAULT_PROMPTS)
    if not all(str(prompt).strip() for prompt in chosen):
        raise ParameterError("Each prompt must be text that is not blank.")
    return list(chosen)[:num_samples]


def _line(line: str) -> Any:
    if line.lstrip().startswith(("{", '"')):
        try:
            return json.loads(line)
        except ValueError:
            return line
    return line


def _prompt_of(item: Any) -> str:
    if isinstance(item, Mapping):
        item = next((item[key] for key in _PROMPT_KEYS if isinstance(item.get(key), str)), "")
    return item.strip() if isinstance(item, str) else ""


def _at_least_one(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ParameterError(f"'{name}' must be a whole number of at least 1.")


def _shown(one: Run) -> Json:
    return {
        "time": one.time,
        "time_to_first_token": one.time_to_first_token,
        "tokens": one.tokens,
        "tokens_per_second": one.tokens_per_second,
    }


def _percentiles(values: Sequence[float]) -> Json:
    return {f"p{percent}": percentile(values, percent) for percent in PERCENTILES} if values else {}
