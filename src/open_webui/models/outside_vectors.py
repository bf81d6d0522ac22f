"""Vectors in other people's PostgreSQL databases: only read, in a transaction that can't write."""

import asyncio
from importlib.util import find_spec
from typing import Any

import msgspec

from llamaforge.exceptions import how_to_install
from open_webui.errors import BadRequest, ProviderError


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """The names of a table and its columns, as somebody wrote them down. table: with its schema before a dot, if any."""

    table: str
    collection: str
    vector: str
    content: str
    metadata: str
    document_id: str


def _quoted(name: str) -> str:
    """A name of a table or a column, as SQL has it. Raises BadRequest for what is none."""
    parts = name.split(".")
    if not all(part and "\x00" not in part and len(part) < 64 for part in parts):
        raise BadRequest(f"This is no name of a table or a column: {name[:200]!r}.")
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def _statement(columns: Columns) -> str:
    near = f"{_quoted(columns.vector)} <=> $1::text::vector"
    shown = {"content": columns.content, "metadata": columns.metadata, "id": columns.document_id}
    named = ", ".join(f"{_quoted(column)}::text AS {name}" for name, column in shown.items() if column)
    return (
        f"SELECT {named}, 1 - ({near}) AS score FROM {_quoted(columns.table)}"  # noqa: S608 - its names are quoted
        f" WHERE {_quoted(columns.collection)}::text = $2 ORDER BY {near} LIMIT $3"
    )


async def find(
    endpoint: str, columns: Columns, collection: str, vector: list[float], limit: int, timeout: float
) -> list[dict[str, Any]]:
    """The rows of a collection nearest to a vector, the best first, with the columns under the names that they were given.

    Raises ProviderError, BadRequest.
    """
    sent = "[" + ",".join(map(repr, vector)) + "]"
    rows = await _run(endpoint, timeout, _statement(columns), sent, collection, limit)
    return [
        {columns.content: row["content"], "score": row["score"]}
        | ({columns.metadata: row["metadata"]} if columns.metadata else {})
        | ({columns.document_id: row["id"]} if columns.document_id else {})
        for row in rows
    ]


async def check(endpoint: str, timeout: float) -> None:
    """Whether the database answers and has the extension. Raises ProviderError."""
    await _run(endpoint, timeout, "SELECT '[1]'::vector")


async def _run(endpoint: str, timeout: float, statement: str, *values: Any) -> list[Any]:
    if find_spec("asyncpg") is None:
        raise ProviderError(
            f"PostgreSQL needs a driver that is not installed. Install it: {how_to_install('postgres')}"
        )
    import asyncpg  # noqa: PLC0415 - an extra

    try:
        async with asyncio.timeout(timeout):
            connection = await asyncpg.connect(endpoint, timeout=timeout, statement_cache_size=0)
            try:
                async with connection.transaction(readonly=True):
                    return list(await connection.fetch(statement, *values))
            finally:
                connection.terminate()
    except TimeoutError:
        raise ProviderError("The database did not answer in time. Check that it is running.", status=504) from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
        raise ProviderError(f"The database refused: {str(error)[:500]}") from error
