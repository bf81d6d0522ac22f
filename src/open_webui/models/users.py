"""People: their profiles, settings and state, as the wire shows them. Credentials are in accounts.py."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui import constants
from open_webui.errors import BadRequest
from open_webui.internal.prepared import Prepared
from open_webui.models import channels, file_uses, noted, resources, tables
from open_webui.models.base import among, decode_json, inserting, now
from open_webui.models.repository import contains
from open_webui.principal import Role

t, member = tables.user, tables.group_member
DEFAULT_IMAGE = "/user.png"
# Somebody seen within this many seconds counts as active.
ACTIVE_SECONDS = 180
Direction = Literal["asc", "desc"]


class User(msgspec.Struct, frozen=True):
    """A person's row, in the order of the wire."""

    id: str
    email: str
    username: str | None
    role: Role
    name: str
    profile_image_url: str
    profile_banner_image_url: str | None
    bio: str | None
    gender: str | None
    date_of_birth: str | None
    timezone: str | None
    presence_state: str | None
    status_emoji: str | None
    status_message: str | None
    status_expires_at: int | None
    info: dict[str, Any] | None
    settings: dict[str, Any] | None
    oauth: Any
    scim: Any
    last_active_at: int
    updated_at: int
    created_at: int

    @property
    def is_active(self) -> bool:
        return self.last_active_at >= now() - ACTIVE_SECONDS


class Person(msgspec.Struct, frozen=True):
    """The part of a row that lists show to others. Settings alone may be megabytes."""

    id: str
    email: str
    role: Role
    name: str
    bio: str | None
    timezone: str | None
    status_emoji: str | None
    status_message: str | None
    status_expires_at: int | None
    last_active_at: int

    @property
    def is_active(self) -> bool:
        return self.last_active_at >= now() - ACTIVE_SECONDS


P = TypeVar("P", User, Person)
# What may have pictures in it: for others to see, and for oneself.
_SHOWN: Final = frozenset({"profile_image_url", "profile_banner_image_url"})
_KEPT: Final = frozenset({"settings", "info", "variables"})
_EVERYBODY: Final = sa.true()
_columns = [t.c[name] for name in User.__struct_fields__]
# Where JSON stands among them, which is read as text: each page asks for its person's row several times as it opens.
_JSON: Final = [n for n, column in enumerate(_columns) if isinstance(column.type, sa.JSON)]
_get = Prepared(
    sa.select(*(sa.cast(c, sa.Text) if n in _JSON else c for n, c in enumerate(_columns))).where(
        t.c.id == sa.bindparam("person")
    )
)
ORDERS: Mapping[str, "sa.ColumnElement[Any]"] = {
    "name": sa.func.lower(t.c.name),
    "email": t.c.email,
    "role": t.c.role,
    "created_at": t.c.created_at,
    "updated_at": t.c.updated_at,
    "last_active_at": t.c.last_active_at,
}


def _one(row: "sa.Row[Any] | None") -> User | None:
    return None if row is None else User(*tuple(row))


async def get(connection: AsyncConnection, user_id: str, *, lock: bool = False) -> User | None:
    """`lock` keeps other writers of the row waiting until the unit of work ends."""
    if lock:
        query = sa.select(*_columns).where(t.c.id == user_id).with_for_update(key_share=True)
        return _one((await connection.execute(query)).first())
    row = await _get.first(connection, {"person": user_id})
    if row is None:
        return None
    values = list(row)
    for place in _JSON:
        values[place] = decode_json(values[place])
    return User(*values)


async def lock(connection: AsyncConnection, ids: Iterable[str]) -> set[str]:
    """Holds the rows of people, in the order of their ids, and says which of them there are.

    A person's row is also what stands for the tree of that person's folders.
    """
    wanted = sa.select(t.c.id).where(t.c.id.in_(list(ids))).order_by(t.c.id)
    return set(await connection.scalars(wanted.with_for_update(key_share=True)))


async def get_by_email(connection: AsyncConnection, email: str) -> User | None:
    return _one((await connection.execute(sa.select(*_columns).where(t.c.email == email))).first())


async def people(connection: AsyncConnection, *where: "sa.ColumnElement[bool]") -> list[Person]:
    """Some people, the oldest account first."""
    rows = await connection.execute(sa.select(*_columns_of(Person)).where(*where).order_by(t.c.created_at, t.c.id))
    return [Person(*row) for row in rows]


def _columns_of(row: type[User] | type[Person]) -> "list[sa.ColumnElement[Any]]":
    return [t.c[name] for name in row.__struct_fields__]


async def any_exists(connection: AsyncConnection) -> bool:
    return (await connection.execute(sa.select(t.c.id).limit(1))).first() is not None


async def insert(connection: AsyncConnection, values: Mapping[str, Any]) -> bool:
    """A new person; False when the e-mail address is taken."""
    at = now()
    statement = inserting(connection, t).values(last_active_at=at, created_at=at, updated_at=at, **values)
    result = await connection.execute(statement.on_conflict_do_nothing(index_elements=[t.c.email]))
    if result.rowcount == 1:
        noted.made(t, values["id"], values)
    return result.rowcount == 1


async def update(
    connection: AsyncConnection, user_id: str, values: Mapping[str, Any], *, writer_id: str | None = None
) -> User | None:
    """Changes a person; None when there is no such person. Raises BadRequest when the new e-mail address is taken.

    writer_id: whose change it is, that person's own by default.
    """
    await noted.change(connection, t, user_id, values)
    try:
        await connection.execute(t.update().where(t.c.id == user_id).values(updated_at=now(), **values))
    except IntegrityError:
        raise BadRequest(constants.EMAIL_TAKEN) from None
    user = await get(connection, user_id)
    if user is not None and values.keys() & _SHOWN:
        shown = [user.profile_image_url, user.profile_banner_image_url]
        await file_uses.link(connection, "profile_id", user_id, writer_id or user_id, shown)
    if user is not None and values.keys() & _KEPT:
        kept = [user.settings, user.info, await variables(connection, user_id)]
        await file_uses.link(connection, "settings_id", user_id, user_id, kept)
    return user


async def touch(connection: AsyncConnection, user_id: str) -> None:
    """Notes that the person is here now."""
    await connection.execute(t.update().where(t.c.id == user_id).values(last_active_at=now()))


async def delete(connection: AsyncConnection, user_id: str, heir: str) -> bool:
    """Removes a person with everything that is theirs (foreign keys cascade), and the grants on and for it.

    Their chats are removed apart (services/staging.py), since they may be many. Groups and open channels belong to the server
    rather than to the admin who made them, so they pass to `heir`.
    """
    grant = tables.access_grant
    await noted.removal(connection, t, [user_id])
    await channels.hand_over(connection, user_id, heir)
    for resource in resources.ALL:
        await resource.clear_of(connection, user_id)
    await connection.execute(grant.delete().where(grant.c.principal_type == "user", grant.c.principal_id == user_id))
    await connection.execute(tables.group.update().where(tables.group.c.user_id == user_id).values(user_id=heir))
    return (await connection.execute(t.delete().where(t.c.id == user_id))).rowcount == 1


async def page(
    connection: AsyncConnection,
    row: type[P],
    *,
    query: str | None = None,
    order_by: str | None = None,
    direction: str | None = None,
    number: int | None = 1,
    by_email: bool = True,
    where: "sa.ColumnElement[bool]" = _EVERYBODY,
) -> tuple[list[P], int]:
    """One page of people (all of them when `number` is None) and how many there are; the newest first by default.

    row: whole rows, or what others may see. query: a part of a name or, with by_email, of an e-mail address. where: of these.
    """
    matching = sa.and_(where, contains([t.c.name, t.c.email] if by_email else [t.c.name], query)) if query else where
    column = ORDERS.get(order_by or "created_at", t.c.created_at)
    ascending = direction == "asc"
    statement = (
        sa.select(*_columns_of(row))
        .where(matching)
        .order_by(column.asc() if ascending else column.desc(), t.c.id.asc() if ascending else t.c.id.desc())
    )
    if number is not None:
        statement = statement.limit(constants.USERS_PER_PAGE).offset((number - 1) * constants.USERS_PER_PAGE)
    rows = await connection.execute(statement)
    total = await connection.scalar(sa.select(sa.func.count()).select_from(t).where(matching))
    return [row(*values) for values in rows], total or 0


async def group_ids(connection: AsyncConnection, user_ids: Iterable[str]) -> dict[str, list[str]]:
    """The groups of several people."""
    out: dict[str, list[str]] = {}
    rows = await connection.execute(
        sa.select(member.c.user_id, member.c.group_id)
        .where(among(member.c.user_id, user_ids))
        .order_by(member.c.created_at, member.c.group_id)
    )
    for user_id, group_id in rows:
        out.setdefault(user_id, []).append(group_id)
    return out


async def primary_admin(connection: AsyncConnection) -> User | None:
    """The admin whom nobody can demote: the first account while it is an admin, else the oldest admin."""
    first = sa.select(tables.singleton.c.value).where(tables.singleton.c.name == "first_admin").scalar_subquery()
    statement = (
        sa.select(*_columns)
        .where(t.c.role == "admin")
        .order_by(sa.case((t.c.id == first, 0), else_=1), t.c.created_at, t.c.id)
        .limit(1)
    )
    return _one((await connection.execute(statement)).first())


async def variables(connection: AsyncConnection, user_id: str) -> dict[str, Any]:
    value = await connection.scalar(sa.select(t.c.variables).where(t.c.id == user_id))
    return value if isinstance(value, dict) else {}
