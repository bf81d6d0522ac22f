"""Statements that are run again and again: compiled once, and run by the driver directly, since SQLAlchemy costs several
times what the database does.

Only for statements whose rows need no conversion: text, numbers, null, and on PostgreSQL true and false.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal.postgres import run_directly
from open_webui.internal.sqlite import Connection

Row = Sequence[Any]
Values = Mapping[str, Any]


class Prepared:
    """One statement with named parameters. columns: of an INSERT, the columns that the parameters name."""

    def __init__(self, statement: "sa.Executable", columns: Sequence[str] | None = None) -> None:
        self.statement = statement
        self._columns = columns
        self._compiled: dict[str, _Compiled] = {}

    async def all(self, connection: AsyncConnection, values: Values) -> Sequence[Row]:
        """All rows that it gives."""
        compiled = self._for(connection)
        return await compiled.run(connection, compiled.take(values), many=False)

    async def first(self, connection: AsyncConnection, values: Values) -> Row | None:
        """The first row, if there is one."""
        rows = await self.all(connection, values)
        return rows[0] if rows else None

    async def run(self, connection: AsyncConnection, values: Values) -> None:
        """Runs it for its effect. Within `UnitOfWork.together` it may wait."""
        await self.all(connection, values)

    async def run_many(self, connection: AsyncConnection, rows: Sequence[Values]) -> None:
        """`run` for each of these sets of values, at least one; PostgreSQL gets them in one message."""
        compiled = self._for(connection)
        await compiled.run(connection, [compiled.take(values) for values in rows], many=True)

    def _for(self, connection: AsyncConnection) -> "_Compiled":
        name = connection.dialect.name
        if name not in self._compiled:
            self._compiled[name] = _Compiled(self.statement, connection.dialect, self._columns)
        return self._compiled[name]


class _Compiled:
    """A database's text of a statement, and how its parameters are laid out."""

    def __init__(self, statement: Any, dialect: sa.Dialect, columns: Sequence[str] | None) -> None:
        # As for many rows: it gives what it is asked to give, and no keys of its own accord.
        compiled = statement.compile(dialect=dialect, column_keys=columns, for_executemany=True)
        self.sql = str(compiled)
        self._names = compiled.positiontup
        # Values that the statement has itself. One that is asked for and not given is a KeyError, not a placeholder.
        self._fixed = {name: value for name, value in compiled.params.items() if not compiled.binds[name].required}
        processors = {
            name: bind.type.dialect_impl(dialect).bind_processor(dialect) for name, bind in compiled.binds.items()
        }
        self._processors = [processors[name] for name in self._names]

    def take(self, values: Values) -> tuple[Any, ...]:
        """The values in the order of the statement, as the driver takes them."""
        return tuple(
            process(value) if process is not None else value
            for name, process in zip(self._names, self._processors, strict=True)
            for value in (values[name] if name in values else self._fixed[name],)
        )

    async def run(self, connection: AsyncConnection, parameters: Any, *, many: bool) -> Sequence[Row]:
        driver = driver_of(connection)
        if driver is None:
            return await run_directly(connection, self.sql, parameters, many=many)
        # SQLAlchemy has begun a transaction for writing already, but not one for reading, which gives one snapshot.
        driver.begin()
        try:
            *_, rows = await driver.run(self.sql, parameters, many=many)
        except sqlite3.Error as error:
            raise sa.exc.DBAPIError.instance(self.sql, parameters, error, sqlite3.Error) from error
        return rows


def driver_of(connection: AsyncConnection) -> Connection | None:
    """SQLite's own connection below; None on another database."""
    proxied = connection.sync_connection
    driver = proxied.connection.driver_connection if proxied is not None else None
    return driver if isinstance(driver, Connection) else None
