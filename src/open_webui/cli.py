"""The command line: serve, migrate, config, policies, users, who are listed, made and changed, and blobs, which are moved."""

import asyncio
import getpass
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from open_webui import __version__
from open_webui.env import MAX_WORKERS, Settings, load
from open_webui.errors import OuiError, StartupError
from open_webui.principal import Role

app = typer.Typer(
    help="oui-backend: a self-hosted AI server.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


users = typer.Typer(help="List, add and change the accounts, also while the server runs.", no_args_is_help=True)
app.add_typer(users, name="users")
blobs = typer.Typer(help="Files on the disk and in the bucket.", no_args_is_help=True)
app.add_typer(blobs, name="blobs")
db = typer.Typer(help="Take a database somewhere else.", no_args_is_help=True)
app.add_typer(db, name="db")
Email = Annotated[str, typer.Argument(help="The account's e-mail address.")]


def _fail(error: OuiError) -> NoReturn:
    print(f"oui-backend: {error.detail}", file=sys.stderr)
    raise typer.Exit(error.exit_code if isinstance(error, StartupError) else 1)


def _settings() -> Settings:
    # What this process and its children make is for their account of the machine alone. What lies there: internal/private.py.
    os.umask(0o077)
    try:
        return load()
    except StartupError as error:
        _fail(error)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"oui-backend {__version__}")
        raise typer.Exit


@app.callback()
def main(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """oui-backend: a self-hosted AI server."""


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; HOST by default.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; PORT by default.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_WORKERS, help="Processes that serve, on PostgreSQL; UVICORN_WORKERS by default."),
    ] = None,
    reload: Annotated[bool, typer.Option(help="Restart when the code changes.")] = False,
) -> None:
    """Migrate the database and serve until stopped."""
    from open_webui.serving import run, run_workers

    # Without what `.env` says: workers read it again, and a later one may find it changed.
    environment = dict(os.environ)
    given = {"host": host, "port": port, "uvicorn_workers": workers}
    settings = _settings().model_copy(update={k: v for k, v in given.items() if v is not None})
    if settings.uvicorn_workers > 1:
        _guard(lambda: run_workers(settings, environment, reload=reload))
    else:
        _guard(lambda: run(settings, reload=reload))


@app.command()
def migrate() -> None:
    """Bring the database to this release's schema. While a server uses a SQLite file, only if there is nothing to do."""
    from open_webui.internal.folder_lock import lock_folder
    from open_webui.migrations.runner import migrate as upgrade

    settings = _settings()
    _guard(lambda: print("migrated" if asyncio.run(upgrade(settings, lock_folder(settings))) else "already current"))


@db.command("copy")
def copy_database(
    source: Annotated[str, typer.Argument(envvar="DB_COPY_SOURCE", help="Its address, as in DATABASE_URL.")],
    target: Annotated[str, typer.Argument(envvar="DB_COPY_TARGET", help="That of an empty database.")],
    replace_nul: Annotated[
        bool, typer.Option("--replace-nul", help="Write U+FFFD for NUL characters, which PostgreSQL can't hold.")
    ] = False,
) -> None:
    """Copy all rows, from SQLite to PostgreSQL or back, and compare them. Stopped, the same command goes on."""
    from open_webui.migrations.copying import copy

    settings = _settings()

    def say(doing: str) -> None:
        if sys.stderr.isatty():
            print(f"\r{doing:<60}", end="", file=sys.stderr, flush=True)

    def run() -> None:
        summary = asyncio.run(copy(settings, source, target, replace_nul=replace_nul, say=say))
        say("\r")
        print("\n".join(summary))

    _guard(run)


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


@users.command("list")
def list_users() -> None:
    """Print all accounts: e-mail address, role, when last here (UTC), name."""
    from open_webui import administration

    settings = _settings()
    _guard(lambda: print("\n".join(asyncio.run(administration.list_users(settings)))))


@users.command("add")
def add_user(
    email: Email,
    name: Annotated[str, typer.Option(help="What others see; the part before the @ by default.")] = "",
    role: Annotated[Role | None, typer.Option(help="`user` by default; the first account is always `admin`.")] = None,
) -> None:
    """Make an account. The password is asked for, or read from standard input."""
    from open_webui import administration

    _say(lambda settings: administration.add_user(settings, email, name, role, _ask_password))


@users.command("password")
def set_password(email: Email) -> None:
    """Set a password, which ends the account's sessions and API key. It is asked for, or read from standard input."""
    from open_webui import administration

    _say(lambda settings: administration.set_password(settings, email, _ask_password))


@users.command("role")
def set_role(email: Email, role: Annotated[Role, typer.Argument(help="pending, user or admin.")]) -> None:
    """Change what an account may do."""
    from open_webui import administration

    _say(lambda settings: administration.set_role(settings, email, role))


@users.command("delete")
def delete_user(
    email: Email, yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask whether to do it.")] = False
) -> None:
    """Remove an account with its chats and files."""
    from open_webui import administration

    def confirm(question: str) -> bool:
        if not yes and not sys.stdin.isatty():
            raise StartupError("Nobody is there to confirm it. Add --yes to delete without a question.")
        return yes or typer.confirm(question)

    _say(lambda settings: administration.delete_user(settings, email, confirm))


@blobs.command("move")
def move_blobs(
    to: Annotated[
        Literal["local", "s3"], typer.Argument(help="Where to: the disk (DATA_DIR), or the bucket of S3_BUCKET_NAME.")
    ],
    remove: Annotated[
        bool,
        typer.Option("--remove", help="Remove each file from where it was, once it was read back. No server may run."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
) -> None:
    """Copy all files to the disk or to the bucket. Ended in the middle, the same command goes on.

    Servers may run meanwhile. First copy; then stop the server, copy what is new, and start it with STORAGE_PROVIDER set to
    the new place.
    """
    from open_webui import administration

    def tell(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done:,} of {total:,} files", end="\n" if done == total else "", file=sys.stderr, flush=True)

    _say(lambda settings: administration.move_blobs(settings, to, tell, remove=remove, dry_run=dry_run))


def _ask_password() -> str:
    """A password: typed twice and not shown, or the first line of standard input where that is no terminal.

    It is never an argument: everybody on the machine could read that.
    """
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    try:
        password = getpass.getpass("Password: ")
        if getpass.getpass("The same again: ") != password:
            raise StartupError("The two passwords differ. Nothing was changed.")
    except EOFError:
        raise StartupError("No password was given. Nothing was changed.") from None
    return password


def _say(action: Callable[[Settings], Coroutine[Any, Any, str]]) -> None:
    """Runs an action and prints the sentence that it gives."""
    settings = _settings()
    from open_webui.administration import plain

    _guard(lambda: print(plain(asyncio.run(action(settings)))))


def _guard(action: Callable[[], None]) -> None:
    try:
        action()
    except OuiError as error:
        _fail(error)


if __name__ == "__main__":
    app()
