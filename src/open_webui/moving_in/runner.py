"""Runs an import, part by part. Each row, or some messages of channels together, is stored in a short transaction, and one that
is there is passed over: so the same command goes on where another was stopped, and a server may serve meanwhile.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from open_webui.access.api_keys import Sealer
from open_webui.access.tokens import secret_key
from open_webui.administration import Administration
from open_webui.env import Settings
from open_webui.errors import OuiError, StartupError
from open_webui.internal.db import database_url
from open_webui.internal.db_errors import is_away, is_unstorable
from open_webui.internal.log import get_logger
from open_webui.migrations.runner import need_current
from open_webui.models import moved, users
from open_webui.moving_in import columns, people, valves
from open_webui.moving_in.archive import ArchiveSource, is_archive
from open_webui.moving_in.move import Move, Part, Say
from open_webui.moving_in.outcome import Report
from open_webui.moving_in.parts import NOTHING, PARTS, WITHIN
from open_webui.moving_in.rows import Left, Row
from open_webui.moving_in.source import LARGEST, PAGE, TOO_LARGE, Key, Keys, Source, file_of, is_postgres, open_source
from open_webui.plugins.sources import Sources
from open_webui.services.audit.commands import act_of, tell
from open_webui.storage.base import StoreAway

log = get_logger(__name__)
# Columns of a row that its place among the others may depend on.
_BRIEF: Final = ("user_id", "parent_id", "parent_group_id", "role", "created_at", "is_primary")
# SQLite has one writer: of the time that it takes, a server that runs gets this much more.
_PAUSE: Final = 0.25
_TOO_LARGE: Final = f"one of its values has more than {LARGEST:,} characters"
NOT_ONE: Final = "{} is no database of Open WebUI: it has no table {}."
NO_UPLOADS: Final = "No folder of uploads was named or found: files came as their texts. Name one with --uploads."
NO_ADMIN: Final = "No administrator came along. Make one: `oui-backend users role EMAIL admin`."
OURS: Final = "{} is a database of this server itself. `oui-backend db copy` copies one."


async def move_in(
    settings: Settings,
    address: str,
    say: Say,
    *,
    uploads: Path | None = None,
    dry_run: bool = False,
    keep_roles: bool = False,
    with_settings: bool = False,
) -> Report:
    """Takes over what another server holds. say: is told what is being done.

    Raises StartupError where it can't begin or has to stop; the same call goes on then.
    """
    await need_current(settings)
    folder = _uploads(settings, address, uploads)
    admin = Administration(settings)
    texts = Sources()
    try:
        async with _opened(settings, address) as source:
            _check(source)
            await admin.load_config()
            report = Report(source.name, dry_run)
            sealer = Sealer(await asyncio.to_thread(secret_key, settings))
            move = Move(
                admin, source, report, sealer, texts, say, uploads=folder, dry_run=dry_run, with_settings=with_settings
            )
            with _stopped():
                begun = {"source": (None, report.source), "keeps_roles": (None, keep_roles)}
                if not dry_run:
                    await tell(admin.audit, act_of("import", "import", "import"), begun)
                await _look_round(move, keep_roles)
                _say_of_archive(move)
                columns.compare(move)
                for part in PARTS:
                    await _take(move, part)
                    if part.table == "user" and move.first_admin is None:
                        report.note(NO_ADMIN)
                    if part.table == "file":
                        await _after_files(move)
                    if part.table == "function":
                        await valves.take(move)
                await _count_others(move)
                taken = {table: (None, one.taken) for table, one in report.tables.items() if one.taken}
                if taken and not dry_run:
                    await tell(admin.audit, act_of("import", "import", "import"), taken)
            report.finished = True
            return report
    finally:
        await texts.close()
        await admin.close()


@contextlib.asynccontextmanager
async def _opened(settings: Settings, address: str) -> AsyncIterator[Source]:
    """Another server's database, or an archive of ours."""
    file = _archive_of(address)
    if file is None:
        async with open_source(settings, address) as source:
            yield source
        return
    opened = ArchiveSource(file, settings.data_dir)
    try:
        await opened.open()
        yield opened
    finally:
        await opened.close()


def _archive_of(address: str) -> Path | None:
    if is_postgres(address):
        return None
    file = file_of(address)
    return file if is_archive(file) else None


def _say_of_archive(move: Move) -> None:
    for table, line, why in () if move.archive is None else move.archive.problems:
        move.report.leave(table, line, why)


@contextlib.contextmanager
def _stopped() -> Iterator[None]:
    again = "Run the same command again to go on."
    try:
        yield
    except StoreAway as error:
        raise StartupError(f"The import stopped: {error.detail} {again}") from error
    except (SQLAlchemyError, OSError) as error:
        first = (str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__])[0]
        raise StartupError(f"The import stopped: {first}. {again}") from error


def _uploads(settings: Settings, address: str, given: Path | None) -> Path | None:
    """Where the bytes of files lie: by default beside the SQLite file. Raises StartupError."""
    if given is not None:
        if not given.is_dir():
            raise StartupError(f"There is no folder {given}.")
        return given
    if is_postgres(address) or _archive_of(address) is not None:
        return None
    file = file_of(address)
    url = database_url(settings)
    if url.drivername.startswith("sqlite") and Path(str(url.database)).absolute() == file.absolute():
        raise StartupError(OURS.format(file))
    beside = file.parent / "uploads"
    return beside if beside.is_dir() else None


def _check(source: Source) -> None:
    if "credential" in source.tables and "singleton" in source.tables:
        raise StartupError(OURS.format(source.name))
    for table in ("user", "auth", "chat"):
        if table not in source.tables:
            raise StartupError(NOT_ONE.format(source.name, table))


async def _look_round(move: Move, keep_roles: bool) -> None:
    """Finds out whose word counts: the other server's administrators administer an empty server, and one that got its first
    account from there.
    """
    async with move.database.read() as connection:
        is_empty = not await users.any_exists(connection)
        first = await users.primary_admin(connection)
    if first is not None:
        move.first_admin = first.id
        theirs = await move.source.select("user", "id", [first.id], limit=1, only=["id", "role"])
        move.trusted = keep_roles or any(one.text("role") == "admin" for one in theirs)
    else:
        move.is_empty = is_empty
        move.trusted = keep_roles or is_empty


async def _after_files(move: Move) -> None:
    if move.uploads is None and move.archive is None and move.report.of("file").rows:
        move.report.note(NO_UPLOADS)
    if not move.dry_run:
        await people.link_pictures(move)


async def _take(move: Move, part: Part) -> None:
    there = move.source.tables.get(part.table)
    if there is None:
        return
    lacks = [name for name in part.needs if name not in there]
    if lacks:
        move.report.note(f"The table {part.table} was left: it has no column {lacks[0]}.")
        return
    of = move.report.of(part.table)
    of.rows = await move.source.count(part.table)
    async for keys in _pages(move, part):
        move.say(f"{part.table}: {of.taken + of.there + sum(r.count for r in of.left.values()):,} of {of.rows:,}")
        new = await _unknown(move, part, keys)
        for k in range(0, len(new), part.at_once):
            rows = await move.source.rows(part.table, part.key, new[k : k + part.at_once])
            if part.together is not None and not move.dry_run:
                await _together(move, part, part.together, rows)
                continue
            for row in rows:
                await _row(move, part, row)


async def _pages(move: Move, part: Part) -> AsyncIterator[Keys]:
    after: Key | None = None
    every: Keys = []
    while found := await move.source.keys(part.table, part.key, _BRIEF, after):
        after = found[-1][0]
        if part.only is not None:
            found = [one for one in found if part.only(one[1])]
        if part.order is None:
            yield found
        else:
            every += found
    if part.order is not None:
        every = part.order(move, every)
        for k in range(0, len(every), PAGE):
            yield every[k : k + PAGE]


async def _unknown(move: Move, part: Part, keys: Keys) -> list[Key]:
    """The places of rows that are not here yet. Those that are, and are the same things, count as of this import."""
    if not part.has_ids:
        return [place for place, _ in keys]
    ids = [one for _, row in keys if (one := row.id(part.key)) is not None]
    if part.clear is not None:
        await part.clear(move, ids)
    async with move.database.read() as connection:
        here = await moved.owners(connection, part.kind, ids)
    came = move.came.setdefault(part.kind, {})
    new: list[Key] = []
    for place, row in keys:
        row_id = row.id(part.key)
        if row_id is None or row_id not in here:
            new.append(place)
            continue
        move.report.of(part.table).there += 1
        if part.kind == "user":
            move.people[row_id] = row_id
        if _is_same(move, part, row, row_id, here[row_id]):
            came[row_id] = here[row_id]
    return new


def _is_same(move: Move, part: Part, row: Row, row_id: str, owner: str | None) -> bool:
    if part.same is not None:
        return part.same(move, row, owner)
    return not part.owned or owner == move.people.get(row.id("user_id") or row_id)


async def _together(
    move: Move, part: Part, store: "Callable[[Move, list[Any]], Awaitable[list[bool]]]", rows: list[Row]
) -> None:
    """Stores rows in one transaction; one by one where one of them can't be stored, which is found by that."""
    ready, began = [], time.monotonic()
    for row in rows:
        try:
            if row.flag(TOO_LARGE):
                raise Left(_TOO_LARGE)
            ready.append((row, await _converted(move, part, row)))
        except (StartupError, StoreAway):
            raise
        except (Left, OuiError) as error:
            why = error.detail if isinstance(error, OuiError) else str(error)
            move.report.leave(part.table, row.text(part.key) or "?", why)
    try:
        stored = await store(move, [made for _, made in ready])
    except (Left, OuiError, SQLAlchemyError, OverflowError) as error:
        if isinstance(error, StartupError | StoreAway) or (isinstance(error, SQLAlchemyError) and is_away(error)):
            raise
        for row, _ in ready:
            await _row(move, part, row)
        return
    for (row, _), is_new in zip(ready, stored, strict=True):
        _note(move, part, row, row.text(part.key) or "?", stored=is_new)
    if move.database.is_sqlite:
        await asyncio.sleep((time.monotonic() - began) * _PAUSE)


async def _row(move: Move, part: Part, row: Row) -> None:
    name, began = row.text(part.key) or "?", time.monotonic()
    try:
        if row.flag(TOO_LARGE):
            raise Left(_TOO_LARGE)
        made = await _converted(move, part, row)
        stored = made is not None if move.dry_run else await part.store(move, made)
    except Left as error:
        move.report.leave(part.table, name, str(error))
        return
    except (StartupError, StoreAway):
        raise
    except OuiError as error:
        move.report.leave(part.table, name, error.detail)
        return
    except (SQLAlchemyError, OverflowError) as error:
        if is_away(error) or not (isinstance(error, IntegrityError) or is_unstorable(error)):
            raise
        move.report.leave(part.table, name, "the database refuses it")
        return
    _note(move, part, row, name, stored=stored)
    if move.database.is_sqlite and not move.dry_run:
        await asyncio.sleep((time.monotonic() - began) * _PAUSE)


async def _converted(move: Move, part: Part, row: Row) -> Any:
    """Raises Left for a row that is damaged in a way that nobody thought of."""
    try:
        return await part.convert(move, row)
    except (Left, OuiError, SQLAlchemyError, OSError):
        raise
    except Exception as error:
        log.warning("a row could not be read", table=part.table, error=repr(error)[:500])
        raise Left(f"it can't be read ({type(error).__name__})") from error


def _note(move: Move, part: Part, row: Row, name: str, *, stored: bool) -> None:
    of = move.report.of(part.table)
    if not stored:
        of.there += 1
    else:
        of.taken += 1
        move.came.setdefault(part.kind, {})[name] = move.people.get(row.id("user_id") or name)
        for why in dict.fromkeys(row.mended):
            move.report.mend(part.table, name, why)


async def _count_others(move: Move) -> None:
    known = {part.table for part in PARTS} | WITHIN | NOTHING
    for table in sorted(move.source.tables.keys() - known):
        if not table.startswith("sqlite_") and (count := await move.source.count(table)):
            move.report.without_place[table] = count
    if "api_key" in move.report.without_place:
        move.report.note("API keys stay there: their owners make new ones here.")
    if not move.dry_run and move.report.of("file").taken:
        move.report.note(
            "Files are read and indexed in the background: by a server that runs within half a minute, else when it starts."
        )
