"""One person's API calls at once are counted over all processes."""

import asyncio
from types import SimpleNamespace

from tests.open_webui.processes.test_changes import soon
from tests.support.live import Actor, Live
from tests.support.upstream import Upstream

PATH = "/api/chat/completions"
ASK = {"model": "gated", "messages": [{"role": "user", "content": "Hi"}], "stream": True}


async def test_the_most_holds_for_all_processes_together(
    live: Live, second: Live, admin: Actor, there: SimpleNamespace, upstream: Upstream
) -> None:
    both = [one.app.state.oui.streams for one in (live, second)]
    for streams in both:
        streams._most = 2
    clients = (admin.client, there.admin.client)
    waiting = [asyncio.create_task(client.post(PATH, json=ASK)) for client in clients]

    async def all_know(count: int) -> bool:
        return [streams.elsewhere.of(admin.id) for streams in both] == [count, count]

    await soon(lambda: all_know(1))
    for client in clients:
        for whole in (False, True):
            refused = await client.post(PATH, json=ASK | {"stream": not whole})
            assert refused.status_code == 429, refused.text
    upstream.release(40)
    assert [(await reply).status_code for reply in waiting] == [200, 200]
    await soon(lambda: all_know(0))
    for client in clients:
        assert (await client.post(PATH, json=ASK | {"model": "fixed"})).status_code == 200


async def test_who_goes_takes_its_calls_along_and_who_comes_is_told(
    live: Live, second: Live, admin: Actor, there: SimpleNamespace, upstream: Upstream
) -> None:
    waiting = asyncio.create_task(there.admin.client.post(PATH, json=ASK))
    here, bus = live.app.state.oui.streams.elsewhere, second.app.state.oui.bus

    async def knows(count: int) -> bool:
        return here.of(admin.id) == count

    await soon(lambda: knows(1))
    await bus.close()
    await soon(lambda: knows(0))
    await bus.open()
    await soon(lambda: knows(1))
    upstream.release(40)
    assert (await waiting).status_code == 200
