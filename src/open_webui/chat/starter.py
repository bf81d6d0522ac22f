"""Starts answers and sees each to its end. The server owns them: a closed tab ends nothing, a stop from anywhere ends one."""

import asyncio
import importlib
import time
from collections import Counter
from functools import partial
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from open_webui.chat import endings, loop
from open_webui.chat.aftermath import Aftermath
from open_webui.chat.assemble import Answer, items_of
from open_webui.chat.context.stage import Services
from open_webui.chat.delivery.sender import AnswerSender
from open_webui.chat.journal import Journal
from open_webui.chat.loop import Pipeline
from open_webui.chat.permissions import permitted, permitted_chat
from open_webui.chat.registry import RunningAnswers, RunningTask
from open_webui.chat.request import Ask, PageRequest
from open_webui.chat.running import AnswerTaken, RunningAnswer
from open_webui.chat.store import Stored, TurnStorage, store
from open_webui.chat.turn import Turn
from open_webui.connections.base import Models, Target
from open_webui.errors import Unavailable
from open_webui.events import Audience, ChatEvent, Emitter
from open_webui.internal.log import get_logger
from open_webui.models import messages, turn_updates
from open_webui.models.base import new_id
from open_webui.principal import Principal
from open_webui.services.deps import FileDeps
from open_webui.services.event_names import Happened
from open_webui.services.files import Reader

log = get_logger(__name__)
UNSTORED = "The end of this answer could not be stored. The log of the server has the reason."
RESTARTING = "The server is restarting. Try again in a moment."


class Starter:
    """Takes pages' requests and runs a task for each answer. pipeline: the steps of those that begin from now on."""

    def __init__(
        self,
        *,
        storage: TurnStorage,
        services: Services,
        catalogue: Models,
        emitter: Emitter,
        running: RunningAnswers,
        journal: Journal,
        files: FileDeps,
    ) -> None:
        self.pipeline = Pipeline()
        self._files = files
        self._storage = storage
        self._catalogue = catalogue
        self._emitter = emitter
        self._running = running
        self._journal = journal
        self.services = services
        self._after: set[asyncio.Task[None]] = set()
        # Of each chat, how many of its answers have something to follow them still.
        self._following: Counter[str] = Counter()
        self._closing = False

    async def close(self) -> None:
        """Starts nothing more, interrupts what runs, and waits until the ends are stored (or for END_SECONDS)."""
        self._closing = True
        self._journal.begin_shutdown()
        entries = self._running.entries()
        for entry in entries:
            entry.is_going_down = True
        for task in self._after:
            task.cancel()
        await asyncio.gather(*(entry.end() for entry in entries), *self._after, return_exceptions=True)

    async def start(self, principal: Principal, request: PageRequest) -> dict[str, Any]:
        """Stores the question and its empty answers, starts a task an answer, and returns the wire's reply.

        Raises NotFound for a chat that the caller may not write to, or a model that he may not use; Forbidden; Conflict for an
        answer that is being written; TooManyRequests and Unavailable over the limits.
        """
        if self._closing:
            raise Unavailable(RESTARTING)
        request = permitted(principal, request)
        keys = {(request.chat_id, ask.message_id) for ask in request.asks}
        with self._running.reserve(principal, len(request.asks)):
            await self._running.check_free(principal, keys)
            with self._running.starting(keys):
                return await self._start(principal, request)

    async def _start(self, principal: Principal, request: PageRequest) -> dict[str, Any]:
        targets = [await self._target(principal, request, ask) for ask in request.asks]
        asks = list(zip(request.asks, targets, [new_id() for _ in targets], strict=True))
        chat_id = None if request.is_temporary else request.chat_id
        others = self._running.others
        if chat_id is not None and (
            self._running.is_active(chat_id) or (others is not None and await others.writes(chat_id))
        ):
            await self._running.check(principal, chat_id, write=True)
            # The question may follow an answer that is still being written.
            await (others or self._journal).store_running(chat_id)
        stored = await store(self._storage, principal, request, [(ask, task_id) for ask, _, task_id in asks])
        stored = permitted_chat(principal, stored)
        turns = [
            Turn(task_id=task_id, principal=principal, request=request, ask=ask, stored=stored, target=target)
            for ask, target, task_id in asks
        ]
        if self._closing:
            # Its generations stay noted, so the next start marks the answers as interrupted.
            raise Unavailable(RESTARTING)
        await self._announce(principal, request, stored)
        for number, turn in enumerate(turns):
            self._spawn(turn, stored.title, first=number == 0)
        return {"status": True, "task_ids": [turn.task_id for turn in turns], "chat_id": stored.chat_id}

    async def _target(self, principal: Principal, request: PageRequest, ask: Ask) -> Target:
        """The model of an answer. Raises NotFound, and Forbidden where connections of one's own are off."""
        if request.direct is None or request.direct["id"] != ask.model_id:
            return await self.services.gate.target(principal, ask.model_id)
        # Not needed to start.
        direct: Any = importlib.import_module("open_webui.connections.direct")
        about = direct.About(request.session_id, request.chat_id, ask.message_id)
        target: Target = direct.target_of(self.services.config, self.services.emitter, principal, request.direct, about)
        return target

    async def _announce(self, principal: Principal, request: PageRequest, stored: Stored) -> None:
        """Tells that a turn began: lists of the people involved reload, others who look on get its messages."""
        if request.is_temporary:
            return
        if stored.is_new:
            self.services.note(Happened("chat.created", {"type": "chat", "id": stored.chat_id}), principal)
        about = request.user_message["id"] if request.user_message else request.asks[0].message_id
        people = {principal.id, stored.owner_id}
        data = {"chat_id": stored.chat_id, "folder_id": stored.folder_id}
        for user_id in people:
            await self._emitter.chat(user_id, ChatEvent(stored.chat_id, about, "chat:list", data))
        turn = {"currentId": request.asks[0].message_id, "messages": stored.wire}
        await self._emitter.watchers(ChatEvent(stored.chat_id, about, "chat:messages", turn), people, principal.id)

    def _spawn(self, turn: Turn, title: str, *, first: bool) -> None:
        earlier = items_of(turn.continues.get("output"), turn.continues.get("content", "")) if turn.continues else None
        audience = Audience(turn.people, turn.session_id, turn.principal.id)
        running = RunningAnswer(
            turn=turn,
            answer=Answer(time.time, earlier, self._storage.limits),
            sender=AnswerSender(self._emitter, self._running.load, audience, turn.chat_id, turn.message_id),
            store=self._journal,
            body=turn.body,
            title=title,
            pictures=Reader(self._files, turn.principal, self.services.pictures),
        )
        running.read_title = partial(self._title_of, turn)
        entry = self._running.add(running)
        entry.task = asyncio.create_task(self._run(entry, first=first), name=f"answer {turn.message_id}")

    async def _title_of(self, turn: Turn) -> str | None:
        """What a chat is called; None for a temporary one, and where the database can't say it."""
        if turn.is_temporary:
            return None
        try:
            async with self._storage.database.read() as connection:
                return await turn_updates.title_of(connection, turn.chat_id)
        except (SQLAlchemyError, OSError):
            return None

    async def _run(self, entry: RunningTask, *, first: bool) -> None:
        """An answer from its first event to its last, whatever happens to it."""
        entry.began()
        running = entry.running
        services = self.services
        aftermath = Aftermath(
            running,
            services.config,
            self._catalogue,
            services.database,
            services.gate,
            first=first,
            instance=self._storage.instance,
        )
        running.followed_by = aftermath.job
        complete = False
        try:
            complete = await self._answer(entry, aftermath, first=first)
        finally:
            self._running.remove(running)
            running.sender.close()
            if self._closing:
                await aftermath.cancel()
            else:
                # The answer is over; what follows must not keep the chat from being asked again.
                self._following[running.turn.chat_id] += 1
                after = asyncio.create_task(self._follow(aftermath, running, complete=complete))
                self._after.add(after)
                after.add_done_callback(self._after.discard)

    async def _answer(self, entry: RunningTask, aftermath: Aftermath, *, first: bool) -> bool:
        """Whether the answer is complete. Its end is told, also one that can't be stored."""
        running = entry.running
        turn = running.turn
        try:
            try:
                await running.sender.event("chat:active", {"active": True, "folder_id": turn.folder_id})
                if first:
                    aftermath.begin()
                return await loop.answer(running, self.services, self.pipeline)
            except asyncio.CancelledError:
                await (endings.interrupted if entry.is_going_down else endings.stopped)(running)
        except AnswerTaken:
            async with self._storage.database.read() as connection:
                row = await messages.get(connection, turn.chat_id, turn.message_id)
            await endings.taken(running, row)
        except Exception:
            # The task runner's place: the journal refused even after its tries.
            log.exception("an answer's end could not be stored", chat_id=turn.chat_id, message_id=turn.message_id)
            await running.sender.ordered("chat:message:error", {"error": {"content": UNSTORED}, "done": True})
        return False

    async def _follow(self, aftermath: Aftermath, running: RunningAnswer, *, complete: bool) -> None:
        turn = running.turn
        try:
            await aftermath.finish(complete=complete)
        except Exception:
            # The task runner's place: what follows an answer must not leave its chat looking busy.
            log.exception("what follows an answer failed", chat_id=turn.chat_id)
        finally:
            self._following[turn.chat_id] -= 1
            if is_last := self._following[turn.chat_id] == 0:
                del self._following[turn.chat_id]
        # Of several answers at once the last one says that all is over.
        if not is_last or self._running.is_active(turn.chat_id):
            return
        others = self._running.others
        # Who looks last sees nobody: each has ended in the database before it looks.
        if others is None or turn.is_temporary or not await others.writes(turn.chat_id):
            await running.sender.event("chat:active", {"active": False, "folder_id": turn.folder_id})
