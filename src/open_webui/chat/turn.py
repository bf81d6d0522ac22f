"""A turn as values: what one answer needs to be made, frozen once the question is stored."""

from collections.abc import Mapping
from typing import Any

import msgspec

from open_webui.chat.request import Ask, PageRequest, Tasks
from open_webui.chat.store import Stored
from open_webui.chat.tools import Tool
from open_webui.connections.base import Target
from open_webui.models.messages import MessageRow
from open_webui.principal import Principal


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One answer to be made: who asked what of whom, and what the database held when it was stored.

    ask: which of the request's answers this one is. stored: what the transaction of the question found and wrote.
    target: the model, and whose it is.
    """

    task_id: str
    principal: Principal
    request: PageRequest
    ask: Ask
    stored: Stored
    target: Target

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


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is about to be asked. Each stage of context/ takes one and returns it or a changed copy.

    messages: as OpenAI has them. fields: what else the request says. tools: those that this server runs, by name; their
    definitions are sent along.
    """

    messages: tuple[dict[str, Any], ...] = ()
    fields: dict[str, Any] = {}
    tools: Mapping[str, Tool] = {}
