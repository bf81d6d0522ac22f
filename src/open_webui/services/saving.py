"""Saving a chat's document: what a page posts of a chat is merged over what is stored."""

from collections.abc import Sequence
from typing import Any, Final

from open_webui.access.permissions import check_params
from open_webui.internal.db import UnitOfWork
from open_webui.models import chats, histories, messages
from open_webui.models.base import now
from open_webui.models.chat_rows import ChatRow
from open_webui.principal import Principal
from open_webui.schemas.chats import ChatBody, Document, read_document
from open_webui.services import staging
from open_webui.services.changes import change_chat
from open_webui.services.chats import ChatRefused, Reply, note_files, params_of, reply, tell_owner, variables_of
from open_webui.services.deps import Deps
from open_webui.utils import tree

# A save of more messages, stored and given ones together, is written in portions.
LARGE: Final = 2 * staging.MAX_ROWS


async def update(deps: Deps, principal: Principal, chat_id: str, given: ChatBody) -> Reply:
    """Merges the given keys over the document; a history that is given takes the place of the stored one."""
    document = await read_document(given.chat, creating=False)
    variables = variables_of(given.variables)
    chat = await _update(deps, principal, chat_id, given, document, variables)
    if chat is None:
        last = await _save_portions(deps, principal, chat_id, document.fields or ())
        chat = await _update(deps, principal, chat_id, given, document, variables, last=last)
    if chat is None:
        raise ChatRefused
    return await reply(deps, principal, chat)


async def _save_portions(
    deps: Deps, principal: Principal, chat_id: str, fields: Sequence[tree.Fields]
) -> histories.Difference:
    """Saves a large history in units of some messages, but for the last of them, which is given back.

    New messages come first and those that go last, so that a save which is cut off has lost nothing.
    """
    async with deps.database.read() as connection:
        chat = await chats.get(connection, principal, chat_id, "write")
        if chat is None:
            raise ChatRefused
        found = await histories.difference(connection, chat, principal.id, fields, **_rights(principal))
    weights = [staging.weight_of(row) for row in (*found.fresh, *found.changed)]
    *portions, last = staging.cut(weights + [(1, 0)] * len(found.gone)) or [(0, 0)]
    for portion in portions:
        async with change_chat(deps.database, principal, chat_id, error=ChatRefused) as (unit, held):
            await histories.apply(unit.connection, held, found.part(*portion))
    return found.part(*last)


async def _update(
    deps: Deps,
    principal: Principal,
    chat_id: str,
    given: ChatBody,
    document: Document,
    variables: dict[str, Any] | None,
    *,
    last: histories.Difference | None = None,
) -> ChatRow | None:
    """Stores a save in one unit; None where that is too much. last: what is left to save of the messages."""
    changing = change_chat(deps.database, principal, chat_id, error=ChatRefused, folder_id=given.folder_id)
    async with changing as (unit, held):
        if principal.id == held.user_id:
            check_params(principal, _changed_params(held, document))
        if last is not None:
            await histories.apply(unit.connection, held, last)
        elif document.fields is not None:
            if held.next_position + len(document.fields) > LARGE:
                return None
            await histories.replace(unit.connection, held, principal.id, document.fields, **_rights(principal))
        values: dict[str, Any] = {"updated_at": now()}
        if document.current_id is not None and await _has(unit, held, document):
            values["current_message_id"] = document.current_id
        if principal.id == held.user_id:
            values |= _owners_changes(held, document, given)
        if variables is not None and principal.id == held.user_id:
            values["variables"] = variables
        chat = await chats.change(unit.connection, held, **values)
        if values.keys() & {"body", "variables"}:
            await note_files(unit, principal, chat)
        tell_owner(deps, unit, chat)
    return chat


def _rights(principal: Principal) -> dict[str, bool]:
    return {"may_edit": principal.may("chat.edit"), "may_delete": principal.may("chat.delete_message")}


async def _has(unit: UnitOfWork, chat: ChatRow, document: Document) -> bool:
    current = document.current_id or ""
    return await messages.get(unit.connection, chat.id, current) is not None


def _changed_params(chat: ChatRow, document: Document) -> dict[str, Any]:
    """The parameters that a saved document gives another value than the chat's."""
    before = params_of(chat.body)
    return {name: value for name, value in params_of(document.body).items() if before.get(name) != value}


def _owners_changes(chat: ChatRow, document: Document, given: ChatBody) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if document.title is not None:
        values["title"] = document.title.replace("\x00", "")
    if document.body:
        merged = chat.body | {k: v for k, v in document.body.items() if k not in chats.OWN_KEYS}
        values["body"] = messages.storable(merged)
    if given.folder_id is not None:
        values["folder_id"] = given.folder_id
    return values
