"""Messages: rows of a tree, read as branches and documents, written by what changed."""

import functools
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Protocol

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui import constants
from open_webui.errors import BadRequest
from open_webui.internal.prepared import Prepared
from open_webui.models import file_uses, tables
from open_webui.models.base import clean, clean_json, now
from open_webui.models.chat_rows import LockedChat
from open_webui.utils import tree
from open_webui.utils.threads import in_thread_if_large

t = tables.message
POSITIONS: Final = 1 << constants.MESSAGE_BITS
# Rows a page: what the loop does between two waits stays short also when every row is large.
PAGE: Final = 200
# Rows a statement of many.
BATCH: Final = 500
_encode = msgspec.json.encode
_decode = msgspec.json.decode
_raw_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
# The fields of a message, beside its columns, that come of answering. They go when it is answered anew; who continues an
# answer keeps them all but the error.
ANSWER_FIELDS: Final = frozenset(
    {
        "annotation", "code_executions", "embeds", "error", "feedbackId", "files", "followUps", "info", "merged",
        "output", "selectedModelId", "sources", "statusHistory", "usage",
    }
)  # fmt: skip


class Home(Protocol):
    """What readers of messages need to know of their chat (ChatRow has it)."""

    n: int
    id: str
    user_id: str


class MessageRow(msgspec.Struct):
    """A message as stored. body: every wire field that has no column; it wins where it names one that has."""

    n: int
    chat_id: str
    id: str
    parent_id: str | None
    role: str
    content: str
    done: bool
    model_id: str | None
    body: dict[str, Any]
    created_at: int
    updated_at: int

    def wire(self, children: list[str]) -> dict[str, Any]:
        """The message as pages know it. `user_id` and `user` are only there when somebody else than the owner wrote it."""
        out: dict[str, Any] = {
            "id": self.id,
            "parentId": self.parent_id,
            "childrenIds": children,
            "role": self.role,
            "content": self.content,
        }
        if self.model_id is not None:
            out["model"] = self.model_id
        out["timestamp"] = self.created_at
        out.update(self.body)
        if self.role == "assistant" or not self.done or "done" in self.body:
            out["done"] = self.done
        return out


# The body as its text: most readers pass it on, and one that is no JSON must not take the others with it.
_columns = (
    t.c.n,
    t.c.chat_id,
    t.c.id,
    t.c.parent_id,
    t.c.role,
    t.c.content,
    t.c.done,
    t.c.model_id,
    sa.cast(t.c.body, sa.Text).label("body"),
    t.c.created_at,
    t.c.updated_at,
)


def owner_word(user_id: str) -> str:
    """A user's id as the full-text index has it: one word."""
    return "".join(c for c in user_id.lower() if c.isalnum())


def first_number(chat_n: int) -> int:
    return chat_n << constants.MESSAGE_BITS


def as_text(value: Any) -> str:
    """A text out of a column that somebody wrote something else into (SQLite takes any type anywhere)."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return "" if value is None else str(value)


def as_int(value: Any) -> int:
    return value if isinstance(value, int) else 0


def body_of(text: Any) -> dict[str, Any]:
    try:
        body = _decode(as_text(text))
    except (msgspec.DecodeError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _row(r: Sequence[Any]) -> MessageRow:
    return _row_with(r, body_of(r[8]))


def _row_with(r: Sequence[Any], body: dict[str, Any]) -> MessageRow:
    """The message of a row of `_columns`: the one place that knows their order."""
    return MessageRow(
        n=r[0],
        chat_id=r[1],
        id=as_text(r[2]),
        parent_id=None if r[3] is None else as_text(r[3]),
        role=as_text(r[4]),
        content=as_text(r[5]),
        done=bool(r[6]),
        model_id=None if r[7] is None else as_text(r[7]),
        body=body,
        created_at=as_int(r[9]),
        updated_at=as_int(r[10]),
    )


_this = sa.select(*_columns).where(t.c.chat_id == sa.bindparam("chat"), t.c.id == sa.bindparam("message"))
_one = Prepared(_this)
_one_locked = Prepared(_this.with_for_update(key_share=True))


async def get(connection: AsyncConnection, chat_id: str, message_id: str) -> MessageRow | None:
    """One message of one chat."""
    row = await _one.first(connection, {"chat": chat_id, "message": message_id})
    return None if row is None else _row(row)


async def lock(connection: AsyncConnection, chat: LockedChat, message_id: str) -> MessageRow | None:
    """One message that is about to change, held against the journal too, which writes running answers without the chat."""
    row = await _one_locked.first(connection, {"chat": chat.id, "message": message_id})
    return None if row is None else _row(row)


async def by_number(connection: AsyncConnection, number: int) -> MessageRow | None:
    """The message with this row number."""
    row = (await connection.execute(sa.select(*_columns).where(t.c.n == number))).first()
    return None if row is None else _row(row)


async def by_numbers(connection: AsyncConnection, numbers: Sequence[int]) -> list[MessageRow]:
    """The messages with these row numbers, which are few."""
    found = await connection.execute(sa.select(*_columns).where(t.c.n.in_(numbers)).order_by(t.c.n))
    return [_row(r) for r in found]


async def has_answer(connection: AsyncConnection, chat_id: str, message_id: str | None) -> bool:
    """Whether a model has answered a message already."""
    answers = t.c.parent_id.is_(None) if message_id is None else t.c.parent_id == message_id
    found = sa.select(sa.exists().where(t.c.chat_id == chat_id, answers, t.c.role == "assistant"))
    return bool(await connection.scalar(found))


def _branch_statement() -> "sa.Select[Any]":
    length = sa.func.length
    limit = sa.bindparam("max_chars", type_=sa.BigInteger)
    chat = sa.bindparam("chat", type_=sa.Text)
    # A path longer than the chat has messages goes in circles.
    count = sa.select(sa.func.count()).select_from(t).where(t.c.chat_id == chat).scalar_subquery()
    walk = (
        sa.select(
            t.c.n,
            t.c.parent_id,
            sa.cast(length(t.c.content), sa.BigInteger).label("total"),
            sa.literal(1, sa.Integer).label("depth"),
        )
        .where(t.c.chat_id == chat, t.c.id == sa.bindparam("message", type_=sa.Text))
        .cte("walk", recursive=True)
    )
    above = t.alias("above")
    walk = walk.union_all(
        sa.select(
            above.c.n,
            above.c.parent_id,
            walk.c.total + length(above.c.content),
            walk.c.depth + 1,
        ).where(
            above.c.chat_id == chat,
            above.c.id == walk.c.parent_id,
            walk.c.total <= limit,
            walk.c.depth < count,
        )
    )
    fits = sa.or_(walk.c.total <= limit, walk.c.depth == 1)
    columns = [sa.case((fits, c), else_="").label("content") if c is t.c.content else c for c in _columns]
    return sa.select(*columns, fits.label("fits")).join(walk, walk.c.n == t.c.n).order_by(walk.c.depth)


_branch = Prepared(_branch_statement())


async def branch(
    connection: AsyncConnection, chat_id: str, message_id: str, max_chars: int
) -> tuple[list[MessageRow], bool]:
    """A message and its ancestors, oldest first, and whether older ones were left out.

    The newest are kept while their contents together have at most max_chars characters; the message itself always is.
    A cycle is cut where it closes. Empty when there is no such message.
    """
    rows = await _branch.all(connection, {"chat": chat_id, "message": message_id, "max_chars": max_chars})
    kept: list[MessageRow] = []
    seen: set[int] = set()
    left_out = False
    for row in rows:
        if row[0] in seen:
            break
        if not row[-1]:
            left_out = True
            break
        seen.add(row[0])
        kept.append(_row(row))
    if len(kept) == 1 and len(kept[0].content) > max_chars:
        left_out = kept[0].parent_id is not None
    kept.reverse()
    return kept, left_out


_links = (
    sa.select(t.c.id, t.c.parent_id)
    .where(t.c.n >= sa.bindparam("low"), t.c.n < sa.bindparam("high"), t.c.chat_id == sa.bindparam("chat"))
    .order_by(t.c.n)
)
_page = Prepared(
    sa.select(*_columns)
    .where(t.c.n >= sa.bindparam("low"), t.c.n < sa.bindparam("high"), t.c.chat_id == sa.bindparam("chat"))
    .order_by(t.c.n)
    .limit(sa.bindparam("page"))
)


async def links(connection: AsyncConnection, chat: Home) -> dict[str, str | None]:
    """The ids of a chat's messages in row order with their parents, repaired."""
    low = first_number(chat.n)
    rows = (await connection.execute(_links, {"low": low, "high": low + POSITIONS, "chat": chat.id})).all()
    return await in_thread_if_large(len(rows), _sound, rows)


def _sound(rows: Sequence[Any]) -> dict[str, str | None]:
    return tree.repair({as_text(r[0]): None if r[1] is None else as_text(r[1]) for r in rows})


async def raw_pages(connection: AsyncConnection, chat: Home, size: int) -> AsyncIterator[Sequence[Any]]:
    """All rows of a chat in row order, some at a time."""
    low = first_number(chat.n)
    high = low + POSITIONS
    while True:
        rows = await _page.all(connection, {"low": low, "high": high, "chat": chat.id, "page": size})
        if rows:
            yield rows
        if len(rows) < size:
            return
        low = rows[-1][0] + 1


async def history(connection: AsyncConnection, chat: Home) -> dict[str, dict[str, Any]]:
    """All messages of a chat as pages know them, by id in row order. Fields beside the columns stay encoded."""
    found: dict[str, Sequence[Any]] = {}
    async for rows in raw_pages(connection, chat, PAGE):
        found.update((as_text(r[2]), r) for r in rows)
    return await in_thread_if_large(len(found), _assembled, found)


def _assembled(found: dict[str, Sequence[Any]]) -> dict[str, dict[str, Any]]:
    parents = tree.repair({i: None if r[3] is None else as_text(r[3]) for i, r in found.items()})
    kids = children(parents)
    return {i: wire_of(r, parents[i], kids[i]) for i, r in found.items()}


def children(parents: dict[str, str | None]) -> dict[str, list[str]]:
    """The children of each message of `links`, in row order."""
    return tree.children_of(parents)


async def wire_page(
    connection: AsyncConnection,
    chat: Home,
    parents: dict[str, str | None],
    kids: dict[str, list[str]],
    after: int,
) -> tuple[list[tuple[str, dict[str, Any]]], int]:
    """Some messages as pages know them, in row order, beginning behind a row number (-1: at the first).

    The second value is the number to go on behind, -1 when these were the last. For chats of any size.
    """
    low = first_number(chat.n)
    given = {"low": max(low, after + 1), "high": low + POSITIONS, "chat": chat.id, "page": PAGE}
    rows = await _page.all(connection, given)
    wire = [(i, wire_of(r, parents.get(i), kids.get(i, []))) for r in rows for i in (as_text(r[2]),)]
    return wire, rows[-1][0] if len(rows) == PAGE else -1


def wire_of(r: Sequence[Any], parent: str | None, children: list[str]) -> dict[str, Any]:
    """The wire message of a row of this module's columns."""
    row = _row_with(r, _raw_body(r[8]))
    row.parent_id = parent
    row.role = row.role or "assistant"
    return row.wire(children)


def _raw_body(text: Any) -> dict[str, Any]:
    try:
        return _raw_fields.decode(as_text(text))
    except (msgspec.DecodeError, RecursionError):
        return {}


def fields_of(given: Iterable[Any]) -> list[tree.Fields]:
    """Wire messages, checked and taken apart. Raises BadRequest."""
    try:
        return [tree.take_apart(_id_of(m), m, max_id=constants.MAX_ID) for m in given]
    except tree.BadTree as error:
        raise BadRequest(f"{error}.") from None


def new_rows(chat_id: str, user_id: str, given: Sequence[tree.Fields]) -> list[MessageRow]:
    """Rows, not numbered yet, of all messages of a new chat."""
    fields = tree.in_order(list({f.id: f for f in given}.values()))
    parents = tree.repair(tree.parents_of(fields))
    at = now()
    return [new_row(f, chat_id, parents[f.id], user_id, user_id, at) for f in fields]


async def put(
    connection: AsyncConnection,
    chat: LockedChat,
    owner_id: str,
    messages: Sequence[dict[str, Any]],
    forget: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> list[MessageRow]:
    """Inserts wire messages, or merges them by id over the stored ones; fields that are not given stay.

    owner_id: who wrote them (it is noted on messages that are not the chat owner's). forget: by id, stored fields that
    go. A parent that the chat does not have becomes None; children follow from parents. Raises BadRequest. Gives the
    rows in the given order.
    """
    given = fields_of(messages)
    stored = await _locked(connection, chat.id, [f.id for f in given])
    said = tree.parents_of(given) | {f.id: stored[f.id].parent_id for f in given if f.id in stored and not f.has_parent}
    if any(f.id in stored and stored[f.id].parent_id != said[f.id] for f in given):
        # Only a message that gets another parent can close a cycle with stored ones; then the whole tree is looked at.
        others = await links(connection, chat)
    else:
        others = dict.fromkeys(await existing(connection, chat.id, {p for p in said.values() if p} - said.keys()))
    parents = tree.repair(others | said)
    at = now()
    new: list[MessageRow] = []
    out: list[MessageRow] = []
    changed: dict[frozenset[str], list[MessageRow]] = {}
    for f in given:
        row = stored.get(f.id)
        if row is None:
            row = new_row(f, chat.id, parents[f.id], owner_id, chat.user_id, at)
            new.append(row)
            stored[f.id] = row
        else:
            forgotten = set().union(*(_taken_out(row, name) for name in forget.get(f.id, ())))
            columns = _merge(row, f, parents[f.id], at) | forgotten
            if row not in new:
                changed.setdefault(columns, []).append(row)
        out.append(row)
    await insert(connection, chat, new)
    for columns, rows in changed.items():
        await update(connection, chat, rows, columns)
    return out


def _id_of(message: Any) -> str:
    given = message.get("id") if isinstance(message, dict) else None
    if not isinstance(given, str):
        raise BadRequest("A message needs an id, which is a text.")
    return given


# A turn puts a question and an answer or two: statements for so few are prepared.
FEW: Final = 4


@functools.cache
def _by_ids(count: int) -> Prepared:
    ids = [sa.bindparam(f"id{i}", type_=t.c.id.type) for i in range(count)]
    wanted = sa.select(*_columns).where(t.c.chat_id == sa.bindparam("chat"), t.c.id.in_(ids))
    return Prepared(wanted.order_by(t.c.n).with_for_update(key_share=True))


async def _locked(connection: AsyncConnection, chat_id: str, ids: Sequence[str]) -> dict[str, MessageRow]:
    out: dict[str, MessageRow] = {}
    for k in range(0, len(ids), BATCH):
        some = ids[k : k + BATCH]
        if len(some) <= FEW:
            given = {f"id{i}": message_id for i, message_id in enumerate(some)}
            rows = await _by_ids(len(some)).all(connection, given | {"chat": chat_id})
        else:
            wanted = sa.select(*_columns).where(t.c.chat_id == chat_id, t.c.id.in_(some))
            rows = (await connection.execute(wanted.order_by(t.c.n).with_for_update(key_share=True))).all()
        out.update((row.id, row) for row in map(_row, rows))
    return out


async def existing(connection: AsyncConnection, chat_id: str, ids: Iterable[str]) -> list[str]:
    """Those of the ids that messages of the chat have."""
    wanted = sorted(ids)
    out: list[str] = []
    for k in range(0, len(wanted), BATCH):
        out += await connection.scalars(
            sa.select(t.c.id).where(t.c.chat_id == chat_id, t.c.id.in_(wanted[k : k + BATCH]))
        )
    return out


def new_row(f: tree.Fields, chat_id: str, parent: str | None, author: str, owner: str, at: int) -> MessageRow:
    body = f.body
    if author != owner:
        body["user_id"] = author
    return MessageRow(
        n=0,
        chat_id=chat_id,
        id=f.id,
        parent_id=parent,
        role=f.role or "assistant",
        content=clean(f.content or ""),
        done=f.done is not False,
        model_id=None if f.model is None else clean(f.model),
        body=body,
        created_at=at if f.at is None else f.at,
        updated_at=at,
    )


def _merge(row: MessageRow, f: tree.Fields, parent: str | None, at: int) -> frozenset[str]:
    """Changes the row to what is given, and names the columns that are to be written."""
    columns = {"body"} if f.body else set()
    if f.role and f.role != row.role:
        raise BadRequest("A message of this chat has the same id and another role.")
    if parent != row.parent_id:
        row.parent_id = parent
        columns.add("parent_id")
    if f.content is not None:
        row.content = clean(f.content)
        columns |= {"content"} | _taken_out(row, "content")
    if f.done is not None:
        row.done = f.done
        columns.add("done")
    if f.model is not None:
        row.model_id = clean(f.model)
        columns |= {"model_id"} | _taken_out(row, "model")
    if f.at is not None:
        row.created_at = f.at
        columns |= {"created_at"} | _taken_out(row, "timestamp")
    row.body.update(f.body)
    row.updated_at = at
    return frozenset(columns)


def _taken_out(row: MessageRow, name: str) -> set[str]:
    """Takes a field out of the body, and names the column that is to be written then."""
    if name not in row.body:
        return set()
    del row.body[name]
    return {"body"}


async def insert(connection: AsyncConnection, chat: LockedChat, rows: Sequence[MessageRow]) -> None:
    """Gives new rows their numbers and stores them; advances the chat's next position, in `chat` too."""
    if not rows:
        return
    if chat.next_position + len(rows) > POSITIONS:
        raise BadRequest("This chat is full. Go on in a new one.")
    position = await connection.scalar(
        tables.chat.update()
        .where(tables.chat.c.n == chat.n)
        .values(next_position=tables.chat.c.next_position + len(rows))
        .returning(tables.chat.c.next_position)
    )
    chat.next_position = int(position or 0)
    await insert_at(connection, chat, rows, chat.next_position - len(rows))


async def insert_at(connection: AsyncConnection, chat: LockedChat, rows: Sequence[MessageRow], position: int) -> None:
    """Numbers rows from a position that was reserved for them, and stores them."""
    if not rows:
        return
    owner = owner_word(chat.user_id)
    for k, row in enumerate(rows, first_number(chat.n) + position):
        row.n = k
    for k in range(0, len(rows), BATCH):
        await _insert.run_many(connection, [_values(row, owner) for row in rows[k : k + BATCH]])
    await file_uses.link_messages(connection, rows, new=True)


_insert = Prepared(t.insert(), [column.name for column in t.c])


def _values(row: MessageRow, owner: str) -> dict[str, Any]:
    return {
        "n": row.n,
        "chat_id": row.chat_id,
        "id": row.id,
        "owner": owner,
        "parent_id": row.parent_id,
        "role": row.role,
        "content": row.content,
        "done": row.done,
        "model_id": row.model_id,
        "body": storable(row.body),
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def storable(body: dict[str, Any], encoded: bytes | None = None) -> dict[str, Any]:
    """A body without NUL characters, which a page that shows it would not miss. Its depth was checked at the route.

    encoded: its JSON, where the caller has it.
    """
    return clean_json(body) if b"\\u0000" in (_encode(body) if encoded is None else encoded) else body


# The columns of a message that change after it was made.
CHANGING: Final = frozenset({"parent_id", "role", "content", "done", "model_id", "body", "created_at"})


@functools.cache
def _update(columns: frozenset[str]) -> Prepared:
    values = {c: sa.bindparam(f"b_{c}", type_=t.c[c].type) for c in sorted(columns | {"updated_at"})}
    return Prepared(
        t.update().where(t.c.n == sa.bindparam("b_n"), t.c.chat_id == sa.bindparam("b_chat")).values(values)
    )


async def update(
    connection: AsyncConnection, chat: LockedChat, rows: Sequence[MessageRow], columns: Collection[str] = CHANGING
) -> None:
    """Stores these columns of changed rows of the chat, and when they changed; other columns stay as they are."""
    named = frozenset(columns)
    for k in range(0, len(rows), BATCH):
        given = [
            {f"b_{c}": storable(r.body) if c == "body" else getattr(r, c) for c in named}
            | {"b_n": r.n, "b_chat": chat.id, "b_updated_at": r.updated_at}
            for r in rows[k : k + BATCH]
        ]
        await _update(named).run_many(connection, given)
    if named & {"content", "body"}:
        await file_uses.link_messages(connection, rows, new=False)


_save_answer = Prepared(
    t.update()
    .where(t.c.n == sa.bindparam("b_n"), sa.not_(t.c.done))
    .values(
        content=sa.bindparam("b_content"),
        body=sa.bindparam("b_body", type_=t.c.body.type),
        done=sa.bindparam("b_done"),
        updated_at=sa.bindparam("b_updated_at"),
    )
)


async def save_answers(connection: AsyncConnection, answers: Sequence[tuple[int, str, dict[str, Any], bool]]) -> None:
    """Writes what answers are by now: (row number, content, body, done) each.

    One that was deleted stays deleted, and one that is done stays as it is.
    """
    if answers:
        at = now()
        await _save_answer.run_many(
            connection,
            [
                {"b_n": n, "b_content": clean(content), "b_body": storable(body), "b_done": done, "b_updated_at": at}
                for n, content, body, done in answers
            ],
        )
        referring = [n for n, content, body, done in answers if file_uses.may_refer(content, body, done=done)]
        if referring:
            rows = (await connection.execute(sa.select(*_columns).where(t.c.n.in_(referring)))).all()
            await file_uses.link_messages(connection, [_row(r) for r in rows], new=False)


async def delete(connection: AsyncConnection, chat: LockedChat, numbers: Sequence[int]) -> None:
    """Removes rows of a chat by number."""
    for k in range(0, len(numbers), BATCH):
        await connection.execute(t.delete().where(t.c.chat_id == chat.id, t.c.n.in_(numbers[k : k + BATCH])))


async def remove(connection: AsyncConnection, chat: LockedChat, row: MessageRow) -> None:
    """Removes one message; those that answer it answer its parent then."""
    await connection.execute(
        t.update().where(t.c.chat_id == chat.id, t.c.parent_id == row.id).values(parent_id=row.parent_id)
    )
    await delete(connection, chat, [row.n])
