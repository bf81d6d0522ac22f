"""Budgets and role sets over two processes: what one counts and changes, the other one knows."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from tests.open_webui.accounts.test_budgets import BUDGETS, KEYS, make, say
from tests.open_webui.accounts.test_role_sets import HELD, SETS, put
from tests.open_webui.processes.test_changes import soon
from tests.support.live import Actor, Live


async def test_a_budget_is_spent_once_over_both(live: Live, second: Live, admin: Actor) -> None:
    for one in (live, second):
        await one.app.state.oui.catalogue.wait_for_lists()
    await live.app.state.oui.save_config({"auth.enable_api_keys": True})
    await second.app.state.oui.config_changed()
    budget = await make(admin, BUDGETS, requests_a_day=5)
    key = (await make(admin, KEYS, budget_id=budget["id"]))["api_key"]
    replies = await asyncio.gather(*(say(one, key) for one in (live, second) * 6))
    statuses = [reply.status_code for reply in replies]
    assert (statuses.count(200), statuses.count(429)) == (5, 7), [reply.text[:200] for reply in replies]


async def test_a_role_set_ends_everywhere(
    admin: Actor, user: Actor, there: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is known before that is known by the news.
    monkeypatch.setattr("open_webui.access.identify.CACHE_SECONDS", 60.0)
    set_id = await put(admin, rights=["people.list"], users=[user.id])

    async def status() -> Any:
        return (await there.user.client.get(f"{HELD}/people")).status_code

    async def may() -> bool:
        return bool(await status() == 200)

    async def may_not() -> bool:
        return bool(await status() == 401)

    await soon(may)
    assert (await admin.client.delete(f"{SETS}/{set_id}")).json() is True
    await soon(may_not)
