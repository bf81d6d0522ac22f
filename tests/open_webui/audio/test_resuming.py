"""Long recordings on this machine: how far listening is, and that what was heard is not listened to again."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace

import psutil
import pytest
import pytest_asyncio

from open_webui.audio.base import Heard, Recording, Sofar, Telling
from open_webui.audio.local import Worker
from tests.support import real_whisper, spoken

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("audio-worker")]
FIRST, LAST = "Tomorrow we will meet at the station.", "The garden is full of yellow flowers."
# Pieces have five minutes at most; the first cut falls into the silence.
SILENCE = 310


class Noted(Telling):
    def __init__(self, sofar: Sofar | None = None) -> None:
        self.sofar = sofar or Sofar()
        self.kept: list[Sofar] = []
        self.told: list[tuple[float, float]] = []
        self.heard_one = asyncio.Event()

    async def reached(self, at: float, of: float) -> None:
        self.told.append((at, of))

    async def keep(self, sofar: Sofar) -> None:
        self.kept.append(sofar)
        self.heard_one.set()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker() -> AsyncIterator[Worker]:
    made = Worker(SimpleNamespace(local_models_idle_seconds=300))  # type: ignore[arg-type]
    yield made
    await made.close()


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    path = tmp_path_factory.mktemp("long") / "recording"
    path.write_bytes(spoken.recording(FIRST, SILENCE, LAST))
    return Recording(path=path, name="a.wav", mime="audio/wav", size=path.stat().st_size)


async def listened(worker: Worker, long: Recording, telling: Telling) -> Heard:
    return await worker.listen(long, real_whisper.folder(), None, 3_600, telling)


async def test_it_goes_on_where_an_attempt_ended(worker: Worker, long: Recording) -> None:
    noted = Noted()
    whole = await listened(worker, long, noted)
    assert "station" in whole.text
    assert "yellow flowers" in whole.text
    assert [sofar.at for sofar in noted.kept] == sorted({sofar.at for sofar in noted.kept})
    assert len(noted.kept) == 2
    assert "station" in noted.kept[0].texts[0]
    seconds = (long.size - 44) / 32_000
    assert all(of == pytest.approx(seconds, abs=0.1) for _, of in noted.told)
    assert noted.told[-1][0] == pytest.approx(seconds, abs=0.1)
    again = Noted(noted.kept[0])
    assert await listened(worker, long, again) == whole
    assert len(again.kept) == 1
    assert min(at for at, _ in again.told) > noted.kept[0].at
    # What was kept at the very end leaves nothing to listen to.
    over = Noted(noted.kept[-1])
    assert await listened(worker, long, over) == whole
    assert over.kept == []


async def test_who_leaves_in_the_middle_ends_the_process(worker: Worker, long: Recording) -> None:
    noted = Noted()
    listening = asyncio.create_task(listened(worker, long, noted))
    await asyncio.wait({listening, asyncio.create_task(noted.heard_one.wait())}, return_when=asyncio.FIRST_COMPLETED)
    (pid,) = worker.pids
    listening.cancel()
    await asyncio.wait({listening})
    assert pid not in worker.pids
    assert not psutil.pid_exists(pid)
    assert "yellow flowers" in (await listened(worker, long, Noted())).text
