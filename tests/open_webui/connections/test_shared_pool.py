"""Processes that share a data folder have one pool: who holds the lock runs the models, the others have places there.

Two `SharedPool`s of one loop are two processes here: they know each other by the folder alone.
"""

import asyncio
import contextlib
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from llamaforge.exceptions import (
    APIError,
    BackendNotFoundError,
    ContextLengthError,
    LlamaForgeError,
    MissingExtraError,
    ModelBusyError,
    ModelLoadError,
)
from llamaforge.pool import Lease, Pool, Spec
from llamaforge.pool.model import was_unloaded
from open_webui.connections.local.pool_owner import LINE, PoolPlace, end, error_for
from open_webui.connections.local.shared_pool import SharedPool, error_of

ELIZA = Spec("eliza", "doctor", "eliza", {"delay": 0.01}, slots=1)
pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[[], SharedPool]]:
    made: list[SharedPool] = []

    def new() -> SharedPool:
        made.append(SharedPool(PoolPlace(tmp_path), Pool))
        return made[-1]

    yield new
    for pool in made:
        await pool.close()


@pytest.fixture
async def owner(make: Callable[[], SharedPool]) -> SharedPool:
    pool = make()
    await pool.load(ELIZA)
    return pool


@pytest.fixture
def asker(owner: SharedPool, make: Callable[[], SharedPool]) -> SharedPool:
    return make()


class Held:
    """A place that is held until `give_back`, by a task of its own as a request is."""

    def __init__(self, pool: SharedPool, user: str = "", *, patient: bool = False, spec: Spec = ELIZA) -> None:
        self.lease: Lease | None = None
        self.positions: list[int] = []
        self.got, self.over = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(self._hold(pool, spec, user, patient))

    async def _hold(self, pool: SharedPool, spec: Spec, user: str, patient: bool) -> None:
        async with pool.lease(spec, user=user, on_wait=self.positions.append, patient=patient) as self.lease:
            self.got.set()
            await self.over.wait()

    async def give_back(self) -> None:
        self.over.set()
        await self.task


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)


async def test_both_use_one_process_and_see_how_it_stands(owner: SharedPool, asker: SharedPool) -> None:
    (there,) = owner.status()
    first = Held(asker)
    await first.got.wait()
    assert first.lease is not None
    async with asyncio.timeout(30):
        host, port = first.lease.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET /v1/models HTTP/1.0\r\nAuthorization: Bearer {first.lease.key}\r\n\r\n".encode())
        assert b" 200 " in await reader.readline()
        writer.close()
    await asker.look()
    (seen,) = asker.status()
    assert (seen.pid, seen.state, seen.in_use) == (there.pid, "ready", 1)
    await first.give_back()
    await until(lambda: owner.status()[0].in_use == 0)


async def test_people_take_turns_over_both(owner: SharedPool, asker: SharedPool) -> None:
    running = Held(owner, "ada")
    await running.got.wait()
    adas = [Held(owner, "ada") for _ in range(2)]
    await until(lambda: adas[1].positions == [2])
    bob = Held(asker, "bob")
    await until(lambda: bob.positions == [2])
    await running.give_back()
    await adas[0].got.wait()
    await adas[0].give_back()
    await bob.got.wait()
    assert not adas[1].got.is_set()
    assert bob.positions == [2, 1]
    await bob.give_back()
    await adas[1].got.wait()
    await adas[1].give_back()


async def test_who_leaves_gives_its_place_back(owner: SharedPool, asker: SharedPool) -> None:
    holds, waits = Held(asker), Held(asker, "bob")
    await until(lambda: waits.positions == [1])
    waits.task.cancel()
    await until(lambda: owner.status()[0].queued == 0)
    holds.task.cancel()
    await until(lambda: owner.status()[0].in_use == 0)
    for held in (holds, waits):
        with pytest.raises(asyncio.CancelledError):
            await held.task


async def test_a_patient_one_gives_way_to_who_waits_elsewhere(owner: SharedPool, asker: SharedPool) -> None:
    patient = Held(asker, patient=True)
    await patient.got.wait()
    person = Held(owner, "ada")
    with pytest.raises(ModelBusyError, match="wanted by somebody"):
        await patient.task
    await person.got.wait()
    await person.give_back()


async def test_progress_comes_to_who_asked_for_the_load(owner: SharedPool, asker: SharedPool) -> None:
    parts: list[float] = []
    await asker.load(Spec("other", "doctor", "eliza"), parts.append)
    assert parts[-1] == 1.0
    await asker.look()
    assert [status.state for status in asker.status()] == ["ready", "ready"]


async def test_what_a_load_refuses_is_refused_where_it_was_asked(asker: SharedPool) -> None:
    with pytest.raises(BackendNotFoundError) as refused:
        await asker.load(Spec("wrong", "doctor", "no-such-backend"))
    assert (refused.value.code, "no-such-backend" in str(refused.value)) == ("backend_not_found", True)


@pytest.mark.parametrize(
    "error",
    [
        MissingExtraError("llamacpp", "llama.cpp"),
        ContextLengthError("too long", prompt_tokens=9, context_tokens=4),
        APIError("no", status=418, retry_after=1.5),
        was_unloaded("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_are_the_same_on_the_other_side(error: LlamaForgeError) -> None:
    other = error_of(msgspec.json.decode(msgspec.json.encode(error_for(error))))
    assert (type(other), str(other), vars(other)) == (type(error), str(error), vars(error))
    about = ("status", "kind", "code", "retryable", "retry_after")
    assert [getattr(other, name) for name in about] == [getattr(error, name) for name in about]


def test_an_error_that_is_not_known_here_is_a_plain_one() -> None:
    for name in ("NoSuchError", "how_to_install", "Path"):
        assert type(error_of({"class": name, "text": "no", "own": {}})) is LlamaForgeError


async def test_unloading_elsewhere_ends_it_and_says_so(owner: SharedPool, asker: SharedPool) -> None:
    held, waits = Held(asker), Held(asker, "bob")
    await until(lambda: waits.positions == [1])
    assert await asker.unload("eliza", force=True)
    assert held.lease is not None
    why = await held.lease.failure(5)
    assert (str(why), held.lease.crashed) == ("The model 'eliza' was unloaded.", False)
    with pytest.raises(ModelBusyError) as sent_away:
        await waits.task
    assert (sent_away.value.code, sent_away.value.retryable) == ("model_unloaded", False)
    assert owner.status()[0].pid is None
    assert not await asker.unload("eliza")
    await held.give_back()


async def test_a_crash_is_told_to_who_holds_a_place(owner: SharedPool, asker: SharedPool) -> None:
    held = Held(asker)
    await held.got.wait()
    assert held.lease is not None
    pool = owner._owner.pool  # type: ignore[union-attr]
    next(iter(pool._processes)).kill()
    why = await held.lease.failure(5)
    assert "crashed (SIGKILL)" in str(why)
    assert held.lease.crashed
    await held.give_back()


async def test_when_the_owner_goes_another_begins_anew(owner: SharedPool, asker: SharedPool) -> None:
    held, waits = Held(asker), Held(asker, "bob")
    await until(lambda: waits.positions == [1])
    await owner.close()
    assert held.lease is not None
    why = await held.lease.failure(5)
    assert "has ended" in str(why)
    assert held.lease.crashed
    # Who has begun nothing yet is served by the next owner.
    await waits.got.wait()
    assert asker.status()[0].in_use == 1
    await asyncio.gather(held.give_back(), waits.give_back())
    with pytest.raises(ModelBusyError, match="shut down"):
        await owner.load(ELIZA)


async def test_an_owner_that_does_not_listen_is_named(
    owner: SharedPool, asker: SharedPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("open_webui.connections.local.shared_pool.PATIENCE", 0.1)
    PoolPlace(tmp_path).socket.unlink()
    with pytest.raises(ModelLoadError, match=r"models-\w+\.lock"):
        await asker.load(ELIZA)
    await asker.look()
    assert asker.status() == []


async def test_what_a_killed_owner_left_is_in_nobodys_way(make: Callable[[], SharedPool], tmp_path: Path) -> None:
    place = PoolPlace(tmp_path)
    place.listen().close()
    place.lock.touch()
    assert place.socket.exists()
    await make().look()
    await make().load(ELIZA)
    assert stat.S_IMODE(place.socket.stat().st_mode) == 0o600


async def test_a_long_path_is_no_hindrance(tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 100) / ("b" * 100)
    async with contextlib.AsyncExitStack() as stack:
        owner, asker = (SharedPool(PoolPlace(folder), Pool) for _ in range(2))
        for pool in (owner, asker):
            stack.push_async_callback(pool.close)
        await owner.load(ELIZA)
        async with asker.lease(ELIZA):
            assert owner.status()[0].in_use == 1
    assert not PoolPlace(folder).socket.exists()


@pytest.mark.parametrize(
    "said",
    [b"", b"\n", b"nonsense\n", b"{}\n", b'{"op":"lease"}\n', b'{"op":"load","spec":{"x":1}}\n', b"x" * (LINE + 2)],
    ids=["nothing", "empty", "no-json", "no-question", "no-spec", "a-wrong-spec", "too-long"],
)
async def test_what_is_no_question_harms_nobody(
    owner: SharedPool, asker: SharedPool, tmp_path: Path, said: bytes
) -> None:
    reader, writer = await PoolPlace(tmp_path).connect()
    with contextlib.suppress(OSError):
        writer.write(said)
        await writer.drain()
        writer.write_eof()
        async with asyncio.timeout(30):
            assert await reader.read() == b""
    await end(writer)
    async with asker.lease(ELIZA):
        assert owner.status()[0].in_use == 1


async def test_only_one_becomes_the_owner(make: Callable[[], SharedPool]) -> None:
    pools = [make() for _ in range(4)]
    await asyncio.gather(*(pool.load(ELIZA) for pool in pools for _ in range(3)))
    assert len([pool for pool in pools if pool._owner is not None]) == 1
    for pool in pools:
        await pool.look()
    assert len({pool.status()[0].pid for pool in pools}) == 1
