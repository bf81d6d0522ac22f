"""Tags that lie in a JSON column, under the key `tags`: a list of names, or of objects with a name."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

Expression = sa.ColumnElement[Any]


def has(connection: AsyncConnection, column: Expression, name: str) -> "sa.ColumnElement[bool]":
    """A condition: one of the tags in a row's column has this name."""
    listed, named = _tags(connection, column)
    return sa.exists(sa.select(sa.literal(1)).select_from(listed).where(named == name).correlate(column.table))


async def distinct(connection: AsyncConnection, column: Expression, where: "sa.ColumnElement[bool]") -> list[str]:
    """The names of the tags in a column of some rows, each once, sorted."""
    listed, named = _tags(connection, column)
    table: sa.Table = column.table
    names = await connection.scalars(
        sa.select(named).select_from(table.join(listed, sa.true())).where(where).distinct()
    )
    return sorted(name for name in names if name)


def _tags(connection: AsyncConnection, column: Expression) -> "tuple[sa.TableValuedAlias, Expression]":
    """The tags of a column as rows, and the name of one. What is no tag, or no JSON, is passed over."""
    if connection.dialect.name == "sqlite":
        return _sqlite(sa.cast(column, sa.Text))
    return _postgresql(column)


def _sqlite(text: Expression) -> "tuple[sa.TableValuedAlias, Expression]":
    f = sa.func
    is_list = sa.case((f.json_valid(text) == 1, f.json_type(text, "$.tags") == "array"), else_=sa.false())
    each = f.json_each(sa.case((is_list, f.json_extract(text, "$.tags")), else_="[]")).table_valued(
        "value", "type", name="tag"
    )
    value = each.c.value
    inner = sa.case((f.json_type(value, "$.name") == "text", f.json_extract(value, "$.name")))
    return each, sa.case((each.c.type == "object", inner), (each.c.type == "text", value))


def _postgresql(column: Expression) -> "tuple[sa.TableValuedAlias, Expression]":
    f, verbatim = sa.func, sa.literal_column
    tags = column.op("->")(verbatim("'tags'"))
    listed = sa.case((f.json_typeof(tags) == "array", tags), else_=verbatim("'[]'::json"))
    each = f.json_array_elements(listed).table_valued("value", name="tag")
    value = each.c.value
    kind, inner = f.json_typeof(value), value.op("->")(verbatim("'name'"))
    text = value.op("->>")(verbatim("'name'"))
    return each, sa.case(
        (kind == "object", sa.case((f.json_typeof(inner) == "string", text))),
        (kind == "string", value.op("#>>")(verbatim("'{}'::text[]"))),
    )
