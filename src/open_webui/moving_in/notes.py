"""Notes, with their pins and, out of an archive, their versions. Documents are made anew when somebody opens one."""

from dataclasses import dataclass
from typing import Any, Final

from open_webui.constants import MAX_TITLE
from open_webui.errors import BadRequest
from open_webui.models import grants, moved
from open_webui.models.grants import GrantTriple
from open_webui.moving_in.move import Move, Part
from open_webui.moving_in.rows import Left, Row
from open_webui.moving_in.workspace import BAD_VERSION, Version, history, version
from open_webui.schemas.notes import MAX_DATA, MAX_META
from open_webui.services.note_documents import read_posted, size_of
from open_webui.services.notes import MAX_BESIDES

# People who have pinned one note.
_MAX_PINS: Final = 10_000
NO_TEXT: Final = "its text can't be read"
BESIDES: Final = f"what was kept with it besides its text had more than {MAX_BESIDES:,} bytes and is left out"


@dataclass
class Made:
    """A note that is going to be stored."""

    values: dict[str, Any]
    given: list[GrantTriple]
    versions: list[Version]
    pins: list[dict[str, Any]]


async def note(move: Move, row: Row) -> Made:
    note_id, owner = row.need_id(), move.owner(row)
    data = _data(row)
    posted = await read_posted(_content(data.pop("content", None)))
    if size_of(data) > MAX_BESIDES:
        data = {}
        row.mended.append(BESIDES)
    values: dict[str, Any] = {
        "id": note_id,
        "user_id": owner,
        "title": row.cut("title", MAX_TITLE) or "",
        "data": data,
        "meta": row.object("meta", MAX_META),
    }
    values |= posted.columns | row.moments(move.at)
    made = Made(values, await move.grants("note", row, note_id), [], await _pins(move, row, note_id))
    for one, snapshot in await history(move, row, "note"):
        try:
            text = (await read_posted(_content(snapshot.get("content")))).columns
        except BadRequest:
            row.mended.append(BAD_VERSION)
            continue
        held = {"title": str(snapshot.get("title") or "")[:MAX_TITLE], "content": text["content"] | {"md": text["md"]}}
        made.versions.append(version(move, "note", note_id, one, held))
    return made


def _data(row: Row) -> dict[str, Any]:
    """What a note holds. One whose text can't be read is no empty note. Raises Left."""
    data = row.object("data", MAX_DATA)
    if data is None and (row.raw("data") or "null").strip() not in {"", "null"}:
        raise Left(NO_TEXT)
    return dict(data or {})


def _content(value: Any) -> Any:
    return {"md": value} if isinstance(value, str) else value


async def _pins(move: Move, row: Row, note_id: str) -> list[dict[str, Any]]:
    found = await move.source.select("pinned_note", "note_id", [note_id], limit=_MAX_PINS)
    out: dict[str, dict[str, Any]] = {}
    for one in found:
        who = move.people.get(one.id("user_id") or "")
        if who is None:
            row.mended.append("somebody who had pinned it did not come along")
            continue
        at = one.seconds("created_at")
        out[who] = {"user_id": who, "note_id": note_id, "created_at": move.at if at is None else at}
    return list(out.values())


async def store_note(move: Move, made: Made) -> bool:
    note_id = made.values["id"]
    async with move.database.write() as unit:
        connection = unit.connection
        if not await moved.insert(connection, "note", made.values):
            return False
        for one in made.versions:
            await moved.insert(connection, "version", one.row | {"snapshot": one.snapshot})
        await moved.insert_all(connection, "pinned_note", made.pins)
        await grants.replace(connection, "note", note_id, made.given)
    return True


NOTES: Final = Part("note", "note", ("id", "user_id", "data"), note, store_note, at_once=5)
