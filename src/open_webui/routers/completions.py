"""Chat completions: for API clients as a response, for the page as events over its socket."""

from collections.abc import Awaitable, Coroutine
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from fastapi import Path, Request
from starlette.responses import Response

from open_webui.access.policy import USER
from open_webui.chat import api, ollama, ollama_request, passed
from open_webui.chat.delivery.sse import Stream
from open_webui.chat.request import ApiRequest, PageRequest, is_page_request, parse_api_request, parse_page_request
from open_webui.constants import MODEL_NOT_FOUND
from open_webui.deps import AppState, Caller
from open_webui.errors import BadRequest, NotFound, UnknownModel
from open_webui.principal import Principal
from open_webui.routers.ollama import Index, placed, target_at
from open_webui.routing import Json, allow, credential, json_object, new_router, unless_gone
from open_webui.schemas import replies
from open_webui.schemas.replies.shape import Media, Shape
from open_webui.services import intake, local_ollama
from open_webui.state import State
from open_webui.utils.loading import load

if TYPE_CHECKING:
    from open_webui.schemas import bodies

router = new_router(tag="completions")
ActionId = Annotated[str, Path(max_length=500)]
# Not needed to start.
ACTIONS: Final = "open_webui.services.actions"
NO_CUSTOM: Final = "Ollama servers answer here about models of their own. Ask this model at /api/chat/completions."
ANTHROPIC: Final = "open_webui.chat.anthropic"


async def bound(
    request: Request, state: State, caller: Principal, asked: ApiRequest, answer: Coroutine[Any, Any, Response]
) -> Response:
    """A stream that ends with the credential it was asked with; a whole answer as it is.

    A client that goes away before its answer begins waits no longer: others may be behind it in a queue. A stream sees
    to that itself.
    """
    with closing(answer), state.streams.reserve(caller):
        response = await (answer if asked.stream else unless_gone(request, answer))
        token, _ = credential(request)
        if token is None or not isinstance(response, Stream):
            return response
        return state.streams.bind(token, caller, response)


async def with_files(state: State, caller: Principal, asked: PageRequest) -> PageRequest:
    """The request with files of the caller for the pictures in what is stored of it; a temporary chat stores nothing."""
    if asked.is_temporary:
        intake.check_attached(caller, msgspec.json.encode([asked.user_message, asked.files, asked.messages]))
        return asked
    stored = {name: getattr(asked, name) for name in ("user_message", "files", "chat_variables")}
    return msgspec.structs.replace(asked, **await intake.keep_question(state, caller, stored))


@router.post("/api/chat/completions")
@router.post("/api/v1/chat/completions")
@allow(USER.on("model", "use"))
async def chat_completions(
    request: "Annotated[Request, Shape(bodies.PageCompletion)]", state: AppState, caller: Caller
) -> "Annotated[Any, Shape(replies.completions.Completion), Shape(replies.completions.Started), Media('text/event-stream')]":
    """An OpenAI chat completion. With `session_id` and message ids the answer comes over the socket instead."""
    body = await json_object(request)
    if is_page_request(body):
        return await state.starter.start(caller, await with_files(state, caller, parse_page_request(body)))
    asked = parse_api_request(body)
    return await bound(request, state, caller, asked, api.complete(state.starter.services, caller, asked))


@router.post("/openai/chat/completions")
@allow(USER.on("model", "use"))
async def openai_completions(
    request: "Annotated[Request, Shape(bodies.ChatCompletion)]", state: AppState, caller: Caller
) -> "Annotated[Response, Shape(replies.completions.Completion), Media('text/event-stream')]":
    """An OpenAI chat completion for API clients; an unknown model is one that isn't found (404), as for OpenAI's clients."""
    asked = parse_api_request(await json_object(request))
    try:
        return await bound(request, state, caller, asked, api.complete(state.starter.services, caller, asked))
    except NotFound as error:
        if error.detail != MODEL_NOT_FOUND:
            raise
        raise UnknownModel from error


@router.post("/ollama/v1/chat/completions")
@allow(USER.on("model", "use"))
async def plain_completions(
    request: "Annotated[Request, Shape(bodies.ChatCompletion)]", state: AppState, caller: Caller
) -> "Annotated[Response, Shape(replies.completions.Completion), Media('text/event-stream')]":
    """An OpenAI chat completion for API clients."""
    asked = parse_api_request(await json_object(request))
    return await bound(request, state, caller, asked, api.complete(state.starter.services, caller, asked))


@router.post("/ollama/v1/chat/completions/{url_idx}")
@allow(USER.on("model", "use"))
async def plain_completions_at(
    request: "Annotated[Request, Shape(bodies.ChatCompletion)]", url_idx: Index, state: AppState, caller: Caller
) -> "Annotated[Response, Shape(replies.completions.Completion), Media('text/event-stream')]":
    """An OpenAI chat completion by one Ollama server."""
    asked = parse_api_request(await json_object(request))
    target = placed(state, caller, asked.model, url_idx)
    return await bound(request, state, caller, asked, api.complete(state.starter.services, caller, asked, target))


@router.post("/api/v1/messages")
@router.post("/api/message")
@allow(USER.on("model", "use"))
async def messages(
    request: "Annotated[Request, Shape(bodies.AnthropicMessages)]", state: AppState, caller: Caller
) -> "Annotated[Response, Shape(replies.completions.AnthropicMessage), Media('text/event-stream')]":
    """Anthropic's messages, by every model of the catalogue."""
    # Not needed to start.
    anthropic = await load(ANTHROPIC)
    asked = anthropic.parse(await json_object(request))
    return await bound(request, state, caller, asked, anthropic.answer(state.starter.services, caller, asked))


@router.post("/api/v1/messages/count_tokens")
@router.post("/api/message/count_tokens")
@allow(USER.on("model", "use"))
async def count_tokens(
    request: "Annotated[Request, Shape(bodies.AnthropicCount)]", state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.completions.CountedTokens)]":
    """How many tokens a request of Anthropic's form has: an estimate from its text, and said to be one."""
    # Not needed to start.
    anthropic = await load(ANTHROPIC)
    asked = anthropic.parse_counted(await json_object(request))
    counted: dict[str, Any] = await anthropic.counted(state.starter.services, caller, asked)
    return counted


@router.post("/api/chat/completed")
@allow(USER.on("chat", "write"))
async def chat_completed(request: "Annotated[Request, Shape(dict[str, Any])]") -> dict[str, Any]:
    """What older pages send after an answer; the server has stored it already, so the body comes back as it is."""
    body = await json_object(request)
    if not body.get("id"):
        raise BadRequest("The id of the message is missing.")
    return body


@router.post("/api/chat/actions/{action_id}")
@allow(USER.on("chat", "write"))
async def chat_action(
    request: "Annotated[Request, Shape(bodies.PressedAction)]", action_id: ActionId, state: AppState, caller: Caller
) -> "Annotated[Any, Shape(replies.completions.Acted)]":
    """Runs an action that was pressed below a message, and answers what it returns."""
    body = await json_object(request)
    actions = await load(ACTIONS)
    return await unless_gone(request, _replied(actions.run(state, caller, action_id, body)))


async def _replied(value: Awaitable[Any]) -> Response:
    return Json(await value)


async def _ollama(
    request: Request, state: State, caller: Principal, index: int | None, *, generate: bool = False
) -> Response:
    """An answer on Ollama's wire. index: the place of the server that is asked, None for whichever has the model."""
    body = await json_object(request)
    if index is None and (done := await local_ollama.keep_loaded(state, caller, body)) is not None:
        return Json(done)
    asked = (ollama_request.parse_generate if generate else ollama_request.parse_chat)(body)
    target = None if index is None else placed(state, caller, asked.model, index)
    answer = ollama.answer(state.starter.services, caller, asked, generate=generate, target=target)
    return await bound(request, state, caller, asked, answer)


@router.post("/ollama/api/chat")
@allow(USER.on("model", "use"))
async def ollama_chat(
    request: "Annotated[Request, Shape(bodies.OllamaChat)]", state: AppState, caller: Caller
) -> "Annotated[Response, Shape(replies.completions.OllamaChat), Media('application/x-ndjson')]":
    """Ollama's chat, for every model of the catalogue."""
    return await _ollama(request, state, caller, None)


@router.post("/ollama/api/chat/{url_idx}")
@allow(USER.on("model", "use"))
async def ollama_chat_at(
    request: "Annotated[Request, Shape(bodies.OllamaChat)]", url_idx: Index, state: AppState, caller: Caller
) -> "Annotated[Response, Shape(replies.completions.OllamaChat), Media('application/x-ndjson')]":
    """Ollama's chat, at one server."""
    return await _ollama(request, state, caller, url_idx)


@router.post("/ollama/api/generate")
@allow(USER.on("model", "use"))
async def ollama_generate(
    request: "Annotated[Request, Shape(bodies.OllamaGenerate)]", state: AppState, caller: Caller
) -> "Annotated[Response, Shape(replies.completions.OllamaGenerated), Media('application/x-ndjson')]":
    """Ollama's generate, for every model of the catalogue."""
    return await _ollama(request, state, caller, None, generate=True)


@router.post("/ollama/api/generate/{url_idx}")
@allow(USER.on("model", "use"))
async def ollama_generate_at(
    request: "Annotated[Request, Shape(bodies.OllamaGenerate)]", url_idx: Index, state: AppState, caller: Caller
) -> "Annotated[Response, Shape(replies.completions.OllamaGenerated), Media('application/x-ndjson')]":
    """Ollama's generate, at one server."""
    return await _ollama(request, state, caller, url_idx, generate=True)


async def _passed(request: Request, state: State, caller: Principal, path: str, index: int | None) -> Response:
    """An answer of an Ollama server on a wire that it speaks itself. index: its place, None for whichever has the model."""
    asked = passed.parse(await json_object(request))
    passed.check(caller, asked)
    await state.catalogue.wait_until_listed(asked.model)
    found = state.catalogue.snapshot.find(asked.model)
    if found is not None and found.is_custom and state.catalogue.may_use(caller, found):
        raise BadRequest(NO_CUSTOM)
    target = target_at(state, caller, asked.model, index)
    return await bound(request, state, caller, asked, passed.answer(state.gate, caller, asked, target, path))


def _add_passed(path: str, about: str) -> None:
    """A call that a server answers itself, also with the server's place at the end."""

    async def call(
        request: "Annotated[Request, Shape(bodies.PassedOn)]", state: AppState, caller: Caller
    ) -> "Annotated[Response, Shape(dict[str, Any]), Media('text/event-stream')]":
        return await _passed(request, state, caller, path, None)

    async def call_at(
        request: "Annotated[Request, Shape(bodies.PassedOn)]", url_idx: Index, state: AppState, caller: Caller
    ) -> "Annotated[Response, Shape(dict[str, Any]), Media('text/event-stream')]":
        return await _passed(request, state, caller, path, url_idx)

    call.__doc__ = call_at.__doc__ = f"{about} An Ollama server answers it itself, about a model of its own."
    router.add_api_route(f"/ollama{path}", allow(USER.on("model", "use"))(call), methods=["POST"])
    router.add_api_route(f"/ollama{path}/{{url_idx}}", allow(USER.on("model", "use"))(call_at), methods=["POST"])


_add_passed("/v1/completions", "A text goes on, in OpenAI's form.")
_add_passed("/v1/messages", "An answer in Anthropic's form.")
_add_passed("/v1/responses", "An answer in the form of OpenAI's Responses.")
