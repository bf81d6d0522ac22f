"""A picture whose answer was over before it came: it is put below the answer, and pages that show the chat fetch it again."""

from functools import partial

from open_webui.events import ChatEvent
from open_webui.internal.db import UnitOfWork
from open_webui.models import chats, messages, turn_updates
from open_webui.models.base import now
from open_webui.services.images.making import Delivered, Deps


async def put(deps: Deps, unit: UnitOfWork, given: Delivered) -> bool:
    """Puts pictures into the files of their message, unless they are there. False: its answer is still being written."""
    principal = await deps.identifier.account(given.user_id)
    chat = None if principal is None else await chats.lock(unit.connection, principal, given.chat_id)
    row = None if chat is None else await messages.lock(unit.connection, chat, given.message_id)
    if chat is None or row is None:
        return True
    if not row.done:
        return False
    stored = row.body.get("files")
    listed = stored if isinstance(stored, list) else []
    known = {one.get("url") for one in listed if isinstance(one, dict)}
    new = [one for one in given.files if one["url"] not in known]
    if new:
        row.body["files"] = [*listed, *new]
        row.updated_at = now()
        await messages.update(unit.connection, chat, [row], {"body"})
        await turn_updates.touch(unit.connection, [chat.id])
        unit.after_commit(partial(_tell, deps, chat.user_id, given))
    return True


async def _tell(deps: Deps, owner_id: str, given: Delivered) -> None:
    event, people = ChatEvent(given.chat_id, given.message_id, "chat:reload"), {owner_id, given.user_id}
    for user_id in people:
        await deps.emitter.chat(user_id, event)
    await deps.emitter.watchers(event, people, given.user_id)
