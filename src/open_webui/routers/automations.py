"""Automations: prompts that are asked at their time."""

from typing import Annotated, Any

from fastapi import Path, Query

from open_webui import constants
from open_webui.access.policy import USER
from open_webui.deps import AppState, Caller, OptionalPage
from open_webui.models.automations import Run
from open_webui.models.repository import MAX_OFFSET
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.automations import AutomationForm
from open_webui.schemas.replies.shape import Shape
from open_webui.services import automations

router = new_router(prefix="/api/v1/automations", tag="automations")
LIST, READ, WRITE = (USER.on("automation", action) for action in ("list", "read", "write"))
AutomationId = Annotated[str, Path(alias="id", max_length=constants.MAX_ID)]
Text = Annotated[str | None, Query(max_length=500)]
Skip = Annotated[int, Query(ge=0, le=MAX_OFFSET)]
Limit = Annotated[int, Query(ge=1, le=200)]


@router.get("/list")
@allow(LIST)
async def list_automations(
    state: AppState,
    caller: Caller,
    query: Text = None,
    status: Text = None,
    folder_id: Text = None,
    page: OptionalPage = 1,
) -> "Annotated[dict[str, Any], Shape(replies.automations.AutomationsPage)]":
    """One's automations, 30 a page, the newest first. status: active or paused."""
    wanted = automations.Wanted(text=query, status=status, folder_id=folder_id)
    return await automations.listed(state, caller, wanted, page or 1)


@router.post("/create")
@allow(USER.on("automation", "create"))
async def create(
    state: AppState, caller: Caller, form: AutomationForm
) -> "Annotated[dict[str, Any], Shape(replies.automations.Automation)]":
    """Makes an automation, which is asked from its next time on."""
    return await automations.create(state, caller, form)


@router.get("/{id}")
@allow(READ)
async def get(
    state: AppState, caller: Caller, automation_id: AutomationId
) -> "Annotated[dict[str, Any], Shape(replies.automations.Automation)]":
    """One automation, with its next five times."""
    return await automations.get(state, caller, automation_id)


@router.post("/{id}/update")
@allow(WRITE)
async def update(
    state: AppState, caller: Caller, automation_id: AutomationId, form: AutomationForm
) -> "Annotated[dict[str, Any], Shape(replies.automations.Automation)]":
    """Changes an automation. A rule without a beginning counts from now on."""
    return await automations.update(state, caller, automation_id, form)


@router.post("/{id}/toggle")
@allow(WRITE)
async def toggle(
    state: AppState, caller: Caller, automation_id: AutomationId
) -> "Annotated[dict[str, Any], Shape(replies.automations.Automation)]":
    """Switches an automation off, or on."""
    return await automations.toggle(state, caller, automation_id)


@router.post("/{id}/run")
@allow(WRITE)
async def run(
    state: AppState, caller: Caller, automation_id: AutomationId
) -> "Annotated[dict[str, Any], Shape(replies.automations.Automation)]":
    """Has an automation asked now, also one that is off."""
    return await automations.run_now(state, caller, automation_id)


@router.delete("/{id}/delete")
@allow(USER.on("automation", "delete"))
async def delete(state: AppState, caller: Caller, automation_id: AutomationId) -> bool:
    """Removes an automation with what is noted of its runs. Their chats stay."""
    return await automations.delete(state, caller, automation_id)


@router.get("/{id}/runs")
@allow(READ)
async def runs(
    state: AppState, caller: Caller, automation_id: AutomationId, skip: Skip = 0, limit: Limit = 50
) -> "Annotated[list[Run], Shape(list[replies.automations.AutomationRun])]":
    """The runs of an automation that are over, the newest first."""
    return await automations.runs_of(state, caller, automation_id, skip, limit)
