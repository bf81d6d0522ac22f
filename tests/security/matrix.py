"""The two-user matrix's people and things: whose they are, how they are called upon, and what the database holds of them.

A resource joins by an entry of MAKERS (how its owner makes one) and by a case of each of its doors in matrix_doors.py.
"""

import asyncio
import functools
import itertools
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import msgspec
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import ed25519

from open_webui.access.policy import Policy
from open_webui.jobs.kinds import Kind, Run
from open_webui.models import accounts, apps, identities, resources, tables
from open_webui.models.base import metadata
from open_webui.printing import Declared
from open_webui.services.attempts import _digest
from tests.support import live as people
from tests.support.live import Actor, Live
from tests.support.pictures import data_url, png
from tests.support.put_files import put_file
from tests.support.unchanged import mark
from tests.support.upstream import Upstream

# In every text of the victim: it is nobody else's to see.
MARK = "victim-canary"
# What the server may say to somebody who has no right to a thing.
REFUSALS = frozenset({400, 401, 403, 404})
Outcome = Literal["ok", "own", "no"]
Role = Literal["owner", "writer", "reader", "stranger", "pending", "admin"]
Rows = dict[str, dict[Any, tuple[Any, ...]]]
Ids = dict[str, str]
_numbers = itertools.count(1)
# Actions that change nothing of the thing.
READS = frozenset({"read", "use", "list", "search"})
# Of folders a write grant lets others put chats in, no more; of chats it lets them write messages.
# In channels, too, who may write writes messages, and changes no channel.
OWNERS_ALONE = {
    *((name, action) for name in ("folder", "channel") for action in ("write", "delete", "share")),
    ("chat", "delete"), ("chat", "share"),
}  # fmt: skip


def admin_may(policy: Policy) -> bool:
    """Whether an admin gets at other people's things without a grant."""
    given = {"chat": {"read"}, "file": {"read", "write"}, "feedback": {"read"}} | {
        resource.name: resource.admins for resource in resources.ALL
    }
    return ("read" if policy.action in READS else "write") in given.get(policy.resource or "", ())


def writer_may(policy: Policy) -> bool:
    """Whether somebody with a write grant gets what a policy names."""
    if policy.action in READS:
        return True
    granted_ = {"chat", "file", *(resource.name for resource in resources.ALL)}
    changes = policy.action in {"write", "delete", "share"} and policy.resource in granted_
    return changes and (policy.resource, policy.action) not in OWNERS_ALONE


# What the server notes about callers by itself.
_NOTED = {
    "user": {"last_active_at", "updated_at"},
    "session": {"last_used_at", "last_address", "device"},
    "api_key": {"last_used_at"},
}
# Blobs are nobody's: files are.
_APART = {
    "blob",
    "usage",
    "usage_day",
    "revoked_token",
    "generation",
    "process",
    "alembic_version",
    "audit_entry",
    "audit_pending",
}
# A value in each row that the server changes without a caller: jobs that come by themselves, and how far one is.
# The last is the matrix' own job, which runs when an administrator retries it.
_BY_ITSELF = {
    "pictures_moved", "keep files", "remove leftovers", "tidy vectors", "make texts of notes that were left",
    "work of the matrix", "remind of events",
}  # fmt: skip
# What an automation waits for is noted with the automation; what it asks is its owner's chat.
_BY_ITSELF |= {"tend the audit record", "automation is due", "run automation", "wake automations"}


@dataclass(frozen=True, slots=True)
class Case:
    """A call of a door with a victim's ids in it. Texts that begin with "$" are ids of `World.ids`.

    A resource and an action of a policy are promises, and this is what holds them: an outcome that a case doesn't give
    follows from them, so a door that does more or less than its policy names fails. Who may read may not write; who may
    write (by a grant) gets what `writer_may` says.

    An outcome is "ok" (answered), "own" (answered, without anything of the victim's) or "no" (refused, nothing changed);
    None: what the door's policy says. form: fields of a form with a file, which is `sends`: its field,
    its name, its text. turn: the call comes last
    where its owner makes it, since it takes things away.
    """

    body: Any = None
    query: dict[str, str] = field(default_factory=dict)
    path: dict[str, str] = field(default_factory=dict)
    form: dict[str, str] | None = None
    sends: tuple[str, str, str] = ("file", "mine.txt", "mine")
    owner: Outcome | None = None
    writer: Outcome | None = None
    reader: Outcome | None = None
    stranger: Outcome | None = None
    admin: Outcome | None = None
    turn: int = 0

    def expected(self, role: Role, policy: Policy) -> Outcome:
        if role == "pending":
            # What is somebody's own is theirs also while they wait, where the policy says so.
            return "own" if policy.level == "pending" and self.stranger == "own" else "no"
        given: Outcome | None = getattr(self, role)
        if given is not None:
            return given
        if policy.level == "admin":
            return "ok" if role == "admin" else "no"
        if role == "owner":
            return "ok"
        reads = policy.action in READS
        if role == "admin":
            return "ok" if admin_may(policy) else "no"
        if role == "writer":
            if self.reader is not None and (reads or self.reader == "own"):
                return self.reader
            return "ok" if writer_may(policy) else "no"
        return "ok" if role == "reader" and reads else "no"


@dataclass(slots=True)
class World:
    """Six people, one of whom has things."""

    live: Live
    owner: Actor
    writer: Actor
    reader: Actor
    stranger: Actor
    pending: Actor
    admin: Actor
    ids: Ids = field(default_factory=dict)

    def actor(self, role: Role) -> Actor:
        actor: Actor = getattr(self, role)
        return actor

    async def furnish(self, resource: str | None = None) -> None:
        """Makes one of each resource anew, or of one, and lets the reader read it."""
        for made, maker in MAKERS.items():
            if resource is None or resource in made:
                self.ids |= await maker(self)

    def fill(self, value: Any) -> Any:
        """A body or a query with the ids in their places."""
        if isinstance(value, str):
            return re.sub(r"\$(\w+)", lambda found: self.ids[found[1]], value)
        if isinstance(value, dict):
            return {self.fill(k): self.fill(v) for k, v in value.items()}
        return [self.fill(v) for v in value] if isinstance(value, list) else value

    def address(self, door: Declared, case: Case) -> str:
        """The door's path with its parameters filled in."""

        def value(found: "re.Match[str]") -> str:
            name = found[1].partition(":")[0]
            return str(self.fill(case.path.get(name) or parameter(door.path, name)))

        return re.sub(r"\{([^}]*)\}", value, door.path)

    async def call(self, door: Declared, case: Case, role: Role) -> httpx.Response:
        extra: dict[str, Any] = {} if case.body is None else {"json": self.fill(case.body)}
        path = self.address(door, case)
        if case.form is not None:
            name, filename, said = case.sends
            extra = {"files": {name: (filename, self.fill(said).encode())}, "data": self.fill(case.form)}
        return await self.actor(role).client.request(door.kind, path, params=self.fill(case.query), **extra)

    async def settle(self) -> None:
        """Waits until nothing is being answered any more, all files are read, and what was put off is done."""
        state = self.live.app.state.oui
        while await self._unread():  # noqa: ASYNC110 - jobs tell nobody
            await asyncio.sleep(0.01)
        for task_id in state.running.all_tasks():
            await state.running.stop_task(task_id)

    async def _unread(self) -> int:
        async with self.live.app.state.oui.database.read() as connection:
            kinds = ("read a file", "run automation", "remove a channel", "make the text of a note")
            query = sa.select(sa.func.count()).where(tables.job.c.kind.in_(kinds), tables.job.c.live_key.is_not(None))
            return int(await connection.scalar(query) or 0)


PARAMETERS: dict[str, str] = {
    "chat_id": "$chat", "folder_id": "$folder", "share_id": "$share", "group_id": "$group", "user_id": "$user",
    "message_id": "$message", "history_id": "$model", "task_id": "$message", "job_id": "0", "url_idx": "0",
    "model_id": "$model", "dir_id": "$directory", "client_id": "mcp:none", "action_id": "none",
    "kind": "title", "namespace": "openai", "path": "$chat", "name": "$file",
    "file_name": "any.txt", "memory_id": "$memory", "version_id": "$note_version", "calendar_id": "$calendar",
    "event_id": "$event", "server_id": "none", "pipeline_id": "none",
    "target_id": "$notification", "webhook_id": "none",
    "provider": "none", "identity_id": "$identity", "key_id": "$api_key", "session_id": "$session", "passkey_id": "none",
    "token": "none", "channel_id": "$channel", "app_id": "$app", "role_set_id": "none", "budget_id": "none",
}  # fmt: skip


def parameter(path: str, name: str) -> str:
    """What stands for a parameter of a path where a case does not say it."""
    if name != "id":
        return PARAMETERS[name]
    if path.startswith("/api/v1/files/"):
        return "$picture" if path.endswith("/content") else "$upload"
    for place in ("knowledge", "tools", "functions", "skills", "prompts", "notes", "automations"):
        if path.startswith(f"/api/v1/{place}/"):
            return f"${place.removesuffix('s')}"
    if path.startswith("/api/v1/channels/"):
        return "$channel"
    if path.startswith("/api/v1/evaluations/"):
        return "$feedback"
    return "$folder" if path.startswith("/api/v1/folders/") else "$chat"


def granted(who: str, permission: str = "read") -> dict[str, str]:
    return {"principal_type": "user", "principal_id": who, "permission": permission}


async def ok(actor: Actor, method: str, path: str, body: Any = None) -> Any:
    reply = await actor.client.request(method, path, **({} if body is None else {"json": body}))
    assert reply.status_code == 200, (method, path, reply.status_code, reply.text[:300])
    return reply.json()


def document(title: str) -> dict[str, Any]:
    said = {"question": ("user", None, ["answer"]), "answer": ("assistant", "question", [])}
    messages = {
        i: {"id": i, "parentId": parent, "childrenIds": children, "role": role, "content": f"{MARK} {i}"}
        for i, (role, parent, children) in said.items()
    }
    messages["question"]["files"] = [{"type": "image", "url": data_url(png() + MARK.encode())}]
    history = {"messages": messages, "currentId": "answer"}
    return {"title": f"{MARK} {title}", "params": {"system": f"{MARK} chat prompt"}, "history": history}


async def make_chats(world: World) -> Ids:
    """A folder in a folder; a chat in one that is shared as it lives, one that is shared as it was, one that is not."""
    owner, reader, number = world.owner, world.reader, next(_numbers)
    folder = {"name": f"{MARK} {number}", "data": {"system_prompt": f"{MARK} folder prompt"}}
    ids = {"folder": (await ok(owner, "POST", "/api/v1/folders/", folder))["id"]}
    inner = {"name": f"{MARK} inner", "parent_id": ids["folder"]}
    ids["subfolder"] = (await ok(owner, "POST", "/api/v1/folders/", inner))["id"]
    grants = {"access_grants": [granted(reader.id), granted(world.writer.id, "write")]}
    await ok(owner, "POST", f"/api/v1/folders/{ids['folder']}/access/update", grants)
    for name, mode, folder_id in (("chat", "continue", ids["folder"]), ("snap", None, None), ("hidden", None, None)):
        body = {"chat": document(name), "folder_id": folder_id, "variables": {"secret": MARK}}
        chat = (await ok(owner, "POST", "/api/v1/chats/new", body))["id"]
        ids[name] = chat
        await ok(owner, "POST", f"/api/v1/chats/{chat}/tags", {"name": f"{MARK} tag"})
        if name != "hidden":
            shared = await ok(owner, "POST", f"/api/v1/chats/{chat}/share", {"share_mode": mode})
            ids["share" if mode is None else "live_share"] = shared["share_id"]
            await ok(owner, "POST", f"/api/v1/chats/shared/{chat}/access/update", grants)
    shown = await ok(owner, "GET", f"/api/v1/chats/{ids['chat']}")
    picture_id = shown["chat"]["history"]["messages"]["question"]["files"][0]["url"]
    return ids | {"picture": picture_id, "message": "question", "answer": "answer", "tag": f"{MARK} tag"}


async def make_models(world: World) -> Ids:
    """A model of the victim; a provider's model that the victim and the reader may use; one that all may use."""
    number = next(_numbers)
    row = {"base_model_id": "echo", "name": f"{MARK} model", "meta": {}, "params": {"system": f"{MARK} model prompt"}}
    grants = [granted(world.reader.id), granted(world.writer.id, "write")]
    mine = row | {"id": f"victims-{number}", "access_grants": grants}
    if "local" not in world.ids:
        bare: dict[str, Any] = {"base_model_id": None, "params": {}, "meta": {}, "name": f"{MARK} local"}
        both = [granted(who.id) for who in (world.reader, world.writer, world.owner)]
        for form in (
            bare | {"id": "oll.fixed:latest", "access_grants": both},
            bare | {"id": "echo", "name": "Echo", "access_grants": [granted("*")]},
        ):
            await ok(world.admin, "POST", "/api/v1/models/create", form)
    earlier = (await ok(world.owner, "POST", "/api/v1/models/create", mine))["version_id"]
    await ok(world.owner, "POST", "/api/v1/models/model/update", mine | {"name": f"{MARK} model again"})
    return {"model": mine["id"], "model_version": earlier, "local": "oll.fixed:latest", "public": "echo"}


async def make_knowledge(world: World) -> Ids:
    """A knowledge base with a file in it, and a file that is in none."""
    owner, number = world.owner, next(_numbers)
    grants = [granted(world.reader.id), granted(world.writer.id, "write")]
    form = {"name": f"{MARK} base {number}", "description": f"{MARK} about", "access_grants": grants}
    base = (await ok(owner, "POST", "/api/v1/knowledge/create", form))["id"]
    kept, loose = [
        await put_file(world.live, owner.id, f"{MARK} {name}.txt", f"{MARK} {name} {number}")
        for name in ("kept", "loose")
    ]
    await ok(owner, "POST", f"/api/v1/knowledge/{base}/file/add", {"file_id": kept})
    form = {"name": f"{MARK} directory"}
    directory = (await ok(owner, "POST", f"/api/v1/knowledge/{base}/dirs/create", form))["id"]
    return {"knowledge": base, "kept": kept, "loose": loose, "directory": directory}


def tool_text(said: str) -> str:
    forms = "".join(
        f"    class {name}(BaseModel):\n        note: str = Field(default='', description='d')\n"
        for name in ("Valves", "UserValves")
    )
    return f"class Tools:\n{forms}    def look(self, what: str) -> str:\n        return {said!r}\n"


BUTTON = """
class Action:
    async def action(self, body, __event_emitter__=None):
        await __event_emitter__({"type": "status", "data": {"description": "pressed"}})
        return {"done": True}
"""


async def make_tools(world: World) -> Ids:
    """A tool with something set of it, which has an earlier version."""
    tool_id = f"victims_{next(_numbers)}"
    grants = [granted(world.reader.id), granted(world.writer.id, "write")]
    form = {
        "id": tool_id, "name": f"{MARK} tool", "content": tool_text(MARK), "meta": {"description": MARK},
        "access_grants": grants,
    }  # fmt: skip
    earlier = (await ok(world.owner, "POST", "/api/v1/tools/create", form))["version_id"]
    path = f"/api/v1/tools/id/{tool_id}"
    changed_ = await ok(world.owner, "POST", f"{path}/update", form | {"content": tool_text(f"{MARK} again")})
    for whose in ("valves", "valves/user"):
        await ok(world.owner, "POST", f"{path}/{whose}/update", {"note": MARK})
    return {"tool": tool_id, "tool_version": earlier, "tool_now": changed_["version_id"]}


async def make_skills(world: World) -> Ids:
    """A skill with a file, which has an earlier version."""
    skill_id = f"victims-{next(_numbers)}"
    form = {
        "id": skill_id, "name": f"{MARK} skill", "description": MARK, "access_grants": [
            granted(world.reader.id), granted(world.writer.id, "write"),
        ],
        "files": [{"path": "SKILL.md", "content": MARK}, {"path": "more.md", "content": f"{MARK} more"}],
    }  # fmt: skip
    earlier = (await ok(world.owner, "POST", "/api/v1/skills/create", form))["version_id"]
    later = {"id": skill_id, "name": f"{MARK} skill", "content": f"{MARK} again"}
    changed_ = await ok(world.owner, "POST", f"/api/v1/skills/id/{skill_id}/update", later)
    return {"skill": skill_id, "skill_version": earlier, "skill_now": changed_["version_id"]}


async def make_prompts(world: World) -> Ids:
    """A prompt with a tag, which has an earlier version."""
    command = f"{MARK}-{next(_numbers)}"
    form = {
        "command": command, "name": f"{MARK} prompt", "content": MARK, "tags": [f"{MARK} tag"], "access_grants": [
            granted(world.reader.id), granted(world.writer.id, "write"),
        ],
    }  # fmt: skip
    made = await ok(world.owner, "POST", "/api/v1/prompts/create", form)
    later = {"command": command, "name": f"{MARK} prompt", "content": f"{MARK} again"}
    changed_ = await ok(world.owner, "POST", f"/api/v1/prompts/id/{made['id']}/update", later)
    return {
        "prompt": made["id"],
        "command": command,
        "prompt_version": made["version_id"],
        "prompt_now": changed_["version_id"],
    }


async def make_feedback(world: World) -> Ids:
    """What somebody thinks of an answer, with the chat as it was."""
    data = {"rating": -1, "model_id": "echo", "comment": f"{MARK} comment"}
    form = {"type": "rating", "data": data, "meta": {"note": MARK}, "snapshot": {"chat": {"title": f"{MARK} chat"}}}
    return {"feedback": (await ok(world.owner, "POST", "/api/v1/evaluations/feedback", form))["id"]}


async def make_memories(world: World) -> Ids:
    """A memory of the victim, which nobody else gets at."""
    form = {"content": f"{MARK} likes tea {next(_numbers)}", "path": "drinks"}
    return {"memory": (await ok(world.owner, "POST", "/api/v1/memories/add", form))["id"]}


async def make_calendars(world: World) -> Ids:
    """A calendar with an event that repeats, to which its owner and the reader are invited."""
    grants = [granted(world.reader.id), granted(world.writer.id, "write")]
    form = {"name": f"{MARK} calendar", "access_grants": grants}
    made = await ok(world.owner, "POST", "/api/v1/calendars/create", form)
    event = {
        "calendar_id": made["id"], "title": f"{MARK} event", "start_at": 1_795_200_000_000_000_000,
        "rrule": "FREQ=DAILY", "attendees": [{"user_id": world.owner.id}, {"user_id": world.reader.id}],
        # A reminder would be noted in its row.
        "meta": {"alert_minutes": -1},
    }  # fmt: skip
    return {
        "calendar": made["id"],
        "event": (await ok(world.owner, "POST", "/api/v1/calendars/events/create", event))["id"],
    }


async def make_notes(world: World) -> Ids:
    """A note that has been opened, with an earlier version."""
    text = {"content": {"json": None, "html": f"<p>{MARK}</p>", "md": MARK}}
    grants = [granted(world.reader.id), granted(world.writer.id, "write")]
    form = {"title": f"{MARK} note", "data": text, "access_grants": grants}
    made = await ok(world.owner, "POST", "/api/v1/notes/create", form)
    later = {"data": {"content": {"json": None, "html": None, "md": f"{MARK} again"}}}
    await ok(world.owner, "POST", f"/api/v1/notes/{made['id']}/update", later)
    versions = await ok(world.owner, "GET", f"/api/v1/notes/{made['id']}/history")
    return {"note": made["id"], "note_version": versions[0]["id"]}


async def make_automations(world: World) -> Ids:
    """An automation of the victim, which nobody else gets at. It is due in a hundred years."""
    data = {"prompt": f"{MARK} prompt", "model_id": "echo", "rrule": "DTSTART:21261120T090000\nRRULE:FREQ=DAILY"}
    form = {"name": f"{MARK} automation", "data": data}
    return {"automation": (await ok(world.owner, "POST", "/api/v1/automations/create", form))["id"]}


async def make_channels(world: World) -> Ids:
    """A channel of the victim's with a message, its thread, a webhook; and a group that nobody else is in."""
    number = next(_numbers)
    grants = [granted(world.reader.id), granted(world.writer.id, "write")]
    form = {"name": f"{MARK} channel {number}", "description": MARK, "access_grants": grants}
    channel = (await ok(world.admin, "POST", "/api/v1/channels/create", form))["id"]
    table = tables.channel
    async with world.live.app.state.oui.database.write() as unit:
        # Administrators make open channels; this one is somebody's who is none.
        await unit.connection.execute(table.update().where(table.c.id == channel).values(user_id=world.owner.id))
    path = f"/api/v1/channels/{channel}"
    message = (await ok(world.owner, "POST", f"{path}/messages/post", {"content": f"{MARK} said"}))["id"]
    await ok(world.owner, "POST", f"{path}/messages/post", {"content": f"{MARK} more", "parent_id": message})
    webhook = (await ok(world.owner, "POST", f"{path}/webhooks/create", {"name": f"{MARK} hook"}))["id"]
    private = {"name": f"{MARK} group {number}", "type": "group"}
    group = (await ok(world.owner, "POST", "/api/v1/channels/create", private))["id"]
    app = await make_app(world, number)
    await ok(world.owner, "POST", f"{path}/apps", {"app_id": app})
    return {"channel": channel, "channel_message": message, "webhook": webhook, "channel_group": group, "app": app}


async def make_app(world: World, number: int) -> str:
    """An app for everybody, which is told nothing."""
    key = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex()
    manifest = {"id": "app", "name": "App", "public_key": key, "requested_scopes": []}
    form = {
        "manifest": manifest, "url": "https://example.com/app", "api_key": "k", "slug": f"app-{number}",
        "granted_scopes": [], "access_grants": [granted("*")],
    }  # fmt: skip
    made = await ok(world.admin, "POST", "/api/v1/apps", form)
    await ok(world.admin, "PATCH", f"/api/v1/apps/{made['id']}", {"is_active": True})
    # Where it is asked it is refused, as no test reaches the Internet.
    async with world.live.app.state.oui.database.write() as unit:
        row = await apps.repository.get(unit.connection, made["id"])
        await apps.repository.change(
            unit.connection, made["id"], {"data": row.data | {"url": "https://127.0.0.1:9/app"}}
        )
    return str(made["id"])


async def make_functions(world: World) -> Ids:
    """A function of an admin's, which is switched on for all."""
    function_id = f"mine_{next(_numbers)}"
    text = tool_text(MARK).replace("Tools", "Action").replace("look", "action")
    # Its name is for everybody.
    form = {"id": function_id, "name": "A function", "content": text, "meta": {}}
    earlier = (await ok(world.admin, "POST", "/api/v1/functions/create", form))["version_id"]
    path = f"/api/v1/functions/id/{function_id}"
    await ok(world.admin, "POST", f"{path}/update", form | {"content": f"{text}# {MARK}"})
    await ok(world.admin, "POST", f"{path}/toggle")
    await ok(world.admin, "POST", f"{path}/valves/update", {"note": MARK})
    # A button for everybody below every answer, which does something to the message.
    action_id = f"button_{function_id}"
    await ok(world.admin, "POST", "/api/v1/functions/create", form | {"id": action_id, "content": BUTTON})
    for switch in ("toggle", "toggle/global"):
        await ok(world.admin, "POST", f"/api/v1/functions/id/{action_id}/{switch}")
    return {"function": function_id, "function_version": earlier, "action": action_id}


async def make_groups(world: World) -> Ids:
    """A group that the victim is in, with those whom its things are open to."""
    # The names of people's groups stand with their own names.
    form = {"name": f"Group {next(_numbers)}", "description": MARK}
    group = (await ok(world.admin, "POST", "/api/v1/groups/create", form))["id"]
    members = {"user_ids": [world.owner.id, world.reader.id, world.writer.id]}
    await ok(world.admin, "POST", f"/api/v1/groups/id/{group}/users/add", members)
    return {"group": group}


async def make_users(world: World) -> Ids:
    """What an account holds that is its own: settings, variables, information, a key."""
    for part in ("settings", "info"):
        await ok(world.owner, "POST", f"/api/v1/users/user/{part}/update", {"ui": {"note": MARK}})
    await ok(world.owner, "POST", "/api/v1/users/user/variables/update", {"variables": {"note": MARK}})
    key = (await ok(world.owner, "POST", "/api/v1/auths/api_key"))["api_key"]
    return {"user": world.owner.id, "key": key, "stranger": world.stranger.id, "reader": world.reader.id}


async def make_local_models(world: World) -> Ids:
    """A model of this machine that an admin added; its files are broken, so that nothing is loaded here."""
    folder = world.live.settings.data_dir / "models"
    folder.mkdir(parents=True, exist_ok=True)
    number = next(_numbers)
    (folder / f"{number}.gguf").write_bytes(b"no model")
    added = {"name": f"{MARK}-{number}", "source": f"{number}.gguf"}
    await ok(world.admin, "POST", "/api/v1/llamaforge/models", added)
    return {"file": added["name"]}


async def make_notifications(world: World) -> Ids:
    """A target of the victim's notifications, which nobody else gets at, whatever its name is."""
    form = {"id": f"{MARK} {next(_numbers)}", "type": "page"}
    return {"notification": (await ok(world.owner, "POST", "/api/v1/notifications/targets", form))["id"]}


async def make_identities(world: World) -> Ids:
    """By which other site the victim signs in."""
    state = world.live.app.state.oui
    async with state.database.write() as unit:
        await identities.add(unit.connection, world.owner.id, "oidc", f"{MARK} {next(_numbers)}", MARK)
        found = await identities.of_user(unit.connection, world.owner.id)
    return {"identity": found[-1].id}


async def make_keys(world: World) -> Ids:
    """A key for programs of the victim's."""
    return {"api_key": (await ok(world.owner, "POST", "/api/v1/auths/keys", {"name": MARK}))["id"]}


async def make_sessions(world: World) -> Ids:
    """Where the victim is signed in besides."""
    state = world.live.app.state.oui
    async with state.database.read() as connection:
        found = await accounts.credential_of(connection, world.owner.id)
    assert found is not None
    _, claims = state.tokens.issue(world.owner.id, found.session_stamp, 10**6)
    state.uses.note_session(claims, MARK, f"{MARK}/{next(_numbers)}")
    await state.uses.flush()
    return {"session": claims.jti}


async def make_files(world: World) -> Ids:
    """A file that is in a knowledge base, which others may read and change, and one that is not."""
    ids: Ids = {}
    for name in ("upload", "private"):
        form = {"file": (f"{MARK} {name}.html", f"<p>{MARK} text {next(_numbers)}".encode())}
        reply = await world.owner.client.post("/api/v1/files/?process_in_background=false", files=form)
        assert reply.status_code == 200, reply.text
        ids[name] = reply.json()["id"]
    grants = [granted(world.reader.id), granted(world.writer.id, "write")]
    form = {"name": f"{MARK} files", "description": MARK, "access_grants": grants}
    base = (await ok(world.owner, "POST", "/api/v1/knowledge/create", form))["id"]
    await ok(world.owner, "POST", f"/api/v1/knowledge/{base}/file/add", {"file_id": ids["upload"]})
    return ids | {"in_base": f'{{"knowledge_id": "{base}"}}'}


class Canary(msgspec.Struct, frozen=True):
    note: str


async def nothing(_run: Run, _canary: Canary) -> None:
    pass


async def make_jobs(world: World) -> Ids:
    """Work in the background that is due in a hundred years."""
    state = world.live.app.state.oui
    kind = Kind(name="work of the matrix", payload=Canary, handler=nothing)
    async with state.database.write() as unit:
        job_id = await state.jobs.enqueue(
            unit, kind, Canary(MARK), key=f"{MARK} {next(_numbers)}", run_at=time.time() + 10**9
        )
    return {"job": job_id}


MAKERS: dict[tuple[str, ...], Callable[[World], Awaitable[Ids]]] = {
    ("user",): make_users, ("group",): make_groups, ("model",): make_models, ("chat", "folder", "file"): make_chats,
    ("knowledge",): make_knowledge, ("tool",): make_tools, ("skill",): make_skills,
    ("prompt",): make_prompts, ("note",): make_notes, ("channel",): make_channels, ("function",): make_functions,
    ("file",): make_files, ("feedback",): make_feedback, ("memory",): make_memories,
    ("calendar",): make_calendars,
    ("notification",): make_notifications,
    ("identity",): make_identities,
    ("api_key",): make_keys,
    ("session",): make_sessions,
    ("automation",): make_automations,
    ("local_model",): make_local_models, ("job",): make_jobs,
}  # fmt: skip


async def settle_permissions(live: Live, upstream: Upstream) -> None:
    """Everything is permitted to everybody, so that only whose a thing is decides; both kinds of provider are there."""
    state = live.app.state.oui
    tree: dict[str, Any] = state.config["user.permissions"]
    await state.save_config(
        {
            "user.permissions": {s: dict.fromkeys(e, True) for s, e in tree.items()}
            | {"chat": dict.fromkeys(tree["chat"], True) | {"temporary_enforced": False}},
            "auth.enable_api_keys": True,
            "ui.enable_user_webhooks": True,
            "channels.enable": True,
            "apps.enable": True,
            "ollama.base_urls": [upstream.url],
            "ollama.api_configs": {"0": {"prefix_id": "oll"}},
        }
    )
    await state.catalogue.wait_for_lists()


async def make_world(live: Live, upstream: Upstream) -> World:
    """The clients of its people are the caller's to close (`World.close`)."""
    admin = await people.sign_up(live, "Admin One")
    await settle_permissions(live, upstream)
    made: dict[str, Any] = {
        name: await people.sign_up(
            live, f"{name.title()} One", role="pending" if name == "pending" else "user", admin=admin
        )
        for name in ("owner", "writer", "reader", "stranger", "pending")
    }
    world = World(live, admin=admin, **made)
    await world.furnish()
    # Of each refusal there would be an entry, after which all rows are read anew. The record has tests of its own.
    live.app.state.oui.audit.level = "none"
    return world


async def close(world: World) -> None:
    for role in ("owner", "writer", "reader", "stranger", "pending", "admin"):
        await getattr(world, role).client.aclose()


def _shown(column: "sa.Column[Any]", dialect: str) -> "sa.ColumnElement[Any]":
    """SQLite takes bytes for text as they are."""
    return sa.func.hex(column) if dialect == "sqlite" and isinstance(column.type, sa.LargeBinary) else column


@functools.cache
def _reads(dialect: str, names: tuple[str, ...]) -> list[tuple[str, str, list[int]]]:
    """For each table its name, the statement that reads it, and the places of its key. They are made hundreds of times a test.

    names: of all tables there are now. A test may bring one of its own.
    """
    out = []
    for table in (metadata.tables[name] for name in names if name not in _APART):
        columns = [c for c in table.columns if c.name not in _NOTED.get(table.name, ())]
        read = sa.select(*(sa.cast(_shown(c, dialect), sa.Text) for c in columns))
        text = str(read.compile(dialect=sa.dialects.registry.load(dialect)()))
        out.append((table.name, text, [i for i, c in enumerate(columns) if c.primary_key]))
    return out


async def rows_of(live: Live) -> Rows:
    """Every row of every table, but for what the server notes about callers by itself. To be looked at only."""
    out: Rows = {}
    await live.app.state.oui.uses.flush()
    async with live.app.state.oui.database.read() as connection:
        key = await mark(connection), tuple(metadata.tables)
        seen: tuple[Any, Rows] | None = getattr(live.app.state, "rows_seen", None)
        if seen is not None and seen[0] == key:
            return seen[1]
        for name, read, at in _reads(connection.dialect.name, tuple(metadata.tables)):
            # What the server does by itself in the background notes when it is done.
            found = await connection.exec_driver_sql(read)
            rows = (tuple(row) for row in found if not _BY_ITSELF.intersection(row))
            out[name] = {tuple(row[i] for i in at): row for row in rows}
    # What was written while it was read has another mark.
    live.app.state.rows_seen = key, out
    return out


def changed(before: Rows, after: Rows, caller: str | None = None) -> list[str]:
    """What differs. caller: a row that is theirs may come, change and go."""
    out = []
    for name, rows in after.items():
        places = [i for i, c in enumerate(_columns(name)) if c == ("id" if name == "user" else "user_id")]
        was = before[name]
        for key in rows.keys() | was.keys():
            row, old = rows.get(key), was.get(key)
            owners = {r[i] for r in (row, old) if r is not None for i in places}
            if row != old and not (
                caller is not None
                and (
                    owners == {caller}
                    or (name == "attempt" and key[0] in _attempts_of(caller))
                    or _child_of(name, row or old, after, caller)
                )
            ):
                out.append(f"{name} {key}: {old} -> {row}")
    return out


def _attempts_of(user_id: str) -> set[str]:
    """Keys of the rows that count what somebody alone may not do too often."""
    return {_digest(f"{kind} {user_id}").hex() for kind in ("password", "index", "export")}


def _columns(name: str) -> list[str]:
    return [c.name for c in metadata.tables[name].columns if c.name not in _NOTED.get(name, ())]


def _child_of(name: str, row: tuple[Any, ...] | None, rows: Rows, caller: str) -> bool:
    """Whether a row without an owner's column belongs to a chat or thing of the caller's."""
    if row is None:
        return False
    if name == "file_use":
        numbers = {row[_columns(name).index("message_n")]}
        messages = [m for m in rows["chat_message"].values() if m[_columns("chat_message").index("n")] in numbers]
        # A message that is gone took its uses along, which its own row tells.
        return numbers != {None} and all(_child_of("chat_message", m, rows, caller) for m in messages)
    if name == "chunk":
        documents = [d for key, d in rows["document"].items() if key == (row[_columns("chunk").index("document_n")],)]
        return all(_child_of("document", d, rows, caller) for d in documents)
    place = {
        "chat_message": "chat_id",
        "access_grant": "resource_id",
        "document": "file_id",
        "skill_file": "skill_id",
        "channel_member": "channel_id",
        "channel_message": "channel_id",
        "channel_webhook": "channel_id",
        "channel_app": "channel_id",
        "channel_file": "channel_id",
        "feedback_snapshot": "feedback_id",
        "calendar_event_attendee": "event_id",
        "automation_run": "automation_id",
        "note_update": "note_id",
        "note_chat": "chat_id",
    }.get(name)
    if place is None:
        return False
    parent = row[_columns(name).index(place)]
    if name == "document" and parent is None:
        parent = row[_columns(name).index("memory_id")]
    owned = {"chat", "file", "feedback", "memory", "calendar_event", "automation"}
    for table in owned | {resource.table.name for resource in resources.ALL}:
        columns = _columns(table)
        for other in rows[table].values():
            if other[columns.index("id")] == parent:
                return bool(other[columns.index("user_id")] == caller)
    # Its chat is gone with it, which the chat's own row tells.
    return True


def with_resource(doors: list[Declared]) -> Iterator[tuple[Declared, Policy]]:
    for door in doors:
        if door.policy is not None and door.policy.resource is not None:
            yield door, door.policy
