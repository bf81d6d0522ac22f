"""The chat's parts, put together: opened and closed in their order."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol, cast

from llamaforge.events.parts import Limits
from open_webui.chat import recovery
from open_webui.chat.aftermath import Following, Left
from open_webui.chat.context.stage import Background, Note, Services
from open_webui.chat.delivery.streams import Streams
from open_webui.chat.journal import FOLLOW_SECONDS, Journal
from open_webui.chat.loop import Pipeline
from open_webui.chat.registry import RunningAnswers
from open_webui.chat.starter import Starter
from open_webui.chat.store import TurnStorage
from open_webui.chat.usage_log import UsageLog
from open_webui.connections.base import Models
from open_webui.connections.gate import Gate
from open_webui.events import Audience, ChatEvent, Streamer
from open_webui.internal.bus.port import Bus
from open_webui.internal.load import Load
from open_webui.internal.log import get_logger
from open_webui.internal.supervise import supervise
from open_webui.jobs.kinds import Kind
from open_webui.principal import Principal
from open_webui.services.deps import Deps
from open_webui.services.processes import Lease
from open_webui.services.spending import Spending

if TYPE_CHECKING:
    from open_webui.services.images.making import Pictures
    from open_webui.services.library import Library
    from open_webui.services.plugin_filters import Filters
    from open_webui.services.toolbox import Toolbox

log = get_logger(__name__)


class ChatDeps(Deps, Protocol):
    """What the chat's parts need of the state."""

    pictures: "Pictures"


class ChatParts:
    """running: the answers of this process. starter: begins new ones. journal: stores them. gate: to providers.

    streams: open streams of API clients. lease: says to other processes that this one lives.
    """

    def __init__(
        self,
        deps: ChatDeps,
        catalogue: Models,
        *,
        bus: Bus,
        load: Load,
        library: "Callable[[], Library]",
        toolbox: "Callable[[], Toolbox]",
        filters: "Callable[[], Filters]",
        note: Note,
    ) -> None:
        """deps: the server's state, of which only some is there already. library, toolbox, filters:
        give its documents, tools and filters. note: hears what happens.
        """
        settings, database, emitter, config = deps.settings, deps.database, deps.emitter, deps.config
        self.settings = settings
        self.database = database
        self.blobs = deps.blobs
        self.emitter = emitter
        self.bus = bus
        # Works on after answers; set by who has the queue of jobs.
        self.background: Background | None = None
        instance = bus.instance
        self.lease = Lease(settings, database, instance)
        self._sweeper: asyncio.Task[None] | None = None
        usage = UsageLog()
        self.spending = Spending(database)
        self.gate = Gate(catalogue, usage, load, budget=self.spending)
        self.streams = Streams(settings.max_api_calls_per_user, bus)
        self.running = RunningAnswers(settings, database, load)
        self.journal = Journal(database, settings.checkpoint_interval, self.running.all, usage)
        if not database.is_sqlite:
            from open_webui.chat.others import Others  # noqa: PLC0415 - only where there may be any

            self.running.others = Others(self.running, self.journal, database, bus)
        limits = Limits(settings.chat_answer_max_chars, settings.chat_answer_max_bytes)
        storage = TurnStorage(database, instance, settings.chat_history_max_chars, limits)
        self.services = Services(
            database=database,
            config=config,
            gate=self.gate,
            emitter=cast("Streamer", emitter),
            library=library,
            toolbox=toolbox,
            filters=filters,
            note=note,
            pictures=lambda: deps.pictures,
            background=lambda: self.background,
        )
        self.starter = Starter(
            storage=storage,
            services=self.services,
            catalogue=catalogue,
            emitter=emitter,
            running=self.running,
            journal=self.journal,
            files=self,
        )
        self._following = partial(
            Following, config, catalogue, database, self.gate, emitter, max_chars=settings.chat_history_max_chars
        )
        self.starter.pipeline = Pipeline(
            max_rounds=settings.chat_response_max_tool_call_iterations, max_result=settings.chat_tool_result_max_chars
        )

    def following(self, account: Callable[[str], Awaitable[Principal | None]]) -> Kind[Left]:
        """The job that does what an ended process left to do after its answers."""
        return self._following(account=account).kind()

    async def open(self) -> None:
        """Marks what an ended process left unfinished, then starts the journal."""
        await self.lease.open()
        await recovery.recover(self.database, None if self.database.is_sqlite else self.lease.instance)
        self.journal.open()
        if not self.database.is_sqlite:
            self._sweeper = supervise("generation sweep", self._sweep)
            self.streams.elsewhere.open()

    async def close(self) -> None:
        """Interrupts what runs, waits until all of it is stored, and closes the journal."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self.streams.elsewhere.close()
        await self.starter.close()
        await self.spending.close()
        await self.journal.close()
        await self.lease.close()

    def _tell(self, ended: recovery.Ended) -> None:
        """Tells the tabs of who asked, and of the chat's owner, that the answer of a lost process is over."""
        left = ended.left
        audience = Audience(frozenset({left.user_id, left.owner_id}), asker=left.user_id)
        error = {"error": ended.body["error"], "done": True}
        self.emitter.answer(ChatEvent(left.chat_id, left.message_id, "chat:message:error", error), audience)
        if left.chat_id not in self.running.active_chats():
            self.emitter.answer(ChatEvent(left.chat_id, left.message_id, "chat:active", {"active": False}), audience)

    async def _sweep(self) -> None:
        """Ends what other processes left behind, and what others took from this one."""
        for count in itertools.count(1):
            await asyncio.sleep(recovery.SWEEP_SECONDS)
            try:
                repair = count % recovery.REPAIR_EVERY == 0
                await recovery.recover(self.database, self.lease.instance, repair=repair, tell=self._tell)
                await self.running.give_up_taken(self.lease.instance)
                await recovery.release_jobs(self.database, self.lease.instance, FOLLOW_SECONDS)
            except Exception:
                # The task runner's place: a database that is away is looked at again.
                log.warning("it could not be seen whether another process left answers", exc_info=True)
