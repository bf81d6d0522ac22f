"""Automations: listed, set up, changed, switched and removed for the person, with the bounds of the routes."""

from typing import Any, Final

from open_webui.errors import BadRequest, NotFound
from open_webui.schemas.automations import MAX_PROMPT, AutomationForm
from open_webui.services import automations
from open_webui.services.automations import Wanted
from open_webui.services.builtin.row import Use, formed
from open_webui.services.builtin.times import Times

UNKNOWN: Final = "There is no such automation. list_automations tells the ids."
NO_FOLDER: Final = "There is no such folder, or the person may not put chats into it."
NO_MODEL: Final = "An automation asks the model of the chat in which it is set up, and there is none here."
UNKNOWN_MODEL: Final = "There is no such model, or the person may not use it."
NOTHING: Final = "Say what is to change."
# Characters of a prompt in a list.
_SHOWN: Final = 2_000


async def list_all(use: Use) -> dict[str, Any]:
    """The newest first."""
    times = await Times.of(use)
    wanted = Wanted(status=use.optional("status", limit=20), folder_id=use.optional("folder_id", limit=300))
    count = use.number("count", 10, least=1, most=50)
    found = await automations.listed(use.deps, use.asked.principal, wanted, 1, count)
    rows = [_shown(times, row, limit=_SHOWN) for row in found["items"]]
    return {"automations": rows, "total": found["total"], "time_zone": times.name}


def _shown(times: Times, row: dict[str, Any], *, limit: int = MAX_PROMPT) -> dict[str, Any]:
    """An automation as a model reads it. prompt: cut where it is longer than the limit."""
    data, last = row["data"], row["last_run"]
    prompt = str(data.get("prompt") or "")
    shown = {
        "id": row["id"],
        "name": row["name"],
        "prompt": prompt if len(prompt) <= limit else f"{prompt[:limit]}...",
        "rrule": data.get("rrule"),
        "model_id": data.get("model_id"),
        "folder_id": row["folder_id"],
        "is_active": row["is_active"],
        "next_run": None if row["next_run_at"] is None else times.shown(row["next_run_at"]),
        "next_runs": [times.shown(at) for at in row["next_runs"] or ()] if row["is_active"] else None,
    }
    if last is not None:
        shown["last_run"] = {
            "at": times.shown(last.created_at), "status": last.status, "chat_id": last.chat_id, "error": last.error,
        }  # fmt: skip
    return {name: value for name, value in shown.items() if value not in (None, "", [])}


async def create(use: Use) -> dict[str, Any]:
    """One that asks the model which sets it up."""
    automations.check(use.deps, use.asked.principal)
    if not use.asked.model_id:
        raise BadRequest(NO_MODEL)
    data = {name: use.arguments.get(name) for name in ("prompt", "rrule")} | {"model_id": use.asked.model_id}
    values = {"name": use.arguments.get("name"), "data": data, "folder_id": use.optional("folder_id", limit=300)}
    form = formed(AutomationForm, values)
    try:
        made = await automations.create(use.deps, use.asked.principal, form)
    except NotFound:
        raise NotFound(NO_FOLDER) from None
    return await _told(use, made)


async def _told(use: Use, row: dict[str, Any]) -> dict[str, Any]:
    times = await Times.of(use)
    return _shown(times, row, limit=_SHOWN) | {"time_zone": times.name}


async def _get(use: Use) -> dict[str, Any]:
    try:
        return await automations.get(use.deps, use.asked.principal, use.text("automation_id", limit=300))
    except NotFound:
        raise NotFound(UNKNOWN) from None


async def update(use: Use) -> dict[str, Any]:
    """What is left out stays; an empty folder takes it out of its folder."""
    before, given = await _get(use), use.arguments
    changes = {name: given[name] for name in ("prompt", "rrule", "model_id") if name in given}
    own = {name: given[name] for name in ("name", "folder_id") if name in given}
    if not changes and not own:
        raise BadRequest(NOTHING)
    if "model_id" in changes:
        _check_model(use)
    values = {name: before[name] for name in ("name", "folder_id", "meta", "is_active")} | own
    form = formed(AutomationForm, values | {"folder_id": values["folder_id"] or None, "data": before["data"] | changes})
    try:
        changed = await automations.update(use.deps, use.asked.principal, before["id"], form)
    except NotFound:
        raise NotFound(NO_FOLDER if form.folder_id != before["folder_id"] else UNKNOWN) from None
    return await _told(use, changed)


def _check_model(use: Use) -> None:
    """Raises NotFound for a model that the person may not use: the first run would say so, when nobody looks on."""
    try:
        use.deps.catalogue.profile(use.asked.principal, use.text("model_id", limit=300))
    except NotFound:
        raise NotFound(UNKNOWN_MODEL) from None


async def toggle(use: Use) -> dict[str, Any]:
    before = await _get(use)
    try:
        return await _told(use, await automations.toggle(use.deps, use.asked.principal, before["id"]))
    except NotFound:
        raise NotFound(UNKNOWN) from None


async def delete(use: Use) -> dict[str, Any]:
    before = await _get(use)
    try:
        await automations.delete(use.deps, use.asked.principal, before["id"])
    except NotFound:
        raise NotFound(UNKNOWN) from None
    return {"deleted": before["id"], "name": before["name"]}
