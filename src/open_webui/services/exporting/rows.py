"""Rows as lines of JSON, in the form that Open WebUI's tables have: what this server stores in another form is put back."""

import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.access.api_keys import Sealer
from open_webui.config import BY_KEY
from open_webui.errors import BadRequest
from open_webui.models import exported, identities, skills, tags
from open_webui.models.base import decode_json
from open_webui.models.chat_rows import ChatRow
from open_webui.services import plugins, skill_files
from open_webui.services.uploads import file_name
from open_webui.storage.base import PIECE

Row = dict[str, Any]
_encode = msgspec.json.encode
# Damaged things that are named; the others are only counted.
_NAMED: Final = 1_000
# In what people set for themselves: where keys of theirs stand, and under which names.
_HOLDERS: Final = frozenset({"directConnections", "toolServers", "terminalServers", "notifications"})
_SECRETS: Final = frozenset(
    {"key", "keys", "api_key", "token", "password", "OPENAI_API_KEYS", "headers", "webhook_url"}
)
COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    name: kept.names for name, kept in exported.KEPT.items()
} | {
    "user": (*exported.KEPT["user"].names, "is_primary"),
    "file": (*exported.KEPT["file"].names, "path", "data"),
    "skill": (*(one for one in exported.KEPT["skill"].names if one != "files"), "data"),
    "note": tuple(one for one in exported.KEPT["note"].names if one != "content"),
    "message_reaction": ("id", *exported.KEPT["message_reaction"].names),
    "chat": (
        "id", "user_id", "title", "chat", "current_message_id", "meta", "variables", "tasks", "summary", "archived", "pinned",
        "folder_id", "share_id", "last_read_at", "created_at", "updated_at",
    ),
}  # fmt: skip
# Columns whose values are JSON, whatever they are.
JSON: Final[Mapping[str, frozenset[str]]] = {name: kept.json for name, kept in exported.KEPT.items()} | {
    "file": exported.KEPT["file"].json | {"data"},
    "skill": exported.KEPT["skill"].json | {"data"},
    "tool": exported.KEPT["tool"].json | {"valves"},
    "function": exported.KEPT["function"].json | {"valves"},
    "chat": frozenset({"chat", "meta", "variables", "tasks"}),
}


@dataclass
class Export:
    """One that is going on. connection: all of it is read there, in one state. owner: whose things; None for all. secrets:
    whether hashes and keys are in it. primary: the administrator whom nobody can demote.

    counts: rows by table. damaged: what was left out, and why, of `left` things.
    """

    connection: AsyncConnection
    sealer: Sealer
    owner: str | None = None
    secrets: bool = False
    primary: str | None = None
    counts: dict[str, int] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    left: int = 0

    def leave(self, table: str, name: str, why: str) -> None:
        """Notes what is not in it."""
        self.left += 1
        if len(self.damaged) < _NAMED:
            shown = "".join(c if c.isprintable() else "\ufffd" for c in name)[:100]
            self.damaged.append(f"{table} {shown}: {why}")


async def lines(export: Export, table: str) -> AsyncIterator[bytes]:
    """The rows of a table, one a line."""
    kept = exported.KEPT[table]
    make = _MAKERS.get(table, _as_it_is)
    held: list[bytes] = []
    size = 0
    async for name, row in exported.rows(export.connection, table, export.owner):
        if row is None:
            export.leave(table, name, "it can't be read, and is left out")
            continue
        for column in kept.json:
            row[column] = _json(export, table, name, column, row[column])
        made = await make(export, table, row)
        if made is None:
            continue
        held.append(_encode(made) + b"\n")
        size += len(held[-1])
        export.counts[table] = export.counts.get(table, 0) + 1
        if size >= PIECE:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)


def _json(export: Export, table: str, name: str, column: str, text: Any) -> Any:
    value = decode_json(text)
    if value is None and text is not None and text != "null":
        export.leave(table, name, f"its {column} is no JSON, and is left out")
    return value


async def _as_it_is(_export: Export, _table: str, row: Row) -> Row | None:
    return row


async def _person(export: Export, _table: str, row: Row) -> Row | None:
    row["is_primary"] = row["id"] == export.primary
    own = await identities.of_user(export.connection, row["id"])
    if own:
        # One of each provider has room there: the oldest.
        row["oauth"] = {one.provider: {"sub": one.subject} for one in reversed(own)}
    settings = row["settings"] if isinstance(row["settings"], dict) else {}
    if not export.secrets:
        row["settings"] = _without_keys(settings) if settings else row["settings"]
        return row
    for kind, plugin, sealed in await exported.valves_of(export.connection, row["id"]):
        values = plugins.unseal(export, kind, plugin, sealed, row["id"])
        if not values:
            export.leave(
                "user", row["id"], f"what was set of the {kind} {plugin} can't be read with this server's secret"
            )
            continue
        place = settings.setdefault(f"{kind}s", {})
        if isinstance(place, dict):
            place.setdefault("valves", {})[plugin] = values
        row["settings"] = settings
    return row


def _without_keys(value: Any, inside: bool = False) -> Any:
    """What somebody set, without the keys to other servers that stand in it."""
    if isinstance(value, list):
        return [_without_keys(one, inside) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _emptied(one) if inside and name in _SECRETS else _without_keys(one, inside or name in _HOLDERS)
        for name, one in value.items()
    }


def _emptied(value: Any) -> Any:
    return ["" for _ in value] if isinstance(value, list) else "" if isinstance(value, str) else None


async def _credential(export: Export, _table: str, row: Row) -> Row | None:
    if not export.secrets:
        del row["password"]
    return row


async def _file(_export: Export, _table: str, row: Row) -> Row | None:
    row["path"] = path_of(row["id"], row["filename"])
    # Whether what is in it was taken out, and is to be again.
    row["data"] = {} if row.pop("status") is None else {"status": "completed"}
    return row


def path_of(file_id: str, name: Any) -> str:
    """Where an archive has a file's bytes."""
    # Ids that came from elsewhere may have anything in them: what unpacks this writes nowhere else.
    file_id = re.sub(r"[^\w.-]", "_", file_id)
    said = "".join("_" if c in '<>:"|?*' else c for c in str(name))
    try:
        return f"files/{file_id}_{file_name(said)}"
    except BadRequest:
        return f"files/{file_id}"


async def _plugin(export: Export, table: str, row: Row) -> Row | None:
    sealed = row["valves"]
    row["valves"] = None
    if export.secrets and sealed:
        row["valves"] = plugins.unseal(export, table, row["id"], sealed)
        if not row["valves"]:
            export.leave(table, row["id"], "what is set of it can't be read with this server's secret")
    return row


async def _skill(export: Export, _table: str, row: Row) -> Row | None:
    row["data"] = await _skill_files(export, row["id"], row["id"], row.pop("files"))
    return row


async def _skill_version(export: Export, _table: str, row: Row) -> Row | None:
    del row["n"]
    snapshot = row["snapshot"]
    if isinstance(snapshot, dict):
        files = snapshot.pop("files", None)
        snapshot["data"] = await _skill_files(export, row["skill_id"], row["id"], files)
    return row


async def _skill_files(export: Export, skill_id: str, name: str, files: Any) -> dict[str, Any] | None:
    """The files beside its text, with what stands in them."""
    try:
        entries = skill_files.stored("", files or ())
    except (msgspec.ValidationError, TypeError):
        export.leave("skill", name, "its files can't be read, and are left out")
        return None
    del entries[skill_files.MAIN]
    if not entries:
        return None
    there = await skills.contents(export.connection, skill_id, {one.hash for one in entries.values()})
    for path, one in entries.items():
        if one.hash not in there:
            export.leave("skill", name, f"its file {path} is gone")
    return {"files": [skill_files.shown(p, there[one.hash]) for p, one in entries.items() if one.hash in there]}


async def _setting(export: Export, _table: str, row: Row) -> Row | None:
    known = BY_KEY.get(row["key"])
    return row if export.secrets or (known is not None and not known.secret) else None


async def _note(_export: Export, _table: str, row: Row) -> Row | None:
    """With its text as pages have it; `md` is for people."""
    content, besides = row.pop("content"), row["data"]
    text = {"json": None, "html": ""} | (content if isinstance(content, dict) else {}) | {"md": row["md"]}
    row["data"] = {"content": text} | (besides if isinstance(besides, dict) else {})
    return row


async def _reaction(_export: Export, _table: str, row: Row) -> Row | None:
    named = f"{row['message_id']}:{row['user_id']}:{row['name']}"
    return {"id": str(uuid.uuid5(uuid.NAMESPACE_OID, named))} | row


async def _webhook(export: Export, table: str, row: Row) -> Row | None:
    sealed, row["token"] = row["token"], None
    if export.secrets:
        row["token"] = export.sealer.unseal(sealed, row["id"])
        if not row["token"]:
            export.leave(table, row["id"], "its address can't be read with this server's secret")
    return row


async def _version(_export: Export, _table: str, row: Row) -> Row | None:
    del row["n"]
    return row


_MAKERS: Final[Mapping[str, Callable[[Export, str, Row], Awaitable[Row | None]]]] = {
    "user": _person,
    "auth": _credential,
    "file": _file,
    "tool": _plugin,
    "function": _plugin,
    "skill": _skill,
    "skill_history": _skill_version,
    "config": _setting,
    "note": _note,
    "message_reaction": _reaction,
    "channel_webhook": _webhook,
} | {f"{kind}_history": _version for kind in ("model", "tool", "function", "prompt", "note")}


# Chats


async def chat_lines(export: Export) -> AsyncIterator[bytes]:
    """The chats, one a line, each with all its messages; of a long one not all is in memory."""
    export.counts["chat"] = 0
    async for number, chat in exported.chats(export.connection, export.owner):
        if chat is None:
            export.leave("chat", f"number {number}", "it can't be read, and is left out")
            continue
        try:
            parents, pages = await exported.history(export.connection, chat)
        except exported.Damage:
            if export.connection.dialect.name != "sqlite":
                raise
            export.leave("chat", chat.id, "its messages can't be read, and it is left out")
            continue
        export.counts["chat"] += 1
        tagged = await tags.of_chats(export.connection, [chat.id])
        async for piece in _chat(export, chat, list(parents), pages, tagged[chat.id]):
            yield piece


async def _chat(
    export: Export, chat: ChatRow, ids: list[str], pages: exported.Pages, tag_ids: list[str]
) -> AsyncIterator[bytes]:
    current = chat.current_message_id if chat.current_message_id in set(ids) else ids[-1] if ids else None
    meta = {**chat.meta, "tags": tag_ids} if tag_ids or "tags" in chat.meta else chat.meta
    about = {name: getattr(chat, name) for name in COLUMNS["chat"] if name not in {"chat", "meta"}}
    about |= {"current_message_id": current, "meta": meta}
    body = {**chat.body, "title": chat.title}
    held = [_encode(about)[:-1] + b',"chat":' + _encode(body)[:-1] + b',"history":{"currentId":' + _encode(current)]
    held.append(b',"messages":{')
    size, first = 0, True
    async for page in pages:
        for message_id, message in page:
            if message is None:
                export.leave("chat", chat.id, f"its message {message_id} can't be read, and is left out")
                continue
            held += [b"" if first else b",", _encode(message_id), b":", _encode(message)]
            size, first = size + len(held[-1]), False
        if size >= PIECE:
            yield b"".join(held)
            held, size = [], 0
    held.append(b"}}}}\n")
    yield b"".join(held)
