"""Ratings of answers, with the chats as they were then."""

from typing import Any, Final

import msgspec

from open_webui.models import feedbacks, moved
from open_webui.moving_in.move import Move, Part
from open_webui.moving_in.rows import Row
from open_webui.moving_in.workspace import parsed
from open_webui.schemas.evaluations import FeedbackForm

_encode = msgspec.json.encode


async def rating(move: Move, row: Row) -> tuple[dict[str, Any], bytes | None]:
    rating_id, owner = row.need_id(), move.owner(row)
    form = parsed(FeedbackForm, {"type": row.text("type", 100), "data": row.object("data"), "meta": row.object("meta")})
    values = {"data": None, "meta": None} | form.values()
    own = {"id": rating_id, "user_id": owner, "version": row.number("version") or 0}
    # Pictures of a chat that is kept for reading only are left as they are named.
    snapshot = row.object("snapshot", 2_000_000)
    kept = None if snapshot is None else _encode(snapshot)
    own["size"] = len(kept or b"") + sum(len(_encode(values[name])) for name in ("data", "meta"))
    return feedbacks.stamped(values | own | row.times(move.at)), kept


async def store_rating(move: Move, made: tuple[dict[str, Any], bytes | None]) -> bool:
    values, snapshot = made
    async with move.database.write() as unit:
        if not await moved.insert(unit.connection, "feedback", values):
            return False
        await feedbacks.put_snapshot(unit.connection, values["id"], snapshot)
    return True


RATINGS: Final = Part("feedback", "feedback", ("id", "user_id", "type"), rating, store_rating)
