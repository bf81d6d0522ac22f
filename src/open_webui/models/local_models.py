"""Models of this machine that an administrator added."""

from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables
from open_webui.models.base import clean_json, inserting, now

t = tables.local_model


class LocalModel(msgspec.Struct, frozen=True):
    """A row. source: a path, "hf:..." or "ollama:...". path: where it lies, None until it is downloaded.

    backend: None where what lies there tells it. parameters: of its load and the defaults of its answers.
    """

    name: str
    source: str
    path: str | None
    backend: str | None
    parameters: dict[str, Any]
    created_at: int
    updated_at: int


_all = sa.select(*(t.c[name] for name in LocalModel.__struct_fields__)).order_by(t.c.name)


async def all_models(connection: AsyncConnection) -> list[LocalModel]:
    return [LocalModel(*row) for row in await connection.execute(_all)]


async def get(connection: AsyncConnection, name: str) -> LocalModel | None:
    row = (await connection.execute(_all.where(t.c.name == name))).first()
    return LocalModel(*row) if row is not None else None


async def insert(
    connection: AsyncConnection,
    name: str,
    *,
    source: str,
    path: str | None,
    backend: str | None,
    parameters: dict[str, Any],
) -> bool:
    """Adds a model. False when the name is taken already."""
    at = now()
    values = {"name": name, "source": source, "path": path, "backend": backend, "created_at": at, "updated_at": at}
    statement = inserting(connection, t).values(values | {"parameters": clean_json(parameters)})
    return (await connection.execute(statement.on_conflict_do_nothing())).rowcount == 1


async def arrived(
    connection: AsyncConnection, name: str, *, path: str, backend: str, parameters: dict[str, Any]
) -> bool:
    """Notes where a downloaded model lies and what came with it. False when it was removed meanwhile."""
    values = {"path": path, "backend": backend, "parameters": clean_json(parameters), "updated_at": now()}
    return (await connection.execute(t.update().where(t.c.name == name).values(values))).rowcount == 1


async def delete(connection: AsyncConnection, name: str) -> bool:
    return (await connection.execute(t.delete().where(t.c.name == name))).rowcount == 1
