"""Pipelines servers, as an admin looks after them: their pipelines, and what is set of these."""

from typing import Annotated, Any, Final

from fastapi import Body, Path, Query, Request
from fastapi.exceptions import RequestValidationError

from open_webui.access.policy import ADMIN
from open_webui.connections import pipelines
from open_webui.connections.specs import check_url
from open_webui.deps import AppState, Caller
from open_webui.errors import TooLarge
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.pipelines import AddPipelineForm, DeletePipelineForm, Valves
from open_webui.schemas.replies.shape import Shape
from open_webui.utils.multipart import Form

router = new_router(prefix="/api/v1/pipelines", tag="pipelines")
# The place of the server among the connections that speak OpenAI's wire.
Index = Annotated[int, Query(alias="urlIdx", ge=0, le=1_000)]
MaybeIndex = Annotated[int | None, Query(alias="urlIdx", ge=0, le=1_000)]
PipelineId = Annotated[str, Path(max_length=500)]
FORM: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["urlIdx", "file"],
                    "properties": {
                        "urlIdx": {"type": "integer"},
                        "file": {"type": "string", "contentMediaType": "application/octet-stream"},
                    },
                }
            }
        },
    }
}


@router.get("/list")
@allow(ADMIN)
async def servers(state: AppState) -> "Annotated[dict[str, Any], Shape(replies.connections.PipelinesServers)]":
    """The connections that are pipelines servers: address and place among the connections."""
    return {"data": await pipelines.listed(state.catalogue)}


@router.get("/")
@allow(ADMIN)
async def listed(
    state: AppState, caller: Caller, index: MaybeIndex = None
) -> "Annotated[Any, Shape(replies.connections.Pipelines)]":
    """The pipelines of a server, as it lists them."""
    return await pipelines.ask(state.catalogue, caller, index, "GET", "/pipelines")


@router.post("/add")
@allow(ADMIN.freshly_proven())
async def add(
    form: AddPipelineForm, state: AppState, caller: Caller
) -> "Annotated[Any, Shape(replies.connections.PipelinesAnswer)]":
    """Has a server fetch a pipeline from an address."""
    body = {"url": check_url(form.url)}
    path, seconds = "/pipelines/add", pipelines.CHANGE_SECONDS
    answer = await pipelines.ask(state.catalogue, caller, form.urlIdx, "POST", path, body, timeout=seconds)
    state.catalogue.look_again()
    return answer


@router.post("/upload", openapi_extra=FORM)
@allow(ADMIN.freshly_proven())
async def upload(
    request: Request, state: AppState, caller: Caller
) -> "Annotated[Any, Shape(replies.connections.PipelinesAnswer)]":
    """Sends a server the text of a pipeline, a file that ends with .py."""
    index, filename, text = await _read(request)
    answer = await pipelines.upload(state.catalogue, caller, index, filename, text)
    state.catalogue.look_again()
    return answer


async def _read(request: Request) -> tuple[int, str, bytes]:
    """The place, the file's name and its bytes. Raises as a form that is checked, TooLarge."""
    index, filename, text = "", "", None
    kind = request.headers.get("content-type", "")
    form = Form(kind, request.stream()) if kind.lower().startswith("multipart/form-data") else ()
    if isinstance(form, Form):
        async for part in form:
            if part.name == "urlIdx":
                index = (await form.text(1_000)).strip()
            elif part.name == "file" and part.filename is not None:
                filename, text = part.filename.replace("\\", "/").rpartition("/")[2], b""
                async for piece in form.content():
                    text += piece
                    if len(text) > pipelines.MAX_FILE:
                        raise TooLarge(f"A pipeline may have {pipelines.MAX_FILE:,} bytes.")
    is_place = index.isascii() and index.isdigit() and len(index) < 5
    missing = [name for name, there in (("urlIdx", is_place), ("file", text is not None)) if not there]
    if missing or text is None:
        errors = [{"type": "missing", "loc": ("body", n), "msg": "Field required", "input": None} for n in missing]
        raise RequestValidationError(errors)
    return int(index), filename, text


@router.delete("/delete")
@allow(ADMIN)
async def delete(
    form: DeletePipelineForm, state: AppState, caller: Caller
) -> "Annotated[Any, Shape(replies.connections.PipelinesAnswer)]":
    """Removes a pipeline from its server."""
    path, body = "/pipelines/delete", {"id": form.id}
    answer = await pipelines.ask(state.catalogue, caller, form.urlIdx, "DELETE", path, body)
    state.catalogue.look_again()
    return answer


@router.get("/{pipeline_id}/valves")
@allow(ADMIN)
async def valves(
    pipeline_id: PipelineId, index: Index, state: AppState, caller: Caller
) -> "Annotated[Any, Shape(replies.connections.PipelinesAnswer)]":
    """What is set of a pipeline."""
    return await pipelines.valves(state.catalogue, caller, index, pipeline_id)


@router.get("/{pipeline_id}/valves/spec")
@allow(ADMIN)
async def valves_spec(
    pipeline_id: PipelineId, index: Index, state: AppState, caller: Caller
) -> "Annotated[Any, Shape(replies.connections.PipelinesAnswer)]":
    """The form of what can be set of a pipeline, as a JSON schema."""
    return await pipelines.valves(state.catalogue, caller, index, pipeline_id, "/spec")


@router.post("/{pipeline_id}/valves/update")
@allow(ADMIN)
async def set_valves(
    pipeline_id: PipelineId, index: Index, valves: Annotated[Valves, Body()], state: AppState, caller: Caller
) -> "Annotated[Any, Shape(replies.connections.PipelinesAnswer)]":
    """Sets a pipeline."""
    answer = await pipelines.set_valves(state.catalogue, caller, index, pipeline_id, valves)
    # Which models a filter is for, and when it is run, may be among them.
    state.catalogue.look_again()
    return answer
