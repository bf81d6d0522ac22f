"""`oui-backend export`: everything that a server holds, or what one person has in it, in one file. Servers may run meanwhile."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.access.api_keys import Sealer
from open_webui.access.tokens import secret_key
from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.internal.db import open_database
from open_webui.internal.postgres import without_limits
from open_webui.migrations.runner import failures_as_sentences, need_current
from open_webui.models import users
from open_webui.services.audit.commands import act_of, record_of, tell
from open_webui.services.exporting.archive import files_of, noted_files, rows_of
from open_webui.services.exporting.rows import Export
from open_webui.services.exporting.zipped import Zip
from open_webui.storage import open_store
from open_webui.storage.base import StoreAway

Say = Callable[[str], None]
EVERYTHING: Final = "everything"
THERE: Final = "{} is there already. Name another file, or remove it."


class LeftOut(StartupError):
    """The archive is written, but not everything could be read."""

    exit_code = 3


async def export(
    settings: Settings, target: Path, say: Say, *, email: str | None = None, with_secrets: bool = False
) -> tuple[list[str], Export]:
    """Writes the archive; gives the lines of a summary, and what came of it. say: is told what is being done.

    Raises StartupError: there is no file then.
    """
    if await asyncio.to_thread(target.exists):
        raise StartupError(THERE.format(target))
    await need_current(settings)
    sealer = Sealer(await asyncio.to_thread(secret_key, settings))
    beside = target.with_name(f".{target.name}.part-{os.getpid()}")
    try:
        with failures_as_sentences(settings), _stopped():
            done = await _write(settings, beside, say, sealer, email, with_secrets=with_secrets)
            await _tell(settings, email, with_secrets=with_secrets)
            await asyncio.to_thread(_put, beside, target)
    finally:
        await asyncio.to_thread(beside.unlink, missing_ok=True)
    size = (await asyncio.to_thread(target.stat)).st_size
    summary = [f"{name:22}{count:>12,}" for name, count in done.counts.items()]
    secrets = "Passwords' hashes and keys are in it: keep it as you keep those." if with_secrets else (
        "Passwords' hashes and keys to other services are left out; --with-secrets takes them along."
    )  # fmt: skip
    return [*summary, f"{target} has {size / 2**20:,.1f} MB.", secrets], done


@contextlib.contextmanager
def _stopped() -> Iterator[None]:
    try:
        yield
    except StoreAway as error:
        raise StartupError(f"The export stopped: {error.detail}") from error
    except (SQLAlchemyError, OSError) as error:
        first = (str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__])[0]
        raise StartupError(f"The export stopped: {first}. Nothing was written.") from error


async def _write(
    settings: Settings, path: Path, say: Say, sealer: Sealer, email: str | None, *, with_secrets: bool
) -> Export:
    """Nobody but this account of the machine may read it."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    blobs = open_store(settings)
    target = Zip()
    with os.fdopen(handle, "wb") as out, noted_files() as files:
        async with _snapshot(settings) as connection:
            first = await users.primary_admin(connection)
            owner = None if email is None else await _account(connection, email)
            done = Export(connection, sealer, owner, with_secrets, None if first is None else first.id)
            async for piece in rows_of(target, done, email or EVERYTHING, files, say):
                await asyncio.to_thread(out.write, piece)
        async for piece in files_of(target, done, blobs, files, say):
            await asyncio.to_thread(out.write, piece)
        out.flush()
        await asyncio.to_thread(os.fsync, out.fileno())
    return done


async def _account(connection: AsyncConnection, email: str) -> str:
    found = await users.get_by_email(connection, email.strip().lower())
    if found is None:
        raise StartupError(f"There is no account {email}. `oui-backend users list` shows all.")
    return found.id


@contextlib.asynccontextmanager
async def _snapshot(settings: Settings) -> AsyncIterator[AsyncConnection]:
    """A connection that reads one state of the database all the time, however long it takes."""
    database = open_database(settings)
    try:
        async with database.read() as connection:
            if not database.is_sqlite:
                await without_limits(connection)
            yield connection
    finally:
        await database.close()


async def _tell(settings: Settings, email: str | None, *, with_secrets: bool) -> None:
    """Says in the audit record what is taken out, before it is."""
    database = open_database(settings)
    try:
        told = {"account": (None, email or "*"), "with_secrets": (None, with_secrets)}
        await tell(record_of(settings, database), act_of("export", "export"), told)
    finally:
        await database.close()


def _put(beside: Path, target: Path) -> None:
    """Under its own name, if nothing has that by now."""
    try:
        os.link(beside, target)
    except FileExistsError:
        raise StartupError(THERE.format(target)) from None
    except OSError:
        # A file system without links.
        if target.exists():
            raise StartupError(THERE.format(target)) from None
        beside.rename(target)
