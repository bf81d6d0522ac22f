"""What MCP servers ask on the built-in page, and tool servers of one's own, which the browser calls."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.e2e.test_page_tools import DIALOG, answered, shot, switch_on
from tests.support.mcp_server import Everything, open_everything
from tests.support.page import Visit, settings
from tests.support.script import Finish, Text, ToolCall
from tests.support.server import Server
from tests.support.tool_server import ToolServer, open_tool_server
from tests.support.upstream import Upstream

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("mcp"),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]
CALLED = Finish("tool_calls")


@pytest.fixture
def server(make_server: Callable[..., Server], database_url: str, upstream: Upstream) -> Server:
    return make_server(
        DATABASE_URL=database_url,
        OPENAI_API_BASE_URLS=upstream.openai_url,
        OPENAI_API_KEYS="sk-upstream",
        ENABLE_DIRECT_INTEGRATIONS="true",
    ).start()


@pytest.fixture(scope="module")
def everything() -> Iterator[Everything]:
    with open_everything() as found:
        yield found


@pytest_asyncio.fixture(loop_scope="session")
async def own() -> AsyncIterator[ToolServer]:
    async with open_tool_server() as found:
        found.page = "*"
        yield found


def call(visit: Visit, name: str, arguments: str = "{}") -> None:
    visit.upstream.rounds = [[ToolCall(name, (arguments,), "c1"), CALLED], [Text("Good."), Finish("stop")]]


async def unfolded(page: Page) -> Any:
    last = page.locator(".call").last
    await last.locator("summary").click()
    return last


async def test_an_mcp_server_asks_for_a_form(visit: Visit, everything: Everything) -> None:
    page = visit.page
    entry = {
        "url": everything.url, "path": "", "type": "mcp", "auth_type": "none", "key": "", "config": {"enable": True},
        "info": {"id": "every", "name": "Everything"},
    }  # fmt: skip
    stored = await page.request.post(
        f"{visit.server.url}/api/v1/configs/tool_servers", data={"TOOL_SERVER_CONNECTIONS": [entry]}
    )
    assert stored.status == 200
    await page.reload()
    await switch_on(page, "Everything")
    call(visit, "every_trigger-elicitation-request")
    await visit.say("Ask me.", "rounds")
    asked = page.locator(DIALOG)
    await expect(asked).to_contain_text("Everything asks", timeout=60_000)
    # Who was typing has said nothing by it.
    await expect(asked.get_by_text("Please provide inputs")).to_be_focused()
    await asked.get_by_role("textbox", name="String (needed)", exact=True).fill("Ada")
    await shot(page, "elicitation")
    await asked.get_by_role("button", name="Send").click()
    await answered(page)
    await expect(await unfolded(page)).to_contain_text("Ada")
    refusals = (
        (lambda: page.keyboard.press("Escape"), "cancel"),
        (asked.get_by_role("button", name="Decline").click, "decline"),
    )
    for press, said in refusals:
        await visit.say("Again.")
        await expect(asked).to_contain_text("Everything asks")
        await press()
        await answered(page)
        await expect(await unfolded(page)).to_contain_text(said)
    # An address is shown whole, and opened by a click alone.
    address = f"{visit.server.url}/health"
    call(visit, "every_trigger-url-elicitation", json.dumps({"url": address, "message": "Look there."}))
    await visit.say("An address.")
    await expect(asked.get_by_label("The address")).to_have_text(address)
    await shot(page, "address")
    assert len(page.context.pages) == 1
    async with page.context.expect_page() as opening:
        await asked.get_by_role("button", name="Open it").click()
    assert (await opening.value).url == address
    await answered(page)
    await expect(await unfolded(page)).to_contain_text("accept")


async def test_the_browser_calls_ones_own_servers(visit: Visit, own: ToolServer) -> None:
    page = visit.page
    await settings(page, "Tool servers")
    own.key = "k"
    await page.get_by_label("Address").fill(own.url)
    await page.get_by_label("Key (if it wants one)").fill("wrong")
    visit.complaints.expect("401")
    await page.get_by_role("button", name="Add server").click()
    await expect(page.get_by_text("It answered with status 401.")).to_be_visible()
    await page.get_by_label("Key (if it wants one)").fill("k")
    await page.get_by_role("button", name="Add server").click()
    await expect(page.get_by_role("switch", name="Adder")).to_be_checked()
    await shot(page, "own-servers")
    await page.keyboard.press("Escape")
    call(visit, "add", '{"a": 2, "b": 3}')
    await visit.say("Add.", "rounds")
    await answered(page)
    await expect(await unfolded(page)).to_contain_text('"sum":5')
    assert [request[3] for request in own.asked("/add")] == ['{"a":2,"b":3}']
    # The key went from the browser to the server, and not to this one's model.
    assert "Bearer k" in {request[2].get("authorization") for request in own.asked("/add")}
    assert all('"k"' not in str(received.body) for received in visit.upstream.received)
    # The page itself can't reach other servers; only its worker can.
    visit.complaints.expect("Content Security Policy", own.url)
    blocked = await page.evaluate("(url) => fetch(url).then(() => 'reached', () => 'blocked')", own.url)
    assert blocked == "blocked"
