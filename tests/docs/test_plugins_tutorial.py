"""docs/plugins.md is done as a reader would, and its tool is called by a model."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs import tutorial
from tests.open_webui.chat.page import open_page
from tests.support.live import Actor, Live
from tests.support.script import Finish, Text, ToolCall
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = pytest.mark.timeout(180)
PAGE = tutorial.page("plugins.md")


def test_the_tutorial_is_true(make_server: Callable[..., Server], tmp_path: Path) -> None:
    server = make_server(ENABLE_API_KEYS="true").start()
    tutorial.run(PAGE, server.url, tmp_path)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_model_rolls_the_dice(live: Live, connections: None, admin: Actor, upstream: Upstream) -> None:
    written = re.search(
        r"> dice\.py <<'PYTHON'\n(.*?)^PYTHON$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert written is not None
    form = {"id": "dice", "name": "Dice", "content": written[1], "meta": {}}
    assert (await admin.client.post("/api/v1/tools/create", json=form)).status_code == 200
    upstream.rounds = [
        [ToolCall("roll", ('{"count": 3}',), "c1"), ToolCall("roll", ('{"count": 101}',), "c2"), Finish("tool_calls")],
        [Text("Rolled."), Finish("stop")],
    ]
    async with open_page(admin.client, admin.token) as page:
        body = page.ask("rounds", "Three dice", tool_ids=["dice"])
        reply = await page.post(body)
        await page.idle(reply["chat_id"])
        message = await page.message(reply["chat_id"], body["id"])
    said = [i["output"][0]["text"] for i in message["output"] if i["type"] == "function_call_output"]
    assert re.fullmatch(rf"{admin.name} rolled \[[1-6], [1-6], [1-6]\]", said[0])
    assert said[1] == "At most 100 dice can be rolled at once."
    assert [status["description"] for status in message["statusHistory"]] == ["The dice roll"]
