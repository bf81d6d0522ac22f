"""Notes: texts that people write, alone or together. What they write while they have a note open goes over the socket."""

from typing import Annotated, Any

from fastapi import Path, Query

from open_webui import constants
from open_webui.access.policy import USER
from open_webui.deps import AppState, Caller, OptionalPage, Page
from open_webui.models import repository
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.notes import AccessForm, NoteForm, NoteUpdateForm
from open_webui.schemas.replies.shape import Shape
from open_webui.services import notes

router = new_router(prefix="/api/v1/notes", tag="notes")
LIST, READ, WRITE, CREATE, SHARE = (
    USER.on("note", action).needs(notes.PERMISSION) for action in ("list", "read", "write", "create", "share")
)
NoteId = Annotated[str, Path(alias="id", max_length=constants.MAX_ID)]
VersionId = Annotated[str, Path(max_length=constants.MAX_ID)]
Text = Annotated[str | None, Query(max_length=500)]


@router.get("/")
@allow(LIST)
async def list_notes(
    state: AppState, caller: Caller, page: OptionalPage = None
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.notes.ListedNote])]":
    """The notes that one may read, the last changed ones first, each with how its text begins; 30 a page where one is named."""
    return await notes.listed(state, caller, page)


@router.get("/pinned")
@allow(USER.on("note", "list"))
async def pinned(
    state: AppState, caller: Caller
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.notes.ListedNote])]":
    """The notes that one has pinned. Pages ask for them at their start, so nobody is refused."""
    return await notes.pinned(state, caller)


@router.get("/search")
@allow(LIST)
async def search(
    state: AppState,
    caller: Caller,
    *,
    query: Text = None,
    view_option: Text = None,
    permission: Text = None,
    order_by: Text = None,
    direction: Text = None,
    page: Page = 1,
) -> "Annotated[dict[str, Any], Shape(replies.notes.NotesPage)]":
    """The notes whose title or text has a part, 30 a page. permission: "write" for those that one may change."""
    wanted = repository.Query(
        action="write" if permission == "write" else "read", text=query, view=view_option, sort=order_by,
        direction=direction, number=page,
    )  # fmt: skip
    return await notes.search(state, caller, wanted)


@router.post("/create")
@allow(CREATE)
async def create(
    form: NoteForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.notes.Note | None)]":
    """Makes a note. Of the forms of its text, the tree counts before the Markdown, and that before the HTML."""
    return await notes.create(state, caller, form)


@router.get("/{id}")
@allow(READ)
async def get(
    note_id: NoteId, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.notes.NoteWithAccess | None)]":
    """One note with its whole text, as it is now."""
    return await notes.get(state, caller, note_id)


@router.post("/{id}/update")
@allow(WRITE)
async def update(
    note_id: NoteId, form: NoteUpdateForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.notes.Note | None)]":
    """Changes a note. A text is written into what others write at the same time; one of a page that has it open is not."""
    return await notes.update(state, caller, note_id, form)


@router.post("/{id}/access/update")
@allow(SHARE)
async def set_access(
    note_id: NoteId, form: AccessForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.notes.Note | None)]":
    """Replaces the grants on a note."""
    return await notes.set_access(state, caller, note_id, form)


@router.post("/{id}/pin")
@allow(READ)
async def pin(
    note_id: NoteId, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.notes.Note | None)]":
    """Pins a note for oneself, or takes the pin away."""
    return await notes.toggle_pin(state, caller, note_id)


@router.delete("/{id}/delete")
@allow(USER.on("note", "delete"))
async def delete(note_id: NoteId, state: AppState, caller: Caller) -> bool:
    """Removes a note with its document and its versions."""
    return await notes.delete(state, caller, note_id)


@router.get("/{id}/chat")
@allow(READ)
async def chat(
    note_id: NoteId, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.chats.Chat)]":
    """The last chat that one has beside a note, without its messages; a new one where there is none."""
    return await notes.chat(state, caller, note_id)


@router.post("/{id}/chat")
@allow(READ)
async def new_chat(
    note_id: NoteId, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.chats.Chat)]":
    """Begins a chat beside a note."""
    return await notes.new_chat(state, caller, note_id)


@router.get("/{id}/chats")
@allow(READ)
async def chats_of(
    note_id: NoteId, state: AppState, caller: Caller
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.chats.Chat])]":
    """The chats that one has beside a note, without their messages, the last changed one first."""
    return await notes.chats_of(state, caller, note_id)


@router.get("/{id}/history")
@allow(WRITE)
async def history(
    note_id: NoteId, state: AppState, caller: Caller, page: Page = 1
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.notes.NoteVersion])]":
    """The versions of a note, the newest first, 30 a page; for who may change it."""
    return await notes.versions_of(state, caller, note_id, page)


@router.get("/{id}/history/{version_id}")
@allow(WRITE)
async def version(
    note_id: NoteId, version_id: VersionId, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.notes.WholeVersion)]":
    """A version of a note with its text."""
    return await notes.version(state, caller, note_id, version_id)


@router.post("/{id}/history/{version_id}/restore")
@allow(WRITE)
async def restore(
    note_id: NoteId, version_id: VersionId, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.notes.NoteWithAccess | None)]":
    """Writes the text of a version into the note again; what stands there now becomes a version."""
    return await notes.restore(state, caller, note_id, version_id)
