"""Tools: Python that models may call, kept by people, shared, and set."""

from typing import Annotated, Any

from fastapi import Path, Query

from open_webui import constants
from open_webui.access.policy import ADMIN, USER
from open_webui.deps import AppState, Caller, Page
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.plugins import AccessForm, LoadForm, ToolForm, Valves, VersionForm
from open_webui.schemas.replies.shape import Object, Shape
from open_webui.services import plugins, tools

router = new_router(prefix="/api/v1/tools", tag="tools")
LIST, READ, WRITE = (USER.on("tool", action) for action in ("list", "read", "write"))
ToolId = Annotated[str, Path(alias="id", max_length=constants.MAX_ID)]
VersionId = Annotated[str, Path(max_length=constants.MAX_ID)]
AVersion = Annotated[str, Query(max_length=constants.MAX_ID)]
Text = Annotated[str | None, Query(max_length=500)]


@router.get("/")
@allow(LIST)
async def list_tools(
    state: AppState, caller: Caller, query: Text = None
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.plugins.ListedTool])]":
    """The tools that one may use, and the servers of tools."""
    return [*await tools.listed(state, caller, query), *await state.tool_servers.listed_for(caller, query)]


@router.get("/list")
@allow(LIST)
async def workspace(
    state: AppState, caller: Caller
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.plugins.ToolWithAccess])]":
    """The tools that one may use, and whether one may change them."""
    return await tools.workspace(state, caller)


@router.post("/load/url")
@allow(ADMIN)
async def load(form: LoadForm, state: AppState) -> "Annotated[dict[str, Any], Shape(replies.plugins.Loaded | None)]":
    """The text that lies at an address of the web, to be looked at and saved."""
    return await plugins.fetch(state, form.url)


@router.get("/export")
@allow(LIST)
async def export(
    state: AppState, caller: Caller
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.plugins.WholeTool])]":
    """The tools that one may change, whole; needs the permission workspace.tools_export."""
    return await tools.exported(state, caller)


@router.post("/create")
@allow(USER.on("tool", "create").freshly_proven())
async def create(
    form: ToolForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.plugins.Tool | None)]":
    """Keeps a new tool; needs the permission workspace.tools or workspace.tools_import, like all that changes a tool's text."""
    return await tools.create(state, caller, form)


@router.get("/id/{id}")
@allow(READ)
async def get(
    tool_id: ToolId, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.plugins.ToolWithAccess | None)]":
    """A tool; with its text for those who may change it."""
    return await tools.get(state, caller, tool_id)


@router.post("/id/{id}/update")
@allow(WRITE.freshly_proven())
async def update(
    tool_id: ToolId, form: ToolForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.plugins.WholeTool | None)]":
    """Changes a tool: a new version of it."""
    return await tools.update(state, caller, tool_id, form)


@router.post("/id/{id}/update/version")
@allow(WRITE.freshly_proven())
async def set_version(
    tool_id: ToolId, form: VersionForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.plugins.WholeTool)]":
    """Brings an earlier version of a tool back."""
    return await tools.set_version(state, caller, tool_id, form.version_id)


@router.post("/id/{id}/access/update")
@allow(USER.on("tool", "share"))
async def set_access(
    tool_id: ToolId, form: AccessForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.plugins.WholeTool | None)]":
    """Replaces the grants on a tool."""
    return await tools.set_access(state, caller, tool_id, form.access_grants)


@router.delete("/id/{id}/delete")
@allow(USER.on("tool", "delete"))
async def delete(tool_id: ToolId, state: AppState, caller: Caller) -> bool:
    """Removes a tool with its versions and what people set of it."""
    return await tools.delete(state, caller, tool_id)


@router.get("/id/{id}/specs")
@allow(READ)
async def specs(tool_id: ToolId, state: AppState, caller: Caller) -> "Annotated[list[Any], Shape(list[Object])]":
    """What models are told of a tool."""
    return await tools.specs(state, caller, tool_id)


# What is set of it


@router.get("/id/{id}/valves")
@allow(WRITE)
async def valves(
    tool_id: ToolId, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.plugins.Values)]":
    """What is set of a tool, for those who may change it."""
    return await tools.valves(state, caller, tool_id)


@router.get("/id/{id}/valves/spec")
@allow(WRITE)
async def valves_form(
    tool_id: ToolId, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any] | None, Shape(replies.plugins.Schema | None)]":
    """The JSON schema of what can be set of a tool."""
    return await tools.valves_form(state, caller, tool_id)


@router.post("/id/{id}/valves/update")
@allow(WRITE)
async def set_valves(
    tool_id: ToolId, form: Valves, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.plugins.Values)]":
    """Sets it, for all who use the tool."""
    return await tools.set_valves(state, caller, tool_id, form)


@router.get("/id/{id}/valves/user")
@allow(READ)
async def own_valves(
    tool_id: ToolId, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.plugins.Values)]":
    """What one set of a tool for oneself."""
    return await tools.own_valves(state, caller, tool_id)


@router.get("/id/{id}/valves/user/spec")
@allow(READ)
async def own_valves_form(
    tool_id: ToolId, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any] | None, Shape(replies.plugins.Schema | None)]":
    """The JSON schema of that."""
    return await tools.own_valves_form(state, caller, tool_id)


@router.post("/id/{id}/valves/user/update")
@allow(READ)
async def set_own_valves(
    tool_id: ToolId, form: Valves, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.plugins.Values)]":
    """Sets something of a tool for oneself; needs the permission chat.valves."""
    return await tools.set_own_valves(state, caller, tool_id, form)


# Its history


@router.get("/id/{id}/history")
@allow(WRITE)
async def history(
    tool_id: ToolId, state: AppState, caller: Caller, page: Page = 1
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.plugins.ToolVersion])]":
    """The versions of a tool, the newest first, 30 a page."""
    return await tools.versions_of(state, caller, tool_id, page)


@router.get("/id/{id}/history/diff")
@allow(WRITE)
async def difference(
    tool_id: ToolId, state: AppState, caller: Caller, from_id: AVersion, to_id: AVersion
) -> "Annotated[dict[str, Any], Shape(replies.plugins.Difference)]":
    """What differs between two versions of a tool."""
    return await tools.difference(state, caller, tool_id, from_id, to_id)


@router.get("/id/{id}/history/{history_id}")
@allow(WRITE)
async def version(
    tool_id: ToolId, history_id: VersionId, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.plugins.WholeToolVersion)]":
    """A version of a tool, whole."""
    return await tools.version(state, caller, tool_id, history_id)


@router.delete("/id/{id}/history/{history_id}")
@allow(WRITE)
async def remove_version(tool_id: ToolId, history_id: VersionId, state: AppState, caller: Caller) -> bool:
    """Removes a version of a tool that is not in use."""
    return await tools.remove_version(state, caller, tool_id, history_id)
