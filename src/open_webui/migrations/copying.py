"""`oui-backend db copy`: all rows of one database into another, SQLite or PostgreSQL, in portions that no crash undoes.

Until every row has been compared, the copy's schema version says that it isn't whole, and no server takes it.
"""

import contextlib
import hashlib
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.internal.db import database_url, open_alone, shown_url
from open_webui.internal.db_errors import is_unstorable
from open_webui.internal.folder_lock import lock_database
from open_webui.internal.postgres import without_limits
from open_webui.migrations import HEAD
from open_webui.migrations.runner import COPYING, HalfCopied, failures_as_sentences, migrate, stored_revision
from open_webui.models import processes, tables

# The most that one transaction writes, and that is read ahead of it.
PORTION_ROWS: Final = 1_000
PORTION_CHARS: Final = 4_000_000
_AHEAD: Final = 100
# Where the copy notes what it has done.
_progress = sa.Table("copy_progress", sa.MetaData(), *(sa.Column(name, sa.Text) for name in ("name", "value")))
# All but the leases of processes: who had one has ended.
_TABLES: Final = [table for table in tables.config.metadata.sorted_tables if table is not tables.process]
_NUL, _REPLACEMENT = "\x00", "\ufffd"
_SHOWN: Final = 10
Row = tuple[Any, ...]
Say = Callable[[str], None]


async def copy(settings: Settings, source: str, target: str, *, replace_nul: bool, say: Say) -> list[str]:
    """Copies, or goes on with a copy that was stopped; gives the lines of a summary. say: is told what is being done.

    Raises StartupError: nothing has changed, or, where the copy stopped halfway, the same call goes on with it.
    """
    sides = [
        settings.model_copy(update={"database_url": url, "enable_db_migrations": True}) for url in (source, target)
    ]
    urls = [database_url(side) for side in sides]
    if urls[0] == urls[1]:
        raise StartupError("Both addresses name the same database.")
    with contextlib.ExitStack() as stack:
        for file in map(_file, urls):
            if file is not None and file.exists():
                stack.enter_context(lock_database(file))
        await _need_this_schema(sides[0])
        await _need_unused(sides[0], "The source")
        await _make_ready(sides[1], shown_url(sides[0]), urls[1], stack)
        with _stopped():
            async with _opened(sides[0], sides[1]) as (reading, writing):
                return await _Copy(reading, writing, replace_nul=replace_nul, say=say).run()


def _file(url: sa.URL) -> Path | None:
    """SQLite's."""
    return Path(str(url.database)) if url.drivername.startswith("sqlite") else None


@contextlib.contextmanager
def _stopped() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        first = (str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__])[0]
        raise StartupError(f"The copy stopped: {first}. Run the same command again to go on with it.") from error


@contextlib.asynccontextmanager
async def _opened(source: Settings, target: Settings) -> AsyncIterator[tuple[AsyncConnection, AsyncConnection]]:
    """A connection that reads one state of the source all the time, and one that writes the target."""
    from_, to = open_alone(source), open_alone(target)
    try:
        async with from_.connect() as reading, to.connect() as writing:
            if reading.dialect.name == "sqlite":
                await reading.exec_driver_sql("BEGIN")
            else:
                await reading.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
                await without_limits(reading)
            yield reading, writing
    finally:
        await from_.dispose()
        await to.dispose()


async def _need_this_schema(source: Settings) -> None:
    revision = await stored_revision(source)
    if revision is None:
        raise StartupError(f"There is no database at {shown_url(source)}.")
    if revision != HEAD:
        raise StartupError(
            f"The source {shown_url(source)} has schema {revision}, this release copies {HEAD}."
            " Run `oui-backend migrate` with its address in DATABASE_URL first."
        )


async def _need_unused(side: Settings, which: str) -> None:
    """Raises StartupError while a server has a lease of a PostgreSQL database. SQLite's file has a lock."""
    alive = sa.select(tables.process.c.host).where(processes.is_alive(tables.process.c.instance)).limit(1)
    async with _connected(side) as connection:
        if connection.dialect.name == "postgresql" and await connection.scalar(alive):
            raise StartupError(f"{which} is used by a server. Stop it, and wait ten seconds if it was killed.")


@contextlib.asynccontextmanager
async def _connected(side: Settings) -> AsyncIterator[AsyncConnection]:
    engine = open_alone(side)
    try:
        with failures_as_sentences(side):
            async with engine.begin() as connection:
                yield connection
    finally:
        await engine.dispose()


async def _make_ready(target: Settings, source: str, url: sa.URL, stack: contextlib.ExitStack) -> None:
    """Makes the tables, and the mark that the copy isn't whole. Raises StartupError for a target with something else in it."""
    try:
        revision = await stored_revision(target)
        begun = False
    except HalfCopied:
        revision, begun = HEAD, True
    if revision is None:
        await migrate(target)
        if (file := _file(url)) is not None:
            stack.enter_context(lock_database(file))
    elif revision != HEAD:
        raise StartupError(f"The target {shown_url(target)} has schema {revision}. Name an empty database.")
    await _need_unused(target, "The target")
    async with _connected(target) as connection:
        await (_need_same if begun else _begin)(connection, target, source)


async def _need_same(connection: AsyncConnection, target: Settings, source: str) -> None:
    known = {row.name: row.value for row in await connection.execute(sa.select(_progress))}
    if (known.get("source"), known.get("schema")) != (source, HEAD):
        raise StartupError(
            f"In {shown_url(target)} a copy of {known.get('source')} with schema {known.get('schema')} has begun."
            " Name an empty database, or that source and that release."
        )


async def _begin(connection: AsyncConnection, target: Settings, source: str) -> None:
    for table in _TABLES:
        if await connection.scalar(sa.select(sa.literal(1)).select_from(table).limit(1)):
            raise StartupError(f"The target {shown_url(target)} has rows ({table.name}). Name an empty database.")
    # SQLite makes it at once, whatever comes after: it may be there of a copy that was killed in this moment.
    await connection.execute(
        sa.text("CREATE TABLE IF NOT EXISTS copy_progress (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
    )
    await connection.execute(_progress.delete())
    said = {"source": source, "schema": HEAD, "run": ""}
    await connection.execute(_progress.insert(), [{"name": name, "value": value} for name, value in said.items()])
    await connection.execute(sa.text("UPDATE alembic_version SET version_num = :mark"), {"mark": COPYING})


class _Shape:
    """A table as it is read, ordered and written on either database."""

    def __init__(self, table: sa.Table) -> None:
        self.table, self.name = table, table.name
        self.columns = list(table.columns)
        self.keys = list(table.primary_key.columns)
        self.key_places = [self.columns.index(key) for key in self.keys]
        self.json_places = [at for at, c in enumerate(self.columns) if isinstance(c.type, sa.JSON)]
        # Columns that name another row of the same table, which may come later: they are written when all are there.
        self.links = [c for c in self.columns if any(fk.column.table is table for fk in c.foreign_keys)]

    def key(self, row: Row) -> list[Any]:
        return [row[at] for at in self.key_places]

    def rows(self, dialect: str, after: Sequence[Any] | None = None) -> "sa.Select[Any]":
        """All rows by their keys, or those behind one, in the same order on both databases. JSON is its text."""
        keys = [c.collate("C") if dialect == "postgresql" and isinstance(c.type, sa.Text) else c for c in self.keys]
        query = sa.select(*(sa.cast(c, sa.Text) if isinstance(c.type, sa.JSON) else c for c in self.columns))
        if after is not None:
            known = list(zip(keys, after, strict=True))
            query = query.where(
                sa.or_(
                    *(
                        sa.and_(*(k == v for k, v in known[:at]), known[at][0] > known[at][1])
                        for at in range(len(known))
                    )
                )
            )
        return query.order_by(*keys)

    def insert(self, dialect: str) -> "sa.Insert":
        return self.table.insert().values({c.name: self._given(c, dialect) for c in self.columns})

    def link(self, dialect: str) -> "sa.Update":
        which = [key == self._given(key, dialect) for key in self.keys]
        return self.table.update().where(*which).values({c.name: self._given(c, dialect) for c in self.links})

    def _given(self, column: "sa.Column[Any]", dialect: str) -> "sa.ColumnElement[Any]":
        name = f"v_{column.name}"
        if not isinstance(column.type, sa.JSON):
            return sa.bindparam(name, type_=column.type)
        text = sa.bindparam(name, type_=sa.Text())
        return sa.cast(text, sa.JSON) if dialect == "postgresql" else text

    def values(self, row: Row, columns: Sequence["sa.Column[Any]"] | None = None) -> dict[str, Any]:
        wanted = self.columns if columns is None else columns
        return {f"v_{c.name}": value for c, value in zip(self.columns, row, strict=True) if c in wanted}

    def canonical(self, row: Row) -> Row:
        """Equal for rows that say the same. SQLite keeps a JSON value that is a number as a number: 1.0 becomes 1."""
        if not self.json_places:
            return row
        out = list(row)
        for at in self.json_places:
            if out[at] is not None and out[at][:1] in "-0123456789":
                out[at] = float(out[at])
        return tuple(out)

    def at(self, row: Row) -> str:
        return f"{self.name} {', '.join(map(str, self.key(row)))}"


@dataclass
class _Copy:
    reading: AsyncConnection
    writing: AsyncConnection
    replace_nul: bool
    say: Say

    def __post_init__(self) -> None:
        self.shapes = [_Shape(table) for table in _TABLES]
        self.run_id = str(uuid.uuid4())
        self.to = self.writing.dialect.name
        self.replaced = 0

    async def run(self) -> list[str]:
        if self.to == "postgresql" and not self.replace_nul:
            await self._need_no_nul()
        async with self.writing.begin():
            await self._note("run", self.run_id)
        for shape in self.shapes:
            await self._rows(shape)
        for shape in self.shapes:
            if shape.links:
                await self._links(shape)
        async with self.writing.begin():
            for shape in self.shapes:
                await self._set_number(shape)
        summary = [await self._compare(shape) for shape in self.shapes]
        async with self.writing.begin():
            await self._need_to_be_alone()
            # First what is no DDL: SQLite's driver begins with it.
            await self.writing.execute(sa.text("UPDATE alembic_version SET version_num = :head"), {"head": HEAD})
            await self.writing.execute(sa.text("DROP TABLE copy_progress"))
            if self.to == "postgresql":
                await self.writing.execute(sa.text("ANALYZE"))
        return [*summary, *self._words()]

    def _words(self) -> list[str]:
        nul = [f"{self.replaced} values had NUL characters, which are \ufffd now."] if self.replaced else []
        return [
            *nul,
            "All rows are in the target and equal to the source's.",
            "Pictures and files stay where they are (DATA_DIR/blobs, or the bucket), and so does the secret key.",
        ]

    async def _stream(self, connection: AsyncConnection, query: Any, name: str) -> AsyncIterator[Row]:
        done = 0
        result = await connection.stream(query.execution_options(yield_per=_AHEAD))
        async for part in result.partitions():
            self.say(f"{name}: {done}")
            done += len(part)
            for row in part:
                yield self._clean(tuple(row))

    def _clean(self, row: Row) -> Row:
        if self.replace_nul and any(isinstance(v, str) and _NUL in v for v in row):
            self.replaced += 1
            return tuple(v.replace(_NUL, _REPLACEMENT) if isinstance(v, str) else v for v in row)
        return row

    async def _rows(self, shape: _Shape) -> None:
        insert = shape.insert(self.to)
        async for rows in self._portions(shape, shape.name, f"Copying {shape.name}"):
            given = [shape.values(row) | {f"v_{c.name}": None for c in shape.links} for row in rows]
            await self._write(shape, insert, given, rows, shape.name)

    async def _links(self, shape: _Shape) -> None:
        link, wanted = shape.link(self.to), [*shape.keys, *shape.links]
        note = f"{shape.name} links"
        async for rows in self._portions(shape, note, f"Linking {shape.name}"):
            linked = [row for row in rows if any(shape.values(row, shape.links).values())]
            await self._write(shape, link, [shape.values(row, wanted) for row in linked], rows, note)

    async def _portions(self, shape: _Shape, note: str, doing: str) -> AsyncIterator[list[Row]]:
        """The source's rows behind those that are noted as done."""
        done = await self.writing.scalar(sa.select(_progress.c.value).where(_progress.c.name == note))
        await self.writing.rollback()
        after = None if done is None else msgspec.json.decode(done)
        rows: list[Row] = []
        size = 0
        async for row in self._stream(self.reading, shape.rows(self.reading.dialect.name, after), doing):
            rows.append(row)
            size += sum(len(value) for value in row if isinstance(value, str))
            if len(rows) >= PORTION_ROWS or size >= PORTION_CHARS:
                yield rows
                rows, size = [], 0
        if rows:
            yield rows

    async def _write(self, shape: _Shape, statement: Any, given: list[Any], rows: list[Row], note: str) -> None:
        """Writes a portion and notes it, both or neither."""
        try:
            async with self.writing.begin():
                await self._need_to_be_alone()
                if given:
                    await self.writing.execute(statement, given)
                await self._note(note, msgspec.json.encode(shape.key(rows[-1])).decode())
        except DBAPIError as error:
            if is_unstorable(error) and len(given) > 1:
                for values, row in zip(given, rows, strict=True):
                    await self._write(shape, statement, [values], [row], note)
            elif is_unstorable(error):
                raise StartupError(f"{shape.at(rows[0])} can't be stored in the target: {error.orig}") from error
            else:
                raise

    async def _note(self, name: str, value: str) -> None:
        changed = await self.writing.execute(_progress.update().where(_progress.c.name == name).values(value=value))
        if not changed.rowcount:
            await self.writing.execute(_progress.insert(), {"name": name, "value": value})

    async def _need_to_be_alone(self) -> None:
        mine = await self.writing.scalar(
            sa.select(_progress.c.value).where(_progress.c.name == "run").with_for_update()
        )
        if mine != self.run_id:
            raise StartupError("Another copy into the same database has begun. This one stopped.")

    async def _need_no_nul(self) -> None:
        """PostgreSQL holds no NUL character. Raises StartupError that names rows with one."""
        if self.reading.dialect.name != "sqlite":
            return
        found: list[str] = []
        for shape in self.shapes:
            for column in shape.columns:
                if isinstance(column.type, sa.Text | sa.JSON):
                    query = sa.select(*shape.keys).where(sa.func.instr(column, sa.func.char(0)) > 0).limit(_SHOWN)
                    rows = await self.reading.execute(query)
                    found += [f"{shape.name} {', '.join(map(str, key))} ({column.name})" for key in rows]
        if found:
            raise StartupError(
                f"These have a NUL character, which PostgreSQL can't hold: {'; '.join(found[:_SHOWN])}"
                f"{' and more' if len(found) > _SHOWN else ''}. Add --replace-nul to write \ufffd in its place."
            )

    async def _set_number(self, shape: _Shape) -> None:
        """Numbers go on where the source's went on: none is given twice, also none of a row that is gone."""
        key = shape.keys[0]
        if len(shape.keys) > 1 or not isinstance(key.type, sa.Integer) or shape.table.autoincrement_column is None:
            return
        highest = await self.writing.scalar(sa.select(sa.func.max(key))) or 0
        highest = max(highest, await _last_number(self.reading, shape))
        if self.to == "postgresql":
            sequence = await _sequence(self.writing, shape)
            await self.writing.execute(
                sa.select(sa.func.setval(sa.cast(sequence, sa.Text), max(highest, 1), highest > 0))
            )
        elif shape.table.dialect_options["sqlite"]["autoincrement"]:
            statements = ["DELETE FROM sqlite_sequence WHERE name = :name"]
            if highest > 0:
                statements.append("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :seq)")
            for statement in statements:
                await self.writing.execute(sa.text(statement), {"name": shape.name, "seq": highest})

    async def _compare(self, shape: _Shape) -> str:
        """Reads both sides in the same order. Raises StartupError for the first row that differs."""
        count, digest = 0, hashlib.sha256()
        copied = self._stream(self.writing, shape.rows(self.to), f"Comparing {shape.name}")
        async for row in self._stream(self.reading, shape.rows(self.reading.dialect.name), f"Comparing {shape.name}"):
            other = await anext(copied, None)
            said = shape.canonical(row)
            if other is None or shape.canonical(other) != said:
                self._differs(shape, row if other is None else min(row, other, key=shape.key))
            count += 1
            digest.update(msgspec.json.encode(said))
        if (other := await anext(copied, None)) is not None:
            self._differs(shape, other)
        await self.writing.rollback()
        return f"{shape.name:20} {count:>10}  {digest.hexdigest()[:16]}"

    def _differs(self, shape: _Shape, row: Row) -> NoReturn:
        raise StartupError(
            f"The copy differs from its source at {shape.at(row)}: the source has changed since the copying began."
            " Empty the target and begin again."
        )


async def _sequence(connection: AsyncConnection, shape: _Shape) -> str:
    query = sa.select(sa.func.pg_get_serial_sequence(f'"{shape.name}"', shape.keys[0].name))
    return str(await connection.scalar(query))


async def _last_number(connection: AsyncConnection, shape: _Shape) -> int:
    """The last number that a database has given to a row of a table, whether the row still is there."""
    if connection.dialect.name == "sqlite":
        if not shape.table.dialect_options["sqlite"]["autoincrement"]:
            return 0
        query = sa.text("SELECT seq FROM sqlite_sequence WHERE name = :name").bindparams(name=shape.name)
    else:
        name = await _sequence(connection, shape)
        query = sa.text(f"SELECT last_value FROM {name} WHERE is_called")  # noqa: S608 - PostgreSQL's own, quoted by it
    return await connection.scalar(query) or 0
