"""kill -9 while a call is led: what was asked in it is in the chat, and the service hears the end."""

import pytest

from tests.faults.conftest import at_page, models_are_there, on_record
from tests.open_webui.chat.page import rebuilt
from tests.support.calls import called
from tests.support.realtime_service import realtime_service
from tests.support.script import fixed_text
from tests.support.server import Server
from tests.support.speech_service import KEY
from tests.support.upstream import Upstream

pytestmark = [
    pytest.mark.fault,
    pytest.mark.timeout(300),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]


async def test_a_server_that_is_killed_in_a_call(server: Server, upstream: Upstream, database_url: str) -> None:
    async with realtime_service() as service:
        service.understands = ["Hold on"]
        async with at_page(server, new=True) as page:
            await models_are_there(page)
            settings = {"ENABLED": True, "OPENAI_API_BASE_URL": f"{service.url}/v1", "OPENAI_API_KEY": KEY}
            body = {"tts": {}, "stt": {}, "realtime": settings}
            assert (await page.http.post("/api/v1/audio/config/update", json=body)).status_code == 200
            async with called(server, page.token, "gated") as call:
                await call.say("bridge.respond", item_id=await call.speak())
                await call.until("response.output_item.done")
                asked = page.ask("gated", "Hold on")
                chat_id = (await page.post(asked))["chat_id"]
                upstream.release(5)
                await page.until(lambda p: rebuilt([], p.of(asked["id"])) == fixed_text(5))
                await on_record(database_url, fixed_text(5).split()[-1])
                server.kill()
                await service.until_closed()
        server.start()
        async with at_page(server) as page:
            assert (await page.message(chat_id, asked["user_message"]["id"]))["content"] == "Hold on"
            assert (await page.message(chat_id, asked["id"]))["content"] == fixed_text(5)
            await models_are_there(page)
            async with called(server, page.token, "gated", chat_id):
                pass
