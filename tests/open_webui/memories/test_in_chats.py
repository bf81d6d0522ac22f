"""Memories in answers: told where the person has them on, in the right place of the prompt; and the tools of models."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from open_webui.chat.context.memories import ABOUT, with_question
from open_webui.errors import BadRequest, Forbidden, NotFound
from tests.open_webui.builtin.test_builtin import CALLED, called, offered
from tests.open_webui.chat.page import Page, open_page
from tests.open_webui.chat.test_documents import FRUIT, put_file
from tests.open_webui.memories.test_memories import MEMORIES, add, texts
from tests.open_webui.models.test_workspace import form as model_form
from tests.open_webui.plugins.test_in_chats import results
from tests.open_webui.plugins.test_tools import say
from tests.support.live import Actor, Live
from tests.support.script import Finish, Text, ToolCall
from tests.support.upstream import Upstream

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
ON = {"memory": True}
TOOLS = {"search_memories", "list_memories", "add_memory", "replace_memory_content", "delete_memory"}
EVERYBODY = {"principal_type": "user", "principal_id": "*", "permission": "read"}


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]], connections: None, monkeypatch: pytest.MonkeyPatch) -> Live:
    monkeypatch.delenv("ENABLE_BUILTIN_TOOLS")
    return await make_live(bypass_model_access_control=True)


@pytest.fixture
async def page(live: Live, user: Actor) -> AsyncIterator[Page]:
    async with open_page(user.client, user.token) as opened:
        yield opened


async def answered(page: Page, text: str = "Hello", model: str = "fixed", **fields: Any) -> dict[str, Any]:
    body = page.ask(model, text, **{"features": ON} | fields)
    reply = await page.post(body)
    await page.idle(reply["chat_id"])
    return await page.message(reply["chat_id"], body["id"])


def asked(upstream: Upstream) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = upstream.chats[-1].body["messages"]
    return messages


async def test_what_fits_is_told_behind_the_system_prompt(page: Page, user: Actor, upstream: Upstream) -> None:
    await add(user, "Likes tea")
    await add(user, "Is called <b>Ann</b>\n& has a cat", type="user")
    message = await answered(page, params={"system": "Be kind."})
    system, question = asked(upstream)
    assert question == {"role": "user", "content": "Hello"}
    begin, _, rest = system["content"].partition("\n\n<memories>\n")
    assert (system["role"], begin) == ("system", "Be kind.")
    lines = rest.splitlines()
    assert lines[0] == ABOUT
    # By the second in which they were made.
    assert {line.partition(": ")[2] for line in lines[1:-1]} == {
        "Likes tea",
        "Is called &lt;b&gt;Ann&lt;/b&gt; &amp; has a cat",
    }
    assert lines[-1] == "</memories>"
    assert message["statusHistory"] == page.data("status")
    assert message["statusHistory"] == [
        {"action": "memories", "description": "2 memories were used", "count": 2, "done": True}
    ]


async def test_the_beginning_is_the_same_in_the_next_turn(page: Page, user: Actor, upstream: Upstream) -> None:
    """So that providers find it in their caches."""
    for n in range(5):
        await add(user, f"Fact {n}", type="user" if n % 2 else "context")
    body = page.ask("fixed", "One", features=ON)
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id)
    first = asked(upstream)
    page.events.clear()
    await page.post(page.ask("fixed", "Two", features=ON, chat_id=chat_id, parent_id=body["id"]))
    await page.idle(chat_id)
    assert asked(upstream)[: len(first)] == first


async def test_what_does_not_fit_is_searched_and_stands_with_the_question(
    live: Live, page: Page, user: Actor, upstream: Upstream
) -> None:
    await live.app.state.oui.save_config({"memories.context_char_limit": 60, "memories.user_char_limit": 30})
    await add(user, "Speaks French", type="user")
    await add(user, "x" * 31, type="user")
    for n in range(10):
        await add(user, f"Fact number {n} of many")
    await add(user, "Sails a dinghy named Otto")
    await add(user, f"The dinghy is old {'x' * 40}")
    file = await put_file(live, user, "f1", FRUIT)
    message = await answered(page, "Which fruit is in the dinghy?", files=[file])
    system, question = asked(upstream)
    assert "Speaks French" in system["content"]
    assert "xxx" not in str(asked(upstream))
    assert "Fact" not in str(asked(upstream))
    said = question["content"]
    assert said.startswith("<memories>\n")
    # With the passages of documents, and the question last.
    assert said.index("Sails a dinghy named Otto") < said.index("papaya") < said.index("Which fruit is in the dinghy?")
    assert message["statusHistory"][-1]["count"] == 2
    # Nothing that fits, nothing with the question.
    await answered(page, "Hello")
    assert asked(upstream)[1] == {"role": "user", "content": "Hello"}


async def test_an_answer_with_pictures_has_them_before(live: Live, page: Page, user: Actor, upstream: Upstream) -> None:
    await live.app.state.oui.save_config({"memories.context_char_limit": 30})
    await add(user, "Sails a dinghy named Otto")
    await add(user, "Something else entirely")
    messages = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]
    told = with_question("M", messages)
    assert told[0]["content"] == [{"type": "text", "text": "M"}, *messages[0]["content"]]
    assert with_question("M", [])[0] == {"role": "user", "content": "M"}
    await answered(page, "dinghy")
    assert asked(upstream)[0]["content"].endswith("dinghy")


async def test_where_nobody_wants_them(live: Live, page: Page, admin: Actor, user: Actor, upstream: Upstream) -> None:
    await add(user, "Likes tea")

    async def is_told(**fields: Any) -> bool:
        await answered(page, "tea", **fields)
        return "Likes tea" in str(asked(upstream))

    assert await is_told()
    for features in ({}, {"memory": False}, {"memory": "yes"}, {"memory": None}):
        assert not await is_told(features=features)
    # In a temporary chat.
    said = [{"role": "user", "content": "tea"}]
    await page.post(page.ask("fixed", "tea", features=ON, chat_id=f"temporary:{page.sid}", messages=said))
    await page.until(lambda p: bool(p.data("chat:completion")))
    assert "Likes tea" not in str(asked(upstream))
    assert not TOOLS & set(offered(upstream))
    # By the model's settings.
    meta = {"capabilities": {"memory": False}}
    body = model_form("sober", meta=meta, access_grants=[EVERYBODY])
    assert (await say(admin, "POST", "/api/v1/models/create", body))[0] == 200
    assert not await is_told(model="sober")
    assert not TOOLS & set(offered(upstream))
    # By the server's: out of prompts, or altogether.
    save = live.app.state.oui.save_config
    await save({"memories.system_context.enable": False})
    assert not await is_told()
    assert set(offered(upstream)) >= TOOLS
    await save({"memories.system_context.enable": True, "memories.enable": False})
    assert not await is_told()
    assert not TOOLS & set(offered(upstream))
    await save({"memories.enable": True, "memories.context_char_limit": 0})
    assert not await is_told()
    await save({"memories.context_char_limit": -5})
    assert not await is_told()
    # By a permission.
    tree = live.app.state.oui.config["user.permissions"]
    await save({"memories.context_char_limit": 2_000})
    assert await is_told()
    await save({"user.permissions": tree | {"features": tree["features"] | {"memories": False}}})
    assert not await is_told()
    assert not TOOLS & set(offered(upstream))


async def test_an_api_client_has_none(user: Actor, upstream: Upstream) -> None:
    await add(user, "Likes tea")
    body = {"model": "fixed", "messages": [{"role": "user", "content": "tea"}]}
    assert (await say(user, "POST", "/api/chat/completions", body))[0] == 200
    assert "Likes tea" not in str(asked(upstream))
    status, refused = await say(user, "POST", "/api/chat/completions", body | {"features": ON})
    assert (status, "'features.memory'" in refused["detail"]) == (400, True)


async def test_in_somebody_elses_chat_nobodys_are_told(
    page: Page, admin: Actor, user: Actor, other: Actor, upstream: Upstream
) -> None:
    """Its owner would read in the answer what is no business of theirs; and the owner's are not the asker's to use."""
    await add(user, "Owner likes tea")
    await add(other, "Guest likes tea")
    body = page.ask("fixed", "tea", features=ON)
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id)
    assert "Owner likes tea" in str(asked(upstream))
    assert "Guest" not in str(asked(upstream))
    assert (await say(user, "POST", f"/api/v1/chats/{chat_id}/share", {"share_mode": "continue"}))[0] == 200
    grant = {"principal_type": "user", "principal_id": other.id, "permission": "write"}
    given = {"access_grants": [grant]}
    await say(admin, "POST", "/api/v1/users/default/permissions", _everything(await _tree(admin)))
    assert (await say(user, "POST", f"/api/v1/chats/shared/{chat_id}/access/update", given))[0] == 200
    async with open_page(other.client, other.token) as guest:
        await guest.post(guest.ask("fixed", "tea", features=ON, chat_id=chat_id, parent_id=body["id"]))
        await guest.idle(chat_id)
    assert asked(upstream)[-1]["content"] == "tea"
    assert "likes tea" not in str(asked(upstream))
    assert not TOOLS & set(offered(upstream))


async def _tree(admin: Actor) -> dict[str, Any]:
    tree: dict[str, Any] = (await say(admin, "GET", "/api/v1/users/default/permissions"))[1]
    return tree


def _everything(tree: dict[str, Any]) -> dict[str, Any]:
    return {section: {name: name != "temporary_enforced" for name in entries} for section, entries in tree.items()}


async def test_a_model_remembers_and_looks_up(page: Page, user: Actor, upstream: Upstream) -> None:
    await add(user, "Likes tea")
    upstream.rounds = [
        [
            ToolCall("add_memory", ('{"content": "Has a cat named Tom", "type": "user", "path": "home"}',), "c1"),
            ToolCall("add_memory", ('{"content": " "}',), "c2"), CALLED,
        ],
        # In a round of its own: calls of one round run beside each other.
        [ToolCall("search_memories", ('{"query": "cat"}',), "c3"), CALLED],
        [Text("Noted."), Finish("stop")],
    ]  # fmt: skip
    message = await answered(page, "Remember my cat", "rounds")
    assert message["content"] == "Noted."
    made, refused, found = results(message)
    assert json.loads(made)["content"] == "Has a cat named Tom"
    assert [one["content"] for one in json.loads(found)["memories"]] == ["Has a cat named Tom"]
    assert "needs a text" in refused or "'content'" in refused
    assert set(offered(upstream)) >= TOOLS
    (row,) = (await say(user, "POST", f"{MEMORIES}/search", {"query": "cat"}))[1]
    assert (row["type"], row["path"], row["meta"]) == ("user", "home", {"created_by": "tool"})
    # Not where they were not switched on.
    upstream.rounds = [[Text("No."), Finish("stop")]]
    await answered(page, "Remember", "rounds", features={})
    assert not TOOLS & set(offered(upstream))


async def test_the_tools(live: Live, user: Actor, other: Actor) -> None:
    tea = await called(live, user, "add_memory", content="Likes green tea", path="home/drinks")
    assert list(tea) == ["id", "content", "type", "path", "created_at", "updated_at"]
    await called(live, user, "add_memory", content="Lives in Rome", type="user")
    theirs = await called(live, other, "add_memory", content="Hates tea")

    async def listed(**arguments: Any) -> list[str]:
        found = await called(live, user, "list_memories", **arguments)
        return sorted(one["content"] for one in found["memories"])

    assert await listed() == ["Likes green tea", "Lives in Rome"]
    assert await listed(type="user") == ["Lives in Rome"]
    assert await listed(type=5, count="many") == ["Likes green tea", "Lives in Rome"]
    assert await listed(path="/home/") == ["Likes green tea"]
    assert len(await listed(count=1)) == 1
    # By parts of words, too, where there are no vectors.
    for query in ("green", "gree", "What tea?"):
        found = await called(live, user, "search_memories", query=query)
        assert [one["content"] for one in found["memories"]] == ["Likes green tea"], query
    changed = await called(live, user, "replace_memory_content", memory_id=tea["id"], content="Likes coffee")
    assert (changed["content"], changed["path"]) == ("Likes coffee", "home/drinks")
    assert await called(live, user, "delete_memory", memory_id=tea["id"]) == {"deleted": tea["id"]}
    assert await texts(user) == ["Lives in Rome"]
    for memory_id in (tea["id"], theirs["id"], "x"):
        with pytest.raises(NotFound, match="no such memory"):
            await called(live, user, "delete_memory", memory_id=memory_id)
        with pytest.raises(NotFound, match="no such memory"):
            await called(live, user, "replace_memory_content", memory_id=memory_id, content="x")
    assert await texts(other) == ["Hates tea"]
    for name, arguments in (
        ("add_memory", {}), ("add_memory", {"content": 5}), ("add_memory", {"content": "x", "type": "odd"}),
        ("add_memory", {"content": " "}), ("add_memory", {"content": "x" * 2_001}), ("search_memories", {}),
        ("search_memories", {"query": " "}), ("replace_memory_content", {"memory_id": "x"}), ("delete_memory", {}),
        ("delete_memory", {"memory_id": 5}), ("list_memories", {"path": 5}),
    ):  # fmt: skip
        with pytest.raises(BadRequest):
            await called(live, user, name, **arguments)
    await live.app.state.oui.save_config({"memories.enable": False})
    with pytest.raises(Forbidden, match="switched off"):
        await called(live, user, "add_memory", content="x")
