"""Automations with their last runs. They come switched off: the other server may ask on."""

from dataclasses import dataclass
from typing import Any, Final

from open_webui.constants import MAX_NAME
from open_webui.models import automations, calendars, moved, users
from open_webui.models.automations import KEPT_RUNS
from open_webui.models.base import new_id
from open_webui.moving_in.move import Move, Part
from open_webui.moving_in.rows import Left, Row
from open_webui.moving_in.workspace import parsed
from open_webui.schemas.automations import AutomationForm
from open_webui.services.automations import MOST
from open_webui.utils.recurring import is_zone

# Of one automation, runs of which the times are read.
_MAX_RUNS: Final = 100_000
_MAX_ERROR: Final = 10_000
_MAX_DATA: Final = 500_000
OFF: Final = "it was switched on there and is switched off here, so that it does not run twice"
NOT_IN_CHANNELS: Final = "it answered in a channel there, and answers in a chat here"
NO_FOLDER: Final = "the folder of its chats did not come along"
WENT_ON: Final = "This run was still going on when it was moved here."
OLD_RUNS: Final = f"of its runs the last {KEPT_RUNS} are taken"


@dataclass
class Made:
    """An automation that is going to be stored, with its runs."""

    values: dict[str, Any]
    runs: list[dict[str, Any]]


async def automation(move: Move, row: Row) -> Made:
    automation_id, owner = row.need_id(), move.owner(row)
    data = row.object("data", _MAX_DATA)
    if data is None:
        raise Left("what it asks can't be read")
    given = {"name": row.need("name", MAX_NAME), "data": data, "meta": row.object("meta", 20_000)}
    form = parsed(AutomationForm, given)
    if form.data.target is not None and form.data.target.type == "channel":
        form.data.target = None
        row.mended.append(NOT_IN_CHANNELS)
    if row.flag("is_active"):
        row.mended.append(OFF)
    folder = row.id("folder_id")
    if folder is not None and not move.is_theirs("folder", folder, owner):
        folder = None
        row.mended.append(NO_FOLDER)
    times = row.moments(move.at)
    anchor = row.nanoseconds("anchor_at")
    values: dict[str, Any] = {
        "id": automation_id,
        "user_id": owner,
        "folder_id": folder,
        "name": form.name,
        "data": form.data.model_dump(),
        "meta": form.meta,
        "is_active": False,
        "anchor_at": times["created_at"] if anchor is None else anchor,
        "zone": await _zone(move, row, owner),
        "last_run_at": row.nanoseconds("last_run_at"),
        "next_run_at": None,
    }
    return Made(values | times, await _runs(move, row, automation_id, owner))


async def _zone(move: Move, row: Row, owner: str) -> str | None:
    """The other server has no zone with an automation: it is its owner's."""
    zone = row.text("zone", 64)
    if move.archive is None:
        async with move.database.read() as connection:
            zone = await calendars.zone_of(connection, owner)
    return zone if zone and is_zone(zone) else None


async def _runs(move: Move, row: Row, automation_id: str, owner: str) -> list[dict[str, Any]]:
    brief = await move.source.select(
        "automation_run", "automation_id", [automation_id], limit=_MAX_RUNS, only=["id", "created_at"]
    )
    known = [one for one in brief if one.id() is not None]
    newest = sorted(known, key=lambda one: one.number("created_at") or 0)[-KEPT_RUNS:]
    if len(newest) < len(known):
        row.mended.append(OLD_RUNS)
    ids = [one.need_id() for one in newest]
    found = await move.source.select("automation_run", "id", ids, limit=KEPT_RUNS) if ids else []
    out = []
    for one in found:
        status, error, chat = one.text("status", 20), one.text("error", _MAX_ERROR), one.id("chat_id")
        if one.id() is None or status not in {"success", "error", "running"}:
            row.mended.append("some of its runs can't be read and are left out")
            continue
        if status == "running":
            status, error = "error", WENT_ON
        out.append({
            "id": one.need_id(),
            "automation_id": automation_id,
            "chat_id": chat if move.is_theirs("chat", chat, owner) else None,
            "status": status,
            "error": error,
            "created_at": one.moments(move.at)["created_at"],
        })  # fmt: skip
    return out


async def store_automation(move: Move, made: Made) -> bool:
    owner = made.values["user_id"]
    async with move.database.write() as unit:
        connection = unit.connection
        await users.lock(connection, [owner])
        if await automations.count(connection, owner) >= MOST:
            raise Left(f"one can have at most {MOST} automations")
        if not await moved.insert(connection, "automation", made.values):
            return False
        taken = await moved.taken(connection, "automation_run", [one["id"] for one in made.runs])
        rows = [one | {"id": new_id()} if one["id"] in taken else one for one in made.runs]
        await moved.insert_all(connection, "automation_run", rows)
    return True


AUTOMATIONS: Final = Part(
    "automation", "automation", ("id", "user_id", "name", "data"), automation, store_automation, at_once=5
)
