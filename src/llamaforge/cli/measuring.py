"""tools and benchmark."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from llamaforge.cli.state import State, say, show_json, show_table
from llamaforge.cli.talking import Backend, Model
from llamaforge.exceptions import ParameterError

tools = typer.Typer(help="Use a tool.", no_args_is_help=True, rich_markup_mode=None)


@tools.callback()
def _tools() -> None:
    """Use a tool."""


@tools.command(context_settings={"ignore_unknown_options": True})
def calculator(
    expression: Annotated[list[str], typer.Argument(help="Such as 'sqrt(144) + 2^10'.")],
) -> None:
    """Calculate an arithmetic expression."""
    from llamaforge.plugins.calculator import calculate  # noqa: PLC0415 - a command loads what it needs

    say(calculate(" ".join(expression)))


def benchmark(  # noqa: PLR0913 - one argument an option
    ctx: typer.Context,
    *,
    model: Model = None,
    backend: Backend = None,
    prompts: Annotated[
        list[str] | None, typer.Option("--prompts", "--prompt", help="A prompt; may be repeated.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="A file of prompts: lines, JSON or JSON lines.")] = None,
    num_samples: Annotated[
        int | None, typer.Option("--num-samples", "--num_samples", help="Its first so many.")
    ] = None,
    iterations: Annotated[int, typer.Option(help="Runs of each prompt.")] = 3,
    max_tokens: Annotated[int, typer.Option(help="The length of an answer, in tokens.")] = 100,
    parallel: Annotated[int, typer.Option(help="Runs at a time, to measure a model with n_parallel slots.")] = 1,
    warmup: Annotated[bool, typer.Option("--warmup/--no-warmup", help="Run once before measuring.")] = True,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file for the JSON.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Measure tokens a second, time to the first token, and their percentiles."""
    from llamaforge.benchmark import run  # noqa: PLC0415 - a command loads what it needs

    state: State = ctx.obj
    with state.forge(model, backend) as forge:
        result = run(
            forge,
            model or forge.config.get("default_model"),
            prompts,
            iterations=iterations,
            max_tokens=max_tokens,
            warmup=warmup,
            parallel=parallel,
            dataset=dataset,
            num_samples=num_samples,
        )
    if output is not None:
        try:
            output.write_text(json.dumps(result, indent=2), encoding="utf-8")
        except OSError as error:
            raise ParameterError(f"{output} can't be written: {error.strerror}.") from error
    if as_json:
        show_json(result)
    else:
        _show(result)


def _show(result: Mapping[str, Any]) -> None:
    rows = [_row(item["prompt"], item["metrics"]) for item in result["prompts"]]
    if len(rows) > 1:
        rows.append(_row("all", result["overall"]))
    say(
        f"{result['model']} on {result['backend']}, {result['iterations']} runs a prompt, tokens by {result['token_count']}"
    )
    if result["parallel"] > 1:
        overall = result["overall"]
        say(
            f"{result['parallel']} at a time: {overall['wall_tokens_per_second']:.1f} tokens/s together, "
            f"{overall['total_tokens']} in {_seconds(overall['wall_time'])}"
        )
    show_table(
        ["PROMPT", "TOKENS/S", "TTFT", "TTFT P50", "TTFT P90", "TTFT P99", "TIME P50", "TIME P90", "TIME P99"], rows
    )


def _row(prompt: str, figures: Mapping[str, Any]) -> list[str]:
    first, times = figures["time_to_first_token_percentiles"], figures["time_percentiles"]
    average = figures["avg_time_to_first_token"]
    return [
        prompt if len(prompt) <= 32 else f"{prompt[:31]}…",
        f"{figures['avg_tokens_per_second']:.1f}",
        _seconds(average),
        *(_seconds(first.get(name)) for name in ("p50", "p90", "p99")),
        *(_seconds(times.get(name)) for name in ("p50", "p90", "p99")),
    ]


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"
