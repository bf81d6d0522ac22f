"""What SQLite reads for the statements of a database: which tables from end to end."""

import re
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa

from open_webui.internal.db import Database, close_connections

_SCAN = re.compile(r"SCAN (\w+)(?! VIRTUAL TABLE)(.*)")


async def reopen(database: Database) -> None:
    """Has a database read by new connections from here on: those that were open before are not watched."""
    if database._kept is not None:
        await database._kept.close_resting()
    await close_connections(database._readers)


class SqlitePlans:
    """Notes the statements of an engine, and has SQLite say how it reads for them."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.statements: list[str] = []

    def watch(self, engine: sa.Engine) -> None:
        """The engine's connections to come tell their statements, with the values in them."""
        sa.event.listen(
            engine,
            "connect",
            lambda adapted, _record: sa.util.await_only(adapted.driver_connection.set_trace_callback(self._note)),
        )

    def _note(self, query: str) -> None:
        # The index of words tells its own statements, too.
        if query.lstrip().upper().startswith(("SELECT", "WITH")) and "'main'." not in query:
            self.statements.append(query)

    def scans(self, tables: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Of the statements noted since, those that read one of these tables from end to end, and what SQLite says."""
        noted, self.statements = self.statements, []
        connection = sqlite3.connect(self._path)
        try:
            for query in dict.fromkeys(noted):
                for _, _, _, said in connection.execute(f"EXPLAIN QUERY PLAN {query}"):
                    if (found := _SCAN.fullmatch(said)) and _table(query, found[1]) in set(tables):
                        yield query, said
        finally:
            connection.close()


def _table(query: str, name: str) -> str:
    """Which table a name in a statement stands for."""
    found: Any = re.search(rf'(?:FROM|JOIN|,)\s+"?(\w+)"?\s+(?:AS\s+)?{name}\b', query)
    return found[1] if found else name
