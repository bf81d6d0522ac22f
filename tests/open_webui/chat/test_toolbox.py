"""Which tools an answer gets."""

from collections.abc import Sequence
from typing import Any

import pytest

from open_webui.chat.request import parse_page_request
from open_webui.errors import BadRequest
from open_webui.principal import Principal
from open_webui.services.toolbox import Toolbox
from open_webui.tools.port import Asked, Progress, Tool, ToolResult
from tests.open_webui.chat.page import open_page
from tests.support.live import Actor, Live
from tests.support.script import Finish, Text, ToolCall
from tests.support.upstream import Upstream

ANN = Principal(id="ann", role="user", name="Ann", email="ann@example.com")


class Named:
    """A tool that says its source's name."""

    seconds = 1.0

    def __init__(self, name: str, says: str) -> None:
        self.definition: dict[str, Any] = {"name": name, "parameters": {"type": "object", "properties": {}}}
        self.says = says

    async def run(self, arguments: dict[str, Any], progress: Progress) -> ToolResult:
        del arguments, progress
        return ToolResult(text=self.says)


class Source:
    def __init__(self, *tools: Tool) -> None:
        self.asked: list[Asked] = []
        self._tools = tools

    async def tools(self, asked: Asked) -> Sequence[Tool]:
        self.asked.append(asked)
        return self._tools


async def test_the_first_of_two_tools_with_one_name_is_taken() -> None:
    first, second = Source(Named("clock", "first")), Source(Named("clock", "second"), Named("dice", "second"))
    asked = Asked(principal=ANN, ids=("a",))
    found = await Toolbox([first, second]).tools(asked)
    assert [(name, tool.says) for name, tool in found.items() if isinstance(tool, Named)] == [
        ("clock", "first"),
        ("dice", "second"),
    ]
    assert first.asked == second.asked == [asked]


async def test_a_page_chooses_tools_and_the_model_gets_them(live: Live, admin: Actor, upstream: Upstream) -> None:
    source = Source(Named("clock", "noon"))
    # In the place of what the server has.
    live.app.state.oui._toolbox = Toolbox([source])
    upstream.rounds = [[ToolCall("clock", ("{}",), "c1"), Finish("tool_calls")], [Text("It is noon."), Finish("stop")]]
    async with open_page(admin.client, admin.token) as page:
        body = page.ask("rounds", "What time is it?", tool_ids=["a", "a"], tool_servers=[{"url": "https://a.example"}])
        chat_id = (await page.post(body))["chat_id"]
        await page.idle(chat_id)
        message = await page.message(chat_id, body["id"])
    (asked,) = source.asked
    assert (asked.ids, asked.principal.id, asked.chat_id, asked.is_native) == (("a",), admin.id, chat_id, True)
    assert asked.servers == ({"url": "https://a.example"},)
    assert [item["output"] for item in message["output"] if item["type"] == "function_call_output"] == [
        [{"type": "input_text", "text": "noon"}]
    ]


@pytest.mark.parametrize("wrong", ["a", [1], [None], ["x" * 1000], {"a": 1}])
def test_what_is_no_list_of_ids_is_refused(wrong: object) -> None:
    body = {"session_id": "s", "model": "m", "id": "i", "user_message": {"id": "u", "content": "?"}}
    with pytest.raises(BadRequest, match="tool_ids"):
        parse_page_request(body | {"tool_ids": wrong})
