"""Results that are too long for the model at once, and what a person said of a tool for a whole chat: kept with the chat."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from open_webui.chat.approval import NEVER
from open_webui.chat.long_results import LongResults, mentions
from open_webui.models.files import embedded_id
from open_webui.services.builtin.source import BuiltIns
from open_webui.services.toolbox import Toolbox
from open_webui.tools.port import Asked, Tool, ToolResult
from tests.open_webui.chat.page import Event, Page, open_page
from tests.open_webui.chat.test_rounds import CALLED, SAID, Weather, call
from tests.support.live import Actor, Live
from tests.support.script import Text, ToolCall
from tests.support.upstream import Upstream

SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
LONG = "".join(f"{n:07} " for n in range(10_000))


class Answering(Page):
    """A page whose person always says the same."""

    says: Any = None
    # Until it is set the person says nothing.
    ready: asyncio.Event | None = None

    async def _note(self, event: Event) -> Any:
        await super()._note(event)
        if self.ready is not None and event["data"]["type"] == "confirmation":
            await self.ready.wait()
        return self.says


class Source:
    def __init__(self, tool: Weather) -> None:
        self.tool = tool

    async def tools(self, asked: Asked) -> Sequence[Tool]:
        return [self.tool] if "sky" in asked.ids else []


@pytest.fixture
def tool() -> Weather:
    return Weather()


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]], connections: None) -> Live:
    return await make_live(bypass_model_access_control=True)


@pytest.fixture
async def page(live: Live, admin: Actor, tool: Weather) -> AsyncIterator[Answering]:
    state = live.app.state.oui
    state._toolbox = Toolbox((Source(tool),), BuiltIns(state))
    page = Answering(admin.client, admin.token)
    await page.connect()
    yield page
    await page.socket.disconnect()


async def asked(page: Page, upstream: Upstream, *rounds: Any, **fields: Any) -> tuple[str, dict[str, Any]]:
    upstream.rounds = list(rounds)
    body = page.ask("rounds", "What is the weather?", tool_ids=["sky"], **fields)
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id)
    page.events.clear()
    return chat_id, await page.message(chat_id, body["id"])


def outputs(message: dict[str, Any]) -> list[dict[str, Any]]:
    return [item for item in message["output"] if item["type"] == "function_call_output"]


@SQLITE
async def test_the_model_gets_the_beginning_and_reads_on(
    page: Answering, upstream: Upstream, tool: Weather, admin: Actor
) -> None:
    async def much(_arguments: dict[str, Any]) -> ToolResult:
        return ToolResult(text=LONG)

    tool.act = much
    file_id = embedded_id(admin.id, hashlib.sha256(LONG.encode()).hexdigest())
    pages = [
        json.dumps({"id": file_id, "offset": 50_000, "max_chars": 16}),
        json.dumps({"id": file_id, "offset": 79_990}),
    ]
    chat_id, message = await asked(
        page, upstream,
        [call("Rome", "c1"), CALLED],
        [*(ToolCall("read_tool_result", (arguments,), f"r{n}") for n, arguments in enumerate(pages)), CALLED],
        [Text("Read."), SAID],
    )  # fmt: skip
    first, middle, last = outputs(message)
    told = first["output"][0]["text"]
    assert told.startswith(LONG[:50_000] + "\n[This is the beginning of the result: 50,000 of 80,000 characters.")
    assert f'read_tool_result(id="{file_id}", offset=50000)' in told
    assert json.loads(middle["output"][0]["text"]) == {
        "content": LONG[50_000:50_016], "offset": 50_000, "length": 80_000, "next_offset": 50_016,
    }  # fmt: skip
    assert json.loads(last["output"][0]["text"]) == {
        "content": LONG[79_990:], "offset": 79_990, "length": 80_000, "next_offset": None,
    }  # fmt: skip
    names = [[t["function"]["name"] for t in r.body["tools"]] for r in upstream.chats if r.model == "rounds"]
    assert names == [["weather"], ["read_tool_result", "weather"], ["read_tool_result", "weather"]]
    (entry,) = first["files"]
    assert (await page.http.get(entry["url"])).text == LONG
    # With the next question the model can read on, too.
    await asked(page, upstream, [Text("Yes."), SAID], chat_id=chat_id, parent_id=message["id"])
    assert "read_tool_result" in str(upstream.chats[-1].body.get("tools") or upstream.chats[-2].body.get("tools"))


async def test_a_text_that_can_not_be_kept_is_cut_with_a_word() -> None:
    class Away:
        limit = 0

        async def keep_text(self, _filename: str, _text: str) -> str:
            raise OSError("no space left")

    keep = LongResults(Away(), 10, is_stored=True, can_read=True)  # type: ignore[arg-type]
    result = await keep("t", ToolResult(text="0123456789x", failed=True))
    assert result.text == "0123456789\n[The rest of this result was left out: it is longer than 10 characters.]"
    assert (result.failed, keep.kept) == (True, False)
    short = ToolResult(text="0123456789")
    assert await keep("t", short) is short


def test_only_results_of_tools_mention_what_can_be_read() -> None:
    text = 'Read on with read_tool_result(id="x", offset=1).'
    assert mentions([{"role": "tool", "content": text}])
    assert not mentions([{"role": "user", "content": text}, {"role": "tool", "content": None}])


@SQLITE
async def test_what_is_said_of_a_tool_is_kept_with_the_chat(page: Answering, upstream: Upstream, tool: Weather) -> None:
    page.says = "always"
    ask: dict[str, Any] = {"tool_approval_mode": "ask"}
    upstream.rounds = [[call("Rome", "c1"), CALLED], [call("Oslo", "c2"), CALLED], [Text("Sunny."), SAID]]
    body = page.ask("rounds", "What is the weather?", tool_ids=["sky"], params=ask)
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id)
    assert len(page.data("confirmation")) == 1
    assert len(tool.asked) == 2
    assert (await page.stored(chat_id))["chat"]["params"]["tool_approvals"] == {"weather": "always"}
    reply = await page.http.patch(f"/api/v1/chats/{chat_id}/params", json={"tool_approvals": {"weather": "never"}})
    assert reply.status_code == 200, reply.text
    page.events.clear()
    # A page that doesn't know yet changes nothing.
    params = ask | {"tool_approvals": {"weather": "always"}}
    rounds = [[call("Rome", "c1"), CALLED], [Text("Not known."), SAID]]
    _, message = await asked(page, upstream, *rounds, chat_id=chat_id, parent_id=body["id"], params=params)
    assert outputs(message)[0]["output"][0]["text"] == NEVER.format("weather")
    assert len(tool.asked) == 2


@SQLITE
async def test_who_may_set_no_parameters_is_asked_all_the_same(
    page: Answering, upstream: Upstream, tool: Weather, user: Actor, admin: Actor
) -> None:
    del page
    reply = await admin.client.get("/api/v1/users/default/permissions")
    permissions = reply.json()
    permissions["chat"]["params"] = False
    assert (await admin.client.post("/api/v1/users/default/permissions", json=permissions)).status_code == 200
    async with open_page(user.client, user.token) as other:
        upstream.rounds = [[call("Rome", "c1"), CALLED], [Text("No."), SAID]]
        body = other.ask("rounds", "Hi", tool_ids=["sky"], params={"tool_approval_mode": "ask", "temperature": 1})
        await other.idle((await other.post(body))["chat_id"])
    assert tool.asked == []
    assert "temperature" not in next(r.body for r in upstream.chats if r.model == "rounds")


@pytest.mark.parametrize(("action", "leaves"), [("approve", False), ("approve", True), ("reject", True)])
async def test_a_call_that_waits_is_answered_by_a_page_that_was_loaded_anew(
    page: Answering, upstream: Upstream, tool: Weather, user: Actor, action: str, leaves: bool
) -> None:
    page.ready = asyncio.Event()
    upstream.rounds = [[call("Rome", "c1"), CALLED], [Text("Done."), SAID]]
    body = page.ask("rounds", "Hi", tool_ids=["sky"], params={"tool_approval_mode": "ask"})
    chat_id = (await page.post(body))["chat_id"]
    await page.until(lambda p: bool(p.data("confirmation")))
    async with open_page(page.http, page.token) as again:
        if leaves:
            await page.socket.disconnect()
        (waiting,) = (await again.message(chat_id, body["id"]))["output"]
        assert (waiting["type"], waiting["status"]) == ("function_call", "pending")
        address = f"/api/v1/chats/{chat_id}/messages/{body['id']}/resolve"
        answer = {"call_id": waiting["call_id"], "action": action}
        assert (await user.client.post(address, json=answer)).status_code == 401
        for odd in ({"call_id": "c9", "action": action}, {"call_id": "x\x00", "action": "reject"}):
            assert (await again.http.post(address, json=odd)).status_code == 404
        reply = await again.http.post(address, json=answer)
        assert (reply.status_code, reply.json()) == (200, {"status": True})
        await again.idle(chat_id)
        assert (await again.http.post(address, json=answer)).status_code == 404
        message = await again.message(chat_id, body["id"])
    assert len(tool.asked) == (action == "approve")
    assert message["content"] == "Done."
    assert {item["status"] for item in message["output"]} == {"completed"}
    page.ready.set()
