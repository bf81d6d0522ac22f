"""What came of the last sign-ins by providers, for administrators. So many are kept, and no longer than so."""

from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables
from open_webui.models.base import now

t = tables.sign_in
KEPT: Final = 500
KEPT_SECONDS: Final = 30 * 86_400


class SignInRow(msgspec.Struct, frozen=True):
    """reason: why it was refused. claims: what the provider said, without secrets. steps: what each rule made of it."""

    n: int
    provider: str
    user_id: str | None
    email: str | None
    allowed: bool
    reason: str
    claims: dict[str, Any]
    steps: list[dict[str, Any]]
    created_at: int


_columns = [t.c[name] for name in SignInRow.__struct_fields__]


async def add(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """Notes one; those that are too old or too many go."""
    await connection.execute(t.insert().values(created_at=now(), **values))
    beyond = sa.select(t.c.n).order_by(t.c.n.desc()).offset(KEPT).limit(1).scalar_subquery()
    await connection.execute(t.delete().where(sa.or_(t.c.n <= beyond, t.c.created_at < now() - KEPT_SECONDS)))


async def page(connection: AsyncConnection, before: int | None, limit: int) -> list[SignInRow]:
    """Some, the newest first; those before a number."""
    query = sa.select(*_columns).order_by(t.c.n.desc()).limit(limit)
    rows = await connection.execute(query if before is None else query.where(t.c.n < before))
    return [SignInRow(*row) for row in rows]


async def get(connection: AsyncConnection, number: int) -> SignInRow | None:
    row = (await connection.execute(sa.select(*_columns).where(t.c.n == number))).first()
    return None if row is None else SignInRow(*row)
