"""Running answers (list, stop) and side questions that a page asks for itself."""

from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import Request
from starlette.responses import Response

from open_webui.access.policy import ADMIN, USER
from open_webui.chat import prompts, side
from open_webui.chat.request import text_field
from open_webui.deps import AppState, Caller
from open_webui.errors import BadRequest, NotFound
from open_webui.principal import Principal
from open_webui.routing import allow, json_object, new_router
from open_webui.schemas import replies
from open_webui.schemas.replies.shape import Shape
from open_webui.state import State

if TYPE_CHECKING:
    from open_webui.schemas import bodies

router = new_router(tag="answers")

# What can be asked: the setting with a custom prompt, and ours.
KINDS: Final[dict[str, tuple[str, str]]] = {
    "title": ("task.title.prompt_template", prompts.TITLE),
    "tags": ("task.tags.prompt_template", prompts.TAGS),
    "follow_up": ("task.follow_up.prompt_template", prompts.FOLLOW_UPS),
    "queries": ("task.query.prompt_template", prompts.QUERIES),
    "auto": ("task.autocomplete.prompt_template", prompts.AUTOCOMPLETE),
    "emoji": ("", prompts.EMOJI),
    "image_prompt": ("task.image.prompt_template", prompts.IMAGE),
}
ENABLED: Final[dict[str, str]] = {
    "title": "task.title.enable",
    "tags": "task.tags.enable",
    "follow_up": "task.follow_up.enable",
    "auto": "task.autocomplete.enable",
}


@router.get("/api/tasks")
@allow(ADMIN)
async def all_tasks(state: AppState) -> "Annotated[dict[str, list[str]], Shape(replies.server.AllTasks)]":
    """The answers that are being written, everybody's."""
    return {"tasks": await state.running.every_task()}


@router.post("/api/tasks/stop/{task_id}")
@allow(ADMIN)
async def stop_task(task_id: str, state: AppState) -> "Annotated[dict[str, Any], Shape(replies.server.Told)]":
    """Stops one answer."""
    if await state.running.stop_task(task_id):
        return {"status": True, "message": f"Task {task_id} was stopped."}
    return {"status": False, "message": f"There is no task {task_id}."}


@router.get("/api/tasks/chat/{chat_id:path}")
@allow(USER.on("chat", "read"))
async def chat_tasks(
    chat_id: str, state: AppState, caller: Caller
) -> "Annotated[dict[str, list[str]], Shape(replies.server.ChatTasks)]":
    """The answers that are being written in a chat; none for a chat that the caller can't see."""
    if not await state.running.may_see(caller, chat_id, write=False):
        return {"task_ids": []}
    return {"task_ids": await state.running.tasks_of(caller, chat_id)}


@router.post("/api/tasks/chat/{chat_id:path}/stop")
@allow(USER.on("chat", "write"))
async def stop_chat(
    chat_id: str, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.server.Told)]":
    """Stops all answers of a chat, and the sub-agents that work for it; what they said is stored when this returns."""
    await state.running.check(caller, chat_id, write=True)
    stopped = await state.running.stop_chat(caller, chat_id)
    stopped += await state.background.stop_chat(chat_id)
    if not stopped:
        return {"status": True, "message": "Nothing was being written."}
    return {"status": True, "message": f"Stopped: {', '.join(stopped)}."}


@router.post("/api/v1/tasks/moa/completions")
@allow(USER.on("model", "use"))
async def merge_answers(
    request: "Annotated[Request, Shape(bodies.Merge)]", state: AppState, caller: Caller
) -> "Annotated[Response, Shape(replies.completions.Completion)]":
    """One answer out of several models' answers to one question."""
    body = await json_object(request)
    answers = body.get("responses")
    if not isinstance(answers, list) or not all(isinstance(a, str) for a in answers):
        raise BadRequest("'responses' should be a list of texts.")
    question = str(text_field(body, "prompt", required=True, limit=1_000_000))
    prompt = prompts.merge_answers(question, answers)
    return await _asked(state, caller, str(text_field(body, "model", required=True)), prompt)


@router.post("/api/v1/tasks/{kind}/completions")
@allow(USER.on("model", "use"))
async def side_question(
    kind: str, request: "Annotated[Request, Shape(bodies.SideQuestion)]", state: AppState, caller: Caller
) -> "Annotated[Any, Shape(replies.completions.Completion), Shape(replies.completions.SwitchedOff)]":
    """A side question about messages that the page sends; answers the model's completion."""
    if kind not in KINDS:
        raise NotFound
    if kind in ENABLED and not state.config[ENABLED[kind]]:
        return {"detail": "This kind of question is switched off by an administrator."}
    body = await json_object(request)
    messages = body.get("messages") or []
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise BadRequest("'messages' should be a list of objects.")
    model = str(text_field(body, "model", required=True))
    key, ours = KINDS[kind]
    template = (state.config[key] if key else "") or ours
    question = text_field(body, "prompt", limit=1_000_000) or ""
    prompt = prompts.fill(template, side.conversation(messages), question, caller.name)
    return await _asked(state, caller, model, prompt)


async def _asked(state: State, caller: Principal, model: str, prompt: str) -> Response:
    try:
        target = await state.gate.target(caller, model)
    except NotFound as error:
        raise NotFound(f"Model '{model}' was not found.", status=404) from error
    target = side.task_model(state.config, state.catalogue, target)
    with state.streams.reserve(caller):
        answer = await side.ask(state.gate, caller, target, prompt, fields=state.config["task.model.params"])
    return Response(answer.original_response, media_type="application/json")
