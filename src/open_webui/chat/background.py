"""Sub-agents that go on after the answer that handed them over: a durable job each, whose result comes into the chat.

Everything is done in the name of who asked, as the account, the chat and the settings are when it is done. What it found is on
record before it is delivered, and is delivered with the end of the job: a process that is killed loses nothing.
"""

import asyncio
import importlib
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from open_webui.access.identify import Identifier
from open_webui.chat import loop, permissions
from open_webui.chat.context.stage import Services
from open_webui.chat.request import Ask, PageRequest, Tasks
from open_webui.chat.store import Stored
from open_webui.chat.turn import Turn
from open_webui.config import Config
from open_webui.connections.base import Target
from open_webui.errors import Conflict, NotFound, OuiError, TooManyRequests, Unavailable
from open_webui.events import ChatEvent, Emitter
from open_webui.internal.db import UnitOfWork
from open_webui.internal.log import get_logger
from open_webui.jobs.kinds import Kind, Retry, Run
from open_webui.jobs.queue import Queue
from open_webui.models import chats, jobs, messages, turn_updates
from open_webui.models.base import new_id, now
from open_webui.models.chat_rows import ChatRow, LockedChat
from open_webui.models.jobs import Job
from open_webui.models.messages import MessageRow
from open_webui.principal import Principal
from open_webui.services.deps import FileDeps
from open_webui.services.files import Reader

log = get_logger(__name__)
KIND: Final = "background sub-agent"
# Seconds that one has for its task.
SECONDS: Final = 1_800.0
# At once in one process, and of one person there; seconds after which one more is looked at again.
AT_ONCE: Final = 16
AT_ONCE_OF_ONE: Final = 4
AGAIN_SECONDS: Final = 5.0
# That wait and work at once, of all people and all processes.
MOST: Final = 1_000
# Between two looks whether anybody still wants it, and whether the answer that handed over has ended.
LOOK_SECONDS: Final = 5.0
DELIVER_SECONDS: Final = 2.0
# Sources that are named below a result.
MOST_SOURCES: Final = 50
# Seconds that a stop waits for one that works.
STOP_SECONDS: Final = 10.0
TOO_MANY: Final = (
    "{} sub-agents of this person are at work in the background, and no more may be. Do it yourself, or wait."
)
FULL: Final = (
    "Too many sub-agents work in the background on this server at the moment. Do it yourself, or try again later."
)
TOO_LATE: Final = "it had half an hour, and was stopped."
STOPPED: Final = "it was stopped."
SOURCES: Final = "\n\nSources:\n"
UNASKED: Final = "Nobody can be asked: the sub-agent works in the background."
WORKING: Final = "Task {} is being worked on."
WAITING: Final = "Task {} waits for its turn."
UNKNOWN: Final = "There is no task {} at work. One that is over has left its result where it was handed over."
NONE: Final = "No task of this chat is at work in the background."


class Found(msgspec.Struct, frozen=True):
    """What a sub-agent gave: the text for the model, and files for people."""

    text: str
    failed: bool = False
    files: tuple[dict[str, Any], ...] = ()


class Handed(msgspec.Struct, frozen=True):
    """The payload: a task, and the call of the answer that handed it over. found: once it is there, it only has to be stored."""

    id: str
    user_id: str
    chat_id: str
    message_id: str
    call_id: str
    model_id: str
    task: str
    request: PageRequest
    found: Found | None = None

    @property
    def key(self) -> str:
        return f"{_of_person(self.user_id)}{self.chat_id}:{self.id}"


class Deps(FileDeps, Protocol):
    """What it needs of the state."""

    config: Config
    identifier: Identifier
    emitter: Emitter


class Background:
    """One for a process. pipeline: the steps of answers, as they are by now."""

    def __init__(self, deps: Deps, queue: Queue, services: Services, pipeline: "Callable[[], loop.Pipeline]") -> None:
        self._deps = deps
        self._queue = queue
        self._services = services
        self._pipeline = pipeline
        # How many of each person work here.
        self._working: Counter[str] = Counter()
        self.kind = Kind(
            name=KIND,
            payload=Handed,
            handler=self._do,
            retry=Retry(attempts=3, first=15.0, longest=60.0),
            time_limit=SECONDS + 120.0,
            concurrency=AT_ONCE,
            keep=0,
            given_up=self._given_up,
        )

    def takes(self, turn: Turn) -> bool:
        """Whether an answer may hand a task over that goes on after it."""
        config = self._deps.config
        if not config["subagents.background_enabled"] or config["subagents.max_async"] < 1:
            return False
        return not turn.is_temporary and turn.request.direct is None and turn.target.arena_id is None

    async def hand_over(self, turn: Turn, task: str, call_id: str) -> str:
        """Has a task worked on, and gives its id. Raises TooManyRequests, Unavailable."""
        most = self._deps.config["subagents.max_async"]
        handed = Handed(
            id=new_id(), user_id=turn.principal.id, chat_id=turn.chat_id, message_id=turn.message_id, call_id=call_id,
            model_id=turn.target.model_id, task=task, request=_kept(turn),
        )  # fmt: skip
        async with self._deps.database.write() as unit:
            if await jobs.count_live(unit.connection, _of_person(turn.principal.id)) >= most:
                raise TooManyRequests(TOO_MANY.format(most))
            if await jobs.count_live(unit.connection, _PREFIX) >= MOST:
                raise Unavailable(FULL)
            await self._queue.enqueue(unit, self.kind, handed, key=handed.key)
        return handed.id

    async def look(self, turn: Turn, task_id: str | None) -> str:
        """How far the tasks are that a person has handed over in this chat, or one of them: for the model."""
        async with self._deps.database.read() as connection:
            live = await jobs.live_with(connection, f"{_of_person(turn.principal.id)}{turn.chat_id}:")
        said = [_told(job, self.kind.read(job.payload)) for job in live if task_id in (None, job.key and job.key[-36:])]
        if not said:
            return NONE if task_id is None else UNKNOWN.format(task_id[:50])
        return "\n\n".join(said)

    async def stop_chat(self, chat_id: str) -> list[str]:
        """Stops all that work for a chat, whoever handed them over; returns their ids once that is stored."""
        async with self._deps.database.read() as connection:
            live = await jobs.live_with(connection, _PREFIX, f":{chat_id}:")
        stopped = []
        for job in live:
            try:
                await self._queue.cancel(job.id, seconds=STOP_SECONDS)
            except (Conflict, NotFound):
                # It is over.
                continue
            stopped.append(str(job.key)[-36:])
        return stopped

    # What the job does

    async def _do(self, run: Run, handed: Handed) -> None:
        """One person's tasks must not keep everybody else's waiting."""
        user_id = handed.user_id
        if handed.found is None and self._working[user_id] >= AT_ONCE_OF_ONE:
            await self._later(run, handed, AGAIN_SECONDS)
            return
        if handed.found is None:
            self._working[user_id] += 1
            try:
                found = await self._worked(run, handed)
            finally:
                self._working[user_id] -= 1
                if not self._working[user_id]:
                    del self._working[user_id]
            if found is None:
                return
            handed = msgspec.structs.replace(handed, found=found)
            async with self._deps.database.write() as unit:
                await run.checkpoint(unit, handed)
        await self._deliver(run, handed)

    async def _later(self, run: Run, handed: Handed, seconds: float, unit: UnitOfWork | None = None) -> None:
        """Puts the job in anew, as if it had not been tried."""
        if unit is None:
            async with self._deps.database.write() as own:
                await self._later(run, handed, seconds, own)
            return
        await run.commit(unit)
        at = await self._queue.clock(unit.connection) / 1000 + seconds
        await self._queue.enqueue(unit, self.kind, handed, key=handed.key, run_at=at)

    async def _worked(self, run: Run, handed: Handed) -> Found | None:
        """What the sub-agent gave, or why it gave nothing; None where nobody wants to know any more.

        Raises TooManyRequests and Unavailable where it can't begin now.
        """
        try:
            turn = await self._turn(handed)
        except (TooManyRequests, Unavailable):
            raise
        except OuiError as error:
            return _failed(error.detail)
        if turn is None:
            return None
        work = asyncio.create_task(self._part(run, turn, handed.task), name=f"background sub-agent {handed.id}")
        unwanted = asyncio.create_task(self._unwanted(handed), name=f"wanted {handed.id}")
        try:
            done, _ = await asyncio.wait({work, unwanted}, timeout=SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if work in done:
                return work.result()
            return _failed(TOO_LATE) if not done else None
        finally:
            for task in (work, unwanted):
                task.cancel()
            await asyncio.gather(work, unwanted, return_exceptions=True)

    async def _asker(self, handed: Handed) -> Principal | None:
        """Who handed it over, where the account and the settings still allow it."""
        config = self._deps.config
        principal = await self._deps.identifier.account(handed.user_id)
        is_on = config["subagents.enable"] and config["subagents.background_enabled"]
        return principal if is_on and principal is not None and principal.is_active else None

    async def _wanted(self, handed: Handed) -> tuple[Principal, ChatRow, MessageRow] | None:
        """Who asks, the chat and the answer; None where one is gone, or may not be written to any more."""
        principal = await self._asker(handed)
        if principal is None:
            return None
        async with self._deps.database.read() as connection:
            chat = await chats.get(connection, principal, handed.chat_id, "write")
            row = None if chat is None else await messages.get(connection, handed.chat_id, handed.message_id)
        return None if chat is None or row is None else (principal, chat, row)

    async def _unwanted(self, handed: Handed) -> None:
        """Returns once nobody wants the result any more."""
        while await self._wanted(handed) is not None:  # noqa: ASYNC110 - it is a row of the database
            await asyncio.sleep(LOOK_SECONDS)

    async def _turn(self, handed: Handed) -> Turn | None:
        """The answer that handed it over, as it would be asked now. Raises OuiError."""
        wanted = await self._wanted(handed)
        if wanted is None:
            return None
        principal, chat, row = wanted
        target: Target = await self._services.gate.target(principal, handed.model_id)
        prompt: str | None = None
        attached: list[dict[str, Any]] = []
        if chat.folder_id is not None:
            async with self._deps.database.read() as connection:
                prompt, attached = await turn_updates.folder_brings(connection, chat.folder_id)
        params = chat.body.get("params")
        stored = Stored(
            chat_id=chat.id, owner_id=chat.user_id, title=chat.title, folder_id=chat.folder_id, is_new=False,
            answers={row.id: row}, history=(), truncated=False, question="", wire={},
            params=params if isinstance(params, dict) else {}, folder_prompt=prompt, folder_files=tuple(attached),
        )  # fmt: skip
        return Turn(
            task_id=handed.id,
            principal=principal,
            request=permissions.permitted(principal, handed.request),
            ask=handed.request.asks[0],
            stored=permissions.permitted_chat(principal, stored),
            target=target,
        )

    async def _part(self, run: Run, turn: Turn, task: str) -> Found:
        # Not needed to start.
        subagents: Any = importlib.import_module("open_webui.chat.subagents")
        away = Away(self._services, Reader(self._deps, turn.principal, self._services.pictures), run)
        away.part = partial(loop.part, self._services, self._pipeline())
        steps = subagents.Steps(away, task)
        await steps.say("begins", always=True)
        result = await subagents.work(turn, away, steps, task)
        return Found(result.text + away.named_sources(), result.failed, tuple(away.files))

    async def _deliver(self, run: Run, handed: Handed) -> None:
        """Stores the result in the answer that handed over, with the end of the job; later while that is being written."""
        principal = await self._asker(handed)
        async with self._deps.database.write() as unit:
            await run.hold(unit)
            chat = None if principal is None else await chats.lock(unit.connection, principal, handed.chat_id)
            if chat is not None and not await self._stored(unit, chat, handed):
                await self._later(run, handed, DELIVER_SECONDS, unit)
                return
            await run.commit(unit)

    async def _stored(self, unit: UnitOfWork, chat: LockedChat, handed: Handed) -> bool:
        """Puts the result where the task was handed over. False: the answer is being written; it is waited for."""
        connection = unit.connection
        row = await messages.lock(connection, chat, handed.message_id)
        if row is None:
            return True
        if not row.done:
            return False
        if _put(row, handed):
            row.updated_at = now()
            await messages.update(connection, chat, [row], {"body"})
            await turn_updates.touch(connection, [chat.id])
            unit.after_commit(partial(self._tell, chat, handed))
        return True

    async def _tell(self, chat: ChatRow, handed: Handed) -> None:
        """Pages that show the chat fetch it again; lists show that there is something new."""
        emitter, people = self._deps.emitter, {chat.user_id, handed.user_id}
        reload = ChatEvent(chat.id, handed.message_id, "chat:reload")
        listed = ChatEvent(chat.id, handed.message_id, "chat:list", {"chat_id": chat.id, "folder_id": chat.folder_id})
        for user_id in people:
            await emitter.chat(user_id, reload)
            await emitter.chat(user_id, listed)
        await emitter.watchers(reload, people, handed.user_id)

    async def _given_up(self, unit: UnitOfWork, handed: Handed, why: str) -> None:
        """Says in the chat that nothing came of it."""
        chat = await chats.lock_for_server(unit.connection, handed.chat_id)
        if chat is not None:
            reason = STOPPED if why == "It was cancelled." else why
            await self._stored(unit, chat, msgspec.structs.replace(handed, found=handed.found or _failed(reason)))


class Away:
    """What stages and tools of a sub-agent may tell, while nobody looks on: `StageContext` of the answer that it works for."""

    part: "Callable[..., Awaitable[bool]]"

    def __init__(self, services: Services, pictures: Reader, run: Run) -> None:
        self.services = services
        self.pictures = pictures
        self.files: list[dict[str, Any]] = []
        self._sources: list[dict[str, Any]] = []
        self._run = run

    async def add_status(self, status: dict[str, Any]) -> None:
        """A step: administrators see it with the job."""
        said = status.get("description")
        self._run.progress(None, str(said)[:200] if said else None)

    async def add_source(self, source: dict[str, Any]) -> list[int]:
        """The numbers are those of the list below the result."""
        self._sources.append(source)
        numbers: list[int] = _sources().numbers_of(self._sources)
        return numbers

    async def emit(self, kind: str, data: dict[str, Any]) -> None:
        """Files come with the result; whatever else would be shown is not."""
        if kind in ("files", "chat:message:files") and isinstance(data.get("files"), list):
            self.files += [one for one in data["files"] if isinstance(one, dict)]
        elif kind in ("source", "citation"):
            await self.add_source(data)

    async def ask(self, _kind: str, _data: dict[str, Any], *, seconds: float) -> Any:  # noqa: ARG002
        """Raises Unavailable: nobody is asked."""
        raise Unavailable(UNASKED)

    def named_sources(self) -> str:
        """The sources with their numbers, to stand below the result."""
        names: dict[int, str] = {}
        for count, source in enumerate(self._sources, 1):
            about = source.get("source")
            name = str(about.get("name") or about.get("id") or "") if isinstance(about, dict) else ""
            for number in _sources().numbers_of(self._sources[:count]):
                names.setdefault(number, name[:500])
        lines = [f"[{number}] {name}" for number, name in sorted(names.items())[:MOST_SOURCES]]
        return SOURCES + "\n".join(lines) if lines else ""


_PREFIX: Final = "sub-agent:"


def _of_person(user_id: str) -> str:
    return f"{_PREFIX}{user_id}:"


def _sources() -> Any:
    # Not needed to start.
    return importlib.import_module("open_webui.chat.sources")


def _failed(why: str) -> Found:
    subagents: Any = importlib.import_module("open_webui.chat.subagents")
    return Found(subagents.UNFINISHED.format(why), failed=True)


def _kept(turn: Turn) -> PageRequest:
    """What is needed of the question later on; what only its page could do is left out."""
    return msgspec.structs.replace(
        turn.request, session_id="", chat_id=turn.chat_id, asks=(Ask(turn.ask.model_id, turn.ask.message_id),),
        parent_id=None, user_message=None, continued=False, messages=None, files=[], tool_servers=[], tasks=Tasks(),
        new_chat=None,
    )  # fmt: skip


def _told(job: Job, handed: Handed) -> str:
    if handed.found is not None:
        return f"Task {handed.id}:\n{handed.found.text}"
    return (WORKING if job.state == "running" else WAITING).format(handed.id)


def _put(row: MessageRow, handed: Handed) -> bool:
    """Puts the result into the call's place of an answer. False where that is not there: it was given anew, or changed."""
    found, output = handed.found, row.body.get("output")
    if found is None or not isinstance(output, list):
        return False
    for place, item in enumerate(output):
        is_call = isinstance(item, dict) and item.get("type") == "function_call_output"
        if not is_call or item.get("call_id") != handed.call_id or handed.id not in str(item.get("output")):
            continue
        told = {**item, "output": [{"type": "input_text", "text": found.text}]}
        if found.files:
            told["files"] = list(found.files)
        subagents: Any = importlib.import_module("open_webui.chat.subagents")
        earlier = row.body.get("statusHistory")
        end = subagents.step(handed.task, "failed" if found.failed else "done", done=True)
        row.body |= {
            "output": [*output[:place], told, *output[place + 1 :]],
            "statusHistory": [*(earlier if isinstance(earlier, list) else []), end],
        }
        return True
    return False
