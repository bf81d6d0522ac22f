"""R3 and R4: a victim's ids in every field that takes one, and children under parents that are not theirs."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.security import matrix
from tests.security.matrix import MARK, REFUSALS, World, changed, ok, rows_of
from tests.security.matrix_schemas import Operation, operations, with_ids
from tests.support.live import Live
from tests.support.upstream import Upstream

# What ends the caller's own session is told apart elsewhere.
ENDS = {"/api/v1/auths/signout", "/api/v1/auths/update/password", "/api/v1/auths/sessions"}
KINDS = ("chat", "hidden", "share", "answer", "folder", "user", "group", "model", "local", "key", "index", "memory",
         "calendar", "event", "automation", "channel", "channel_message")  # fmt: skip


@pytest.fixture
async def world(live: Live, upstream: Upstream) -> AsyncIterator[World]:
    made = await matrix.make_world(live, upstream)
    yield made
    await matrix.close(made)


async def own_things(world: World) -> dict[str, str]:
    """A stranger's own things, so that only the foreign id in the body is foreign."""
    client = world.stranger
    folder = (await ok(client, "POST", "/api/v1/folders/", {"name": "mine"}))["id"]
    document: dict[str, Any] = {"title": "mine", "history": {"currentId": "m", "messages": {
        "m": {"id": "m", "parentId": None, "childrenIds": [], "role": "user", "content": "mine"}}}}  # fmt: skip
    chat = (await ok(client, "POST", "/api/v1/chats/new", {"chat": document, "folder_id": folder}))["id"]
    await ok(client, "POST", f"/api/v1/chats/{chat}/share", {})
    form = {"file": ("mine.txt", b"mine")}
    memory = (await ok(client, "POST", "/api/v1/memories/add", {"content": "mine"}))["id"]
    calendar = (await ok(client, "POST", "/api/v1/calendars/create", {"name": "mine"}))["id"]
    event = await ok(
        client, "POST", "/api/v1/calendars/events/create", {"calendar_id": calendar, "title": "mine", "start_at": 1}
    )
    group = {"name": "mine", "type": "group"}
    channel = (await ok(client, "POST", "/api/v1/channels/create", group))["id"]
    file = (await client.client.post("/api/v1/files/?process_in_background=false", files=form)).json()["id"]
    return {
        "id": chat, "chat_id": chat, "folder_id": folder, "message_id": "m", "kind": "title", "url_idx": "0",
        "user_id": world.stranger.id, "group_id": "none", "share_id": chat, "history_id": "none",
        "task_id": "none", "path": "none", "namespace": "none", "job_id": "none", "model_id": "none",
        "file": file, "file_name": "mine.txt", "dir_id": "none", "client_id": "mcp:none", "action_id": "none",
        "memory_id": memory, "version_id": "none",
        "calendar_id": calendar,
        "event_id": event["id"],
        "target_id": "none", "webhook_id": "none", "provider": "none", "identity_id": "none",
        "key_id": "none", "session_id": "none", "passkey_id": "none",
        "channel": channel, "channel_id": channel, "app_id": "none", "token": "none",
        "server_id": "none", "pipeline_id": "none", "role_set_id": "none", "budget_id": "none",
    }  # fmt: skip


def paths_of(operation: Operation, mine: dict[str, str], foreign: str) -> set[str]:
    """The operation's addresses: on one's own things, and with the foreign id in the place of each."""
    if operation.path.startswith("/api/v1/folders/"):
        mine = mine | {"id": mine["folder_id"]}
    if operation.path.startswith("/api/v1/channels/"):
        mine = mine | {"id": mine["channel"]}
    if operation.path.startswith("/api/v1/files/"):
        mine = mine | {"id": mine["file"]}
    ways = [mine] + [mine | {name: foreign} for name in operation.parameters if name != "kind"]
    return {operation.address(values) for values in ways}


# Every operation with every kind of id: minutes, where processors are busy.
@pytest.mark.timeout(900)
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_victims_ids_in_every_field_that_takes_one(world: World) -> None:
    """Nothing of another person's comes out, and no row of theirs changes, whatever the answer is."""
    world.ids["index"] = "0"
    asked, wrong = 0, []
    offered = [
        o
        for o in operations(world.live.app)
        if o.policy.level not in {"admin", "public", "scim"} and o.path not in ENDS
    ]
    mine = await own_things(world)
    before = await rows_of(world.live)
    for operation in sorted(offered, key=lambda o: o.method == "DELETE"):
        if operation.method == "DELETE":
            await world.stranger.client.delete(f"/api/v1/folders/{mine['folder_id']}")
            mine = await own_things(world)
        for foreign in {world.ids[kind] for kind in KINDS}:
            bodies = [with_ids(body, foreign) for body in operation.bodies] or [None]
            query = {k: foreign if "id" in k.lower() else v for k, v in operation.query.items()}
            for path in paths_of(operation, mine, foreign):
                for body in bodies:
                    extra: dict[str, Any] = {} if body is None else {"json": body}
                    reply = await world.stranger.client.request(operation.method, path, params=query, **extra)
                    asked += 1
                    if reply.status_code == 500 or MARK in reply.text:
                        wrong.append(f"{operation.method} {path} {foreign}: {reply.status_code} {reply.text[:300]}")
        await world.settle()
        after = await rows_of(world.live)
        wrong += [f"{operation.name}: {what}" for what in changed(before, after, world.stranger.id)]
        before = after
    assert not wrong, "\n".join(wrong)
    assert asked > 1_000


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_children_under_another_parent(world: World) -> None:
    """A message, a folder, a tag, a share, a version that is somebody's is not found under what is one's own."""
    mine = await own_things(world)
    chat, folder = mine["id"], mine["folder_id"]
    victims = world.ids
    before = await rows_of(world.live)
    doors: list[tuple[str, str, Any]] = [
        ("DELETE", f"/api/v1/chats/{chat}/messages/answer", None),
        ("POST", f"/api/v1/chats/{chat}/messages/answer/event", {"type": "message", "data": {"content": "taken"}}),
        ("POST", f"/api/v1/chats/{chat}/messages/answer/resolve", {"call_id": "c", "action": "approve"}),
        ("POST", f"/api/v1/chats/{chat}/fork", {"message_id": "answer"}),
        ("POST", f"/api/v1/chats/{chat}/folder", {"folder_id": victims["folder"]}),
        ("POST", f"/api/v1/chats/{chat}/folder", {"folder_id": victims["subfolder"]}),
        ("POST", f"/api/v1/chats/{chat}", {"chat": {}, "folder_id": victims["folder"]}),
        ("POST", f"/api/v1/folders/{folder}/update/parent", {"parent_id": victims["folder"]}),
        ("POST", f"/api/v1/folders/{victims['folder']}/update/parent", {"parent_id": folder}),
        ("POST", "/api/v1/folders/", {"name": "child", "parent_id": victims["subfolder"]}),
        ("POST", "/api/v1/chats/new", {"chat": {"title": "x"}, "folder_id": victims["folder"]}),
        ("DELETE", f"/api/v1/models/model/history/{victims['model']}?id=echo", None),
    ]
    for method, path, body in doors:
        reply = await world.stranger.client.request(method, path, **({} if body is None else {"json": body}))
        assert reply.status_code in REFUSALS, (method, path, reply.status_code, reply.text[:200])
        assert MARK not in reply.text
        assert changed(before, await rows_of(world.live)) == [], (method, path)
    # A tag of the victim's taken off one's own chat is one's own tag of that name: there is none.
    await world.stranger.client.request("DELETE", f"/api/v1/chats/{chat}/tags", json={"name": victims["tag"]})
    assert changed(before, await rows_of(world.live)) == []


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_message_of_another_chat_is_no_parent_and_no_target(world: World, upstream: Upstream) -> None:
    """The ids of a victim's messages in a turn of one's own chat name nothing there."""
    chat = (await own_things(world))["id"]
    before = await rows_of(world.live)
    question = {"id": "q", "parentId": "answer", "role": "user", "content": "What was said?"}
    turn = {
        "model": "echo",
        "session_id": "s",
        "chat_id": chat,
        "message_ids": [{"model_id": "echo", "message_id": "a"}],
    }
    for body in (
        turn | {"id": "a", "parent_id": "answer", "user_message": question},
        turn | {"id": "answer", "parent_id": "question", "user_message": None,
                "message_ids": [{"model_id": "echo", "message_id": "answer"}]},
        turn | {"id": "answer", "assistant_message_id": "answer", "user_message": None,
                "message_ids": [{"model_id": "echo", "message_id": "answer"}]},
    ):  # fmt: skip
        await world.stranger.client.post("/api/chat/completions", json=body)
        await world.settle()
    assert MARK not in str([received.body for received in upstream.chats])
    assert changed(before, await rows_of(world.live), world.stranger.id) == []
