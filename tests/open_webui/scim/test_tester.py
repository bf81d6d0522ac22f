"""All checks of scim2-tester, a client that holds servers to the letter."""

import asyncio

import httpx2
import pytest
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import Status, check_server

from tests.open_webui.scim.conftest import BASE, TOKEN
from tests.support.live import Actor, Live

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


def check(url: str) -> list[str]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx2.Client(base_url=f"{url}{BASE}", headers=headers, trust_env=False) as http:
        results = check_server(SyncSCIMClient(http))
    assert len(results) > 40
    return [
        f"{one.status.name} {one.title} {one.resource_type}: {one.reason}"
        for one in results
        if one.status != Status.SUCCESS
    ]


async def test_all_checks_succeed(live: Live, admin: Actor) -> None:
    problems = await asyncio.to_thread(check, live.url)
    assert problems == [], problems
