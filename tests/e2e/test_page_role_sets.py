"""Role sets in the page: an administrator makes one, its holder looks after the people of a group, and it ends."""

from collections.abc import Callable

import pytest
from playwright.async_api import Browser, expect

from tests.support import browser as browsers
from tests.support.browser import Complaints
from tests.support.page import BOB, EMAIL, PASSWORD, settings, sign_in, sign_up
from tests.support.server import Server

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True),
]


async def test_a_role_set_from_its_making_to_its_end(
    browser: Browser, make_server: Callable[..., Server], database_url: str, complaints: Complaints
) -> None:
    # Each page begins by asking who is signed in.
    complaints.expect("401 ")
    server = make_server(DATABASE_URL=database_url).start()
    context = await browser.new_context()
    ada = await browsers.open_page(context, complaints, server.url)
    await sign_up(ada, "Ada Lovelace", EMAIL)
    await expect(ada.get_by_role("heading", name="Hello, Ada")).to_be_visible()
    ids = {}
    for name, email in (("Bob", BOB), ("Cleo", "cleo@example.com")):
        person = {"name": name, "email": email, "password": PASSWORD, "role": "user"}
        reply = await context.request.post(f"{server.url}/api/v1/auths/add", data=person)
        ids[name] = (await reply.json())["id"]
    made = await context.request.post(f"{server.url}/api/v1/groups/create", data={"name": "Crew", "description": ""})
    group = (await made.json())["id"]
    members = {"user_ids": [ids["Cleo"]]}
    assert (await context.request.post(f"{server.url}/api/v1/groups/id/{group}/users/add", data=members)).ok
    await settings(ada, "Role sets")
    await ada.get_by_role("button", name="Make a role set").click()
    form = ada.get_by_role("dialog", name="New role set")
    await form.get_by_label("Name").fill("Support lead")
    for right in ("See the people of its groups", "Let them wait", "Let them in"):
        await form.get_by_label(right).check()
    await form.get_by_role("group", name="For the people of").get_by_label("Crew").check()
    await form.get_by_label("Held by people").fill(BOB)
    await form.get_by_role("button", name="Save").click()
    row = ada.get_by_role("listitem").filter(has_text="Support lead")
    await expect(row).to_contain_text("for Crew")
    await expect(row).to_contain_text("held by 1 person")
    await ada.get_by_label("With whom Crew may share").select_option("groups")
    await expect(ada.get_by_text("Saved.").first).to_be_visible()
    # Bob sees Cleo, and lets her wait and in again.
    bob = await browsers.open_page(await browser.new_context(), complaints, server.url)
    await sign_in(bob, BOB)
    await settings(bob, "People")
    people = bob.get_by_role("listitem").filter(has_text="Cleo")
    await people.get_by_role("button", name="Let Cleo wait").click()
    await expect(people).to_contain_text("waiting")
    await people.get_by_role("button", name="Let Cleo in").click()
    await expect(people).not_to_contain_text("waiting")
    await expect(bob.get_by_role("tab", name="Audit record")).to_have_count(0)
    # It ends, and so does what Bob may do.
    await row.get_by_role("button", name="Remove Support lead").click()
    await ada.get_by_role("button", name="Remove", exact=True).click()
    await expect(ada.get_by_text("None yet.").first).to_be_visible()
    await people.get_by_role("button", name="Let Cleo wait").click()
    await expect(bob.get_by_role("alert").first).to_be_visible()
    for each in browser.contexts:
        await each.close()
