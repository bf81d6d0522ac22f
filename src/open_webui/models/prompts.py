"""Prompts: texts that are called by a command, whose they are, and who may use and change them."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.errors import BadRequest
from open_webui.internal.db_errors import is_taken
from open_webui.models import tables, tag_names, versions
from open_webui.models.grants import Grant
from open_webui.models.repository import Condition, Page, Query
from open_webui.models.resource import Resource, Sharing
from open_webui.principal import Principal

KIND: Final = "prompt"
TAKEN: Final = "Another prompt has this command. Choose another one."
t = tables.prompt


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt, in the order of the wire."""

    id: str
    command: str
    user_id: str
    name: str
    content: str
    data: dict[str, Any]
    meta: dict[str, Any]
    tags: list[str]
    is_active: bool
    version_id: str | None
    created_at: int
    updated_at: int
    access_grants: tuple[Grant, ...] = ()


repository: Final[Resource[Prompt]] = Resource(
    KIND,
    t,
    Prompt,
    sharing=Sharing(people="sharing.prompts", public="sharing.public_prompts"),
    admins=("read", "write"),
    searches=("name", "command"),
    sorts=("name", "command", "created_at", "updated_at"),
    belongings=(versions.clear_where,),
)


async def page(connection: AsyncConnection, principal: Principal, query: Query, tag: str | None = None) -> Page[Prompt]:
    """A page of the prompts that somebody may use; of those with a tag, where one is named."""
    where: list[Condition] = [tag_names.has(connection, t.c.tags, tag, key=None)] if tag else []
    return await repository.page(connection, principal, query, *where)


# How much of a reply a prompt is, in characters.
_size: Final = sum(
    (sa.func.length(sa.cast(t.c[name], sa.Text)) for name in ("content", "data", "meta", "tags")),
    start=sa.literal(500, sa.BigInteger),
)


async def latest(connection: AsyncConnection, principal: Principal, most: int, most_chars: int) -> list[Prompt]:
    """The prompts that are on and that somebody may use, those that were changed last first, up to a number of them, and as far
    as all of them together have so many characters.
    """
    usable = sa.select(t.c.id, t.c.updated_at, _size.label("size")).where(
        t.c.is_active, repository.readable_by(principal)
    )
    newest = usable.order_by(t.c.updated_at.desc(), t.c.id).limit(most).subquery()
    up_to_here = sa.func.sum(newest.c.size).over(order_by=(newest.c.updated_at.desc(), newest.c.id))
    summed = sa.select(newest.c.id, up_to_here.label("total")).subquery()
    found = await repository.all(connection, t.c.id.in_(sa.select(summed.c.id).where(summed.c.total <= most_chars)))
    return sorted(found, key=lambda row: (-row.updated_at, row.id))


async def tags(connection: AsyncConnection, principal: Principal) -> list[str]:
    """The names of the tags on the prompts that somebody may use, sorted."""
    return await tag_names.distinct(connection, t.c.tags, repository.readable_by(principal), key=None)


async def by_command(connection: AsyncConnection, principal: Principal, command: str) -> Prompt | None:
    """The prompt of a command, if somebody may use it."""
    found = await repository.all(connection, t.c.command == command, repository.readable_by(principal))
    return found[0] if found else None


async def count(connection: AsyncConnection, user_id: str) -> int:
    """How many somebody has. Who is about to add one holds the person's row, so that no two count at once."""
    return int(await connection.scalar(sa.select(sa.func.count()).where(t.c.user_id == user_id)) or 0)


async def create(connection: AsyncConnection, owner_id: str, values: Mapping[str, Any]) -> Prompt:
    """A new prompt. Raises BadRequest where its command is another's."""
    made = await repository.create(connection, owner_id, values, unique="command")
    if made is None:
        raise BadRequest(TAKEN)
    return made


async def change(connection: AsyncConnection, prompt_id: str, values: Mapping[str, Any]) -> None:
    """Stores some columns of a prompt whose row is locked. Raises BadRequest where its command is another's."""
    try:
        await repository.change(connection, prompt_id, values)
    except sa.exc.IntegrityError as error:
        if not is_taken(error, "command"):
            raise
        raise BadRequest(TAKEN) from None
