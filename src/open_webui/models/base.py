"""The metadata that all tables share, and their column types."""

import importlib
import time
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.ext.compiler import compiles

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


class _Values(sa.types.TypeDecorator[Any]):
    """A list of values as one parameter: an array on PostgreSQL, a JSON array on SQLite."""

    impl = sa.JSON
    cache_ok = True

    def __init__(self, item: "sa.types.TypeEngine[Any]") -> None:
        super().__init__()
        self.item = item

    def load_dialect_impl(self, dialect: sa.Dialect) -> "sa.types.TypeEngine[Any]":
        kind = sa.ARRAY(self.item) if dialect.name == "postgresql" else sa.JSON()
        return dialect.type_descriptor(kind)


class _Among(sa.sql.expression.FunctionElement[Any]):
    # Not Boolean: SQLite would be asked whether it equals 1, and use no index.
    type = sa.types.NullType()
    inherit_cache = True


@compiles(_Among, "postgresql")
def _among_array(element: _Among, compiler: Any, **options: Any) -> str:
    column, values = (compiler.process(part, **options) for part in element.clauses)
    return f"({column} = ANY ({values}))"


@compiles(_Among, "sqlite")
def _among_json(element: _Among, compiler: Any, **options: Any) -> str:
    column, values = (compiler.process(part, **options) for part in element.clauses)
    return f"({column} IN (SELECT value FROM json_each({values})))"  # noqa: S608 - parts of a statement


def among(column: "sa.ColumnElement[Any]", values: Iterable[Any]) -> "sa.ColumnElement[bool]":
    """Whether a column's value is one of these, however many they are.

    `column.in_` takes a parameter for each, of which PostgreSQL has 32,767.
    """
    return _Among(column, sa.bindparam(None, list(values), type_=_Values(column.type)))


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
