"""Makes one answer in rounds: the model is asked, the tools that it calls are run, it is asked again with their results."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import msgspec

from open_webui.chat.approval import Approval
from open_webui.chat.citing import mark_cited
from open_webui.chat.code_tags import CodeTags
from open_webui.chat.context import STAGES, prepare
from open_webui.chat.context.code import code as with_code
from open_webui.chat.context.history import round_messages
from open_webui.chat.context.images import images as with_picture
from open_webui.chat.context.skills import spelled_out
from open_webui.chat.context.stage import Services, Stage, StageContext
from open_webui.chat.context.tools import asked, with_reader
from open_webui.chat.endings import complete, fail
from open_webui.chat.filtered import run_outlets
from open_webui.chat.kept_pictures import keep_pictures
from open_webui.chat.long_results import LongResults
from open_webui.chat.progress import AnswerProgress, Parted
from open_webui.chat.repeated_calls import RepeatedCalls
from open_webui.chat.running import RunningAnswer
from open_webui.chat.tools import refuses_tools, run_calls
from open_webui.chat.tools_for_plugins import with_tools
from open_webui.chat.turn import Draft, Turn
from open_webui.chat.waiting import Waiting
from open_webui.chat.written_code import run_written, tags_for
from open_webui.errors import OuiError, ProviderError, TooLarge
from open_webui.internal.log import get_logger
from open_webui.services.event_names import Happened
from open_webui.tools.port import current

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
    change the answer. max_rounds: how often the tools that the model calls are run. max_result: characters of a tool's
    result that the model gets at once.
    """

    stages: tuple[Stage, ...] = STAGES
    finishers: tuple[Finisher, ...] = (run_outlets, mark_cited)
    max_rounds: int = 256
    max_result: int = 50_000


async def answer(
    running: RunningAnswer, services: Services, pipeline: Pipeline, progress: AnswerProgress | None = None
) -> bool:
    """Runs a turn to its end and tells whether the answer is complete.

    Whatever happens, what arrived is stored and everybody who watches is told. Cancelling the task is a person's stop.
    progress: what its stages and tools may tell, where that is not the answer's own. Raises what makes it impossible to store
    the end.
    """
    turn, context = running.turn, progress or AnswerProgress(running, services)
    context.part = partial(part, services, pipeline)
    try:
        if turn.target.arena_id is not None:
            running.set(selectedModelId=turn.target.model_id)
            await running.tell("chat:completion", {"selected_model_id": turn.target.model_id})
        draft = await prepare(turn, context, pipeline.stages)
        current.set((with_tools(asked(turn, draft, services.config), turn, draft, context), context))
        await _ask_in_rounds(running, context, draft, pipeline)
        for finish in pipeline.finishers:
            await finish(running, context)
    except OuiError as error:
        await fail(running, error)
        _note(services, turn, "chat.failed")
        return False
    except Exception as error:
        # The task runner's place: a bug must not leave a message unfinished.
        log.exception("an answer failed", chat_id=turn.chat_id, message_id=turn.message_id)
        await fail(running, OuiError(f"Something went wrong on the server ({type(error).__name__})."))
        _note(services, turn, "chat.failed")
        return False
    await complete(running)
    _note(services, turn, "chat.finished")
    return True


async def part(services: Services, pipeline: Pipeline, running: RunningAnswer, parted: Parted) -> bool:
    """Runs a turn that is a part of another, by the same steps. See `answer`."""
    stages = tuple(stage for stage in pipeline.stages if stage not in parted.without)
    rounds = min(max(parted.max_rounds, 0), pipeline.max_rounds)
    steps = msgspec.structs.replace(pipeline, stages=(*stages, *parted.last), max_rounds=rounds)
    return await answer(running, services, steps, parted.progress)


def _note(services: Services, turn: Turn, name: str) -> None:
    if not turn.is_temporary:
        data = {"message_id": turn.message_id, "model": turn.target.model_id}
        services.note(Happened(name, {"type": "chat", "id": turn.chat_id}, data), turn.principal)


async def _ask_in_rounds(running: RunningAnswer, context: StageContext, draft: Draft, pipeline: Pipeline) -> None:
    """Asks, runs what is called, and asks again, until the model calls nothing more."""
    reducer, turn, max_rounds = running.answer, running.turn, pipeline.max_rounds
    approval = Approval.of(turn, context.services)
    keep = LongResults(context.pictures, pipeline.max_result, is_stored=not turn.is_temporary, can_read=True)
    repeated = RepeatedCalls()
    for number in range(max_rounds + 1):
        said, tags = _Said(running), tags_for(draft)
        try:
            await _ask(running, context, draft, tags, is_first=number == 0, may_call=number < max_rounds)
        except ProviderError as error:
            if number or not draft.offered or not refuses_tools(error):
                raise
            # Nobody chose them: the model answers without.
            entry = turn.target.entry
            context.services.toolbox().note_refusal(entry.connection, entry.remote_id)
            kept = {name: tool for name, tool in draft.tools.items() if name not in draft.offered}
            draft = spelled_out(msgspec.structs.replace(draft, tools=kept, offered=frozenset()))
            draft = await with_picture(turn, await with_code(turn, draft, context), context)
            tags = tags_for(draft)
            await _ask(running, context, draft, tags, is_first=True, may_call=number < max_rounds)
        calls, has_code = reducer.calls() if draft.tools else [], tags is not None and tags.code is not None
        if not calls and not has_code:
            return
        is_last = not has_code and repeated.end(running, calls, draft.tools, said.items())
        if is_last and not reducer.calls():
            return
        if number == max_rounds and not is_last:
            raise OuiError(ENDLESS.format(max_rounds), status=502)
        # What a tool does can't be undone: that it was called is on record before, and what it gave before the model hears it.
        await running.kept()
        for call_id, result in await run_calls(calls, draft.tools, context, approval=approval, keep=keep):
            files, embeds = list(result.files), list(result.embeds)
            running.say(reducer.add_output(call_id, result.text, files=files or None, embeds=embeds or None))
        if tags is not None:
            await run_written(running, context, draft, tags, approval)
        await running.kept()
        if is_last:
            return
        if keep.kept:
            draft = await with_reader(turn, draft, context)
        reasoning = turn.target.entry.returns_reasoning
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


async def _ask(
    running: RunningAnswer,
    context: StageContext,
    draft: Draft,
    tags: CodeTags | None,
    *,
    is_first: bool,
    may_call: bool,
) -> None:
    """One request to the model, and its answer as it comes: to its end, or to that of code which it writes."""
    turn = running.turn
    chat_id, message_id = turn.counted
    # Silence counts from the request on: many providers answer nothing at all before their first word.
    async with (
        Waiting(running.sender) as waiting,
        context.services.gate.chat(
            turn.principal,
            turn.target,
            _payload(turn, draft, may_call=may_call),
            kind="chat",
            chat_id=chat_id,
            message_id=message_id,
            tell=waiting.tell,
        ) as reply,
    ):
        said, filtering = reply.events(), context.filtering
        if filtering is not None and filtering.have("stream"):
            said = filtering.stream(said, turn.target.model_id)
        async for events in said:
            waiting.over()
            frames = running.answer.feed(events if tags is None else tags.feed(events))
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
            if tags is not None and tags.is_closed:
                return
        if tags is not None:
            is_cut = running.answer.finish_reason in {"length", "content_filter"}
            running.say(running.answer.feed(tags.end(is_cut=is_cut)))
            if tags.code is not None:
                return
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
    return turn.chunk(choice)


async def _post(running: RunningAnswer, kind: str, data: dict[str, Any]) -> None:
    """Keeps what came with an answer, and tells it: a source, a status or pictures. A picture that is none is dropped."""
    if kind != "files":
        running.append("sources" if kind == "source" else "statusHistory", [data])
        await running.tell(kind, data)
    elif files := await keep_pictures(running, data["files"]):
        running.append("files", files)
        await running.tell(kind, {"files": files})
