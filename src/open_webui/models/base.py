"""The metadata that all tables share, and their column types."""

import importlib
import re
import time
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.ext.compiler import compiles

from open_webui.internal.prepared import Prepared

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


def owner() -> "sa.Column[str]":
    """The column of whose a row is, which goes with the person."""
    return sa.Column("user_id", sa.Text, sa.ForeignKey("user.id", ondelete="CASCADE"), nullable=False)


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

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> list[Any]:  # noqa: ARG002 - SQLAlchemy's signature
        """The list without NUL, which nothing stored has and PostgreSQL refuses: another character stands in its place."""
        return [each.replace("\x00", "\ufffd") if isinstance(each, str) else each for each in value]

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


class ByDialect:
    """A statement as text, prepared for each database. A list is one parameter, an array on PostgreSQL, of which the planner
    sees how long it is, and JSON on SQLite. `IN <texts NAME>` and `IN <numbers NAME>` ask whether something is in one,
    `<rows NAME>` is a table of its numbers with a column `value`.
    """

    def __init__(self, sql: str, **other: str) -> None:
        """other: the statement on a database whose words differ."""
        self._prepared = {name: _prepared(name, other.get(name, sql)) for name in _LISTS}

    def of(self, connection: AsyncConnection) -> Prepared:
        return self._prepared[connection.dialect.name]


def _prepared(dialect: str, sql: str) -> Prepared:
    kinds = {found[2]: sa.BigInteger() if found[1] in _OF_NUMBERS else sa.Text() for found in _LIST.finditer(sql)}
    text = sa.text(_LIST.sub(lambda found: _LISTS[dialect][found[1]].format(found[2]), sql))
    return Prepared(text.bindparams(*(sa.bindparam(name, type_=_Values(kind)) for name, kind in kinds.items())))


_LIST: Final = re.compile(r"(IN <texts|IN <numbers|<rows|<each) (\w+)>")
_OF_NUMBERS: Final = {"IN <numbers", "<rows"}
_LISTS: Final[dict[str, dict[str, str]]] = {
    "sqlite": {
        "IN <texts": "IN (SELECT value FROM json_each(:{}))",
        "IN <numbers": "IN (SELECT value FROM json_each(:{}))",
        "<rows": "json_each(:{})",
        "<each": "json_each(:{})",
    },
    "postgresql": {
        "IN <texts": "= ANY (CAST(:{} AS text[]))",
        "IN <numbers": "= ANY (CAST(:{} AS bigint[]))",
        "<rows": "(SELECT unnest(CAST(:{} AS bigint[])) AS value)",
        "<each": "unnest(CAST(:{} AS text[])) WITH ORDINALITY",
    },
}


def json_list(values: Iterable[Any]) -> str:
    """A list as the text that a statement of one database only takes."""
    return msgspec.json.encode(list(values)).decode()
