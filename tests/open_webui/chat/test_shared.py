"""A chat that is shared with others, who look on while it is answered."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.open_webui.chat.page import Page, open_page, rebuilt
from tests.support.live import Actor, Live
from tests.support.script import fixed_text


@pytest.fixture
async def owner(live: Live, admin: Actor) -> AsyncIterator[Page]:
    async with open_page(admin.client, admin.token) as opened:
        yield opened


@pytest.fixture
async def reader(live: Live, user: Actor) -> AsyncIterator[Page]:
    async with open_page(user.client, user.token) as opened:
        yield opened


async def joined(page: Page, chat_id: str) -> Any:
    return await page.socket.call("events:chat", {"chat_id": chat_id, "data": {"type": "join"}}, timeout=5)


async def share(owner: Page, chat_id: str, user_id: str, *permissions: str) -> None:
    reply = await owner.http.post(f"/api/v1/chats/{chat_id}/share", json={"share_mode": "continue"})
    assert reply.status_code == 200, reply.text
    grants = [{"principal_type": "user", "principal_id": user_id, "permission": p} for p in permissions]
    reply = await owner.http.post(f"/api/v1/chats/shared/{chat_id}/access/update", json={"access_grants": grants})
    assert reply.status_code == 200, reply.text


async def test_who_looks_on_sees_the_turn_and_its_answer(owner: Page, reader: Page, admin: Actor, user: Actor) -> None:
    first = owner.ask("echo", "One")
    chat_id = (await owner.post(first))["chat_id"]
    await owner.idle(chat_id)
    assert await joined(reader, chat_id) is False
    await share(owner, chat_id, user.id, "read")
    assert await joined(owner, chat_id) is True
    assert await joined(reader, chat_id) is True
    await reader.until(lambda p: bool(p.data("chat:presence")))
    people = {person["id"] for person in reader.data("chat:presence")[-1]["users"]}
    assert people == {admin.id, user.id}
    typing = {"chat_id": chat_id, "data": {"type": "typing", "data": {"typing": True}}}
    assert await owner.socket.call("events:chat", typing, timeout=5) is True
    await reader.until(lambda p: bool(p.data("typing")))
    [event] = [e for e in reader.events if e["data"]["type"] == "typing"]
    assert event["user"] == {"id": admin.id, "name": admin.name}
    assert owner.data("typing") == []
    # A reader may look, not type.
    assert await reader.socket.call("events:chat", typing, timeout=5) is False

    second = owner.ask("slow", "Two", chat_id=chat_id, parent_id=first["id"])
    await owner.post(second)
    await asyncio.gather(owner.idle(chat_id), reader.idle(chat_id))
    [turn] = reader.data("chat:messages")
    assert turn["currentId"] == second["id"]
    assert turn["messages"][second["user_message"]["id"]]["content"] == "Two"
    assert rebuilt([], reader.of(second["id"])) == fixed_text()
    assert all(event["shared"] for event in reader.events)
    # All of it but who is there names whose turn it is, by which pages end the sign that somebody types.
    told = [event for event in reader.events if event["data"]["type"] not in {"chat:presence", "chat:access"}]
    assert {event["data"]["type"] for event in told} >= {
        "chat:messages",
        "response:completion",
        "chat:completion",
        "typing",
    }
    assert {event.get("user_id") for event in told} == {admin.id}


async def test_looking_on_ends_with_the_share(owner: Page, reader: Page, user: Actor) -> None:
    first = owner.ask("echo", "One")
    chat_id = (await owner.post(first))["chat_id"]
    await owner.idle(chat_id)
    await share(owner, chat_id, user.id, "read")
    assert await joined(reader, chat_id) is True
    await share(owner, chat_id, user.id)
    await reader.until(lambda p: bool(p.data("chat:access")))
    reader.events.clear()
    second = owner.ask("echo", "A secret", chat_id=chat_id, parent_id=first["id"])
    await owner.post(second)
    await owner.idle(chat_id)
    await reader.socket.call("user-join", {"auth": {"token": reader.token}}, timeout=30)
    assert reader.events == []


async def test_who_may_write_goes_on_with_somebody_elses_chat(
    owner: Page, reader: Page, admin: Actor, user: Actor
) -> None:
    first = owner.ask("echo", "One")
    chat_id = (await owner.post(first))["chat_id"]
    await owner.idle(chat_id)
    await share(owner, chat_id, user.id, "read")
    grant = [{"principal_type": "user", "principal_id": "*", "permission": "read"}]
    model = {"id": "echo", "base_model_id": None, "name": "echo", "meta": {}, "params": {}, "access_grants": grant}
    assert (await admin.client.post("/api/v1/models/create", json=model)).status_code == 200
    second = reader.ask("echo", "Two", chat_id=chat_id, parent_id=first["id"])
    assert (await reader.http.post("/api/chat/completions", json=second)).status_code in {401, 403, 404}
    await share(owner, chat_id, user.id, "read", "write")
    owner.events.clear()
    await reader.post(second)
    await asyncio.gather(owner.idle(chat_id), reader.idle(chat_id))
    assert rebuilt([], owner.of(second["id"])) == rebuilt([], reader.of(second["id"])) == "Two"
    question = await owner.message(chat_id, second["user_message"]["id"])
    assert question["user_id"] == user.id
    assert (await owner.message(chat_id, second["id"]))["content"] == "Two"
    # The owner's question can be asked anew, not overwritten; the owner's answer can't be written over.
    over = reader.ask("echo", "Overwritten", chat_id=chat_id)
    over["user_message"]["id"] = first["user_message"]["id"]
    await reader.post(over)
    await reader.until(lambda p: any(d.get("done") for d in p.data("chat:completion", over["id"])))
    question = await owner.message(chat_id, first["user_message"]["id"])
    assert (question["content"], question["user_id"]) == ("One", admin.id)
    assert (await owner.message(chat_id, over["id"]))["content"] == "One"
    over = reader.ask("echo", "x", chat_id=chat_id, id=first["id"], user_message=..., parent_id=question["id"],
                      message_ids=[{"model_id": "echo", "message_id": first["id"]}])  # fmt: skip
    refused = await reader.http.post("/api/chat/completions", json=over)
    assert refused.status_code == 401
    assert (await owner.message(chat_id, first["id"]))["content"] == "One"
