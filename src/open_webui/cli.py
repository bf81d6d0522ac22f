"""The command line: serve, migrate, config, policies."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from open_webui.env import Settings, load
from open_webui.errors import StartupError

app = typer.Typer(
    help="oui-backend: a self-hosted AI server.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _fail(error: StartupError) -> NoReturn:
    print(f"oui-backend: {error.detail}", file=sys.stderr)
    raise typer.Exit(error.exit_code)


def _settings() -> Settings:
    try:
        return load()
    except StartupError as error:
        _fail(error)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; HOST by default.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; PORT by default.")] = None,
    reload: Annotated[bool, typer.Option(help="Restart when the code changes.")] = False,
) -> None:
    """Migrate the database and serve until stopped."""
    from open_webui.serving import run

    settings = _settings()
    changes = {k: v for k, v in {"host": host, "port": port}.items() if v is not None}
    _guard(lambda: run(settings.model_copy(update=changes), reload=reload))


@app.command()
def migrate() -> None:
    """Bring the database to this release's schema. While a server uses a SQLite file, only if there is nothing to do."""
    from open_webui.internal.folder_lock import lock_folder
    from open_webui.migrations.runner import migrate as upgrade

    settings = _settings()
    _guard(lambda: print("migrated" if asyncio.run(upgrade(settings, lock_folder(settings))) else "already current"))


@app.command()
def config() -> None:
    """Print every setting with its value and where it comes from."""
    from open_webui.printing import print_config

    settings = _settings()
    _guard(lambda: asyncio.run(print_config(settings)))


@app.command()
def policies(
    write: Annotated[Path | None, typer.Option(help="Put the table between the marks of this Markdown file.")] = None,
) -> None:
    """Print what every route and socket event demands of its caller."""
    from open_webui.printing import print_policies

    _guard(lambda: print_policies(write))


def _guard(action: Callable[[], None]) -> None:
    try:
        action()
    except StartupError as error:
        _fail(error)


if __name__ == "__main__":
    app()
