"""A chat's row as a value: as it was read, and as it is held by a transaction that may change it."""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from open_webui.models import tables

t = tables.chat
# A condition: the chat is there for people. Whatever reads chats has it, but for what makes and removes hidden ones.
visible: "sa.ColumnElement[bool]" = t.c.hidden_at.is_(None)


class ChatRow(msgspec.Struct):
    """A chat without its messages. body: what a page keeps in the document beside title and history."""

    n: int
    id: str
    user_id: str
    title: str
    body: dict[str, Any]
    current_message_id: str | None
    next_position: int
    meta: dict[str, Any]
    variables: dict[str, Any] | None
    tasks: Any
    summary: str | None
    archived: bool
    pinned: bool
    folder_id: str | None
    share_id: str | None
    last_read_at: int | None
    created_at: int
    updated_at: int


class LockedChat(ChatRow):
    """A chat whose row the transaction that read it holds: whoever else wants to change the chat waits until that is over.

    Only models/chats.py makes one (`lock`, `lock_for_server`, `create`), and whatever changes a chat or its messages asks
    for one. It is worth nothing once its transaction has ended.
    """

    def alone(self) -> "LockedChats":
        """The same as the only one of several."""
        return LockedChats(self.user_id, (self.id,))


class LockedChats(msgspec.Struct, frozen=True):
    """Several chats of one person, held like a LockedChat. ids: in the order in which they were taken."""

    user_id: str
    ids: tuple[str, ...]


C = TypeVar("C", bound=ChatRow)
_JSON = {"body", "meta", "variables", "tasks"}
# JSON columns as text, decoded below: one that somebody broke must not take the list of chats with it.
columns = tuple(
    sa.cast(t.c[name], sa.Text).label(name) if name in _JSON else t.c[name] for name in ChatRow.__struct_fields__
)


def decode(text: Any) -> Any:
    """The value of a JSON column's text; None for one that is not JSON."""
    if not isinstance(text, str | bytes):
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


def _object(text: Any) -> dict[str, Any]:
    value = decode(text)
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def row_of(r: Sequence[Any]) -> ChatRow:
    """The chat of a row of `columns`."""
    return _read(ChatRow, r)


def locked_row_of(r: Sequence[Any]) -> LockedChat:
    """The same of a row that this transaction holds."""
    return _read(LockedChat, r)


def _read(kind: type[C], r: Sequence[Any]) -> C:
    return kind(
        n=r[0],
        id=r[1],
        user_id=r[2],
        title=_text(r[3]),
        body=_object(r[4]),
        current_message_id=None if r[5] is None else _text(r[5]),
        next_position=r[6] if isinstance(r[6], int) else 0,
        meta=_object(r[7]),
        variables=_object(r[8]),
        tasks=decode(r[9]),
        summary=None if r[10] is None else _text(r[10]),
        archived=bool(r[11]),
        pinned=bool(r[12]),
        folder_id=r[13],
        share_id=r[14],
        last_read_at=r[15] if isinstance(r[15], int) else None,
        created_at=r[16] if isinstance(r[16], int) else 0,
        updated_at=r[17] if isinstance(r[17], int) else 0,
    )
