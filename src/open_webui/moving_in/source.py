"""Foreign databases as they are read: tables and columns that may be missing, and rows that may hold anything.

Both kinds are asked with plain statements, through one small port. A SQLite file is opened for reading only, and what is
in its columns is not believed to be of their types. PostgreSQL gives every value as text.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.internal.db import open_alone, shown_url
from open_webui.internal.postgres import without_limits
from open_webui.moving_in.rows import Row

# Rows whose keys are read at once.
PAGE: Final = 500
# Characters of one value that is read; a row with a larger one is left.
LARGEST: Final = 128 * 2**20
TOO_LARGE: Final = "too_large"
# A row's place: SQLite's own number, or on PostgreSQL its key.
Key = int | str
Keys = list[tuple[Key, Row]]


class Source(Protocol):
    """name: as it is shown. tables: the columns of each table that there is."""

    name: str
    tables: dict[str, frozenset[str]]

    async def count(self, table: str) -> int: ...

    async def keys(self, table: str, key: str, columns: Collection[str], after: Key | None) -> Keys:
        """Some rows behind a place, in the order of the table. key: the column that tells them apart. columns: short ones."""
        ...

    async def rows(self, table: str, key: str, places: Sequence[Key]) -> list[Row]:
        """Rows with all columns. One with a value that is too large has none but `too_large`."""
        ...

    async def select(
        self,
        table: str,
        column: str,
        values: Sequence[str],
        *,
        limit: int,
        only: Collection[str] | None = None,
        newest: str | None = None,
    ) -> list[Row]:
        """Rows whose column has one of the values, so many at most. only: some columns. newest: a column of times, whose
        highest come first.
        """
        ...


class NotRead(StartupError):
    """The foreign database can't be read any more."""


@contextlib.asynccontextmanager
async def open_source(settings: Settings, address: str) -> AsyncIterator[Source]:
    """A file, the folder that it is in, or a PostgreSQL database. Raises StartupError for what can't be read."""
    if is_postgres(address):
        async with _open_postgres(settings, address) as source:
            yield source
        return
    opened = SqliteSource(file_of(address))
    try:
        await opened.open()
        yield opened
    finally:
        await opened.close()


def file_of(address: str) -> Path:
    """The SQLite file of an address. Raises StartupError."""
    plain = address.removeprefix("sqlite:///")
    if "://" in plain:
        raise StartupError("Name a SQLite file, or a PostgreSQL database as postgresql://user:password@host/name.")
    path = Path(plain)
    if path.is_dir():
        path /= "webui.db"
    if not path.is_file():
        raise StartupError(f"There is no file {path}.")
    return path


def is_postgres(address: str) -> bool:
    return address.startswith(("postgres://", "postgresql://"))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class SqliteSource:
    """A file of SQLite. Its rows are told apart by their numbers: a damaged key can't hide one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        self.tables: dict[str, frozenset[str]] = {}
        self._indexed: dict[tuple[str, str], bool] = {}
        self._connection: sqlite3.Connection | None = None
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        self.tables = await self._run(self._open)

    def _open(self) -> dict[str, frozenset[str]]:
        address = f"{self.path.absolute().as_uri()}?mode=ro"
        self._connection = sqlite3.connect(address, uri=True, check_same_thread=False, timeout=10)
        self._connection.text_factory = lambda data: data.decode("utf-8", "replace")
        names = [row[0] for row in self._all("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: frozenset(row[1] for row in self._all(f"PRAGMA table_info({_quoted(name)})")) for name in names}

    async def close(self) -> None:
        if self._connection is not None:
            await asyncio.to_thread(self._connection.close)

    async def _run(self, work: Callable[..., Any], *given: Any) -> Any:
        async with self._turn:
            try:
                return await asyncio.to_thread(work, *given)
            except sqlite3.Error as error:
                raise NotRead(f"The database {self.name} can't be read: {error}.") from error

    def _all(self, statement: str, given: Sequence[Any] = ()) -> list[Any]:
        assert self._connection is not None
        return self._connection.execute(statement, given).fetchall()

    async def count(self, table: str) -> int:
        found = await self._run(self._all, f"SELECT count(*) FROM {_quoted(table)}")  # noqa: S608 - a name, quoted
        return int(found[0][0])

    async def keys(self, table: str, key: str, columns: Collection[str], after: Key | None) -> Keys:
        named = [key, *(one for one in columns if one in self.tables[table] and one != key)]
        # What is short is read; a key of a megabyte is none.
        read = ", ".join(f"substr({_quoted(one)}, 1, 1000)" for one in named)
        statement = f"SELECT rowid, {read} FROM {_quoted(table)} WHERE rowid > ? ORDER BY rowid LIMIT {PAGE}"  # noqa: S608
        found = await self._run(self._all, statement, [-(2**63) if after is None else after])
        return [(row[0], Row(dict(zip(named, row[1:], strict=True)))) for row in found]

    async def rows(self, table: str, key: str, places: Sequence[Key]) -> list[Row]:  # noqa: ARG002 - the port's
        marks = ", ".join("?" * len(places))
        where = f"rowid IN ({marks}) ORDER BY rowid"
        return await self._read(table, sorted(self.tables[table]), where, places)

    async def select(
        self,
        table: str,
        column: str,
        values: Sequence[str],
        *,
        limit: int,
        only: Collection[str] | None = None,
        newest: str | None = None,
    ) -> list[Row]:
        if table not in self.tables or column not in self.tables[table]:
            return []
        columns = sorted(self.tables[table] if only is None else self.tables[table] & set(only))
        marks = ", ".join("?" * len(values))
        where, given = f"{_quoted(column)} IN ({marks})", list(values)
        if (table, column) == ("chat_message", "chat_id") and not await self._is_indexed(table, column):
            # Their ids begin with the chat's, which the primary key finds.
            where, given = "id >= ? AND id < ? AND chat_id = ?", [f"{values[0]}-", f"{values[0]}.", values[0]]
        order = f"{_quoted(newest)} DESC, rowid DESC" if newest in self.tables[table] else "rowid"
        return await self._read(table, columns, f"{where} ORDER BY {order} LIMIT {limit}", given)

    async def _is_indexed(self, table: str, column: str) -> bool:
        if (table, column) not in self._indexed:
            self._indexed[table, column] = await self._run(self._look_for_index, table, column)
        return self._indexed[table, column]

    def _look_for_index(self, table: str, column: str) -> bool:
        indexes = [row[1] for row in self._all(f"PRAGMA index_list({_quoted(table)})")]
        firsts = [self._all(f"PRAGMA index_info({_quoted(name)})") for name in indexes]
        return any(found and found[0][2] == column for found in firsts)

    async def _read(self, table: str, columns: Sequence[str], where: str, given: Sequence[Any]) -> list[Row]:
        read = ", ".join(f"CASE WHEN length({c}) <= {LARGEST} THEN {c} END" for c in map(_quoted, columns))
        large = " OR ".join(f"length({c}) > {LARGEST}" for c in map(_quoted, columns))
        statement = f"SELECT {large}, {read} FROM {_quoted(table)} WHERE {where}"  # noqa: S608 - names, quoted
        found = await self._run(self._all, statement, given)
        return [_row(columns, row) for row in found]


def _row(columns: Sequence[str], row: Sequence[Any]) -> Row:
    return Row({TOO_LARGE: 1} if row[0] in (True, 1) else dict(zip(columns, row[1:], strict=True)))


class PostgresSource:
    """A database of PostgreSQL, as it was when it was opened. Its rows are told apart by a column that is unique."""

    def __init__(self, name: str, connection: AsyncConnection) -> None:
        self.name = name
        self.tables: dict[str, frozenset[str]] = {}
        self._connection = connection
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        await without_limits(self._connection)
        found: dict[str, set[str]] = {}
        for table, column in await self._all(
            "SELECT table_name::text, column_name::text FROM information_schema.columns"
            " WHERE table_schema = current_schema()"
        ):
            found.setdefault(table, set()).add(column)
        self.tables = {table: frozenset(columns) for table, columns in found.items()}

    async def _all(self, statement: str, given: Sequence[Any] = ()) -> Sequence[Any]:
        async with self._turn:
            try:
                return (await self._connection.exec_driver_sql(statement, tuple(given))).all()
            except (SQLAlchemyError, OSError) as error:
                first = str(getattr(error, "orig", None) or error).strip().splitlines()[:1]
                raise NotRead(f"The database {self.name} can't be read: {' '.join(first)}.") from error

    async def count(self, table: str) -> int:
        return int((await self._all(f"SELECT count(*) FROM {_quoted(table)}"))[0][0])  # noqa: S608 - a name, quoted

    async def keys(self, table: str, key: str, columns: Collection[str], after: Key | None) -> Keys:
        named = [key, *(one for one in columns if one in self.tables[table] and one != key)]
        read = ", ".join(f"left({_quoted(one)}::text, 1000)" for one in named)
        behind = "" if after is None else f"WHERE {_quoted(key)} > $1"
        statement = f"SELECT {read} FROM {_quoted(table)} {behind} ORDER BY {_quoted(key)} LIMIT {PAGE}"  # noqa: S608
        found = await self._all(statement, [] if after is None else [after])
        return [(row[0], Row(dict(zip(named, row, strict=True)))) for row in found]

    async def rows(self, table: str, key: str, places: Sequence[Key]) -> list[Row]:
        return await self._read(
            table, sorted(self.tables[table]), key, [str(one) for one in places], f"LIMIT {len(places)}"
        )

    async def select(
        self,
        table: str,
        column: str,
        values: Sequence[str],
        *,
        limit: int,
        only: Collection[str] | None = None,
        newest: str | None = None,
    ) -> list[Row]:
        if table not in self.tables or column not in self.tables[table]:
            return []
        columns = sorted(self.tables[table] if only is None else self.tables[table] & set(only))
        order = f"ORDER BY {_quoted(newest)} DESC NULLS LAST " if newest in self.tables[table] else ""
        return await self._read(table, columns, column, values, f"{order}LIMIT {limit}")

    async def _read(
        self, table: str, columns: Sequence[str], column: str, values: Sequence[str], rest: str
    ) -> list[Row]:
        texts = [f"{_quoted(c)}::text" for c in columns]
        read = ", ".join(f"CASE WHEN length({c}) <= {LARGEST} THEN {c} END" for c in texts)
        large = " OR ".join(f"coalesce(length({c}), 0) > {LARGEST}" for c in texts)
        where = f"{_quoted(column)} = ANY ($1) {rest}"
        statement = f"SELECT ({large}), {read} FROM {_quoted(table)} WHERE {where}"  # noqa: S608 - names, quoted
        return [_row(columns, row) for row in await self._all(statement, [list(values)])]


@contextlib.asynccontextmanager
async def _open_postgres(settings: Settings, address: str) -> AsyncIterator[PostgresSource]:
    side = settings.model_copy(update={"database_url": address})
    engine = open_alone(side)
    try:
        try:
            connection = await engine.connect()
        except (SQLAlchemyError, OSError) as error:
            raise StartupError(f"The database {shown_url(side)} can't be read: {error}") from error
        try:
            await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            source = PostgresSource(shown_url(side), connection)
            await source.open()
            yield source
        finally:
            await connection.close()
    finally:
        await engine.dispose()
