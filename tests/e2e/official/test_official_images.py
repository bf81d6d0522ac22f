"""The unmodified official frontend's pictures: made in a chat and in its playground, changed, and their settings."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.e2e.official.driver import Frontend
from tests.support.engines import Engines, engines
from tests.support.pictures import png
from tests.support.script import Finish, Text, ToolCall

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("official")]
CONFIG = "/api/v1/images/config"
ENGINES = ("openai", "comfyui", "automatic1111", "gemini")
# What the frontend adds to the rows of ComfyUI's nodes: the kinds that there are, without a node.
FILLED_IN = {"COMFYUI_WORKFLOW_NODES", "IMAGES_EDIT_COMFYUI_WORKFLOW_NODES"}


@pytest_asyncio.fixture(loop_scope="session")
async def engine() -> AsyncIterator[Engines]:
    async with engines() as played:
        yield played


@pytest_asyncio.fixture(loop_scope="session")
async def drawing(frontend: Frontend, engine: Engines) -> AsyncIterator[Frontend]:
    """The frontend at a server that makes and changes pictures; afterwards its settings are as they were."""
    before = await frontend.request("GET", CONFIG, None)
    set_up: dict[str, Any] = {
        "ENABLE_IMAGE_GENERATION": True, "IMAGE_GENERATION_ENGINE": "openai", "IMAGE_GENERATION_MODEL": "m",
        "ENABLE_IMAGE_EDIT": True, "IMAGE_EDIT_ENGINE": "openai", "IMAGE_EDIT_MODEL": "m", "AUTOMATIC1111_BASE_URL": engine.url,
    }  # fmt: skip
    for area in ("IMAGES_", "IMAGES_EDIT_"):
        for name in ("OPENAI", "GEMINI"):
            set_up |= {f"{area}{name}_API_BASE_URL": engine.url, f"{area}{name}_API_KEY": "k"}
    set_up |= {"COMFYUI_BASE_URL": engine.url, "IMAGES_EDIT_COMFYUI_BASE_URL": engine.url}
    await frontend.request("POST", f"{CONFIG}/update", before | set_up)
    yield frontend
    await frontend.request("POST", f"{CONFIG}/update", before)
    await frontend.settled()


async def are_seen(page: Page, count: int) -> None:
    """Waits until the chat shows so many pictures, whole."""
    await expect(page.locator("img[src*='/files/']")).to_have_count(count)
    await page.wait_for_function(
        "() => [...document.querySelectorAll(\"img[src*='/files/']\")].every((i) => i.complete && i.naturalWidth > 0)"
    )


async def begin(frontend: Frontend, tool: str, prompt: str) -> None:
    """A chat with a model that calls a tool once, and the composer's switch for pictures on."""
    call = ToolCall(tool, (json.dumps({"prompt": prompt}),), "c1")
    frontend.upstream.rounds = [[call, Finish("tool_calls")], [Text("Here it is."), Finish("stop")]]
    await frontend.open()
    await frontend.choose("rounds")
    await frontend.page.get_by_role("button", name="Integrations").click()
    switch = frontend.page.get_by_role("menuitemcheckbox", name="Image")
    if await switch.get_attribute("aria-checked") == "false":
        await switch.click()
    await expect(switch).to_have_attribute("aria-checked", "true")
    await frontend.page.keyboard.press("Escape")


async def test_a_picture_is_made_in_a_chat_and_is_there_after_a_reload(drawing: Frontend, engine: Engines) -> None:
    page = drawing.page
    await begin(drawing, "generate_image", "A cat")
    await drawing.say("Draw a cat")
    await expect(drawing.answer).to_contain_text("Here it is.")
    await are_seen(page, 1)
    await drawing.chat_url()
    assert [body["prompt"] for body in engine.bodies("/images/generations")] == ["A cat"]
    await page.reload()
    await are_seen(page, 1)
    await drawing.complaints.silence()


async def test_a_picture_that_is_attached_is_changed(drawing: Frontend, engine: Engines, tmp_path: Path) -> None:
    page, file = drawing.page, tmp_path / "cat.png"
    file.write_bytes(png(7))
    await begin(drawing, "edit_image", "A hat")
    await page.locator("input[type=file]").first.set_input_files(file)
    await are_seen(page, 1)
    await drawing.say("Give it a hat")
    await expect(drawing.answer).to_contain_text("Here it is.")
    await are_seen(page, 2)
    (form,) = engine.bodies("/images/edits")
    assert [value for name, value in form if name.startswith("image")] == [png(7)]
    await drawing.complaints.silence()


async def test_the_playground_makes_and_changes_pictures(drawing: Frontend, engine: Engines, tmp_path: Path) -> None:
    page, file = drawing.page, tmp_path / "dog.png"
    made = page.locator("#images-container img")
    await drawing.open("/playground/images")
    await page.locator("textarea").first.fill("A dog")
    await page.get_by_role("button", name="Run").click()
    await expect(made).to_have_count(1)
    file.write_bytes(png(8))
    await page.locator("input[type=file]").first.set_input_files(file)
    await expect(page.get_by_role("button", name="Remove image")).to_have_count(1)
    await page.get_by_role("button", name="Run").click()
    await expect(made).to_have_count(2)
    assert engine.paths() == ["/images/generations", "/images/edits"]
    await drawing.complaints.silence()


@pytest.mark.parametrize("name", ENGINES)
async def test_the_settings_are_saved_as_they_are_and_work_then(drawing: Frontend, engine: Engines, name: str) -> None:
    given = await drawing.request("GET", CONFIG, None)
    # The frontend offers no changing by Automatic1111.
    other = "openai" if name == "automatic1111" else name
    chosen = given | {"IMAGE_GENERATION_ENGINE": name, "IMAGE_EDIT_ENGINE": other}
    before = await drawing.request("POST", f"{CONFIG}/update", chosen)
    await drawing.open("/?settings=admin:images")
    dialog = drawing.page.get_by_role("dialog")
    await expect(dialog.get_by_text("Image Generation Engine")).to_be_visible()
    await drawing.complaints.silence()
    async with drawing.page.expect_response(lambda r: r.url.endswith(f"{CONFIG}/update")) as saved:
        await dialog.get_by_role("button", name="Save", exact=True).first.click()
    assert (await saved.value).ok
    await drawing.complaints.silence()
    after = await drawing.request("GET", CONFIG, None)
    assert {key for key in before if before[key] != after[key]} <= FILLED_IN
    made = await drawing.request("POST", "/api/v1/images/generations", {"prompt": "A cat"})
    assert len(made) == 1
    assert "A cat" in json.dumps([body for _, body in engine.asked])
