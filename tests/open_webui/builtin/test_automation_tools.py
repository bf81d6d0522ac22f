"""The tools of models for automations: set up, changed, switched and removed, the person's own, with the bounds of the routes."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from open_webui.errors import BadRequest, Forbidden, NotFound
from open_webui.services.builtin.row import BuiltIn
from open_webui.services.builtin.rows import ROWS
from open_webui.tools.port import Asked
from tests.open_webui.automations.test_automations import AUTOMATIONS, DAILY, HOUR, fall_due, last_job, runs
from tests.open_webui.builtin.test_builtin import CALLED, Quiet, called, offered
from tests.open_webui.chat.page import Page, open_page
from tests.open_webui.models.test_workspace import allow
from tests.open_webui.plugins.test_in_chats import results
from tests.open_webui.plugins.test_tools import say
from tests.support.live import Actor, Live
from tests.support.script import Finish, Text, ToolCall
from tests.support.upstream import Upstream

SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
LIST, MAKE, CHANGE, SWITCH, REMOVE = (
    "list_automations", "create_automation", "update_automation", "toggle_automation", "delete_automation"
)  # fmt: skip
TOOLS = {LIST, MAKE, CHANGE, SWITCH, REMOVE}


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]], connections: None, monkeypatch: pytest.MonkeyPatch) -> Live:
    monkeypatch.delenv("ENABLE_BUILTIN_TOOLS")
    started = await make_live(bypass_model_access_control=True)
    await allow(started, "features.automations")
    return started


@pytest.fixture
async def page(live: Live, user: Actor) -> AsyncIterator[Page]:
    async with open_page(user.client, user.token) as opened:
        yield opened


async def make(live: Live, actor: Actor, model_id: str = "echo", **arguments: Any) -> dict[str, Any]:
    """What the tool answers that sets one up, in a chat with a model."""
    state = live.app.state.oui
    (row,) = [row for row in ROWS if row.name == MAKE]
    tool = BuiltIn(row, state, Asked(principal=await state.identify(actor.token), model_id=model_id))
    given = {"name": "News", "prompt": "What is new?", "rrule": DAILY} | arguments
    answer: dict[str, Any] = json.loads((await tool.run(given, Quiet())).text)
    return answer


async def stored(actor: Actor, automation_id: str) -> dict[str, Any]:
    status, row = await say(actor, "GET", f"{AUTOMATIONS}/{automation_id}")
    assert status == 200, row
    found: dict[str, Any] = row
    return found


async def test_automations_are_set_up_listed_changed_switched_and_removed(live: Live, user: Actor) -> None:
    await say(user, "POST", "/api/v1/auths/update/timezone", {"timezone": "Asia/Kolkata"})
    made = await make(live, user)
    assert (made["name"], made["prompt"], made["rrule"], made["model_id"]) == ("News", "What is new?", DAILY, "echo")
    assert (made["is_active"], made["time_zone"], len(made["next_runs"])) == (True, "Asia/Kolkata", 5)
    # In the person's zone, which has no summer time.
    assert made["next_run"] == made["next_runs"][0]
    assert made["next_run"].endswith(f"T{HOUR:02}:00:00+05:30")
    row = await stored(user, made["id"])
    assert (row["user_id"], row["data"]["model_id"], row["folder_id"]) == (user.id, "echo", None)
    assert len(await last_job(live)) == 1
    changed = await called(live, user, CHANGE, automation_id=made["id"], prompt="What is old?", name="Olds")
    assert (changed["name"], changed["prompt"], changed["rrule"]) == ("Olds", "What is old?", DAILY)
    assert changed["next_run"] == made["next_run"]
    off = await called(live, user, SWITCH, automation_id=made["id"])
    assert (off["is_active"], "next_run" in off, "next_runs" in off) == (False, False, False)
    assert await last_job(live) == []
    for status, count in (("active", 0), ("paused", 1), ("all", 1), (None, 1)):
        given = {} if status is None else {"status": status}
        found = await called(live, user, LIST, **given)
        assert (found["total"], len(found["automations"])) == (count, count), status
    assert found["automations"][0] == {name: off[name] for name in off if name != "time_zone"}
    assert (await called(live, user, SWITCH, automation_id=made["id"]))["next_run"] == made["next_run"]
    assert await called(live, user, REMOVE, automation_id=made["id"]) == {"deleted": made["id"], "name": "Olds"}
    assert (await called(live, user, LIST))["automations"] == []
    assert await last_job(live) == []


async def test_the_last_run_is_told(live: Live, user: Actor) -> None:
    made = await make(live, user, "fixed")
    await fall_due(live, made["id"])
    (run,) = await runs(user, made)
    (row,) = (await called(live, user, LIST))["automations"]
    assert row["last_run"] == {
        "at": row["last_run"]["at"], "status": "success", "chat_id": run["chat_id"], "error": None
    }  # fmt: skip


@SQLITE
async def test_what_is_not_named_stays(live: Live, user: Actor, admin: Actor) -> None:
    folder = (await say(user, "POST", "/api/v1/folders/", {"name": "Runs"}))[1]["id"]
    made = await make(live, user, folder_id=folder)
    assert made["folder_id"] == folder
    assert (await called(live, user, LIST, folder_id=folder))["total"] == 1
    assert (await called(live, user, LIST, folder_id="other"))["total"] == 0
    await called(live, user, SWITCH, automation_id=made["id"])
    before = await stored(user, made["id"])
    changed = await called(live, user, CHANGE, automation_id=made["id"], model_id="fixed")
    assert (changed["model_id"], changed["folder_id"], changed["is_active"]) == ("fixed", folder, False)
    after = await stored(user, made["id"])
    assert after["data"] == before["data"] | {"model_id": "fixed"}
    assert "folder_id" not in await called(live, user, CHANGE, automation_id=made["id"], folder_id="")
    long = "x" * 3_000
    assert len((await called(live, user, CHANGE, automation_id=made["id"], prompt=long))["prompt"]) == 2_003
    assert (await stored(user, made["id"]))["data"]["prompt"] == long


WRONG: list[tuple[str, dict[str, Any], str]] = [
    (MAKE, {"name": ""}, "'name'"), (MAKE, {"prompt": " "}, "'data.prompt'"), (MAKE, {"rrule": "every day"}, "can't be used"),
    (MAKE, {"rrule": "RRULE:FREQ=SECONDLY"}, "can't be used"), (MAKE, {"rrule": 5}, "'data.rrule'"),
    (MAKE, {"prompt": "x" * 50_001}, "'data.prompt'"), (MAKE, {"folder_id": "nowhere"}, "no such folder"),
    (MAKE, {"rrule": "DTSTART:20200101T000000\nRRULE:FREQ=DAILY;COUNT=1"}, "not due any more"),
    (MAKE, {"rrule": "RRULE:FREQ=MINUTELY"}, "too often"),
    (CHANGE, {"automation_id": "$"}, "what is to change"), (CHANGE, {"automation_id": "$", "rrule": "x"}, "can't be used"),
    (CHANGE, {"automation_id": "$", "prompt": ""}, "'data.prompt'"), (CHANGE, {"automation_id": "$", "name": 7}, "'name'"),
    (CHANGE, {"automation_id": "$", "model_id": "nobody"}, "no such model"),
    (CHANGE, {"automation_id": "$", "model_id": 5}, "'model_id'"),
    (CHANGE, {"automation_id": "$", "folder_id": "nowhere"}, "no such folder"), (LIST, {"status": ["a"]}, "'status'"),
    *((name, {"automation_id": wrong, "name": "x"}, "no such automation")
      for name in (CHANGE, SWITCH, REMOVE) for wrong in ("nothing", "x\x00y", "' OR 1=1")),
    *((name, {"automation_id": 5}, "'automation_id'") for name in (CHANGE, SWITCH, REMOVE)),
]  # fmt: skip


@SQLITE
async def test_wrong_arguments_are_a_sentence_and_change_nothing(live: Live, user: Actor) -> None:
    await live.app.state.oui.save_config({"automations.min_interval": "600"})
    made = await make(live, user)
    before = await stored(user, made["id"])
    for name, arguments, sentence in WRONG:
        given = {key: made["id"] if value == "$" else value for key, value in arguments.items()}
        with pytest.raises((BadRequest, NotFound), match=sentence):
            await (make(live, user, **given) if name == MAKE else called(live, user, name, **given))
    with pytest.raises(BadRequest, match="the model of the chat"):
        await make(live, user, model_id="")
    assert await stored(user, made["id"]) == before
    assert (await called(live, user, LIST))["total"] == 1


async def test_odd_ids_are_no_automations_on_either_database(live: Live, user: Actor) -> None:
    for wrong in ("x\x00y", "ä" * 400, "'"):
        with pytest.raises(NotFound, match="no such automation"):
            await called(live, user, REMOVE, automation_id=wrong)


async def test_nobody_has_more_than_the_most(live: Live, user: Actor) -> None:
    await live.app.state.oui.save_config({"automations.max_count": "2"})
    for _ in range(2):
        await make(live, user)
    with pytest.raises(BadRequest, match="2 automations already"):
        await make(live, user)


async def test_other_peoples_automations_are_theirs(live: Live, user: Actor, other: Actor, admin: Actor) -> None:
    made = await make(live, user)
    before = await stored(user, made["id"])
    for somebody in (other, admin):
        assert (await called(live, somebody, LIST))["total"] == 0
        for name in (CHANGE, SWITCH, REMOVE):
            with pytest.raises(NotFound, match="no such automation"):
                await called(live, somebody, name, automation_id=made["id"], prompt="Mine")
    hidden = (await say(user, "POST", "/api/v1/folders/", {"name": "Runs"}))[1]["id"]
    with pytest.raises(NotFound, match="no such folder"):
        await make(live, other, folder_id=hidden)
    assert await stored(user, made["id"]) == before


@SQLITE
async def test_a_model_that_is_not_the_persons_is_not_named(live: Live, user: Actor, admin: Actor) -> None:
    body = {"id": "hidden", "base_model_id": "fixed", "name": "Hidden", "meta": {}, "params": {}, "is_active": False}
    assert (await say(admin, "POST", "/api/v1/models/create", body))[0] == 200
    made = await make(live, user)
    with pytest.raises(NotFound, match="no such model"):
        await called(live, user, CHANGE, automation_id=made["id"], model_id="hidden")


@SQLITE
async def test_who_may_have_none_gets_none(live: Live, user: Actor, admin: Actor) -> None:
    made = await make(live, user)
    tree = (await say(admin, "GET", "/api/v1/users/default/permissions"))[1]
    tree["features"]["automations"] = False
    await say(admin, "POST", "/api/v1/users/default/permissions", tree)
    for somebody, settings in ((user, {}), (admin, {"automations.enable": False})):
        await live.app.state.oui.save_config(settings)
        for name in TOOLS:
            given = {"automation_id": made["id"], "prompt": "Mine"}
            with pytest.raises(Forbidden):
                await (make(live, somebody) if name == MAKE else called(live, somebody, name, **given))


async def answered(page: Page, model: str = "rounds", **fields: Any) -> dict[str, Any]:
    body = page.ask(model, "Tell me the news each day.", **fields)
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id)
    return await page.message(chat_id, body["id"])


async def test_a_model_sets_one_up_and_its_runs_set_up_none(
    page: Page, live: Live, user: Actor, upstream: Upstream
) -> None:
    arguments = json.dumps({"name": "News", "prompt": "What is new?", "rrule": DAILY})
    upstream.rounds = [
        [ToolCall(MAKE, (arguments,), "c1"), CALLED],
        [Text("Done."), Finish("stop")],
        [ToolCall(MAKE, (arguments,), "c1"), CALLED],
        [Text("Nothing new."), Finish("stop")],
    ]
    (told,) = results(await answered(page))
    made = json.loads(told)
    assert made["model_id"] == "rounds"
    assert set(offered(upstream)) >= TOOLS
    await fall_due(live, made["id"])
    await runs(user, made)
    # Nobody looks on: what a run reads must not make it go on for ever.
    assert set(offered(upstream)) & TOOLS == TOOLS - {MAKE}
    assert (await say(user, "GET", f"{AUTOMATIONS}/list"))[1]["total"] == 1


@SQLITE
async def test_where_they_are_offered(live: Live, page: Page, admin: Actor, upstream: Upstream) -> None:
    state = live.app.state.oui
    body = {
        "id": "plain",
        "base_model_id": "fixed",
        "name": "Plain",
        "meta": {"builtinTools": {"automations": False}},
        "params": {},
    }
    assert (await say(admin, "POST", "/api/v1/models/create", body))[0] == 200
    await answered(page, "plain")
    assert not TOOLS & set(offered(upstream))
    await state.save_config({"automations.enable": False})
    await answered(page, "fixed")
    assert not TOOLS & set(offered(upstream))
    await state.save_config({"automations.enable": True})
    await answered(page, "fixed")
    assert set(offered(upstream)) >= TOOLS
    tree = (await say(admin, "GET", "/api/v1/users/default/permissions"))[1]
    tree["features"]["automations"] = False
    await say(admin, "POST", "/api/v1/users/default/permissions", tree)
    await answered(page, "fixed")
    assert not TOOLS & set(offered(upstream))
