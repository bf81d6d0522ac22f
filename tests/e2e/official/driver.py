"""Drives the official frontend as a person does: by what is to be seen and read on it."""

import contextlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from playwright.async_api import BrowserContext, Locator, Page, Response, expect
from playwright.async_api import TimeoutError as PlaywrightTimeout

from tests.support.browser import Complaints
from tests.support.server import Server
from tests.support.upstream import Upstream

# How often a text is typed, and milliseconds in which it is to stand there.
TRIES, STANDS = 10, 5_000
NAME, EMAIL, PASSWORD = "Ada Lovelace", "ada@example.com", "a long enough password"


async def typed(page: Page, field: Locator, text: str) -> None:
    """Types a text into an editor of the frontend, in place of a draft that is there.

    The frontend loses what comes before its editor is ready: so it is typed until it stands there.
    """
    for _ in range(TRIES):
        await field.click()
        await page.keyboard.press("Control+a")
        await page.keyboard.press("Delete")
        await page.keyboard.type(text)
        with contextlib.suppress(AssertionError):
            await expect(field).to_have_text(text, timeout=STANDS)
            return
    await expect(field).to_have_text(text)


async def asked_for(page: Page, path: str, act: Callable[[], Awaitable[None]]) -> Response:
    """The answer to what the frontend asks the server for when somebody does something: done again where it missed it."""
    for _ in range(TRIES):
        with contextlib.suppress(PlaywrightTimeout):
            async with page.expect_response(lambda r: r.url.endswith(path), timeout=4 * STANDS) as asked:
                await act()
            return await asked.value
    raise AssertionError(f"The frontend never asked for {path}.")


@dataclass(frozen=True)
class Frontend:
    """One tab of one browser at the server."""

    page: Page
    context: BrowserContext
    server: Server
    upstream: Upstream
    complaints: Complaints

    async def open(self, path: str = "/") -> None:
        await self.page.goto(self.server.url + path)

    async def request(self, method: str, path: str, body: Any) -> Any:
        """What the server answers this browser, asked besides the frontend."""
        reply = await self.context.request.fetch(self.server.url + path, method=method, data=body)
        assert reply.ok, await reply.text()
        return await reply.json()

    async def tab(self, path: str = "/") -> "Frontend":
        """Another tab of the same browser."""
        other = Frontend(await self.context.new_page(), self.context, self.server, self.upstream, self.complaints)
        self.complaints.listen(other.page)
        await other.open(path)
        return other

    async def settled(self) -> None:
        """Loads the page anew, to the last thing it asks for; what is under way later would find its token or chat gone."""
        async with self.page.expect_response(lambda reply: "/api/v1/skills/" in reply.url):
            await self.page.goto(self.server.url, wait_until="networkidle")

    # -- accounts

    async def sign_up(self) -> None:
        """Makes the first account and closes what greets it."""
        await self.open()
        # Whoever leaves this page while its video is still about to play leaves a listener behind that fails with each click.
        await self.page.wait_for_function(
            "() => [...document.querySelectorAll('video')].some((video) => video.currentTime > 0)"
        )
        await self.page.get_by_role("button", name="Get started").click()
        await self.page.get_by_label("Name").fill(NAME)
        await self.page.get_by_label("Email").fill(EMAIL)
        await self.page.locator("#password").fill(PASSWORD)
        await self.page.get_by_role("button", name="Create Admin Account").click()
        await self.page.get_by_role("button", name="Okay, Let's Go!").click()
        await expect(self.composer).to_be_visible()

    @property
    def user_menu(self) -> Locator:
        """What opens it, with the list of chats beside it or without."""
        return self.page.get_by_role("button", name=re.compile("User (Profile )?Menu", re.IGNORECASE))

    async def sign_out(self) -> None:
        await self.settled()
        await self.user_menu.click()
        await self.page.get_by_text("Sign Out").click()
        await expect(self.page.get_by_label("Email")).to_be_visible()

    async def sign_in(self, password: str = PASSWORD) -> None:
        await self.page.get_by_label("Email").fill(EMAIL)
        await self.page.locator("#password").fill(password)
        await self.page.get_by_role("button", name="Sign in").click()

    # -- a conversation

    @property
    def composer(self) -> Locator:
        return self.page.locator("#chat-input")

    @property
    def answer(self) -> Locator:
        """The text of the last answer."""
        return self.page.locator("#response-content-container").last

    @property
    def questions(self) -> Locator:
        return self.page.locator(".user-message")

    async def choose(self, model: str) -> None:
        await self.page.locator("#model-selector-model-button").click()
        await self.page.locator("#model-search-input").fill(model)
        await self.page.get_by_role("option", name=f"Select {model} model").click()
        await expect(self.page.get_by_label(f"Selected model: {model}")).to_be_visible()

    async def say(self, text: str, model: str | None = None) -> None:
        """Sends a message; with a model named, as the first of a new chat with it."""
        if model is not None:
            await self.open()
            await self.choose(model)
        await typed(self.page, self.composer, text)
        await self.page.keyboard.press("Enter")

    async def edit_question(self, text: str) -> None:
        """Rewrites the last question and sends it."""
        await self.questions.last.hover()
        await self.page.locator(".edit-user-message-button").last.click()
        await self.page.locator("textarea[id^=message-edit]").fill(text)
        await self.page.locator("#confirm-edit-message-button").click()

    async def stop(self) -> None:
        await self.page.get_by_role("button", name="Stop", exact=True).click()

    async def answered(self, text: str) -> None:
        """Waits until the last answer is over, and reads so."""
        await expect(self.answer).to_have_text(text)
        await expect(self.page.get_by_role("button", name="Regenerate").last).to_be_visible()
        await expect(self.page.get_by_role("button", name="Stop", exact=True)).to_have_count(0)

    async def chat_url(self) -> str:
        await expect(self.page).to_have_url(re.compile("/c/[0-9a-f-]{36}"))
        return self.page.url

    # -- the list of chats

    async def open_sidebar(self) -> None:
        await expect(self.composer).to_be_visible()
        if await self.page.get_by_label("Close Sidebar").count() == 0:
            await self.page.get_by_label("Open Sidebar").first.click()
        await expect(self.page.get_by_label("Close Sidebar")).to_be_visible()

    def listed(self, title: str) -> Locator:
        """The chat's entry in the list."""
        return self.page.locator("[data-sidebar-chat-id]").filter(has_text=title)

    async def do(self, title: str, action: str) -> None:
        """Chooses an action of a chat's menu in the list."""
        await self.listed(title).hover()
        await self.listed(title).get_by_role("button", name="Chat Menu").click()
        await self.page.get_by_role("menuitem", name=action, exact=True).click()
