"""The tools of models for channels: they find and read what the person may read, and nothing else."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from open_webui.errors import BadRequest, Forbidden, NotFound
from open_webui.services.builtin import channels as tools
from tests.open_webui.builtin.test_builtin import CALLED, called, offered
from tests.open_webui.channels.conftest import channel, group, ok, write
from tests.open_webui.chat.page import Page, open_page
from tests.open_webui.plugins.test_in_chats import results
from tests.open_webui.plugins.test_tools import say
from tests.support.live import Actor, Live
from tests.support.script import Finish, Text, ToolCall
from tests.support.upstream import Upstream

SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
CHANNELS, FIND, THREAD, ONE = (
    "search_channels", "search_channel_messages", "view_channel_thread", "view_channel_message"
)  # fmt: skip
TOOLS = {CHANNELS, FIND, THREAD, ONE}
SECOND = 1_000_000_000


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]], connections: None, monkeypatch: pytest.MonkeyPatch) -> Live:
    monkeypatch.delenv("ENABLE_BUILTIN_TOOLS")
    started = await make_live(bypass_model_access_control=True)
    await started.app.state.oui.save_config({"channels.enable": True})
    return started


@pytest.fixture
async def page(live: Live, user: Actor) -> AsyncIterator[Page]:
    async with open_page(user.client, user.token) as opened:
        yield opened


async def test_channels_are_found(live: Live, admin: Actor, user: Actor, other: Actor) -> None:
    general = await channel(admin, description="Everything else")
    team = await group(user, other, name="Team")
    talk = (await ok(user, "POST", "/create", {"name": "", "type": "dm", "user_ids": [other.id]}))["id"]
    for where in (general, talk, team):
        await write(user, where)
    found = (await called(live, user, CHANNELS))["channels"]
    assert [(one["id"], one["name"], one["type"]) for one in found] == [
        (team, "Team", "group"), (talk, "", "conversation"), (general, "general", "open"),
    ]  # fmt: skip
    assert set(found[1]["people"]) == {user.name, other.name}
    for words, expected in (("GENER", [general]), ("everything", [general]), ("nothing", []), ("%", [])):
        assert [one["id"] for one in (await called(live, user, CHANNELS, query=words))["channels"]] == expected, words
    assert len((await called(live, user, CHANNELS, count=2))["channels"]) == 2
    # Nobody sees a group without being in it, administrators neither.
    assert [one["id"] for one in (await called(live, admin, CHANNELS))["channels"]] == [general]


async def test_messages_are_found_and_read(live: Live, admin: Actor, user: Actor) -> None:
    where = await channel(admin)
    first = await write(admin, where, "The release is <@U:x|Ann>'s, on Monday")
    answers = [await write(user, where, f"Answer {n}", parent_id=first["id"]) for n in range(3)]
    long = await write(user, where, "release " + "x" * 5_000, reply_to_id=first["id"])
    found = (await called(live, user, FIND, query="RELEASE"))["messages"]
    assert [one["id"] for one in found] == [long["id"], first["id"]]
    assert found[1] == {
        "channel_id": where, "channel": "general", "id": first["id"], "author": admin.name, "answers": 3,
        "content": "The release is @Ann's, on Monday", "created_at": first["created_at"] // SECOND,
    }  # fmt: skip
    assert len(found[0]["content"]) == 503
    at = first["created_at"] // SECOND
    for given, count in (({"end_timestamp": at - 1}, 0), ({"start_timestamp": at}, 2), ({"count": 1}, 1)):
        assert len((await called(live, user, FIND, query="release", **given))["messages"]) == count, given
    thread = await called(live, user, THREAD, parent_message_id=first["id"])
    assert (thread["channel"], thread["message"]["content"]) == ("general", found[1]["content"])
    assert [one["content"] for one in thread["answers"]] == ["Answer 0", "Answer 1", "Answer 2"]
    assert {one["parent_message_id"] for one in thread["answers"]} == {first["id"]}
    # An answer leads to the thread that it is in.
    assert await called(live, user, THREAD, parent_message_id=answers[1]["id"]) == thread
    whole = await called(live, user, ONE, message_id=long["id"])
    assert (len(whole["content"]), whole["quotes"]["id"], whole["author"]) == (5_008, first["id"], user.name)


@SQLITE
async def test_of_a_long_thread_the_newest_answers_are_told(
    live: Live, admin: Actor, user: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "MAX_ANSWERS", 2)
    where = await channel(admin)
    first = await write(admin, where, "x" * 5_000)
    for n in range(5):
        await write(user, where, f"Answer {n}", parent_id=first["id"])
    thread = await called(live, user, THREAD, parent_message_id=first["id"])
    assert ([one["content"] for one in thread["answers"]], thread["older_answers"]) == (["Answer 3", "Answer 4"], 3)
    assert len(thread["message"]["content"]) == 4_003


@SQLITE
async def test_files_are_named(live: Live, admin: Actor, user: Actor) -> None:
    where = await channel(admin)
    files = [{"type": "file", "id": "f1", "name": "plan.pdf"}, "odd", {"name": 5}]
    made = await write(user, where, "Look", data={"files": files})
    assert (await called(live, user, ONE, message_id=made["id"]))["files"] == ["plan.pdf", "5"]


async def test_what_one_may_not_read_is_not_there(live: Live, admin: Actor, user: Actor, other: Actor) -> None:
    team = await group(user, name="Team")
    hidden = await channel(admin, grants=[])
    secrets = [await write(user, team, "A secret"), await write(admin, hidden, "A secret")]
    assert (await called(live, other, CHANNELS))["channels"] == []
    assert (await called(live, other, FIND, query="secret"))["messages"] == []
    for secret in secrets:
        for name, argument in ((ONE, "message_id"), (THREAD, "parent_message_id")):
            with pytest.raises(NotFound, match="no such message"):
                await called(live, other, name, **{argument: secret["id"]})
    # An administrator reads the open one, and not the group.
    assert [one["id"] for one in (await called(live, admin, FIND, query="secret"))["messages"]] == [secrets[1]["id"]]
    with pytest.raises(NotFound, match="no such message"):
        await called(live, admin, ONE, message_id=secrets[0]["id"])
    # Who is put out reads no more.
    await ok(user, "POST", f"/{team}/update/members/add", {"user_ids": [other.id]})
    assert (await called(live, other, ONE, message_id=secrets[0]["id"]))["content"] == "A secret"
    await ok(user, "POST", f"/{team}/update/members/remove", {"user_ids": [other.id]})
    with pytest.raises(NotFound, match="no such message"):
        await called(live, other, ONE, message_id=secrets[0]["id"])


async def test_wrong_arguments_are_a_sentence(live: Live, user: Actor) -> None:
    wrong: list[tuple[str, dict[str, Any]]] = [
        (CHANNELS, {"query": 5}), (FIND, {}), (FIND, {"query": " "}), (FIND, {"query": ["a"]}), (THREAD, {}),
        (THREAD, {"parent_message_id": 5}), (ONE, {}), (ONE, {"message_id": {}}),
    ]  # fmt: skip
    for name, arguments in wrong:
        with pytest.raises(BadRequest, match="should be a text"):
            await called(live, user, name, **arguments)
    for odd in ("nothing", "x\x00y", "ä" * 400, "' OR 1=1"):
        for name, argument in ((ONE, "message_id"), (THREAD, "parent_message_id")):
            with pytest.raises(NotFound, match="no such message"):
                await called(live, user, name, **{argument: odd})
    found = await called(live, user, FIND, query="x\x00y", start_timestamp=-(10**30), end_timestamp=10**30, count=10**9)
    assert found == {"messages": []}


@SQLITE
async def test_who_may_use_no_channels_gets_none(live: Live, user: Actor, admin: Actor) -> None:
    message = await write(user, await channel(admin))
    calls = [(CHANNELS, {}), (FIND, {"query": "a"}), (THREAD, {"parent_message_id": message["id"]})]
    calls.append((ONE, {"message_id": message["id"]}))
    tree = (await say(admin, "GET", "/api/v1/users/default/permissions"))[1]
    tree["features"]["channels"] = False
    await say(admin, "POST", "/api/v1/users/default/permissions", tree)
    for somebody, settings in ((user, {}), (admin, {"channels.enable": False})):
        await live.app.state.oui.save_config(settings)
        for name, arguments in calls:
            with pytest.raises(Forbidden):
                await called(live, somebody, name, **arguments)


async def answered(page: Page, model: str = "rounds", **fields: Any) -> dict[str, Any]:
    body = page.ask(model, "What did they say?", **fields)
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id)
    return await page.message(chat_id, body["id"])


@SQLITE
async def test_a_model_reads_channels_where_they_are_on(
    live: Live, page: Page, admin: Actor, user: Actor, upstream: Upstream
) -> None:
    await write(admin, await channel(admin), "The release is on Monday")
    upstream.rounds = [
        [ToolCall(FIND, ('{"query": "release"}',), "c1"), CALLED],
        [Text("On Monday."), Finish("stop")],
    ]
    (found,) = results(await answered(page))
    assert "on Monday" in found
    assert set(offered(upstream)) >= TOOLS
    body = {
        "id": "plain",
        "base_model_id": "fixed",
        "name": "Plain",
        "meta": {"builtinTools": {"channels": False}},
        "params": {},
    }
    assert (await say(admin, "POST", "/api/v1/models/create", body))[0] == 200
    await answered(page, "plain")
    assert not TOOLS & set(offered(upstream))
    await live.app.state.oui.save_config({"channels.enable": False})
    await answered(page, "fixed")
    assert not TOOLS & set(offered(upstream))
