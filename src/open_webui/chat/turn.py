"""A turn as values: what one answer needs to be made, frozen once the question is stored."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from open_webui.chat.request import Ask, PageRequest, Tasks
from open_webui.chat.store import Stored
from open_webui.connections.base import Target
from open_webui.models.messages import MessageRow
from open_webui.principal import Principal
from open_webui.tools.port import Tool


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One answer to be made: who asked what of whom, and what the database held when it was stored.

    ask: which of the request's answers this one is. stored: what the transaction of the question found and wrote.
    target: the model, and whose it is. part_of: the turn whose model handed this one over; None for one that a person asked.
    """

    task_id: str
    principal: Principal
    request: PageRequest
    ask: Ask
    stored: Stored
    target: Target
    part_of: "Turn | None" = None

    @property
    def counted(self) -> tuple[str | None, str | None]:
        """The chat and the message that calls of the model count for."""
        whole = self.part_of or self
        return (None, None) if whole.is_temporary else (whole.chat_id, whole.message_id)

    @property
    def chat_id(self) -> str:
        return self.stored.chat_id

    @property
    def message_id(self) -> str:
        return self.ask.message_id

    @property
    def owner_id(self) -> str:
        """Whose chat it is, who may be another than the asker in a shared one."""
        return self.stored.owner_id

    @property
    def people(self) -> frozenset[str]:
        """Ids of the chat's owner and of who asks."""
        return frozenset({self.stored.owner_id, self.principal.id})

    @property
    def session_id(self) -> str:
        """The socket of the page that asked."""
        return self.request.session_id

    @property
    def folder_id(self) -> str | None:
        return self.stored.folder_id

    @property
    def is_temporary(self) -> bool:
        """Whether nothing of it is stored."""
        return self.row is None

    @property
    def message(self) -> MessageRow | None:
        """The empty answer as it was stored; None in a temporary chat."""
        return self.stored.answers.get(self.ask.message_id)

    @property
    def row(self) -> int | None:
        """The answer's row number; None in a temporary chat."""
        message = self.message
        return None if message is None else message.n

    def chunk(self, choice: dict[str, Any]) -> dict[str, Any]:
        """An OpenAI chunk of this answer, as its first and its last frame are."""
        about = {"id": f"chatcmpl-{self.task_id}", "object": "chat.completion.chunk", "created": int(time.time())}
        return {**about, "model": self.target.model_id, "choices": [choice]}

    @property
    def body(self) -> dict[str, Any]:
        """The answer's fields beside its columns, as they were stored."""
        message = self.message
        return {} if message is None else message.body

    @property
    def params(self) -> dict[str, Any]:
        """The chat's parameters, with those of the request over them."""
        return self.stored.params | self.request.params

    @property
    def system(self) -> tuple[str, ...]:
        """The model's, the folder's, the chat's and the request's system prompt, each once."""
        chat, page = self.stored.params.get("system"), self.request.params.get("system")
        texts = (self.target.system, self.stored.folder_prompt, chat, page)
        # A page sends the chat's own prompt again.
        return tuple(dict.fromkeys(text for text in texts if isinstance(text, str) and text))

    @property
    def brought(self) -> tuple[dict[str, Any], ...]:
        """What the model and the folder bring along to be read, as the wire has attachments."""
        known = self.target.meta.get("knowledge")
        of_model = tuple(entry for entry in known if isinstance(entry, dict)) if isinstance(known, list) else ()
        return of_model + self.stored.folder_files

    @property
    def skill_ids(self) -> tuple[str, ...]:
        """The skills that were chosen for the question, and those that come with the model."""
        return skill_ids(self.request.skill_ids, self.target)

    @property
    def history(self) -> tuple[dict[str, Any], ...]:
        """The messages of the wire up to the question, oldest first."""
        return self.stored.history

    @property
    def question(self) -> str:
        """The user's text."""
        return self.stored.question

    @property
    def continues(self) -> dict[str, Any] | None:
        """Output and content of the answer that this one goes on with."""
        return self.stored.continued if self.request.continued else None

    @property
    def is_new_chat(self) -> bool:
        return self.stored.is_new

    @property
    def tasks(self) -> Tasks:
        """What is to follow the answer."""
        return self.request.tasks


def skill_ids(chosen: Sequence[str], target: Target) -> tuple[str, ...]:
    """Skills that were chosen, and those that come with the model."""
    known = target.meta.get("skillIds")
    of_model = [one for one in known if isinstance(one, str)] if isinstance(known, list) else []
    return tuple(dict.fromkeys([*chosen, *of_model]))


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is about to be asked. Each stage of context/ takes one and returns it or a changed copy.

    messages: as OpenAI has them. fields: what else the request says. tools: those that this server runs, by name; their
    definitions are sent along. offered: the names of those among them that nobody chose: where the model takes no tools, it is
    asked without them. skills: what the system prompt says of skills that are read by a tool, and what it says instead where
    the model takes none. code: runs what the model writes between tags, where it calls no tool for that.
    """

    messages: tuple[dict[str, Any], ...] = ()
    fields: dict[str, Any] = {}
    tools: Mapping[str, Tool] = {}
    offered: frozenset[str] = frozenset()
    skills: tuple[str, str] | None = None
    code: Tool | None = None
