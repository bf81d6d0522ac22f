"""What the browser tests do in the built-in page again and again."""

import re
from dataclasses import dataclass
from typing import Any

from playwright.async_api import BrowserContext, Locator, Page, expect

from tests.support import browser as browsers
from tests.support.browser import Complaints
from tests.support.server import Server
from tests.support.upstream import Upstream

EMAIL = "ada@example.com"
BOB = "bob@example.com"
PASSWORD = "a long enough password"
# What a page complains about while its server is gone.
LOST = ("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE", "WebSocket connection")


def running(page: Page) -> Locator:
    return page.locator(".message[data-running], .waiting:visible")


def answer(page: Page) -> Locator:
    return page.locator(".message[data-role=assistant]").last.locator(".prose")


async def settings(page: Page, tab: str) -> None:
    """The settings dialog at one of its tabs."""
    await page.locator(".account").click()
    await page.get_by_role("menuitem", name="Settings").click()
    await page.get_by_role("tab", name=tab, exact=True).click()


async def add_person(page: Page, name: str, email: str, role: str) -> None:
    """A new account, from the tab People."""
    add = page.locator("form", has=page.get_by_role("button", name="Create account"))
    await add.get_by_label("Name").fill(name)
    await add.get_by_label("E-mail").fill(email)
    await add.get_by_label("Password").fill(PASSWORD)
    await add.get_by_label("Role").select_option(role)
    await add.get_by_role("button", name="Create account").click()
    await expect(page.get_by_text(re.compile("^2 people"))).to_be_visible()


async def sign_in(page: Page, email: str, password: str = PASSWORD) -> None:
    await page.get_by_label("E-mail").fill(email)
    await page.get_by_label("Password").fill(password)
    await page.keyboard.press("Enter")


async def sign_up(page: Page, name: str, email: str) -> None:
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("E-mail").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.keyboard.press("Enter")


async def signed_up(context: BrowserContext, server: Server, name: str, email: str) -> None:
    """A browser in which somebody has an account and is signed in, before it shows a page."""
    form = {"name": name, "email": email, "password": PASSWORD}
    assert (await context.request.post(f"{server.url}/api/v1/auths/signup", data=form)).ok


async def menu(page: Page, item: str) -> None:
    """One item of the menu of the open chat."""
    await page.locator(".topbar").get_by_label("Options for this chat").click()
    await page.get_by_role("menuitem", name=item).click()


@dataclass(frozen=True)
class Visit:
    """One browser at the server, signed in as the first account."""

    page: Page
    context: BrowserContext
    server: Server
    upstream: Upstream
    complaints: Complaints

    async def tab(self, path: str = "/") -> Page:
        """Another tab of the same browser."""
        return await browsers.open_page(self.context, self.complaints, self.server.url + path)

    async def choose(self, model: str) -> None:
        await self.page.locator(".model-button").click()
        await self.page.get_by_role("combobox", name="Find a model").fill(model)
        await self.page.get_by_role("option", name=re.compile(rf"^{model}")).first.click()
        await expect(self.page.locator(".model-name")).to_have_text(model)

    async def say(self, text: str, model: str | None = None) -> None:
        if model is not None:
            await self.choose(model)
        await self.page.get_by_label("Your message").fill(text)
        await self.page.keyboard.press("Enter")

    async def chat(self, text: str, model: str = "fixed") -> None:
        """A question and its whole answer."""
        await self.say(text, model)
        # What is waited for below is so of an earlier answer, too.
        await expect(self.page.locator(".bubble").last).to_have_text(text)
        await expect(running(self.page)).to_have_count(0)
        await expect(self.page).to_have_url(re.compile("/c/"))
        await expect(self.page.get_by_label("Copy answer").last).to_be_attached()


@dataclass(frozen=True)
class Pair:
    """Two people in two browsers: an administrator and somebody else."""

    ada: Page
    bob: Page
    server: Server
    complaints: Complaints

    async def api(self, page: Page, path: str, **body: Any) -> Any:
        """What the server answers to one of them; a POST where there is a body."""
        request, url = page.context.request, f"{self.server.url}/api/v1{path}"
        reply = await (request.post(url, data=body) if body else request.get(url))
        assert reply.ok, await reply.text()
        return await reply.json()
