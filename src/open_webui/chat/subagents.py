"""Sub-agents: a model hands a task over, and a turn of its own does it, as a part of the answer that asked.

Such a turn goes through the same stages, filters and gate, in the name of the same person. It lives in the call of the tool: what
ends the answer ends it, and nothing of it is stored but what the answer says of it.
"""

import asyncio
import time
from collections.abc import Collection, Iterable
from typing import Any, Final

import msgspec

from llamaforge.events.parts import Limits
from open_webui.chat.assemble import Answer, Item
from open_webui.chat.context.affect import affect
from open_webui.chat.context.stage import Background, StageContext
from open_webui.chat.context.subagents import NAME
from open_webui.chat.delivery.sender import AnswerSender
from open_webui.chat.progress import AnswerProgress, Parted
from open_webui.chat.request import Ask, Tasks
from open_webui.chat.running import RunningAnswer
from open_webui.chat.store import Stored
from open_webui.chat.turn import Draft, Turn
from open_webui.errors import BadRequest
from open_webui.events import Audience, ChannelEvent, ChatEvent
from open_webui.models.base import new_id
from open_webui.services.message_events import TEXTS
from open_webui.tools.port import Progress, Tool, ToolResult, calling

# Seconds that one has for its task, waiting for its turn included.
SECONDS: Final = 1_800.0
# Tasks that one answer may hand over.
MOST: Final = 100
# Characters of a task.
LONGEST: Final = 50_000
# What is kept of all that one says, and of pictures: less than of an answer that people read.
LIMITS: Final = Limits(1_000_000, 4 * 2**20)
# Steps of one that are shown.
MOST_STEPS: Final = 50
_SHOWN: Final = 60
DESCRIPTION: Final = (
    "Hands a task to a sub-agent: a model that works on it alone, with the same tools, and answers you when it is done. It knows"
    " nothing of this conversation, so the task has to say all that is needed and what the answer should hold. Several calls at"
    " once are worked on side by side. Use it for work with many steps, or for parts that don't depend on each other; do what"
    " takes a step or two yourself."
)
IN_BACKGROUND: Final = (
    "Whether it goes on beside your answer and after it, which you need not wait for. The result comes into the conversation"
    " when it is there. Nobody can be asked anything then. Only for what takes long, and what you can answer without"
)
CHECK: Final = "check_task"
CHECK_DESCRIPTION: Final = (
    "Tells how far the tasks are that were handed to sub-agents in the background in this chat, and what was found. Don't ask"
    " again and again: the result comes by itself."
)
TASK_ID: Final = "The id of one task; left out, all of them"
TASK: Final = "What is to be done, with all that has to be known for it"
PROMPT: Final = (
    "You are a sub-agent. Another model has handed you one task and waits for what you find. Work on it by yourself, with the"
    " tools that you have. When you are done, answer with the result alone, complete and short: nothing else of your work is"
    " read. If you can't do a part of it, say which and why. Don't make anything up."
)
TOO_MANY: Final = f"This answer has handed over {MOST} tasks, and may not hand over more. Go on with what is there."
TOO_LONG: Final = f"The task is too long. It may have {LONGEST:,} characters."
HANDED: Final = (
    "The sub-agent works on it in the background as task {}. Go on without it: its result takes the place of this text in the"
    " conversation when it is there. check_task tells how far it is."
)
CUT: Final = "\n\n[The sub-agent's answer was cut here. It had {:,} characters.]"
UNFINISHED: Final = "The sub-agent did not finish: {}"
SO_FAR: Final = "\n\nWhat it had said by then:\n\n{}"


class Delegate:
    """The tool, for one answer: `tools.port.Tool`. background: what works on tasks after the answer, where it may."""

    seconds = SECONDS

    def __init__(self, turn: Turn, context: StageContext, background: Background | None = None) -> None:
        properties: dict[str, Any] = {"task": {"type": "string", "description": TASK}}
        if background is not None:
            properties["background"] = {"type": "boolean", "description": IN_BACKGROUND}
        self.definition: dict[str, Any] = {
            "name": NAME,
            "description": DESCRIPTION,
            "parameters": {"type": "object", "properties": properties, "required": ["task"]},
        }
        self._turn = turn
        self._context = context
        self._background = background
        self._count = 0

    async def run(self, arguments: dict[str, Any], progress: Progress) -> ToolResult:
        """See `tools.port.Tool`."""
        task = arguments.get("task")
        if not isinstance(task, str) or not task.strip():
            raise BadRequest("'task' should be a text.")
        if len(task) > LONGEST:
            raise BadRequest(TOO_LONG)
        if self._count >= MOST:
            raise BadRequest(TOO_MANY)
        self._count += 1
        services, turn = self._context.services, self._turn
        steps = Steps(progress, task.strip())
        call_id = calling.get()
        if self._background is not None and call_id is not None and arguments.get("background") is True:
            task_id = await self._background.hand_over(turn, task.strip(), call_id)
            await steps.say("works in the background", always=True, done=True)
            return ToolResult(text=HANDED.format(task_id))
        end = "stopped"
        await steps.say("waits for its turn", always=True)
        try:
            async with services.places.taken(turn.principal.id, services.config["subagents.max_concurrent"]):
                await steps.say("begins", always=True)
                result = await work(turn, self._context, steps, task.strip())
            end = "failed" if result.failed else "done"
            return result
        finally:
            # Also after a stop: the steps that are shown are over then.
            await steps.say(end, always=True, done=True)


class CheckTask:
    """The tool that tells how far tasks in the background are: `tools.port.Tool`."""

    seconds = 60.0

    def __init__(self, turn: Turn, background: Background) -> None:
        self.definition: dict[str, Any] = {
            "name": CHECK,
            "description": CHECK_DESCRIPTION,
            "parameters": {"type": "object", "properties": {"id": {"type": "string", "description": TASK_ID}}},
        }
        self._turn = turn
        self._background = background

    async def run(self, arguments: dict[str, Any], progress: Progress) -> ToolResult:  # noqa: ARG002
        """See `tools.port.Tool`."""
        task_id = arguments.get("id")
        return ToolResult(text=await self._background.look(self._turn, task_id if isinstance(task_id, str) else None))


class Steps:
    """What people see of one sub-agent: statuses of the answer that it works for."""

    def __init__(self, progress: Progress, task: str) -> None:
        self._progress = progress
        self._task = task
        self._left = MOST_STEPS

    async def say(self, what: str, *, always: bool = False, done: bool = False) -> None:
        """Shows a step. always: also one of too many."""
        self._left -= 1
        if self._left < 0 and not always:
            return
        await self._progress.add_status(step(self._task, what, done=done))


def step(task: str, what: str, *, done: bool) -> dict[str, Any]:
    """A status that shows a step of the sub-agent that works on this task."""
    first = " ".join(task.split())
    name = first if len(first) <= _SHOWN else f"{first[:_SHOWN]}..."
    return {"action": NAME, "description": f'Sub-agent "{name}": {what}', "done": done}


async def work(turn: Turn, context: StageContext, steps: Steps, task: str) -> ToolResult:
    """Has a sub-agent work on a task, as a part of a turn."""
    services = context.services
    heard = _Heard()
    part = _turn(turn, task, services.config["subagents.system_prompt"].strip() or PROMPT)
    sender = AnswerSender(heard, services.gate.process_load, Audience(frozenset()), part.chat_id, part.message_id)
    running = RunningAnswer(
        turn=part,
        answer=Answer(time.time, None, LIMITS),
        sender=sender,
        store=_Unstored(),
        body={},
        pictures=context.pictures,
    )

    async def watched(_turn: Turn, draft: Draft, _context: StageContext) -> Draft:
        return msgspec.structs.replace(draft, tools={name: _Watched(tool, steps) for name, tool in draft.tools.items()})

    parted = Parted(
        progress=PartProgress(running, context, steps),
        max_rounds=services.config["subagents.max_iterations"],
        without=(affect,),
        last=(watched,),
    )
    try:
        await context.part(running, parted)
    finally:
        sender.close()
    return _result(running.answer.items, heard.error, max(services.config["subagents.max_output"], 1))


def _turn(turn: Turn, task: str, prompt: str) -> Turn:
    """The turn of a sub-agent: the model, the person, the tools and the parameters are those of the turn that hands over."""
    request, stored = turn.request, turn.stored
    own, of_chat = request.params.get("system"), stored.params.get("system")
    kept = f"{own}\n\n" if isinstance(own, str) and own and own != of_chat else ""
    ask = Ask(turn.ask.model_id, new_id())
    history = ({"role": "user", "content": task},)
    return msgspec.structs.replace(
        turn,
        task_id=new_id(),
        request=msgspec.structs.replace(
            request,
            asks=(ask,),
            parent_id=None,
            user_message=None,
            continued=False,
            messages=list(history),
            params=request.params | {"system": kept + prompt},
            files=[],
            tasks=Tasks(),
            stream=True,
        ),
        ask=ask,
        stored=Stored(
            chat_id=stored.chat_id,
            owner_id=stored.owner_id,
            title=stored.title,
            folder_id=stored.folder_id,
            is_new=False,
            answers={},
            history=history,
            truncated=False,
            question=task,
            wire={},
            params=stored.params,
            folder_prompt=stored.folder_prompt,
            folder_files=stored.folder_files,
        ),
        part_of=turn,
    )


def _result(items: Collection[Item], error: str | None, most: int) -> ToolResult:
    """What the model that handed over hears: the sub-agent's last word, or why there is none."""
    said = _last_word([item.wire() for item in items])
    text = said if len(said) <= most else said[:most] + CUT.format(len(said))
    if error is None:
        return ToolResult(text=text)
    return ToolResult(text=UNFINISHED.format(error) + (SO_FAR.format(text) if text else ""), failed=True)


def _last_word(items: list[dict[str, Any]]) -> str:
    """The text behind the last call, or all text where nothing is said there."""
    calls = [place for place, item in enumerate(items) if item["type"].startswith("function_call")]
    last = _text(items[calls[-1] + 1 :] if calls else items)
    return last or _text(items)


def _text(items: Iterable[dict[str, Any]]) -> str:
    texts = [part["text"] for item in items if item["type"] == "message" for part in item["content"]]
    return "\n\n".join(text.strip() for text in texts if text.strip())


class PartProgress(AnswerProgress):
    """What the stages and tools of a sub-agent tell: people see it with the answer that it works for, and are asked there."""

    def __init__(self, running: RunningAnswer, whole: StageContext, steps: Steps) -> None:
        super().__init__(running, whole.services)
        self._whole = whole
        self._steps = steps

    async def add_status(self, status: dict[str, Any]) -> None:
        """One of the sub-agent's steps."""
        said = status.get("description")
        if isinstance(said, str) and said and not status.get("hidden"):
            await self._steps.say(said[:500])

    async def add_source(self, source: dict[str, Any]) -> list[int]:
        """A source of the whole answer, which its model may cite by the same number."""
        return await self._whole.add_source(source)

    async def replace_statuses(self, action: str, statuses: list[dict[str, Any]]) -> None:
        """As `add_status`: what the whole answer shows stays."""
        del action
        for status in statuses:
            await self.add_status(status)

    async def emit(self, kind: str, data: dict[str, Any]) -> None:
        """The words are the sub-agent's own; all else is shown with the whole answer."""
        if kind in TEXTS:
            await super().emit(kind, data)
        else:
            await self._whole.emit(kind, data)

    async def ask(self, kind: str, data: dict[str, Any], *, seconds: float) -> Any:
        """Asked where the person looks. The call is not of the answer that is shown there: only who is there now can say."""
        token = calling.set(None)
        try:
            return await self._whole.ask(kind, data, seconds=seconds)
        finally:
            calling.reset(token)


class _Watched:
    """A tool whose calls are shown."""

    def __init__(self, tool: Tool, steps: Steps) -> None:
        self.definition, self.seconds = tool.definition, tool.seconds
        self._tool, self._steps = tool, steps

    async def run(self, arguments: dict[str, Any], progress: Progress) -> ToolResult:
        """See `tools.port.Tool`."""
        await self._steps.say(f"calls {self.definition['name']}")
        return await self._tool.run(arguments, progress)


class _Unstored:
    """`running.Store` of an answer that is a part of another, which stores what it gives."""

    def store_end(self, running: RunningAnswer, extra: dict[str, Any] | None) -> "asyncio.Future[None]":  # noqa: ARG002
        """See `running.Store`."""
        return self.store_now()

    def store_now(self) -> "asyncio.Future[None]":
        """See `running.Store`."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


class _Heard:
    """`events.Emitter` of an answer that nobody watches by itself: it notes why it failed."""

    def __init__(self) -> None:
        self.error: str | None = None

    def answer(self, event: ChatEvent, audience: Audience) -> None:  # noqa: ARG002
        """See `events.Emitter`."""
        if event.type == "chat:message:error":
            self.error = str(event.data["error"]["content"])

    async def chat(self, user_id: str, event: ChatEvent) -> None:
        """Nobody watches."""

    async def watchers(self, event: ChatEvent, besides: Collection[str], asker: str = "") -> None:
        """Nobody watches."""

    async def to_users(self, user_ids: Iterable[str], name: str, payload: dict[str, Any]) -> None:
        """Nobody watches."""

    def channel(self, event: ChannelEvent) -> None:
        """Nobody watches."""

    async def disconnect_user(self, user_id: str) -> None:
        """Nobody watches."""

    def is_connected(self, user_id: str) -> bool:  # noqa: ARG002
        """Nobody watches."""
        return False

    def note(self, note_id: str, name: str, payload: dict[str, Any], *, editors: bool = False) -> None:
        """Nobody watches."""

    async def is_editing(self, user_id: str, note_id: str) -> bool:  # noqa: ARG002
        """Nobody watches."""
        return False
