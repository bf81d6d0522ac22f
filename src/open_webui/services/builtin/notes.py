"""Notes: found, read, written and changed for the person, as a hand more that writes beside theirs."""

from typing import Any, Final

from open_webui.constants import MAX_TITLE
from open_webui.errors import BadRequest, NotFound
from open_webui.models.repository import Query
from open_webui.schemas.notes import NoteForm, NoteUpdateForm
from open_webui.services import note_documents, notes
from open_webui.services.builtin.row import Use

UNKNOWN: Final = "There is no such note. search_notes tells the ids."
READ_ONLY: Final = "The person may not change this note."
EITHER: Final = "Give the whole new text in 'content', or what is replaced in 'operations'."
MAX_OPERATIONS: Final = 100
# Characters of a note in a list.
_SHOWN: Final = 300
_NANOSECONDS: Final = 1_000_000_000


async def search(use: Use) -> dict[str, Any]:
    """Those whose title or text has the words as they stand, the last changed ones first; between two times, where given."""
    count = use.number("count", 5, least=1, most=30)
    query = Query(text=use.text("query", limit=500), size=30)
    found = await notes.search(use.deps, use.asked.principal, query)
    begin = use.number("start_timestamp", 0, most=2**40) * _NANOSECONDS
    end = use.number("end_timestamp", 2**40, most=2**40) * _NANOSECONDS
    rows = [row for row in found["items"] if begin <= row["updated_at"] <= end]
    return {
        "notes": [
            {
                "id": row["id"],
                "title": row["title"],
                "begins": row["data"]["content"]["md"][:_SHOWN],
                "updated_at": row["updated_at"] // _NANOSECONDS,
            }
            for row in rows[:count]
        ],
        "total": found["total"],
    }


async def view(use: Use) -> dict[str, Any]:
    return _shown(await _get(use))


async def write(use: Use) -> dict[str, Any]:
    form = NoteForm(title=_title(use), data={"content": {"md": _text(use)}})
    made = await notes.create(use.deps, use.asked.principal, form)
    return {"id": made["id"], "title": made["title"]}


async def replace(use: Use) -> dict[str, Any]:
    """Another text for all of it, or other words in single places. The text until now stays as a version."""
    deps, principal = use.deps, use.asked.principal
    before = await _get(use)
    if not before["write_access"]:
        raise BadRequest(READ_ONLY)
    whole, operations = use.arguments.get("content"), use.arguments.get("operations")
    if (whole is None) == (not operations):
        raise BadRequest(EITHER)
    text = _text(use) if whole is not None else _replaced(before["data"]["content"]["md"], operations)
    if use.arguments.get("title") is not None:
        await notes.update(deps, principal, before["id"], NoteUpdateForm(title=_title(use)))
    posted = await note_documents.read_posted({"md": text})
    await notes.put_text(deps, principal, before["id"], posted, "Before a model changed it")
    return _shown(await _get(use))


async def _get(use: Use) -> dict[str, Any]:
    try:
        return await notes.get(use.deps, use.asked.principal, use.text("note_id", limit=255))
    except NotFound:
        raise NotFound(UNKNOWN) from None


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "title": row["title"],
        "content": row["data"]["content"]["md"],
        "updated_at": row["updated_at"] // _NANOSECONDS,
        "may_change": row["write_access"],
    }


def _title(use: Use) -> str:
    title = use.text("title", limit=MAX_TITLE + 1)
    if len(title) > MAX_TITLE:
        raise BadRequest(f"A title may have {MAX_TITLE:,} characters at most.")
    return title


def _text(use: Use) -> str:
    value = use.arguments.get("content")
    if not isinstance(value, str):
        raise BadRequest("'content' should be a text.")
    if len(value) > note_documents.MAX_TEXT:
        raise BadRequest(note_documents.LONG)
    return value


def _replaced(text: str, operations: Any) -> str:
    """The text after each operation in turn. Raises BadRequest for one that says not clearly where; then none is done."""
    if not isinstance(operations, list) or len(operations) > MAX_OPERATIONS:
        raise BadRequest(f"'operations' should be a list of {MAX_OPERATIONS} at most.")
    for place, operation in enumerate(operations, 1):
        old, new = (operation.get(name) if isinstance(operation, dict) else None for name in ("find", "replace"))
        if not isinstance(old, str) or not old or not isinstance(new, str):
            raise BadRequest(f"Operation {place} should have the texts 'find' and 'replace'.")
        if (times := text.count(old)) != 1:
            raise BadRequest(
                f"What operation {place} finds stands {times} times in the note, not once. Nothing was changed. Read it with"
                " view_note, and give more of what stands around it."
            )
        text = text.replace(old, new)
        if len(text) > note_documents.MAX_TEXT:
            raise BadRequest(note_documents.LONG)
    return text
