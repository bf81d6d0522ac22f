"""All commands of `oui-backend`: serve, migrate, config, policies, users (listed, made, changed), audit (verified),
blobs (moved), db (copied), import (from Open WebUI, from archives), export, knowledge (synced), rag (measured), reindex.
"""

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
from open_webui.launch import exit_code
from open_webui.launch import serve as serve_with
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
knowledge = typer.Typer(help="Knowledge bases of a running server.", no_args_is_help=True)
app.add_typer(knowledge, name="knowledge")
db = typer.Typer(help="Take a database somewhere else.", no_args_is_help=True)
app.add_typer(db, name="db")
audit = typer.Typer(help="The record of who did what.", no_args_is_help=True)
app.add_typer(audit, name="audit")
moving_in = typer.Typer(help="Take over what another server holds.", no_args_is_help=True)
app.add_typer(moving_in, name="import")
rag = typer.Typer(help="How well documents are found.", no_args_is_help=True)
app.add_typer(rag, name="rag")
Email = Annotated[str, typer.Argument(help="The account's e-mail address.")]


def _fail(error: OuiError) -> NoReturn:
    print(f"oui-backend: {error.detail}", file=sys.stderr)
    raise typer.Exit(exit_code(error))


def _say_doing(doing: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{doing:<60}", end="", file=sys.stderr, flush=True)


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
    given = {"host": host, "port": port, "uvicorn_workers": workers}
    _guard(lambda: serve_with({name: value for name, value in given.items() if value is not None}, reload=reload))


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

    def run() -> None:
        summary = asyncio.run(copy(settings, source, target, replace_nul=replace_nul, say=_say_doing))
        _say_doing("\r")
        print("\n".join(summary))

    _guard(run)


DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be taken, and write nothing.")]
KeepRoles = Annotated[
    bool, typer.Option("--keep-roles", help="Its administrators administer this server, too, and functions stay on.")
]
WithSettings = Annotated[
    bool, typer.Option("--settings", help="Take its settings also where this server has accounts.")
]
ReportFile = Annotated[Path | None, typer.Option(help="Also write the report to this file, as JSON.")]


def _import(source: str, report: Path | None, **options: Any) -> None:
    from open_webui.moving_in.runner import move_in

    settings = _settings()

    def run() -> None:
        done = asyncio.run(move_in(settings, source, _say_doing, **options))
        _say_doing("\r")
        print("\n".join(done.lines()))
        if report is not None:
            done.write(report)

    _guard(run)


@moving_in.command("open-webui")
def import_open_webui(
    source: Annotated[
        str,
        typer.Argument(envvar="IMPORT_SOURCE", help="Its SQLite file, the folder with it, or postgresql://..."),
    ],
    uploads: Annotated[
        Path | None, typer.Option(help="The folder with its files; `uploads` beside the SQLite file by default.")
    ] = None,
    dry_run: DryRun = False,
    keep_roles: KeepRoles = False,
    with_settings: WithSettings = False,
    report: ReportFile = None,
) -> None:
    """Take over accounts, chats, files and all else from Open WebUI. Stopped, the same command goes on."""
    _import(
        source, report, uploads=uploads, dry_run=dry_run, keep_roles=keep_roles, with_settings=with_settings
    )  # fmt: skip


@moving_in.command("archive")
def import_archive(
    file: Annotated[Path, typer.Argument(help="The archive that `oui-backend export` has written.")],
    dry_run: DryRun = False,
    keep_roles: KeepRoles = False,
    with_settings: WithSettings = False,
    report: ReportFile = None,
) -> None:
    """Take in what `oui-backend export` has written. What is here already stays. Stopped, the same command goes on."""
    from open_webui.moving_in.archive import NOT_ONE, is_archive

    def check() -> None:
        if not file.is_file():
            raise StartupError(f"There is no file {file}.")
        if not is_archive(file):
            raise StartupError(NOT_ONE.format(file))

    _guard(check)
    _import(str(file), report, dry_run=dry_run, keep_roles=keep_roles, with_settings=with_settings)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="The archive to write, a ZIP file. One that is there stays.")],
    user: Annotated[
        str, typer.Option(help="The e-mail address of an account, of which alone it is; of all by default.")
    ] = "",
    with_secrets: Annotated[
        bool, typer.Option("--with-secrets", help="Also passwords' hashes, and keys to other services.")
    ] = False,
) -> None:
    """Write accounts, chats, files and all else into one archive, also while servers run. Ends with 3 where some of it could
    not be read.
    """
    from open_webui.moving_out import LeftOut
    from open_webui.moving_out import export as write

    settings = _settings()

    def run() -> None:
        summary, done = asyncio.run(write(settings, file, _say_doing, email=user or None, with_secrets=with_secrets))
        _say_doing("\r")
        print("\n".join(summary))
        if done.left:
            print("\n".join(f"left out: {one}" for one in done.damaged), file=sys.stderr)
            raise LeftOut(f"{done.left:,} things could not be read, and are not in the archive, or not whole.")

    _guard(run)


@moving_in.command("chats")
def import_chats(
    file: Annotated[Path, typer.Argument(help="ChatGPT's conversations.json, LibreChat's JSON, or JSONL of messages.")],
    email: Annotated[str, typer.Option("--for", help="The e-mail address of the account that gets them.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be taken, and write nothing.")] = False,
) -> None:
    """Give an account the chats of an export of another program. Those that are there already stay as they are."""
    from open_webui.moving_in import export_file

    settings = _settings()

    def run() -> None:
        done = asyncio.run(export_file.import_chats(settings, file, email, _say_doing, dry_run=dry_run))
        _say_doing("\r")
        print("\n".join(done.lines()))

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


@users.command("remove-factor")
def remove_factor(email: Email) -> None:
    """Remove a second factor whose owner has lost it, which ends the account's sessions."""
    from open_webui import administration

    _say(lambda settings: administration.remove_factor(settings, email))


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


@audit.command("verify")
def verify_audit(
    head: Annotated[str, typer.Option(help="A link that was noted before, NUMBER:HASH, which has to be there.")] = "",
    former_secret: Annotated[
        str,
        typer.Option(
            envvar="OUI_FORMER_SECRET", help="A WEBUI_SECRET_KEY of before, better given as OUI_FORMER_SECRET."
        ),
    ] = "",
) -> None:
    """Check the whole audit record, and say where it breaks first. Ends with 3 where it does."""
    from open_webui import administration

    _say(lambda settings: administration.verify_audit(settings, head, former_secret))


ServerUrl = Annotated[str, typer.Option(help="The server's address.")]
ApiKey = Annotated[
    str, typer.Option(envvar="OUI_API_KEY", help="An API key of the server, better given as OUI_API_KEY.")
]
NO_KEY = "An API key is needed: set OUI_API_KEY. One is made in the settings of your account."


@app.command()
def reindex(
    vectors: Annotated[bool, typer.Option("--vectors", help="Make the vectors anew, too.")] = False,
    url: ServerUrl = "http://localhost:8080",
    key: ApiKey = "",
) -> None:
    """Have a running server split and index all documents as its settings say now. An administrator's key is needed."""
    from open_webui.knowledge_sync import SyncError
    from open_webui.knowledge_sync import reindex as begin

    def run(settings: Settings) -> Coroutine[Any, Any, str]:
        if not key:
            raise SyncError(NO_KEY)
        return begin(settings, url, key, vectors=vectors)

    _say(run)


@knowledge.command("sync")
def sync_knowledge(
    folder: Annotated[Path, typer.Argument(help="The folder; the files in it keep their directories.")],
    into: Annotated[str, typer.Option(help="The knowledge base's name. It is made if there is none.")],
    url: ServerUrl = "http://localhost:8080",
    key: ApiKey = "",
    delete: Annotated[
        bool, typer.Option("--delete", help="Take out of the base what the folder doesn't have.")
    ] = False,
) -> None:
    """Bring a knowledge base of a running server to what a folder has. Only what is new or changed is sent."""
    from open_webui.knowledge_sync import SyncError, sync

    def run(settings: Settings) -> Coroutine[Any, Any, str]:
        async def go() -> str:
            if not key:
                raise SyncError(NO_KEY)
            done = await sync(settings, url, key, folder, into, delete=delete, tell=print)
            for line in done.failed:
                print(f"not sent: {line}", file=sys.stderr)
            told = (
                f"{done.added:,} added, {done.changed:,} changed, {done.removed:,} removed, {done.same:,} as they were."
            )
            if done.failed:
                raise SyncError(f"{told} {len(done.failed):,} could not be sent.")
            return told

        return go()

    _say(run)


@rag.command("eval")
def evaluate_retrieval(
    judged: Annotated[
        Path,
        typer.Argument(
            metavar="SET.jsonl",
            help='Lines of {"question": "", "answers": [{"document": "", "phrase": ""}], "kind": ""}.',
        ),
    ],
    files: Annotated[
        list[Path] | None, typer.Option(help="A folder of the documents, or several; that of the set by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure how well questions find their passages: by words, by vectors, by both, and ranked anew.

    The documents are indexed in a folder that goes afterwards, with the models and settings of the environment.
    """
    from open_webui.retrieval_eval import evaluate

    settings = _settings()

    def tell(doing: str) -> None:
        if sys.stderr.isatty():
            print(f"\r{doing:<60}", end="", file=sys.stderr, flush=True)

    def run() -> None:
        report = asyncio.run(evaluate(settings, judged, files or [], tell))
        tell("\r")
        print(report.as_json() if as_json else report.table())

    _guard(run)


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
