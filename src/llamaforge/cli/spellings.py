"""Other spellings of commands, from older pages of the documentation: `models add --name ...`, `list-models`, `generate`."""

from __future__ import annotations

from typing import Annotated

import typer

from llamaforge.cli import models
from llamaforge.cli.models import AsJson, What
from llamaforge.cli.talking import Backend, Param

app = typer.Typer(help="List, add and remove models.", no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[str, typer.Option("--name", help="The model.")]


@app.command("list")
def list_(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List models."""
    models.list_(ctx, What.MODELS, as_json=as_json)


@app.command()
def add(
    ctx: typer.Context,
    *,
    name: Name,
    path: Annotated[str, typer.Option("--path", help="A file, a folder, or any other source.")],
    backend: Backend = None,
    param: Param = None,
) -> None:
    """Add a model."""
    models.add(ctx, name=name, source=path, backend=backend, param=param)


@app.command()
def remove(ctx: typer.Context, name: Name) -> None:
    """Forget a model. Its file stays."""
    models.remove(ctx, name)
