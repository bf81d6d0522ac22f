"""What the socket layer asks of accounts: when somebody was last seen, and whether the connected may stay."""

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables
from open_webui.models.base import among
from open_webui.models.chat_rows import visible
from open_webui.principal import Role

user, credential, revoked, chat = tables.user, tables.credential, tables.revoked_token, tables.chat


async def touch(connection: AsyncConnection, user_id: str, at: int) -> None:
    """Notes that a user is here now."""
    await connection.execute(user.update().where(user.c.id == user_id).values(last_active_at=at))


async def standing(connection: AsyncConnection, user_ids: Collection[str]) -> dict[str, tuple[Role, str]]:
    """Role and session stamp of the active accounts among the given ones."""
    rows = await connection.execute(
        sa.select(user.c.id, user.c.role, credential.c.session_stamp)
        .join(credential, credential.c.user_id == user.c.id)
        .where(among(user.c.id, user_ids), credential.c.active)
    )
    return {row[0]: (row[1], row[2]) for row in rows}


async def revoked_among(connection: AsyncConnection, jtis: Collection[str]) -> set[str]:
    """Those of the session tokens that were signed out one by one."""
    if not jtis:
        return set()
    return set(await connection.scalars(sa.select(revoked.c.jti).where(among(revoked.c.jti, jtis))))


async def owners(connection: AsyncConnection, chat_ids: Collection[str]) -> dict[str, str]:
    """The owners of those of the chats that exist."""
    if not chat_ids:
        return {}
    rows = await connection.execute(sa.select(chat.c.id, chat.c.user_id).where(among(chat.c.id, chat_ids), visible))
    return {row[0]: row[1] for row in rows}
