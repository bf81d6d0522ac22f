"""The official frontend asks a person's own provider, on this machine, and its answer is kept by the server."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import expect

from tests.e2e.official.driver import Frontend
from tests.support import browser as browsers
from tests.support.browser import Complaints
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]
CORS = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "*", "Access-Control-Allow-Methods": "*"}
WORDS = ("It ", "is ", "Grüße ", "from ", "home.")


class Provider:
    """It speaks OpenAI's wire, and lets pages of every origin ask it."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.url = ""

    async def models(self, request: web.Request) -> web.Response:
        self.keys.add(request.headers.get("Authorization", ""))
        return web.json_response({"object": "list", "data": [{"id": "talker", "object": "model"}]}, headers=CORS)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(body)
        if not body.get("stream"):
            message = {"role": "assistant", "content": '{"title": "Talk of home"}'}
            whole = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
            return web.json_response(whole, headers=CORS)
        response = web.StreamResponse(headers=CORS | {"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for word in WORDS:
            # Cut in the middle of a line: a page may pass on the halves.
            line = (
                f'data: {{"choices":[{{"index":0,"delta":{{"content":"{word}"}},"finish_reason":null}}]}}\n\n'.encode()
            )
            await response.write(line[:20])
            await response.write(line[20:])
        await response.write(b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')
        return response


async def allow(_request: web.Request) -> web.Response:
    return web.Response(headers=CORS)


@pytest_asyncio.fixture(loop_scope="session")
async def provider() -> AsyncIterator[Provider]:
    made, app = Provider(), web.Application()
    app.router.add_get("/v1/models", made.models)
    app.router.add_post("/v1/chat/completions", made.chat)
    app.router.add_options("/v1/{path:.*}", allow)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield made
    await runner.cleanup()


@pytest.fixture
def server(official_frontend: Path, tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path, {"FRONTEND_BUILD_DIR": str(official_frontend), "ENABLE_DIRECT_CONNECTIONS": "true"})
    yield made.start()
    made.kill()


async def test_a_page_asks_its_persons_own_provider(
    server: Server, provider: Provider, upstream: Upstream, complaints: Complaints
) -> None:
    async with browsers.launch() as browser:
        context = await browser.new_context(viewport={"width": 1280, "height": 850})
        page = await context.new_page()
        complaints.listen(page)
        frontend = Frontend(page, context, server, upstream, complaints)
        await frontend.sign_up()
        own = {"OPENAI_API_BASE_URLS": [provider.url], "OPENAI_API_KEYS": ["sk-mine"],
               "OPENAI_API_CONFIGS": {"0": {"enable": True, "prefix_id": "mine"}}}  # fmt: skip
        stored = await frontend.request("GET", "/api/v1/users/user/settings", None)
        ui = ((stored or {}).get("ui") or {}) | {"directConnections": own}
        await frontend.request("POST", "/api/v1/users/user/settings/update", {"ui": ui})
        await frontend.say("Where are you?", "mine.talker")
        await frontend.answered("".join(WORDS))
        asked = next(body for body in provider.asked if body.get("stream"))
        assert (asked["model"], asked["messages"][-1]["content"]) == ("talker", "Where are you?")
        assert provider.keys == {"Bearer sk-mine"}
        # The server keeps it, under the name that the page has for it.
        await page.goto(await frontend.chat_url())
        await expect(frontend.answer).to_have_text("".join(WORDS))
        chat_id = page.url.rpartition("/")[2]
        chat = await frontend.request("GET", f"/api/v1/chats/{chat_id}", None)
        last = list(chat["chat"]["history"]["messages"].values())[-1]
        assert (last["model"], last["content"], last.get("error")) == ("mine.talker", "".join(WORDS), None)
        # And no server was asked.
        assert upstream.chats == []
        await context.close()
