"""Where rows of earlier releases may hold data: URLs, and how they are replaced: a few rows at a time, from a noted place on."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal.db import dumps, loads
from open_webui.models import file_uses, messages, tables
from open_webui.models.base import decode_json, inserting
from open_webui.models.file_uses import Thing
from open_webui.utils.addresses import in_question

_NOTE: Final = "pictures_moved"
DONE: Final = "done"
single = tables.singleton


class PictureLocation(msgspec.Struct, frozen=True):
    """A table with columns of documents. owner: the column of whose they are. thing: what uses the files then."""

    table: sa.Table
    key: str
    texts: tuple[str, ...]
    documents: tuple[str, ...]
    owner: str
    thing: Thing | None

    @property
    def columns(self) -> tuple[str, ...]:
        return self.texts + self.documents


# Messages last: they are most, and the others are done at once.
PLACES: Final = (
    PictureLocation(tables.user, "id", ("profile_image_url", "profile_banner_image_url"), (), "id", "profile_id"),
    PictureLocation(tables.user, "id", (), ("settings", "info", "variables"), "id", "settings_id"),
    PictureLocation(tables.model, "id", (), ("meta", "params"), "user_id", "model_id"),
    PictureLocation(tables.folder, "id", (), ("meta", "data"), "user_id", "folder_id"),
    PictureLocation(tables.chat, "id", (), ("body", "meta", "variables"), "user_id", "chat_id"),
    PictureLocation(tables.shared_chat, "id", (), ("chat",), "user_id", "share_id"),
    PictureLocation(tables.message, "n", ("content",), ("body",), "chat_id", None),
)


class Row(msgspec.Struct, frozen=True):
    """A row that holds the mark of a data: URL. values: of the columns, as JSON text; None where there is nothing.
    role: of a message.
    """

    key: Any
    owner_id: str
    values: dict[str, bytes | None]
    role: str | None = None


def as_pages_show(place: PictureLocation, row: Row, name: str, value: bytes) -> bytes:
    """A new value of a column, with the files of questions as pages show them."""
    if (place.thing, name) not in {(None, "body"), ("share_id", "chat")}:
        return value
    document = msgspec.json.decode(value)
    bodies = [document] if row.role == "user" else []
    if place.thing is not None:
        bodies = [message for message in _messages(document) if message.get("role") == "user"]
    for body in bodies:
        if isinstance(body, dict):
            in_question(body)
    return msgspec.json.encode(document)


def _messages(document: Any) -> list[dict[str, Any]]:
    history = document.get("history") if isinstance(document, dict) else None
    found = history.get("messages") if isinstance(history, dict) else None
    return [m for m in found.values() if isinstance(m, dict)] if isinstance(found, dict) else []


async def noted(connection: AsyncConnection) -> tuple[int, Any] | None:
    """From which place and key on rows may still hold any; None when all is done."""
    value = await connection.scalar(sa.select(single.c.value).where(single.c.name == _NOTE))
    if value == DONE:
        return None
    at = decode_json(value) if value else [0, None]
    return (at[0], at[1]) if isinstance(at, list) and len(at) == 2 and isinstance(at[0], int) else (0, None)


async def note(connection: AsyncConnection, at: tuple[int, Any] | None) -> None:
    """Notes it. None: all is done."""
    value = DONE if at is None else dumps(at)
    statement = inserting(connection, single).values(name=_NOTE, value=value)
    await connection.execute(statement.on_conflict_do_update(index_elements=[single.c.name], set_={"value": value}))


async def note_message(connection: AsyncConnection, number: int, content: str, body: dict[str, Any]) -> None:
    """Has the pictures of a message moved that was stored with them, as what a killed process had written of an answer."""
    if "data:" not in content and b"data:" not in msgspec.json.encode(body):
        return
    at, last = await noted(connection), len(PLACES) - 1
    if at is None or (at[0] == last and at[1] is not None and at[1] >= number):
        await note(connection, (last, number - 1))


async def next_keys(
    connection: AsyncConnection, place: PictureLocation, after: Any, size: int
) -> tuple[list[Any], Any]:
    """The keys of those of a table's next rows that have the mark of a data: URL, and the last key looked at (None: the end)."""
    key = place.table.c[place.key]
    keys = sa.select(key).order_by(key).limit(size)
    listed = list(await connection.scalars(keys if after is None else keys.where(key > after)))
    if not listed:
        return [], None
    marked = sa.or_(*(sa.cast(place.table.c[c], sa.Text).contains("data:") for c in place.columns))
    found = await connection.scalars(sa.select(key).where(key.in_(listed), marked).order_by(key))
    return list(found), listed[-1]


async def read(connection: AsyncConnection, place: PictureLocation, key: Any) -> Row | None:
    """One row."""
    columns = [sa.cast(place.table.c[c], sa.Text) for c in place.columns]
    owner: Any = place.table.c[place.owner]
    role: Any = sa.null()
    if place.thing is None:
        owner = sa.select(tables.chat.c.user_id).where(tables.chat.c.id == place.table.c.chat_id).scalar_subquery()
        role = tables.message.c.role
    found = (await connection.execute(sa.select(owner, role, *columns).where(place.table.c[place.key] == key))).first()
    if found is None:
        return None
    values = {
        name: None if text is None else dumps(text).encode() if name in place.texts else str(text).encode()
        for name, text in zip(place.columns, found[2:], strict=True)
    }
    return Row(key, str(found[0]), values, found[1])


async def replace(connection: AsyncConnection, place: PictureLocation, row: Row, changed: Mapping[str, bytes]) -> bool:
    """Stores other values for some columns and notes what is used now; False when somebody changed the row meanwhile."""
    table = place.table
    same = [table.c[place.key] == row.key]
    for name in changed:
        before = row.values[name]
        text = loads(before) if name in place.texts and before is not None else (before or b"").decode()
        same.append(sa.cast(table.c[name], sa.Text) == text)
    values = {name: loads(value) for name, value in changed.items()}
    done = await connection.execute(table.update().where(*same).values(values))
    if done.rowcount != 1:
        return False
    await _link(connection, place, row)
    return True


async def _link(connection: AsyncConnection, place: PictureLocation, row: Row) -> None:
    if place.thing is None:
        stored = await messages.by_number(connection, row.key)
        await file_uses.link_messages(connection, [stored] if stored else [], new=False)
        return
    now = await read(connection, place, row.key)
    values: Sequence[Any] = [decode_json(v) for v in now.values.values() if v is not None] if now is not None else []
    await file_uses.link(connection, place.thing, row.key, row.owner_id, values)
