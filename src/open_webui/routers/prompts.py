"""Prompts: texts that are called by a command, kept by people, shared, and brought back to earlier versions."""

from typing import Annotated, Any

from fastapi import Path, Query

from open_webui import constants
from open_webui.access.policy import USER
from open_webui.deps import AppState, Caller, Page
from open_webui.models import prompts as stored
from open_webui.models import repository
from open_webui.models.prompts import Prompt
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.prompts import MAX_TAG, AccessForm, MetadataForm, PromptForm, VersionForm
from open_webui.schemas.replies.shape import Shape
from open_webui.services import granted, prompts

router = new_router(prefix="/api/v1/prompts", tag="prompts")
LIST, READ, WRITE, CREATE = (USER.on("prompt", action) for action in ("list", "read", "write", "create"))
PromptId = Annotated[str, Path(alias="id", max_length=constants.MAX_ID)]
VersionId = Annotated[str, Path(max_length=constants.MAX_ID)]
AVersion = Annotated[str, Query(max_length=constants.MAX_ID)]
Text = Annotated[str | None, Query(max_length=500)]
Tag = Annotated[str | None, Query(max_length=MAX_TAG)]
# The pages of a history count from 0.
HistoryPage = Annotated[int, Query(ge=0, le=1_000_000)]


@router.get("/")
@allow(LIST)
async def list_prompts(
    state: AppState, caller: Caller
) -> "Annotated[list[Prompt], Shape(list[replies.prompts.Prompt])]":
    """The prompts that are on and that one may use."""
    return await prompts.listed(state, caller)


@router.get("/list")
@allow(LIST)
async def workspace(
    state: AppState,
    caller: Caller,
    *,
    query: Text = None,
    view_option: Text = None,
    tag: Tag = None,
    order_by: Text = None,
    direction: Text = None,
    page: Page = 1,
) -> "Annotated[dict[str, Any], Shape(replies.prompts.PromptsPage)]":
    """All prompts that one may use, 30 a page, each with whether one may change it."""
    wanted = repository.Query(text=query, view=view_option, sort=order_by, direction=direction, number=page)
    return await prompts.page(state, caller, wanted, tag)


@router.get("/tags")
@allow(LIST)
async def tags(state: AppState, caller: Caller) -> list[str]:
    """The tags on the prompts that one may use."""
    return await prompts.tags(state, caller)


@router.post("/create")
@allow(CREATE)
async def create(
    form: PromptForm, state: AppState, caller: Caller
) -> "Annotated[Prompt, Shape(replies.prompts.Prompt | None)]":
    """Keeps a new prompt; needs the permission workspace.prompts or workspace.prompts_import."""
    return await prompts.create(state, caller, form)


@router.get("/id/{id}")
@allow(READ)
async def get(
    prompt_id: PromptId, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.prompts.PromptWithAccess | None)]":
    """One prompt."""
    return await prompts.get(state, caller, prompt_id)


@router.post("/id/{id}/update")
@allow(WRITE)
async def update(
    prompt_id: PromptId, form: PromptForm, state: AppState, caller: Caller
) -> "Annotated[Prompt, Shape(replies.prompts.Prompt | None)]":
    """Changes a prompt: a new version of it, which is in use at once unless `is_production` is false."""
    return await prompts.update(state, caller, prompt_id, form)


@router.post("/id/{id}/update/meta")
@allow(WRITE)
async def update_metadata(
    prompt_id: PromptId, form: MetadataForm, state: AppState, caller: Caller
) -> "Annotated[Prompt, Shape(replies.prompts.Prompt | None)]":
    """Changes name, command and tags of a prompt, which makes no version."""
    return await prompts.set_metadata(state, caller, prompt_id, form)


@router.post("/id/{id}/update/version")
@allow(WRITE)
async def set_version(
    prompt_id: PromptId, form: VersionForm, state: AppState, caller: Caller
) -> "Annotated[Prompt, Shape(replies.prompts.Prompt | None)]":
    """Puts a version of a prompt in use."""
    return await prompts.set_version(state, caller, prompt_id, form.version_id)


@router.post("/id/{id}/access/update")
@allow(USER.on("prompt", "share"))
async def set_access(
    prompt_id: PromptId, form: AccessForm, state: AppState, caller: Caller
) -> "Annotated[Prompt, Shape(replies.prompts.Prompt | None)]":
    """Replaces the grants on a prompt."""
    return await granted.set_access(state, stored.repository, caller, prompt_id, form.access_grants)


@router.post("/id/{id}/toggle")
@allow(WRITE)
async def toggle(
    prompt_id: PromptId, state: AppState, caller: Caller
) -> "Annotated[Prompt, Shape(replies.prompts.Prompt | None)]":
    """Switches a prompt off or on."""
    return await prompts.toggle(state, caller, prompt_id)


@router.delete("/id/{id}/delete")
@allow(USER.on("prompt", "delete"))
async def delete(prompt_id: PromptId, state: AppState, caller: Caller) -> bool:
    """Removes a prompt with its versions."""
    return await granted.delete(state, stored.repository, caller, prompt_id)


@router.get("/id/{id}/history")
@allow(READ)
async def history(
    prompt_id: PromptId, state: AppState, caller: Caller, page: HistoryPage = 0
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.prompts.ListedVersion])]":
    """The versions of a prompt, the newest first, 20 a page from 0 on; the one in use alone for those who may not change it."""
    return await prompts.versions_of(state, caller, prompt_id, page)


@router.get("/id/{id}/history/diff")
@allow(WRITE)
async def difference(
    prompt_id: PromptId, state: AppState, caller: Caller, from_id: AVersion, to_id: AVersion
) -> "Annotated[dict[str, Any], Shape(replies.prompts.PromptDifference)]":
    """What differs between two versions of a prompt."""
    return await prompts.difference(state, caller, prompt_id, from_id, to_id)


@router.get("/id/{id}/history/{history_id}")
@allow(READ)
async def version(
    prompt_id: PromptId, history_id: VersionId, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.prompts.WholeVersion)]":
    """A version of a prompt; an earlier one for those who may change it."""
    return await prompts.version(state, caller, prompt_id, history_id)


@router.delete("/id/{id}/history/{history_id}")
@allow(WRITE)
async def remove_version(prompt_id: PromptId, history_id: VersionId, state: AppState, caller: Caller) -> bool:
    """Removes a version of a prompt that is not in use."""
    return await prompts.remove_version(state, caller, prompt_id, history_id)
