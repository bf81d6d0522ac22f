"""The command line `llamaforge`. Answers go to stdout, logs and progress to stderr; 0 done, 1 failed, 2 usage, 130 Ctrl-C."""

from __future__ import annotations

from typing import Annotated

import typer

from llamaforge.cli.state import Commands, State, log_to_stderr, say

app = typer.Typer(
    name="llamaforge",
    cls=Commands,
    help="Run any model by its name.",
    no_args_is_help=False,
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def main(
    ctx: typer.Context,
    config: Annotated[str | None, typer.Option("--config", "-c", help="The configuration file.")] = None,
    profile: Annotated[str | None, typer.Option("--profile", help="The profile for this command.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log everything to stderr.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Show the version and end.")] = False,
) -> None:
    """Note the global options; without a command, show the help."""
    if version:
        from importlib.metadata import version as installed  # noqa: PLC0415 - a command loads what it needs

        say(f"llamaforge {installed('oui-backend')}")
        raise typer.Exit
    log_to_stderr(verbose=verbose)
    ctx.obj = State(config, profile, verbose)
    if ctx.invoked_subcommand is None:
        say(ctx.get_help())
