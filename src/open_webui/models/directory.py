"""Accounts and groups as a directory (SCIM) sees them: every account, with what the directory has said of it."""

from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables
from open_webui.models.base import among, inserting, now
from open_webui.models.directory_filters import (
    Answer,
    Inside,
    Text,
    addresses,
    by_value,
    condition,
    flag,
    member,
    seconds,
    text,
)
from open_webui.models.repository import MAX_OFFSET, Condition
from open_webui.utils.scim_filters import Filter

user, credential, said = tables.user, tables.credential, tables.directory_user
group, joined, of_group = tables.group, tables.group_member, tables.directory_group
_ACTIVE: Final = sa.and_(credential.c.active, user.c.role != "pending")
_USER_NAME: Final = sa.func.coalesce(said.c.user_name, user.c.email)


class DirectoryUser(msgspec.Struct, frozen=True):
    """An account. name, emails: as the directory sent them; None where it has not."""

    id: str
    email: str
    display_name: str
    role: str
    picture: str
    active: bool
    created_at: int
    updated_at: int
    provider: str | None
    external_id: str | None
    user_name: str
    name: dict[str, Any] | None
    emails: list[dict[str, Any]] | None


class DirectoryGroup(msgspec.Struct, frozen=True):
    """changed: what is another value after a change of the group or of who is in it."""

    id: str
    display_name: str
    created_at: int
    updated_at: int
    provider: str | None
    external_id: str | None
    version: int
    member_count: int
    newest_member: int


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which of them, and in which order. first: of the page, from 0. sort: an attribute in small letters."""

    filter: Filter | None = None
    first: int = 0
    count: int = 100
    sort: str = ""
    descending: bool = False


_user_columns = [
    user.c.id, user.c.email, user.c.name, user.c.role, user.c.profile_image_url, credential.c.active, user.c.created_at,
    sa.case((sa.func.coalesce(said.c.updated_at, 0) > user.c.updated_at, said.c.updated_at), else_=user.c.updated_at),
    said.c.provider, said.c.external_id, _USER_NAME, said.c.name, said.c.emails,
]  # fmt: skip
_users = (
    sa.select(*_user_columns)
    .select_from(user)
    .join(credential, credential.c.user_id == user.c.id)
    .outerjoin(said, said.c.user_id == user.c.id)
)
_members = sa.select(sa.func.count()).where(joined.c.group_id == group.c.id).scalar_subquery()
_newest = sa.select(sa.func.max(joined.c.created_at)).where(joined.c.group_id == group.c.id).scalar_subquery()
_groups = (
    sa.select(
        group.c.id, group.c.name, group.c.created_at, group.c.updated_at, of_group.c.provider, of_group.c.external_id,
        sa.func.coalesce(of_group.c.version, 0), _members, sa.func.coalesce(_newest, 0),
    )
    .select_from(group)
    .outerjoin(of_group, of_group.c.group_id == group.c.id)
)  # fmt: skip
_emails, _in_emails = addresses(
    user.c.email, sa.func.coalesce(said.c.email_kind, "work"), said.c.email_values, said.c.email_kinds
)
_in_group = member(lambda which: sa.exists().where(joined.c.user_id == user.c.id, which), joined.c.group_id)
_has_member = member(lambda which: sa.exists().where(joined.c.group_id == group.c.id, which), joined.c.user_id)
_USER_TEXTS: Final[dict[str, Text]] = {"username": _USER_NAME, "displayname": user.c.name, "id": user.c.id}
_GROUP_TEXTS: Final[dict[str, Text]] = {"displayname": group.c.name, "id": group.c.id}


def _answers(table: sa.Table, texts: Mapping[str, Text], external: Text) -> dict[tuple[str, ...], Answer]:
    return {
        **{(name,): text(column, exact=name == "id") for name, column in texts.items()},
        ("externalid",): text(external, exact=True),
        ("meta", "created"): seconds(table.c.created_at),
        ("meta", "lastmodified"): seconds(table.c.updated_at),
    }


def _external(table: sa.Table, provider: str) -> Text:
    """The directory's id, unless it is of another provider than the one that is set up now."""
    return sa.case((table.c.provider == provider, table.c.external_id), else_=sa.null())


async def page_of_users(connection: AsyncConnection, provider: str, wanted: Wanted) -> tuple[list[DirectoryUser], int]:
    """Some accounts, and how many there are. Raises FilterProblem."""
    external = _external(said, provider)
    answers: dict[tuple[str, ...], Answer] = _answers(user, _USER_TEXTS, external) | {
        ("active",): flag(_ACTIVE),
        ("emails",): _emails,
        ("emails", "value"): _emails,
        ("groups",): _in_group,
        ("groups", "value"): _in_group,
    }
    inside: dict[str, Inside] = {"emails": _in_emails, "groups": by_value(_in_group)}
    sorts = _USER_TEXTS | {
        "externalid": external,
        "active": _ACTIVE,
        "emails": user.c.email,
        "emails.value": user.c.email,
    }
    rows, total = await _page(connection, _users, user, wanted, (answers, inside), sorts)
    return [DirectoryUser(*tuple(row)) for row in rows], total


async def page_of_groups(
    connection: AsyncConnection, provider: str, wanted: Wanted
) -> tuple[list[DirectoryGroup], int]:
    """Some groups, and how many there are. Raises FilterProblem."""
    external = _external(of_group, provider)
    answers = _answers(group, _GROUP_TEXTS, external) | {("members",): _has_member, ("members", "value"): _has_member}
    inside = {"members": by_value(_has_member)}
    rows, total = await _page(
        connection, _groups, group, wanted, (answers, inside), _GROUP_TEXTS | {"externalid": external}
    )
    return [DirectoryGroup(*tuple(row)) for row in rows], total


async def _page(
    connection: AsyncConnection,
    query: "sa.Select[Any]",
    table: sa.Table,
    wanted: Wanted,
    filters: tuple[Mapping[tuple[str, ...], Answer], Mapping[str, Inside]],
    sorts: Mapping[str, Text],
) -> "tuple[list[sa.Row[Any]], int]":
    matching: Condition = sa.true() if wanted.filter is None else condition(wanted.filter, *filters)
    times = {"meta.created": table.c.created_at, "meta.lastmodified": table.c.updated_at}
    column = times.get(wanted.sort, sorts.get(wanted.sort))
    is_text = wanted.sort not in times and wanted.sort not in {"id", "externalid", "active"}
    by: list[Text] = []
    if column is not None:
        key: Text = sa.func.lower(column) if is_text else column
        by = [key.desc() if wanted.descending else key.asc()]
    query = query.where(matching)
    total = await connection.scalar(sa.select(sa.func.count()).select_from(query.subquery()))
    if not wanted.count:
        return [], total or 0
    rows = await connection.execute(
        query.order_by(*by, table.c.created_at, table.c.id).limit(wanted.count).offset(min(wanted.first, MAX_OFFSET))
    )
    return list(rows), total or 0


async def get_user(connection: AsyncConnection, user_id: str) -> DirectoryUser | None:
    row = (await connection.execute(_users.where(user.c.id == user_id))).first()
    return None if row is None else DirectoryUser(*row)


async def get_group(connection: AsyncConnection, group_id: str) -> DirectoryGroup | None:
    row = (await connection.execute(_groups.where(group.c.id == group_id))).first()
    return None if row is None else DirectoryGroup(*row)


async def groups_of(connection: AsyncConnection, user_ids: Collection[str]) -> dict[str, list[tuple[str, str]]]:
    """The groups of several people: ids and names."""
    rows = await connection.execute(
        sa.select(joined.c.user_id, group.c.id, group.c.name)
        .join(group, group.c.id == joined.c.group_id)
        .where(among(joined.c.user_id, user_ids))
        .order_by(group.c.name, group.c.id)
    )
    out: dict[str, list[tuple[str, str]]] = {}
    for user_id, group_id, name in rows:
        out.setdefault(user_id, []).append((group_id, name))
    return out


async def members_of(connection: AsyncConnection, group_ids: Collection[str]) -> dict[str, list[tuple[str, str]]]:
    """The members of several groups: ids and names."""
    rows = await connection.execute(
        sa.select(joined.c.group_id, user.c.id, user.c.name)
        .join(user, user.c.id == joined.c.user_id)
        .where(among(joined.c.group_id, group_ids))
        .order_by(joined.c.created_at, user.c.id)
    )
    out: dict[str, list[tuple[str, str]]] = {}
    for group_id, user_id, name in rows:
        out.setdefault(group_id, []).append((user_id, name))
    return out


async def strangers(connection: AsyncConnection, user_ids: Collection[str]) -> set[str]:
    """The ids that are nobody's."""
    there = await connection.scalars(sa.select(user.c.id).where(among(user.c.id, user_ids)))
    return set(user_ids) - set(there)


async def user_name_taken(connection: AsyncConnection, user_name: str, *, but: str = "") -> bool:
    """Whether another account has this name, as its directory's name or as its address."""
    key = user_name.lower()
    query = (
        sa.select(user.c.id)
        .outerjoin(said, said.c.user_id == user.c.id)
        .where(user.c.id != but, sa.func.coalesce(said.c.user_name_key, user.c.email) == key)
    )
    return (await connection.execute(query.limit(1))).first() is not None


async def group_name_taken(connection: AsyncConnection, name: str, *, but: str = "") -> bool:
    query = sa.select(group.c.id).where(group.c.id != but, group.c.name == name)
    return (await connection.execute(query.limit(1))).first() is not None


async def keep_user(connection: AsyncConnection, user_id: str, values: Mapping[str, Any]) -> bool:
    """What a directory says of an account; False when its id or its name is another account's."""
    values = {"updated_at": now()} | dict(values)
    statement = inserting(connection, said).values(user_id=user_id, **values)
    try:
        await connection.execute(statement.on_conflict_do_update(index_elements=[said.c.user_id], set_=values))
    except IntegrityError:
        return False
    return True


async def keep_group(connection: AsyncConnection, group_id: str, provider: str, external_id: str | None) -> bool:
    """What a directory says of a group, which counts as changed; False when its id is another group's."""
    values = {"provider": provider, "external_id": external_id}
    statement = inserting(connection, of_group).values(group_id=group_id, version=1, **values)
    more = values | {"version": of_group.c.version + 1}
    try:
        await connection.execute(statement.on_conflict_do_update(index_elements=[of_group.c.group_id], set_=more))
    except IntegrityError:
        return False
    return True


async def other_admins(connection: AsyncConnection, user_id: str) -> int:
    """How many administrators who may sign in there are beside this account. Holds the rows of all."""
    of_all = sa.select(user.c.id).where(user.c.role == "admin").order_by(user.c.id)
    admins = list(await connection.scalars(of_all.with_for_update(key_share=True)))
    query = (
        sa.select(sa.func.count())
        .select_from(credential)
        .where(credential.c.user_id.in_([one for one in admins if one != user_id]), credential.c.active)
    )
    return await connection.scalar(query) or 0
