"""The record is read, taken along and checked by administrators; what they look at of others is in it, and why."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from open_webui.internal.acts import Act
from open_webui.models import audit
from open_webui.services.audit.entries import LONGEST, bounded, entry_of
from open_webui.services.audit.verify import verify
from tests.open_webui.audit.conftest import ENTRIES, entries, last, texts
from tests.open_webui.chat.page import open_page
from tests.support.live import Actor, Live, sign_up

EXPORT, VERIFY = "/api/v1/audit/export", "/api/v1/audit/verify"
REASON = {"X-Audit-Reason": "a complaint of 30 November"}


@pytest.fixture
def database_kind() -> str:
    """The queries are the same on both."""
    return "sqlite"


async def groups(admin: Actor, *names: str) -> list[str]:
    made = [await admin.client.post("/api/v1/groups/create", json={"name": n, "description": ""}) for n in names]
    return [reply.json()["id"] for reply in made]


async def test_pages_and_filters(live: Live, admin: Actor, user: Actor) -> None:
    ids = await groups(admin, *"abcde")
    pages, before = [], None
    while True:
        given = {"limit": 2, "resource": "group"} | ({} if before is None else {"before": before})
        reply = (await admin.client.get(ENTRIES, params=given)).json()
        pages.append([one["id"] for one in reply["items"]])
        if (before := reply["next"]) is None:
            break
    assert pages == [[ids[4], ids[3]], [ids[2], ids[1]], [ids[0]]]
    (middle,) = await entries(admin, resource="group", resource_id=ids[2])
    at = middle["at"]
    assert all(one["at"] < at for one in await entries(admin, until=at))
    assert len(await entries(admin, since=at, resource="group")) >= 3
    assert [one["id"] for one in await entries(admin, after=middle["seq"])] == [ids[4], ids[3]]
    assert await entries(admin, actor=user.email, action="create") == []
    assert {one["id"] for one in await entries(admin, actor=admin.email, action="create")} == {*ids, user.id}
    for wrong in (
        {"limit": 0}, {"limit": 201}, {"before": -1}, {"since": "x"}, {"outcome": "some"}, {"unknown": "1"},
        {"actor": "x" * 256}, {"action": "a\x00b"}, {"after": 2**60},
    ):  # fmt: skip
        assert (await admin.client.get(ENTRIES, params=wrong)).status_code == 422, wrong
    for path in (ENTRIES, EXPORT, VERIFY):
        assert (await user.client.get(path)).status_code == 401
        async with live.client() as nobody:
            assert (await nobody.get(path)).status_code == 401


async def test_lines_for_another_system(live: Live, admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "PORTION", 2)
    await groups(admin, "a", "b", "c")
    reply = await admin.client.get(EXPORT)
    assert reply.headers["content-type"].startswith("application/x-ndjson")
    rows = [json.loads(line) for line in reply.text.splitlines()]
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    # Whoever has the lines can check them: the entry's text is what was hashed.
    before = audit.NOTHING
    for line, row in zip(reply.text.splitlines(), rows, strict=True):
        text = line.partition('"entry":')[2].removesuffix("}")
        assert audit.digest(before, row["seq"], text) == row["hash"]
        before = row["hash"]
    exported = await last(admin)
    assert (exported["action"], exported["what"]) == ("export", f"GET {EXPORT}")
    more = await admin.client.get(EXPORT, params={"after": len(rows)})
    assert [json.loads(line)["seq"] for line in more.text.splitlines()] == [len(rows) + 1]


async def test_a_break_is_told(live: Live, admin: Actor) -> None:
    await groups(admin, "a", "b")
    whole = (await admin.client.get(VERIFY)).json()
    assert (whole["is_whole"], whole["waiting"], whole["first"], whole["problem"]) == (True, 0, 1, None)
    async with live.app.state.oui.database.write(aside=True) as unit:
        await unit.connection.execute(audit.t.delete().where(audit.t.c.seq == 2))
    broken = (await admin.client.get(VERIFY)).json()
    assert (broken["is_whole"], broken["at"]) == (False, 3)


class TestOthers:
    """Administrators may look at what is somebody else's; that they did is told, with the reason that they give."""

    @pytest.fixture
    async def thing(self, user: Actor) -> str:
        form = {"chat": {"title": "Mine", "messages": []}}
        chat_id: str = (await user.client.post("/api/v1/chats/new", json=form)).json()["id"]
        return chat_id

    async def test_a_chat(self, admin: Actor, user: Actor, thing: str) -> None:
        assert (await admin.client.get(f"/api/v1/chats/{thing}", headers=REASON)).status_code == 200
        entry = await last(admin)
        assert (entry["action"], entry["by"], entry["id"], entry["reason"]) == (
            "read",
            admin.id,
            thing,
            REASON["X-Audit-Reason"],
        )
        assert entry["opened"] == [["chat", thing, user.id]]
        # The owner reads, and so does an administrator with a grant: that is nothing to tell.
        await user.client.get(f"/api/v1/chats/{thing}")
        assert (await last(admin))["seq"] == entry["seq"]
        await admin.client.get(f"/api/v1/chats/list/user/{user.id}")
        assert (await last(admin))["opened"] == [["chat", "*", user.id]]
        await admin.client.get("/api/v1/chats/all/db")
        everything = await last(admin)
        assert (everything["action"], everything["opened"]) == ("export", [["chat", "*", "*"]])

    async def test_a_file(self, admin: Actor, user: Actor) -> None:
        uploaded = await user.client.post("/api/v1/files/?process=false", files={"file": ("a.txt", b"text")})
        file_id = uploaded.json()["id"]
        assert (await last(admin))["id"] == file_id
        assert (await admin.client.get(f"/api/v1/files/{file_id}")).status_code == 200
        assert (await last(admin))["opened"] == [["file", file_id, user.id]]

    async def test_a_database(self, admin: Actor) -> None:
        assert (await admin.client.get("/api/v1/utils/db/download")).status_code == 200
        entry = await last(admin)
        assert (entry["action"], entry["opened"]) == ("export", [["database", "*", "*"]])

    async def test_by_a_socket(self, admin: Actor, user: Actor, thing: str) -> None:
        async with open_page(admin.client, admin.token) as page:
            assert (
                await page.socket.call("events:chat", {"chat_id": thing, "data": {"type": "join"}}, timeout=30) is True
            )
            entry = await last(admin)
            assert (entry["what"], entry["opened"]) == ("event events:chat", [["chat", thing, user.id]])

    async def test_keys_that_are_shown(self, admin: Actor) -> None:
        await admin.client.get("/openai/config")
        assert (await last(admin))["action"] == "reveal"


class TestReasons:
    """Where a reason is wanted, nobody looks without one."""

    @pytest.fixture
    async def live(self, make_live: Callable[..., Any]) -> Live:
        return await make_live(enable_audit_reason=True)

    async def test_none_is_given(self, admin: Actor, user: Actor) -> None:
        form = {"chat": {"title": "Mine", "messages": []}}
        chat = (await user.client.post("/api/v1/chats/new", json=form)).json()["id"]
        uploaded = await user.client.post("/api/v1/files/?process=false", files={"file": ("a.txt", b"text")})
        paths = [
            f"/api/v1/chats/{chat}", f"/api/v1/chats/list/user/{user.id}", "/api/v1/chats/all/db", "/api/v1/utils/db/download",
            f"/api/v1/files/{uploaded.json()['id']}/content", "/api/v1/evaluations/feedbacks/all/export",
        ]  # fmt: skip
        for path in paths:
            refused = await admin.client.get(path)
            assert (refused.status_code, "X-Audit-Reason" in refused.text) == (400, True), path
            assert (await admin.client.get(path, headers=REASON)).status_code == 200, path
            assert (await last(admin))["reason"] == REASON["X-Audit-Reason"]
        asked = await admin.client.get(paths[0], params={"audit_reason": "in the address \U0001f600"})
        assert asked.status_code == 200
        assert (await last(admin))["reason"] == "in the address \U0001f600"
        async with open_page(admin.client, admin.token) as page:
            joined = await page.socket.call("events:chat", {"chat_id": chat, "data": {"type": "join"}}, timeout=30)
        assert joined is not True
        assert (await user.client.get(paths[0])).status_code == 200


CANARY = "planted-4cd1"


async def test_no_secret_is_in_it(live: Live, admin: Actor, user: Actor) -> None:
    """A secret in every kind of write that takes one."""
    provider = {
        "OPENAI_API_BASE_URLS": [f"http://me:{CANARY}@127.0.0.1:9/v1?key={CANARY}"],
        "OPENAI_API_KEYS": [CANARY],
        "OPENAI_API_CONFIGS": {"0": {"headers": {"a": CANARY}}},
        "ENABLE_OPENAI_API": True,
    }
    server = {
        "url": f"http://127.0.0.1:9?token={CANARY}",
        "path": "x",
        "type": "openapi",
        "auth_type": "bearer",
        "key": CANARY,
    }
    tool = f'"""\ntitle: T\n"""\nclass Tools:\n    """{CANARY}"""\n'
    oauth = await admin.client.get("/api/v1/auths/admin/config/oauth")
    ldap = await admin.client.get("/api/v1/auths/admin/config/ldap/server")
    writes: list[tuple[str, Any]] = [
        ("/openai/config/update", provider),
        ("/ollama/config/update", {"ENABLE_OLLAMA_API": True, "OLLAMA_BASE_URLS": [f"http://me:{CANARY}@127.0.0.1:9"],
                                   "OLLAMA_API_CONFIGS": {"0": {"key": CANARY}}}),
        ("/api/v1/configs/tool_servers", {"TOOL_SERVER_CONNECTIONS": [server | {"config": {}, "info": {}}]}),
        ("/api/v1/auths/admin/config/oauth", oauth.json() | {"client_secret": CANARY, "OAUTH_CLIENT_SECRET": CANARY}),
        ("/api/v1/auths/admin/config/ldap/server", ldap.json() | {"app_dn_password": CANARY, "LDAP_APP_PASSWORD": CANARY}),
        ("/api/v1/tools/create", {"id": "t", "name": "T", "content": tool, "meta": {"description": ""}}),
        ("/api/v1/configs/import", {"config": {"rag": {"openai": {"api_key": CANARY}}, "webhook_url": f"http://x/{CANARY}"}}),
        (f"/api/v1/users/{user.id}/update", {"password": f"{CANARY} long enough"}),
        ("/api/v1/events/webhooks", {"name": "w", "url": f"https://192.0.2.1/{CANARY}", "events": ["chat.created"]}),
        ("/api/v1/models/create", {"id": "m", "name": "M", "base_model_id": None, "meta": {}, "params": {"system": CANARY}}),
        ("/api/v1/channels/webhooks/none/" + CANARY, {"content": "x"}),
    ]  # fmt: skip
    statuses = {path: (await admin.client.post(path, json=body)).status_code for path, body in writes}
    assert sum(status == 200 for status in statuses.values()) >= 6, statuses
    made = await admin.client.post(
        "/api/v1/auths/update/password", json={"password": "correct horse battery", "new_password": f"{CANARY}-new"}
    )
    assert made.status_code == 200, made.text
    everything = await texts(live)
    assert everything
    assert CANARY not in everything
    assert user.token not in everything


async def test_hostile_texts_are_cut(live: Live, admin: Actor) -> None:
    """What is told is bounded, and every database and every reader holds it."""
    names = [
        "x" * 5_000,
        "\ud800".encode("utf-16", "surrogatepass").decode("utf-16", "replace"),
        '"\n}\u2028<script>',
        "a\u202eb",
    ]
    for name in names:
        await admin.client.post("/api/v1/groups/create", json={"name": name, "description": ""})
    tree = {f"area{k}": {f"switch{j}": True for j in range(100)} for k in range(60)}
    form = {"name": "large", "description": "", "permissions": tree}
    assert (await admin.client.post("/api/v1/groups/create", json=form)).status_code == 200
    state = live.app.state.oui
    assert (await verify(state.database, [state.audit.sealing])).is_whole
    assert max(len(line.encode()) for line in (await texts(live)).splitlines()) <= LONGEST
    assert (await last(admin))["changes"]["name"][1] in {"large", "…"}


async def test_any_act_has_an_entry() -> None:
    """Nothing that is noted keeps a write from being done."""
    act = Act("PUT /x", "write", resource="thing")
    await asyncio.sleep(0)
    deep: Any = "end"
    for _ in range(200):
        deep = {"a": [deep]}
    act.changes = {
        f"field{k}": (2**70, {"when": object(), "deep": deep, "text": "\ud800" * 500, "n": float("nan")})
        for k in range(50)
    }
    act.parameters = {"token": CANARY, "rest": "r" * 10_000}
    text = bounded(entry_of(act))
    assert len(text.encode()) <= LONGEST
    entry = audit.read(text)
    assert CANARY not in text
    assert len(entry.changes) == 50
    assert msgspec.json.decode(text)["resource"] == "thing"


async def test_somebody_who_is_gone_is_named(live: Live, admin: Actor) -> None:
    gone = await sign_up(live, "Gone Person", role="user", admin=admin)
    async with gone.client:
        await gone.client.post("/api/v1/chats/new", json={"chat": {"title": "x", "messages": []}})
    assert (await admin.client.delete(f"/api/v1/users/{gone.id}")).status_code == 200
    assert {one["email"] for one in await entries(admin, actor=gone.id)} == {gone.email}
    deleted = await last(admin, action="delete")
    assert deleted["changes"]["email"] == [gone.email, None]
