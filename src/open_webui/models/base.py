"""The metadata that all tables share, and their column types."""

import importlib
import time
import uuid
from typing import TYPE_CHECKING, Any, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

if TYPE_CHECKING:
    from sqlalchemy.dialects import sqlite

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite gives a row number only to INTEGER, PostgreSQL needs 64 bits for ours.
RowNumber = sa.BigInteger().with_variant(sa.Integer, "sqlite")
# Seconds since the epoch, except where a column says otherwise.
Seconds = sa.BigInteger
# Verbatim JSON on both databases: jsonb would reorder keys and refuse NUL escapes.
Json = sa.JSON(none_as_null=True)


def inserting(connection: AsyncConnection, table: sa.Table) -> "sqlite.Insert":
    """An INSERT that can say what happens to a row that is there already, in this database's words.

    Both databases have the same words for it; only the one in use is imported.
    """
    words = importlib.import_module(f"sqlalchemy.dialects.{connection.dialect.name}")
    return cast("sqlite.Insert", words.insert(table))


def new_id() -> str:
    """A fresh random id, a UUID4 text as everywhere on the wire."""
    return str(uuid.uuid4())


def now() -> int:
    """Seconds since the epoch."""
    return int(time.time())


def clean(text: str) -> str:
    """A text that every database can hold: PostgreSQL refuses NUL, which no person means to write."""
    return text.replace("\x00", "") if "\x00" in text else text


def clean_json(value: Any, depth: int = 0) -> Any:
    """A JSON value without NUL characters in its strings. Raises ValueError when nested deeper than 100."""
    if depth > 100:
        raise ValueError("is nested too deeply")
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [clean_json(v, depth + 1) for v in value]
    if isinstance(value, dict):
        return {clean(k): clean_json(v, depth + 1) for k, v in value.items()}
    return value


def decode_json(text: Any) -> Any:
    """The value of a JSON column's text; None for what is not JSON."""
    try:
        return msgspec.json.decode(text) if isinstance(text, str | bytes) else None
    except (msgspec.DecodeError, RecursionError):
        return None
