"""R25: each permission switch refuses where the thing happens. Every switch is named here, with the act that it refuses."""

import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

import aiohttp
import httpx
import msgspec
import pytest

from open_webui.audio.base import Heard
from open_webui.config import DEFAULT_PERMISSIONS
from open_webui.images.port import Made, Order, Tell
from open_webui.internal.guarded_http import Page as WebPage
from open_webui.retrieval.web import pages
from open_webui.retrieval.web import search as web_search
from open_webui.services.audio import calls
from open_webui.services.audio.hearing import Hearing
from open_webui.services.images import engines
from tests.open_webui.chat.page import Page, open_page
from tests.support.live import Actor, Live
from tests.support.pictures import chat as chat_with_messages
from tests.support.pictures import picture, png, question
from tests.support.upstream import Upstream

PICTURE: Final = picture()
SMALL: Final = picture(size=60)
# Switches of features that this server doesn't have yet, and an address of each that must not be there before its act
# is named below.
LATER: Final = {
    "workspace.models_hidden": "GET /api/v1/models/hidden",
    "features.encrypted_channels": "POST /api/v1/channels/{id}/encryption",
    # Pages write the file themselves, of prompts that one may read anyway.
    "workspace.prompts_export": "GET /api/v1/prompts/export",
}


class Things(msgspec.Struct):
    """What the acts are about: the page of a plain user, with a chat that was answered once."""

    page: Page
    user: Actor
    other: Actor
    admin: Actor
    chat_id: str
    question: dict[str, Any]
    answer_id: str
    upstream: Upstream

    @property
    def http(self) -> httpx.AsyncClient:
        return self.user.client

    async def ask(self, **fields: Any) -> httpx.Response:
        return await self.http.post("/api/chat/completions", json=self.page.ask("fixed", "More", **fields))

    async def document(self) -> dict[str, Any]:
        chat: dict[str, Any] = (await self.page.stored(self.chat_id))["chat"]
        return chat

    async def own_model(self) -> str:
        model_id = f"mine-{uuid.uuid4()}"
        form = {"id": model_id, "base_model_id": "fixed", "name": "Mine", "meta": {}, "params": {}}
        assert (await self.http.post("/api/v1/models/create", json=form)).status_code == 200
        return model_id


Act = Callable[[Things], Awaitable[httpx.Response]]


def chat(method: str, path: str = "", body: Any = None) -> Act:
    """A request about the chat."""

    async def act(things: Things) -> httpx.Response:
        url = f"/api/v1/chats/{things.chat_id}{path.format(answer=things.answer_id)}"
        return await things.http.request(method, url, json=body)

    return act


def call(method: str, url: str, body: Any = None) -> Act:
    async def act(things: Things) -> httpx.Response:
        return await things.http.request(method, url, json=body)

    return act


def ask(**fields: Any) -> Act:
    async def act(things: Things) -> httpx.Response:
        return await things.ask(chat_id=things.chat_id, parent_id=things.answer_id, **fields)

    return act


async def read_a_page(things: Things) -> httpx.Response:
    async def fetched(url: str, **_: Any) -> WebPage:
        return WebPage(url, "text/plain", None, b"A page.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "fetch", fetched)
        return await things.http.post("/api/v1/retrieval/process/web", json={"url": "https://a.example/x.txt"})


async def search_the_web(things: Things) -> httpx.Response:
    async def answered(*_: Any, **__: Any) -> bytes:
        return b'{"results": []}'

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web_search, "call_service", answered)
        return await things.http.post("/api/v1/retrieval/process/web/search", json={"queries": ["news"]})


class Painter:
    async def make(self, _order: Order, _tell: Tell) -> list[Made]:
        return [Made(png())]


def pictures(door: str, **request: Any) -> Act:
    """A request for a picture, of an engine that has one ready."""

    async def act(things: Things) -> httpx.Response:
        on = {"ENABLE_IMAGE_GENERATION": True, "ENABLE_IMAGE_EDIT": True}
        assert (await things.admin.client.post("/api/v1/images/config/update", json=on)).status_code == 200
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engines, "engine", lambda *_, **__: Painter())
            return await things.http.post(f"/api/v1/images/{door}", **request)

    return act


async def have_heard(things: Things) -> httpx.Response:
    async def heard(*_: Any) -> Heard:
        return Heard("Hi.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Hearing, "listen", heard)
        return await things.http.post("/api/v1/audio/transcriptions", files={"file": ("a.wav", b"x", "audio/wav")})


async def upload_a_file(things: Things) -> httpx.Response:
    return await things.http.post("/api/v1/files/?process=false", files={"file": ("a.txt", b"Words.")})


async def ask_in_a_temporary_chat(things: Things) -> httpx.Response:
    return await things.ask(chat_id=f"temporary:{things.page.sid}", messages=[{"role": "user", "content": "Hi"}])


async def ask_two_models(things: Things) -> httpx.Response:
    ids = [{"model_id": m, "message_id": str(uuid.uuid4()), "modelIdx": i} for i, m in enumerate(("fixed", "echo"))]
    return await things.ask(message_ids=ids)


async def go_on(things: Things) -> httpx.Response:
    body = things.page.ask("fixed", "") | {"id": things.answer_id, "chat_id": things.chat_id}
    del body["message_ids"], body["user_message"]
    return await things.http.post("/api/chat/completions", json=body | {"assistant_message_id": things.answer_id})


async def rate_again(things: Things) -> httpx.Response:
    """A rating of one's own, made while it was allowed. Who asks has set the switch, and it is set so again."""
    allowed = (await things.admin.client.get("/api/v1/users/default/permissions")).json()
    await permit(things)
    made = (await things.http.post("/api/v1/evaluations/feedback", json={"type": "rating"})).json()
    await things.admin.client.post("/api/v1/users/default/permissions", json=allowed)
    return await things.http.post(f"/api/v1/evaluations/feedback/{made['id']}", json={"type": "rating"})


async def regenerate(things: Things) -> httpx.Response:
    return await things.ask(chat_id=things.chat_id, user_message=things.question)


async def ask_again_into_the_same_message(things: Things) -> httpx.Response:
    body = things.page.ask("fixed", "", chat_id=things.chat_id, parent_id=things.question["id"], id=things.answer_id)
    body |= {"message_ids": [{"model_id": "fixed", "message_id": things.answer_id, "modelIdx": 0}]}
    return await things.http.post("/api/chat/completions", json={k: v for k, v in body.items() if k != "user_message"})


async def save_another_text(things: Things) -> httpx.Response:
    document = await things.document()
    document["history"]["messages"][things.answer_id]["content"] = "forged"
    return await things.http.post(f"/api/v1/chats/{things.chat_id}", json={"chat": document})


async def save_without_a_message(things: Things) -> httpx.Response:
    document = await things.document()
    del document["history"]["messages"][things.answer_id]
    document["history"]["currentId"] = things.question["id"]
    return await things.http.post(f"/api/v1/chats/{things.chat_id}", json={"chat": document})


async def attach_a_picture(things: Things) -> httpx.Response:
    body = things.page.ask("fixed", "Look", chat_id=things.chat_id, parent_id=things.answer_id)
    body["user_message"]["files"] = [{"type": "image", "url": PICTURE}]
    return await things.http.post("/api/chat/completions", json=body)


async def attach_a_small_picture(things: Things) -> httpx.Response:
    """One that is kept in its message: a file would cost more."""
    body = things.page.ask("fixed", "Look", chat_id=things.chat_id, parent_id=things.answer_id)
    body["user_message"]["files"] = [{"type": "image", "url": SMALL}]
    return await things.http.post("/api/chat/completions", json=body)


async def attach_in_a_temporary_chat(things: Things) -> httpx.Response:
    parts = [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": PICTURE}}]
    return await things.ask(
        chat_id=f"temporary:{things.page.sid}", messages=[{"role": "user", "content": parts}], user_message=None
    )


def completion(**fields: Any) -> Act:
    body = {"model": "fixed", "messages": [{"role": "user", "content": "Hi"}]} | fields
    return call("POST", "/api/chat/completions", body)


def share_model(*grants: tuple[str, str]) -> Act:
    async def act(things: Things) -> httpx.Response:
        body = {"id": await things.own_model(), "name": "Mine", "access_grants": await wire(things, *grants)}
        return await things.http.post("/api/v1/models/model/access/update", json=body)

    return act


def share_folder(*grants: tuple[str, str]) -> Act:
    async def act(things: Things) -> httpx.Response:
        folder = (await things.http.post("/api/v1/folders/", json={"name": str(uuid.uuid4())})).json()
        body = {"access_grants": await wire(things, *grants)}
        return await things.http.post(f"/api/v1/folders/{folder['id']}/access/update", json=body)

    return act


def share_knowledge(*grants: tuple[str, str]) -> Act:
    async def act(things: Things) -> httpx.Response:
        base = (await things.http.post("/api/v1/knowledge/create", json={"name": "n", "description": "d"})).json()
        body = {"access_grants": await wire(things, *grants)}
        return await things.http.post(f"/api/v1/knowledge/{base['id']}/access/update", json=body)

    return act


def share_chat(*grants: tuple[str, str]) -> Act:
    async def act(things: Things) -> httpx.Response:
        assert (await things.http.post(f"/api/v1/chats/{things.chat_id}/share", json={})).status_code == 200
        url = f"/api/v1/chats/shared/{things.chat_id}/access/update"
        return await things.http.post(url, json={"access_grants": await wire(things, *grants)})

    return act


async def wire(things: Things, *grants: tuple[str, str]) -> list[dict[str, str]]:
    """Grants of the wire to (type, id); "other" and "group" stand for somebody and a group."""
    ids = {"other": things.other.id}
    if any(who == "group" for _, who in grants):
        form = {"name": str(uuid.uuid4()), "description": "", "data": {"config": {"share": True}}}
        made = (await things.admin.client.post("/api/v1/groups/create", json=form)).json()
        await things.admin.client.post(f"/api/v1/groups/id/{made['id']}/update", json=form)
        ids["group"] = made["id"]
    return [
        {"principal_type": kind, "principal_id": ids.get(who, who), "permission": "read"} for kind, who in grants
    ]  # fmt: skip


TOOL: Final = {
    "id": "t",
    "name": "T",
    "content": "class Tools:\n    class UserValves(BaseModel):\n        a: int = 1",
    "meta": {},
}


async def make_tool(things: Things) -> httpx.Response:
    """Anew each time."""
    await things.admin.client.delete("/api/v1/tools/id/t/delete")
    return await things.http.post("/api/v1/tools/create", json=TOOL)


async def change_tool(things: Things) -> httpx.Response:
    """One that an administrator made, and that the person may change."""
    grant = {"principal_type": "user", "principal_id": things.user.id, "permission": "write"}
    await things.admin.client.post("/api/v1/tools/create", json=TOOL | {"access_grants": [grant]})
    return await things.http.post("/api/v1/tools/id/t/update", json=TOOL)


async def set_own_valves(things: Things) -> httpx.Response:
    await change_tool(things)
    return await things.http.post("/api/v1/tools/id/t/valves/user/update", json={"a": 2})


def share_tool(*grants: tuple[str, str]) -> Act:
    async def act(things: Things) -> httpx.Response:
        await things.http.post("/api/v1/tools/create", json=TOOL)
        url = "/api/v1/tools/id/t/access/update"
        return await things.http.post(url, json={"access_grants": await wire(things, *grants)})

    return act


SKILL: Final = {"id": "s", "name": "S", "content": "# S"}


async def make_skill(things: Things) -> httpx.Response:
    """Anew each time."""
    await things.admin.client.delete("/api/v1/skills/id/s/delete")
    return await things.http.post("/api/v1/skills/create", json=SKILL)


async def look_at_skills(things: Things) -> httpx.Response:
    return await things.http.post("/api/v1/skills/import/preview", files={"files": ("s.md", b"# S")})


def share_skill(*grants: tuple[str, str]) -> Act:
    async def act(things: Things) -> httpx.Response:
        await things.http.post("/api/v1/skills/create", json=SKILL)
        url = "/api/v1/skills/id/s/access/update"
        return await things.http.post(url, json={"access_grants": await wire(things, *grants)})

    return act


PROMPT: Final = {"command": "p", "name": "P", "content": "Do {{it}}"}


async def make_prompt(things: Things) -> httpx.Response:
    """Anew each time."""
    for row in (await things.admin.client.get("/api/v1/prompts/")).json():
        await things.admin.client.delete(f"/api/v1/prompts/id/{row['id']}/delete")
    return await things.http.post("/api/v1/prompts/create", json=PROMPT)


def share_prompt(*grants: tuple[str, str]) -> Act:
    async def act(things: Things) -> httpx.Response:
        url = f"/api/v1/prompts/id/{(await make_prompt(things)).json()['id']}/access/update"
        return await things.http.post(url, json={"access_grants": await wire(things, *grants)})

    return act


def share_calendar(*grants: tuple[str, str]) -> Act:
    async def act(things: Things) -> httpx.Response:
        made = await things.http.post("/api/v1/calendars/create", json={"name": "c"})
        url = f"/api/v1/calendars/{made.json()['id']}/access/update"
        return await things.http.post(url, json={"access_grants": await wire(things, *grants)})

    return act


def share_note(*grants: tuple[str, str]) -> Act:
    async def act(things: Things) -> httpx.Response:
        made = await things.http.post("/api/v1/notes/create", json={"title": "n"})
        url = f"/api/v1/notes/{made.json()['id']}/access/update"
        return await things.http.post(url, json={"access_grants": await wire(things, *grants)})

    return act


AUTOMATION: Final = {
    "name": "a", "data": {"prompt": "p", "model_id": "echo", "rrule": "DTSTART:21261120T090000\nRRULE:FREQ=DAILY"},
}  # fmt: skip
CALENDAR_DOORS: Final[dict[str, Any]] = {
    "POST create": {"name": "c"}, "GET ": None, "GET events?start=2026-11-01&end=2026-11-02": None,
    "GET events/search": None,
}  # fmt: skip


async def make_call(things: Things) -> httpx.Response:
    """Whom it is permitted, is told that nobody has switched calls on."""
    url = str(things.http.base_url).rstrip("/") + "/api/v1/audio/realtime"
    async with aiohttp.ClientSession() as http, http.ws_connect(url) as socket:
        await socket.send_json({"type": "auth", "token": things.user.token, "model_id": "fixed"})
        said = (await socket.receive_json(timeout=60))["message"]
    return httpx.Response(403 if said == calls._NOT_PERMITTED else 200, json={"detail": said})


# What is refused without the switch, and allowed with it. Several acts: each of them.
ACTS: Final[dict[str, tuple[Act, ...]]] = {
    "chat.tts": (call("POST", "/api/v1/audio/speech", {"input": "Hi"}),),
    "chat.stt": (have_heard,),
    "chat.web_upload": (read_a_page,),
    "features.web_search": (search_the_web,),
    "features.image_generation": (
        pictures("generations", json={"prompt": "x"}), pictures("edit", json={"prompt": "x", "image": PICTURE}),
        pictures("edits", data={"prompt": "x"}, files={"image": ("a.png", png())}),
    ),
    "features.code_interpreter": (call("POST", "/api/v1/utils/code/execute", {"code": "1"}),),
    "chat.controls": (
        chat("PATCH", "/params", {"temperature": 1}), chat("PATCH", "/params", {"system": "S"}),
        completion(temperature=1),
    ),
    "chat.system_prompt": (
        chat("PATCH", "/params", {"system": "S"}),
        chat("POST", "", {"chat": {"params": {"system": "S"}}}),
        call("POST", "/api/v1/chats/new", {"chat": {"title": "t", "params": {"system": "S"}}}),
        completion(messages=[{"role": "system", "content": "S"}, {"role": "user", "content": "Hi"}]),
        completion(system="S"), completion(instructions="S"), completion(chat_template="{{ x }}"),
        *(
            call("POST", "/ollama/api/generate", {"model": "fixed", "prompt": "Hi", "stream": False, name: value})
            for name, value in (("system", "S"), ("template", "{{ .Prompt }}"), ("raw", True), ("context", [1]))
        ),
    ),
    "chat.params": (
        chat("PATCH", "/params", {"temperature": 1}),
        chat("POST", "", {"chat": {"params": {"temperature": 1}}}),
        call("POST", "/api/v1/chats/new", {"chat": {"title": "t", "params": {"seed": 1}}}),
        completion(temperature=1),
        call("POST", "/ollama/api/chat", {"model": "fixed", "messages": [], "options": {"seed": 1}, "stream": False}),
    ),
    "chat.file_upload": (
        upload_a_file,
        attach_a_picture,
        attach_a_small_picture,
        attach_in_a_temporary_chat,
        call("POST", "/api/v1/chats/new", {"chat": chat_with_messages(question(SMALL))}),
        chat("POST", "/messages/{answer}/event", {"type": "files", "data": {"files": [{"type": "image", "url": PICTURE}]}}),
    ),
    "chat.delete": (chat("DELETE"), call("DELETE", "/api/v1/chats/")),
    "chat.delete_message": (chat("DELETE", "/messages/{answer}"), save_without_a_message),
    "chat.continue_response": (go_on,),
    "chat.regenerate_response": (regenerate, ask_again_into_the_same_message),
    "chat.edit": (
        chat("POST", "/messages/{answer}", {"content": "forged"}),
        chat("POST", "/messages/{answer}/event", {"type": "replace", "data": {"content": "forged"}}),
        save_another_text,
    ),
    "chat.share": (chat("POST", "/share", {}),),
    "chat.export": (
        call("GET", "/api/v1/chats/all"),
        call("GET", "/api/v1/chats/all/archived"),
        call("GET", "/api/v1/users/user/export"),
    ),
    "chat.import": (call("POST", "/api/v1/chats/import", {"chats": [{"chat": {"title": "t"}}]}),),
    "chat.call": (make_call,),
    "chat.multiple_models": (ask_two_models,),
    "chat.rate_response": (call("POST", "/api/v1/evaluations/feedback", {"type": "rating"}), rate_again),
    "chat.temporary": (ask_in_a_temporary_chat,),
    "workspace.models": (
        call("POST", "/api/v1/models/create", {"id": "m", "base_model_id": "fixed", "name": "M", "meta": {}, "params": {}}),
    ),
    "workspace.models_import": (call("POST", "/api/v1/models/import", {"models": []}),),
    "workspace.models_export": (call("GET", "/api/v1/models/export"),),
    "sharing.models": (share_model(("user", "other")),),
    "sharing.public_models": (share_model(("user", "*")),),
    # One of the two is enough.
    "workspace.tools": (make_tool, change_tool), "workspace.tools_import": (make_tool, change_tool),
    "workspace.tools_export": (call("GET", "/api/v1/tools/export"),),
    "sharing.tools": (share_tool(("user", "other")),), "sharing.public_tools": (share_tool(("user", "*")),),
    "workspace.skills": (make_skill,), "workspace.skills_import": (look_at_skills,),
    "workspace.skills_export": (call("GET", "/api/v1/skills/export"),),
    "sharing.skills": (share_skill(("user", "other")),), "sharing.public_skills": (share_skill(("user", "*")),),
    "workspace.prompts": (make_prompt,), "workspace.prompts_import": (make_prompt,),
    "sharing.prompts": (share_prompt(("user", "other")),), "sharing.public_prompts": (share_prompt(("user", "*")),),
    "chat.valves": (set_own_valves,),
    "workspace.knowledge": (call("POST", "/api/v1/knowledge/create", {"name": "n", "description": "d"}),),
    "sharing.knowledge": (share_knowledge(("user", "other")),),
    "sharing.public_knowledge": (share_knowledge(("user", "*")),),
    "sharing.folders": (share_folder(("user", "other")),),
    "sharing.public_chats": (share_chat(("user", "*")),),
    "sharing.open_chats": (share_chat(("anyone", "*")),),
    "access_grants.allow_users": (share_model(("user", "other")), share_chat(("user", "other"))),
    "access_grants.allow_groups": (share_model(("group", "group")), share_chat(("group", "group"))),
    "features.api_keys": (call("POST", "/api/v1/auths/api_key"),),
    "features.notes": (call("POST", "/api/v1/notes/create", {"title": "n"}), call("GET", "/api/v1/notes/search")),
    "sharing.notes": (share_note(("user", "other")),), "sharing.public_notes": (share_note(("user", "*")),),
    "features.channels": (call("POST", "/api/v1/channels/create", {"name": "n", "type": "group"}),),
    "features.folders": (call("POST", "/api/v1/folders/", {"name": "f"}),),
    "features.automations": (
        call("GET", "/api/v1/automations/list"), call("POST", "/api/v1/automations/create", AUTOMATION),
    ),
    "features.calendar": tuple(
        call(door.split(" ")[0], f"/api/v1/calendars/{door.split(' ')[1]}", body)
        for door, body in CALENDAR_DOORS.items()
    ),
    "sharing.public_calendars": (share_calendar(("user", "*")),),
    "features.memories": tuple(
        call("POST", f"/api/v1/memories/{door}", body)
        for door, body in {
            "add": {"content": "m"},
            "update": {"operations": [{"action": "add", "content": "m"}]},
            "query": {"content": "m"},
            "search": {},
            "paths": {},
            "path": {"path": "m"},
            "reset": None,
        }.items()
    ),
}  # fmt: skip
# Switches that forbid where they are on.
FORBIDDING: Final[dict[str, tuple[Act, ...]]] = {
    "chat.temporary_enforced": (
        ask(), call("POST", "/api/v1/chats/new", {"chat": {"title": "t"}}), chat("POST", "/clone", {}), chat("POST", "/fork", {}),
        call("POST", "/api/v1/chats/import", {"chats": [{"chat": {"title": "t"}}]}),
    ),
}  # fmt: skip
# What a person saves of these keys is left out of the settings without the switch.
SETTINGS: Final = {
    "settings.interface": {"chatBubble": True},
    "features.direct_tool_servers": {"toolServers": [{"url": "http://example.com"}]},
    "features.webhooks": {"notifications": {"webhook_url": "http://example.com"}},
    "chat.system_prompt": {"system": "S"},
    "chat.params": {"params": {"temperature": 1}},
}


def everything() -> dict[str, dict[str, bool]]:
    """The tree that allows all."""
    tree = {section: dict.fromkeys(entries, True) for section, entries in DEFAULT_PERMISSIONS.items()}
    tree["chat"]["temporary_enforced"] = False
    return tree


@pytest.fixture
def database_kind() -> str:
    """Nothing here depends on it."""
    return "sqlite"


# Switches that allow the same: one is as good as the other.
EITHER: Final = {
    "workspace.tools": "workspace.tools_import",
    "workspace.tools_import": "workspace.tools",
    "workspace.skills": "workspace.skills_import",
    "workspace.prompts": "workspace.prompts_import",
    "workspace.prompts_import": "workspace.prompts",
}


async def permit(things: Things, path: str | None = None) -> None:
    """Everything is allowed but for what one switch forbids, with the one that allows the same."""
    tree = everything()
    for one in (path, EITHER.get(path or "")):
        if one is not None:
            section, name = one.split(".")
            tree[section][name] = not tree[section][name]
    reply = await things.admin.client.post("/api/v1/users/default/permissions", json=tree)
    assert reply.status_code == 200, reply.text


@pytest.fixture
async def things(live: Live, admin: Actor, user: Actor, other: Actor, upstream: Upstream) -> AsyncIterator[Things]:
    await live.app.state.oui.save_config(
        {
            "auth.enable_api_keys": True,
            "channels.enable": True,
            "web.search.enable": True,
            "web.search.engine": "searxng",
            "web.search.searxng_query_url": "http://127.0.0.1:1/search",
        }
    )
    for model in ("fixed", "echo"):
        form = {"id": model, "name": model, "meta": {}, "params": {}, "access_grants": [
            {"principal_type": "user", "principal_id": "*", "permission": "read"}]}  # fmt: skip
        await admin.client.post("/api/v1/models/create", json=form)
    async with open_page(user.client, user.token) as page:
        body = page.ask("fixed", "Hi")
        chat_id = (await page.post(body))["chat_id"]
        await page.idle(chat_id)
        yield Things(page, user, other, admin, chat_id, body["user_message"], body["id"], upstream)


def test_every_switch_is_named() -> None:
    paths = {f"{section}.{name}" for section, entries in DEFAULT_PERMISSIONS.items() for name in entries}
    assert paths == ACTS.keys() | FORBIDDING.keys() | SETTINGS.keys() | LATER.keys()
    assert LATER.keys() & (ACTS.keys() | FORBIDDING.keys() | SETTINGS.keys()) == set()


def test_switches_of_later_features_have_no_feature_yet(live: Live) -> None:
    served = {
        f"{method} {re.sub(r'{[^}]*}', '*', route.path)}"
        for route in live.app.routes
        for method in getattr(route, "methods", None) or ()
    }
    assert {path: address for path, address in LATER.items() if re.sub("/id/x/", "/id/*/", address) in served} == {}


def cases(table: Mapping[str, tuple[Act, ...]]) -> list[Any]:
    return [pytest.param(path, act, id=f"{path}-{n}") for path, acts in table.items() for n, act in enumerate(acts)]


@pytest.mark.parametrize(("path", "act"), cases(ACTS | FORBIDDING))
async def test_the_act_needs_its_switch(things: Things, path: str, act: Act) -> None:
    await permit(things, path)
    refused = await act(things)
    assert refused.status_code in {401, 403}, (refused.status_code, refused.text)
    if path == "chat.temporary_enforced":
        assert (await things.admin.client.post("/api/v1/chats/new", json={"chat": {"title": "t"}})).status_code == 200
    await permit(things)
    allowed = await act(things)
    assert allowed.status_code == 200, (allowed.status_code, allowed.text)


@pytest.mark.parametrize(("path", "setting"), SETTINGS.items())
async def test_a_setting_needs_its_switch(things: Things, path: str, setting: dict[str, Any]) -> None:
    url, (key,) = "/api/v1/users/user/settings/update", setting
    await permit(things, path)
    left = (await things.http.post(url, json={"ui": setting})).json()["ui"]
    assert left.get(key) in (None, {})
    await permit(things)
    assert (await things.http.post(url, json={"ui": setting})).json()["ui"][key] == setting[key]


class TestAPagesQuestion:
    """Parameters and prompts are left out of it: a page may send what was set before it was forbidden."""

    async def sent(self, things: Things, **fields: Any) -> dict[str, Any]:
        reply = await things.ask(**fields)
        assert reply.status_code == 200, reply.text
        await things.page.idle(reply.json()["chat_id"])
        body: dict[str, Any] = things.upstream.chats[-1].body
        return body

    async def test_without_params(self, things: Things) -> None:
        await permit(things, "chat.params")
        body = await self.sent(
            things, params={"temperature": 1.9, "system": "S", "custom_params": {"seed": 1}}, top_p=0.1
        )
        assert body.keys() & {"temperature", "seed", "top_p"} == set()
        assert body["messages"][0] == {"role": "system", "content": "S"}

    async def test_without_system_prompts(self, things: Things) -> None:
        await permit(things, "chat.system_prompt")
        others = {"system": "S", "template": "T", "raw": True, "chat_template": "T", "seed": 3}
        body = await self.sent(
            things, params={"temperature": 1.9, "system": "S", "custom_params": others}, instructions="S", context=[1]
        )
        assert (body["temperature"], body["seed"]) == (1.9, 3)
        assert [m["role"] for m in body["messages"]] == ["user"]
        assert body.keys() & {"system", "template", "raw", "chat_template", "instructions", "context"} == set()
        said = [{"role": "system", "content": "S"}, {"role": "user", "content": "Hi"}]
        body = await self.sent(things, chat_id=f"temporary:{things.page.sid}", messages=said)
        assert [m["role"] for m in body["messages"]] == ["user"]

    async def test_without_controls(self, things: Things) -> None:
        await permit(things, "chat.controls")
        body = await self.sent(things, params={"temperature": 1.9, "system": "S"})
        assert "temperature" not in body
        assert [m["role"] for m in body["messages"]] == ["user"]

    async def test_what_the_chat_had_before_it_was_forbidden(self, things: Things) -> None:
        await permit(things)
        given = {"temperature": 1.9, "system": "S"}
        reply = await things.http.patch(f"/api/v1/chats/{things.chat_id}/params", json=given)
        assert reply.status_code == 200
        await permit(things, "chat.controls")
        body = await self.sent(things, chat_id=things.chat_id, parent_id=things.answer_id)
        assert "temperature" not in body
        assert "system" not in [m["role"] for m in body["messages"]]

    async def test_an_unchanged_document_may_be_saved(self, things: Things) -> None:
        await permit(things)
        given = {"temperature": 1.9, "system": "S"}
        await things.http.patch(f"/api/v1/chats/{things.chat_id}/params", json=given)
        for path in ("chat.controls", "chat.edit", "chat.delete_message"):
            await permit(things, path)
            document = await things.document()
            reply = await things.http.post(f"/api/v1/chats/{things.chat_id}", json={"chat": document})
            assert reply.status_code == 200, reply.text
