"""Pictures: made and changed by the engine of the settings, for pages and for clients of OpenAI's API."""

from typing import Annotated, Any, Final

from fastapi import Request, Response
from starlette.responses import StreamingResponse

from open_webui.access.policy import ADMIN, USER
from open_webui.deps import AppState, Caller, Page
from open_webui.routers.configs import save
from open_webui.routing import allow, encode, json_object, new_router
from open_webui.schemas import replies
from open_webui.schemas.images import CreateImageForm, EditImageForm, VerifyForm
from open_webui.schemas.replies.shape import Shape
from open_webui.services.images.making import PERMISSION, wire
from open_webui.state import State
from open_webui.utils.loading import load

router = new_router(prefix="/api/v1/images", tag="images")
# Not needed to start.
SERVICE: Final = "open_webui.services.images.service"
SETTINGS: Final = "open_webui.services.images.settings"
OPENAI: Final = "open_webui.services.images.openai_wire"
MAKES: Final = USER.needs(PERMISSION)
FORM: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image", "prompt"],
                    "properties": {
                        "image": {"type": "string", "contentMediaType": "image/*"},
                        "mask": {"type": "string", "contentMediaType": "image/*"},
                        "prompt": {"type": "string"},
                        "model": {"type": "string"},
                        "n": {"type": "string"},
                        "size": {"type": "string"},
                        "response_format": {"type": "string", "description": "b64_json, or url"},
                    },
                }
            }
        },
    }
}


@router.get("/config")
@allow(ADMIN)
async def config(state: AppState) -> "Annotated[dict[str, Any], Shape(replies.images.Config)]":
    """Which engines make and change pictures, with their addresses and keys."""
    shown: dict[str, Any] = (await load(SETTINGS)).wire(state.config)
    return shown


@router.post("/config/update")
@allow(ADMIN)
async def set_config(
    request: "Annotated[Request, Shape(replies.images.ConfigForm)]", state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.images.Config)]":
    """Changes the settings that are given; the others stay. Numbers and objects may come as texts."""
    settings = await load(SETTINGS)
    await save(state, settings.changes(await json_object(request)))
    shown: dict[str, Any] = settings.wire(state.config)
    return shown


@router.get("/models")
@allow(USER)
async def models(state: AppState) -> "Annotated[Any, Shape(list[replies.images.ImageModel])]":
    """The models of the engine that makes pictures."""
    return await (await load(SERVICE)).models(state)


@router.post("/verify")
@allow(ADMIN)
async def verify(form: VerifyForm, state: AppState) -> bool:
    """Asks an engine whether it is there and lets this server in; nothing is stored."""
    await (await load(SERVICE)).verify(state, form)
    return True


@router.get("/made")
@allow(USER.on("file", "list"))
async def made(
    state: AppState, caller: Caller, page: Page = 1
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.images.GalleryImage])]":
    """The pictures that were made for one, 50 a page, the last first."""
    found: list[dict[str, Any]] = await (await load(SERVICE)).gallery(state, caller, page)
    return found


@router.post("/generations")
@allow(MAKES)
async def generations(
    form: CreateImageForm, request: Request, state: AppState, caller: Caller
) -> "Annotated[Response, Shape(list[replies.images.MadeImage]), Shape(replies.images.OpenAIImages)]":
    """Makes pictures, which are files of the caller. Clients of OpenAI's API get its answer: those that send its packages'
    headers, or a field such as `response_format`.
    """
    theirs = await load(OPENAI)
    extra = form.model_extra or {}
    is_theirs = theirs.is_theirs(request.headers, extra)
    asked = theirs.form_of(extra) if is_theirs else ""
    kept = await (await load(SERVICE)).generate(state, caller, form)
    return await _openai(state, request, kept, asked) if is_theirs else _answer(kept)


@router.post("/edit")
@allow(MAKES)
async def edit(
    form: EditImageForm, state: AppState, caller: Caller
) -> "Annotated[Response, Shape(list[replies.images.MadeImage])]":
    """Changes pictures: addresses of files, data: URLs, or addresses of the web."""
    return _answer(await (await load(SERVICE)).edit(state, caller, form))


@router.post("/edits", openapi_extra=FORM)
@allow(MAKES)
async def edits(
    request: Request, state: AppState, caller: Caller
) -> "Annotated[Response, Shape(replies.images.OpenAIImages)]":
    """Changes pictures as OpenAI's API has it: a form with files."""
    theirs = await load(OPENAI)
    state.pictures.check(caller, changing=True)
    kind = request.headers.get("content-type", "")
    asked = await theirs.read(state, state.pictures, caller, kind, request.stream())
    form = theirs.form_of(asked.fields)
    kept = await (await load(SERVICE)).edits(state, caller, asked)
    return await _openai(state, request, kept, form)


def _answer(kept: Any) -> Response:
    return Response(encode(wire(kept)), media_type="application/json")


async def _openai(state: State, request: Request, kept: Any, form: str) -> Response:
    base = state.config["webui.url"].rstrip("/") or str(request.base_url).rstrip("/")
    pieces = (await load(OPENAI)).answer(state, kept, form, base)
    return StreamingResponse(pieces, media_type="application/json")
