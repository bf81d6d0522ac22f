"""aiosqlite connections that visit their thread once a statement, where the stock ones go four times.

Each visit costs two context switches, which is more than most of our statements. A cursor is made, executed, read and
closed in one visit; BEGIN rides along with the first statement; a reader's ROLLBACK is not waited for; statements whose
result nobody looks at can wait for the next one (`deferring`).
"""

import asyncio
import sqlite3
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final, Self

import aiosqlite

from open_webui.internal.shielding import to_the_end
from open_webui.utils import accents

# Between two tries to end a cancelled query.
_HURRY_SECONDS: Final = 0.05
# A thread that ends closes its connection first, which folds the WAL back into the file.
_END_SECONDS: Final = 5.0
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
    """waiting: statements that travel with the next one, a BEGIN first. deferring: writes wait, their result unseen.
    looking: no transaction begins, so that each statement sees the last commit.

    Who is cancelled while the thread works hears of it when the thread is done: then it is known what has happened.
    """

    how_to_begin = "BEGIN IMMEDIATE"

    def __init__(self, connector: Callable[[], sqlite3.Connection], iter_chunk_size: int) -> None:
        super().__init__(connector, iter_chunk_size)
        self.waiting: list[Statement] = []
        self.deferring = self.looking = False
        self._has_begun = False
        # SQLite has ended the transaction by itself, after an error.
        self._is_lost = False

    def cursor(self) -> Any:
        return Cursor(self)

    def stop(self) -> Any:
        _ending.add(self._thread)
        return super().stop()

    def begin(self) -> None:
        """A transaction begins with the next statement, if none has begun."""
        if not self._has_begun and not self.looking:
            self._has_begun = True
            self.waiting.append((self.how_to_begin, (), False))

    async def run(self, sql: str, parameters: Any, *, many: bool) -> Result:
        """Runs one statement, after those that wait; puts it off itself where writes are deferred."""
        if self.deferring and sql.startswith(_WRITES) and "RETURNING" not in sql:
            self.waiting.append((sql, parameters, many))
            return _NOTHING
        return await self._visit((sql, parameters, many))

    async def _visit(self, last: Statement) -> Result:
        """Runs what waits and then this statement: its description, row count, last row id and rows."""
        if self._is_lost:
            raise sqlite3.OperationalError("The transaction has ended with an earlier error.")
        statements, self.waiting = [*self.waiting, last], []
        try:
            result: Result = await self._execute(_run, self._conn, statements)
        except sqlite3.Error:
            # Without this, what follows would be stored one by one, outside of any transaction.
            self._is_lost = self._has_begun and not self._conn.in_transaction
            raise
        return result

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return await super()._execute(fn, *args, **kwargs)  # type: ignore[no-untyped-call]  # aiosqlite's own
        except asyncio.CancelledError:
            await to_the_end(self._until_idle())
            raise

    async def _until_idle(self) -> None:
        # The thread takes its work in turn: when it has done this nothing, it has done all that came before.
        idle = asyncio.ensure_future(super()._execute(_nothing))  # type: ignore[no-untyped-call]
        while not idle.done():
            self._hurry()
            await asyncio.wait((idle,), timeout=_HURRY_SECONDS)

    def _hurry(self) -> None:
        """What the thread does now is for nobody any more. A write is let end: it is short, and may be a COMMIT."""

    async def commit(self) -> None:
        if self._has_begun and not self._drop_begin():
            await self._visit(("COMMIT", (), False))
        self._has_begun = False

    async def rollback(self) -> None:
        """The pool rolls back whatever connection it gets back, also one that has just committed."""
        if self._has_begun and not self._drop_begin():
            self.waiting.clear()
            await self._roll_back()
        self._has_begun = self._is_lost = False

    async def _roll_back(self) -> None:
        await super().rollback()

    def _drop_begin(self) -> bool:
        """Whether nothing but a BEGIN has been asked for, which still waits; it is dropped then."""
        if len(self.waiting) == 1 and self.waiting[0][0] == self.how_to_begin:
            self.waiting.clear()
            return True
        return False


class ReadConnection(Connection):
    """For reading only: its ROLLBACK changes nothing that anybody waits for."""

    how_to_begin = "BEGIN"

    def _hurry(self) -> None:
        # Does nothing if the statement has not begun yet, so it is done again.
        self._conn.interrupt()

    async def _roll_back(self) -> None:
        if self._connection is not None:
            self._tx.put_nowait((None, self._connection.rollback))


# Threads of connections that were told to end.
_ending: "weakref.WeakSet[threading.Thread]" = weakref.WeakSet()


async def until_ended() -> None:
    """Returns when the threads have ended whose connections were closed: what they say to a loop that is gone is an error."""
    threads = [thread for thread in _ending if thread.is_alive()]
    for thread in threads:
        await asyncio.to_thread(thread.join, _END_SECONDS)


def _nothing() -> None:
    pass


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
        def open_file() -> sqlite3.Connection:
            opened: sqlite3.Connection = sqlite3.connect(database, **options)
            opened.create_function(accents.FUNCTION, 1, accents.without_accents, deterministic=True)
            return opened

        connection = kind(open_file, 64)
        # A process that ends must not wait for a thread that waits for work.
        connection._thread.daemon = True  # noqa: SLF001 - as SQLAlchemy's own creator does
        return connection

    return connect
