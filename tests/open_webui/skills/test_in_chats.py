"""Skills in answers: told by name to models that can read them, told whole to others, and only those that one may use."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from open_webui.errors import OuiError
from open_webui.services.builtin import skills as tools
from open_webui.services.builtin.rows import ROWS
from tests.open_webui.builtin.test_builtin import CALLED, called, offered
from tests.open_webui.chat.page import Page, open_page
from tests.open_webui.models.test_workspace import form as model_form
from tests.open_webui.plugins.test_facades import ask
from tests.open_webui.plugins.test_in_chats import answered, results
from tests.open_webui.plugins.test_tools import say
from tests.open_webui.skills.test_skills import FILES, ONE, create
from tests.support.live import Actor, Live
from tests.support.script import Finish, Text, ToolCall
from tests.support.upstream import Upstream

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
EVERYBODY = {"principal_type": "user", "principal_id": "*", "permission": "read"}
TOLD = (
    "<available_skills>\n<skill>\n<id>baking</id>\n<name>Baking</name>\n<description>How bread is made</description>\n</skill>\n"
    "</available_skills>"
)
READING = {"view_skill", "read_skill_file", "grep_skill_files"}
WRITING = {"create_skill", "update_skill_files"}


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]], connections: None, monkeypatch: pytest.MonkeyPatch) -> Live:
    monkeypatch.delenv("ENABLE_BUILTIN_TOOLS")
    return await make_live(bypass_model_access_control=True)


@pytest.fixture
async def page(live: Live, user: Actor) -> AsyncIterator[Page]:
    async with open_page(user.client, user.token) as opened:
        yield opened


@pytest.fixture
async def skill(admin: Actor) -> dict[str, Any]:
    """One of an admin's for everybody."""
    return await create(admin, content=None, files=FILES, access_grants=[EVERYBODY])


def system(upstream: Upstream) -> str | None:
    first = upstream.chats[-1].body["messages"][0]
    return first["content"] if first["role"] == "system" else None


@pytest.mark.usefixtures("skill")
async def test_a_model_reads_a_skill_that_was_chosen(page: Page, upstream: Upstream) -> None:
    upstream.rounds = [
        [
            ToolCall("view_skill", ('{"id": "baking"}',), "c1"),
            ToolCall("read_skill_file", ('{"id": "baking", "path": "doughs/rye.md"}',), "c2"), CALLED,
        ],
        [Text("Baked."), Finish("stop")],
    ]  # fmt: skip
    message = await answered(page, "rounds", skill_ids=["baking"])
    assert message["content"] == "Baked."
    seen, file = map(json.loads, results(message))
    assert (seen["content"], [one["path"] for one in seen["files"]]) == (
        "# Bake",
        ["SKILL.md", "doughs/rye.md", "oven.png"],
    )
    assert file == {"path": "doughs/rye.md", "content": "Rye\nand water"}
    assert system(upstream) == TOLD
    assert set(offered(upstream)) >= READING
    # Nothing of it without a choice.
    await answered(page, "fixed")
    assert system(upstream) is None
    assert not READING & set(offered(upstream))


@pytest.mark.usefixtures("skill")
async def test_a_model_that_calls_nothing_has_the_text(page: Page, upstream: Upstream) -> None:
    params = {"function_calling": "legacy", "system": "Be kind."}
    await answered(page, "fixed", skill_ids=["baking"], params=params)
    said = system(upstream) or ""
    assert said.startswith("Be kind.\n\n<skills>")
    assert "<content>\n# Bake\n</content>" in said
    assert "tools" not in upstream.chats[-1].body
    # One that refuses tools is asked again, with the text in place of the name.
    upstream.refuses = "tools"
    await answered(page, "fixed", skill_ids=["baking"], params={"system": "Be kind."})
    first, again = upstream.chats[-2:]
    assert first.body["messages"][0]["content"] == f"Be kind.\n\n{TOLD}"
    assert again.body["messages"][0]["content"] == said


@pytest.mark.usefixtures("skill")
async def test_those_of_the_model(page: Page, admin: Actor, upstream: Upstream) -> None:
    """The model's own come along. What is gone, off or somebody else's is left out there, and told where it was chosen."""
    await create(admin, "private")
    meta = {"skillIds": ["none", "private", "baking", 7], "builtinTools": {"time": False}}
    body = model_form("baker", meta=meta, access_grants=[EVERYBODY])
    assert (await say(admin, "POST", "/api/v1/models/create", body))[0] == 200
    listed = (await say(admin, "GET", "/api/models"))[1]["data"]
    (baker,) = [one for one in listed if one["id"] == "baker"]
    assert baker["info"]["meta"]["skillIds"] == meta["skillIds"]
    await answered(page, "baker")
    assert TOLD in (system(upstream) or "")
    await say(admin, "POST", f"{ONE}/toggle")
    await answered(page, "baker")
    assert "skill" not in (system(upstream) or "")
    before = len(upstream.chats)
    for one in ("baking", "private", "none"):
        message = await answered(page, "fixed", skill_ids=[one])
        assert f"The skill '{one}' can't be used" in message["error"]["content"]
    assert len(upstream.chats) == before


@pytest.mark.usefixtures("skill")
async def test_an_api_client(user: Actor, upstream: Upstream) -> None:
    said = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    body = {"model": "fixed", "messages": said, "skill_ids": ["baking"]}
    assert (await say(user, "POST", "/api/chat/completions", body))[0] == 200
    sent = upstream.chats[-1].body
    assert sent["messages"][0]["content"].startswith("Be kind.\n\n<skills>")
    assert (sent["messages"][1:], "skill_ids" in sent) == (said[1:], False)
    status, refused = await say(user, "POST", "/api/chat/completions", body | {"skill_ids": ["none"]})
    assert (status, "'none' can't be used" in refused["detail"]) == (404, True)


async def test_what_is_no_list_of_skills(page: Page, user: Actor) -> None:
    for bad in ("baking", [1], [["a"]], {"a": 1}, ["x" * 300]):
        reply = await user.client.post("/api/chat/completions", json=page.ask("fixed", "Hi", skill_ids=bad))
        assert reply.status_code == 400, bad


@pytest.mark.usefixtures("skill")
async def test_what_the_tools_find(live: Live, user: Actor, admin: Actor) -> None:
    found = await called(live, user, "grep_skill_files", id="baking", pattern="WATER|bake")
    assert [(one["path"], one["line"]) for one in found["lines"]] == [("SKILL.md", 1), ("doughs/rye.md", 2)]
    below = await called(live, user, "grep_skill_files", id="baking", pattern="water", path="doughs/", max_results=1)
    assert below["count"] == 1
    exact = await called(live, user, "grep_skill_files", id="baking", pattern="WATER", case_insensitive=False)
    assert exact == {"count": 0, "lines": []}
    part = await called(live, user, "read_skill_file", id="baking", path="doughs/rye.md", offset=4, max_chars=3)
    assert (part["content"], part["total_chars"], part["next_offset"]) == ("and", 13, 7)
    await create(admin, "private")
    for wrong in (
        {"id": "private"}, {"id": "none"}, {"id": "x\x00"}, {"id": 7}, {"id": "baking", "path": "../x"},
        {"id": "baking", "path": "oven.png"}, {"id": "baking", "path": 10**30},
    ):  # fmt: skip
        with pytest.raises(Exception, match=r"skill|file|should be a text|no text"):
            await called(live, user, "read_skill_file", **({"path": "SKILL.md"} | wrong))
    assert {row.name for row in ROWS if row.category == "skills"} == READING | WRITING
    assert tools.GONE


async def test_a_model_makes_and_changes_one_for_who_may(
    live: Live, page: Page, admin: Actor, user: Actor, upstream: Upstream
) -> None:
    files = [{"path": "notes/salt.md", "content": "Two spoons"}]
    made = await called(live, admin, "create_skill", id="soup", name="Soup", content="# Boil", files=files)
    assert (made["id"], made["name"]) == ("soup", "Soup")
    operations = [
        {"op": "put", "path": "SKILL.md", "content": "# Simmer"},
        {"op": "move", "path": "notes/salt.md", "destination": "salt.md"},
    ]
    changed = await called(
        live, admin, "update_skill_files", id="soup", operations=operations, commit_message="Gentler"
    )
    assert changed["version_id"] != made["version_id"]
    seen = await called(live, admin, "view_skill", id="soup")
    assert (seen["content"], [one["path"] for one in seen["files"]]) == ("# Simmer", ["SKILL.md", "salt.md"])
    history = (await say(admin, "GET", "/api/v1/skills/id/soup/history"))[1]
    assert history[0]["commit_message"] == "Gentler"
    # All or nothing.
    half = [{"op": "put", "path": "new.md", "content": "x"}, {"op": "delete", "path": "none.md"}]
    for wrong, said in (
        ({"id": "soup", "operations": half}, "none.md"),
        ({"id": "soup", "operations": []}, "operations"),
        ({"id": "soup", "operations": [{"op": "run", "path": "x"}]}, "operations.0.op"),
        ({"id": "soup", "operations": [{"op": "put", "path": "../x", "content": ""}]}, "own folder"),
        ({"id": "none", "operations": operations}, "find what you"),
    ):
        with pytest.raises(OuiError, match=said):
            await called(live, admin, "update_skill_files", **wrong)
    again = await called(live, admin, "view_skill", id="soup")
    assert again["files"] == seen["files"]
    # Somebody who writes no skills is not offered them, and can't call them.
    await answered(page, "fixed")
    assert not WRITING & set(offered(upstream))
    grant = {"principal_type": "user", "principal_id": "*", "permission": "write"}
    body = {"access_grants": [grant]}
    assert (await say(admin, "POST", "/api/v1/skills/id/soup/access/update", body))[0] == 200
    with pytest.raises(OuiError):
        await called(live, user, "update_skill_files", id="soup", operations=operations[:1])
    with pytest.raises(OuiError):
        await called(live, user, "create_skill", id="mine", name="Mine", content="x")


@pytest.mark.usefixtures("skill")
async def test_what_plugins_are_told(live: Live, user: Actor, admin: Actor) -> None:
    await create(admin, "private", name="Private")
    one = await ask(live, user, "skills.get_skill_by_id", "baking")
    assert (one["content"], len(one["data"]["files"])) == ("# Bake", 3)
    assert (await ask(live, user, "skills.get_skill_by_name", "Baking"))["id"] == "baking"
    assert [row["id"] for row in await ask(live, user, "skills.get_skills")] == ["baking"]
    assert await ask(live, user, "skills.get_skills_by_user_id", user.id, "write") == []
    assert await ask(live, user, "skills.get_skills_by_user_id", admin.id) == []
    assert len(await ask(live, admin, "skills.get_skills_by_user_id", admin.id, "write")) == 2
    for name, args in (("skills.get_skill_by_id", "private"), ("skills.get_skill_by_name", "Private")):
        assert await ask(live, user, name, args) is None
