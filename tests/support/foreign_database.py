"""A database of Open WebUI 0.12 as an importer meets it, made of what is known of its tables: in SQLite, or in PostgreSQL.

`Foreign` collects rows and writes them; `sample` is a small server with one of everything that is taken over.
"""

import contextlib
import datetime as dt
import json
import sqlite3
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg
import bcrypt
from argon2 import PasswordHasher

from tests.support.pictures import picture

AT: Final = 1_760_000_000
PASSWORD: Final = "a password from elsewhere"
# name:type, ! for what can't be null; the first column is the key.
_SCHEMA: Final = """
access_grant id resource_type! resource_id! principal_type! principal_id! permission! created_at:int!
api_key id user_id key! data:json expires_at:int last_used_at:int created_at:int! updated_at:int!
auth id email password active:bool mfa:json session_stamp
automation id user_id! name! data:json! meta:json is_active:bool! last_run_at:int next_run_at:int created_at:int!
  updated_at:int! folder_id
automation_run id automation_id! chat_id status! error created_at:int!
calendar id user_id! name! color is_default:bool! data:json meta:json created_at:int! updated_at:int!
calendar_event id calendar_id! user_id! title! description start_at:int! end_at:int all_day:bool! rrule color location
  data:json meta:json is_cancelled:bool! created_at:int! updated_at:int!
calendar_event_attendee id event_id! user_id! status! meta:json created_at:int! updated_at:int!
channel id user_id name description data:json meta:json created_at:int updated_at:int type is_private:bool archived_at:int
  archived_by deleted_at:int deleted_by updated_by
channel_file id user_id! channel_id! file_id! created_at:int! updated_at:int! message_id
channel_member id channel_id! user_id created_at:int status is_active:bool! is_channel_muted:bool! is_channel_pinned:bool!
  data:json meta:json joined_at:int! left_at:int last_read_at:int updated_at:int role invited_by invited_at:int app_id
channel_webhook id user_id! channel_id! name! profile_image_url token! last_used_at:int created_at:int! updated_at:int!
chat id user_id title created_at:int updated_at:int share_id archived:bool chat:json pinned:bool meta:json! folder_id
  tasks:json summary last_read_at:int current_message_id variables:json timer_at:int
chat_file id user_id! chat_id! file_id! message_id created_at:int! updated_at:int!
chat_message id chat_id! user_id role! parent_id content:json output:json model_id files:json sources:json embeds:json
  done:bool status_history:json error:json usage:json created_at:int updated_at:int context_summary meta:json
chatidtag id tag_name chat_id user_id timestamp:int
config key value:json! updated_at:int
feedback id user_id version:int type data:json meta:json snapshot:json created_at:int! updated_at:int!
file id user_id filename meta:json created_at:int hash data:json updated_at:int path
folder id parent_id user_id name! items:json meta:json is_expanded:bool! created_at:int! updated_at:int! data:json
function id user_id name type content meta valves is_active:bool is_global:bool updated_at:int created_at:int
  version_id
function_history id function_id! parent_id snapshot:json! user_id! commit_message created_at:int!
group id user_id name description data:json meta:json permissions:json created_at:int updated_at:int parent_group_id
group_member id group_id! user_id! created_at:int updated_at:int
knowledge id user_id! name! description meta:json created_at:int! updated_at:int data:json
knowledge_directory id knowledge_id! parent_id name! user_id! created_at:int! updated_at:int!
knowledge_file id user_id! knowledge_id! file_id! created_at:int! updated_at:int! directory_id
memory id user_id content updated_at:int created_at:int type! path meta:json
message id user_id channel_id content data:json meta:json created_at:int updated_at:int parent_id reply_to_id
  is_pinned:bool! pinned_at:int pinned_by app_id
message_reaction id user_id! message_id! name! created_at:int
model id user_id base_model_id name params meta updated_at:int created_at:int is_active:bool! version_id
model_history id model_id! parent_id snapshot:json! user_id! commit_message created_at:int!
note id user_id title data:json meta:json created_at:int updated_at:int
pinned_note id user_id! note_id! created_at:int!
prompt id command user_id! name! content! data:json meta:json is_active:bool! version_id tags:json created_at:int!
  updated_at:int!
prompt_history id prompt_id! parent_id snapshot:json! user_id! commit_message created_at:int!
shared_chat id chat_id! user_id! title chat:json created_at:int updated_at:int
skill id user_id! name! description content! meta:json is_active:bool! updated_at:int! created_at:int! version_id
  data:json
skill_history id skill_id! parent_id snapshot:json! user_id! commit_message created_at:int!
tag id name user_id meta:json
tool id user_id name content specs meta valves updated_at:int created_at:int version_id
tool_history id tool_id! parent_id snapshot:json! user_id! commit_message created_at:int!
user id name email role profile_image_url last_active_at:int updated_at:int created_at:int username bio gender
  date_of_birth:date profile_banner_image_url timezone presence_state status_emoji status_message
  status_expires_at:int oauth:json info:json settings:json scim:json variables:json
"""
# Tables whose times are nanoseconds.
_FINE: Final = frozenset(
    {
        "automation", "automation_run", "calendar", "calendar_event", "calendar_event_attendee", "channel", "channel_file",
        "channel_member", "channel_webhook", "message", "message_reaction", "note",
    }
)  # fmt: skip
NS: Final = 1_000_000_000
_TYPES: Final = {"": "TEXT", "int": "BIGINT", "bool": "BOOLEAN", "json": "JSON", "date": "DATE"}


@dataclass(frozen=True)
class Column:
    name: str
    kind: str
    needed: bool


def _tables() -> dict[str, list[Column]]:
    out = {}
    for line in _SCHEMA.strip().replace("\n ", "").splitlines():
        table, *columns = line.split()
        out[table] = [
            Column(name, kind, needed=one.endswith("!"))
            for one in columns
            for name, _, kind in [one.removesuffix("!").partition(":")]
        ]
    return out


TABLES: Final = _tables()


@dataclass(frozen=True)
class Broken:
    """What stands in a column as it is, whatever the column is for. SQLite only."""

    value: Any


def new_id() -> str:
    return str(uuid.uuid4())


@dataclass
class Foreign:
    """Rows of the tables, to be written to a database."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, table: str, **values: Any) -> str:
        """A row; gives its key. What it needs and is not given is filled in."""
        columns = TABLES[table]
        given = {columns[0].name: new_id()} | values
        for column in columns:
            if column.name in {"created_at", "updated_at"} and column.name not in given:
                given[column.name] = AT * NS if table in _FINE else AT
            elif column.needed and column.name not in given:
                off = column.name in {"is_pinned", "is_cancelled", "all_day", "is_channel_muted", "is_channel_pinned"}
                given[column.name] = {"int": 0, "bool": not off, "json": {}}.get(column.kind, "")
        assert given.keys() <= {column.name for column in columns}, (table, given.keys())
        self.rows.setdefault(table, []).append(given)
        return str(given[columns[0].name])

    def person(self, name: str, role: str = "user", *, hashed: str | None = None, **values: Any) -> str:
        user_id = new_id()
        email = f"{name.lower()}@example.com"
        given = {"id": user_id, "name": name, "email": email, "role": role, "last_active_at": AT}
        given |= {"profile_image_url": "/user.png", "settings": {"ui": {"theme": "dark"}}}
        self.add("user", **given | values)
        self.add("auth", id=user_id, email=email, password=hashed or bcrypted(), active=True)
        return user_id

    def chat(self, user_id: str, title: str, *, rows: bool = True, document: bool = True, **values: Any) -> str:
        """A question with two answers, of which the second goes on. rows, document: which copies there are."""
        chat_id = str(values.pop("id", None) or new_id())
        messages = values.pop("messages", None) or branched(title)
        history = {"messages": messages, "currentId": "d"}
        whole = {"title": title, "models": ["m"], "params": {"temperature": 0.5}, "history": history, "messages": []}
        given = {
            "id": chat_id,
            "user_id": user_id,
            "title": title,
            "chat": whole if document else {},
            "archived": False,
        }
        self.add("chat", **given | {"pinned": False, "meta": {}, "current_message_id": "d"} | values)
        for message in messages.values() if rows else ():
            self.add("chat_message", id=f"{chat_id}-{message['id']}", chat_id=chat_id, user_id=user_id, role=message["role"],
                     parent_id=message["parentId"], content=message["content"], done=True, created_at=message["timestamp"],
                     output=message.get("output"), model_id=message.get("model"))  # fmt: skip
        return chat_id

    # Written

    def sqlite(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            for table, columns in TABLES.items():
                keys = {"folder": "id, user_id", "tag": "id, user_id"}.get(table, f'"{columns[0].name}"')
                named = ", ".join(f'"{c.name}" {_TYPES[c.kind]}' for c in columns)
                connection.execute(f'CREATE TABLE "{table}" ({named}, PRIMARY KEY ({keys}))')
                names = [c.name for c in columns]
                marks = ", ".join("?" * len(names))
                rows = [[_sqlite(c, row.get(c.name)) for c in columns] for row in self.rows.get(table, ())]
                connection.executemany(f'INSERT INTO "{table}" VALUES ({marks})', rows)
            connection.commit()
        return path

    async def postgres(self, url: str) -> None:
        connection = await asyncpg.connect(url)
        try:
            for table, columns in TABLES.items():
                keys = {"folder": "id, user_id", "tag": "id, user_id"}.get(table, f'"{columns[0].name}"')
                named = ", ".join(f'"{c.name}" {_TYPES[c.kind]}' for c in columns)
                await connection.execute(f'CREATE TABLE "{table}" ({named}, PRIMARY KEY ({keys}))')
                marks = ", ".join(f"${k}" for k in range(1, len(columns) + 1))
                rows = [[_postgres(c, row.get(c.name)) for c in columns] for row in self.rows.get(table, ())]
                await connection.executemany(f'INSERT INTO "{table}" VALUES ({marks})', rows)
        finally:
            await connection.close()


def _sqlite(column: Column, value: Any) -> Any:
    if isinstance(value, Broken):
        return value.value
    if column.kind == "json":
        return json.dumps(value)
    return json.dumps(value) if isinstance(value, dict | list) else value


def _postgres(column: Column, value: Any) -> Any:
    assert not isinstance(value, Broken), "PostgreSQL keeps what its types allow"
    if column.kind == "date":
        return None if value is None else dt.date.fromisoformat(value)
    return _sqlite(column, value)


def bcrypted(password: str = PASSWORD) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


def argon2(password: str = PASSWORD) -> str:
    return PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(password)


def branched(text: str) -> dict[str, dict[str, Any]]:
    """Messages by id: a question, two answers, and what follows the second."""

    def message(
        key: str, parent: str | None, role: str, content: str, children: list[str], **more: Any
    ) -> dict[str, Any]:
        said = {"id": key, "parentId": parent, "childrenIds": children, "role": role, "content": content}
        return said | {"timestamp": AT + ord(key)} | more

    return {
        "a": message("a", None, "user", f"Question of {text}", ["b", "c"], models=["m"]),
        "b": message("b", "a", "assistant", "The first answer", [], model="m", done=True),
        "c": message("c", "a", "assistant", "The second answer", ["d"], model="m", done=True),
        "d": message("d", "c", "user", "And then?", []),
    }


TOOL: Final = '''"""
title: Adder
"""
from pydantic import BaseModel


class Tools:
    class Valves(BaseModel):
        limit: int = 5

    def __init__(self):
        self.valves = self.Valves()

    def add(self, a: int, b: int) -> int:
        """Adds two numbers."""
        return a + b
'''
FILTER: Final = '''"""
title: Shouting
"""
from pydantic import BaseModel


class Filter:
    class Valves(BaseModel):
        priority: int = 0

    def inlet(self, body: dict) -> dict:
        return body
'''


@dataclass
class Sample:
    """Ids of what `sample` made."""

    foreign: Foreign
    uploads: Path
    admin: str
    user: str
    second_admin: str
    group: str
    folder: str
    inner: str
    file: str
    base: str
    chat: str
    old_chat: str


def sample(folder: Path) -> Sample:
    """A small server. Its uploads lie in `uploads` in the folder."""
    f = Foreign()
    uploads = folder / "uploads"
    uploads.mkdir(parents=True)
    admin = f.person("Ada", "admin", created_at=AT - 100, date_of_birth="1990-05-01")
    user = f.person("Uwe", hashed=argon2(), profile_image_url=picture(), bio="b")
    second = f.person("Zoe", "admin")
    parent = f.add("group", name="Parents", user_id=admin, permissions={"chat": {"delete": False}})
    group = f.add(
        "group", name="Team", user_id=admin, permissions={"workspace": {"tools": True}}, parent_group_id=parent
    )
    f.add("group_member", group_id=group, user_id=user)
    outer = f.add("folder", user_id=user, name="Outer", is_expanded=True)
    inner = f.add("folder", user_id=user, name="Inner", parent_id=outer, data={"system_prompt": "be brief"})
    file_id = new_id()
    stored = f"{file_id}_tea.txt"
    (uploads / stored).write_text("The kettle sings at four o'clock.")
    f.add("file", id=file_id, user_id=user, filename="tea.txt", path=f"/app/data/uploads/{stored}",
          data={"status": "completed", "content": "The kettle sings."}, meta={"content_type": "text/plain"})  # fmt: skip
    base = f.add("knowledge", user_id=user, name="Kitchen", description="d")
    directory = f.add("knowledge_directory", knowledge_id=base, name="Drinks", user_id=user)
    f.add("knowledge_file", user_id=user, knowledge_id=base, file_id=file_id, directory_id=directory)
    f.add("access_grant", resource_type="knowledge", resource_id=base, principal_type="group", principal_id=group,
          permission="read")  # fmt: skip
    version = new_id()
    meta = {"description": "d", "knowledge": [{"id": base, "type": "collection", "name": "Kitchen"}]}
    f.add("model", id="tea-expert", user_id=admin, base_model_id="m", name="Tea", params={"system": "You know tea."},
          meta=meta, is_active=True, version_id=version)  # fmt: skip
    snapshot = {"name": "Tea", "base_model_id": "m", "params": {"system": "You know tea."}, "meta": meta}
    f.add("model_history", id=version, model_id="tea-expert", snapshot=snapshot, user_id=admin, commit_message="first")
    f.add("access_grant", resource_type="model", resource_id="tea-expert", principal_type="user", principal_id="*",
          permission="read")  # fmt: skip
    f.add(
        "tool",
        id="adder",
        user_id=user,
        name="Adder",
        content=TOOL,
        specs=[],
        meta={"description": "adds"},
        valves={"limit": 7},
    )
    f.add("tool_history", tool_id="adder", snapshot={"name": "Adder", "content": TOOL, "meta": {}}, user_id=user)
    f.add("function", id="shouting", user_id=admin, name="Shouting", type="filter", content=FILTER, meta={}, is_active=True,
          is_global=True, valves=Broken("gAAAAABkQ3J5cHRlZA==") )  # fmt: skip
    f.add("skill", id="brewing", user_id=user, name="Brewing", description="how", content="# Brew", is_active=True,
          data={"files": [{"path": "notes.md", "content": "water"}]})  # fmt: skip
    prompt = f.add("prompt", command="/brew", user_id=user, name="Brew", content="Brew {{what}}", tags=["tea"])
    f.add(
        "prompt_history",
        prompt_id=prompt,
        snapshot={"name": "Brew", "content": "Brew", "command": "brew"},
        user_id=user,
    )
    f.add("access_grant", resource_type="prompt", resource_id=prompt, principal_type="user", principal_id="*",
          permission="read")  # fmt: skip
    chat = f.chat(user, "Kettles", folder_id=inner, pinned=True, meta={"tags": ["deep_sea"]}, share_id="share-1")
    f.add("tag", id="deep_sea", name="Deep Sea", user_id=user)
    f.add("shared_chat", id="share-1", chat_id=chat, user_id=user, title="Kettles", chat={"title": "Kettles", "history": {
        "messages": branched("Kettles"), "currentId": "d"}})  # fmt: skip
    f.add("access_grant", resource_type="shared_chat", resource_id=chat, principal_type="user", principal_id="*",
          permission="read")  # fmt: skip
    old = f.chat(user, "Old one", rows=False, archived=True)
    f.chat(admin, "Only rows", document=False)
    f.add("memory", user_id=user, content="Drinks tea at four", type="context", path=" home / kitchen ")
    f.add("feedback", user_id=user, type="rating", version=1, data={"rating": 1, "model_id": "m"}, meta={"chat_id": chat},
          snapshot={"chat": {"id": chat, "title": "Kettles"}})  # fmt: skip
    f.add("config", key="ui.default_locale", value="de-DE")
    f.add("config", key="no.such.setting", value=1)
    _write(f, admin, user, second, group, inner, file_id, chat)
    f.add("api_key", user_id=user, key="sk-" + "a" * 32)
    return Sample(f, uploads, admin, user, second, group, outer, inner, file_id, base, chat, old)


def _write(f: Foreign, admin: str, user: str, second: str, group: str, folder: str, file_id: str, chat: str) -> None:
    """What people write to each other and to themselves: a note, channels, a calendar, an automation."""
    data = {"content": {"json": None, "html": "", "md": "# Green\n\nhot"}, "files": []}
    note = f.add(
        "note", id="note-1", user_id=user, title="Tea", data=data, meta={"color": "green"}, created_at=AT * NS + 7
    )
    f.add("pinned_note", user_id=user, note_id=note)
    f.add(
        "access_grant",
        resource_type="note",
        resource_id=note,
        principal_type="group",
        principal_id=group,
        permission="write",
    )
    open_one = f.add("channel", id="general", user_id=admin, name="general", description="for all")
    for permission in ("read", "write"):
        f.add("access_grant", resource_type="channel", resource_id=open_one, principal_type="user", principal_id="*",
              permission=permission)  # fmt: skip
    f.add("channel_webhook", id="hook-1", user_id=admin, channel_id=open_one, name="Kettle", token="whistles-when-it-boils",
          profile_image_url=picture())  # fmt: skip
    talk = f.add("channel", id="talk", user_id=admin, name="", type="dm")
    team = f.add("channel", id="team", user_id=admin, name="Team", type="group", is_private=True)
    for channel_id, people in ((talk, (admin, user)), (team, (admin, user, second)), (open_one, (user,))):
        for place, who in enumerate(people):
            f.add("channel_member", channel_id=channel_id, user_id=who, joined_at=AT * NS + place, is_channel_muted=who == user,
                  role="manager" if who == admin and channel_id != open_one else None, last_read_at=AT * NS + 3)  # fmt: skip
    # An answer stands before what it answers, as a database without an order may have it.
    f.add(
        "message", id="m3", user_id=admin, channel_id=open_one, content="Assam", parent_id="m1", created_at=AT * NS + 3
    )
    files = {"files": [{"type": "file", "id": file_id, "name": "tea.txt"}]}
    f.add("message", id="m1", user_id=user, channel_id=open_one, content="Which tea?", created_at=AT * NS + 1, data=files,
          is_pinned=True, pinned_by=admin, pinned_at=AT * NS + 9)  # fmt: skip
    f.add("channel_file", user_id=user, channel_id=open_one, file_id=file_id, message_id="m1")
    f.add("message", id="m2", channel_id=open_one, content="It boils", meta={"webhook": {"id": "hook-1", "name": "Kettle"}},
          created_at=AT * NS + 2, reply_to_id="m1")  # fmt: skip
    f.add("message", id="m4", user_id=user, channel_id=talk, content="Hello Ada", created_at=AT * NS + 4)
    for who in (admin, second):
        f.add("message_reaction", user_id=who, message_id="m1", name="tea", created_at=AT * NS + 5)
    days = f.add("calendar", id="days", user_id=user, name="Days", color="#00ff00", is_default=True)
    f.add(
        "access_grant",
        resource_type="calendar",
        resource_id=days,
        principal_type="user",
        principal_id=admin,
        permission="read",
    )
    event = f.add("calendar_event", id="four", calendar_id=days, user_id=user, title="Tea time", start_at=AT * NS,
                  end_at=AT * NS + 3_600 * NS, rrule="FREQ=DAILY", location="Kitchen")  # fmt: skip
    f.add("calendar_event_attendee", event_id=event, user_id=admin, status="accepted", meta={"note": "gladly"})
    f.add("automation", id="ask", user_id=user, name="Ask", folder_id=folder, last_run_at=AT * NS + 8, data={"prompt": "Tea?",
          "model_id": "m", "rrule": "DTSTART:20261120T160000\nRRULE:FREQ=DAILY"})  # fmt: skip
    f.add("automation_run", id="run-1", automation_id="ask", chat_id=chat, status="success", created_at=AT * NS + 8)
    f.add("automation_run", id="run-2", automation_id="ask", status="error", error="no model", created_at=AT * NS + 6)
