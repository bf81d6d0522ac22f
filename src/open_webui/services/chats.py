"""What can be done with a chat, and how it goes to the page."""

from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any, Final

import msgspec

from open_webui import constants
from open_webui.access.permissions import check_edits, check_params
from open_webui.errors import BadRequest, Forbidden, NotFound
from open_webui.events import ChatEvent
from open_webui.internal.bus.port import Bus
from open_webui.internal.db import UnitOfWork
from open_webui.models import chats, file_uses, generation_parts, messages
from open_webui.models.base import clean_json, new_id, now
from open_webui.models.chat_rows import ChatRow
from open_webui.models.messages import MessageRow
from open_webui.principal import Principal
from open_webui.schemas.chats import EventForm, MessageForm, ResolveForm
from open_webui.services import message_events, staging
from open_webui.services.changes import change_chat
from open_webui.services.deps import Deps
from open_webui.services.message_events import Owner
from open_webui.utils.threads import in_thread_if_large, let_others

# Chats with more messages than this go out piece by piece.
WHOLE: Final = 300
# Bytes of a piece, but for one with a larger message alone.
PART: Final = 256 * 1024
_encode = msgspec.json.encode
# Questions to the process that writes a message: who wants it changed, the ids of chat and message, and the form.
EDIT, EVENT, RESOLVE = "messages:edit", "messages:event", "messages:resolve"
_Asked = tuple[Principal, str, str, dict[str, Any]]
# A document: as a value, or where it may be large as its bytes, made while they are sent.
Reply = dict[str, Any] | AsyncIterator[bytes]


class UnknownChat(NotFound):
    """Most routes answer an unknown chat with this status."""

    status = 401


class ChatRefused(Forbidden):
    status = 401


async def find(deps: Deps, principal: Principal, chat_id: str, action: chats.Action = "read") -> ChatRow:
    """A chat that the principal may read or write. Raises UnknownChat."""
    async with deps.database.read() as connection:
        chat = await chats.get(
            connection, principal, chat_id, action, admin_access=deps.settings.enable_admin_chat_access
        )
    if chat is None:
        raise UnknownChat
    return chat


async def read(deps: Deps, principal: Principal, chat_id: str) -> Reply:
    """A chat's document for somebody who may read it, mostly in one visit to the database. Raises UnknownChat."""
    overlay = await deps.overlays(chat_id)
    async with deps.database.read() as connection:
        chat = await chats.own(connection, principal.id, chat_id)
        if chat is not None and chat.next_position <= WHOLE:
            names = {principal.id: principal.name}
            document = await chats.document(connection, chat, overlay=overlay, names=names)
            document["chat"]["share_mode"] = "continue"
            return document
    return await reply(deps, principal, await find(deps, principal, chat_id), share_mode=True)


async def reply(deps: Deps, principal: Principal | None, chat: ChatRow, *, share_mode: bool = False) -> Reply:
    """The chat's document for this reader. share_mode: say there whether the reader may write into it."""
    chat = for_reader(chat, principal)
    mode: dict[str, Any] = {}
    if share_mode:
        mode["share_mode"] = await _share_mode(deps, principal, chat)
    if chat.next_position > WHOLE:
        return stream(deps, chat, mode)
    names = {principal.id: principal.name} if principal else {}
    overlay = await deps.overlays(chat.id)
    async with deps.database.read() as connection:
        document = await chats.document(connection, chat, overlay=overlay, names=names)
    document["chat"].update(mode)
    return document


def for_reader(chat: ChatRow, principal: Principal | None) -> ChatRow:
    """The chat without what only its owner may see: parameters hold the system prompt."""
    if principal is not None and chat.user_id == principal.id:
        return chat
    hidden = {k: v for k, v in chat.body.items() if k not in {"params", "system"}}
    return msgspec.structs.replace(chat, body=hidden, variables=None)


async def _share_mode(deps: Deps, principal: Principal | None, chat: ChatRow) -> str | None:
    if principal is None:
        return None
    if principal.id == chat.user_id:
        return "continue"
    async with deps.database.read() as connection:
        return "continue" if await chats.get(connection, principal, chat.id, "write") else None


async def stream(deps: Deps, chat: ChatRow, extra: Mapping[str, Any] | None = None) -> AsyncIterator[bytes]:
    """The document of a chat of any size as bytes. No connection is held while the client reads."""
    async with deps.database.read() as connection:
        parents = await messages.links(connection, chat)
        tag_ids = await chats.tags_of(connection, chat.id)
    if chat.current_message_id not in parents:
        chat = msgspec.structs.replace(chat, current_message_id=next(reversed(parents), None))
    seam = new_id()
    document = chats.envelope(chat, seam, tag_ids)
    document["chat"].update(extra or {})
    head, _, tail = _encode(document).partition(_encode(seam))
    yield head + b"{"
    overlay = await deps.overlays(chat.id)
    names: dict[str, str] = {}
    after, first = -1, True
    children = await in_thread_if_large(len(parents), messages.children, parents)
    while True:
        async with deps.database.read() as connection:
            page, after = await messages.wire_page(connection, chat, parents, children, after)
            await generation_parts.lay_over_wire(connection, chat.id, page, overlay)
            await chats.sign(connection, chat, [wire for _, wire in page], names)
        part = bytearray()
        for i, wire in page:
            part += b"%s%s:" % (b"" if first else b",", _encode(i))
            first = False
            encoded = _encode(wire)
            if len(part) + len(encoded) <= PART:
                part += encoded
                continue
            yield bytes(part)
            part.clear()
            yield encoded
            await let_others(len(encoded))
        if part:
            yield bytes(part)
        if after < 0:
            break
    yield b"}" + tail


def tell_owner(deps: Deps, unit: UnitOfWork, chat: ChatRow, event: str = "chat:list", data: Any = None) -> None:
    """Tells the owner's tabs about a change of a chat, once it is stored."""
    if deps.emitter.is_connected(chat.user_id):
        payload = {"chat_id": chat.id, "folder_id": chat.folder_id} if data is None else data
        unit.after_commit(partial(deps.emitter.chat, chat.user_id, ChatEvent(chat.id, None, event, payload)))


def variables_of(given: dict[str, Any] | None) -> dict[str, Any] | None:
    if given is None:
        return None
    try:
        cleaned: dict[str, Any] = clean_json(given)
    except ValueError as error:
        raise BadRequest(f"The variables can't be stored: this {error}.") from None
    return cleaned


async def note_files(unit: UnitOfWork, principal: Principal, chat: ChatRow) -> None:
    """Notes what the owner's own part of a chat uses now."""
    await file_uses.link(unit.connection, "chat_id", chat.id, principal.id, [chat.body, chat.meta, chat.variables])


def params_of(body: dict[str, Any]) -> dict[str, Any]:
    params = body.get("params")
    return params if isinstance(params, dict) else {}


async def delete(deps: Deps, principal: Principal, chat_id: str) -> bool:
    """Removes one's chat; an admin who may see chats may remove them too."""
    admin = deps.settings.enable_admin_chat_access
    async with change_chat(deps.database, principal, chat_id, "own", admin_access=admin) as (unit, chat):
        await staging.remove(deps.database, unit, chat.alone())
        tell_owner(deps, unit, chat)
    return True


async def delete_all(deps: Deps, principal: Principal) -> bool:
    """Removes all of one's chats."""
    async with deps.database.write() as unit:
        held = await chats.lock_all(unit.connection, principal.id)
        await staging.remove(deps.database, unit, held)
    return True


async def change(deps: Deps, principal: Principal, chat_id: str, **values: Any) -> Reply:
    """Stores some columns of one's chat and answers with its document."""
    folder_id = values.get("folder_id")
    async with change_chat(deps.database, principal, chat_id, "own", error=UnknownChat, folder_id=folder_id) as (
        unit,
        held,
    ):
        chat = await chats.change(unit.connection, held, **values)
        tell_owner(deps, unit, chat)
    return await reply(deps, principal, chat)


async def toggle(deps: Deps, principal: Principal, chat_id: str, column: str) -> Reply:
    """Turns a flag of one's chat over. Archived chats are not pinned."""
    async with change_chat(deps.database, principal, chat_id, "own", error=UnknownChat) as (unit, held):
        values = {column: not getattr(held, column)}
        if values.get("archived"):
            values["pinned"] = False
        chat = await chats.change(unit.connection, held, **values)
        tell_owner(deps, unit, chat)
    return await reply(deps, principal, chat)


async def set_params(deps: Deps, principal: Principal, chat_id: str, given: dict[str, Any]) -> dict[str, Any]:
    """Merges parameters over those of one's chat; null takes one away. Gives all that are set then."""
    try:
        given = clean_json(given)
    except ValueError as error:
        raise BadRequest(f"The parameters can't be stored: this {error}.") from None
    check_params(principal, given)
    async with change_chat(deps.database, principal, chat_id, "own", error=ChatRefused) as (unit, chat):
        stored = chat.body.get("params")
        merged = (stored if isinstance(stored, dict) else {}) | given
        params = {k: v for k, v in merged.items() if v is not None}
        changed = await chats.change(unit.connection, chat, body=chat.body | {"params": params}, updated_at=now())
        await note_files(unit, principal, changed)
    return params


async def set_message(deps: Deps, principal: Principal, chat_id: str, message_id: str, given: MessageForm) -> Reply:
    """Changes the text of a message; one that isn't there is made, as an answer without a question."""
    if not 0 < len(message_id) <= constants.MAX_ID:
        raise BadRequest("The id of this message is too long.")
    fields = {k: v for k, v in given.model_dump(exclude_unset=True).items() if v is not None}
    if deps.running.others is not None and await _changed_elsewhere(deps, EDIT, principal, chat_id, message_id, given):
        return await reply(deps, principal, await find(deps, principal, chat_id, "write"))
    owner = await _owner(deps, principal, chat_id, message_id)
    if owner is not None:
        if given.content is not None:
            check_edits(principal)
        await _edit_running(owner, chat_id, message_id, fields)
        return await reply(deps, principal, await find(deps, principal, chat_id, "write"))
    async with change_chat(deps.database, principal, chat_id, error=ChatRefused) as (unit, held):
        row = await messages.lock(unit.connection, held, message_id)
        _check_author(principal, held, row)
        if row is not None and given.content is not None and given.content != row.content:
            check_edits(principal)
        wire: dict[str, Any] = {"id": message_id} | fields
        if row is None:
            wire |= {"role": "assistant", "content": given.content or "", "parentId": None}
        await messages.put(unit.connection, held, principal.id, [wire])
        values: dict[str, Any] = {"updated_at": now()}
        if row is None:
            values["current_message_id"] = message_id
        chat = await chats.change(unit.connection, held, **values)
        data = {"chat_id": chat.id, "message_id": message_id, "content": given.content}
        if given.content is not None and deps.emitter.is_connected(chat.user_id):
            event = ChatEvent(chat.id, message_id, "chat:message", data)
            unit.after_commit(partial(deps.emitter.chat, chat.user_id, event))
    return await reply(deps, principal, chat)


async def _edit_running(owner: Owner, chat_id: str, message_id: str, fields: dict[str, Any]) -> None:
    content = fields.pop("content", None)
    if fields:
        owner.set(**fields)
    if content is not None:
        data = {"chat_id": chat_id, "message_id": message_id, "content": content}
        await owner.replace_text("chat:message", content, data)


def _check_author(principal: Principal, chat: ChatRow, row: MessageRow | None) -> None:
    """In somebody else's chat one may change what one has written oneself."""
    if principal.id != chat.user_id and row is not None and row.body.get("user_id") != principal.id:
        raise ChatRefused


async def delete_message(deps: Deps, principal: Principal, chat_id: str, message_id: str) -> Reply:
    """Removes a message; what answered it answers its parent then. The parent becomes the current one if it was that."""
    async with change_chat(deps.database, principal, chat_id, error=ChatRefused) as (unit, held):
        row = await messages.lock(unit.connection, held, message_id)
        if row is None:
            raise ChatRefused
        _check_author(principal, held, row)
        await messages.remove(unit.connection, held, row)
        # The page shows the branch that the removed message was on, from where it leaves the tree.
        chat = await chats.change(unit.connection, held, updated_at=now(), current_message_id=row.parent_id)
        tell_owner(deps, unit, chat)
    return await reply(deps, principal, chat)


async def _owner(deps: Deps, principal: Principal, chat_id: str, message_id: str) -> Owner | None:
    """The running answer that the principal may change this message through, None when nobody writes it.

    It takes changes until the next wait. Raises ChatRefused.
    """
    while (owner := await deps.running.owner_of(chat_id, message_id)) is not None:
        async with deps.database.read() as connection:
            chat = await chats.get(connection, principal, chat_id, "write")
        if chat is None or (principal.id != chat.user_id and owner.body.get("user_id") != principal.id):
            raise ChatRefused
        if not owner.has_ended:
            return owner
    return None


async def _changed_elsewhere(
    deps: Deps,
    topic: str,
    principal: Principal,
    chat_id: str,
    message_id: str,
    given: MessageForm | EventForm | ResolveForm,
) -> bool:
    """Whether another process, which writes the message, has made a change of it. Raises what that one raises."""
    asked = [principal, chat_id, message_id, given.model_dump(exclude_unset=True)]
    others = deps.running.others
    return others is not None and await others.forward(chat_id, message_id, topic, _encode(asked))


def serve_changes(deps: Deps, bus: Bus) -> None:
    """Makes changes of messages that are written here for other processes, with all checks. To be called before it opens."""

    async def edit(_peer: str, payload: bytes) -> bool:
        principal, chat_id, message_id, given = msgspec.json.decode(payload, type=_Asked)
        await set_message(deps, principal, chat_id, message_id, MessageForm.model_validate(given))
        return True

    async def event(_peer: str, payload: bytes) -> bool:
        principal, chat_id, message_id, given = msgspec.json.decode(payload, type=_Asked)
        return await add_event(deps, principal, chat_id, message_id, EventForm.model_validate(given))

    async def answer(_peer: str, payload: bytes) -> bool:
        principal, chat_id, message_id, given = msgspec.json.decode(payload, type=_Asked)
        return await resolve(deps, principal, chat_id, message_id, ResolveForm.model_validate(given))

    bus.serve(EDIT, edit)
    bus.serve(RESOLVE, answer)
    bus.serve(EVENT, event)


async def resolve(deps: Deps, principal: Principal, chat_id: str, message_id: str, given: ResolveForm) -> bool:
    """Answers a call of a tool that waits for the person who asked. Raises NotFound where none does."""
    if deps.running.others is not None and await _changed_elsewhere(
        deps, RESOLVE, principal, chat_id, message_id, given
    ):
        return True
    owner = await _owner(deps, principal, chat_id, message_id)
    if owner is None or not owner.resolve(principal.id, given.call_id, given.model_dump()):
        raise NotFound(
            f"The tool call {given.call_id} of message {message_id} was not found; nothing waits for an answer."
        )
    return True


async def add_event(deps: Deps, principal: Principal, chat_id: str, message_id: str, given: EventForm) -> bool:
    """Takes an event about a message (a tool's status, a source, more text): stores what it changes and shows it."""
    if given.type not in message_events.KINDS:
        raise BadRequest(f"There is no event of the type '{given.type}'.")
    if given.type in message_events.TEXTS:
        check_edits(principal)
    try:
        data = clean_json(given.data)
    except ValueError as error:
        raise BadRequest(f"The event can't be stored: this {error}.") from None
    message_events.check(given.type, data)
    if deps.running.others is not None and await _changed_elsewhere(deps, EVENT, principal, chat_id, message_id, given):
        return True
    owner = await _owner(deps, principal, chat_id, message_id)
    if owner is not None:
        await message_events.apply_to_running(owner, given.type, data)
        return True
    async with change_chat(deps.database, principal, chat_id, error=ChatRefused) as (unit, chat):
        row = await messages.lock(unit.connection, chat, message_id)
        if row is None:
            raise ChatRefused
        _check_author(principal, chat, row)
        columns = message_events.apply_to_row(row, given.type, data)
        if columns:
            await messages.update(unit.connection, chat, [row], columns)
        if deps.emitter.is_connected(chat.user_id):
            event = ChatEvent(chat.id, message_id, given.type, data)
            unit.after_commit(partial(deps.emitter.chat, chat.user_id, event))
    return True
