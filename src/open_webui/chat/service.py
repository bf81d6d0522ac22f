"""Starts, watches and stops answers. The server owns them: a closed tab ends nothing, a stop from anywhere ends one."""

import asyncio
import secrets
import time
from collections.abc import Sequence
from typing import Any

from open_webui.chat import loop
from open_webui.chat.aftermath import Aftermath
from open_webui.chat.assemble import Answer, items_of
from open_webui.chat.delivery.record import Live, Recorder
from open_webui.chat.delivery.sender import AnswerSender
from open_webui.chat.delivery.streams import Streams
from open_webui.chat.request import PageRequest
from open_webui.chat.store import Place, Stored, store
from open_webui.chat.turn import Turn
from open_webui.config import Config
from open_webui.connections.base import Models
from open_webui.env import Settings
from open_webui.errors import Conflict, Forbidden, NotFound, Unavailable
from open_webui.events import Audience, ChatEvent, Emitter
from open_webui.internal.db import Database
from open_webui.internal.load import Load
from open_webui.internal.log import get_logger
from open_webui.models import chats, generations, messages
from open_webui.models import turns as chat_turns
from open_webui.models.base import new_id
from open_webui.principal import Principal

log = get_logger(__name__)
UNSTORED = "The end of this answer could not be stored. The log of the server has the reason."
# How often it is looked whether another process left answers behind.
SWEEP_SECONDS = 5.0
# Answers in all, so that a loop in somebody's script can't fill the memory.
MAX_RUNNING = 2_000
MAX_RUNNING_PER_USER = 200
# How long a stop waits for the answer's end to be stored. A database that is away longer gets it later.
END_SECONDS = 10.0


class Running:
    """One task: its live answer, and whether its end was asked for by a person or by the server."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.task: asyncio.Task[None] | None = None
        self.going_down = False
        self._started = asyncio.Event()
        self._ending = False

    def began(self) -> None:
        """The task runs: from now on cancelling it ends its answer in good order."""
        self._started.set()

    async def end(self) -> None:
        """Ends the answer, once however often it is asked for, and waits for its end for a while."""
        await self._started.wait()
        if self.task is None:
            return
        if not self._ending:
            self._ending = True
            self.task.cancel()
        await asyncio.wait({self.task}, timeout=END_SECONDS)


class Turns:
    """All answers of this process."""

    def __init__(
        self, settings: Settings, database: Database, config: Config, catalogue: Models, emitter: Emitter
    ) -> None:
        self.settings = settings
        self.database = database
        self.config = config
        self.catalogue = catalogue
        self.emitter = emitter
        self.instance = secrets.token_hex(8)
        self.load = Load()
        self.streams = Streams()
        self._place = Place(database, self.instance, settings.chat_history_max_chars)
        self.recorder = Recorder(database, settings.checkpoint_interval, self._lives, self.instance)
        self._running: dict[str, Running] = {}
        self._by_chat: dict[str, set[str]] = {}
        self._starting: set[tuple[str | None, str]] = set()
        self._after: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.Task[None] | None = None
        self._closing = False

    async def open(self) -> None:
        """Marks what an ended process left unfinished, then starts the journal."""
        await self.recover(exclusive=self.database.is_sqlite)
        self.recorder.open()
        if not self.database.is_sqlite:
            self._sweeper = asyncio.create_task(self._sweep(), name="generation sweep")

    async def close(self) -> None:
        """Interrupts what runs, waits until all of it is stored, and closes the journal."""
        self._closing = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        running = list(self._running.values())
        self.recorder.hurry()
        for entry in running:
            entry.going_down = True
        for task in self._after:
            task.cancel()
        await asyncio.gather(*(entry.end() for entry in running), *self._after, return_exceptions=True)
        await self.recorder.close()

    async def recover(self, *, exclusive: bool) -> int:
        """Marks the messages of lost generations as interrupted; returns how many there were."""
        async with self.database.read() as connection:
            found = await generations.leftovers(connection, exclusive=exclusive)
        if not found:
            return 0
        async with self.database.write() as unit:
            for entry in found:
                row = await messages.get(unit.connection, entry.chat_id, entry.message_id)
                if row is not None and not row.done:
                    body = row.body | loop.interruption(row.body)
                    await messages.save_answers(unit.connection, [(row.n, row.content, body, True)])
            await generations.end(unit.connection, [entry.task_id for entry in found])
        log.info("answers were interrupted by an earlier end of the server", count=len(found))
        return len(found)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self.recover(exclusive=False)
            except Exception:
                # A lost database must not end the sweep; the next round tries again.
                log.warning("the generation sweep failed", exc_info=True)

    def _lives(self) -> list[Live]:
        return [entry.live for entry in self._running.values()]

    async def start(self, principal: Principal, request: PageRequest) -> dict[str, Any]:
        """Stores the question and its empty answers, starts a task an answer, and returns the wire's reply.

        Raises NotFound for a chat that the caller may not write to, or a model that he may not use.
        """
        if self._closing:
            raise Unavailable("The server is restarting. Try again in a moment.")
        mine = sum(1 for entry in self._running.values() if entry.live.turn.principal.id == principal.id)
        if len(self._running) >= MAX_RUNNING or mine + len(request.asks) > MAX_RUNNING_PER_USER:
            raise Unavailable("Too many answers are being written at the moment. Wait for one to end.")
        if len(request.asks) > 1 and not principal.may("chat.multiple_models"):
            raise Forbidden("You may not ask several models at once on this server.")
        if request.continued and not principal.may("chat.continue_response"):
            raise Forbidden("You may not continue answers on this server.")
        wanted = {(request.chat_id, ask.message_id) for ask in request.asks}
        await self._check_free(principal, wanted)
        self._starting |= wanted
        try:
            return await self._start(principal, request)
        finally:
            self._starting -= wanted

    async def _check_free(self, principal: Principal, wanted: set[tuple[str | None, str]]) -> None:
        """Two answers can't be written into one message. Raises Conflict, NotFound for somebody else's chat."""
        running = {(entry.live.turn.chat_id, entry.live.turn.message_id) for entry in self._running.values()}
        for chat_id, _ in wanted & (running | self._starting):
            if chat_id is not None:
                await self.check(principal, chat_id, write=True)
                raise Conflict("This answer is being written already. Stop it first.")

    async def _start(self, principal: Principal, request: PageRequest) -> dict[str, Any]:
        for ask in request.asks:
            await self.catalogue.heard_of(ask.model_id)
        targets = [self.catalogue.resolve(principal, ask.model_id) for ask in request.asks]
        asks = list(zip(request.asks, targets, [new_id() for _ in targets], strict=True))
        stored = await store(self._place, principal, request, [(ask, task_id) for ask, _, task_id in asks])
        turns = [
            Turn(task_id=task_id, principal=principal, request=request, ask=ask, stored=stored, target=target)
            for ask, target, task_id in asks
        ]
        if self._closing:
            # Its generations stay noted, so the next start marks the answers as interrupted.
            raise Unavailable("The server is restarting. Try again in a moment.")
        await self._announce(principal, request, stored)
        for number, turn in enumerate(turns):
            self._spawn(turn, stored.title, first=number == 0)
        return {"status": True, "task_ids": [turn.task_id for turn in turns], "chat_id": stored.chat_id}

    async def _announce(self, principal: Principal, request: PageRequest, stored: Stored) -> None:
        """Tells that a turn began: lists of the people involved reload, others who look on get its messages."""
        if request.is_temporary:
            return
        about = request.user_message["id"] if request.user_message else request.asks[0].message_id
        people = {principal.id, stored.owner_id}
        data = {"chat_id": stored.chat_id, "folder_id": stored.folder_id}
        for user_id in people:
            await self.emitter.chat(user_id, ChatEvent(stored.chat_id, about, "chat:list", data))
        turn = {"currentId": request.asks[0].message_id, "messages": stored.wire}
        await self.emitter.watchers(ChatEvent(stored.chat_id, about, "chat:messages", turn), people)

    def _spawn(self, turn: Turn, title: str, *, first: bool) -> None:
        earlier = items_of(turn.continues.get("output"), turn.continues.get("content", "")) if turn.continues else None
        audience = Audience(turn.people, turn.session_id)
        room = AnswerSender(self.emitter, self.load, audience, turn.chat_id, turn.message_id)
        live = Live(turn=turn, answer=Answer(time.time, earlier), room=room, body=turn.body, title=title)
        running = Running(live)
        self._running[turn.task_id] = running
        self._by_chat.setdefault(turn.chat_id, set()).add(turn.task_id)
        running.task = asyncio.create_task(self._run(running, first=first), name=f"answer {turn.message_id}")

    async def _run(self, running: Running, *, first: bool) -> None:
        """An answer from its first event to its last. Never raises: it is nobody's awaited task."""
        running.began()
        live = running.live
        turn = live.turn
        aftermath = Aftermath(live, self.config, self.catalogue, self.database, self.recorder)
        complete = False
        try:
            await live.room.event("chat:active", {"active": True, "folder_id": turn.folder_id})
            if first:
                aftermath.begin()
            complete = await loop.answer(live, self.recorder)
        except asyncio.CancelledError:
            await (loop.interrupted if running.going_down else loop.stopped)(live, self.recorder)
        except Exception:
            # The task runner's place: the journal refused even after its tries.
            log.exception("an answer's end could not be stored", chat_id=turn.chat_id, message_id=turn.message_id)
            await live.room.ordered("chat:message:error", {"error": {"content": UNSTORED}, "done": True})
        finally:
            self._forget(turn)
            live.room.close()
        if self._closing:
            aftermath.cancel()
            return
        # The answer is over; what follows must not keep the chat from being asked again.
        after = asyncio.create_task(self._follow(aftermath, live, complete=complete, first=first))
        self._after.add(after)
        after.add_done_callback(self._after.discard)

    async def _follow(self, aftermath: Aftermath, live: Live, *, complete: bool, first: bool) -> None:
        try:
            await aftermath.finish(complete=complete, first=first)
        except Exception:
            # The task runner's place: what follows an answer must not leave its chat looking busy.
            log.exception("what follows an answer failed", chat_id=live.turn.chat_id)
        if live.turn.chat_id not in self._by_chat:
            await live.room.event("chat:active", {"active": False, "folder_id": live.turn.folder_id})

    def _forget(self, turn: Turn) -> None:
        self._running.pop(turn.task_id, None)
        tasks = self._by_chat.get(turn.chat_id)
        if tasks is not None:
            tasks.discard(turn.task_id)
            if not tasks:
                del self._by_chat[turn.chat_id]

    def active_chats(self) -> frozenset[str]:
        """Chats in which somebody is being answered."""
        return frozenset(self._by_chat)

    def overlay(self, chat_id: str) -> dict[str, dict[str, Any]]:
        """The running answers of a chat as they are now, by message id: fields that replace the stored ones."""
        out = {}
        for task_id in self._by_chat.get(chat_id, ()):
            live = self._running[task_id].live
            live.room.cut()
            content, body = live.snapshot(done=False)
            out[live.turn.message_id] = {**body, "content": content, "done": False}
        return out

    def tasks_of(self, principal: Principal, chat_id: str) -> list[str]:
        """The running answers of a chat. The id of a temporary one is made up by its page, so only own ones count."""
        found = [(task, self._running[task].live.turn) for task in self._by_chat.get(chat_id, ())]
        return sorted(task for task, turn in found if not turn.is_temporary or turn.principal.id == principal.id)

    def all_tasks(self) -> list[str]:
        return list(self._running)

    async def stop_chat(self, principal: Principal, chat_id: str) -> list[str]:
        """Stops all answers of a chat; returns once their ends are stored."""
        return await self._stop(self.tasks_of(principal, chat_id))

    async def stop_task(self, task_id: str) -> bool:
        return bool(await self._stop([task_id]))

    def askers(self) -> set[str]:
        """Ids of the users who are being answered."""
        return {entry.live.turn.principal.id for entry in self._running.values()}

    async def stop_user(self, user_id: str) -> None:
        """Stops everything that a user asked for."""
        await self._stop([task for task, entry in self._running.items() if entry.live.turn.principal.id == user_id])

    async def stop_gone(self) -> None:
        """Stops the answers of chats that do not exist any more. To be called after chats were removed."""
        chat_ids = {e.live.turn.chat_id for e in self._running.values() if not e.live.turn.is_temporary}
        if not chat_ids:
            return
        async with self.database.read() as connection:
            left = await chat_turns.existing(connection, chat_ids)
        await self._stop([task for gone in chat_ids - left for task in self._by_chat.get(gone, ())])

    async def _stop(self, task_ids: Sequence[str]) -> list[str]:
        found = {task_id: entry for task_id in task_ids if (entry := self._running.get(task_id))}
        await asyncio.gather(*(entry.end() for entry in found.values()))
        return list(found)

    async def may_see(self, principal: Principal, chat_id: str, *, write: bool) -> bool:
        """Whether the caller may see (or steer) a chat's answers; a temporary chat is its asker's."""
        if any(self._running[t].live.turn.principal.id == principal.id for t in self._by_chat.get(chat_id, ())):
            return True
        async with self.database.read() as connection:
            row = await chats.get(
                connection,
                principal,
                chat_id,
                "write" if write else "read",
                admin_access=self.settings.enable_admin_chat_access,
            )
        return row is not None

    async def check(self, principal: Principal, chat_id: str, *, write: bool) -> None:
        """Raises NotFound unless `may_see`."""
        if not await self.may_see(principal, chat_id, write=write):
            raise NotFound
