"""Budgets of API keys: whose they are, which keys are in them, what a program gets that has used one up, and what is shown."""

from typing import Any

import httpx
import pytest

from tests.open_webui.audit.conftest import entries
from tests.support.live import Actor, Live, used

BUDGETS, KEYS, SERVICES = (f"/api/v1/auths/{name}" for name in ("budgets", "keys", "service-accounts"))
SAY = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(autouse=True)
async def enabled(live: Live) -> None:
    state = live.app.state.oui
    tree = state.config["user.permissions"]
    features = tree["features"] | {"api_keys": True}
    await state.save_config({"auth.enable_api_keys": True, "user.permissions": tree | {"features": features}})
    await state.catalogue.wait_for_lists()


async def make(actor: Actor, at: str = BUDGETS, **form: Any) -> dict[str, Any]:
    reply = await actor.client.post(at, json={"name": "Small"} | form)
    assert reply.status_code == 200, reply.text
    made: dict[str, Any] = reply.json()
    return made


async def say(live: Live, key: str, **more: Any) -> httpx.Response:
    async with live.client(key) as program:
        return await program.post("/api/v1/chat/completions", json=SAY | more)


async def test_a_key_spends_its_budget_and_is_told(live: Live, admin: Actor) -> None:
    budget = await make(admin, requests_a_day=2)
    key = await make(admin, KEYS, budget_id=budget["id"])
    assert key["budget_id"] == budget["id"]
    assert (await say(live, key["api_key"])).status_code == 200
    assert (await say(live, key["api_key"], stream=True)).status_code == 200
    for stream in (False, True):
        refused = await say(live, key["api_key"], stream=stream)
        assert refused.status_code == 429, refused.text
        assert "The budget 'Small' is used up for today" in refused.json()["detail"]
        assert 0 < int(refused.headers["retry-after"]) <= 86_401
    # Neither a person nor another key is limited by it.
    other = await make(admin, KEYS)
    assert (await say(live, other["api_key"])).status_code == 200
    assert (await admin.client.post("/api/v1/chat/completions", json=SAY)).status_code == 200
    # A new secret is in it still.
    again = (await admin.client.post(f"{KEYS}/{key['id']}/rotate", json={})).json()
    assert again["budget_id"] == budget["id"]
    assert (await say(live, again["api_key"])).status_code == 429
    await live.app.state.oui.gate.budget.close()
    listed = (await admin.client.get(BUDGETS)).json()
    assert [(one["name"], one["today"]["requests"]) for one in listed] == [("Small", 2)]
    assert listed[0]["today"] == listed[0]["this_month"]
    assert listed[0]["today"]["tokens"] > 0
    # What a limit is now, acts with the next call.
    changed = await admin.client.post(f"{BUDGETS}/{budget['id']}", json={"name": "Larger", "requests_a_day": 3})
    assert (changed.json()["name"], changed.json()["today"]["requests"]) == ("Larger", 2)
    assert (await say(live, again["api_key"])).status_code == 200
    assert (await say(live, again["api_key"])).status_code == 429
    await used(live, 5)


async def test_embeddings_and_calls_that_fail(live: Live, admin: Actor) -> None:
    budget = await make(admin, requests_a_day=2)
    key = (await make(admin, KEYS, budget_id=budget["id"]))["api_key"]
    async with live.client(key) as program:
        assert (await program.post("/api/v1/embeddings", json={"model": "echo", "input": "a"})).status_code == 200
    for _ in range(3):
        # It cost nothing.
        assert (await say(live, key, model="error429")).status_code == 429
        await live.app.state.oui.gate.budget.close()
    assert (await say(live, key, model="no-such-model")).status_code == 400
    assert (await admin.client.get(BUDGETS)).json()[0]["today"]["requests"] == 1
    assert (await say(live, key, max_tokens=10)).status_code == 200
    assert "used up" in (await say(live, key)).text


async def test_service_accounts_and_whole_accounts(live: Live, admin: Actor, user: Actor) -> None:
    servers = await make(admin, f"{BUDGETS}/server", requests_a_month=1)
    assert servers["user_id"] is None
    account = await make(admin, SERVICES)
    keys = [(await make(admin, f"{SERVICES}/{account['id']}/keys"))["api_key"] for _ in range(2)]
    await live.app.state.oui.save_config({"models.default_metadata": {}})
    at = f"{BUDGETS}/accounts/{account['id']}"
    assert (await admin.client.post(at, json={"budget_id": servers["id"]})).json() is True
    model = {"id": "echo", "base_model_id": None, "name": "Echo", "meta": {}, "params": {},
             "access_grants": [{"principal_type": "user", "principal_id": "*", "permission": "read"}]}  # fmt: skip
    assert (await admin.client.post("/api/v1/models/create", json=model)).status_code == 200
    # All keys of the account are in it together, and no others.
    assert [(await say(live, key)).status_code for key in keys] == [200, 429]
    assert (await admin.client.post(at, json={"budget_id": None})).json() is True
    assert (await say(live, keys[1])).status_code == 200
    mine = await make(admin, requests_a_day=1)
    for budget_id, who in ((mine["id"], account["id"]), ("none", account["id"]), (servers["id"], "none")):
        reply = await admin.client.post(f"{BUDGETS}/accounts/{who}", json={"budget_id": budget_id})
        assert reply.status_code == 404
    assert (await user.client.post(at, json={"budget_id": None})).status_code == 401
    assert (await user.client.post(f"{BUDGETS}/server", json={"name": "Mine"})).status_code == 401
    made = await make(admin, f"{SERVICES}/{account['id']}/keys", budget_id=servers["id"])
    assert [one["budget_id"] for one in (await admin.client.get(f"{SERVICES}/{account['id']}/keys")).json()].count(
        servers["id"]
    ) == 1
    assert (await say(live, made["api_key"])).status_code == 429


async def test_whose_budgets_are(
    live: Live, admin: Actor, user: Actor, other: Actor, client: httpx.AsyncClient
) -> None:
    mine, servers = await make(user, tokens_a_day=5), await make(admin, f"{BUDGETS}/server")
    key = await make(user, KEYS)
    assert [one["id"] for one in (await user.client.get(BUDGETS)).json()] == [mine["id"]]
    assert [one["id"] for one in (await admin.client.get(BUDGETS)).json()] == [servers["id"]]
    form = {"name": "Taken"}
    for stranger in (other, admin):
        assert (await stranger.client.post(f"{BUDGETS}/{mine['id']}", json=form)).status_code == 404
        assert (await stranger.client.delete(f"{BUDGETS}/{mine['id']}")).status_code == 404
        assert (await stranger.client.post(KEYS, json={"name": "k", "budget_id": mine["id"]})).status_code == 400
        in_it = {"budget_id": None}
        assert (await stranger.client.post(f"{KEYS}/{key['id']}/budget", json=in_it)).status_code == 404
    for budget_id in (servers["id"], "none"):
        assert (await user.client.post(f"{BUDGETS}/{budget_id}", json=form)).status_code == 404
        in_it = {"budget_id": budget_id}
        assert (await user.client.post(f"{KEYS}/{key['id']}/budget", json=in_it)).status_code == 404
    assert (await client.get(BUDGETS)).status_code == 401
    async with live.client(key["api_key"]) as program:
        for method, path in (("GET", BUDGETS), ("POST", f"{BUDGETS}/{mine['id']}"), ("DELETE", f"{BUDGETS}/{mine['id']}"),
                             ("POST", f"{KEYS}/{key['id']}/budget")):  # fmt: skip
            assert (await program.request(method, path, json=form)).status_code == 403, path
    assert (await user.client.post(f"{KEYS}/{key['id']}/budget", json={"budget_id": mine["id"]})).json() is True
    kept = await user.client.delete(f"{BUDGETS}/{mine['id']}")
    assert kept.status_code == 409
    assert (await user.client.post(f"{KEYS}/{key['id']}/budget", json={"budget_id": None})).json() is True
    assert (await user.client.delete(f"{BUDGETS}/{mine['id']}")).json() is True
    found = [one for one in await entries(admin) if one["resource"] in {"budget", "api_key"}]
    assert any(one["changes"].get("budget_id") == [mine["id"], None] for one in found)
    # An account goes with its budgets.
    gone = await make(user)
    await make(user, KEYS, budget_id=gone["id"])
    assert (await admin.client.delete(f"/api/v1/users/{user.id}")).json() is True


async def test_what_is_no_budget(admin: Actor) -> None:
    for bad in (
        {"name": ""}, {"requests_a_day": 0}, {"requests_a_day": -1}, {"tokens_a_day": 1.5}, {"tokens_a_month": "many"},
        {"requests_a_month": 2**53}, {"more": 1}, {"name": None},
    ):  # fmt: skip
        assert (await admin.client.post(BUDGETS, json={"name": "B"} | bad)).status_code == 422, bad
    assert (await admin.client.get(BUDGETS)).json() == []
