"""Functions: Python of the server's admins that takes part in answers, as models (pipes), filters, actions and events."""

from collections.abc import Collection
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables, user_valves, versions
from open_webui.models.grants import Action
from open_webui.models.repository import Condition, Repository
from open_webui.principal import Principal

KIND: Final = "function"
t = tables.function


class FunctionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A function without its text. members: what its text says of itself (plugins.text.Members). priority: of filters."""

    version_id: str | None
    id: str
    user_id: str | None
    type: str
    name: str
    meta: dict[str, Any]
    members: dict[str, Any]
    priority: int
    is_active: bool
    is_global: bool
    updated_at: int
    created_at: int


class Function(FunctionRow, frozen=True, kw_only=True):
    """The whole of it. valves: what is set of it, sealed."""

    content: str
    valves: str | None


class Functions(Repository[Any]):
    """They belong to the server: admins do all with them, others use those that are switched on."""

    def allowed(self, principal: Principal | None, action: Action) -> Condition:
        if principal is not None and principal.is_admin:
            return sa.true()
        return t.c.is_active if action == "read" and principal is not None and principal.is_active else sa.false()

    async def delete(self, connection: AsyncConnection, ids: Collection[str]) -> int:
        """Removes functions with their versions, and with what people set of them."""
        await versions.clear(connection, KIND, ids)
        await user_valves.clear(connection, KIND, ids)
        return await super().delete(connection, ids)


repository: Final = Functions(t, Function, searches=("name", "id"))
# For lists: texts are long.
brief: Final = Functions(t, FunctionRow, searches=("name", "id"))


async def listed(connection: AsyncConnection, principal: Principal) -> list[FunctionRow]:
    """Those that somebody may see, the oldest first."""
    return await brief.all(connection, brief.allowed(principal, "read"))


async def active(connection: AsyncConnection) -> list[FunctionRow]:
    """Those that are switched on: filters in the order in which they are run."""
    rows: list[FunctionRow] = await brief.all(connection, t.c.is_active)
    return sorted(rows, key=lambda row: (row.priority, row.id))


# Any number that no other lock has.
_LOCK: Final = 0x66756E63


async def one_at_a_time(connection: AsyncConnection) -> None:
    """Waits until nobody else puts all functions in the place of all that there are. SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        await connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


async def ids(connection: AsyncConnection) -> set[str]:
    """Of all functions."""
    return {row[0] for row in await connection.execute(sa.select(t.c.id))}
