"""What a group of people may do with answers is enforced where answers are started, not in the page."""

import uuid
from typing import Any

import pytest

from tests.open_webui.chat.page import open_page
from tests.support.live import Actor
from tests.support.upstream import Upstream


async def forbid(admin: Actor, permission: str) -> None:
    tree = (await admin.client.get("/api/v1/users/default/permissions")).json()
    tree["chat"][permission] = False
    assert (await admin.client.post("/api/v1/users/default/permissions", json=tree)).status_code == 200


async def let_everyone(admin: Actor, model: str) -> None:
    grants = [{"principal_type": "user", "principal_id": "*", "permission": "read"}]
    form = {"id": model, "name": model, "base_model_id": None, "params": {}, "meta": {}, "access_grants": grants}
    assert (await admin.client.post("/api/v1/models/create", json=form)).status_code == 200


@pytest.mark.parametrize("permission", ["multiple_models", "continue_response"])
async def test_a_right_that_is_taken_away(admin: Actor, user: Actor, upstream: Upstream, permission: str) -> None:
    await let_everyone(admin, "echo")
    async with open_page(user.client, user.token) as page:
        first = page.ask("echo", "Hello")
        chat_id = (await page.post(first))["chat_id"]
        await page.idle(chat_id)
        body: dict[str, Any]
        if permission == "multiple_models":
            body = page.ask("echo", "Hello both")
            body["message_ids"] = [
                {"model_id": "echo", "message_id": str(uuid.uuid4()), "modelIdx": index} for index in range(2)
            ]
        else:
            body = {
                "stream": True, "model": "echo", "session_id": page.sid, "chat_id": chat_id, "id": first["id"],
                "assistant_message_id": first["id"], "background_tasks": {},
            }  # fmt: skip
        page.events.clear()
        await page.idle((await page.post(body)).get("chat_id") or chat_id)
        await forbid(admin, permission)
        asked = len(upstream.received)
        body["id"] = first["id"] if permission == "continue_response" else str(uuid.uuid4())
        refused = await user.client.post("/api/chat/completions", json=body)
        assert (refused.status_code, len(upstream.received)) == (401, asked)
        assert "may not" in refused.json()["detail"]
