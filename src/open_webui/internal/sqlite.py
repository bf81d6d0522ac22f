"""aiosqlite connections that visit their thread once a statement, where the stock ones go four times.

Each visit costs two context switches, which is more than most of our statements. A cursor is made, executed, read and
closed in one visit; BEGIN rides along with the first statement; a reader's ROLLBACK is not waited for; statements whose
result nobody looks at can wait for the next one (`deferring`).
"""

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Self

import aiosqlite

_BEGINS: Final = frozenset({"BEGIN", "BEGIN IMMEDIATE"})
_WRITES: Final = ("INSERT", "UPDATE", "DELETE")
# A statement, its parameters, and whether they are many rows of them.
Statement = tuple[str, Any, bool]
Result = tuple[Any, int, int | None, list[Any]]
_NOTHING: Final[Result] = (None, -1, None, [])


class Cursor:
    """The part of an aiosqlite cursor that SQLAlchemy uses. Rows are fetched with the statement."""

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._rows: list[Any] = []
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.arraysize = 1

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Self:
        if sql in _BEGINS:
            self._connection.begin(sql)
        else:
            await self._visit(sql, parameters, many=False)
        return self

    async def executemany(self, sql: str, parameters: Sequence[Sequence[Any]]) -> Self:
        await self._visit(sql, parameters, many=True)
        return self

    async def _visit(self, sql: str, parameters: Any, *, many: bool) -> None:
        result = await self._connection.run(sql, parameters, many=many)
        self.description, self.rowcount, self.lastrowid, self._rows = result

    async def fetchall(self) -> list[Any]:
        rows, self._rows = self._rows, []
        return rows

    async def fetchmany(self, size: int | None = None) -> list[Any]:
        size = size or self.arraysize
        rows, self._rows = self._rows[:size], self._rows[size:]
        return rows

    async def fetchone(self) -> Any:
        return self._rows.pop(0) if self._rows else None

    async def close(self) -> None:
        self._rows = []


class Connection(aiosqlite.Connection):
    """waiting: statements that travel with the next one, a BEGIN first. deferring: writes wait, their result unseen."""

    def __init__(self, connector: Callable[[], sqlite3.Connection], iter_chunk_size: int) -> None:
        super().__init__(connector, iter_chunk_size)
        self.waiting: list[Statement] = []
        self.deferring = False

    def cursor(self) -> Any:
        return Cursor(self)

    def begin(self, how: str) -> None:
        """A transaction begins with the next statement, if none is open."""
        if not self.waiting and not self._conn.in_transaction:
            self.waiting.append((how, (), False))

    async def run(self, sql: str, parameters: Any, *, many: bool) -> Result:
        """Runs one statement, after those that wait; puts it off itself where writes are deferred."""
        if self.deferring and sql.startswith(_WRITES) and "RETURNING" not in sql:
            self.waiting.append((sql, parameters, many))
            return _NOTHING
        return await self.visit((sql, parameters, many))

    async def visit(self, last: Statement) -> Result:
        """Runs what waits and then this statement: its description, row count, last row id and rows."""
        statements, self.waiting = [*self.waiting, last], []
        run = partial(_run, self._conn, statements)
        result: Result = await self._execute(run)  # type: ignore[no-untyped-call]  # aiosqlite's own
        return result

    async def commit(self) -> None:
        if self._is_idle():
            return
        if self.waiting:
            await self.visit(("COMMIT", (), False))
        else:
            await super().commit()

    async def rollback(self) -> None:
        if not self._is_idle():
            self.waiting.clear()
            await super().rollback()

    def _is_idle(self) -> bool:
        """Whether there is nothing to end: no transaction is open, or only a BEGIN that still waits, which is dropped.

        The pool rolls back whatever connection it gets back, also one that has just committed.
        """
        if len(self.waiting) == 1 and self.waiting[0][0] in _BEGINS:
            self.waiting.clear()
            return True
        return not self.waiting and self._connection is not None and not self._connection.in_transaction


class ReadConnection(Connection):
    """For reading only: its ROLLBACK changes nothing that anybody waits for."""

    async def rollback(self) -> None:
        if not self._is_idle() and self._connection is not None:
            self._tx.put_nowait((None, self._connection.rollback))


def _run(connection: sqlite3.Connection, statements: Sequence[Statement]) -> Result:
    result = _NOTHING
    for sql, parameters, many in statements:
        cursor = connection.executemany(sql, parameters) if many else connection.execute(sql, parameters)
        rows = cursor.fetchall() if cursor.description else []
        result = (cursor.description, cursor.rowcount, cursor.lastrowid, rows)
        cursor.close()
    return result


def creator(kind: type[Connection]) -> Callable[..., Connection]:
    """What SQLAlchemy's `async_creator_fn` makes connections with."""

    def connect(database: str, **options: Any) -> Connection:
        connection = kind(lambda: sqlite3.connect(database, **options), 64)
        # A process that ends must not wait for a thread that waits for work.
        connection._thread.daemon = True  # noqa: SLF001 - as SQLAlchemy's own creator does
        return connection

    return connect
