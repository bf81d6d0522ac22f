"""Makes one answer in rounds: the model is asked, the tools that it calls are run, it is asked again with their results."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from open_webui.chat.context import STAGES, prepare
from open_webui.chat.context.history import round_messages
from open_webui.chat.context.stage import Services, Stage, StageContext
from open_webui.chat.endings import complete, fail
from open_webui.chat.kept_pictures import keep_pictures
from open_webui.chat.progress import AnswerProgress
from open_webui.chat.running import RunningAnswer
from open_webui.chat.tools import run_calls
from open_webui.chat.turn import Draft, Turn
from open_webui.chat.waiting import Waiting
from open_webui.connections.gate import Gate
from open_webui.errors import OuiError, ProviderError, TooLarge
from open_webui.internal.log import get_logger

log = get_logger(__name__)

EMPTY: Final = "The model ended without an answer."
FILTERED: Final = "The provider's content filter held the answer back, or a part of it."
USED_UP: Final = "The model used up its tokens before it said anything. A higher limit, or less thinking, may help."
CUT_OFF: Final = (
    "The answer was cut off: it is longer than this server keeps of one answer. What had arrived is kept;"
    " an administrator can raise CHAT_ANSWER_MAX_CHARS and CHAT_ANSWER_MAX_BYTES."
)
ENDLESS: Final = "The model went on calling tools after {} rounds of calls, and was stopped."

Finisher = Callable[[RunningAnswer, StageContext], Awaitable[None]]


class Pipeline(msgspec.Struct, frozen=True, kw_only=True):
    """The steps of an answer, in order.

    stages: before the model is asked. finishers: after its last word and before the end is stored, so that they may still
    change the answer. max_rounds: how often the tools that the model calls are run.
    """

    stages: tuple[Stage, ...] = STAGES
    finishers: tuple[Finisher, ...] = ()
    max_rounds: int = 256


async def answer(running: RunningAnswer, services: Services, pipeline: Pipeline) -> bool:
    """Runs a turn to its end and tells whether the answer is complete.

    Whatever happens, what arrived is stored and everybody who watches is told. Cancelling the task is a person's stop.
    Raises what makes it impossible to store the end.
    """
    turn, context = running.turn, AnswerProgress(running, services)
    try:
        draft = await prepare(turn, context, pipeline.stages)
        await _ask_in_rounds(running, context, draft, pipeline.max_rounds)
        for finish in pipeline.finishers:
            await finish(running, context)
    except OuiError as error:
        await fail(running, error)
        return False
    except Exception as error:
        # The task runner's place: a bug must not leave a message unfinished.
        log.exception("an answer failed", chat_id=turn.chat_id, message_id=turn.message_id)
        await fail(running, OuiError(f"Something went wrong on the server ({type(error).__name__})."))
        return False
    await complete(running)
    return True


async def _ask_in_rounds(running: RunningAnswer, context: StageContext, draft: Draft, max_rounds: int) -> None:
    """Asks, runs what is called, and asks again, until the model calls nothing more."""
    reducer = running.answer
    for number in range(max_rounds + 1):
        said = _Said(running)
        await _ask(running, context.services.gate, draft, is_first=number == 0, may_call=number < max_rounds)
        calls = reducer.calls() if draft.tools else []
        if not calls:
            return
        if number == max_rounds:
            raise OuiError(ENDLESS.format(max_rounds), status=502)
        for call_id, result in await run_calls(calls, draft.tools, context):
            files, embeds = list(result.files), list(result.embeds)
            running.say(reducer.add_output(call_id, result.text, files=files or None, embeds=embeds or None))
        reasoning = running.turn.target.entry.returns_reasoning
        messages = round_messages(said.items(), reasoning=reasoning)
        draft = msgspec.structs.replace(draft, messages=draft.messages + tuple(messages))
        running.say(reducer.begin_round())


class _Said:
    """What an answer held before a round; `items` are those that the round added."""

    def __init__(self, running: RunningAnswer) -> None:
        self._items = running.answer.items
        self._count = len(self._items)
        # An answer that is continued goes on in its last text.
        last = self._items[-1] if self._items and self._items[-1].kind == "text" else None
        self._last, self._length = last, len(last.text) if last is not None else 0

    def items(self) -> list[dict[str, Any]]:
        added = [item.wire() for item in self._items[self._count :]]
        more = self._last.text[self._length :] if self._last is not None else ""
        return [{"type": "message", "content": [{"text": more}]}, *added] if more else added


async def _ask(running: RunningAnswer, gate: Gate, draft: Draft, *, is_first: bool, may_call: bool) -> None:
    """One request to the model, and its answer as it comes."""
    turn = running.turn
    chat_id, message_id = (None, None) if turn.is_temporary else (turn.chat_id, turn.message_id)
    # Silence counts from the request on: many providers answer nothing at all before their first word.
    async with (
        Waiting(running.sender) as waiting,
        gate.chat(
            turn.principal,
            turn.target,
            _payload(turn, draft, may_call=may_call),
            kind="chat",
            chat_id=chat_id,
            message_id=message_id,
            tell=waiting.tell,
        ) as reply,
    ):
        async for events in reply.events():
            waiting.over()
            frames = running.answer.feed(events)
            if is_first:
                is_first = False
                if not frames:
                    # The page expects a provider's first chunk, when it says nothing yet.
                    await running.sender.ordered("response:completion", _first_chunk(turn))
            running.say(frames)
            for kind, data in running.answer.take_posts():
                await _post(running, kind, data)
            if running.answer.is_full:
                raise TooLarge(CUT_OFF)
        reason = running.answer.finish_reason
        if reason == "content_filter":
            raise ProviderError(FILTERED)
        if running.answer.is_empty:
            raise ProviderError(USED_UP if reason == "length" else EMPTY)


def _payload(turn: Turn, draft: Draft, *, may_call: bool) -> dict[str, Any]:
    payload: dict[str, Any] = {"stream": turn.request.stream, "messages": list(draft.messages), **draft.fields}
    if draft.tools:
        given = payload.get("tools")
        own = [{"type": "function", "function": tool.definition} for tool in draft.tools.values()]
        payload["tools"] = [*(given if isinstance(given, list) else ()), *own]
        if not may_call:
            payload["tool_choice"] = "none"
    return payload


def _first_chunk(turn: Turn) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    return {"object": "chat.completion.chunk", "model": turn.target.model_id, "choices": [choice]}


async def _post(running: RunningAnswer, kind: str, data: dict[str, Any]) -> None:
    """Keeps what came with an answer, and tells it: a source, a status or pictures. A picture that is none is dropped."""
    if kind != "files":
        running.append("sources" if kind == "source" else "statusHistory", [data])
        await running.tell(kind, data)
    elif files := await keep_pictures(running, data["files"]):
        running.append("files", files)
        await running.tell(kind, {"files": files})
