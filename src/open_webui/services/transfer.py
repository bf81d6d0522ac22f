"""Chats in bulk: exports as streams, imports as a whole or not at all, and figures about them."""

import asyncio
from collections.abc import AsyncIterator, Container, Sequence
from typing import Any, Final

import msgspec
from fastapi.exceptions import RequestValidationError

from open_webui.access.permissions import check_stores_chats
from open_webui.errors import BadRequest
from open_webui.internal.log import get_logger
from open_webui.models import chat_lists, chats, folders, histories, tags
from open_webui.models.base import clean_json
from open_webui.models.chat_rows import ChatRow
from open_webui.principal import Principal
from open_webui.schemas.chats import (
    MAX_IMPORT,
    Document,
    ImportBody,
    ImportedChat,
    invalid,
    placed,
    read_document,
    read_imported,
)
from open_webui.services import outgoing, staging
from open_webui.services.chats import for_reader, stream
from open_webui.services.deps import Deps
from open_webui.services.new_chats import NEW_TITLE
from open_webui.utils import tree

log = get_logger(__name__)
# Chats whose envelopes are read at once.
PAGE: Final = 20
MAX_TIME: Final = 253_402_300_800
STATS_PAGE: Final = 10
_encode = msgspec.json.encode


async def export(
    deps: Deps, numbers: Sequence[int], *, lines: bool, reader: Principal | None = None
) -> AsyncIterator[bytes]:
    """The documents of chats as bytes, with their pictures: one a line, or a JSON array.

    reader: hide what is only the owner's from it.
    """
    started = False
    if not lines:
        yield b"["
    for k in range(0, len(numbers), PAGE):
        async with deps.database.read() as connection:
            page = await chats.by_numbers(connection, numbers[k : k + PAGE])
        for chat in page:
            if started and not lines:
                yield b","
            started = True
            pictures = await outgoing.used_in(deps, chat.id)
            async for part in stream(deps, chat if reader is None else for_reader(chat, reader)):
                async for piece in outgoing.with_pictures(deps, pictures, part):
                    yield piece
            if lines:
                yield b"\n"
    if not lines:
        yield b"]"


async def numbers(deps: Deps, user_id: str | None, **which: Any) -> list[int]:
    """The numbers of the chats to export."""
    async with deps.database.read() as connection:
        return await chat_lists.numbers(connection, user_id, **which)


Mended = list[tuple[int, int]]


async def import_chats(deps: Deps, principal: Principal, given: ImportBody) -> tuple[list[int], Mended]:
    """Stores all chats of an export, or none. Gives their numbers, in order. Raises RequestValidationError, BadRequest.

    A message that can't be taken as it is refuses nothing: it is mended, or left out. The second value has of each chat
    with such messages its place in the export and how many they are; the log says it, too.
    """
    check_stores_chats(principal)
    if len(given.chats) > MAX_IMPORT:
        raise BadRequest(f"At most {MAX_IMPORT} chats can be imported at once.")
    read: list[tuple[ImportedChat, Document]] = []
    mended: Mended = []
    for place, raw in enumerate(given.chats):
        form = read_imported(raw, place)
        try:
            document = await read_document(form.chat, creating=True, mends=True)
        except RequestValidationError as error:
            raise placed(error, place, _title_of(form)) from None
        if document.mended:
            mended.append((place, document.mended))
            log.info("messages of an imported chat were mended", place=place, count=document.mended)
        read.append((form, document))
        # A wait between two, so that many small ones don't hold the loop either.
        await asyncio.sleep(0)
    async with deps.database.read() as connection:
        own = set(await folders.parents(connection, principal.id))
    new = [await _draft(principal, form, document, own) for form, document in read]
    return [chat.n for chat in await staging.store_new(deps.database, principal, new)], mended


def _title_of(form: ImportedChat) -> str:
    """What a person knows a chat by, that can't be read otherwise."""
    try:
        title = msgspec.json.decode(form.chat["title"])
    except (KeyError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        title = None
    return title[:100] if isinstance(title, str) and title else NEW_TITLE


async def _draft(principal: Principal, form: ImportedChat, document: Document, own: Container[str]) -> chats.NewChat:
    """own: the folders of the principal. Another server's folder means nothing here."""
    await asyncio.sleep(0)
    made = await chats.draft(
        principal.id,
        document.title or NEW_TITLE,
        document.body,
        document.fields or (),
        form.current_message_id or document.current_id,
        folder_id=form.folder_id if form.folder_id in own else None,
        **_columns(form),
    )
    return msgspec.structs.replace(made, tags=tuple(_tags(form)))


def _columns(form: ImportedChat) -> dict[str, Any]:
    columns: dict[str, Any] = {"pinned": bool(form.pinned), "archived": bool(form.archived)}
    try:
        # Which tags there are is elsewhere (models/tags.py).
        columns["meta"] = {k: [] if k == "tags" else v for k, v in clean_json(form.meta or {}).items()}
        columns["variables"] = clean_json(form.variables or {})
    except ValueError as error:
        raise BadRequest(f"A chat can't be imported: its meta or variables {error}.") from None
    for name in ("created_at", "updated_at"):
        value = getattr(form, name)
        if value is not None:
            if not 0 <= value < MAX_TIME:
                raise invalid(("chats", name), "should be seconds since 1970")
            columns[name] = value
    return columns


def _tags(form: ImportedChat) -> list[str]:
    given = (form.meta or {}).get("tags")
    names = [name for name in given if isinstance(name, str)] if isinstance(given, list) else []
    return [name[:200] for name in names[:100] if tags.id_of(name) != "none"]


class Figures(msgspec.Struct):
    """What a chat's messages come to."""

    average_response_time: float
    average_user_message_content_length: float
    average_assistant_message_content_length: float
    models: dict[str, int]
    message_count: int
    history_models: dict[str, int]
    history_message_count: int
    history_user_message_count: int
    history_assistant_message_count: int


class Measured(msgspec.Struct):
    """A chat's figures and its messages without their texts."""

    chat: ChatRow
    tags: list[str]
    figures: Figures
    messages: dict[str, dict[str, Any]]
    last_message_at: int

    def usage(self) -> dict[str, Any]:
        """A line of GET /chats/stats/usage."""
        times = {"updated_at": self.chat.updated_at, "created_at": self.chat.created_at}
        figures = msgspec.to_builtins(self.figures)
        return {"id": self.chat.id, **figures, "tags": self.tags, "last_message_at": self.last_message_at, **times}

    def exported(self) -> dict[str, Any]:
        """A line of GET /chats/stats/export."""
        return {
            "id": self.chat.id,
            "user_id": self.chat.user_id,
            "created_at": self.chat.created_at,
            "updated_at": self.chat.updated_at,
            "tags": self.tags,
            "stats": self.figures,
            "chat": {"history": {"messages": self.messages, "currentId": self.chat.current_message_id}},
        }


async def stats_lines(deps: Deps, chat_numbers: Sequence[int]) -> AsyncIterator[bytes]:
    """The figures of chats as bytes, one chat a line."""
    for k in range(0, len(chat_numbers), PAGE):
        for measured in await measure(deps, chat_numbers[k : k + PAGE]):
            yield _encode(measured.exported()) + b"\n"


async def measure(deps: Deps, chat_numbers: Sequence[int]) -> list[Measured]:
    """Figures of chats, in order."""
    async with deps.database.read() as connection:
        found = await chats.by_numbers(connection, chat_numbers)
        tagged = await tags.of_chats(connection, [chat.id for chat in found])
    return [await _measured(deps, chat, tagged[chat.id]) for chat in found]


async def _measured(deps: Deps, chat: ChatRow, tag_ids: list[str]) -> Measured:
    async with deps.database.read() as connection:
        rows = await histories.outline(connection, chat)
    parents = tree.repair({row.id: row.parent_id for row in rows})
    at = {row.id: row.created_at for row in rows}
    by_role = {role: [row for row in rows if row.role == role] for role in ("user", "assistant")}
    waits = [row.created_at - at[p] for row in by_role["assistant"] if (p := parents[row.id]) is not None]
    branch = _branch(parents, chat.current_message_id)
    figures = Figures(
        average_response_time=_mean(waits),
        average_user_message_content_length=_mean([row.length for row in by_role["user"]]),
        average_assistant_message_content_length=_mean([row.length for row in by_role["assistant"]]),
        models=_models([row for row in by_role["assistant"] if row.id in branch]),
        message_count=len(branch),
        history_models=_models(by_role["assistant"]),
        history_message_count=len(rows),
        history_user_message_count=len(by_role["user"]),
        history_assistant_message_count=len(by_role["assistant"]),
    )
    wire = {
        row.id: {
            "id": row.id,
            "role": row.role,
            "model": row.model_id,
            "content_length": row.length,
            "token_count": None,
            "timestamp": row.created_at,
            "rating": None,
            "tags": None,
        }
        for row in rows
    }
    return Measured(chat, tag_ids, figures, wire, max(at.values(), default=chat.updated_at))


def _branch(parents: dict[str, str | None], leaf: str | None) -> set[str]:
    out: set[str] = set()
    while leaf is not None and leaf in parents and leaf not in out:
        out.add(leaf)
        leaf = parents[leaf]
    return out


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values) if values else 0.0


def _models(rows: Sequence[histories.Outline]) -> dict[str, int]:
    out: dict[str, int] = {}
    for row in rows:
        if row.model_id is not None:
            out[row.model_id] = out.get(row.model_id, 0) + 1
    return out
