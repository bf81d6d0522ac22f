"""A turn as values: what one answer needs to be made, frozen once the question is stored."""

from typing import Any

import msgspec

from consciousness.affect import AffectState
from open_webui.chat.request import Tasks
from open_webui.connections.base import Target
from open_webui.principal import Principal
from open_webui.services.affect import Felt


class Mood(msgspec.Struct, frozen=True):
    """In which state an answer is given. sampling: whether it may change parameters, besides the wording."""

    state: AffectState
    sampling: bool = True


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One answer to be made.

    row: the message's row number, None for a temporary chat, which stores nothing. owner_id: whose chat it is, who may
    be another than the asker in a shared one. question: the user's text. follows: what is to happen afterwards.
    felt: of what the mood is to be made, None where moods are off; mood: what became of it, once that is known.
    """

    task_id: str
    principal: Principal
    owner_id: str
    session_id: str
    chat_id: str
    message_id: str
    row: int | None
    body: dict[str, Any]
    target: Target
    question: str
    folder_id: str | None
    history: tuple[dict[str, Any], ...]
    truncated: bool
    params: dict[str, Any]
    fields: dict[str, Any]
    variables: dict[str, str]
    system: tuple[str, ...]
    continues: dict[str, Any] | None
    tasks: Tasks
    is_new_chat: bool
    stream: bool
    felt: Felt | None = None
    mood: Mood | None = None

    @property
    def is_temporary(self) -> bool:
        return self.row is None

    def asker(self) -> dict[str, str]:
        """Who asks, for connections that are told."""
        p = self.principal
        return {"id": p.id, "name": p.name, "email": p.email, "role": p.role}


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is about to be asked. Each stage of context/ takes one and returns the next."""

    messages: tuple[dict[str, Any], ...] = ()
    fields: dict[str, Any] = {}
