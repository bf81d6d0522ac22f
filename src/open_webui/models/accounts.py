"""Accounts as authorization needs them: identity in one query, groups, stamps, revocation. Profiles are in users.py."""

import secrets
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal import acts
from open_webui.internal.prepared import Prepared
from open_webui.models import provider_sessions, tables
from open_webui.models.base import inserting, now
from open_webui.models.noted import HIDDEN
from open_webui.principal import Role, SharesWith

user, credential, revoked = tables.user, tables.credential, tables.revoked_token
key = tables.api_key
group, member = tables.group, tables.group_member
FIRST_ADMIN = "first_admin"
# When a token without an end leaves the list of revoked ones: not in our time.
_NEVER = 2**53


class Identity(msgspec.Struct, frozen=True):
    """service: keys get into the account, people do not."""

    role: Role
    name: str
    email: str
    last_active_at: int
    active: bool
    session_stamp: str
    service: bool
    revoked: bool


class Key(msgspec.Struct, frozen=True):
    """What an API key is kept to. scopes, models, addresses: lists as JSON, None for no limit. budget_id, account_budget_id: the
    budgets that it counts in. is_former: it is the secret before the last change, which is good until `former_until`.
    """

    id: str
    scopes: str | None
    models: str | None
    addresses: str | None
    budget_id: str | None
    account_budget_id: str | None
    expires_at: int | None
    last_used_at: int | None
    former_until: int | None
    is_former: bool


class ServiceAccount(msgspec.Struct, frozen=True):
    """An account that only keys get into."""

    id: str
    name: str
    role: Role
    last_active_at: int
    created_at: int


class Credential(msgspec.Struct, frozen=True):
    user_id: str
    password_hash: str | None
    active: bool
    session_stamp: str


class GroupMembership(msgspec.Struct, frozen=True):
    """share_with: with whom its members may share, None where it says nothing."""

    id: str
    permissions: dict[str, Any] | None
    share_with: SharesWith | None


_identity = Prepared(
    sa.select(
        user.c.role,
        user.c.name,
        user.c.email,
        user.c.last_active_at,
        credential.c.active,
        credential.c.session_stamp,
        credential.c.service,
        sa.exists().where(revoked.c.jti == sa.bindparam("jti")).label("revoked"),
    )
    .join(credential, credential.c.user_id == user.c.id)
    .where(user.c.id == sa.bindparam("user_id"))
)


async def identity(connection: AsyncConnection, user_id: str, jti: str) -> Identity | None:
    """What a session of this account may rest on, None when there is no such account. An API key has no jti ("")."""
    row = await _identity.first(connection, {"user_id": user_id, "jti": jti})
    return None if row is None else Identity(*row)


_HASH: "sa.BindParameter[str]" = sa.bindparam("hash")
_keys = (
    sa.select(
        key.c.id,
        sa.cast(key.c.scopes, sa.Text),
        sa.cast(key.c.models, sa.Text),
        sa.cast(key.c.addresses, sa.Text),
        key.c.budget_id,
        credential.c.budget_id.label("account_budget_id"),
        key.c.expires_at,
        key.c.last_used_at,
        key.c.former_until,
        (key.c.hash != _HASH).label("is_former"),
        user.c.id,
        user.c.role,
        user.c.name,
        user.c.email,
        user.c.last_active_at,
        credential.c.active,
        credential.c.session_stamp,
        credential.c.service,
        sa.false().label("revoked"),
    )
    .select_from(key)
    .join(user, user.c.id == key.c.user_id)
    .join(credential, credential.c.user_id == user.c.id)
)
_of_key = Prepared(_keys.where(key.c.hash == _HASH))
_of_former_key = Prepared(_keys.where(key.c.former_hash == _HASH))


async def identity_of_key(connection: AsyncConnection, key_hash: str) -> tuple[str, Identity, Key] | None:
    """Whose an API key is, what it may rest on, and what it is kept to; None for a key of nobody."""
    given = {"hash": key_hash}
    # Hardly a key was changed a moment ago: the second look costs the others nothing.
    row = await _of_key.first(connection, given) or await _of_former_key.first(connection, given)
    if row is None:
        return None
    own = len(Key.__struct_fields__)
    return row[own], Identity(*row[own + 1 :]), Key(*row[:own])


own_groups = sa.select(member.c.group_id).where(member.c.user_id == sa.bindparam("user_id"))
parent_groups = sa.select(group.c.parent_group_id).where(
    group.c.id.in_(own_groups), group.c.parent_group_id.is_not(None)
)
# The groups a user is in, and the parents they inherit from (two levels, as the wire has it).
groups_of = sa.select(group.c.id, sa.cast(group.c.permissions, sa.Text), group.c.share_with).where(
    sa.or_(group.c.id.in_(own_groups), group.c.id.in_(parent_groups))
)


async def claim_first_admin(connection: AsyncConnection, user_id: str) -> bool:
    """Whether this account, made in the same unit of work, is the first of all. True once over all replicas and ways."""
    nobody = ~sa.exists(sa.select(user.c.id))
    source = sa.select(sa.literal(FIRST_ADMIN), sa.literal(user_id)).where(nobody)
    singleton = tables.singleton
    statement = inserting(connection, singleton).from_select([singleton.c.name, singleton.c.value], source)
    # A second claimer waits here for the first one's commit, and then inserts nothing.
    result = await connection.execute(statement.on_conflict_do_nothing(index_elements=[singleton.c.name]))
    return result.rowcount == 1


async def insert_credential(
    connection: AsyncConnection,
    user_id: str,
    password_hash: str | None,
    *,
    active: bool = True,
    service: bool = False,
) -> str:
    """The credential of a new account. Returns its session stamp. active: whether one can sign in to it. service: only keys
    get into it.
    """
    stamp = secrets.token_hex(16)
    values = {"user_id": user_id, "password_hash": password_hash, "active": active, "session_stamp": stamp}
    await connection.execute(credential.insert().values(**values, service=service))
    return stamp


_services = (
    sa.select(*(user.c[name] for name in ServiceAccount.__struct_fields__))
    .join(credential, credential.c.user_id == user.c.id)
    .where(credential.c.service)
)


async def services(connection: AsyncConnection, user_id: str | None = None) -> list[ServiceAccount]:
    """The service accounts, by name; user_id: only this one, if it is one."""
    query = _services.order_by(sa.func.lower(user.c.name), user.c.id)
    rows = await connection.execute(query if user_id is None else query.where(user.c.id == user_id))
    return [ServiceAccount(*row) for row in rows]


_credential = sa.select(
    credential.c.user_id, credential.c.password_hash, credential.c.active, credential.c.session_stamp
)


async def credential_by_email(connection: AsyncConnection, email: str) -> Credential | None:
    query = _credential.join(user, user.c.id == credential.c.user_id).where(user.c.email == email)
    row = (await connection.execute(query)).first()
    return None if row is None else Credential(*row)


async def credential_of(connection: AsyncConnection, user_id: str) -> Credential | None:
    row = (await connection.execute(_credential.where(credential.c.user_id == user_id))).first()
    return None if row is None else Credential(*row)


async def set_password(
    connection: AsyncConnection, user_id: str, password_hash: str, *, instead_of: str | None = None
) -> str | None:
    """A new password ends all sessions. Returns the new session stamp.

    instead_of: the hash that the old password was compared with; None is returned when it is another by now, and for a
    service account, which has none.
    """
    mine = credential.update().where(credential.c.user_id == user_id, ~credential.c.service)
    if instead_of is not None:
        mine = mine.where(credential.c.password_hash == instead_of)
    stamp = secrets.token_hex(16)
    done = await connection.execute(mine.values(password_hash=password_hash, session_stamp=stamp))
    if not done.rowcount:
        return None
    await provider_sessions.remove_all(connection, user_id)
    acts.note("user", user_id, {"password": HIDDEN})
    return stamp


async def replace_hash(connection: AsyncConnection, user_id: str, old: str, new: str) -> None:
    """The same password under a better hash, unless the password was changed meanwhile."""
    await connection.execute(
        credential.update()
        .where(credential.c.user_id == user_id, credential.c.password_hash == old)
        .values(password_hash=new)
    )


async def new_stamp(connection: AsyncConnection, user_id: str, *keeps: str) -> str:
    """Ends all sessions of an account by giving it a new stamp, which is returned; what providers gave for them goes, too.

    keeps: ids of sessions that go on under the new one.
    """
    stamp = secrets.token_hex(16)
    await connection.execute(credential.update().where(credential.c.user_id == user_id).values(session_stamp=stamp))
    await provider_sessions.remove_all(connection, user_id, *keeps)
    acts.note("user", user_id, {"sessions_ended": (None, True)})
    return stamp


async def set_active(connection: AsyncConnection, user_id: str, *, active: bool) -> None:
    """Whether one can sign in to an account, and its sessions and keys count."""
    await connection.execute(credential.update().where(credential.c.user_id == user_id).values(active=active))
    acts.note("user", user_id, {"active": (not active, active)})


async def revoke(connection: AsyncConnection, jti: str, expires_at: int | None) -> None:
    """Ends one session. Entries of tokens that have ended anyway are cleared on the way."""
    await connection.execute(revoked.delete().where(revoked.c.expires_at < now()))
    statement = inserting(connection, revoked).values(jti=jti, expires_at=_NEVER if expires_at is None else expires_at)
    await connection.execute(statement.on_conflict_do_nothing(index_elements=[revoked.c.jti]))


async def spend(connection: AsyncConnection, name: str, expires_at: int) -> bool:
    """Whether something that is good for one use, until then, is used for the first time, over all processes."""
    await connection.execute(revoked.delete().where(revoked.c.expires_at < now()))
    statement = inserting(connection, revoked).values(jti=name, expires_at=expires_at)
    done = await connection.execute(statement.on_conflict_do_nothing(index_elements=[revoked.c.jti]))
    return done.rowcount == 1
