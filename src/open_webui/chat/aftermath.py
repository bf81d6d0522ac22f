"""What follows an answer: its chat's title (asked for while the answer is written), tags and follow-up questions."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from open_webui.chat import prompts, side
from open_webui.chat.running import RunningAnswer
from open_webui.config import Config
from open_webui.connections.base import Models
from open_webui.connections.gate import Gate
from open_webui.errors import NotFound, OuiError
from open_webui.internal.db import Database
from open_webui.internal.log import get_logger
from open_webui.models import tags, turn_updates
from open_webui.services.changes import change_chat

log = get_logger(__name__)
ATTEMPTS: Final = 2
_TITLE: Final = side.text_under("title", longest=120)
_TAGS: Final = side.text_under("tags", most=5, longest=60)
_FOLLOW_UPS: Final = side.text_under("follow_ups", most=5, longest=200)


class Aftermath:
    """The side questions of one answer. None of them can fail an answer: what a model refuses is left out."""

    def __init__(
        self, running: RunningAnswer, config: Config, catalogue: Models, database: Database, gate: Gate
    ) -> None:
        self._running = running
        self._config = config
        self._database = database
        self._gate = gate
        self._title: asyncio.Task[None] | None = None
        self._target = side.task_model(config, catalogue, running.turn.target)
        # A model that isn't a language model can't be asked about a conversation.
        self._can_ask = self._target.entry.answers_tasks

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

    async def finish(self, *, complete: bool, first: bool) -> None:
        """Asks for what follows a complete answer, and waits for the title. Cancelled, it does what `cancel` does."""
        try:
            await self._ask_all(complete=complete, first=first)
        except asyncio.CancelledError:
            await self.cancel()
            raise

    async def _ask_all(self, *, complete: bool, first: bool) -> None:
        turn, config = self._running.turn, self._config
        if complete and self._can_ask:
            if turn.tasks.follow_ups and config["task.follow_up.enable"]:
                await self._tried("follow-up questions", self._follow_ups())
            if first and turn.tasks.tags and config["task.tags.enable"] and not turn.is_temporary:
                await self._tried("tags", self._tags())
        if self._title is not None:
            await self._title

    async def _tried(self, about: str, work: Coroutine[Any, Any, None]) -> None:
        """One thing that follows an answer: what goes wrong with it is logged, and the others go on."""
        try:
            await work
        except Exception:
            # The task runner's place: nobody waits for these, and the chat must not look busy for them.
            turn = self._running.turn
            log.exception("what follows an answer failed", about=about, chat_id=turn.chat_id)

    async def _ask(self, template_key: str, default: str, shape: side.Shape) -> str:
        turn = self._running.turn
        conversation = side.conversation(turn.history)
        if self._running.answer.text:
            conversation.append({"role": "assistant", "content": self._running.answer.text})
        template = self._config[template_key] or default
        prompt = prompts.fill(template, conversation, turn.question, turn.principal.name)
        fields = self._config["task.model.params"] or {}
        try:
            # Nobody waits for it, and a title that was refused once would never be asked for again.
            return await side.ask_shaped(
                self._gate, turn.principal, self._target, prompt, shape, fields=fields, attempts=ATTEMPTS
            )
        except (OuiError, TimeoutError) as error:
            why = error.detail if isinstance(error, OuiError) else f"It took longer than {side.SECONDS:g} seconds."
            log.info("a side question was refused", about=template_key, model=self._target.model_id, detail=why)
            return ""

    async def _make_title(self) -> None:
        question = self._running.turn.question
        title = None
        try:
            if self._can_ask and self._config["task.title.enable"]:
                answer = await self._ask("task.title.prompt_template", prompts.TITLE, _TITLE)
                title = prompts.title_of(answer)
        finally:
            # Whatever became of the question to the model: a chat without a title would be "New Chat" for ever.
            await self._store_title(title or prompts.short_title(question))

    async def _store_title(self, title: str) -> None:
        turn = self._running.turn
        try:
            async with change_chat(self._database, None, turn.chat_id) as (unit, chat):
                await turn_updates.set_title(unit.connection, chat, title)
        except NotFound:
            return
        self._running.title = title
        await self._running.sender.event("chat:title", title)

    async def _follow_ups(self) -> None:
        turn = self._running.turn
        answer = await self._ask("task.follow_up.prompt_template", prompts.FOLLOW_UPS, _FOLLOW_UPS)
        texts = prompts.parse_texts(answer, "follow_ups", most=5, longest=500)
        if not texts:
            return
        if not turn.is_temporary:
            try:
                async with change_chat(self._database, None, turn.chat_id) as (unit, chat):
                    if not await turn_updates.patch_body(unit.connection, chat, turn.message_id, {"followUps": texts}):
                        return
            except NotFound:
                return
        await self._running.sender.event("chat:message:follow_ups", {"follow_ups": texts})

    async def _tags(self) -> None:
        turn = self._running.turn
        answer = await self._ask("task.tags.prompt_template", prompts.TAGS, _TAGS)
        names = prompts.parse_texts(answer, "tags", most=5, longest=60)
        names = [name for name in names if name.lower() != "none"]
        if not names:
            return
        try:
            async with change_chat(self._database, None, turn.chat_id) as (unit, chat):
                await tags.replace(unit.connection, chat, names)
        except NotFound:
            return
        await self._running.sender.event("chat:tags", names)
