"""Functions: Python of the server's admins that takes part in answers, as models (pipes), filters, actions and events."""

from typing import Annotated, Any

from fastapi import Path, Query

from open_webui import constants
from open_webui.access.policy import ADMIN, USER
from open_webui.deps import AppState, Caller, Page
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.plugins import FunctionForm, LoadForm, SyncForm, Valves, VersionForm
from open_webui.schemas.replies.shape import Shape
from open_webui.services import functions, plugins

router = new_router(prefix="/api/v1/functions", tag="functions")
USED = USER.on("function", "use")
FunctionId = Annotated[str, Path(alias="id", max_length=constants.MAX_ID)]
VersionId = Annotated[str, Path(max_length=constants.MAX_ID)]
AVersion = Annotated[str, Query(max_length=constants.MAX_ID)]
THEIRS = ADMIN.on("function", "admin")


@router.get("/")
@allow(USER.on("function", "list"))
async def list_functions(
    state: AppState, caller: Caller
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.plugins.Function])]":
    """The functions that are switched on; for administrators all."""
    return await functions.listed(state, caller)


@router.get("/list")
@allow(THEIRS)
async def list_with_owners(
    state: AppState, caller: Caller
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.plugins.ListedFunction])]":
    """All functions, and who wrote them."""
    return await functions.listed_with_owners(state, caller)


@router.get("/export")
@allow(THEIRS)
async def export(
    state: AppState, include_valves: bool = False
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.plugins.ExportedFunction])]":
    """All functions, whole. include_valves: with what is set of them."""
    return await functions.exported(state, with_valves=include_valves)


@router.post("/load/url")
@allow(ADMIN)
async def load(form: LoadForm, state: AppState) -> "Annotated[dict[str, Any], Shape(replies.plugins.Loaded | None)]":
    """The text that lies at an address of the web, to be looked at and saved."""
    return await plugins.fetch(state, form.url)


@router.post("/sync")
@allow(THEIRS.freshly_proven())
async def sync(
    form: SyncForm, state: AppState, caller: Caller
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.plugins.ExportedFunction])]":
    """Makes the functions of this server those of an export. Those that are not in it are removed."""
    return await functions.sync(state, caller, form.functions)


@router.post("/create")
@allow(ADMIN.on("function", "create").freshly_proven())
async def create(
    form: FunctionForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.plugins.Function | None)]":
    """Keeps a new function, switched off."""
    return await functions.create(state, caller, form)


@router.get("/id/{id}")
@allow(THEIRS)
async def get(
    function_id: FunctionId, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.plugins.WholeFunction | None)]":
    """A function, whole."""
    return await functions.get(state, function_id)


@router.post("/id/{id}/update")
@allow(THEIRS.freshly_proven())
async def update(
    function_id: FunctionId, form: FunctionForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.plugins.WholeFunction | None)]":
    """Changes a function: a new version of it."""
    return await functions.update(state, caller, function_id, form)


@router.post("/id/{id}/update/version")
@allow(THEIRS.freshly_proven())
async def set_version(
    function_id: FunctionId, form: VersionForm, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.plugins.WholeFunction)]":
    """Brings an earlier version of a function back."""
    return await functions.set_version(state, function_id, form.version_id)


@router.post("/id/{id}/toggle")
@allow(THEIRS)
async def toggle(
    function_id: FunctionId, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.plugins.WholeFunction | None)]":
    """Switches a function on or off."""
    return await functions.toggle(state, function_id, "is_active")


@router.post("/id/{id}/toggle/global")
@allow(THEIRS)
async def toggle_global(
    function_id: FunctionId, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.plugins.WholeFunction | None)]":
    """Has a function take part with all models, or no longer."""
    return await functions.toggle(state, function_id, "is_global")


@router.delete("/id/{id}/delete")
@allow(THEIRS)
async def delete(function_id: FunctionId, state: AppState) -> bool:
    """Removes a function with its versions and what people set of it."""
    return await functions.delete(state, function_id)


# What is set of it


@router.get("/id/{id}/valves")
@allow(THEIRS)
async def valves(
    function_id: FunctionId, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.plugins.Values)]":
    """What is set of a function."""
    return await functions.valves(state, function_id)


@router.get("/id/{id}/valves/spec")
@allow(THEIRS)
async def valves_form(
    function_id: FunctionId, state: AppState
) -> "Annotated[dict[str, Any] | None, Shape(replies.plugins.Schema | None)]":
    """The JSON schema of what can be set of a function."""
    return await functions.valves_form(state, function_id)


@router.post("/id/{id}/valves/update")
@allow(THEIRS)
async def set_valves(
    function_id: FunctionId, form: Valves, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.plugins.Values)]":
    """Sets it, for all whom the function concerns."""
    return await functions.set_valves(state, function_id, form)


@router.get("/id/{id}/valves/user")
@allow(USED)
async def own_valves(
    function_id: FunctionId, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.plugins.Values)]":
    """What one set of a function for oneself."""
    return await functions.own_valves(state, caller, function_id)


@router.get("/id/{id}/valves/user/spec")
@allow(USED)
async def own_valves_form(
    function_id: FunctionId, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any] | None, Shape(replies.plugins.Schema | None)]":
    """The JSON schema of that."""
    return await functions.own_valves_form(state, caller, function_id)


@router.post("/id/{id}/valves/user/update")
@allow(USED)
async def set_own_valves(
    function_id: FunctionId, form: Valves, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.plugins.Values)]":
    """Sets something of a function for oneself; needs the permission chat.valves."""
    return await functions.set_own_valves(state, caller, function_id, form)


# Its history


@router.get("/id/{id}/history")
@allow(THEIRS)
async def history(
    function_id: FunctionId, state: AppState, page: Page = 1
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.plugins.FunctionVersion])]":
    """The versions of a function, the newest first, 30 a page."""
    return await functions.versions_of(state, function_id, page)


@router.get("/id/{id}/history/diff")
@allow(THEIRS)
async def difference(
    function_id: FunctionId, state: AppState, from_id: AVersion, to_id: AVersion
) -> "Annotated[dict[str, Any], Shape(replies.plugins.Difference)]":
    """What differs between two versions of a function."""
    return await functions.difference(state, function_id, from_id, to_id)


@router.get("/id/{id}/history/{history_id}")
@allow(THEIRS)
async def version(
    function_id: FunctionId, history_id: VersionId, state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.plugins.WholeFunctionVersion)]":
    """A version of a function, whole."""
    return await functions.version(state, function_id, history_id)


@router.delete("/id/{id}/history/{history_id}")
@allow(THEIRS)
async def remove_version(function_id: FunctionId, history_id: VersionId, state: AppState) -> bool:
    """Removes a version of a function that is not in use."""
    return await functions.remove_version(state, function_id, history_id)
