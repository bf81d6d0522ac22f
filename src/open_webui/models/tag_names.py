"""Tags that lie in a JSON column: a list of names, or of objects with a name, under a key of it or as the whole."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

Expression = sa.ColumnElement[Any]


def has(
    connection: AsyncConnection, column: Expression, name: str, *, key: str | None = "tags"
) -> "sa.ColumnElement[bool]":
    """A condition: one of the tags in a row's column has this name. key: None where the column is the list."""
    listed, named = _tags(connection, column, key)
    return sa.exists(sa.select(sa.literal(1)).select_from(listed).where(named == name).correlate(column.table))


async def distinct(
    connection: AsyncConnection, column: Expression, where: "sa.ColumnElement[bool]", *, key: str | None = "tags"
) -> list[str]:
    """The names of the tags in a column of some rows, each once, sorted."""
    listed, named = _tags(connection, column, key)
    table: sa.Table = column.table
    names = await connection.scalars(
        sa.select(named).select_from(table.join(listed, sa.true())).where(where).distinct()
    )
    return sorted(name for name in names if name)


def _tags(connection: AsyncConnection, column: Expression, key: str | None) -> "tuple[sa.TableValuedAlias, Expression]":
    """The tags of a column as rows, and the name of one. What is no tag, or no JSON, is passed over."""
    if connection.dialect.name == "sqlite":
        return _sqlite(sa.cast(column, sa.Text), "$" if key is None else f"$.{key}")
    return _postgresql(column, key)


def _sqlite(text: Expression, path: str) -> "tuple[sa.TableValuedAlias, Expression]":
    f = sa.func
    is_list = sa.case((f.json_valid(text) == 1, f.json_type(text, path) == "array"), else_=sa.false())
    each = f.json_each(sa.case((is_list, f.json_extract(text, path)), else_="[]")).table_valued(
        "value", "type", name="tag"
    )
    value = each.c.value
    inner = sa.case((f.json_type(value, "$.name") == "text", f.json_extract(value, "$.name")))
    return each, sa.case((each.c.type == "object", inner), (each.c.type == "text", value))


def _postgresql(column: Expression, key: str | None) -> "tuple[sa.TableValuedAlias, Expression]":
    f, verbatim = sa.func, sa.literal_column
    tags = column if key is None else column.op("->")(verbatim(f"'{key}'"))
    listed = sa.case((f.json_typeof(tags) == "array", tags), else_=verbatim("'[]'::json"))
    each = f.json_array_elements(listed).table_valued("value", name="tag")
    value = each.c.value
    kind, inner = f.json_typeof(value), value.op("->")(verbatim("'name'"))
    text = value.op("->>")(verbatim("'name'"))
    return each, sa.case(
        (kind == "object", sa.case((f.json_typeof(inner) == "string", text))),
        (kind == "string", value.op("#>>")(verbatim("'{}'::text[]"))),
    )
