"""A picture that a question asks for, made of a prompt that a model writes, before the answer, and shown below it."""

import asyncio
from typing import Any, Final

from msgspec.structs import replace

from open_webui.chat import prompts, side
from open_webui.chat.context.history import provider_messages
from open_webui.chat.context.stage import StageContext
from open_webui.chat.turn import Draft, Turn
from open_webui.connections.params import with_system
from open_webui.errors import Forbidden, OuiError
from open_webui.internal.log import get_logger
from open_webui.services.images.inputs import MOST
from open_webui.services.images.making import Wanted
from open_webui.services.images.telling import entries, made
from open_webui.utils.addresses import id_in

log = get_logger(__name__)
# The question that a prompt is made for is given up after so many seconds.
PROMPT_SECONDS: Final = 30.0
_PROMPT_TOKENS: Final = 600
_LONGEST: Final = 4_000
TOLD: Final = (
    "The picture that the person asked for has just been made, and is shown below your answer. Say so in a sentence or two."
    " It was made of this description: {}"
)
FAILED: Final = "The picture that the person asked for could not be made. Say so, with the reason: {}"
NOTHING: Final = "The question says nothing that a picture could be made of."


async def with_picture(turn: Turn, draft: Draft, context: StageContext) -> Draft:
    """See `context.images`."""
    pictures, principal = context.services.pictures(), turn.principal
    given = attached(turn) if context.services.config["images.edit.enable"] else ()
    pictures.check(principal, changing=bool(given))
    try:
        prompt = turn.question.strip() if given else await _prompt(turn, context)
        if not prompt:
            raise OuiError(NOTHING, status=400)
        wanted = Wanted(
            user_id=principal.id,
            prompt=prompt,
            images=given,
            is_kept=not turn.is_temporary,
            chat_id=None if turn.is_temporary else turn.chat_id,
            message_id=None if turn.is_temporary else turn.message_id,
        )
        kept = await made(pictures, principal, wanted, context.add_status)
    except Forbidden:
        raise
    except OuiError as error:
        return _told(draft, FAILED.format(error.detail))
    await context.emit("files", {"files": entries(kept)})
    return _told(draft, TOLD.format(prompt))


def attached(turn: Turn) -> tuple[str, ...]:
    """The ids of the pictures that the question has attached."""
    asked = provider_messages(turn.history[-1]) if turn.history else []
    content: Any = asked[-1].get("content") if asked else None
    found = []
    for part in content if isinstance(content, list) else ():
        picture = part.get("image_url") if isinstance(part, dict) else None
        file_id = id_in(picture.get("url") if isinstance(picture, dict) else picture)
        if file_id is not None:
            found.append(file_id)
    return tuple(dict.fromkeys(found))[:MOST]


def _told(draft: Draft, text: str) -> Draft:
    return replace(draft, messages=tuple(with_system(text, draft.messages)))


async def _prompt(turn: Turn, context: StageContext) -> str:
    """What the engine is asked for: a description that a model writes, or the question where it can't or is not to."""
    config, gate, question = context.services.config, context.services.gate, turn.question.strip()[:_LONGEST]
    model = side.task_model(config, gate.models, turn.target)
    if not config["image_generation.prompt.enable"] or not model.entry.answers_tasks:
        return question
    template = config["task.image.prompt_template"].strip() or prompts.IMAGE
    text = prompts.fill(template, side.conversation(turn.history), question, turn.principal.name)
    fields: dict[str, Any] = {"max_tokens": _PROMPT_TOKENS}
    if model.entry.kind == "local":
        fields["chat_template_kwargs"] = {"enable_thinking": False}
    try:
        async with asyncio.timeout(PROMPT_SECONDS):
            answer = await side.ask(gate, turn.principal, model, text, fields=fields)
    except (OuiError, TimeoutError) as error:
        log.info("no prompt for a picture could be made", reason=str(error) or type(error).__name__)
        return question
    found = prompts.parse(answer.content or "", "prompt")
    return found.strip()[:_LONGEST] if isinstance(found, str) and found.strip() else question
