"""The one way to change a chat: a transaction that takes the chat's row and asks for the right in one step.

Whoever takes several rows takes them in this order, so that two never wait for each other: a person's row (for the tree
of folders), a folder, chats by their ids, messages by their numbers, tags.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from open_webui.errors import NotFound
from open_webui.internal.db import Database, UnitOfWork
from open_webui.models import chats, folders
from open_webui.models.chat_rows import LockedChat
from open_webui.principal import Principal


@asynccontextmanager
async def change_chat(
    database: Database,
    principal: Principal | None,
    chat_id: str,
    action: Literal["own", "write"] = "write",
    *,
    error: type[Exception] = NotFound,
    admin_access: bool = False,
    folder_id: str | None = None,
) -> AsyncIterator[tuple[UnitOfWork, LockedChat]]:
    """A unit of work, and the chat as it is now: nobody else changes it until the unit is over.

    principal: None for what the server itself writes. action: "own" where only the owner may; admin_access: admins may
    with any chat. folder_id: where the owner is going to put the chat. Raises `error` for a chat that is not there or not
    the principal's to change, NotFound for a folder that the owner may not put chats into.
    """
    async with database.write() as unit:
        connection = unit.connection
        fits = folder_id is None or principal is None or await folders.hold(connection, principal, folder_id)
        if principal is None:
            chat = await chats.lock_for_server(connection, chat_id)
        else:
            chat = await chats.lock(connection, principal, chat_id, action, admin_access=admin_access)
        if chat is None:
            raise error
        if not fits and principal is not None and principal.id == chat.user_id:
            raise NotFound
        yield unit, chat
