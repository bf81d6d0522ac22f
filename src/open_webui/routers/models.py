"""Models: the list that everybody chooses from, and the workspace in which they are made."""

from typing import Annotated, Any, Final

from fastapi import Path, Query, Request, Response
from pydantic import BaseModel, Field

from open_webui.access.policy import ADMIN, USER
from open_webui.connections.ollama import OllamaConnection
from open_webui.connections.profiles import row_wire
from open_webui.constants import MAX_ID
from open_webui.deps import AppState, Caller, Page
from open_webui.errors import BadRequest, OuiError, ProviderError
from open_webui.models.repository import Query as Listing
from open_webui.routers.files import SAFE, serve
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.models import (
    AccessForm,
    ImportForm,
    ModelForm,
    ModelId,
    ModelIdForm,
    SyncForm,
    UnloadForm,
    VersionForm,
)
from open_webui.schemas.replies.shape import Media, Shape
from open_webui.services import files, models
from open_webui.utils.pictures import from_data_url

# The list, and the workspace: they have prefixes of their own.
catalogue = new_router(tag="model-list")
router = new_router(prefix="/api/v1/models", tag="models")

NO_PICTURE: Final = "/static/favicon.png"
READ, WRITE = USER.on("model", "read"), USER.on("model", "write")
Text = Annotated[str | None, Field(max_length=500)]
Id = Annotated[ModelId, Query()]
VersionId = Annotated[str, Path(max_length=MAX_ID)]


@catalogue.get("/api/models")
@catalogue.get("/api/v1/models")
@allow(USER.on("model", "list"))
async def all_models(
    state: AppState, caller: Caller, *, refresh: bool = False
) -> "Annotated[Response, Shape(replies.connections.ListedModels)]":
    """The models that the caller may use.

    refresh (administrators): the connections are asked again.
    """
    return Response(await state.catalogue.listed(caller, refresh=refresh), media_type="application/json")


@catalogue.get("/api/models/base")
@allow(ADMIN)
async def provider_models(state: AppState) -> "Annotated[dict[str, Any], Shape(replies.connections.OfferedModels)]":
    """What the connections list."""
    await state.catalogue.wait_for_lists()
    return {"data": state.catalogue.base_models()}


@catalogue.post("/api/models/unload")
@allow(ADMIN)
async def unload(
    form: UnloadForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.server.Done)]":
    """Lets go of a model's memory, where its server can."""
    target = await state.gate.target(caller, form.model)
    if not isinstance(target.connection, OllamaConnection):
        raise BadRequest("The provider of this model does not unload models on request.")
    try:
        await state.gate.call(caller, target, "/api/generate", {"keep_alive": 0})
    except ProviderError as error:
        raise OuiError(error.detail, status=502) from error
    return {"status": True}


class Filters(BaseModel):
    """How the workspace's list is narrowed and ordered."""

    query: Text = None
    view_option: Text = None
    tag: Text = None
    order_by: Text = None
    direction: Text = None
    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1

    def asked(self) -> Listing:
        return Listing(
            text=self.query, view=self.view_option, sort=self.order_by, direction=self.direction, number=self.page
        )


@router.get("/list")
@allow(READ)
async def workspace(
    state: AppState, caller: Caller, filters: Annotated[Filters, Query()]
) -> "Annotated[dict[str, Any], Shape(replies.models.ModelsPage)]":
    """The custom models that the caller may read, 30 a page."""
    return await models.listed(state, caller, filters.asked(), filters.tag)


@router.get("/all")
@allow(ADMIN)
async def every(state: AppState) -> "Annotated[list[dict[str, Any]], Shape(list[replies.models.Model])]":
    """All custom models, and the rows about connections' own."""
    return await models.every(state)


@router.get("/base")
@allow(ADMIN)
async def base(state: AppState) -> "Annotated[list[dict[str, Any]], Shape(list[replies.models.Model])]":
    """The rows about connections' own models."""
    return [row_wire(row, params=True) for row in await models.overrides(state)]


@router.get("/base/tags")
@allow(ADMIN)
async def base_tags(state: AppState) -> list[str]:
    """The tags of connections' own models."""
    return await models.override_tags(state)


@router.get("/tags")
@allow(READ)
async def tags(state: AppState, caller: Caller) -> list[str]:
    """The tags of custom models that one may read."""
    return await models.tags(state, caller)


@router.post("/create")
@allow(USER.on("model", "create").keeping_files())
async def create(
    form: ModelForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.models.Model | None)]":
    """Makes a model of another one."""
    models.check_permission(caller, "workspace.models")
    return await models.create(state, caller, form)


@router.get("/export")
@allow(READ)
async def export(
    state: AppState, caller: Caller, ids: Annotated[list[str] | None, Query(max_length=1_000)] = None
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.models.ModelExport])]":
    """The caller's models, whole."""
    models.check_permission(caller, "workspace.models_export")
    return await models.exported(state, caller, ids)


@router.post("/import")
@allow(USER.on("model", "create").keeping_files())
async def import_models(form: ImportForm, state: AppState, caller: Caller) -> bool:
    """Makes or changes the models of an export."""
    models.check_permission(caller, "workspace.models_import")
    return await models.import_models(state, caller, form.models)


@router.post("/sync")
@allow(ADMIN.keeping_files())
async def sync(
    form: SyncForm, state: AppState, caller: Caller
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.models.Model])]":
    """Makes the models those of a list: others are removed. An empty list changes nothing."""
    return await models.sync(state, caller, form.models)


@router.get("/model")
@allow(READ)
async def one(
    state: AppState,
    caller: Caller,
    id: Id,  # noqa: A002
) -> "Annotated[dict[str, Any], Shape(replies.models.ModelWithAccess | None)]":
    """A custom model."""
    return await models.get(state, caller, id)


@router.get("/model/profile/image")
@allow(READ)
async def picture(
    request: Request,
    state: AppState,
    caller: Caller,
    id: Annotated[str, Query(max_length=500)],  # noqa: A002
) -> "Annotated[Response, Media('image/*', also=(302, 304))]":
    """A model's picture, or the way to the one that all have."""
    url = models.picture(state, caller, id) or ""
    file = await files.picture_of(state, "model_id", id, url)
    if file is not None:
        return await serve(state.blobs, file, request)
    found = from_data_url(url)
    if found is None:
        return Response(status_code=302, headers={"location": NO_PICTURE})
    return Response(found[0], media_type=found[1], headers=SAFE)


@router.post("/model/update")
@allow(WRITE.keeping_files())
async def update(
    form: ModelForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.models.Model | None)]":
    """Changes a model."""
    return await models.update(state, caller, form)


@router.post("/model/toggle")
@allow(WRITE)
async def toggle(
    state: AppState,
    caller: Caller,
    id: Id,  # noqa: A002
) -> "Annotated[dict[str, Any], Shape(replies.models.Model | None)]":
    """Switches a model off or on."""
    return await models.toggle(state, caller, id)


@router.post("/model/access/update")
@allow(USER.on("model", "share"))
async def set_access(
    form: AccessForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.models.Model | None)]":
    """Sets who may use a model."""
    return await models.set_access(state, caller, form.id, form.access_grants)


@router.post("/model/delete")
@allow(USER.on("model", "delete"))
async def delete(form: ModelIdForm, state: AppState, caller: Caller) -> bool:
    """Removes a custom model."""
    return await models.delete(state, caller, form.id)


@router.delete("/delete/all")
@allow(ADMIN)
async def delete_all(state: AppState) -> bool:
    """Removes all custom models."""
    return await models.delete_all(state)


@router.get("/model/history")
@allow(READ)
async def history(
    state: AppState,
    caller: Caller,
    id: Id,  # noqa: A002
    page: Page = 1,
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.models.ModelVersion])]":
    """The versions of a model, the newest first, 30 a page."""
    return await models.versions_of(state, caller, id, page)


@router.get("/model/history/{history_id}")
@allow(WRITE)
async def history_entry(
    history_id: VersionId,
    state: AppState,
    caller: Caller,
    id: Id,  # noqa: A002
) -> "Annotated[dict[str, Any], Shape(replies.models.ModelHistory)]":
    """A version of a model, whole, for those who may change the model."""
    return await models.version(state, caller, id, history_id)


@router.delete("/model/history/{history_id}")
@allow(WRITE)
async def delete_history_entry(history_id: VersionId, state: AppState, caller: Caller, id: Id) -> bool:  # noqa: A002
    """Removes a version of a model that is not in use."""
    return await models.remove_version(state, caller, id, history_id)


@router.post("/model/update/version")
@allow(WRITE)
async def set_version(
    form: VersionForm,
    state: AppState,
    caller: Caller,
    id: Id,  # noqa: A002
) -> "Annotated[dict[str, Any], Shape(replies.models.Model)]":
    """Brings an earlier version of a model back."""
    return await models.set_version(state, caller, id, form.version_id)
