"""What tests of tools in a chat share: servers are set up, and a model calls."""

from collections.abc import Callable
from typing import Any

from tests.open_webui.chat.page import Page, open_page
from tests.support.live import Actor
from tests.support.script import Finish, Text, ToolCall
from tests.support.upstream import Upstream

CONFIG = "/api/v1/configs/tool_servers"
# Seconds for an answer: processes are started for it, on machines that are busy with others.
PATIENCE = 50.0


async def set_up(admin: Actor, *entries: dict[str, Any]) -> list[dict[str, Any]]:
    reply = await admin.client.post(CONFIG, json={"TOOL_SERVER_CONNECTIONS": list(entries)})
    assert reply.status_code == 200, reply.text
    stored: list[dict[str, Any]] = reply.json()["TOOL_SERVER_CONNECTIONS"]
    return stored


async def say(
    actor: Actor,
    upstream: Upstream,
    *calls: ToolCall,
    tool_ids: tuple[str, ...] = ("server:adder",),
    says: str = "",
    answers: Callable[[dict[str, Any]], Any] | None = None,
    model: str = "rounds",
    **fields: Any,
) -> dict[str, Any]:
    """The message of an answer whose model makes these calls. says: what it says with these calls, and when it is asked
    by a server meanwhile. answers: what the page answers to an event that asks it.
    """
    last = [Text("Done."), Finish("stop")]
    upstream.rounds = [[*([Text(says)] if says else ()), *calls, Finish("tool_calls")], last] if calls else [last]
    async with open_page(actor.client, actor.token) as page:
        if answers is not None:
            hear(page, answers)
        body = page.ask(model, "Add.", tool_ids=list(tool_ids), **fields)
        chat_id = (await page.post(body))["chat_id"]
        await page.idle(chat_id, PATIENCE)
        return await page.message(chat_id, body["id"])


def hear(page: Page, answers: Callable[[dict[str, Any]], Any]) -> None:
    """Has a page answer what it is asked."""

    async def heard(event: dict[str, Any]) -> Any:
        await page._note(event)
        return answers(event["data"])

    page.socket.on("events", heard)


def outputs(message: dict[str, Any]) -> list[str]:
    return [item["output"][0]["text"] for item in message["output"] if item["type"] == "function_call_output"]


def files(message: dict[str, Any]) -> list[Any]:
    return [item.get("files") for item in message["output"] if item["type"] == "function_call_output"]


def descriptions(message: dict[str, Any]) -> list[str]:
    return [status["description"] for status in message.get("statusHistory", ())]
