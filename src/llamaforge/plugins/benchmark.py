"""The speed of a model as a command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from llamaforge import benchmark
from llamaforge.plugins.base import CommandPlugin


class Benchmark(CommandPlugin):
    """Runs prompts several times and measures tokens a second, time to the first token and percentiles."""

    name = "benchmark"
    description = "Measures how fast a model answers: tokens a second, time to the first token, percentiles."
    command_args: ClassVar[Sequence[Mapping[str, Any]]] = (
        {"name": "model", "help": "The model; the loaded one by default.", "required": False, "default": None},
        {"name": "prompts", "help": "The prompts.", "required": False, "default": None},
        {"name": "iterations", "help": "Runs of each prompt.", "required": False, "default": 3},
        {"name": "max_tokens", "help": "The length of an answer.", "required": False, "default": 100},
        {"name": "warmup", "help": "Run once before measuring.", "required": False, "default": True},
        {
            "name": "dataset",
            "help": "A file of prompts: text lines, JSON or JSON lines.",
            "required": False,
            "default": None,
        },
        {"name": "num_samples", "help": "How many prompts of the file.", "required": False, "default": None},
    )

    def process(self, *, llamaforge: Any, **arguments: Any) -> dict[str, Any]:
        """The figures; see `llamaforge.benchmark.run` for their shape and the errors."""
        return benchmark.run(llamaforge, **arguments)
