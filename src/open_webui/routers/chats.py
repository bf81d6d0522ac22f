"""Chats: lists, search, documents, messages, tags, sharing, exports and imports."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

from fastapi import Body, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from open_webui import constants
from open_webui.access.policy import ADMIN, OPTIONAL, USER
from open_webui.deps import AppState, Caller, OptionalCaller, OptionalPage, Page
from open_webui.errors import BadRequest, Forbidden, NotFound
from open_webui.internal import acts
from open_webui.models import chat_lists, folders, search, shares, tags
from open_webui.models import chats as stored
from open_webui.models.base import now
from open_webui.models.chat_lists import ListRow, Wanted
from open_webui.models.shares import SharedRow
from open_webui.models.tags import Tag
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.chats import (
    CHAT_SETTINGS,
    ChatBody,
    CloneForm,
    CompactForm,
    ConfigForm,
    EventForm,
    FolderIdForm,
    ForkForm,
    GrantsForm,
    ImportBody,
    MessageForm,
    ResolveForm,
    ShareForm,
    TagFilterForm,
    TagForm,
    read_body,
)
from open_webui.schemas.replies.shape import Media, Shape
from open_webui.services import chats, new_chats, saving, sharing, transfer
from open_webui.services.changes import change_chat
from open_webui.services.chats import Reply, UnknownChat

router = new_router(prefix="/api/v1/chats", tag="chats")
READ, WRITE, LIST = USER.on("chat", "read"), USER.on("chat", "write"), USER.on("chat", "list")
SHARE = USER.on("chat", "share").needs("chat.share")
ChatId = Annotated[str, Path(alias="id", max_length=constants.MAX_ID)]
Word = Annotated[str | None, Query(max_length=constants.MAX_TITLE)]
Sort = Annotated[str, Query(max_length=50)]


def _send(given: Reply) -> Any:
    if isinstance(given, dict):
        return given
    return StreamingResponse(given, media_type="application/json")


def _stream(parts: AsyncIterator[bytes], media_type: str) -> Response:
    return StreamingResponse(parts, media_type=media_type)


@router.get("/")
@allow(LIST)
async def list_chats(
    state: AppState,
    caller: Caller,
    *,
    page: OptionalPage = None,
    include_pinned: bool | None = False,
    include_folders: bool | None = False,
    sort_by: Sort = "updated_at",
    sort_dir: Sort = "desc",
) -> list[ListRow]:
    """The sidebar: one's chats that are not archived; by default neither pinned ones nor those in folders."""
    wanted = Wanted("active", bool(include_pinned), bool(include_folders), sort_by, sort_dir != "asc")
    async with state.database.read() as connection:
        return await chat_lists.rows(connection, caller.id, wanted, active=state.active_chats(), page=page)


router.get("/list")(list_chats)


@router.post("/new")
@allow(USER.on("chat", "create").keeping_files())
async def new(
    state: AppState, caller: Caller, request: "Annotated[Request, Shape(ChatBody)]"
) -> "Annotated[Any, Shape(replies.chats.Chat | None)]":
    """Makes a chat."""
    return _send(await new_chats.create(state, caller, await read_body(request, ChatBody)))


@router.delete("/")
@allow(USER.on("chat", "delete").needs("chat.delete"))
async def delete_all(state: AppState, caller: Caller) -> bool:
    """Removes all of one's chats."""
    done = await chats.delete_all(state, caller)
    await state.running.stop_gone()
    return done


@router.post("/read")
@allow(WRITE)
async def read_all(state: AppState, caller: Caller) -> "Annotated[dict[str, Any], Shape(replies.chats.AllRead)]":
    """Marks all of one's chats as read."""
    async with state.database.write() as unit:
        unread = await stored.lock_all(unit.connection, caller.id, "unread")
        await stored.change_all(unit.connection, unread, last_read_at=now())
        counts = await folders.unread_counts(unit.connection, caller.id)
    return {"updated_count": len(unread.ids), "folder_unread_counts": counts}


@router.get("/search")
@allow(USER.on("chat", "search"))
async def search_chats(
    state: AppState, caller: Caller, text: Annotated[str, Query(max_length=constants.MAX_TITLE)], page: OptionalPage = 1
) -> list[ListRow]:
    """One's chats whose title or messages have the words."""
    async with state.database.read() as connection:
        hits = await search.chats(
            connection, caller.id, search.parse(text), active=state.active_chats(), page=page or 1
        )
    return [hit.row for hit in hits]


@router.get("/pinned")
@allow(LIST)
async def pinned(state: AppState, caller: Caller) -> list[ListRow]:
    """One's pinned chats."""
    async with state.database.read() as connection:
        return await chat_lists.rows(connection, caller.id, Wanted("pinned"), active=state.active_chats())


@router.get("/archived")
@allow(LIST)
async def archived(
    state: AppState,
    caller: Caller,
    *,
    page: OptionalPage = None,
    query: Word = None,
    order_by: Word = None,
    direction: Word = None,
) -> list[ListRow]:
    """One's archived chats."""
    wanted = Wanted("archived", sort_by=order_by or "updated_at", descending=direction != "asc")
    async with state.database.read() as connection:
        return await chat_lists.rows(connection, caller.id, wanted, page=page or 1, query=query)


@router.get("/archived/count")
@allow(LIST)
async def archived_count(state: AppState, caller: Caller) -> int:
    """How many archived chats one has."""
    async with state.database.read() as connection:
        return await chat_lists.count_archived(connection, caller.id)


@router.post("/archive/all")
@allow(WRITE)
async def archive_all(state: AppState, caller: Caller) -> bool:
    """Archives all of one's chats."""
    async with state.database.write() as unit:
        await stored.change_all(
            unit.connection, await stored.lock_all(unit.connection, caller.id, "active"), archived=True
        )
    return True


@router.post("/unarchive/all")
@allow(WRITE)
async def unarchive_all(state: AppState, caller: Caller) -> bool:
    """Brings all of one's archived chats back."""
    async with state.database.write() as unit:
        await stored.change_all(
            unit.connection, await stored.lock_all(unit.connection, caller.id, "archived"), archived=False
        )
    return True


@router.get("/list/user/{user_id}")
@allow(ADMIN.on("chat", "list"))
async def list_of_user(
    state: AppState,
    user_id: str,
    *,
    page: OptionalPage = None,
    query: Word = None,
    order_by: Word = None,
    direction: Word = None,
) -> list[ListRow]:
    """Somebody's chats, for an admin, where the server lets admins see chats."""
    if not state.settings.enable_admin_chat_access:
        raise Forbidden
    acts.opened("chat", "*", user_id)
    wanted = Wanted("all", sort_by=order_by or "updated_at", descending=direction != "asc")
    async with state.database.read() as connection:
        return await chat_lists.rows(
            connection, user_id, wanted, active=state.active_chats(), page=page or 1, query=query
        )


@router.get("/folder/{folder_id}")
@allow(LIST)
async def documents_in_folder(
    state: AppState, caller: Caller, folder_id: str
) -> "Annotated[Response, Shape(list[replies.chats.Chat])]":
    """The documents of one's chats in a folder."""
    numbers = await transfer.numbers(state, caller.id, folder_id=folder_id, archived=False)
    return _stream(transfer.export(state, numbers, lines=False), "application/json")


@router.get("/folder/{folder_id}/list")
@allow(LIST)
async def list_folder(
    state: AppState,
    caller: Caller,
    folder_id: str,
    *,
    page: OptionalPage = 1,
    sort_by: Sort = "unread_updated_at",
    sort_dir: Sort = "desc",
) -> list[ListRow]:
    """One's chats in a folder, ten a page."""
    wanted = Wanted("folder", sort_by=sort_by, descending=sort_dir != "asc")
    async with state.database.read() as connection:
        return await chat_lists.rows(
            connection,
            caller.id,
            wanted,
            active=state.active_chats(),
            page=page or 1,
            size=FOLDER_PAGE,
            folder_id=folder_id,
        )


FOLDER_PAGE = 10


@router.get("/all")
@allow(LIST.needs("chat.export"))
async def export_all(state: AppState, caller: Caller) -> "Annotated[Response, Media('application/x-ndjson')]":
    """All of one's chats, one document a line."""
    numbers = await transfer.numbers(state, caller.id)
    return _stream(transfer.export(state, numbers, lines=True), "application/x-ndjson")


@router.get("/all/archived")
@allow(LIST.needs("chat.export"))
async def export_archived(state: AppState, caller: Caller) -> "Annotated[Response, Shape(list[replies.chats.Chat])]":
    """The documents of one's archived chats."""
    numbers = await transfer.numbers(state, caller.id, archived=True)
    return _stream(transfer.export(state, numbers, lines=False), "application/json")


@router.get("/all/db")
@allow(ADMIN.on("chat", "list").freshly_proven())
async def export_everything(state: AppState, caller: Caller) -> "Annotated[Response, Shape(list[replies.chats.Chat])]":
    """Everybody's chats, for an admin, where the server lets admins export and see chats."""
    if not (state.settings.enable_admin_export and state.settings.enable_admin_chat_access):
        raise Forbidden
    acts.opened("chat", "*", "*")
    numbers = await transfer.numbers(state, None)
    return _stream(transfer.export(state, numbers, lines=False, reader=caller), "application/json")


@router.get("/all/tags")
@allow(LIST)
async def all_tags(state: AppState, caller: Caller) -> list[Tag]:
    """The tags that one has."""
    async with state.database.read() as connection:
        return await tags.of_user(connection, caller.id)


@router.post("/tags")
@allow(LIST)
async def list_tagged(state: AppState, caller: Caller, form: TagFilterForm) -> list[ListRow]:
    """One's chats with a tag."""
    async with state.database.read() as connection:
        return await chat_lists.tagged(
            connection, caller.id, tags.id_of(form.name), form.skip or 0, form.limit or 50, state.active_chats()
        )


@router.post("/import")
@allow(USER.on("chat", "create").needs("chat.import").keeping_files())
async def import_chats(
    state: AppState, caller: Caller, request: "Annotated[Request, Shape(ImportBody)]"
) -> "Annotated[Response, Shape(list[replies.chats.Chat])]":
    """Stores all chats of an export or, when one of them can't be, none.

    Messages that can't be taken as they are are repaired or left out. The header `X-Mended` tells it of the first chats
    with such messages: a JSON list of [place in the export, number of messages].
    """
    numbers, mended = await transfer.import_chats(state, caller, await read_body(request, ImportBody))
    reply = _stream(transfer.export(state, numbers, lines=False), "application/json")
    reply.headers["X-Mended"] = json.dumps(mended[:MENDED_TOLD])
    return reply


MENDED_TOLD = 200


@router.get("/stats/usage")
@allow(LIST)
async def usage(
    state: AppState, caller: Caller, items_per_page: Annotated[int | None, Query(ge=1, le=100)] = 50, page: Page = 1
) -> "Annotated[dict[str, Any], Shape(replies.chats.ChatUsagePage)]":
    """Figures about one's chats."""
    numbers = await transfer.numbers(state, caller.id)
    size = items_per_page or 50
    measured = await transfer.measure(state, numbers[(page - 1) * size : page * size])
    return {"items": [m.usage() for m in measured], "total": len(numbers)}


@router.get("/stats/export")
@allow(LIST)
async def stats(
    state: AppState, caller: Caller, updated_at: int | None = None, page: Page = 1, stream: bool = False
) -> "Annotated[Any, Shape(replies.chats.ChatStatsPage), Media('application/x-ndjson')]":
    """Figures about one's chats and their messages, without texts.

    updated_at: only chats that changed since. stream: all of them, one a line.
    """
    numbers = await transfer.numbers(state, caller.id, oldest_first=True, since=updated_at)
    if stream:
        return _stream(transfer.stats_lines(state, numbers), "application/x-ndjson")
    size = transfer.STATS_PAGE
    measured = await transfer.measure(state, numbers[(page - 1) * size : page * size])
    return {"type": "chats", "items": [m.exported() for m in measured], "total": len(numbers), "page": page}


@router.get("/stats/export/{chat_id}")
@allow(READ)
async def stats_of(
    state: AppState, caller: Caller, chat_id: str
) -> "Annotated[dict[str, Any], Shape(replies.chats.ChatStats | None)]":
    """Figures about one chat and its messages, without texts."""
    async with state.database.read() as connection:
        chat = await stored.own(connection, caller.id, chat_id)
    if chat is None:
        raise NotFound
    return (await transfer.measure(state, [chat.n]))[0].exported()


@router.get("/shared")
@allow(LIST)
async def list_shared(
    state: AppState,
    caller: Caller,
    *,
    page: OptionalPage = None,
    query: Word = None,
    order_by: Word = None,
    direction: Word = None,
) -> list[SharedRow]:
    """The chats that one shares."""
    async with state.database.read() as connection:
        return await shares.of_user(connection, caller.id, page or 1, query, order_by, direction != "asc")


@router.delete("/share/all")
@allow(USER.on("chat", "share"))
async def unshare_all(state: AppState, caller: Caller) -> bool:
    """Ends the sharing of all of one's chats."""
    return await sharing.unshare_all(state, caller)


def _config(state: AppState) -> dict[str, Any]:
    shown = {name: state.config[key] for name, key in CHAT_SETTINGS.items()}
    if shown["CONTEXT_COMPACTION_TOKEN_CAP"] is None:
        shown["CONTEXT_COMPACTION_TOKEN_CAP"] = shown["CONTEXT_COMPACTION_TOKEN_THRESHOLD"]
    return shown


@router.get("/config")
@allow(ADMIN)
async def config(state: AppState) -> "Annotated[dict[str, Any], Shape(replies.chats.ChatConfig)]":
    """How long chats will be summarised, and how tools will be permitted and searched; nothing of it is there yet."""
    return _config(state)


@router.post("/config")
@allow(ADMIN)
async def set_config(form: ConfigForm, state: AppState) -> "Annotated[dict[str, Any], Shape(replies.chats.ChatConfig)]":
    """Keeps how it will be. What this server does not have can't be switched on."""
    await state.save_config(form.changes())
    return _config(state)


@router.get("/share/{share_id}")
@allow(OPTIONAL.on("chat", "read"))
async def shared(
    state: AppState, caller: OptionalCaller, share_id: str
) -> "Annotated[dict[str, Any], Shape(replies.chats.OpenedChat)]":
    """What a link shows. Who is not signed in needs a grant for anyone."""
    reader = caller if caller is not None and caller.is_active else None
    return await sharing.shared(state, reader, share_id)


@router.get("/shared/{id}/access")
@allow(USER.on("chat", "share"))
async def access(
    state: AppState, caller: Caller, chat_id: ChatId
) -> "Annotated[list[Any], Shape(list[replies.models.AccessGrant])]":
    """Who may see a chat that is shared."""
    return list(await sharing.access(state, caller, chat_id))


@router.post("/shared/{id}/access/update")
@allow(SHARE)
async def set_access(
    state: AppState, caller: Caller, chat_id: ChatId, form: GrantsForm
) -> "Annotated[Any, Shape(replies.chats.Chat | None)]":
    """Sets who may see a chat that is shared."""
    return _send(await sharing.set_access(state, caller, chat_id, form))


@router.get("/{id}")
@allow(READ)
async def get(state: AppState, caller: Caller, chat_id: ChatId) -> "Annotated[Any, Shape(replies.chats.Chat | None)]":
    """A chat's document."""
    return _send(await chats.read(state, caller, chat_id))


@router.post("/{id}")
@allow(WRITE.keeping_files())
async def update(
    state: AppState, caller: Caller, chat_id: ChatId, request: "Annotated[Request, Shape(ChatBody)]"
) -> "Annotated[Any, Shape(replies.chats.Chat | None)]":
    """Changes a chat: what its document has comes in the place of what is stored."""
    return _send(await saving.update(state, caller, chat_id, await read_body(request, ChatBody)))


@router.delete("/{id}")
@allow(USER.on("chat", "delete").needs("chat.delete"))
async def delete(state: AppState, caller: Caller, chat_id: ChatId) -> bool:
    """Removes a chat."""
    done = await chats.delete(state, caller, chat_id)
    await state.running.stop_gone()
    return done


@router.patch("/{id}/params")
@allow(WRITE.keeping_files())
async def set_params(
    state: AppState, caller: Caller, chat_id: ChatId, params: Annotated[dict[str, Any], Body()]
) -> dict[str, Any]:
    """Changes a chat's parameters; null takes one away."""
    return await chats.set_params(state, caller, chat_id, params)


@router.post("/{id}/messages/{message_id}")
@allow(WRITE.keeping_files())
async def set_message(
    state: AppState, caller: Caller, chat_id: ChatId, message_id: str, form: MessageForm
) -> "Annotated[Any, Shape(replies.chats.Chat | None)]":
    """Changes a message's text."""
    return _send(await chats.set_message(state, caller, chat_id, message_id, form))


@router.delete("/{id}/messages/{message_id}")
@allow(WRITE.needs("chat.delete_message"))
async def delete_message(
    state: AppState, caller: Caller, chat_id: ChatId, message_id: str
) -> "Annotated[Any, Shape(replies.chats.Chat | None)]":
    """Removes a message; what answers it goes to the message before."""
    return _send(await chats.delete_message(state, caller, chat_id, message_id))


@router.post("/{id}/messages/{message_id}/event")
@allow(WRITE.keeping_files())
async def add_event(state: AppState, caller: Caller, chat_id: ChatId, message_id: str, form: EventForm) -> bool:
    """Adds to a message what an event of the socket would: a text, a status, a source."""
    return await chats.add_event(state, caller, chat_id, message_id, form)


@router.post("/{id}/messages/{message_id}/resolve")
@allow(WRITE)
async def resolve(
    state: AppState, caller: Caller, chat_id: ChatId, message_id: str, form: ResolveForm
) -> dict[str, bool]:
    """Answers a tool call that waits for the person: allows it, refuses it, or gives the answers to a model's questions."""
    await chats.find(state, caller, chat_id, "write")
    return {"status": await chats.resolve(state, caller, chat_id, message_id, form)}


@router.get("/{id}/pinned")
@allow(READ)
async def is_pinned(state: AppState, caller: Caller, chat_id: ChatId) -> bool:
    """Whether a chat is pinned."""
    return (await chats.find(state, caller, chat_id)).pinned


@router.post("/{id}/pin")
@allow(WRITE)
async def pin(state: AppState, caller: Caller, chat_id: ChatId) -> "Annotated[Any, Shape(replies.chats.Chat | None)]":
    """Pins a chat, or unpins it."""
    return _send(await chats.toggle(state, caller, chat_id, "pinned"))


@router.post("/{id}/archive")
@allow(WRITE)
async def archive(
    state: AppState, caller: Caller, chat_id: ChatId
) -> "Annotated[Any, Shape(replies.chats.Chat | None)]":
    """Archives a chat, or brings it back."""
    return _send(await chats.toggle(state, caller, chat_id, "archived"))


@router.post("/{id}/clone")
@allow(READ)
async def clone(
    state: AppState, caller: Caller, chat_id: ChatId, form: CloneForm
) -> "Annotated[Any, Shape(replies.chats.Chat | None)]":
    """Makes a copy of a chat."""
    return _send(await new_chats.clone(state, caller, chat_id, form.title))


@router.post("/{id}/clone/shared")
@allow(READ)
async def clone_shared(
    state: AppState, caller: Caller, chat_id: ChatId
) -> "Annotated[Any, Shape(replies.chats.Chat | None)]":
    """Makes a copy of a chat that somebody shares."""
    return _send(await sharing.clone_shared(state, caller, chat_id))


@router.post("/{id}/fork")
@allow(READ)
async def fork(
    state: AppState, caller: Caller, chat_id: ChatId, form: ForkForm | None = None
) -> "Annotated[Any, Shape(replies.chats.Chat | None)]":
    """Makes a new chat of a branch, up to a message."""
    return _send(await new_chats.fork(state, caller, chat_id, form.message_id if form else None))


@router.post("/{id}/compact")
@allow(WRITE)
async def compact(
    state: AppState,
    caller: Caller,
    chat_id: ChatId,
    form: CompactForm | None = None,  # noqa: ARG001 - read to be checked
) -> "Annotated[dict[str, Any], Shape(replies.chats.Compacted)]":
    """Old messages are left out by length, not summarised: there is nothing to do."""
    await chats.find(state, caller, chat_id, "write")
    return {"ok": True, "compacted": False, "reason": "disabled", "context_usage": None}


@router.post("/{id}/share")
@allow(SHARE)
async def share(
    state: AppState, caller: Caller, chat_id: ChatId, form: ShareForm | None = None
) -> "Annotated[Any, Shape(replies.chats.Chat | None)]":
    """Makes a link to a chat: to it as it is now, or as it goes on."""
    return _send(await sharing.share(state, caller, chat_id, form.share_mode if form else None))


@router.delete("/{id}/share")
@allow(USER.on("chat", "share"))
async def unshare(state: AppState, caller: Caller, chat_id: ChatId) -> bool:
    """Ends the sharing of a chat."""
    return await sharing.unshare(state, caller, chat_id)


@router.post("/{id}/unread")
@allow(WRITE)
async def unread(
    state: AppState, caller: Caller, chat_id: ChatId
) -> "Annotated[dict[str, Any], Shape(replies.chats.Unread)]":
    """Marks a chat as unread."""
    async with change_chat(state.database, caller, chat_id, "own") as (unit, held):
        chat = await stored.change(unit.connection, held, last_read_at=0)
        counts = await folders.unread_counts(unit.connection, caller.id)
    return {"chat_id": chat.id, "last_read_at": 0, "folder_id": chat.folder_id, "folder_unread_counts": counts}


@router.post("/{id}/folder")
@allow(WRITE)
async def move(
    state: AppState, caller: Caller, chat_id: ChatId, form: FolderIdForm
) -> "Annotated[Any, Shape(replies.chats.Chat | None)]":
    """Puts a chat into a folder, or out of one."""
    return _send(await chats.change(state, caller, chat_id, folder_id=form.folder_id, pinned=False))


@router.get("/{id}/tags")
@allow(READ)
async def tags_of(state: AppState, caller: Caller, chat_id: ChatId) -> Sequence[Tag]:
    """A chat's tags."""
    chat = await chats.find(state, caller, chat_id)
    async with state.database.read() as connection:
        return await tags.of_chat(connection, chat.id)


@router.post("/{id}/tags")
@allow(WRITE)
async def add_tag(state: AppState, caller: Caller, chat_id: ChatId, form: TagForm) -> Sequence[Tag]:
    """Gives a chat a tag."""
    if tags.id_of(form.name) in {"", "none"}:
        raise BadRequest("A tag can't be named so.")
    async with change_chat(state.database, caller, chat_id, "own", error=UnknownChat) as (unit, chat):
        await tags.add(unit.connection, chat, [form.name])
        return await tags.of_chat(unit.connection, chat.id)


@router.delete("/{id}/tags")
@allow(WRITE)
async def remove_tag(state: AppState, caller: Caller, chat_id: ChatId, form: TagForm) -> Sequence[Tag]:
    """Takes a tag away from a chat."""
    async with change_chat(state.database, caller, chat_id, "own", error=UnknownChat) as (unit, chat):
        await tags.remove(unit.connection, chat, form.name)
        return await tags.of_chat(unit.connection, chat.id)
