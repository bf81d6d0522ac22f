"""What follows an answer: its chat's title (asked for while the answer is written), tags and follow-up questions.

A job is stored with the answer's end, and goes when all that is done: should the process end before, another does the rest
(`Following`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, Literal

import msgspec

from open_webui.chat import prompts, side
from open_webui.chat.running import RunningAnswer
from open_webui.chat.store import NEW_TITLE, question_of
from open_webui.config import Config
from open_webui.connections.base import Models, Target
from open_webui.connections.gate import Gate
from open_webui.errors import NotFound, OuiError
from open_webui.events import Audience, ChatEvent, Emitter
from open_webui.internal.db import Database, UnitOfWork
from open_webui.internal.log import get_logger
from open_webui.jobs.kinds import JobLost, Kind, Retry, Run
from open_webui.jobs.queue import new_job
from open_webui.models import chats, jobs, messages, tags, turn_updates
from open_webui.models.chat_rows import LockedChat
from open_webui.models.jobs import Job
from open_webui.principal import Principal
from open_webui.services.changes import change_chat

log = get_logger(__name__)
ATTEMPTS: Final = 2
_TITLE: Final = side.text_under("title", longest=120)
_TAGS: Final = side.text_under("tags", most=5, longest=60)
_FOLLOW_UPS: Final = side.text_under("follow_ups", most=5, longest=200)
KIND: Final = "follow an answer"
_RETRY: Final = Retry(attempts=4, first=10.0, longest=300.0)
About = Literal["title", "follow_ups", "tags"]
Tell = Callable[[str, Any], Awaitable[None]]
Guard = Callable[[UnitOfWork, About], Awaitable[None]]


class Left(msgspec.Struct, frozen=True):
    """The payload of the job: what is left to do after an answer."""

    chat_id: str
    message_id: str
    user_id: str
    model_id: str
    about: list[About]

    def without(self, about: About) -> "Left":
        return msgspec.structs.replace(self, about=[other for other in self.about if other != about])


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """The answer that it is about. target: the model that is asked. history: the messages up to the question.

    is_stored: not of a temporary chat.
    """

    chat_id: str
    message_id: str
    principal: Principal
    target: Target
    history: Sequence[dict[str, Any]]
    question: str
    is_stored: bool = True


class Questions:
    """Asks the side questions about one answer, stores what is said, and tells it.

    tell: to whom it concerns. guard: notes, in the unit that stores something, that this is done; raises JobLost
    where it is another's business. former: the title of a chat that has none yet; any other was meant by who gave it.
    """

    def __init__(
        self,
        subject: Subject,
        config: Config,
        database: Database,
        gate: Gate,
        *,
        tell: Tell,
        guard: Guard,
        former: str = NEW_TITLE,
    ) -> None:
        self._subject = subject
        self._config = config
        self._database = database
        self._gate = gate
        self._event = tell
        self._guard = guard
        self._former = former
        # A model that isn't a language model can't be asked about a conversation.
        self.can_ask = subject.target.entry.answers_tasks

    async def _ask(self, template_key: str, default: str, shape: side.Shape, answer: str) -> str:
        subject = self._subject
        conversation = side.conversation(subject.history)
        if answer:
            conversation.append({"role": "assistant", "content": answer})
        template = self._config[template_key] or default
        prompt = prompts.fill(template, conversation, subject.question, subject.principal.name)
        fields = self._config["task.model.params"] or {}
        try:
            # Nobody waits for it, and a title that was refused once would never be asked for again.
            return await side.ask_shaped(
                self._gate, subject.principal, subject.target, prompt, shape, fields=fields, attempts=ATTEMPTS
            )
        except (OuiError, TimeoutError) as error:
            why = error.detail if isinstance(error, OuiError) else f"It took longer than {side.SECONDS:g} seconds."
            log.info("a side question was refused", about=template_key, model=subject.target.model_id, detail=why)
            return ""

    async def title(self, answer: Callable[[], str]) -> str | None:
        """Gives the chat a title if it has none; which one it has then. None where it is gone. answer: its text by now."""
        title = None
        try:
            if self.can_ask and self._config["task.title.enable"]:
                said = await self._ask("task.title.prompt_template", prompts.TITLE, _TITLE, answer())
                title = prompts.title_of(said)
        finally:
            # Whatever became of the question to the model: a chat without a title would be "New Chat" for ever.
            title = title or prompts.short_title(self._subject.question)
            title = await self._store_title(title)
        return title

    async def _store_title(self, title: str) -> str | None:
        """Which title the chat has then: a person may have named it while a model was asked."""
        found: str | None = None

        async def store(unit: UnitOfWork, chat: LockedChat) -> bool:
            nonlocal found
            found = chat.title
            if found != self._former:
                return False
            await turn_updates.set_title(unit.connection, chat, title)
            return True

        if not await self._stored("title", store):
            return found
        await self._event("chat:title", title)
        return title

    async def follow_ups(self, answer: str) -> None:
        subject = self._subject
        said = await self._ask("task.follow_up.prompt_template", prompts.FOLLOW_UPS, _FOLLOW_UPS, answer)
        texts = prompts.parse_texts(said, "follow_ups", most=5, longest=500)

        async def store(unit: UnitOfWork, chat: LockedChat) -> bool:
            return await turn_updates.patch_body(unit.connection, chat, subject.message_id, {"followUps": texts})

        if texts and (not subject.is_stored or await self._stored("follow_ups", store)):
            await self._event("chat:message:follow_ups", {"follow_ups": texts})

    async def tags(self, answer: str) -> None:
        said = await self._ask("task.tags.prompt_template", prompts.TAGS, _TAGS, answer)
        names = prompts.parse_texts(said, "tags", most=5, longest=60)
        names = [name for name in names if name.lower() != "none"]

        async def store(unit: UnitOfWork, chat: LockedChat) -> bool:
            await tags.replace(unit.connection, chat, names)
            return True

        if names and await self._stored("tags", store):
            await self._event("chat:tags", names)

    async def _stored(self, about: About, store: Callable[[UnitOfWork, LockedChat], Awaitable[bool]]) -> bool:
        try:
            async with change_chat(self._database, None, self._subject.chat_id) as (unit, chat):
                await self._guard(unit, about)
                return await store(unit, chat)
        except NotFound:
            return False


class Aftermath:
    """What follows one answer. None of it can fail the answer: what a model refuses is left out.

    first: of several answers to a question this is the first, after which the chat is named and tagged. instance: this process.
    """

    def __init__(
        self,
        running: RunningAnswer,
        config: Config,
        catalogue: Models,
        database: Database,
        gate: Gate,
        *,
        first: bool,
        instance: str,
    ) -> None:
        self._running = running
        self._instance = instance
        self._config = config
        self._database = database
        self._first = first
        self._title: asyncio.Task[None] | None = None
        self._job: Job | None = None
        self._left: Left | None = None
        turn = running.turn
        subject = Subject(
            chat_id=turn.chat_id,
            message_id=turn.message_id,
            principal=turn.principal,
            target=side.task_model(config, catalogue, turn.target),
            history=turn.history,
            question=turn.question,
            is_stored=not turn.is_temporary,
        )
        self._questions = Questions(
            subject, config, database, gate, tell=running.sender.event, guard=self._guard, former=running.title
        )

    def begin(self) -> None:
        """Starts what need not wait for the answer."""
        turn = self._running.turn
        if turn.tasks.title and turn.is_new_chat and not turn.is_temporary:
            title = self._tried("title", self._make_title())
            self._title = asyncio.create_task(title, name=f"title {turn.chat_id}")

    async def cancel(self) -> None:
        """Asks for nothing more. A title that is being asked for becomes a short one of the question."""
        if self._title is not None:
            self._title.cancel()
            await asyncio.wait({self._title})

    def _wanted(self) -> list[About]:
        """What there is to ask for once the answer has ended."""
        turn, config = self._running.turn, self._config
        out: list[About] = []
        if self._running.is_complete and self._questions.can_ask:
            if turn.tasks.follow_ups and config["task.follow_up.enable"]:
                out.append("follow_ups")
            if self._first and turn.tasks.tags and config["task.tags.enable"] and not turn.is_temporary:
                out.append("tags")
        return out

    def job(self) -> Job | None:
        """The job that does the rest, should this process end; it is stored with the answer's end."""
        turn = self._running.turn
        about = self._wanted()
        if self._title is not None and not self._title.done():
            about.append("title")
        if about and not turn.is_temporary:
            self._left = Left(turn.chat_id, turn.message_id, turn.principal.id, turn.target.model_id, about)
            job = new_job(KIND, _RETRY.attempts, self._left)
            self._job = msgspec.structs.replace(job, state="running", attempts=1, instance=self._instance)
        return self._job

    async def _guard(self, unit: UnitOfWork, about: About) -> None:
        # Before the end is stored there is no job that another could have taken.
        if self._job is None or self._left is None or not self._running.is_stored:
            return
        left = self._left.without(about)
        if not await jobs.change(unit.connection, self._job, payload=msgspec.json.encode(left).decode()):
            raise JobLost

        async def done() -> None:
            if self._left is not None:
                self._left = self._left.without(about)

        unit.after_commit(done)

    async def finish(self, *, complete: bool) -> None:
        """Asks for what follows a complete answer, and waits for the title. Cancelled, it does what `cancel` does."""
        try:
            await self._ask_all(self._wanted() if complete else [])
        except asyncio.CancelledError:
            await self.cancel()
            raise

    async def _ask_all(self, wanted: list[About]) -> None:
        text = self._running.answer.text
        if "follow_ups" in wanted:
            await self._tried("follow-up questions", self._questions.follow_ups(text))
        if "tags" in wanted:
            await self._tried("tags", self._questions.tags(text))
        if self._title is not None:
            await self._title
        if self._job is not None and self._running.is_stored:
            async with self._database.write() as unit:
                await jobs.delete(unit.connection, self._job)

    async def _tried(self, about: str, work: Coroutine[Any, Any, None]) -> None:
        """One thing that follows an answer: what goes wrong with it is logged, and the others go on."""
        try:
            await work
        except JobLost:
            log.info("what follows an answer is done elsewhere", about=about, chat_id=self._running.turn.chat_id)
        except Exception:
            # The task runner's place: nobody waits for these, and the chat must not look busy for them.
            turn = self._running.turn
            log.exception("what follows an answer failed", about=about, chat_id=turn.chat_id)

    async def _make_title(self) -> None:
        title = await self._questions.title(lambda: self._running.answer.text)
        if title is not None:
            self._running.title = title


class Following:
    """Does what an ended process left to do after its answers. account: gives an account as it is now, if it may still act."""

    def __init__(
        self,
        config: Config,
        catalogue: Models,
        database: Database,
        gate: Gate,
        emitter: Emitter,
        *,
        max_chars: int,
        account: Callable[[str], Awaitable[Principal | None]],
    ) -> None:
        self._config = config
        self._catalogue = catalogue
        self._database = database
        self._gate = gate
        self._emitter = emitter
        self._account = account
        self._max_chars = max_chars

    def kind(self) -> Kind[Left]:
        return Kind(
            name=KIND,
            payload=Left,
            handler=self._follow,
            retry=_RETRY,
            time_limit=4 * side.SECONDS,
            concurrency=2,
            keep=0,
        )

    async def _follow(self, run: Run, left: Left) -> None:
        principal = await self._account(left.user_id)
        if principal is None or not principal.is_active:
            return
        async with self._database.read() as connection:
            row = await messages.get(connection, left.chat_id, left.message_id)
            chat = await chats.get(connection, principal, left.chat_id, "write")
            if chat is None or row is None or not row.done:
                # There is nothing to do it about, or the answer is being given anew.
                return
            branch, _ = await messages.branch(connection, left.chat_id, row.parent_id or "", self._max_chars)
        target = await self._gate.target(principal, left.model_id)
        subject = Subject(
            chat_id=left.chat_id,
            message_id=left.message_id,
            principal=principal,
            target=side.task_model(self._config, self._catalogue, target),
            history=[message.wire([]) for message in branch],
            question=question_of(branch),
        )
        audience = Audience(frozenset({chat.user_id, principal.id}), asker=principal.id)

        async def tell(kind: str, data: Any) -> None:
            self._emitter.answer(ChatEvent(left.chat_id, left.message_id, kind, data), audience)

        # Who gave it a title meanwhile meant it.
        todo = [about for about in left.about if about != "title" or chat.title == NEW_TITLE]

        async def guard(unit: UnitOfWork, _about: About) -> None:
            await run.checkpoint(unit, msgspec.structs.replace(left, about=todo[1:]))

        questions = Questions(subject, self._config, self._database, self._gate, tell=tell, guard=guard)
        while todo:
            if todo[0] == "title":
                await questions.title(lambda: row.content)
            elif questions.can_ask:
                await (questions.follow_ups if todo[0] == "follow_ups" else questions.tags)(row.content)
            del todo[0]
