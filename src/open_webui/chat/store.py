"""Stores a question and the empty messages of its answers, in one transaction, and reads the conversation for them."""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from llamaforge.events.parts import DEFAULT_LIMITS, Limits
from open_webui.chat import limits
from open_webui.chat.request import Ask, PageRequest
from open_webui.errors import BadRequest, Forbidden, NotFound
from open_webui.internal.db import Database
from open_webui.models import chats, folders, generation_parts, generations, messages, turn_updates
from open_webui.models.base import now
from open_webui.models.chat_rows import ChatRow, LockedChat
from open_webui.principal import Principal
from open_webui.services.affect import NOTHING, Chosen, carried, chosen

NEW_TITLE = "New Chat"


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What a turn's transaction found and wrote."""

    chat_id: str
    owner_id: str
    title: str
    folder_id: str | None
    is_new: bool
    answers: dict[str, messages.MessageRow]
    history: tuple[dict[str, Any], ...]
    truncated: bool
    question: str
    # The question and the empty answers as messages of the wire, for others who look on.
    wire: dict[str, dict[str, Any]]
    # The chat's own; its system prompt is among them.
    params: dict[str, Any]
    folder_prompt: str | None = None
    # What is attached to the folder.
    folder_files: tuple[dict[str, Any], ...] = ()
    affect: Chosen = NOTHING
    continued: dict[str, Any] | None = None


class TurnStorage(msgspec.Struct, frozen=True):
    """Where a turn is stored: the database, the process that will answer, and how much of a conversation is read.

    limits: the most that is kept of one answer.
    """

    database: Database
    instance: str
    max_chars: int
    limits: Limits = DEFAULT_LIMITS


async def store(
    storage: TurnStorage, principal: Principal, request: PageRequest, asks: Sequence[tuple[Ask, str]]
) -> Stored:
    """Raises NotFound for a chat, folder or message that isn't the caller's to write to, BadRequest for a lone parent;
    Conflict and TooManyRequests for what other processes write.
    """
    if request.is_temporary:
        return _temporary(principal, request)
    try:
        return await _store(storage, principal, request, asks)
    except sa.exc.IntegrityError as error:
        if generations.is_begun(error):
            raise limits.taken() from error
        raise


async def _store(
    storage: TurnStorage, principal: Principal, request: PageRequest, asks: Sequence[tuple[Ask, str]]
) -> Stored:
    async with storage.database.write() as unit:
        connection = unit.connection
        chat = await _chat(connection, principal, request)
        is_new = chat is None
        if chat is None:
            chat = await _create(connection, principal, request, asks)
        if request.continued:
            wire = [await _continued(connection, chat, asks[0][0], asks[0][1])]
        else:
            wire = _placeholders(principal, request, asks)
            await _check_regenerates(connection, principal, chat, wire)
        stale = frozenset({"error"}) if request.continued else messages.ANSWER_FIELDS
        if chat.user_id != principal.id:
            wire = await _spared(connection, chat, principal, wire)
        if not storage.database.is_sqlite:
            written = await generations.held_count(connection, principal.id)
            if written + len(asks) > limits.MAX_RUNNING_PER_USER:
                raise limits.too_many()
        with unit.together():
            # Before its messages, as everybody takes them.
            await generations.begin(connection, _begun(principal, chat, asks), storage.instance)
            rows = await messages.put(connection, chat, principal.id, wire, {ask.message_id: stale for ask, _ in asks})
            await turn_updates.advance(connection, chat, asks[0][0].message_id)
        answers = {row.id: row for row in rows if row.id in {ask.message_id for ask, _ in asks}}
        first = answers[asks[0][0].message_id]
        branch, truncated = await _branch(connection, chat.id, first.parent_id, storage.max_chars)
        prompt, attached = (
            (None, []) if chat.folder_id is None else await turn_updates.folder_brings(connection, chat.folder_id)
        )
    earlier = first if request.continued else None
    history = [row.wire([]) for row in branch]
    if earlier is not None:
        history.append(earlier.wire([]))
    params = chat.body.get("params")
    return Stored(
        chat_id=chat.id,
        owner_id=chat.user_id,
        title=chat.title,
        folder_id=chat.folder_id,
        is_new=is_new,
        answers=answers,
        history=tuple(history),
        truncated=truncated,
        question=question_of(branch),
        wire={row.id: row.wire([r.id for r in rows if r.parent_id == row.id]) for row in rows},
        params=params if isinstance(params, dict) else {},
        folder_prompt=prompt,
        folder_files=tuple(attached),
        affect=chosen(chat.meta),
        continued=None if earlier is None else {"output": earlier.body.get("output"), "content": earlier.content},
    )


def _begun(principal: Principal, chat: ChatRow, asks: Sequence[tuple[Ask, str]]) -> list[dict[str, str]]:
    """The rows that say that these answers are being written."""
    return [
        {"task_id": task_id, "chat_id": chat.id, "message_id": ask.message_id, "user_id": principal.id}
        for ask, task_id in asks
    ]


def _temporary(principal: Principal, request: PageRequest) -> Stored:
    """A temporary chat stores nothing: its conversation comes with the request."""
    history = tuple(request.messages or ())
    said = next((m.get("content") for m in reversed(history) if m.get("role") == "user"), "")
    return Stored(
        chat_id=str(request.chat_id),
        owner_id=principal.id,
        title="",
        folder_id=None,
        is_new=False,
        answers={},
        history=history,
        truncated=False,
        question=said if isinstance(said, str) else "",
        wire={},
        params={},
    )


async def _chat(connection: AsyncConnection, principal: Principal, request: PageRequest) -> LockedChat | None:
    if request.chat_id is None:
        return None
    chat = await chats.lock(connection, principal, request.chat_id)
    if chat is None:
        raise NotFound
    return chat


async def _create(
    connection: AsyncConnection, principal: Principal, request: PageRequest, asks: Sequence[tuple[Ask, str]]
) -> LockedChat:
    if request.user_message is None:
        raise BadRequest("A new chat begins with a 'user_message'.")
    if request.folder_id is not None and not await folders.hold(connection, principal, request.folder_id):
        raise NotFound
    body: dict[str, Any] = {
        "models": [ask.model_id for ask, _ in asks],
        "params": {},
        "tags": [],
        "files": request.files,
    }
    body["timestamp"] = now() * 1000
    if request.chat_variables:
        body["variables"] = request.chat_variables
    given = request.new_chat
    own: dict[str, Any] = {} if given is None else {"id": given.id, "meta": given.meta}
    title = NEW_TITLE if given is None else given.title
    return await chats.create(connection, principal.id, title=title, body=body, folder_id=request.folder_id, **own)


def _placeholders(principal: Principal, request: PageRequest, asks: Sequence[tuple[Ask, str]]) -> list[dict[str, Any]]:
    """The question, if there is one, and an empty answer for each model, as messages of the wire."""
    wire: list[dict[str, Any]] = []
    parent = request.parent_id
    if request.user_message is not None:
        question = dict(request.user_message)
        if "parentId" not in question:
            question["parentId"] = None if parent == question["id"] else parent
        question["user_id"] = principal.id
        question["user"] = principal.public()
        question.setdefault("timestamp", now())
        question.pop("childrenIds", None)
        wire.append(question)
        parent = question["id"]
    for ask, task_id in asks:
        wire.append(
            {
                "id": ask.message_id,
                "parentId": parent,
                "role": "assistant",
                "content": "",
                "done": False,
                "model": ask.model_id,
                "modelIdx": ask.index,
                "timestamp": now(),
                "meta": {"task_id": task_id},
            }
        )
    return wire


async def _spared(
    connection: AsyncConnection, chat: ChatRow, principal: Principal, wire: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """What of the messages somebody may write over stored ones in a chat of somebody else: own ones.

    Another's question stays as it is: whoever has it answered anew sends it along. Raises Forbidden for an answer.
    """
    found = await turn_updates.authors(connection, chat.id, [message["id"] for message in wire])
    out = []
    for message in wire:
        foreign = message["id"] in found and found[message["id"]] != principal.id
        if foreign and message["role"] != "user":
            raise Forbidden("This answer belongs to somebody else. Regenerate it instead.")
        if not foreign:
            out.append(message)
    return out


async def _continued(connection: AsyncConnection, chat: ChatRow, ask: Ask, task_id: str) -> dict[str, Any]:
    row = await messages.get(connection, chat.id, ask.message_id)
    if row is None or row.role != "assistant":
        raise NotFound
    meta = carried(row.body["meta"]) if isinstance(row.body.get("meta"), dict) else {}
    return {"id": row.id, "role": row.role, "done": False, "meta": meta | {"task_id": task_id}}


async def _check_regenerates(
    connection: AsyncConnection, principal: Principal, chat: LockedChat, wire: list[dict[str, Any]]
) -> None:
    """Raises Forbidden for another answer to a message that has one, where that is not allowed."""
    if not principal.may("chat.regenerate_response") and await messages.has_answer(
        connection, chat.id, wire[-1]["parentId"]
    ):
        raise Forbidden("You may not have answers written anew on this server.", status=403)


async def _branch(
    connection: AsyncConnection, chat_id: str, message_id: str | None, max_chars: int
) -> tuple[list[messages.MessageRow], bool]:
    if message_id is None:
        return [], False
    rows, truncated = await messages.branch(connection, chat_id, message_id, max_chars)
    await generation_parts.lay_over_rows(connection, chat_id, rows)
    return rows, truncated


def question_of(branch: Sequence[messages.MessageRow]) -> str:
    return next((row.content for row in reversed(branch) if row.role == "user"), "")
