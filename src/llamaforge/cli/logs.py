"""logs: what was said on the command line."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from llamaforge.cli.answering import log_of
from llamaforge.cli.models import AsJson
from llamaforge.cli.state import State, say, show_json, show_table

app = typer.Typer(help="Conversations of the command line.", invoke_without_command=True, rich_markup_mode=None)
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="The latest so many.")]


@app.callback()
def main(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List, show, search and remove conversations of the command line."""
    if ctx.invoked_subcommand is None:
        _show(ctx, 20, None, as_json=as_json)


@app.command("list")
def list_(ctx: typer.Context, limit: Limit = 20, as_json: AsJson = False) -> None:
    """List conversations, the latest first."""
    _show(ctx, limit, None, as_json=as_json)


@app.command()
def search(
    ctx: typer.Context,
    words: Annotated[list[str], typer.Argument(help="All of them are in one message.")],
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List conversations in which these words were said."""
    _show(ctx, limit, " ".join(words), as_json=as_json)


@app.command()
def show(
    ctx: typer.Context,
    conversation: Annotated[str | None, typer.Argument(help="Its id; left out, the latest.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a whole conversation."""
    state: State = ctx.obj
    found = log_of(state.config()).get(conversation)
    if as_json:
        show_json(found)
        return
    say(f"{found['id']}  {_when(found['updated'])}  {found['model']}")
    if found["system"]:
        say(f"\nSystem prompt: {found['system']}")
    for message in found["messages"]:
        say("\n" + ("> " if message["role"] == "user" else "") + message["content"])


@app.command()
def remove(
    ctx: typer.Context, conversation: Annotated[str, typer.Argument(help="Its id, or the begin of it.")]
) -> None:
    """Forget a conversation."""
    state: State = ctx.obj
    log_of(state.config()).remove(conversation)


@app.command()
def path(ctx: typer.Context) -> None:
    """Write where the log is. To keep none: llamaforge config set log_conversations off."""
    state: State = ctx.obj
    say(log_of(state.config()).path)


def _show(ctx: typer.Context, limit: int, words: str | None, *, as_json: bool) -> None:
    state: State = ctx.obj
    rows = log_of(state.config()).list(limit, words)
    if as_json:
        show_json(rows)
    elif rows:
        cells = [
            [row["id"], _when(row["updated"]), row["model"], str(row["messages"]), _head(row["first"])] for row in rows
        ]
        show_table(["ID", "WHEN", "MODEL", "MESSAGES", "FIRST"], cells)
    else:
        say("There are no conversations.", err=True)


def _when(stamp: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(stamp))


def _head(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:59]}…"
