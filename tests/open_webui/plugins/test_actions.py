"""Actions: which models offer them, who may press them, what they are told, and what they do to a message."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.open_webui.chat.page import Page, open_page
from tests.open_webui.plugins.test_facades import new_chat
from tests.support.live import Actor, Live
from tests.support.plugins import until

ACTIONS = "/api/chat/actions"
FUNCTIONS = "/api/v1/functions"
BUTTON = """
from pydantic import BaseModel
class Action:
    class Valves(BaseModel):
        greeting: str = "Hello"
    class UserValves(BaseModel):
        mood: str = "calm"
    def __init__(self):
        self.valves = self.Valves()
    async def action(self, body, __user__=None, __event_emitter__=None, __event_call__=None, __model__=None,
                     __id__=None, __request__=None, __metadata__=None):
        if body.get("fail"):
            raise ValueError("That went wrong.")
        if body.get("html"):
            from fastapi.responses import HTMLResponse
            return HTMLResponse("<b>hi</b>")
        if body.get("ask"):
            return await __event_call__({"type": "input", "data": {"title": "Your name"}})
        await __event_emitter__({"type": "status", "data": {"description": "pressed", "done": True}})
        return {"content": self.valves.greeting, "told": [__user__["name"], __user__["valves"].mood, __model__["id"],
                __id__, body["id"], __metadata__]}
"""
SEVERAL = """
class Action:
    actions = [{"id": "one", "name": "First"}, {"id": "two", "name": "Second", "icon_url": "/x.svg"}]
    async def action(self, body, __id__=None):
        return {"pressed": __id__}
"""
SWITCH = "class Filter:\n    toggle = True\n    icon = '/f.svg'\n    def inlet(self, body): return body\n"


async def put(admin: Actor, function_id: str, content: str, *, everywhere: bool = True) -> None:
    form = {"id": function_id, "name": function_id.title(), "content": content, "meta": {"description": "d"}}
    for path, body in (("create", form), (f"id/{function_id}/toggle", None)):
        reply = await admin.client.post(f"{FUNCTIONS}/{path}", json=body)
        assert reply.status_code == 200, reply.text
    if everywhere:
        await admin.client.post(f"{FUNCTIONS}/id/{function_id}/toggle/global")


async def press(actor: Actor, action_id: str = "button", **fields: Any) -> tuple[int, Any]:
    body = {"model": "fixed", "messages": [{"id": "m1", "role": "user", "content": "q"}], "id": "m1"} | fields
    reply = await actor.client.post(f"{ACTIONS}/{action_id}", json=body)
    return reply.status_code, reply.json()


@pytest.fixture
async def page(live: Live, admin: Actor) -> AsyncIterator[Page]:
    async with open_page(admin.client, admin.token) as opened:
        yield opened


async def test_an_action_is_told_where_it_was_pressed(live: Live, admin: Actor, page: Page) -> None:
    await put(admin, "button", BUTTON)
    await admin.client.post(f"{FUNCTIONS}/id/button/valves/update", json={"greeting": "Hi"})
    await admin.client.post(f"{FUNCTIONS}/id/button/valves/user/update", json={"mood": "gay"})
    chat_id = await new_chat(admin)
    status, said = await press(admin, chat_id=chat_id, session_id=page.sid)
    assert (status, said["content"]) == (200, "Hi")
    assert said["told"] == [admin.name, "gay", "fixed", "button", "m1", None]
    await page.until(lambda page: bool(page.data("status", "m1")))
    stored = (await admin.client.get(f"/api/v1/chats/{chat_id}")).json()["chat"]["history"]["messages"]["m1"]
    assert [one["description"] for one in stored["statusHistory"]] == ["pressed"]
    # In a temporary chat it is shown, too, and stored nowhere.
    assert (await press(admin, chat_id=f"local:{page.sid}", session_id=page.sid))[0] == 200
    await page.until(lambda page: len(page.data("status", "m1")) == 2)


async def test_an_action_asks_the_page(live: Live, admin: Actor, page: Page) -> None:
    await put(admin, "button", BUTTON)
    asked: list[Any] = []

    async def reply(event: dict[str, Any]) -> str | None:
        asked.append(event)
        return "Ann" if event["data"]["type"] == "input" else None

    page.socket.on("events", reply)
    assert await press(admin, chat_id="local:x", session_id=page.sid, ask=True) == (200, "Ann")
    assert asked[0]["data"]["data"]["title"] == "Your name"
    status, said = await press(admin, chat_id="local:x", session_id="nobody", ask=True)
    assert (status, said["detail"]) == (400, "Client session disconnected.")
    status, said = await press(admin, chat_id="local:x", ask=True)
    assert (status, said["detail"]) == (400, "There is no page that could be asked.")


async def test_a_page_of_html_is_shown_in_the_message(live: Live, admin: Actor) -> None:
    await put(admin, "button", BUTTON)
    chat_id = await new_chat(admin)
    assert await press(admin, chat_id=chat_id, html=True) == (200, None)
    stored = (await admin.client.get(f"/api/v1/chats/{chat_id}")).json()["chat"]["history"]["messages"]["m1"]
    assert stored["embeds"] == ["<b>hi</b>"]


async def test_what_an_action_raises_is_its_own_sentence(live: Live, admin: Actor) -> None:
    await put(admin, "button", BUTTON)
    assert await press(admin, fail=True) == (400, {"detail": "That went wrong."})


async def test_only_what_is_offered_can_be_pressed(live: Live, admin: Actor, user: Actor) -> None:
    await put(admin, "button", BUTTON, everywhere=False)
    await put(admin, "several", SEVERAL)
    await put(admin, "switch", SWITCH)
    for action_id in ("nope", "button", "switch", "several.three", "several.one.two", "a" * 400):
        status, said = await press(admin, action_id)
        assert (status, said["detail"]) == (400, f"Action not found: {action_id[:200]}")
    assert await press(admin, "several.two") == (200, {"pressed": "two"})
    assert await press(admin, "several") == (200, {"pressed": "several"})
    # The model has to be one that the person may use.
    assert (await press(user, "several.two"))[1] == {"detail": "Model not found"}
    await admin.client.post(f"{FUNCTIONS}/id/several/toggle")
    assert (await press(admin, "several.two"))[0] == 400


async def test_what_is_no_press_is_refused(live: Live, admin: Actor) -> None:
    await put(admin, "button", BUTTON)
    for fields in (
        {"model": None},
        {"model": 5},
        {"chat_id": 5},
        {"id": "x" * 5_000},
        {"messages": "x"},
        {"messages": [1]},
    ):
        status, said = await press(admin, **fields)
        assert status == 400, fields
        assert "should be" in said["detail"]


async def test_an_action_does_nothing_to_other_peoples_chats(live: Live, admin: Actor, other: Actor) -> None:
    await put(admin, "button", BUTTON)
    chat_id = await new_chat(other)
    status, _ = await press(admin, chat_id=chat_id)
    assert status == 400
    stored = (await other.client.get(f"/api/v1/chats/{chat_id}")).json()["chat"]["history"]["messages"]["m1"]
    assert "statusHistory" not in stored


async def test_a_client_that_goes_away_ends_the_action(live: Live, admin: Actor) -> None:
    await put(
        admin,
        "button",
        "import asyncio\nclass Action:\n  async def action(self, body):\n    await asyncio.sleep(600)\n",
    )
    pressed = asyncio.create_task(press(admin))

    async def is_busy() -> bool:
        entries = live.app.state.oui.plugins._entries.values()
        return any(entry.worker is not None and entry.worker.is_busy for entry in entries)

    async def is_idle() -> bool:
        return not await is_busy()

    await until(is_busy)
    pressed.cancel()
    await until(is_idle)
