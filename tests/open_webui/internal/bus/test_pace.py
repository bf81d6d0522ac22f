"""When a carrier writes: at once what is rare or waited for, together what comes often."""

import asyncio
from collections.abc import Sequence

from open_webui.internal.bus.transport import Carrier


class Loop(asyncio.SelectorEventLoop):
    """A loop in which time passes only while there is nothing to do, and then at once."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 1_000.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:
            self._now = max(self._now, self._scheduled[0].when())
        super()._run_once()


class Written(Carrier):
    """Notes what is written, and how many milliseconds after it was connected."""

    def __init__(self) -> None:
        super().__init__("a test", (OSError,))
        self.writes: list[tuple[float, bytes]] = []
        self._since = 0.0

    async def connect(self) -> None:
        self._since = asyncio.get_running_loop().time()

    async def read(self) -> None:
        await asyncio.Event().wait()

    async def write(self, batch: Sequence[tuple[str, bytes]]) -> None:
        at = asyncio.get_running_loop().time() - self._since
        self.writes += [(round(at * 1000, 3), data) for _, data in batch]

    async def disconnect(self) -> None:
        pass


async def sent(carrier: Written, at: float, data: bytes) -> None:
    """Sends something so many milliseconds after the carrier was connected."""
    await asyncio.sleep(carrier._since + at / 1000 - asyncio.get_running_loop().time())
    carrier.send("a", data)


async def play() -> list[tuple[float, bytes]]:
    carrier = Written()
    await carrier.open("me", lambda _data: None, lambda _is_up: None)
    await sent(carrier, 20, b"rare")
    # Within ten milliseconds of a write, all goes together at their end.
    for at in (21, 23, 29):
        await sent(carrier, at, b".")
    # Somebody waits for it: it goes at once.
    await sent(carrier, 34, b"waited for")
    await carrier.flush()
    await sent(carrier, 38, b"after that")
    # It goes with what is about to go.
    await sent(carrier, 46, b"soon")
    await sent(carrier, 48, b" and this")
    await carrier.flush()
    await sent(carrier, 200, b"rare again")
    await asyncio.sleep(0.1)
    await carrier.close()
    return carrier.writes


def test_writes_are_ten_milliseconds_apart_unless_somebody_waits_for_one() -> None:
    with asyncio.Runner(loop_factory=Loop) as runner:
        assert runner.run(play()) == [
            (20.0, b"rare"),
            (30.0, b"..."),
            (34.0, b"waited for"),
            (44.0, b"after that"),
            (54.0, b"soon and this"),
            (200.0, b"rare again"),
        ]
