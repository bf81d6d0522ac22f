"""Notes: made, read, changed, pinned, shared and removed, with every rule on who may. Their documents are `note_documents`."""

from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.errors import BadRequest, Forbidden, NotFound
from open_webui.models import chats, notes, versions
from open_webui.models.chat_rows import ChatRow
from open_webui.models.notes import KIND, Note
from open_webui.models.repository import Owner, Query
from open_webui.principal import Principal
from open_webui.schemas.notes import AccessForm, NoteForm, NoteUpdateForm
from open_webui.services import granted, new_chats, note_documents
from open_webui.services import versions as history
from open_webui.services.note_documents import Deps, Posted

PERMISSION: Final = "features.notes"
OFF: Final = "Notes are switched off on this server. An administrator can switch them on."
# Of the list without pages.
MAX_LISTED: Final = 1_000
# Bytes of what pages keep with a note besides its text.
MAX_BESIDES: Final = 500_000
CHAT_TITLE: Final = "Chat"
CHAT_SYSTEM: Final = (
    "This conversation is held beside the note with the id {id}. What the person calls the note, the text or this is that note."
    " Read it with view_note before you speak of it. Where the person wants it changed, change it with replace_note_content,"
    " and say that it is done only after the tool has said so."
)
Wire = dict[str, Any]


def check(deps: Deps, principal: Principal) -> None:
    """Whether somebody may use notes at all. Raises Forbidden."""
    if not deps.config["notes.enable"]:
        raise Forbidden(OFF, status=403)
    if not principal.may(PERMISSION):
        raise Forbidden


# As they go out


def wire(row: Note) -> Wire:
    """A note as the wire has it."""
    return {
        "id": row.id,
        "user_id": row.user_id,
        "title": row.title,
        "data": {"content": {"json": None, "html": ""} | row.content | {"md": row.md}} | row.data,
        "meta": row.meta,
        "is_pinned": row.is_pinned,
        "access_grants": row.access_grants,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def told(row: Note) -> Wire:
    """A note as its editors are told of it: where it has a document its text comes by that, and by nothing else.

    An editor that is handed a text puts it in the place of all that stands there.
    """
    out = wire(row)
    if row.has_document:
        del out["data"]["content"]
    return out | {"is_pinned": False}


def _listed(row: notes.Listed, owner: Owner | None) -> Wire:
    return {
        "id": row.id,
        "title": row.title,
        "data": {"content": {"md": row.md}},
        "is_pinned": row.is_pinned,
        "updated_at": row.updated_at,
        "created_at": row.created_at,
        "user": owner,
    }


# Reading


async def listed(deps: Deps, principal: Principal, number: int | None) -> list[Wire]:
    """The notes that somebody may use, the last changed ones first; without a page so many as a list may hold."""
    check(deps, principal)
    query = Query(size=MAX_LISTED) if number is None else Query(number=number)
    async with deps.database.read() as connection:
        found = await notes.page(connection, principal, query)
    return [_listed(row, found.owners.get(row.user_id)) for row in found.items]


async def pinned(deps: Deps, principal: Principal) -> list[Wire]:
    """Those that somebody has pinned. Every page asks for them, also of people who may use none."""
    if not deps.config["notes.enable"] or not principal.may(PERMISSION):
        return []
    async with deps.database.read() as connection:
        found = await notes.pinned(connection, principal)
    return [_listed(row, found.owners.get(row.user_id)) for row in found.items]


async def search(deps: Deps, principal: Principal, query: Query) -> Wire:
    """A page of those whose title or text has a part."""
    check(deps, principal)
    async with deps.database.read() as connection:
        found = await notes.page(connection, principal, query)
    items = [
        _listed(row, found.owners.get(row.user_id))
        | {"user_id": row.user_id, "meta": row.meta, "access_grants": row.access_grants}
        for row in found.items
    ]
    return {"items": items, "total": found.total}


async def get(deps: Deps, principal: Principal, note_id: str) -> Wire:
    """One note with its whole text as it is now. Raises NotFound."""
    check(deps, principal)
    row = await find(deps, principal, note_id)
    return wire(row) | {"write_access": notes.repository.may(row, principal, "write")}


async def find(deps: Deps, principal: Principal, note_id: str) -> Note:
    """A note with its text as it is now, for somebody who may read it. Raises NotFound."""
    async with deps.database.read() as connection:
        row = await notes.repository.seen_by(principal).require(connection, principal, note_id)
        is_current = await note_documents.is_current(connection, row)
    if is_current:
        return row
    await note_documents.settle(deps, note_id)
    async with deps.database.read() as connection:
        return await notes.repository.seen_by(principal).require(connection, principal, note_id)


# Writing


def _besides(data: Wire | None) -> Wire:
    """What there is in `data` besides the text. Raises BadRequest."""
    found = {name: value for name, value in (data or {}).items() if name != "content"}
    if note_documents.size_of(found) > MAX_BESIDES:
        raise BadRequest(f"What is kept with a note besides its text may have {MAX_BESIDES:,} bytes at most.")
    return found


async def create(deps: Deps, principal: Principal, form: NoteForm) -> Wire:
    """A new note. Grants that the caller may not give are left out."""
    check(deps, principal)
    posted = await note_documents.read_posted((form.data or {}).get("content"))
    values = posted.columns | {"title": form.title, "data": _besides(form.data), "meta": form.meta}
    return wire(await granted.create(deps, notes.repository, principal, values, form.access_grants))


async def update(deps: Deps, principal: Principal, note_id: str, form: NoteUpdateForm) -> Wire:
    """Changes a note. Where it has a document, another text is written into that as a hand more would. Raises NotFound."""
    check(deps, principal)
    given = form.data or {}
    posted = await note_documents.read_posted(given["content"]) if isinstance(given.get("content"), dict) else None
    besides = _besides(form.data)
    values: Wire = {}
    if form.title is not None:
        values["title"] = form.title
    if "meta" in form.model_fields_set:
        values["meta"] = form.meta
    async with deps.database.write() as unit:
        connection = unit.connection
        row = await notes.repository.require(connection, principal, note_id, "write", lock=True)
        if besides:
            values["data"] = row.data | besides
        if posted is not None and not row.has_document:
            values |= posted.columns
            await _keep_version(connection, principal, row, values)
        if values:
            await notes.repository.change(connection, note_id, values)
    if posted is not None and row.has_document and not await note_documents.has_page_open(deps, principal, note_id):
        await note_documents.write_text(deps, principal, note_id, posted.tree)
    row = await find(deps, principal, note_id)
    deps.emitter.note(note_id, "events:note", told(row))
    return wire(row)


async def _keep_version(connection: AsyncConnection, principal: Principal, row: Note, values: Wire) -> None:
    if row.md and (row.md, row.content) != (values["md"], values["content"]):
        await note_documents.keep_version(connection, row, principal.id, None)


async def set_access(deps: Deps, principal: Principal, note_id: str, form: AccessForm) -> Wire:
    """Replaces the grants on a note."""
    check(deps, principal)
    row = await granted.set_access(deps, notes.repository, principal, note_id, form.access_grants)
    deps.emitter.note(note_id, "events:note", told(row))
    return wire(row)


async def toggle_pin(deps: Deps, principal: Principal, note_id: str) -> Wire:
    """Pins a note for oneself, or takes the pin away."""
    check(deps, principal)
    async with deps.database.write() as unit:
        mine = notes.repository.seen_by(principal)
        await mine.require(unit.connection, principal, note_id)
        await notes.toggle_pin(unit.connection, principal.id, note_id)
        return wire(await mine.require(unit.connection, principal, note_id))


async def delete(deps: Deps, principal: Principal, note_id: str) -> bool:
    """Removes a note with its document and its versions. Whoever may not use notes any more may still remove their own."""
    return await granted.delete(deps, notes.repository, principal, note_id)


# Versions


async def versions_of(deps: Deps, principal: Principal, note_id: str, number: int) -> list[Wire]:
    """The versions of a note, the newest first; for those who may change it, since they hold what was taken out."""
    check(deps, principal)
    async with deps.database.read() as connection:
        await notes.repository.require(connection, principal, note_id, "write")
        return await history.page(connection, KIND, note_id, number)


async def version(deps: Deps, principal: Principal, note_id: str, version_id: str) -> Wire:
    """One version with its text. Raises NotFound."""
    check(deps, principal)
    async with deps.database.read() as connection:
        await notes.repository.require(connection, principal, note_id, "write")
        return await history.entry(connection, KIND, note_id, version_id)


async def restore(deps: Deps, principal: Principal, note_id: str, version_id: str) -> Wire:
    """Writes the text of a version into the note again. What stands there now becomes a version."""
    check(deps, principal)
    async with deps.database.read() as connection:
        await notes.repository.require(connection, principal, note_id, "write")
        wanted = await versions.get(connection, KIND, note_id, version_id)
    if wanted is None:
        raise NotFound(history.NOT_FOUND)
    posted = await note_documents.read_posted(wanted.snapshot.get("content"))
    await put_text(deps, principal, note_id, posted, "Before an earlier version was put back")
    return await get(deps, principal, note_id)


async def put_text(deps: Deps, principal: Principal, note_id: str, posted: Posted, message: str) -> None:
    """Gives a note another text, and keeps the one until now as a version. Raises NotFound, Forbidden."""
    async with deps.database.write() as unit:
        row = await notes.repository.require(unit.connection, principal, note_id, "write", lock=True)
        if not row.has_document:
            await note_documents.keep_version(unit.connection, row, principal.id, message)
            await notes.repository.change(unit.connection, note_id, posted.columns)
    if row.has_document:
        await note_documents.write_text(deps, principal, note_id, posted.tree, message)
    row = await find(deps, principal, note_id)
    deps.emitter.note(note_id, "events:note", told(row))


# Chats beside a note


async def chat(deps: Deps, principal: Principal, note_id: str) -> Wire:
    """The last chat that somebody has beside a note; a new one where there is none."""
    found = await chats_of(deps, principal, note_id, most=1)
    return found[0] if found else await new_chat(deps, principal, note_id)


async def chats_of(deps: Deps, principal: Principal, note_id: str, most: int = notes.MAX_CHATS) -> list[Wire]:
    """The chats that somebody has beside a note, the last changed one first."""
    check(deps, principal)
    async with deps.database.read() as connection:
        await notes.repository.require(connection, principal, note_id)
        ids = (await notes.chats_beside(connection, note_id, principal.id))[:most]
        rows = [row for one in ids if (row := await chats.own(connection, principal.id, one)) is not None]
        return [await _without_messages(connection, row) for row in rows]


async def _without_messages(connection: AsyncConnection, row: ChatRow) -> Wire:
    """A chat as lists have it: whoever shows it fetches it."""
    return await chats.document(connection, row, rows=(), tag_ids=(), names={})


async def new_chat(deps: Deps, principal: Principal, note_id: str) -> Wire:
    """Begins a chat beside a note, which is told which note it is."""
    check(deps, principal)
    async with deps.database.read() as connection:
        await notes.repository.require(connection, principal, note_id)
    body = {"title": CHAT_TITLE, "models": [""], "params": {"system": CHAT_SYSTEM.format(id=note_id)}, "tags": []}
    meta = {"internal": True, "type": KIND, "note_id": note_id}
    new = await chats.draft(principal.id, CHAT_TITLE, body, (), None, meta=meta)
    row = await new_chats.store_new(deps, principal, new)
    async with deps.database.write() as unit:
        await notes.add_chat(unit.connection, note_id, row.id)
        return await _without_messages(unit.connection, row)
