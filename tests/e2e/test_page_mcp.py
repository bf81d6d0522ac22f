"""Prompts and resources of MCP servers on the built-in page: chosen on `/` and `#`, asked for, filled in, and attached."""

import json
import sys
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.e2e.test_page_documents import chip
from tests.support.page import Visit

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(120),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]
ROOT = Path(__file__).resolve().parents[2]


async def test_a_prompt_and_a_resource(visit: Visit) -> None:
    page = visit.page
    program = {"command": sys.executable, "args": ["-m", "tests.support.mcp_odd", "fine"], "cwd": str(ROOT)}
    (visit.server.folder / "data" / "mcp.json").write_text(json.dumps({"mcpServers": {"fine": program}}))
    await page.reload()
    field = page.get_by_label("Your message")
    await field.click()
    await page.keyboard.type("/several")
    offered = page.get_by_role("listbox", name="Prompts").get_by_role("option")
    await expect(offered).to_have_count(1)
    await page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("who (needed)").fill("Ann")
    await dialog.get_by_role("button", name="Fill in").click()
    await expect(field).to_have_value("User: I am Ann.\n\nAssistant: Welcome.\n\nUser: -")
    await field.fill("")
    await page.keyboard.type("/pictured")
    await expect(offered).to_have_count(1)
    await page.keyboard.press("Enter")
    # What the server says is text on the page, also where it is HTML.
    await expect(field).to_have_value("odd://page:\n<h1>Hello</h1><script>alert(1)</script>\n\nLook.")
    await expect(page.get_by_role("list", name="Attachments").locator("img")).to_have_count(1)
    await field.fill("")
    await page.keyboard.type("#page.html")
    resources = page.get_by_role("listbox", name="Knowledge and files").get_by_role("option")
    await resources.filter(has_text="page.html").click()
    await expect(chip(page, "page.html")).to_contain_text("Ready")
