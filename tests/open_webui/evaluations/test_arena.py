"""Arena models: set up by administrators, open to whom they say, answered by a member that is drawn each time."""

import json
from typing import Any

import pytest

from open_webui.connections import arena
from open_webui.principal import Principal
from tests.open_webui.chat.page import open_page
from tests.open_webui.evaluations.test_feedback import BASE
from tests.open_webui.plugins.test_tools import say
from tests.support.live import Actor, Live
from tests.support.upstream import Upstream

CONFIG = f"{BASE}/config"


@pytest.fixture
def database_kind() -> str:
    """There is no SQL in this."""
    return "sqlite"


def one(arena_id: str = "blind", **meta: Any) -> dict[str, Any]:
    return {"id": arena_id, "name": "Blind", "meta": {"description": "d", "model_ids": ["echo", "fixed"]} | meta}


async def set_up(admin: Actor, *arenas: dict[str, Any], on: bool = True) -> dict[str, Any]:
    form = {"ENABLE_EVALUATION_ARENA_MODELS": on, "EVALUATION_ARENA_MODELS": list(arenas)}
    status, said = await say(admin, "POST", CONFIG, form)
    assert (status, said) == (200, form)
    return form


async def listed(actor: Actor) -> dict[str, dict[str, Any]]:
    return {m["id"]: m for m in (await say(actor, "GET", "/api/models"))[1]["data"] if m.get("arena")}


async def open_models(admin: Actor, *ids: str) -> None:
    """Opens a connection's models to everybody."""
    for model_id in ids:
        grants = [{"principal_type": "user", "principal_id": "*", "permission": "read"}]
        form = {
            "id": model_id,
            "name": model_id,
            "base_model_id": None,
            "meta": {},
            "params": {},
            "access_grants": grants,
        }
        assert (await say(admin, "POST", "/api/v1/models/create", form))[0] == 200


async def complete(actor: Actor, model: str, **fields: Any) -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]} | fields
    return await actor.client.post("/api/chat/completions", json=body)


async def test_the_settings_as_recorded(admin: Actor) -> None:
    assert await say(admin, "GET", CONFIG) == (
        200,
        {"ENABLE_EVALUATION_ARENA_MODELS": False, "EVALUATION_ARENA_MODELS": []},
    )
    mine = one("my-arena", profile_image_url="/favicon.png", access_control=None)
    form = await set_up(admin, mine)
    assert await say(admin, "GET", CONFIG) == (200, form)
    assert await say(admin, "POST", CONFIG, {"ENABLE_EVALUATION_ARENA_MODELS": False}) == (
        200,
        form | {"ENABLE_EVALUATION_ARENA_MODELS": False},
    )
    assert await listed(admin) == {}


async def test_the_one_that_is_there_when_none_is_set_up(admin: Actor) -> None:
    await set_up(admin)
    shown = (await listed(admin))["arena-model"]
    assert shown.pop("info")["meta"].keys() == {"description", "model_ids"}
    assert shown == {
        "id": "arena-model", "name": "Arena Model", "object": "model", "created": 0, "owned_by": "arena", "arena": True,
        "actions": [], "filters": [], "tags": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arenas", "status"),
    [
        ([one(), one()], 400), ([one("echo")], 400), ([{"id": "a"}], 422), ([{"name": "A"}], 422), (["a"], 422),
        ([one("")], 422), ([one("x" * 256)], 422), ([one(model_ids="echo")], 422), ([one(model_ids=["m"] * 1_001)], 422),
        ([one(filter_mode="some")], 422), ([one(f"a{n}") for n in range(101)], 422), ([one(more="x" * 600_000)], 400),
        ([one(access_control=7)], 422), ("all", 422),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
async def test_what_is_no_arena_is_refused(admin: Actor, arenas: Any, status: int) -> None:
    found, said = await say(admin, "POST", CONFIG, {"EVALUATION_ARENA_MODELS": arenas})
    assert found == status, said
    assert said["detail"]
    assert (await say(admin, "GET", CONFIG))[1]["EVALUATION_ARENA_MODELS"] == []


async def test_a_member_answers_and_is_named_behind_the_answer(admin: Actor, live: Live) -> None:
    await set_up(admin, one())
    drawn = set()
    async with open_page(admin.client, admin.token) as page:
        for _ in range(20):
            body = page.ask("blind", "Who are you?")
            chat_id = (await page.post(body))["chat_id"]
            await page.idle(chat_id)
            message = await page.message(chat_id, body["id"])
            assert (message["model"], message["done"]) == ("blind", True)
            selected = message["selectedModelId"]
            events = [(e["data"]["type"], e["data"].get("data")) for e in page.of(body["id"])]
            told = ("chat:completion", {"selected_model_id": selected})
            assert told in events
            kinds = [kind for kind, _ in events]
            assert events.index(told) < kinds.index("response:completion")
            assert (await page.stored(chat_id))["chat"]["models"] == ["blind"]
            drawn.add(selected)
            if len(drawn) == 2:
                break
    assert drawn == {"echo", "fixed"}


async def test_api_clients_are_told_in_the_first_line(admin: Actor) -> None:
    await set_up(admin, one(model_ids=["fixed"]))
    whole = await complete(admin, "blind")
    assert (whole.status_code, whole.json()["selected_model_id"], whole.json()["object"]) == (
        200,
        "fixed",
        "chat.completion",
    )
    lines = (await complete(admin, "blind", stream=True)).text.split("\n\n")
    assert lines[0] == 'data: {"selected_model_id":"fixed"}'
    assert json.loads(lines[1].removeprefix("data: "))["object"] == "chat.completion.chunk"
    assert "selected_model_id" not in (await complete(admin, "fixed")).json()
    # The other doors of API clients answer, too.
    body = {"model": "blind", "messages": [{"role": "user", "content": "hi"}]}
    for door in ("/openai/chat/completions", "/ollama/api/chat"):
        assert (await admin.client.post(door, json=body)).status_code == 200, door


async def test_only_models_that_one_may_use_are_drawn(admin: Actor, user: Actor) -> None:
    await set_up(admin, one())
    # None of them is open to people.
    assert await listed(user) == {}
    refused = await complete(user, "blind")
    assert (refused.status_code, "detail" in refused.json()) == (400, True)
    await open_models(admin, "fixed")
    shown = await listed(user)
    assert (set(shown), shown["blind"]["info"]["meta"]["model_ids"]) == ({"blind"}, None)
    assert {(await complete(user, "blind")).json()["selected_model_id"] for _ in range(8)} == {"fixed"}


async def test_who_is_not_let_in_gets_what_an_unknown_model_gets(admin: Actor, user: Actor, other: Actor) -> None:
    await open_models(admin, "fixed", "echo")
    grants = [{"principal_type": "user", "principal_id": user.id, "permission": "read"}]
    await set_up(
        admin, one("granted", access_grants=grants),
        one("named", access_control={"read": {"user_ids": [user.id], "group_ids": []}}),
        one("closed", access_control={}), one("open", access_control=None),
    )  # fmt: skip
    assert set(await listed(user)) == {"granted", "named", "open"}
    assert set(await listed(other)) == {"open"}
    assert set(await listed(admin)) == {"granted", "named", "closed", "open"}
    for arena_id in ("granted", "named", "closed"):
        refused, unknown = await complete(other, arena_id), await complete(other, "no such model")
        assert (refused.status_code, refused.json()) == (unknown.status_code, unknown.json())
    assert (await complete(user, "granted")).status_code == 200
    # Who is let in is not for those who look.
    assert "access_grants" not in (await listed(user))["granted"]["info"]["meta"]


async def test_all_but_some_take_part(admin: Actor, live: Live) -> None:
    await set_up(admin, one(filter_mode="exclude", model_ids=["echo"]))
    state = live.app.state.oui
    (made,) = state.catalogue.snapshot.arenas.values()
    async with live.client():
        principal = await state.identify(admin.token)
    names = {p.id for p in state.catalogue.snapshot.members(made, principal, bypass=False)}
    assert "echo" not in names
    assert "fixed" in names


async def test_a_stored_setting_that_is_nonsense_breaks_no_list(live: Live, admin: Actor, upstream: Upstream) -> None:
    # Any of the provider's models may be drawn, and some of the tests' never end.
    upstream.models = ("echo", "fixed")
    assert (await say(admin, "GET", "/api/models?refresh=true"))[0] == 200
    await live.app.state.oui.save_config(
        {
            "evaluation.arena.enable": True,
            "evaluation.arena.models": [7, {}, {"id": 7}, {"id": "echo"}, {"id": "bare"}, {"id": "odd", "meta": 7}],
        }
    )
    assert set(await listed(admin)) == {"bare", "odd"}
    assert (await complete(admin, "bare")).status_code == 200


def somebody(**changes: Any) -> Principal:
    return Principal(id="u", role="user", name="U", email="u@example.com", **changes)


@pytest.mark.parametrize(
    ("meta", "let_in"),
    [
        ({}, True), ({"access_control": None}, True), ({"access_control": {}}, False),
        ({"access_control": {"read": {"group_ids": ["g"]}}}, True), ({"access_control": {"write": {"user_ids": ["u"]}}}, True),
        ({"access_control": {"read": 7}}, False), ({"access_control": {"read": {"user_ids": 7}}}, False),
        ({"access_grants": []}, False), ({"access_grants": [{"principal_type": "user", "principal_id": "*"}]}, True),
        ({"access_grants": [{"principal_type": "group", "principal_id": "g"}]}, True), ({"access_grants": [7, {}]}, False),
        ({"access_grants": "all"}, True),
    ],
)  # fmt: skip
def test_whom_an_arena_is_open_to(meta: dict[str, Any], let_in: bool) -> None:
    (made,) = arena.arenas([{"id": "a", "name": "A", "meta": meta}], ()).values()
    assert made.open_to(somebody(groups=frozenset({"g"}))) is let_in
    assert made.open_to(Principal(id="p", role="pending", name="P", email="p")) is False
    assert made.open_to(Principal(id="x", role="admin", name="X", email="x")) is True


async def test_the_id_of_a_model_that_is_off_and_another_name_of_one_are_taken(
    live: Live, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would be saved, and never be shown: the model comes first."""
    made = {"id": "mine", "name": "Mine", "base_model_id": "echo", "meta": {}, "params": {}, "is_active": False}
    assert (await say(admin, "POST", "/api/v1/models/create", made))[0] == 200
    snapshot = live.app.state.oui.catalogue.snapshot
    monkeypatch.setitem(snapshot.aliases, "echo:latest", "echo")
    for taken in ("mine", "echo:latest"):
        status, said = await say(admin, "POST", CONFIG, {"EVALUATION_ARENA_MODELS": [one(taken)]})
        assert (status, f"There is a model with the id {taken}" in said["detail"]) == (400, True), said
    assert (await say(admin, "GET", CONFIG))[1]["EVALUATION_ARENA_MODELS"] == []
