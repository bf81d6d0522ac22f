"""Which columns the audit record tells with what they were and are. Of all others it says at most that they were changed.

None of them is a secret, and none is what people write for themselves or for some others: who reads the record may not read
that. A row is noted where it is stored, whoever has it stored.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal import acts
from open_webui.utils.masking import MASK

TOLD: Final[Mapping[str, tuple[str, ...]]] = {
    "user": ("name", "email", "role"),
    "group": ("name", "parent_group_id", "permissions"),
    "model": ("name", "base_model_id", "is_active"),
    "function": ("name", "type", "is_active", "is_global"),
    "tool": ("name",),
    "skill": ("name", "is_active"),
    "prompt": ("command", "is_active"),
    "knowledge": ("name",),
    "app": ("name", "is_active"),
}
_STAMPS: Final = frozenset({"updated_at"})
# Of so many rows that go together it is said what they were; of more only that they went.
_MOST: Final = 20
HIDDEN: Final = (MASK, MASK)


def made(table: sa.Table, row_id: str, values: Mapping[str, Any]) -> None:
    """A row is new."""
    told = TOLD.get(str(table.name), ())
    acts.note(str(table.name), row_id, {name: (None, values[name]) for name in told if values.get(name) is not None})


async def change(connection: AsyncConnection, table: sa.Table, row_id: str, values: Mapping[str, Any]) -> None:
    """A row is about to get these values."""
    act = acts.current()
    if act is None:
        return
    names = [name for name in TOLD.get(str(table.name), ()) if name in values]
    changes: dict[str, acts.Change] = {}
    if names:
        query = sa.select(*(table.c[name] for name in names)).where(table.c.id == row_id)
        row = (await connection.execute(query)).first()
        was = dict(zip(names, row, strict=True)) if row is not None else {}
        changes = {name: (was[name], values[name]) for name in was if was[name] != values[name]}
    if act.is_wanted:
        changes |= {name: HIDDEN for name in values if name not in names and name not in _STAMPS}
    if changes:
        acts.note(str(table.name), row_id, changes)


async def removal(connection: AsyncConnection, table: sa.Table, ids: Collection[str]) -> None:
    """Rows are about to go."""
    if acts.current() is None:
        return
    names = TOLD.get(str(table.name), ()) if len(ids) <= _MOST else ()
    if not names:
        for row_id in list(ids)[: acts.MOST_FIELDS]:
            acts.note(str(table.name), row_id, {"removed": (None, True)})
        return
    query = sa.select(table.c.id, *(table.c[name] for name in names)).where(table.c.id.in_(list(ids)))
    for row_id, *values in await connection.execute(query):
        acts.note(str(table.name), row_id, {name: (value, None) for name, value in zip(names, values, strict=True)})
