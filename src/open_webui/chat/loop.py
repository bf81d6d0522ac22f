"""Makes one answer: opens the provider, feeds its events through the reducer, delivers frames, stores the end."""

import asyncio
from typing import Any, Final, Self

from open_webui.chat.context import prepare
from open_webui.chat.delivery.sender import AnswerSender
from open_webui.chat.running import RunningAnswer
from open_webui.chat.turn import Turn
from open_webui.connections.base import Reply
from open_webui.connections.gate import Gate
from open_webui.errors import OuiError, ProviderError, TooLarge
from open_webui.internal.log import get_logger

log = get_logger(__name__)

INTERRUPTED: Final = (
    "The server stopped while this answer was being written. What had arrived is kept; continue or regenerate it."
)
EMPTY: Final = "The model ended without an answer."
CUT_OFF: Final = (
    "The answer was cut off: it is longer than this server keeps of one answer. What had arrived is kept;"
    " an administrator can raise CHAT_ANSWER_MAX_CHARS and CHAT_ANSWER_MAX_BYTES."
)
SILENT: Final = "The model has been silent for a while. Still waiting for it."
# A model that is silent for this long is mentioned to the person who waits.
SILENCE: Final = 20.0


async def answer(running: RunningAnswer, gate: Gate) -> bool:
    """Runs a turn to its end and tells whether the answer is complete.

    Whatever happens, what arrived is stored and everybody who watches is told. Cancelling the task is a person's stop.
    """
    turn = running.turn
    try:
        await _stream(running, gate)
    except OuiError as error:
        await fail(running, error)
        return False
    except Exception as error:
        # The task runner's place: a bug must not leave a message unfinished.
        log.exception("an answer failed", chat_id=turn.chat_id, message_id=turn.message_id)
        await fail(running, OuiError(f"Something went wrong on the server ({type(error).__name__})."))
        return False
    await _complete(running)
    return True


async def _stream(running: RunningAnswer, gate: Gate) -> None:
    turn = running.turn
    draft = await prepare(turn, _Context(running))
    payload = {"stream": turn.request.stream, "messages": list(draft.messages), **draft.fields}
    chat_id, message_id = (None, None) if turn.is_temporary else (turn.chat_id, turn.message_id)
    # Silence counts from the request on: many providers answer nothing at all before their first word.
    async with (
        _Waiting(running.room) as waiting,
        gate.chat(
            turn.principal,
            turn.target,
            payload,
            kind="chat",
            chat_id=chat_id,
            message_id=message_id,
            tell=waiting.tell,
        ) as reply,
    ):
        await _read(running, reply, waiting)
        if running.answer.is_empty:
            raise ProviderError(EMPTY)


async def _read(running: RunningAnswer, reply: Reply, waiting: "_Waiting") -> None:
    first = True
    async for events in reply.events():
        waiting.over()
        frames = running.answer.feed(events)
        if first:
            first = False
            if not frames:
                # The page expects a provider's first chunk, when it says nothing yet.
                await running.room.ordered("response:completion", _first_chunk(running.turn))
        running.say(frames)
        if posts := running.answer.take_posts():
            await _post(running, posts)
        if running.answer.is_full:
            raise TooLarge(CUT_OFF)


class _Context:
    """context.StageContext of a running answer."""

    def __init__(self, running: RunningAnswer) -> None:
        self._running = running
        self.pictures = running.pictures

    async def add_status(self, status: dict[str, Any]) -> None:
        await self._append("statusHistory", "status", status)

    async def add_source(self, source: dict[str, Any]) -> None:
        await self._append("sources", "source", source)

    async def replace_statuses(self, action: str, statuses: list[dict[str, Any]]) -> None:
        earlier = self._running.body.get("statusHistory") or ()
        kept = [s for s in earlier if not (isinstance(s, dict) and s.get("action") == action)]
        self._running.set(statusHistory=kept)
        for status in statuses:
            await self.add_status(status)

    def set_meta(self, name: str, value: Any) -> None:
        self._running.set(meta=(self._running.body.get("meta") or {}) | {name: value})

    async def _append(self, field: str, event: str, value: dict[str, Any]) -> None:
        self._running.append(field, [value])
        await self._running.room.event(event, value)


class _Waiting:
    """Tells who waits what for: what the connection says, or that the model has been silent for long; and when it is over.

    One timer, moved lazily.
    """

    def __init__(self, room: AnswerSender) -> None:
        self._room = room
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._timer = self._loop.call_later(SILENCE, self._look)
        self._told: str | None = None
        self._last_task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._timer.cancel()
        self.over()
        if self._last_task is not None:
            await self._last_task

    def over(self) -> None:
        """Something arrived."""
        self._last = self._loop.time()
        if self._told is not None:
            self.tell(None)

    def tell(self, text: str | None) -> None:
        """Shows a sentence in place of the one before; None shows none any more."""
        self._last = self._loop.time()
        if text == self._told:
            return
        shown, self._told = text or self._told, text
        self._last_task = self._loop.create_task(self._send(self._last_task, shown, over=text is None))

    def _look(self) -> None:
        quiet = self._loop.time() - self._last
        if quiet >= SILENCE and self._told is None:
            self.tell(SILENT)
        self._timer = self._loop.call_later(SILENCE - quiet if quiet < SILENCE else SILENCE, self._look)

    async def _send(self, before: "asyncio.Task[None] | None", text: str | None, *, over: bool) -> None:
        """After what was told before, so that a late sentence never stays."""
        if before is not None:
            await before
        await self._room.event("status", {"description": text, "done": over, "hidden": over})


def _first_chunk(turn: Turn) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    return {"object": "chat.completion.chunk", "model": turn.target.model_id, "choices": [choice]}


async def _post(running: RunningAnswer, posts: list[tuple[str, dict[str, Any]]]) -> None:
    """Keeps sources and pictures that came with an answer, and tells them."""
    for kind, data in posts:
        if kind == "files":
            running.append("files", data["files"])
        else:
            running.append("sources", [data])
        await running.tell(kind, data)


async def _complete(running: RunningAnswer) -> None:
    """The end of a whole answer, in the order of the contract; stored before anybody is told that it is done."""
    reducer, room = running.answer, running.room
    running.say(reducer.close("completed"))
    await room.flush()
    choice = {"index": 0, "delta": {}, "finish_reason": reducer.finish_reason or "stop"}
    await room.event("chat:completion", {"object": "chat.completion.chunk", "choices": [choice]})
    if reducer.usage is not None:
        await room.event("chat:completion", {"usage": reducer.usage})
    await running.finish()
    done: dict[str, Any] = {"done": True, "output": reducer.output()}
    if reducer.usage is not None:
        done["usage"] = reducer.usage
    if not running.turn.is_temporary:
        await room.event("chat:list", {"chat_id": running.turn.chat_id, "folder_id": running.turn.folder_id})
        done["title"] = running.title
    await room.settle()
    await room.event("chat:completion", done)


async def fail(running: RunningAnswer, error: OuiError) -> None:
    """The end of an answer that failed: the part that arrived stays, the reason beside it."""
    room = running.room
    running.say(running.answer.close("incomplete"))
    await room.flush()
    reason = {"content": error.detail}
    await running.finish({"error": reason})
    await room.settle()
    await room.event("chat:message:error", {"error": reason, "done": True})


async def stopped(running: RunningAnswer) -> None:
    """The end of an answer that a person stopped."""
    room = running.room
    running.answer.close("incomplete")
    await running.finish()
    await room.ordered("chat:tasks:cancel", {"output": running.answer.output()})
    await room.event("chat:tasks:cancel")


async def interrupted(running: RunningAnswer) -> None:
    """The end of an answer that the server's own end cut short."""
    running.answer.close("incomplete")
    await running.finish(interruption(running.body))
    await running.room.ordered("chat:message:error", {"error": {"content": INTERRUPTED}, "done": True})


def interruption(body: dict[str, Any]) -> dict[str, Any]:
    """What marks a message as interrupted."""
    return {"error": {"content": INTERRUPTED}, "meta": {**(body.get("meta") or {}), "interrupted": True}}
