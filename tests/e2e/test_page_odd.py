"""The built-in page shows a chat whose messages hold what nobody expects: the one message may suffer, no other does."""

import json
import re
from typing import Any

import pytest
from playwright.async_api import Browser, Route, expect

from tests.support import browser as browsers
from tests.support.browser import Complaints
from tests.support.page import EMAIL, sign_up
from tests.support.server import Server

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]
FIELDS = (
    "content output statusHistory sources files followUps error meta model modelName models usage timestamp childrenIds done"
    " embeds code_executions annotation info merged user feedbackId"
).split()
KINDS: list[Any] = [
    None, "x", 7, True, {}, [], [None], ["x"], [7], [[]], [{}], {"length": 3}, {"a": {}},
    [{"source": {"name": {}, "url": 7}}], [{"type": "image", "url": {}, "name": []}], [{"description": {}, "hidden": []}],
    [{"type": "message", "content": 7}], [{"type": "reasoning", "summary": "x", "content": {}}],
    [{"type": "function_call", "name": {}, "arguments": []}, {"type": "function_call_output", "output": 7}],
]  # fmt: skip
CHAT = "00000000-0000-4000-8000-000000000001"


def odd_chat() -> dict[str, Any]:
    """One long path: a question and an answer for each field and kind, and a sound message at the end."""
    messages: dict[str, Any] = {}
    last: str | None = None

    def add(role: str, **fields: Any) -> None:
        nonlocal last
        new = f"m{len(messages)}"
        messages[new] = {"id": new, "role": role, "parentId": last, "content": f"said {new}", "done": True} | fields
        last = new

    for field in FIELDS:
        for kind in KINDS:
            add("user", **{field: kind})
            add("assistant", **{field: kind})
    add("user")
    add("assistant", content="sound to the end")
    return {"title": "Odd", "history": {"messages": messages, "currentId": last}}


async def test_each_message_stands_for_itself(browser: Browser, server: Server, complaints: Complaints) -> None:
    chat = odd_chat()
    count = len(chat["history"]["messages"])
    whole = {
        "id": CHAT, "user_id": "u", "title": "Odd", "chat": chat, "updated_at": 1, "created_at": 1, "share_id": None,
        "archived": False, "pinned": False, "meta": {}, "folder_id": None,
    }  # fmt: skip

    async def answer(route: Route) -> None:
        await route.fulfill(status=200, content_type="application/json", body=json.dumps(whole))

    context = await browser.new_context(viewport={"width": 1280, "height": 820})
    page = await browsers.open_page(context, complaints, server.url)
    await sign_up(page, "Ada Lovelace", EMAIL)
    await expect(page.get_by_role("heading", name="Hello, Ada")).to_be_visible()
    warned: list[str] = []
    page.on("console", lambda line: warned.append(line.text) if line.type == "warning" else None)
    await page.route(re.compile(rf"/api/v1/chats/{CHAT}$"), answer)
    await page.goto(f"{server.url}/c/{CHAT}")
    await expect(page.locator("article.message").last).to_contain_text("sound to the end")
    earlier = page.get_by_role("button", name="Show earlier messages")
    for _ in range(count // 40):
        await earlier.evaluate("(button) => button.click()")
    await expect(page.locator("article.message")).to_have_count(count)
    await expect(earlier).to_be_hidden()
    assert warned == [], "nothing had to be given up"
    texts = await page.locator("article.message").all_inner_texts()
    assert [text for text in texts if "[object" in text] == []
    # A content that is no text can't be said; what else is odd hides no words.
    silent = [n for n, text in enumerate(texts[:-2]) if f"said m{n}" not in text]
    assert {FIELDS[n // (2 * len(KINDS))] for n in silent} == {"content"}
    await context.close()
