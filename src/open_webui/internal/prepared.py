"""Statements that are run again and again: compiled once for SQLite, where SQLAlchemy costs several times what SQLite does.

On PostgreSQL a prepared statement is an ordinary one. Only for statements whose rows need no conversion: text, numbers, null.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal.sqlite import Connection, Result

Row = Sequence[Any]
Values = Mapping[str, Any]


class Prepared:
    """One statement with named parameters. columns: of an INSERT, the columns that the parameters name."""

    def __init__(self, statement: "sa.Executable", columns: Sequence[str] | None = None) -> None:
        self.statement = statement
        self._columns = columns
        self._compiled: _Compiled | None = None

    async def all(self, connection: AsyncConnection, values: Values) -> Sequence[Row]:
        """All rows that it gives."""
        driver = driver_of(connection)
        if driver is None:
            return (await connection.execute(self.statement, values)).all()
        compiled = self._for(connection)
        *_, rows = await compiled.run(driver, compiled.take(values), many=False)
        return rows

    async def first(self, connection: AsyncConnection, values: Values) -> Row | None:
        """The first row, if there is one."""
        rows = await self.all(connection, values)
        return rows[0] if rows else None

    async def run(self, connection: AsyncConnection, values: Values) -> None:
        """Runs it for its effect. Within `UnitOfWork.together` it may wait."""
        driver = driver_of(connection)
        if driver is None:
            await connection.execute(self.statement, values)
        else:
            compiled = self._for(connection)
            await compiled.run(driver, compiled.take(values), many=False)

    async def run_many(self, connection: AsyncConnection, rows: Sequence[Values]) -> None:
        """`run` for each of these sets of values, at least one."""
        driver = driver_of(connection)
        if driver is None:
            await connection.execute(self.statement, rows)
        else:
            compiled = self._for(connection)
            await compiled.run(driver, [compiled.take(values) for values in rows], many=True)

    def _for(self, connection: AsyncConnection) -> "_Compiled":
        if self._compiled is None:
            self._compiled = _Compiled(self.statement, connection.dialect, self._columns)
        return self._compiled


class _Compiled:
    """SQLite's text of a statement, and how its parameters are laid out."""

    def __init__(self, statement: Any, dialect: sa.Dialect, columns: Sequence[str] | None) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=columns)
        self.sql = str(compiled)
        self._names = compiled.positiontup
        self._fixed = compiled.params
        processors = {
            name: bind.type.dialect_impl(dialect).bind_processor(dialect) for name, bind in compiled.binds.items()
        }
        self._processors = [processors[name] for name in self._names]

    def take(self, values: Values) -> tuple[Any, ...]:
        """The values in the order of the statement, as SQLite stores them."""
        return tuple(
            process(value) if process is not None else value
            for name, process in zip(self._names, self._processors, strict=True)
            for value in (values[name] if name in values else self._fixed[name],)
        )

    async def run(self, driver: Connection, parameters: Any, *, many: bool) -> Result:
        # SQLAlchemy has begun a transaction for writing already, but not one for reading, which gives one snapshot.
        driver.begin()
        try:
            return await driver.run(self.sql, parameters, many=many)
        except sqlite3.Error as error:
            raise sa.exc.DBAPIError.instance(self.sql, parameters, error, sqlite3.Error) from error


def driver_of(connection: AsyncConnection) -> Connection | None:
    """SQLite's own connection below; None on another database."""
    proxied = connection.sync_connection
    driver = proxied.connection.driver_connection if proxied is not None else None
    return driver if isinstance(driver, Connection) else None
