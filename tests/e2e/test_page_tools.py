"""Tools and functions on the built-in page: written, switched on, asked before they run, and what they show."""

import asyncio
import os
import re

import pytest
from playwright.async_api import Page, expect

from tests.support.page import Visit, answer, running, settings
from tests.support.script import Finish, Text, ToolCall
from tests.support.terminal_server import KEY as TERMINAL_KEY
from tests.support.terminal_server import open_terminal_server

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(180),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]
CALLED = Finish("tool_calls")
SKY = '''"""
title: Sky
description: Tells of the sky
"""
from pydantic import BaseModel, Field
from fastapi.responses import HTMLResponse


class Tools:
    class Valves(BaseModel):
        unit: str = Field(default="C", description="C or F")

    def __init__(self):
        self.valves = self.Valves()

    async def weather(self, city: str) -> str:
        """
        The weather of a city.
        :param city: Which city
        """
        return f"20 {self.valves.unit} in {city}"

    async def chart(self) -> HTMLResponse:
        """
        Draws the week.
        """
        page = "<p id=week>A sunny week</p><script>document.title; week.dataset.drawn = 'yes';"
        page += "try { parent.document.title = 'taken' } catch { week.dataset.fenced = 'yes' }</script>"
        return HTMLResponse(page, headers={"content-disposition": "inline"})

    async def asks(self, __event_call__=None) -> str:
        """
        Asks the person.
        """
        name = await __event_call__({"type": "input", "data": {"title": "Who?", "message": "A name", "placeholder": "Ada"}})
        seen = await __event_call__({"type": "execute", "data": {"code": "return 6 * 7"}})
        return f"{name} and {seen}"
'''
LOUD = """class Filter:
    def __init__(self):
        self.toggle = True

    def inlet(self, body):
        body["messages"][-1]["content"] += " Loudly."
        return body
"""
LISTENER = """class Event:
    async def event(self, event, __event_name__=None):
        raise ValueError(f"no {__event_name__}")
"""
DIALOG = "dialog.question-dialog"


async def shot(page: Page, name: str) -> None:
    """A picture to be looked at, where PICTURES names a folder."""
    if folder := os.environ.get("PICTURES"):
        await page.screenshot(path=f"{folder}/{name}.png")


async def write(page: Page, tab: str, what: str, name: str, content: str) -> None:
    await settings(page, tab)
    await page.get_by_role("button", name=f"Write a {what}").click()
    await page.get_by_label("Python").fill(content)
    await page.get_by_label("Name", exact=True).fill(name)
    await expect(page.get_by_label("Id", exact=True)).to_have_value(name.lower())
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_role("heading", name="Versions")).to_be_visible()


async def switch_on(page: Page, name: str) -> None:
    await page.get_by_role("button", name="Tools", exact=True).click()
    await page.get_by_role("switch", name=name).click()
    await page.keyboard.press("Escape")


async def answered(page: Page) -> None:
    await expect(page.get_by_label("Copy answer").last).to_be_attached()
    await expect(running(page)).to_have_count(0)


async def test_a_tool_is_written_switched_on_and_called(visit: Visit) -> None:
    page = visit.page
    await expect(page.get_by_role("button", name="Tools", exact=True)).to_be_hidden()
    await settings(page, "Tools")
    await page.get_by_role("button", name="Write a tool").click()
    # What can't be saved says why, and in which line.
    await page.get_by_label("Python").fill("class Tools:\n    def broken(:\n")
    await expect(page.get_by_label("What the check found")).to_contain_text("(line 2)")
    await page.get_by_label("Name", exact=True).fill("Sky")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_role("alert")).to_contain_text("(line 2)")
    await shot(page, "refused")
    # What was not saved is there again.
    await page.get_by_role("dialog", name="Settings").get_by_label("Close").click()
    await settings(page, "Tools")
    await page.get_by_role("button", name="Write a tool").click()
    await expect(page.get_by_label("Python")).to_have_value(re.compile("def broken"))
    await page.get_by_label("Python").fill(SKY)
    await expect(page.get_by_label("Name", exact=True)).to_have_value("Sky")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_role("heading", name="Versions")).to_be_visible()
    await shot(page, "written")
    await page.get_by_label("Unit").fill("F")
    await page.get_by_role("button", name="Save settings").click()
    await expect(page.get_by_text("Settings saved.")).to_be_visible()
    # A second version, compared and taken back.
    await page.get_by_label("Python").fill(SKY.replace("The weather of", "The climate of"))
    await page.get_by_role("button", name="Save", exact=True).click()
    await page.get_by_role("button", name="Compare").click()
    await expect(page.locator(".diff")).to_contain_text("The climate of")
    await shot(page, "compared")
    await page.get_by_role("button", name="Restore the earlier one").click()
    await expect(page.get_by_label("Python")).to_have_value(re.compile("The weather of"))
    await page.keyboard.press("Escape")
    await switch_on(page, "Sky")
    visit.upstream.rounds = [
        [ToolCall("weather", ('{"city": "Rome"}',), "c1"), ToolCall("chart", ("{}",), "c2"), CALLED],
        [Text("Warm."), Finish("stop")],
    ]
    await visit.say("How is the weather?", "rounds")
    await expect(answer(page)).to_have_text("Warm.")
    await answered(page)
    call = page.locator(".call").first
    await call.locator("summary").click()
    await expect(call).to_contain_text("20 F in Rome")
    week = page.frame_locator(".embed iframe").locator("#week")
    await expect(week).to_have_attribute("data-drawn", "yes")
    await expect(week).to_have_attribute("data-fenced", "yes")
    # The frame tells its height when it has drawn.
    height = "document.querySelector('.embed iframe').offsetHeight"
    await page.wait_for_function(f"30 < {height} && {height} < 100")
    await shot(page, "called")
    # The choice stays with the chat, and is no other chat's.
    await page.reload()
    await expect(page.get_by_role("button", name="Tools", exact=True)).to_have_attribute("data-set", "")
    await page.keyboard.press("Control+Shift+O")
    await expect(page.get_by_role("button", name="Tools", exact=True)).not_to_have_attribute("data-set", "")


async def test_a_person_is_asked_before_tools_run(visit: Visit) -> None:
    page = visit.page
    await write(page, "Tools", "tool", "Sky", SKY)
    await page.keyboard.press("Escape")
    await switch_on(page, "Sky")
    await page.get_by_label("Prompt and parameters").click()
    await page.get_by_label("Before a tool runs").select_option("Ask me")
    await page.get_by_role("button", name="Save", exact=True).click()
    weather = [ToolCall("weather", ('{"city": "Rome"}',), "c1"), CALLED]
    visit.upstream.rounds = [weather, [Text("Well."), Finish("stop")]]
    await visit.say("How is the weather?", "rounds")
    asked = page.locator(DIALOG)
    await expect(asked).to_contain_text("Rome")
    await expect(asked.get_by_role("button", name="Don’t run")).to_be_focused()
    await shot(page, "asked")
    await asked.get_by_role("button", name="Don’t run").click()
    await answered(page)
    await expect(page.locator(".call")).not_to_contain_text("20 C in Rome")
    await visit.say("And now?")
    await asked.get_by_role("button", name="Always in this chat").click()
    await answered(page)
    await expect(page.locator(".call").last).to_contain_text("20 C in Rome")
    # From now on nothing is asked about this tool; it is about others, and what a tool itself asks is.
    both = [ToolCall("weather", ('{"city": "Oslo"}',), "c2"), ToolCall("asks", ("{}",), "c3"), CALLED]
    visit.upstream.rounds = [both, [Text("Good."), Finish("stop")]]
    await visit.say("Who is there?")
    await expect(asked).to_contain_text("asks")
    await asked.get_by_role("button", name="Run once").click()
    await asked.get_by_label("A name").fill("Grace")
    await page.keyboard.press("Enter")
    await expect(asked).to_contain_text("return 6 * 7")
    await shot(page, "execute")
    await asked.get_by_role("button", name="Run it").click()
    await answered(page)
    await expect(page.locator(".call").last).to_contain_text("Grace and 42")
    # What was said is listed, and can be forgotten; what may never run is refused unasked.
    await page.get_by_label("Prompt and parameters").click()
    await expect(page.get_by_role("dialog")).to_contain_text("run without asking in this chat")
    await shot(page, "approvals")
    await page.get_by_role("button", name="Forget what was said of weather").click()
    await expect(page.get_by_role("dialog")).not_to_contain_text("run without asking in this chat")
    await page.keyboard.press("Escape")
    visit.upstream.rounds = [weather, weather, [Text("No."), Finish("stop")]]
    await visit.say("And the weather?")
    await asked.get_by_role("button", name="Never in this chat").click()
    await answered(page)
    await expect(page.locator(".call").last).to_contain_text("does not want 'weather' to be called")


@pytest.fixture
def built_in(connections: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are offered the built-in tools."""
    monkeypatch.delenv("ENABLE_BUILTIN_TOOLS")


async def test_a_model_shows_its_steps_and_asks_the_person(built_in: None, visit: Visit) -> None:
    page = visit.page
    tasks = '{"tasks": [{"id": "a", "content": "Ask"}, {"id": "b", "content": "Write"}]}'
    questions = (
        '{"questions": [{"id": "q", "question": "Which colour?", "options": [{"label": "Red", "description": "warm"},'
        ' {"label": "Blue"}]}, {"id": "r", "question": "For whom?"}]}'
    )
    visit.upstream.rounds = [
        [ToolCall("create_tasks", (tasks,), "c1"), CALLED],
        [ToolCall("ask_user", (questions,), "c2"), CALLED],
        [ToolCall("update_task", ('{"id": "a", "status": "completed"}',), "c3"), CALLED],
        [Text("Thanks."), Finish("stop")],
    ]
    await visit.say("Paint it", "rounds")
    asked = page.locator(DIALOG)
    await expect(asked.get_by_label("Red")).to_be_focused()
    # The questions wait for a page that is loaded anew.
    await page.reload()
    await page.get_by_role("button", name="Answer", exact=True).click()
    await asked.get_by_label("Blue").check()
    await asked.get_by_role("button", name="Answer", exact=True).click()
    await expect(asked.get_by_label("An answer of your own").last).to_be_focused()
    await page.keyboard.type("Grace")
    await shot(page, "questions")
    await page.keyboard.press("Enter")
    await answered(page)
    await expect(page.locator(".call").nth(1)).to_contain_text("Grace")
    await expect(page.locator(".call").nth(1)).to_contain_text("Blue")
    await expect(page.locator("details.tasks")).to_contain_text("1 of 2 steps done")
    await shot(page, "tasks")
    await page.reload()
    await expect(page.locator("details.tasks")).to_contain_text("Write")


async def test_a_filter_is_written_and_switched_on(visit: Visit) -> None:
    page = visit.page
    await write(page, "Functions", "function", "Loud", LOUD)
    async with page.expect_response(re.compile("/toggle$")):
        await page.get_by_role("switch", name="Loud is on").click()
    async with page.expect_response(re.compile("/toggle/global$")):
        await page.get_by_role("switch", name="For all models").click()
    await shot(page, "function")
    await page.get_by_role("button", name="All functions").click()
    await expect(page.get_by_role("switch", name="Loud is on")).to_be_checked()
    await page.keyboard.press("Escape")
    await visit.chat("Say it.", "echo")
    await expect(answer(page)).to_have_text("Say it.")
    await switch_on(page, "Loud")
    await visit.say("Say it again.", "echo")
    await expect(answer(page)).to_have_text("Say it again. Loudly.")


async def test_a_terminal_is_set_up_and_chosen(visit: Visit) -> None:
    page = visit.page
    async with open_terminal_server() as terminal:
        await settings(page, "Terminals")
        await page.get_by_role("button", name="Add a terminal server").click()
        await page.get_by_label("Address").fill(terminal.url)
        await page.get_by_label("Name", exact=True).fill("Workshop")
        await page.get_by_role("textbox", name="Key").fill(TERMINAL_KEY)
        await page.get_by_role("button", name="Test").click()
        await expect(page.get_by_text("It answers.")).to_be_visible()
        await shot(page, "terminals")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.get_by_text("Terminal servers saved.")).to_be_visible()
        await page.keyboard.press("Escape")
        await page.get_by_role("button", name="Tools", exact=True).click()
        await page.get_by_role("radio", name="Workshop").check()
        await shot(page, "terminal-chosen")
        await page.keyboard.press("Escape")
        visit.upstream.rounds = [
            [ToolCall("run_command", ('{"command": "hello"}',), "c1"), CALLED],
            [Text("Done."), Finish("stop")],
        ]
        await visit.say("Say hello there", "rounds")
        await expect(answer(page)).to_have_text("Done.")
        await answered(page)
        assert len(terminal.asked("/execute")) == 1


async def test_a_function_is_copied_and_says_what_failed(visit: Visit) -> None:
    page = visit.page
    await write(page, "Functions", "function", "Listener", LISTENER)
    await page.get_by_role("switch", name="Listener is on").click()
    await expect(page.get_by_role("switch", name="Listener is on")).to_be_checked()
    await page.get_by_role("button", name="Make a copy of this function").click()
    await expect(page.get_by_label("Id", exact=True)).to_have_value("listener_clone")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_role("heading", name="Versions")).to_be_visible()
    await page.get_by_role("button", name="All functions").click()
    await expect(page.get_by_role("button", name="Listener (copy)")).to_be_visible()
    told = "async () => (await (await fetch('/api/v1/plugins/events')).json()).failures.length"
    async with asyncio.timeout(60):
        # Its process starts with the first event.
        while not await page.evaluate(told):
            pass
    await page.get_by_role("button", name="Listener event", exact=True).click()
    await expect(page.get_by_text("no function.enabled")).to_be_visible()
    await shot(page, "events")
