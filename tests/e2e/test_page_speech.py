"""Speech on the built-in page: a microphone, an answer that is read aloud while it is written, and the settings."""

import pytest
from playwright.async_api import Request, expect

from tests.support.page import Visit, answer, running, settings
from tests.support.script import Finish, Gate, Text
from tests.support.speech_service import KEY, speech_service

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(180),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]


async def test_one_dictates_and_hears_the_answer_while_it_is_written(visit: Visit) -> None:
    page = visit.page
    async with speech_service() as service:
        config = {
            "audio.stt.engine": "openai", "audio.stt.openai.api_base_url": f"{service.url}/v1",
            "audio.stt.openai.api_key": KEY, "audio.tts.engine": "openai",
            "audio.tts.openai.api_base_url": f"{service.url}/v1", "audio.tts.openai.api_key": KEY,
        }  # fmt: skip
        reply = await visit.context.request.post(f"{visit.server.url}/api/v1/configs/import", data={"config": config})
        assert reply.ok
        await page.reload()
        # The browser plays a device that beeps; what is heard, the service says.
        dictate = page.get_by_role("button", name="Dictate", exact=True)
        await dictate.click()
        await expect(dictate).to_have_attribute("aria-pressed", "true")
        await dictate.click()
        await expect(page.get_by_label("Your message")).to_have_value("hello from the service")
        await expect(dictate).to_have_attribute("aria-pressed", "false")
        assert service.received[0][2]["file"][1][:4] == b"\x1aE\xdf\xa3"
        # The first sentence is spoken before the second is there.
        visit.upstream.rounds = [[Text("The first sentence. And"), Gate(), Text(" the second."), Finish("stop")]]
        await visit.say("Speak", "rounds")
        await expect(answer(page)).to_contain_text("The first sentence. And")
        spoken: list[str] = []

        def note(request: Request) -> None:
            if request.url.endswith("/api/v1/audio/speech"):
                spoken.append(request.post_data_json["input"])

        page.on("request", note)
        async with page.expect_response("**/api/v1/audio/speech") as first:
            await page.get_by_role("button", name="Read aloud", exact=True).click()
        assert (await first.value).ok
        assert spoken == ["The first sentence."]
        await expect(running(page)).to_have_count(1)
        async with page.expect_response("**/api/v1/audio/speech") as second:
            visit.upstream.release()
        assert (await second.value).ok
        assert spoken == ["The first sentence.", "And the second."]
        # It ends by itself.
        await expect(page.get_by_role("button", name="Read aloud", exact=True)).to_be_visible()
        await settings(page, "Audio")
        await page.get_by_role("combobox", name="Voice", exact=True).select_option("ada")
        await (
            page.locator("form", has=page.get_by_role("combobox", name="Voice", exact=True))
            .get_by_role("button", name="Save")
            .click()
        )
        await expect(page.get_by_text("Settings saved.", exact=True)).to_be_visible()
        form = page.locator("section.block", has=page.get_by_role("heading", name="Reading aloud", exact=True))
        await form.get_by_label("Who does it").select_option("espeak")
        await expect(form.get_by_label("Address", exact=True)).to_be_hidden()
        await form.get_by_role("button", name="Save").click()
        await expect(page.get_by_text("Open pages see them after a reload.")).to_be_visible()
        shown = await (await visit.context.request.get(f"{visit.server.url}/api/v1/audio/config")).json()
        assert (shown["tts"]["ENGINE"], shown["tts"]["OPENAI_API_KEY"], shown["stt"]["ENGINE"]) == (
            "espeak",
            KEY,
            "openai",
        )
