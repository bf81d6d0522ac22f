"""Calls in the official frontend, with a microphone into which espeak-ng speaks: the way of recordings, and a realtime model."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.e2e.official.driver import Frontend
from tests.support import browser as browsers
from tests.support.browser import Complaints
from tests.support.microphone import microphone
from tests.support.realtime_service import RealtimeService, realtime_service
from tests.support.script import Finish, Text
from tests.support.server import Server
from tests.support.speech_service import KEY, SpeechService, speech_service
from tests.support.upstream import Upstream

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    provider = Upstream().start()
    yield provider
    provider.stop()


@pytest.fixture
def server(upstream: Upstream, official_frontend: Path, tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path, {
        "OPENAI_API_BASE_URLS": upstream.openai_url, "OPENAI_API_KEYS": "sk-upstream", "DEFAULT_MODELS": "rounds",
        "FRONTEND_BUILD_DIR": str(official_frontend), "ENABLE_TITLE_GENERATION": "false",
        "ENABLE_FOLLOW_UP_GENERATION": "false", "ENABLE_TAGS_GENERATION": "false",
    })  # fmt: skip
    yield made.start()
    made.kill()


@asynccontextmanager
async def caller(server: Server, upstream: Upstream, folder: Path, said: str) -> AsyncIterator[Frontend]:
    """The first account's browser, which hears a sentence every few seconds."""
    async with browsers.launch(*microphone(folder, said)) as browser:
        context = await browser.new_context(viewport={"width": 1280, "height": 850}, permissions=["microphone"])
        context.set_default_timeout(90_000)
        page, complaints = await context.new_page(), Complaints()
        complaints.listen(page)
        frontend = Frontend(page, context, server, upstream, complaints)
        await frontend.sign_up()
        yield frontend
        assert complaints.faults == []


@pytest_asyncio.fixture(loop_scope="session")
async def service() -> AsyncIterator[SpeechService]:
    async with speech_service() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def realtime() -> AsyncIterator[RealtimeService]:
    async with realtime_service() as running:
        yield running


async def set_audio(frontend: Frontend, **parts: dict[str, Any]) -> None:
    await frontend.request("POST", "/api/v1/audio/config/update", {"tts": {}, "stt": {}} | parts)
    await frontend.settled()


async def messages(frontend: Frontend) -> list[tuple[str, str]]:
    """What stands in the newest chat, in its order."""
    [chat, *_] = await frontend.request("GET", "/api/v1/chats/?page=1", None)
    history = (await frontend.request("GET", f"/api/v1/chats/{chat['id']}", None))["chat"]["history"]
    found, at = [], history["currentId"]
    while at is not None:
        found.append((history["messages"][at]["role"], history["messages"][at]["content"]))
        at = history["messages"][at]["parentId"]
    return found[::-1]


async def test_a_call_by_recordings(server: Server, upstream: Upstream, service: SpeechService, tmp_path: Path) -> None:
    upstream.rounds = [[Text("It is noon. Time to eat something."), Finish("stop")]]
    service.heard = ["What is the time?"]
    async with caller(server, upstream, tmp_path, "What is the time?") as frontend:
        base = f"{service.url}/v1"
        await set_audio(
            frontend,
            tts={"ENGINE": "openai", "OPENAI_API_BASE_URL": base, "OPENAI_API_KEY": KEY},
            stt={"ENGINE": "openai", "OPENAI_API_BASE_URL": base, "OPENAI_API_KEY": KEY},
        )
        page = frontend.page
        async with page.expect_response("**/api/v1/audio/speech") as spoken:
            await page.get_by_role("button", name="Voice mode").click()
        assert (await spoken.value).ok
        await page.get_by_role("button", name="End call").click()
        assert (await messages(frontend))[:2] == [
            ("user", "What is the time?"),
            ("assistant", "It is noon. Time to eat something."),
        ]
    recording = next(body for path, _, body in service.received if path.endswith("/audio/transcriptions"))
    assert len(recording["file"][1]) > 1_000


async def test_a_call_with_a_realtime_model(
    server: Server, upstream: Upstream, realtime: RealtimeService, tmp_path: Path
) -> None:
    """Each wish is an ordinary turn of the chat's model, and its answer is spoken; another wish stops it."""
    upstream.rounds_of = {
        "time": [[Text("It is noon"), Finish("stop")]],
        "story": [[Text("one two three four five six seven eight nine ten " * 10), Finish("stop")]],
        "Stop": [[Text("As you like"), Finish("stop")]],
    }
    realtime.understands = ["What is the time?", "Tell me a story", "Stop it"]
    async with caller(server, upstream, tmp_path, "What is the time?") as frontend:
        await set_audio(frontend, realtime={
            "ENABLED": True, "OPENAI_API_BASE_URL": f"{realtime.url}/v1", "OPENAI_API_KEY": KEY,
        })  # fmt: skip
        page = frontend.page
        await page.get_by_role("button", name="Voice mode").click()
        call = page.get_by_role("region", name="Voice call")
        await expect(call).to_be_visible()
        results = await realtime.until("conversation.item.create", 3)
        assert '"answer":"As you like"' in results[2]["item"]["output"]
        # The story was stopped in its middle.
        stopped = await realtime.until("conversation.item.truncate")
        assert 0 <= stopped[0]["audio_end_ms"] < 25_000
        await page.get_by_role("button", name="End call").click()
        await realtime.until_closed()
        told = await messages(frontend)
        assert [text for role, text in told if role == "user"] == ["What is the time?", "Tell me a story", "Stop it"]
        assert ("assistant", "It is noon") in told
        assert ("assistant", "As you like") in told
