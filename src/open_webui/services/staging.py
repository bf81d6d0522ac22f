"""Large changes in portions: each is a unit of work of its own, so that others write in between, a running answer above all.

New chats are hidden until the last portion is stored, and shown by one small unit: whoever makes them gets all or nothing.
Chats that are removed are hidden by one small unit first. What a crash leaves is hidden, and goes at the next start.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.errors import NotFound
from open_webui.internal.db import Database, UnitOfWork
from open_webui.internal.log import get_logger
from open_webui.internal.shielding import to_the_end
from open_webui.jobs.kinds import Every, Kind, Nothing, Run
from open_webui.models import budgets, chats, folders, histories, messages, sessions, tags
from open_webui.models.base import now
from open_webui.models.chat_rows import ChatRow, LockedChat, LockedChats
from open_webui.models.chats import NewChat
from open_webui.models.messages import MessageRow
from open_webui.principal import Principal
from open_webui.utils.threads import SMALL, in_thread_if_large

log = get_logger(__name__)
# What one unit writes at most, but for one message that is larger alone: some 0.1 s of SQLite's writer.
MAX_ROWS: Final = 1_000
MAX_CHARS: Final = 1_000_000
# Chats that are removed at once, if they are small.
MAX_FEW: Final = 100
# Who makes or removes chats is at work on what is hidden for less long.
LEFT_OVER_SECONDS: Final = 3_600
LOOK_SECONDS: Final = 600
_encode = msgspec.json.encode
# Rows and characters of something that is written.
Weight = tuple[int, int]
Finish = Callable[[UnitOfWork, Sequence[LockedChat]], Awaitable[None]]
Portion = Callable[[AsyncConnection], Awaitable[None]]


def cut(weights: Sequence[Weight]) -> list[tuple[int, int]]:
    """Portions of neighbours (the first, and behind the last) with at most MAX_ROWS and MAX_CHARS, or one alone."""
    portions: list[tuple[int, int]] = []
    first = rows = chars = 0
    for k, (more_rows, more_chars) in enumerate(weights):
        if k > first and (rows + more_rows > MAX_ROWS or chars + more_chars > MAX_CHARS):
            portions.append((first, k))
            first, rows, chars = k, 0, 0
        rows, chars = rows + more_rows, chars + more_chars
    return [*portions, (first, len(weights))] if weights else portions


def weight_of(row: MessageRow) -> Weight:
    return 1, len(row.content) + len(_encode(row.body))


# New chats


class Piece(msgspec.Struct, frozen=True):
    """Messages of a new chat, from a position to before another. The first piece brings the chat itself."""

    new: NewChat
    first: int
    last: int


async def store_new(
    database: Database, principal: Principal, given: Sequence[NewChat], finish: Finish | None = None
) -> list[LockedChat]:
    """Stores new chats of the principal with their messages and tags, all or none, and gives them in order.

    finish: what else belongs to the unit that lets people see them. Raises NotFound for a folder that the principal may
    not put chats into.
    """
    made: dict[str, LockedChat] = {}
    portions = await in_thread_if_large(sum(len(new.rows) for new in given), _pieces, given)

    async def end(unit: UnitOfWork) -> None:
        await tags.make(unit.connection, principal.id, [name for new in given for name in new.tags])
        if finish is not None:
            await finish(unit, list(made.values()))

    if len(portions) == 1:
        async with database.write() as unit:
            # What is long is made a statement at a time, or it would hold everybody up.
            with unit.together() if sum(len(new.rows) for new in given) <= SMALL else nullcontext():
                await _store(principal, made, portions[0], False, unit.connection)
            await end(unit)
    elif portions:
        work = [partial(_store, principal, made, portion, True) for portion in portions]
        await in_portions(database, principal.id, [new.values["id"] for new in given], work, end)
    return list(made.values())


def _pieces(given: Sequence[NewChat]) -> list[list[Piece]]:
    places = [(new, k) for new in given for k in range(max(1, len(new.rows)))]
    weights = [_weight(new, k) for new, k in places]
    out = []
    for first, last in cut(weights):
        portion = []
        for _, group in groupby(places[first:last], key=lambda place: id(place[0])):
            inside = list(group)
            new, position = inside[0]
            portion.append(Piece(new, position, min(position + len(inside), len(new.rows))))
        out.append(portion)
    return out


def _weight(new: NewChat, position: int) -> Weight:
    chars = len(_encode(new.values["body"])) if position == 0 else 0
    rows, more = weight_of(new.rows[position]) if position < len(new.rows) else (1, 0)
    return rows, chars + more


async def _store(
    principal: Principal,
    made: dict[str, LockedChat],
    portion: Sequence[Piece],
    hidden: bool,
    connection: AsyncConnection,
) -> None:
    for piece in portion:
        new = piece.new
        chat_id = new.values["id"]
        if piece.first > 0:
            chat = await _hidden(connection, chat_id)
        else:
            folder_id = new.values["folder_id"]
            if folder_id is not None and not await folders.hold(connection, principal, folder_id):
                raise NotFound
            chat = made[chat_id] = await chats.insert(connection, new, hidden=hidden)
            await tags.link(connection, chat, new.tags)
        await messages.insert_at(connection, chat, new.rows[piece.first : piece.last], piece.first)


async def _hidden(connection: AsyncConnection, chat_id: str) -> LockedChat:
    for chat in await chats.lock_hidden(connection, [chat_id]):
        return chat
    raise NotFound


async def store_copy(database: Database, source: ChatRow, new: NewChat, finish: Finish) -> LockedChat:
    """Stores a new chat with copies of all messages of the source, which are made inside the database."""
    async with database.read() as connection:
        sizes = await histories.sizes(connection, source)
    ranges = [(sizes[a][0], sizes[b - 1][0]) for a, b in cut([(1, size) for _, size in sizes])]
    if len(ranges) <= 1:
        async with database.write() as unit:
            chat = await chats.insert(unit.connection, new)
            await histories.copy(unit.connection, source, chat)
            await finish(unit, [chat])
        return chat
    made: list[LockedChat] = []

    async def begin(connection: AsyncConnection) -> None:
        made.append(await chats.insert(connection, new, hidden=True))

    async def go_on(numbers: tuple[int, int], connection: AsyncConnection) -> None:
        await histories.copy(connection, source, await _hidden(connection, new.values["id"]), numbers)

    async def end(unit: UnitOfWork) -> None:
        await finish(unit, made)

    work: list[Portion] = [begin, *(partial(go_on, numbers) for numbers in ranges)]
    await in_portions(database, new.values["user_id"], [new.values["id"]], work, end)
    return made[0]


async def in_portions(
    database: Database,
    user_id: str,
    chat_ids: Sequence[str],
    portions: Sequence[Portion],
    end: Callable[[UnitOfWork], Awaitable[None]],
) -> None:
    """Makes hidden chats of a user in a unit for each portion, and lets people see them in one that ends it.

    What fails, or is cancelled, leaves nothing: what was made is removed again.
    """
    whole = False
    try:
        for portion in portions:
            async with database.write() as unit:
                await portion(unit.connection)
        async with database.write() as unit:
            await chats.show(unit.connection, user_id, chat_ids)
            await end(unit)
        whole = True
    finally:
        if not whole:
            await to_the_end(remove_hidden(database, chat_ids))


# Removing


async def remove(database: Database, unit: UnitOfWork, held: LockedChats, heir: str | None = None) -> None:
    """Removes chats of one person: at once where they are small, else hidden now and removed after the commit.

    heir: who has hidden ones meanwhile, where the person is removed, too.
    """
    if len(held.ids) <= MAX_FEW and await histories.count(unit.connection, held.ids) <= MAX_ROWS:
        weights = await histories.totals(unit.connection, held.ids)
        if len(cut(list(weights.values()))) <= 1:
            await chats.delete_all(unit.connection, held)
            return
    await chats.hide(unit.connection, held, heir)
    unit.after_commit(partial(remove_hidden, database, held.ids))


async def remove_hidden(database: Database, chat_ids: Sequence[str]) -> None:
    """Removes hidden chats in portions; those of them that are none stay."""
    for k in range(0, len(chat_ids), messages.BATCH):
        part = chat_ids[k : k + messages.BATCH]
        async with database.read() as connection:
            weights = await histories.totals(connection, part)
        for chat_id, (rows, chars) in weights.items():
            if rows > MAX_ROWS or chars > MAX_CHARS:
                await _empty(database, chat_id)
                weights[chat_id] = (1, 0)
        ids = list(weights)
        for first, last in cut(list(weights.values())):
            async with database.write() as unit:
                # All of a portion together: one after the other, thousands of chats took a minute.
                for held in chats.by_owner(await chats.lock_hidden(unit.connection, ids[first:last])):
                    await chats.delete_all(unit.connection, held)


async def _empty(database: Database, chat_id: str) -> None:
    """Removes the messages of a hidden chat."""
    async with database.read() as connection:
        found = await chats.hidden(connection, chat_id)
        sizes = [] if found is None else await histories.sizes(connection, found)
    for first, last in cut([(1, size) for _, size in sizes]):
        async with database.write() as unit:
            for chat in await chats.lock_hidden(unit.connection, [chat_id]):
                await histories.delete_between(unit.connection, chat, (sizes[first][0], sizes[last - 1][0]))


async def remove_leftovers(database: Database, *, at_start: bool) -> None:
    """Removes what an ended process left hidden: what is old, and at a start on SQLite, where nobody else is, all."""
    everything = at_start and database.is_sqlite
    async with database.read() as connection:
        left = await chats.hidden_before(connection, None if everything else now() - LEFT_OVER_SECONDS)
    if left:
        await remove_hidden(database, left)
        log.info("chats that were not stored or not removed to the end are gone now", count=len(left))


def leftovers(database: Database) -> Kind[Nothing]:
    """The job that removes what is left, now and then: chats nobody sees, and what is noted of sessions and of budgets' days
    that are long over.
    """

    async def remove(_run: Run, _nothing: Nothing) -> None:
        await remove_leftovers(database, at_start=False)
        async with database.write() as unit:
            await sessions.remove_ended(unit.connection)
            await budgets.forget_old(unit.connection, datetime.now(UTC))

    return Kind(name="remove leftovers", payload=Nothing, handler=remove, every=Every(LOOK_SECONDS))
