"""Other tabs hear of changes once they are stored."""

import asyncio
from typing import Any

import pytest
import socketio

from tests.support.live import Actor, Live

CHATS = "/api/v1/chats"


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_tab_hears_of_its_users_changes_and_of_no_one_elses(live: Live, user: Actor, other: Actor) -> None:
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    client = socketio.AsyncClient(reconnection=False)
    client.on("events", heard.put)
    await client.connect(
        live.url, socketio_path="/ws/socket.io", auth={"token": user.token}, transports=["websocket"], wait_timeout=30
    )
    try:
        await other.client.post(f"{CHATS}/new", json={"chat": {"title": "theirs"}})
        chat = (await user.client.post(f"{CHATS}/new", json={"chat": {"title": "mine"}})).json()["id"]
        made = await asyncio.wait_for(heard.get(), 10)
        assert made["chat_id"] == chat
        assert made["data"] == {"type": "chat:list", "data": {"chat_id": chat, "folder_id": None}}
        await user.client.post(f"{CHATS}/{chat}/messages/m", json={"content": "edited"})
        edited = await asyncio.wait_for(heard.get(), 10)
        assert edited["message_id"] == "m"
        assert edited["data"]["type"] == "chat:message"
        assert edited["data"]["data"]["content"] == "edited"
        refused = await user.client.post(f"{CHATS}/{chat}", json={"chat": {"title": 1}})
        assert refused.status_code == 422
        await user.client.delete(f"{CHATS}/{chat}")
        assert (await asyncio.wait_for(heard.get(), 10))["data"]["type"] == "chat:list"
    finally:
        await client.disconnect()
