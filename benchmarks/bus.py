"""What a message from one process to another costs over each carrier of the bus: CPU of sending and receiving together.

    python benchmarks/bus.py [--messages 4000] [--bytes 300] [--rounds 5]

Both ends are in this process, each with connections of its own; the servers of the tests carry (PostgreSQL, Redis), and
their own CPU is not counted. Messages are sent alone (a turn of the loop each) and 20 in one turn. The loop's own turns are
measured in the same run by a bus that has nobody to tell, and taken off. "rest": CPU of a second in which nothing is sent.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import uvloop  # noqa: E402

from open_webui.internal.bus.port import Bus  # noqa: E402
from tests.support import postgres  # noqa: E402 - found beside this folder
from tests.support.carriers import Carriage, MemoryCarriage, PostgresCarriage, RedisCarriage  # noqa: E402
from tests.support.redis import Redis  # noqa: E402

TOGETHER = 20


async def send(bus: Bus, payload: bytes, count: int, together: int) -> None:
    for number in range(count // together):
        for _ in range(together):
            bus.publish("news", payload)
        # A turn in which the carrier writes, and now and then time to take what arrives.
        await asyncio.sleep(0 if number % 4 else 0.001)


async def cost(work: Callable[[], Awaitable[None]]) -> float:
    """CPU seconds of this process."""
    began = time.process_time()
    await work()
    return time.process_time() - began


async def measure(carriage: Carriage, given: argparse.Namespace) -> dict[str, float]:
    """CPU: us a message by how many are sent together, ms of a second at rest."""
    got, payload = 0, bytes(given.bytes)

    def take(_peer: str, _payload: bytes) -> None:
        nonlocal got
        got += 1

    sender, receiver, alone = carriage.bus(), carriage.bus(), carriage.bus("alone")
    receiver.subscribe("news", take)
    for bus in (sender, receiver, alone):
        await bus.open()
    while not (sender.peers and receiver.peers):  # noqa: ASYNC110 - a bus tells when it likes
        await asyncio.sleep(0.01)
    figures = {"rest": await cost(lambda: asyncio.sleep(1)) * 1e3 / 3}
    for together in (1, TOGETHER):

        async def work(together: int = together) -> None:
            nonlocal got
            got = 0
            await send(sender, payload, given.messages, together)
            while got < given.messages:  # noqa: ASYNC110
                await asyncio.sleep(0.001)

        turns = await cost(lambda together=together: send(alone, payload, given.messages, together))
        figures[str(together)] = (await cost(work) - turns) / given.messages * 1e6
    for bus in (sender, receiver, alone):
        await bus.close()
    return figures


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=4_000)
    parser.add_argument("--bytes", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    database, redis = postgres.start(), Redis()
    redis.start()
    try:
        kinds = {
            "memory": MemoryCarriage(),
            "Redis": RedisCarriage(redis),
            "PostgreSQL": PostgresCarriage(database.url("postgres")),
        }
        rounds = [{name: await measure(kind, given) for name, kind in kinds.items()} for _ in range(given.rounds)]
        for name in kinds:
            alone, together, rest = (
                statistics.median(one[name][figure] for one in rounds) for figure in ("1", str(TOGETHER), "rest")
            )
            print(
                f"{name:11} {alone:5.0f} us alone  {together:5.0f} us {TOGETHER} together  rest {rest:.2f} ms/s a process"
            )
    finally:
        redis.stop()
        database.stop()


if __name__ == "__main__":
    uvloop.run(main())
