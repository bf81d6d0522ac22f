"""A picture whose answer was over before it came: it is put below the answer, and pages that show the chat fetch it again."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from open_webui.events import ChatEvent
from open_webui.models import chats, messages, turn_updates
from open_webui.models.base import now
from open_webui.services.images.making import Deps, Kept, Wanted, wire

# Between two looks whether an answer is over, and how often: who waits for the picture in another process shows it itself.
_LOOK: Final = 1.0
_LOOKS: Final = 300


async def deliver(deps: Deps, wanted: Wanted, made: Sequence[Kept]) -> None:
    """Puts pictures into the files of the message that they were made for, unless they are there."""
    for _ in range(_LOOKS):
        if await _tried(deps, wanted, [{"type": "image", **one} for one in wire(made)]):
            return
        await asyncio.sleep(_LOOK)


async def _tried(deps: Deps, wanted: Wanted, entries: list[dict[str, Any]]) -> bool:
    """False: the answer is still being written."""
    principal = await deps.identifier.account(wanted.user_id)
    if principal is None or wanted.chat_id is None or wanted.message_id is None:
        return True
    async with deps.database.write() as unit:
        chat = await chats.lock(unit.connection, principal, wanted.chat_id)
        row = None if chat is None else await messages.lock(unit.connection, chat, wanted.message_id)
        if chat is None or row is None:
            return True
        if not row.done:
            return False
        stored = row.body.get("files")
        listed = stored if isinstance(stored, list) else []
        known = {one.get("url") for one in listed if isinstance(one, dict)}
        new = [one for one in entries if one["url"] not in known]
        if new:
            row.body["files"] = [*listed, *new]
            row.updated_at = now()
            await messages.update(unit.connection, chat, [row], {"body"})
            await turn_updates.touch(unit.connection, [chat.id])
            unit.after_commit(partial(_tell, deps, chat.id, chat.user_id, wanted))
    return True


async def _tell(deps: Deps, chat_id: str, owner_id: str, wanted: Wanted) -> None:
    event, people = ChatEvent(chat_id, wanted.message_id, "chat:reload"), {owner_id, wanted.user_id}
    for user_id in people:
        await deps.emitter.chat(user_id, event)
    await deps.emitter.watchers(event, people, wanted.user_id)
