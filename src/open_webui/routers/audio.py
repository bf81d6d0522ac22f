"""Speech: its settings, what speaks and listens, and the two addresses of OpenAI's packages: speech and transcriptions."""

import functools
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated, Any, Final

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from open_webui import constants
from open_webui.access.policy import ADMIN, USER, declare
from open_webui.audio.base import NoEngine, Speech
from open_webui.audio.local import room
from open_webui.chat.delivery.transcripts import Transcribed
from open_webui.deps import AppState, Caller
from open_webui.errors import BadRequest, ProviderError
from open_webui.internal.log import get_logger
from open_webui.principal import Principal
from open_webui.routers.configs import save
from open_webui.routing import Json, allow, credential, json_object, new_router, unless_gone
from open_webui.schemas import replies
from open_webui.schemas.replies.shape import Media, Shape
from open_webui.services.audio import settings
from open_webui.services.audio.hearing import NoRecording, Sent
from open_webui.state import State
from open_webui.utils.loading import load

log = get_logger(__name__)
# Not needed to start.
AUDIO: Final = "open_webui.services.audio"
router = new_router(prefix="/api/v1/audio", tag="audio")
# The same for clients whose base address is that of the provider's wire.
below_openai = new_router(tag="audio")
# Speech is for who asked for it; what it is, is said and not guessed.
_HEADERS: Final = {"cache-control": "private, no-store", "x-content-type-options": "nosniff"}
FORM: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "contentMediaType": "application/octet-stream"},
                        "language": {
                            "type": "string",
                            "description": "A code such as 'en'; left out: it is found out.",
                        },
                        "response_format": {"type": "string", "enum": ["json", "text", "verbose_json"]},
                        "stream": {
                            "type": "boolean",
                            "description": "Whether the words come as they are heard, as OpenAI's server-sent events.",
                        },
                    },
                }
            }
        },
    }
}


@router.get("/config")
@allow(ADMIN)
async def config(state: AppState) -> "Annotated[dict[str, Any], Shape(replies.audio.Config)]":
    """Who speaks and who listens, and where calls would go."""
    return settings.wire(state.config)


@router.post("/config/update")
@allow(ADMIN)
async def set_config(
    request: "Annotated[Request, Shape(replies.audio.ConfigForm)]", state: AppState
) -> "Annotated[dict[str, Any], Shape(replies.audio.Config)]":
    """Changes the settings that are given; the others stay. Refused is an engine that there is not."""
    await save(state, settings.changes(await json_object(request)))
    return settings.wire(state.config)


@router.get("/voices")
@allow(USER)
async def voices(state: AppState) -> "Annotated[dict[str, Any], Shape(replies.audio.Voices)]":
    """The voices of the engine that speaks; none where it can't be asked."""
    try:
        found = await state.audio.speaking.voices()
    except (NoEngine, ProviderError) as error:
        log.info("voices are not listed", reason=error.detail)
        found = []
    return {"voices": [{"id": one.id, "name": one.name} for one in found]}


@router.get("/models")
@allow(USER)
async def models(state: AppState) -> "Annotated[dict[str, Any], Shape(replies.audio.SpeechModels)]":
    """The models of the engine that speaks; none where it can't be asked."""
    try:
        found = await state.audio.speaking.models()
    except (NoEngine, ProviderError) as error:
        log.info("models of speech are not listed", reason=error.detail)
        found = []
    return {"models": [{"id": one.id, "name": one.name} for one in found]}


@router.post("/speech")
@below_openai.post("/openai/audio/speech")
@allow(USER.needs("chat.tts"))
async def speech(
    request: "Annotated[Request, Shape(replies.audio.SpeechForm)]", state: AppState, caller: Caller
) -> "Annotated[Response, Media('audio/*')]":
    """Speaks a text, as it comes from the engine. The format is that of `response_format`, or else one of the header `Accept`
    (406: none of its types can be given), or else the engine's own. What the speech is, its content type says: where the format
    of `response_format` can't be given it is another one. The model is the server's, whichever is named.
    """
    try:
        body = await request.json()
    except json.JSONDecodeError:
        raise BadRequest(constants.BAD_JSON) from None
    if not isinstance(body, dict):
        raise BadRequest(constants.BAD_JSON)
    return await unless_gone(request, _begun(request, state, caller, body))


async def _begun(request: Request, state: State, caller: Principal, body: dict[str, Any]) -> Response:
    """The response once its first bytes are there: what fails before is an error with a status."""
    async with AsyncExitStack() as stack:
        with state.streams.reserve(caller):
            accept = ",".join(request.headers.getlist("accept"))
            spoken: Speech = await stack.enter_async_context(state.audio.speaking.speak(caller, body, accept))
            first = await anext(spoken.pieces, b"")
        response = _Spoken(stack.pop_all(), first, spoken)
    token, _ = credential(request)
    return response if token is None else state.streams.bind(token, caller, response)


class _Spoken(StreamingResponse):
    """Speech as it comes; what it comes from is closed however it ends."""

    def __init__(self, stack: AsyncExitStack, first: bytes, spoken: Speech) -> None:
        self._stack = stack
        super().__init__(_from(first, spoken.pieces), media_type=spoken.mime, headers=_HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # What goes wrong amid the speech passes through it, and counts as what it is.
        async with self._stack:
            await super().__call__(scope, receive, send)


async def _from(first: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in pieces:
        yield piece


@router.post("/transcriptions", openapi_extra=FORM)
@allow(USER.needs("chat.stt"))
async def transcriptions(
    request: Request, state: AppState, caller: Caller
) -> "Annotated[Response, Shape(replies.audio.Transcript), Media('text/plain'), Media('text/event-stream')]":
    """Writes down what is said in a recording, and keeps it for an hour as a file of the caller's. With `stream` the words come
    as they are heard, as OpenAI's events `transcript.text.delta` and `transcript.text.done`; the format says nothing then.
    """
    kind = request.headers.get("content-type", "")
    async with AsyncExitStack() as stack:
        with state.streams.reserve(caller):
            folder = await stack.enter_async_context(room())
            try:
                sent = await state.audio.hearing.take(kind, request.stream(), folder)
            except NoRecording:
                missing = {"type": "missing", "loc": ("body", "file"), "msg": "Field required", "input": None}
                raise RequestValidationError([missing]) from None
            if not sent.is_streamed:
                return await unless_gone(request, _heard(state, caller, sent))
        listening = functools.partial(state.audio.hearing.transcript, caller, sent)
        response = Transcribed(listening, stack.pop_all())
    token, _ = credential(request)
    return response if token is None else state.streams.bind(token, caller, response)


async def _heard(state: State, caller: Principal, sent: Sent) -> Response:
    found = await state.audio.hearing.transcript(caller, sent)
    return PlainTextResponse(found["text"]) if sent.form == "text" else Json(found)


@declare(USER.needs("chat.call"))
async def realtime(websocket: WebSocket) -> None:
    """A call. The first message is `{"type": "auth", "token": ..., "chat_id": ..., "model_id": ...}`."""
    await load(AUDIO)
    state: State = websocket.app.state.oui
    await state.audio.calls.attach(websocket)


router.routes.append(WebSocketRoute("/api/v1/audio/realtime", realtime))
