"""What is the asker's alone is no business of a chat's owner: in somebody else's chat no tool for it is offered or run."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from open_webui.services.builtin.rows import ROWS
from tests.open_webui.builtin.test_builtin import CALLED, offered
from tests.open_webui.chat.page import Page, open_page
from tests.open_webui.plugins.test_in_chats import results
from tests.open_webui.plugins.test_tools import say
from tests.support.live import Actor, Live
from tests.support.script import Finish, Text, ToolCall
from tests.support.upstream import Upstream

# Of each kind, with a call that would tell or change something.
KNOWLEDGE = {"knowledge": ("list_knowledge_bases", "{}")}
KINDS: dict[str, tuple[str, str]] = {
    "memory": ("list_memories", "{}"),
    "notes": ("search_notes", '{"query": "a"}'),
    "chats": ("search_chats", '{"query": "a"}'),
    "calendar": ("search_calendar_events", "{}"),
    "automations": ("list_automations", "{}"),
    "channels": ("search_channels", "{}"),
}
ON = {"memory": True}


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]], connections: None, monkeypatch: pytest.MonkeyPatch) -> Live:
    monkeypatch.delenv("ENABLE_BUILTIN_TOOLS")
    started = await make_live(bypass_model_access_control=True)
    await started.app.state.oui.save_config({"channels.enable": True})
    return started


async def shared(page: Page, live: Live, owner: Actor, guest: Actor) -> tuple[str, str]:
    """A chat of the owner's in which the guest may go on, and its answer."""
    state = live.app.state.oui
    tree = {section: dict.fromkeys(entries, True) for section, entries in state.config["user.permissions"].items()}
    tree["chat"]["temporary_enforced"] = False
    await state.save_config({"user.permissions": tree})
    body = page.ask("fixed", "Hello", features=ON)
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id)
    assert (await say(owner, "POST", f"/api/v1/chats/{chat_id}/share", {"share_mode": "continue"}))[0] == 200
    grants = [{"principal_type": "user", "principal_id": guest.id, "permission": p} for p in ("read", "write")]
    given = {"access_grants": grants}
    assert (await say(owner, "POST", f"/api/v1/chats/shared/{chat_id}/access/update", given))[0] == 200
    return chat_id, body["id"]


def test_all_that_is_private_is_of_a_kind_that_is_tried_here() -> None:
    assert {row.category for row in ROWS if row.private} == set(KINDS)
    # A kind is private as a whole.
    assert {row.name for row in ROWS if row.category in KINDS and not row.private} == set()


@pytest.mark.parametrize("kind", [*KINDS, *KNOWLEDGE])
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_it_is_withheld_in_somebody_elses_chat(
    kind: str, live: Live, user: Actor, other: Actor, upstream: Upstream
) -> None:
    names = {row.name for row in ROWS if row.category == kind}
    tool, arguments = (KINDS | KNOWLEDGE)[kind]
    async with open_page(user.client, user.token) as page, open_page(other.client, other.token) as guest:
        chat_id, answer_id = await shared(page, live, user, other)
        upstream.rounds = [[ToolCall(tool, (arguments,), "c1"), CALLED], [Text("So."), Finish("stop")]] * 2
        visit: dict[str, Any] = guest.ask("rounds", "And now?", features=ON, chat_id=chat_id, parent_id=answer_id)
        await guest.post(visit)
        await guest.idle(chat_id)
        assert not names & set(offered(upstream))
        assert "get_current_timestamp" in offered(upstream)
        # A model that calls it all the same hears that it is not there.
        (said,) = results(await page.message(chat_id, visit["id"]))
        assert tool in said
        assert "no tool" in said.lower()
        # In a chat of one's own they are all there, for the same person.
        own = guest.ask("rounds", "And here?", features=ON)
        own_id = (await guest.post(own))["chat_id"]
        await guest.idle(own_id)
        assert names <= set(offered(upstream))
        (found,) = results(await guest.message(own_id, own["id"]))
        assert found.startswith(("{", "["))
