"""config: what the configuration says, and changing it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llamaforge.cli.models import hide_keys
from llamaforge.cli.state import State, say, show_json
from llamaforge.exceptions import ConfigError

app = typer.Typer(help="Show and change the configuration.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def get(ctx: typer.Context, key: Annotated[str, typer.Argument(help="Such as server.port.")]) -> None:
    """Write the value of a key: text as it is, all else as JSON."""
    state: State = ctx.obj
    value = state.config().get(key, ...)
    if value is ...:
        raise ConfigError(f"'{key}' is not set.")
    if isinstance(value, str):
        say(value)
    else:
        show_json(value)


@app.command("set")
def set_(
    ctx: typer.Context,
    key: Annotated[str, typer.Argument(help="Such as server.port.")],
    value: Annotated[str, typer.Argument(help="Such as 9000 or false; lists and objects are JSON.")],
) -> None:
    """Set a key and save, in the profile if one is active."""
    from llamaforge.settings import from_words, setting, split  # noqa: PLC0415 - a command loads what it needs

    state: State = ctx.obj
    config = state.config()
    parts = split(key) or tuple(key.split("."))
    known = setting(parts, config.config["models"])
    if key == "active_profile":
        config.set_active_profile(from_words(known, value))
    else:
        config.set(parts, from_words(known, value))
    config.save()


@app.command()
def init(ctx: typer.Context) -> None:
    """Write the configuration file with its defaults. One that is there stays as it is."""
    state: State = ctx.obj
    config = state.config()
    there = Path(config.config_path).exists()
    if not there:
        config.save()
    say(f"{config.config_path} {'is there already' if there else 'was written'}.")


@app.command("list")
def list_(
    ctx: typer.Context,
    show_keys: Annotated[bool, typer.Option("--show-keys", help="Also show API keys.")] = False,
) -> None:
    """Write all that counts as JSON."""
    state: State = ctx.obj
    whole = state.config().get_all()
    show_json(whole if show_keys else hide_keys(whole))


@app.command()
def path(ctx: typer.Context) -> None:
    """Write where the configuration file is."""
    state: State = ctx.obj
    say(state.config().config_path)


@app.command("create-profile")
def create_profile(ctx: typer.Context, name: Annotated[str, typer.Argument(help="Its name.")]) -> None:
    """Add an empty profile."""
    state: State = ctx.obj
    config = state.config()
    config.create_profile(name)
    config.save()


@app.command("set-profile")
def set_profile(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(help="The profile; left out, none is active.")] = None,
) -> None:
    """Make a profile the active one, from now on."""
    state: State = ctx.obj
    config = state.config()
    config.set_active_profile(name)
    config.save()
