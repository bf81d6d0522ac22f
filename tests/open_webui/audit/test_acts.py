"""Who did what: an entry of each way in, with what was changed, and what was refused."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import FastAPI

from open_webui import administration
from open_webui.access.policy import policy_of
from open_webui.env import Settings
from open_webui.jobs.kinds import Kind, Nothing, Run
from open_webui.main import create_app
from open_webui.models import groups, tables
from open_webui.printing import declared
from open_webui.services.audit import doors
from open_webui.services.audit.doors import SAFE, door_of, event_door
from open_webui.services.audit.record import MOST_REFUSED, Refusals
from tests.open_webui.audit.conftest import checked, entries, last, texts
from tests.open_webui.notes.test_documents import create, editors
from tests.open_webui.scim.conftest import TOKEN
from tests.support.live import PASSWORD, Actor, Live, sign_up

# What is noted, and when, does not depend on the database; what needs SQL of its own runs on both.
ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
CHAT = {"chat": {"title": "A private title", "messages": []}}


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    return create_app(settings)


@ON_SQLITE
class TestDoors:
    """What is recorded follows from the policies; the exceptions are routes that there are."""

    def test_every_write_is_an_act_or_stands_in_a_list(self, app: FastAPI) -> None:
        routes = {
            f"{route.kind} {route.path}": route for route in declared(app) if route.kind not in {"event", "socket"}
        }
        listed = doors.NO_ACTS | doors.NO_ACTS_OF_ONES_OWN
        assert listed | doors.READS.keys() | doors.SIGN_INS.keys() <= routes.keys()
        for name, route in routes.items():
            assert route.policy is not None
            door = door_of(route.policy, route.kind, route.path, "tag")
            is_use = route.policy.action in {"use", "search", "list"}
            # Pages of other servers, terminals and code are passed on by whatever method.
            assert door.is_act == (
                name in doors.READS or name in doors.SIGN_INS or not (route.kind in SAFE or is_use or name in listed)
            ), name

    def test_of_the_events_those_that_write_are(self, app: FastAPI) -> None:
        acts = {
            route.path for route in declared(app)
            if route.kind == "event" and route.policy is not None and event_door(route.policy, route.path).is_act
        }  # fmt: skip
        assert acts == {"ydoc:document:update"}

    def test_handlers_have_policies(self, app: FastAPI) -> None:
        for route in app.routes:
            if hasattr(route, "endpoint") and getattr(route, "path", "").startswith("/api/v1/audit"):
                policy = policy_of(route.endpoint)
                assert policy is not None
                assert policy.level == "admin"


async def test_people_and_groups_with_before_and_after(admin: Actor, user: Actor) -> None:
    made = await last(admin, resource="user", action="create")
    assert (made["by"], made["email"], made["via"], made["id"]) == (admin.id, admin.email, "session", user.id)
    assert made["changes"] == {"name": [None, user.name], "email": [None, user.email], "role": [None, "user"]}
    assert (made["address"], made["outcome"], made["what"]) == ("127.0.0.1", "done", "POST /api/v1/auths/add")
    path = f"/api/v1/users/{user.id}/update"
    reply = await admin.client.post(path, json={"name": "New", "password": "another password", "active": False})
    assert reply.status_code == 200, reply.text
    changed = (await last(admin, resource_id=user.id))["changes"]
    assert changed["name"] == ["User One", "New"]
    assert changed["active"] == [True, False]
    assert changed["password"] == ["***", "***"]
    group = (await admin.client.post("/api/v1/groups/create", json={"name": "Staff", "description": ""})).json()
    ids = {"user_ids": [user.id]}
    await admin.client.post(f"/api/v1/groups/id/{group['id']}/users/add", json=ids)
    assert (await last(admin))["changes"] == {"members_added": [None, [user.id]]}
    form = {"name": "Staff", "description": "", "permissions": {"chat": {"delete": False}}}
    await admin.client.post(f"/api/v1/groups/id/{group['id']}/update", json=form)
    assert (await last(admin, resource="group"))["changes"]["permissions"][1] == {"chat": {"delete": False}}
    await admin.client.delete(f"/api/v1/groups/id/{group['id']}/delete")
    gone = await last(admin, resource_id=group["id"])
    assert (gone["action"], gone["changes"]["name"]) == ("delete", ["Staff", None])


async def test_settings_and_grants(live: Live, admin: Actor, user: Actor) -> None:
    state = live.app.state.oui
    before = state.config["ui.enable_signup"]
    whole = (await admin.client.get("/api/v1/auths/admin/config")).json()
    reply = await admin.client.post("/api/v1/auths/admin/config", json=whole | {"ENABLE_SIGNUP": not before})
    assert reply.status_code == 200, reply.text
    entry = await last(admin, resource="config")
    assert entry["changes"]["ui.enable_signup"][1] is not before
    form: dict[str, Any] = {"id": "mine", "name": "Mine", "base_model_id": None, "meta": {}, "params": {}}
    assert (await admin.client.post("/api/v1/models/create", json=form)).status_code == 200
    given = {"id": "mine", "access_grants": [{"principal_type": "user", "principal_id": user.id, "permission": "read"}]}
    assert (await admin.client.post("/api/v1/models/model/access/update", json=given)).status_code == 200
    shared = await last(admin, action="share")
    assert (shared["resource"], shared["id"]) == ("model", "mine")
    assert shared["changes"]["access"] == [[], [["user", user.id, "read"]]]


@ON_SQLITE
async def test_what_people_write_is_not_told(live: Live, admin: Actor, user: Actor) -> None:
    chat = (await user.client.post("/api/v1/chats/new", json=CHAT)).json()
    made = await last(admin, actor=user.id)
    assert (made["action"], made["resource"], made["id"]) == ("create", "chat", chat["id"])
    note = await create(user, md="A secret text", title="A private title")
    await user.client.post(f"/api/v1/notes/{note['id']}/update", json={"title": "Another private title"})
    changed = await last(admin, actor=user.email.upper())
    assert (changed["resource"], changed["id"]) == ("note", note["id"])
    assert (await user.client.delete(f"/api/v1/chats/{chat['id']}")).status_code == 200
    assert (await last(admin, actor=user.id))["action"] == "delete"
    everything = await texts(live)
    assert "private title" not in everything
    assert "secret text" not in everything


@ON_SQLITE
async def test_keys_say_which_key_it_was(live: Live, admin: Actor, user: Actor) -> None:
    await live.app.state.oui.save_config({"auth.enable_api_keys": True})
    made = (await admin.client.post("/api/v1/auths/keys", json={"name": "CI", "scopes": ["groups"]})).json()
    entry = await last(admin, resource="api_key")
    assert (entry["id"], entry["changes"]["scopes"]) == (made["id"], [None, ["groups"]])
    async with live.client(made["api_key"]) as client:
        assert (await client.post("/api/v1/groups/create", json={"name": "K", "description": ""})).status_code == 200
        # A refusal of what the key is not for is recorded, too.
        assert (await client.post("/api/v1/chats/new", json=CHAT)).status_code == 403
    group = await last(admin, resource="group")
    assert (group["via"], group["key"], group["by"]) == ("api_key", made["id"], admin.id)
    refused = await last(admin, outcome="refused")
    assert (refused["status"], refused["key"], refused["resource"]) == (403, made["id"], "chat")
    assert made["api_key"] not in await texts(live)


@ON_SQLITE
async def test_a_note_that_is_typed_is_one_entry(live: Live, admin: Actor, user: Actor) -> None:
    note = await create(user, md="")
    async with editors(live.url, note["id"], user.token) as (editor,):
        for _ in range(5):
            await editor.type("x")
            await asyncio.sleep(0)
        async with asyncio.timeout(30):
            while not (found := await entries(admin, action="write", resource="note")):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    assert len(found) == 1
    assert (found[0]["what"], found[0]["id"], found[0]["by"]) == ("event ydoc:document:update", note["id"], user.id)
    assert found[0]["address"] == "127.0.0.1"


async def test_a_directory(make_live: Callable[..., Any]) -> None:
    live = await make_live(enable_scim=True, scim_token=TOKEN)
    admin = await sign_up(live, "Admin One")
    form = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "ann@example.com"}
    async with admin.client, live.client(TOKEN) as directory, live.client("wrong") as stranger:
        made = (await directory.post("/api/v1/scim/v2/Users", json=form)).json()
        assert (await stranger.post("/api/v1/scim/v2/Users", json=form)).status_code == 401
        entry = await last(admin, action="write", outcome="done")
        assert (entry["via"], entry["by"], entry["id"]) == ("scim", "", made["id"])
        assert entry["changes"]["email"] == [None, "ann@example.com"]
        refused = await last(admin, outcome="refused")
    assert (refused["via"], refused["status"], refused["address"]) == ("scim", 401, "127.0.0.1")
    assert TOKEN not in await texts(live)


async def test_jobs_and_commands(live: Live, admin: Actor, settings: Settings) -> None:
    async def work(_run: Run, _work: Nothing) -> None:
        async with state.database.write() as unit:
            await groups.repository.create(unit.connection, admin.id, {"name": "By a job", "description": ""})
        done.set()

    state, done = live.app.state.oui, asyncio.Event()
    kind = Kind(name="make a group", payload=Nothing, handler=work)
    state.jobs.add(kind)
    async with state.database.write() as unit:
        await state.jobs.enqueue(unit, kind, Nothing())
    async with asyncio.timeout(30):
        await done.wait()
    by_job = await last(admin, resource="group")
    assert (by_job["via"], by_job["what"], by_job["by"]) == ("job", "job make a group", "")
    await administration.add_user(settings, "ann@example.com", "", None, lambda: PASSWORD)
    await administration.set_role(settings, "ann@example.com", "admin")
    command = await last(admin, resource="user")
    assert (command["via"], command["what"]) == ("command", "oui-backend users role")
    assert command["changes"] == {"role": ["user", "admin"]}
    assert command["email"]
    assert PASSWORD not in await texts(live)
    assert (await checked(live)).is_whole


@ON_SQLITE
async def test_attempts_are_counted(live: Live, admin: Actor, user: Actor) -> None:
    async with live.client() as stranger:
        for email in (user.email, user.email, "nobody@example.com"):
            form = {"email": email, "password": "a wrong password"}
            assert (await stranger.post("/api/v1/auths/signin", json=form)).status_code == 400
        # Who isn't known and asks for what is closed is nobody.
        assert (await stranger.post("/api/v1/groups/create", json={"name": "x", "description": ""})).status_code == 401
    refused = await entries(admin, outcome="refused")
    assert [(one["action"], one["id"], one["by"], one["status"]) for one in refused] == [("sign-in", user.id, "", 400)]
    assert (await user.client.post("/api/v1/groups/create", json={"name": "x", "description": ""})).status_code == 401
    assert (await user.client.get("/api/v1/users/")).status_code == 401
    refused = await entries(admin, outcome="refused", actor=user.id)
    assert {one["what"] for one in refused} == {"POST /api/v1/groups/create", "GET /api/v1/users/"}
    everything = await texts(live)
    assert "a wrong password" not in everything
    assert "nobody@example.com" not in everything


def test_strangers_fill_neither_memory_nor_record() -> None:
    refusals = Refusals()
    told = sum(refusals.count(f"192.0.2.{k}", "POST /api/v1/auths/signin") for k in range(5 * MOST_REFUSED))
    assert told <= MOST_REFUSED + 1
    assert len(refusals._seen) <= MOST_REFUSED + 1


@ON_SQLITE
async def test_what_fails_after_something_was_stored(live: Live, admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    from open_webui.services import groups as service

    real = service.create

    async def fails(*given: Any) -> Any:
        await real(*given)
        raise RuntimeError("broken afterwards")

    monkeypatch.setattr(service, "create", fails)
    assert (await admin.client.post("/api/v1/groups/create", json={"name": "x", "description": ""})).status_code == 500
    failed, done = await entries(admin, limit=2)
    assert (failed["outcome"], failed["status"], failed["request"]) == ("failed", 500, done["request"])
    assert done["changes"]["name"] == [None, "x"]
    # What is refused before anything is stored leaves nothing.
    assert (await admin.client.post("/api/v1/groups/create", json={"name": 5})).status_code == 422
    assert (await last(admin))["seq"] == failed["seq"]


@ON_SQLITE
async def test_nothing_is_recorded_of_what_rolls_back(live: Live, admin: Actor) -> None:
    state = live.app.state.oui
    count = sa.select(sa.func.count()).select_from(tables.audit_pending)
    await state.audit.link()
    form = {"name": "A", "email": admin.email, "password": PASSWORD, "role": "user"}
    assert (await admin.client.post("/api/v1/auths/add", json=form)).status_code == 400
    async with state.database.read() as connection:
        assert await connection.scalar(count) == 0


@ON_SQLITE
@pytest.mark.parametrize("level", ["none", "all"])
async def test_levels(make_live: Callable[..., Any], level: str) -> None:
    live = await make_live(audit_level=level)
    admin = await sign_up(live, "Admin One")
    async with admin.client:
        await admin.client.get("/api/v1/chats/")
        found = await entries(admin)
    assert ("GET /api/v1/chats/" in {one["what"] for one in found}) == (level == "all")
    assert bool(found) == (level == "all")
