"""Asynchronous clients: one for each event loop, closed with it, with what holds them, or when told to."""

import asyncio
import gc
import threading

from llamaforge.backends.loop_clients import AsyncClients


class Client:
    """Notes in which loop it was closed."""

    def __init__(self) -> None:
        self.closed_in: list[object] = []

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.closed_in.append(asyncio.get_running_loop())


async def test_one_for_each_loop() -> None:
    clients = AsyncClients(Client)
    here = await clients.get()
    assert await clients.get() is here
    found: list[Client] = []

    async def elsewhere() -> None:
        found.append(await clients.get())

    await asyncio.to_thread(asyncio.run, elsewhere())
    assert found[0] is not here
    assert (len(found[0].closed_in), here.closed_in) == (1, [])
    await clients.aclose()
    assert here.closed_in == [asyncio.get_running_loop()]
    assert await clients.get() is not here
    await clients.aclose()


def test_they_end_with_their_loop() -> None:
    clients = AsyncClients(Client)
    made = [asyncio.run(clients.get()), asyncio.run(clients.get())]
    assert made[0] is not made[1]
    assert [len(client.closed_in) for client in made] == [1, 1]
    assert clients._clients == {}
    clients.close()


async def test_they_end_with_what_holds_them() -> None:
    class Owner:
        def __init__(self) -> None:
            self.itself = self  # so that it is collected some time, not at once
            self.clients = AsyncClients(Client)

    owner = Owner()
    client = await owner.clients.get()
    del owner
    gc.collect()
    await asyncio.sleep(0.01)
    assert client.closed_in == [asyncio.get_running_loop()]


async def test_closed_from_another_thread() -> None:
    clients = AsyncClients(Client)
    client = await clients.get()
    thread = threading.Thread(target=clients.close)
    thread.start()
    await asyncio.to_thread(thread.join)
    await asyncio.sleep(0.01)
    assert client.closed_in == [asyncio.get_running_loop()]
