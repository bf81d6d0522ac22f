"""Calls on the built-in page, on a phone: espeak-ng speaks into the microphone, again and again."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.support import browser as browsers
from tests.support.browser import Complaints
from tests.support.microphone import microphone
from tests.support.page import EMAIL, signed_up
from tests.support.realtime_service import realtime_service
from tests.support.script import Finish, Gate, Text
from tests.support.server import Server
from tests.support.speech_service import KEY, speech_service
from tests.support.upstream import Upstream

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(300),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]


@asynccontextmanager
async def phone(server: Server, folder: Path, config: dict[str, Any]) -> AsyncIterator[Page]:
    """A phone with the first account, which has set the server up."""
    complaints = Complaints()
    async with browsers.launch(*microphone(folder, "What is the time?")) as browser:
        context = await browser.new_context(viewport={"width": 390, "height": 844}, permissions=["microphone"])
        await signed_up(context, server, "Ada Lovelace", EMAIL)
        reply = await context.request.post(f"{server.url}/api/v1/configs/import", data={"config": config})
        assert reply.ok, await reply.text()
        page = await browsers.open_page(context, complaints, f"{server.url}/?model=rounds")
        await page.locator(".model-button").click()
        await page.get_by_role("combobox", name="Find a model").fill("rounds")
        await page.get_by_role("option", name="rounds").first.click()
        yield page
        assert complaints.faults == []


async def picture(page: Page, name: str) -> None:
    if folder := os.environ.get("OUI_SCREENSHOTS"):
        await page.screenshot(path=f"{folder}/{name}.png")


def spoken(base: str) -> dict[str, Any]:
    return {
        "audio.stt.engine": "openai", "audio.stt.openai.api_base_url": base, "audio.stt.openai.api_key": KEY,
        "audio.tts.engine": "openai", "audio.tts.openai.api_base_url": base, "audio.tts.openai.api_key": KEY,
    }  # fmt: skip


async def test_each_thing_that_is_said_is_a_question(server: Server, upstream: Upstream, tmp_path: Path) -> None:
    upstream.rounds_of = {
        "time": [[Text("It is noon. And it is"), Gate(), Text(" late."), Finish("stop")]],
        "Stop": [[Text("As you like."), Finish("stop")]],
    }
    async with speech_service() as service, phone(server, tmp_path, spoken(f"{service.url}/v1")) as page:
        service.heard = ["What is the time?", "Stop it"]
        async with page.expect_response("**/api/v1/audio/speech") as first:
            await page.get_by_role("button", name="Call", exact=True).click()
        assert (await first.value).ok
        call = page.get_by_role("dialog", name="Call with rounds")
        await expect(call.get_by_role("status")).to_have_text("What is the time?")
        await picture(page, "call")
        # Who speaks into the answer stops it, and is answered.
        await expect(call.get_by_role("status")).to_have_text("Stop it")
        await expect(page.locator(".message[data-role=assistant]").last).to_contain_text("As you like.")
        await call.get_by_role("button", name="Hang up").click()
        await expect(call).to_be_hidden()
        bubbles = await page.locator(".bubble").all_text_contents()
        assert bubbles[:2] == ["What is the time?", "Stop it"]
        await expect(page.locator(".message[data-role=assistant]").first).to_contain_text("It is noon. And it is")


async def test_a_realtime_model_hands_over_and_speaks_itself(
    server: Server, upstream: Upstream, tmp_path: Path
) -> None:
    upstream.rounds_of = {"time": [[Text("It is noon"), Finish("stop")]]}
    async with realtime_service() as service:
        service.understands = ["What is the time?", "Thank you"]
        config = {"audio.realtime.enabled": True, "audio.realtime.openai.api_base_url": f"{service.url}/v1",
                  "audio.realtime.openai.api_key": KEY}  # fmt: skip
        async with phone(server, tmp_path, config) as page:
            await page.get_by_role("button", name="Call", exact=True).click()
            call = page.get_by_role("dialog", name="Call with rounds")
            await service.until("conversation.item.create")
            service.delegates, service.says = False, "You are welcome, call again"
            await expect(call.get_by_text("Thank you")).to_be_visible()
            await expect(page.locator(".message[data-role=assistant]").last).to_contain_text("You are welcome")
            await call.get_by_role("button", name="Hang up").click()
            await service.until_closed()
            await expect(page.locator(".bubble").nth(1)).to_have_text("Thank you")
            await page.reload()
            await expect(page.locator(".message[data-role=assistant]").first).to_contain_text("It is noon")
            await expect(page.locator(".message[data-role=assistant]").last).to_contain_text("You are welcome")
