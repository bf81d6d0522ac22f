"""Apps: outside programs that administrators connect, who may use them, and in which channels they are."""

from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables
from open_webui.models.base import inserting
from open_webui.models.channels import PERMISSION, nanoseconds
from open_webui.models.grants import Grant
from open_webui.models.resource import Resource, Sharing

Status = Literal["connecting", "connected", "disconnected"]
t, inside = tables.app, tables.channel_app


class App(msgspec.Struct, frozen=True, kw_only=True):
    """An app. sealed: its API key, encrypted. failures: what it could not be told, one after the other."""

    id: str
    slug: str
    name: str
    user_id: str | None
    is_active: bool
    data: dict[str, Any]
    sealed: str
    connection_status: Status
    failures: int
    access_grants: tuple[Grant, ...] = ()
    created_at: int
    updated_at: int

    @property
    def manifest(self) -> dict[str, Any]:
        found = self.data.get("manifest")
        return found if isinstance(found, dict) else {}

    @property
    def url(self) -> str:
        return str(self.data.get("url") or "")

    def may(self, scope: str) -> bool:
        """Whether an administrator lets it do this."""
        return scope in (self.data.get("granted_scopes") or ())


class Apps(Resource[App]):
    """Apps are the server's: administrators manage them, and grants say who may use one."""

    def now(self) -> int:
        return nanoseconds()

    async def clear_of(self, connection: AsyncConnection, user_id: str) -> None:
        """Nothing: an app stays when the administrator goes who made it."""


repository: Final = Apps(
    "app",
    t,
    App,
    sharing=Sharing(people=PERMISSION, public=PERMISSION),
    admins=("read", "write"),
    order=(t.c.created_at, t.c.id),
)


async def count(connection: AsyncConnection) -> int:
    return int(await connection.scalar(sa.select(sa.func.count()).select_from(t)) or 0)


async def went_well(connection: AsyncConnection, app_id: str) -> None:
    """It has answered."""
    failed = sa.and_(t.c.id == app_id, sa.or_(t.c.failures > 0, t.c.connection_status != "connected"))
    await connection.execute(t.update().where(failed).values(failures=0, connection_status="connected"))


async def is_tried_again(connection: AsyncConnection, app_id: str) -> None:
    """It has not answered, and is asked again soon."""
    was = sa.and_(t.c.id == app_id, t.c.connection_status == "connected")
    await connection.execute(t.update().where(was).values(connection_status="connecting"))


async def went_wrong(connection: AsyncConnection, app_id: str, most: int) -> None:
    """Counts what it could not be told; after so much one after the other it is switched off."""
    values = {
        "failures": t.c.failures + 1,
        "connection_status": "disconnected",
        "is_active": sa.and_(t.c.is_active, t.c.failures + 1 < most),
    }
    await connection.execute(t.update().where(t.c.id == app_id).values(values))


# In channels


async def of_channel(connection: AsyncConnection, channel_id: str, *, only_active: bool = False) -> list[App]:
    """The apps of a channel, the oldest app first."""
    here = sa.exists().where(inside.c.app_id == t.c.id, inside.c.channel_id == channel_id)
    return await repository.all(connection, here, *([t.c.is_active] if only_active else []))


async def one_of_channel(connection: AsyncConnection, channel_id: str, app_id: str) -> App | None:
    """An app that is in a channel, and switched on."""
    here = sa.exists().where(inside.c.app_id == t.c.id, inside.c.channel_id == channel_id)
    found = await repository.all(connection, t.c.id == app_id, t.c.is_active, here)
    return found[0] if found else None


async def count_of_channel(connection: AsyncConnection, channel_id: str) -> int:
    query = sa.select(sa.func.count()).select_from(inside).where(inside.c.channel_id == channel_id)
    return int(await connection.scalar(query) or 0)


async def invite(connection: AsyncConnection, channel_id: str, app_id: str, by: str) -> None:
    """Puts an app into a channel, unless it is there."""
    row = {"channel_id": channel_id, "app_id": app_id, "invited_by": by, "joined_at": nanoseconds()}
    await connection.execute(inserting(connection, inside).values(row).on_conflict_do_nothing())


async def put_out(connection: AsyncConnection, channel_id: str, app_id: str) -> bool:
    """Takes an app out of a channel. Whether it was there."""
    gone = inside.delete().where(inside.c.channel_id == channel_id, inside.c.app_id == app_id)
    return (await connection.execute(gone)).rowcount == 1
