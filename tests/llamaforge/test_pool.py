"""Models in processes of their own: loaded once, leased, let go, begun anew after a crash, and never left behind."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from llamaforge.exceptions import (
    BackendNotFoundError,
    ModelBusyError,
    ModelLoadError,
    ModelNotFoundError,
    ParameterError,
)
from llamaforge.pool import Limits, Pool, Spec
from tests.support.process import clean_environment

ELIZA = Spec("eliza", "doctor", "eliza", slots=1)
MB = 10**6
BACKENDS = '''
import os, time
from pathlib import Path

class Fragile:
    """What its path says happens at its load."""
    def load_model(self, model_path, parameters=None):
        with Path((parameters or {})["log"]).open("a") as log:
            log.write("start\\n")
        if model_path == "dies":
            print("the last words", file=__import__("sys").stderr, flush=True)
            os.abort()
        if model_path == "hangs":
            time.sleep(60)
        if model_path == "fails":
            raise OSError("the disk is on fire")
        print("chatter on stdout")
    def generate(self, prompt, parameters=None):
        return prompt
    def generate_stream(self, prompt, parameters=None):
        yield prompt
    def is_model_loaded(self):
        return True
'''


@pytest.fixture
async def pool():
    async with Pool(limits=Limits(crash_pause=0.05, eviction_timeout=0.2)) as made:
        yield made


@pytest.fixture
def fragile(tmp_path, monkeypatch):
    """Specs of a backend of one's own whose load ends as `path` says; `starts()` counts its processes."""
    (tmp_path / "fragile_backends.py").write_text(BACKENDS)
    monkeypatch.syspath_prepend(str(tmp_path))
    log = tmp_path / "starts"
    log.touch()

    def make(path="works"):
        return Spec(path, path, "fragile_backends:Fragile", {"log": str(log)})

    make.starts = lambda: len(log.read_text().splitlines())
    return make


def gone(pid):
    """Whether no process has that number, not even a dead one that nobody has reaped."""
    return not psutil.pid_exists(pid)


def workers():
    """The models' processes of this one, which may have started others, such as a database."""
    found = []
    for child in psutil.Process().children():
        try:
            if "llamaforge.worker" in child.cmdline() or child.status() == psutil.STATUS_ZOMBIE:
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


async def until(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.01)


def state(pool, name):
    return next(status for status in pool.status() if status.name == name)


@contextlib.asynccontextmanager
async def held(pool, *specs):
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(pool.lease(spec)) for spec in specs]


# ---- loading


async def test_a_lease_loads_the_model_in_a_process_of_its_own(pool):
    told = []
    async with pool.lease(ELIZA, on_progress=told.append) as lease:
        assert lease.url.startswith("http://127.0.0.1:")
        assert (lease.model, len(lease.key) > 20, lease.failed.is_set()) == ("eliza", True, False)
        status = state(pool, "eliza")
        assert (status.state, status.progress, status.in_use, status.error) == ("ready", 1.0, 1, None)
        assert status.pid not in {None, os.getpid()}
        assert status.memory > 10 * MB
    assert told[-1] == 1.0
    assert state(pool, "eliza").in_use == 0


async def test_leases_at_a_time_share_one_load(pool, fragile):
    await asyncio.gather(*(pool.load(fragile()) for _ in range(3)))
    async with held(pool, fragile(), fragile()) as (one, other):
        assert one.url == other.url
    assert fragile.starts() == 1


async def test_a_backend_with_only_the_four_methods_runs_and_its_prints_do_no_harm(pool, fragile):
    async with pool.lease(fragile()) as lease:
        assert not lease.failed.is_set()


async def test_keys_are_neither_on_the_command_line_nor_in_the_repr(pool, fragile):
    secret = "sk-very-secret"
    spec = Spec("works", "works", "fragile_backends:Fragile", {**fragile().parameters, "api_key": secret})
    await pool.load(spec)
    assert secret not in " ".join(psutil.Process(state(pool, "works").pid).cmdline())
    assert secret not in repr(spec)


@pytest.mark.parametrize(
    ("spec", "error", "words"),
    [
        (Spec("a", "nobody", "eliza"), ModelNotFoundError, "Eliza has no model 'nobody'"),
        (Spec("a", "doctor", "eliza", {"delay": "long"}), ParameterError, "'delay' must be a number"),
        (Spec("a", "x", "nix"), BackendNotFoundError, "There is no backend 'nix'"),
        (Spec("a", "x", "no_such_module:Class"), BackendNotFoundError, "can't be imported"),
        (Spec("a", "x", "os:path"), ParameterError, "not a class"),
    ],
)
async def test_a_refused_load_says_the_backends_own_sentence(pool, spec, error, words):
    with pytest.raises(error, match=words):
        async with pool.lease(spec):
            pass
    status = state(pool, "a")
    assert (status.state, status.pid, status.in_use) == ("failed", None, 0)
    assert words in status.error


async def test_garbage_in_the_place_of_a_model_is_refused_with_the_reason(pool, tmp_path):
    pytest.importorskip("xllamacpp")
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + b"\xff" * 500)
    with pytest.raises(ModelLoadError, match="GGUF version"):
        await pool.load(Spec("bad", str(tmp_path / "bad.gguf")))


async def test_whatever_a_backend_raises_is_told(pool, fragile):
    with pytest.raises(ModelLoadError, match="the disk is on fire"):
        await pool.load(fragile("fails"))


async def test_a_load_that_takes_too_long_is_broken_off(fragile):
    async with Pool(load_timeout=0.5) as pool:
        with pytest.raises(ModelLoadError, match=r"not ready after 0\.5 seconds"):
            await pool.load(fragile("hangs"))
        assert workers() == []


async def test_a_cancelled_waiter_does_not_break_off_the_load_of_the_others(pool):
    first = asyncio.create_task(pool.load(ELIZA))
    second = asyncio.create_task(pool.load(ELIZA))
    await asyncio.sleep(0.05)
    first.cancel()
    await second
    assert state(pool, "eliza").state == "ready"


async def test_another_spec_under_the_name_is_another_process_and_running_requests_end_in_the_old_one(pool):
    async with pool.lease(Spec("eliza", "doctor", "eliza", slots=2)) as old:
        pid = state(pool, "eliza").pid
        async with pool.lease(Spec("eliza", "doctor", "eliza", {"upper": True}, slots=2)) as new:
            assert new.url != old.url
            assert not old.failed.is_set()
    await until(lambda: gone(pid))
    assert state(pool, "eliza").state == "ready"


# ---- slots


async def test_those_who_wait_for_a_slot_are_told_their_place(pool):
    places = []
    async with pool.lease(ELIZA):
        waiting = asyncio.create_task(pool.lease(ELIZA, user="b", on_wait=places.append).__aenter__())
        await until(lambda: state(pool, "eliza").queued == 1)
        await asyncio.sleep(0)
        assert places == [1]
        waiting.cancel()
        await asyncio.wait({waiting})
        assert state(pool, "eliza").queued == 0
    assert state(pool, "eliza").in_use == 0


async def test_a_patient_lease_ends_when_somebody_waits(pool):
    begun = asyncio.Event()

    async def patient():
        async with pool.lease(ELIZA, patient=True):
            begun.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(patient())
    await begun.wait()
    async with pool.lease(ELIZA, user="person"):
        with pytest.raises(ModelBusyError, match="wanted by somebody"):
            await task
    async with pool.lease(ELIZA, patient=True):
        await asyncio.sleep(0)
    with pytest.raises(TimeoutError):  # one of its own
        async with pool.lease(ELIZA, patient=True):
            raise TimeoutError


async def test_an_error_in_the_block_gives_the_slot_back(pool):
    with pytest.raises(LookupError):
        async with pool.lease(ELIZA):
            raise LookupError
    assert state(pool, "eliza").in_use == 0


def test_a_model_needs_a_slot():
    with pytest.raises(ValueError, match="at least one slot"):
        Spec("a", "b", slots=0)


# ---- letting go


async def test_the_least_recently_used_goes_when_room_is_needed():
    a, b, c = (Spec(name, "doctor", "eliza", memory=100 * MB) for name in "abc")
    async with Pool(memory_budget=250 * MB) as pool:
        for spec in (a, b, a, c):
            async with pool.lease(spec):
                pass
        assert {status.name: status.state for status in pool.status()} == {"a": "ready", "b": "stopped", "c": "ready"}


async def test_a_leased_model_is_never_let_go():
    a, b, c = (Spec(name, "doctor", "eliza", memory=100 * MB) for name in "abc")
    async with Pool(memory_budget=250 * MB, limits=Limits(eviction_timeout=0.1)) as pool, held(pool, a, b) as leases:
        with pytest.raises(
            ModelBusyError, match=r"no room for the model 'c' \(100\.0 MB of 250\.0 MB\): in use are a, b"
        ):
            await pool.load(c)
        assert [lease.failed.is_set() for lease in leases] == [False, False]


async def test_a_load_waits_for_the_room_of_a_running_request():
    a, b = (Spec(name, "doctor", "eliza", memory=100 * MB) for name in "ab")
    async with Pool(memory_budget=150 * MB) as pool:
        async with pool.lease(a):
            waiting = asyncio.create_task(pool.load(b))
            await asyncio.sleep(0.1)
            assert state(pool, "b").state == "loading"
        await waiting
        assert state(pool, "a").state == "stopped"


async def test_a_load_that_cannot_fit_evicts_nobody_and_holds_nobody_back():
    busy, idle, huge, small = (
        Spec(name, "doctor", "eliza", memory=size * MB)
        for name, size in (("busy", 600), ("idle", 200), ("huge", 800), ("small", 100))
    )
    async with Pool(memory_budget=1000 * MB, limits=Limits(eviction_timeout=20)) as pool:
        async with pool.lease(busy):
            await pool.load(idle)
            waiting = asyncio.create_task(pool.load(huge))
            await asyncio.sleep(0.1)
            assert state(pool, "idle").state == "ready"
            async with asyncio.timeout(10):
                await pool.load(small)
            assert state(pool, "huge").state == "loading"
        await waiting
        ready = {status.name for status in pool.status() if status.state == "ready"}
        assert ready in ({"huge", "idle"}, {"huge", "small"})


async def test_devices_are_counted_apart():
    specs = [Spec(name, "doctor", "eliza", memory={"cuda:0": size}) for name, size in (("a", 15), ("b", 8), ("c", 21))]
    async with Pool(memory_budget={"ram": 10_000 * MB, "cuda:0": 20}) as pool:
        await pool.load(specs[0])
        await pool.load(Spec("ram", "doctor", "eliza", memory=100 * MB))
        await pool.load(specs[1])
        assert {status.name: status.state for status in pool.status()} == {"a": "stopped", "b": "ready", "ram": "ready"}
        with pytest.raises(ModelLoadError, match="21 B of the memory of cuda:0"):
            await pool.load(specs[2])


async def test_a_model_larger_than_all_room_is_refused_at_once():
    async with Pool(memory_budget=150 * MB) as pool:
        with pytest.raises(
            ModelLoadError, match=r"needs about 200\.0 MB of memory, and all models together may take 150\.0 MB\."
        ):
            await pool.load(Spec("a", "doctor", "eliza", memory=200 * MB))


async def test_two_that_are_loaded_at_once_where_only_one_fits_are_each_loaded_once(fragile):
    log = fragile().parameters
    one, other = (Spec(name, "works", "fragile_backends:Fragile", log, memory=100 * MB) for name in "ab")
    async with Pool(memory_budget=150 * MB) as pool:
        await asyncio.gather(pool.load(one), pool.load(other))
        assert sorted(status.state for status in pool.status()) == ["ready", "stopped"]
    assert fragile.starts() == 2


async def test_rounds_of_loading_leave_nothing_open(pool):
    await pool.load(ELIZA)
    await pool.unload("eliza")
    process = psutil.Process()
    files, tasks = process.num_fds(), len(asyncio.all_tasks())
    for _ in range(4):
        await pool.load(ELIZA)
        await pool.unload("eliza")
    assert (process.num_fds(), len(asyncio.all_tasks()), workers()) == (files, tasks, [])


async def test_an_idle_model_goes_and_comes_back():
    async with Pool(idle_seconds=0.2) as pool:
        async with pool.lease(ELIZA):
            pid = state(pool, "eliza").pid
            await asyncio.sleep(0.4)
            assert not gone(pid)
        await until(lambda: gone(pid))
        assert state(pool, "eliza").state == "stopped"
        async with pool.lease(ELIZA):
            assert state(pool, "eliza").restarts == 0


async def test_unload_waits_for_running_requests_unless_forced(pool):
    assert await pool.unload("eliza") is False
    async with pool.lease(ELIZA) as lease:
        unloading = asyncio.create_task(pool.unload("eliza"))
        await asyncio.sleep(0.05)
        assert not unloading.done()
        assert not lease.failed.is_set()
    assert await unloading is True
    async with pool.lease(ELIZA) as lease:
        assert await pool.unload("eliza", force=True) is True
        assert "was unloaded" in str(await lease.failure())
    assert state(pool, "eliza").state == "stopped"


@pytest.mark.parametrize("force", [False, True])
async def test_unload_sends_its_line_away_and_nobody_loads_the_model_again(pool, force):
    served = asyncio.Event()

    async def ask(user):
        async with pool.lease(ELIZA, user=user):
            served.set()
            await asyncio.sleep(0.2)

    asking = [asyncio.create_task(ask(user)) for user in "abc"]
    await served.wait()
    assert state(pool, "eliza").queued == 2
    assert await pool.unload("eliza", force=force) is True
    results = await asyncio.gather(*asking, return_exceptions=True)
    assert results[0] is None
    for error in results[1:]:
        assert isinstance(error, ModelBusyError)
        assert "'eliza' was unloaded" in str(error)
        assert not error.retryable  # or clients load it again by themselves
    await asyncio.sleep(0.3)
    assert (state(pool, "eliza").state, workers()) == ("stopped", [])


async def test_a_model_that_is_unloaded_in_the_moment_in_which_it_is_ready_is_not_loaded_again(pool):
    unloading = []

    def on_progress(progress):
        if progress == 1.0:  # it is ready, and who waits for it has not gone on yet
            assert state(pool, "eliza").pid
            unloading.append(asyncio.create_task(pool.unload("eliza", force=True)))

    with pytest.raises(ModelBusyError, match="'eliza' was unloaded"):
        async with pool.lease(ELIZA, on_progress=on_progress):
            pass
    assert await unloading[0] is True
    assert (state(pool, "eliza").state, workers()) == ("stopped", [])


async def test_who_asks_while_a_model_is_unloaded_gets_a_new_process_after_the_old_one(pool):
    spec = Spec("eliza", "doctor", "eliza", slots=3)
    async with pool.lease(spec) as old:
        unloading = asyncio.create_task(pool.unload("eliza"))
        await asyncio.sleep(0)
        asking = asyncio.create_task(pool.load(spec))
        await asyncio.sleep(0.3)
        assert len(workers()) == 1
        assert not asking.done()
        assert not old.failed.is_set()
    assert await unloading is True
    await asking
    assert [worker.pid for worker in workers()] == [state(pool, "eliza").pid]


async def test_force_cuts_off_an_unload_that_waits(pool):
    async with pool.lease(ELIZA) as lease:
        waiting = asyncio.create_task(pool.unload("eliza"))
        await asyncio.sleep(0.02)
        assert await pool.unload("eliza", force=True) is True
        assert lease.failed.is_set()
        assert await waiting is True


async def test_a_cancelled_unload_still_lets_the_process_go_with_its_last_request(pool):
    async with pool.lease(ELIZA):
        unloading = asyncio.create_task(pool.unload("eliza"))
        await asyncio.sleep(0.02)
        unloading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await unloading
        assert len(workers()) == 1
    await until(lambda: workers() == [])


async def test_unload_breaks_off_a_load(pool, fragile):
    loading = asyncio.create_task(pool.load(fragile("hangs")))
    await until(lambda: fragile.starts() == 1)
    assert await pool.unload("hangs") is True
    with pytest.raises(ModelLoadError, match="unloaded before it was ready"):
        await loading
    assert workers() == []


async def test_an_unload_before_the_first_step_of_a_load_leaves_the_model_usable(pool):
    loaded, unloaded = await asyncio.gather(pool.load(ELIZA), pool.unload("eliza"), return_exceptions=True)
    assert "unloaded before it was ready" in str(loaded)
    assert unloaded is True
    assert pool.status()[0].state == "stopped"
    await pool.load(ELIZA)
    assert pool.status()[0].state == "ready"


# ---- crashes


async def test_a_killed_process_fails_its_lease_and_the_next_lease_starts_it_anew(pool):
    async with pool.lease(ELIZA) as lease:
        os.kill(state(pool, "eliza").pid, signal.SIGKILL)
        assert "crashed (SIGKILL)" in str(await lease.failure())
        assert lease.failed.is_set()
        status = state(pool, "eliza")
        assert (status.state, status.pid) == ("failed", None)
        assert "SIGKILL" in status.error
    async with pool.lease(ELIZA) as lease:
        assert await lease.failure(timeout=0.01) is None
    status = state(pool, "eliza")
    assert (status.state, status.restarts, status.error) == ("ready", 1, None)


async def test_a_crash_while_loading_is_told_with_the_signal_and_logged_with_the_last_words(pool, fragile, caplog):
    with pytest.raises(ModelLoadError, match=r"crashed while it was loading \(SIGABRT\)"):
        await pool.load(fragile("dies"))
    assert "the last words" in caplog.text


async def test_a_model_that_keeps_crashing_is_left_alone(fragile):
    async with Pool(limits=Limits(crash_pause=0.2, max_crashes=3)) as pool:
        begun = time.monotonic()
        for _ in range(3):
            with pytest.raises(ModelLoadError, match="SIGABRT"):
                async with pool.lease(fragile("dies")):
                    pass
        assert time.monotonic() - begun > 0.2  # the pause before the third start
        with pytest.raises(ModelLoadError, match="3 times in a row; it is tried again in 300 seconds"):
            async with pool.lease(fragile("dies")):
                pass
        assert fragile.starts() == 3
        with pytest.raises(ModelLoadError, match="SIGABRT"):
            await pool.load(fragile("dies"))  # asked for by hand, it is tried
        assert fragile.starts() == 4


async def test_a_refused_load_is_not_repeated_for_every_request(fragile):
    async with Pool(limits=Limits(crash_pause=60)) as pool:
        for _ in range(4):
            with pytest.raises(ModelLoadError, match="on fire"):
                async with pool.lease(fragile("fails")):
                    pass
    assert fragile.starts() == 2


async def test_a_process_that_answers_no_more_is_ended():
    async with Pool(limits=Limits(health_seconds=0.1)) as pool, pool.lease(ELIZA) as lease:
        os.kill(state(pool, "eliza").pid, signal.SIGSTOP)
        assert "does not answer any more" in str(await lease.failure(timeout=5))


# ---- monitoring


async def test_names_asked_for_once_are_forgotten_and_those_that_run_or_rest_are_not(fragile):
    async with Pool(limits=Limits(max_remembered=4, max_crashes=1)) as pool:
        await pool.load(ELIZA)
        with pytest.raises(ModelLoadError):
            await pool.load(fragile("fails"))
        for number in range(12):
            with pytest.raises(ModelNotFoundError):
                await pool.load(Spec(f"n{number}", "nobody", "eliza"))
            pool._models[f"n{number}"].not_before = 0.0  # its rest is over
        names = {status.name for status in pool.status()}
        assert {"eliza", "fails"} <= names
        assert len(names) <= 4
        assert state(pool, "eliza").state == "ready"


async def test_an_unexpected_error_of_the_monitor_is_logged_and_it_goes_on(monkeypatch, caplog):
    failures = iter([RuntimeError("something odd")])
    looked = Pool._look_after_all

    def fail_once(self, now):
        for error in failures:
            raise error
        looked(self, now)

    monkeypatch.setattr(Pool, "_look_after_all", fail_once)
    async with Pool(idle_seconds=0.2) as pool:
        await pool.load(ELIZA)
        await until(lambda: state(pool, "eliza").state == "stopped")
    assert "something odd" in caplog.text


async def test_a_process_that_hangs_delays_nothing_of_others():
    hangs = Spec("hangs", "doctor", "eliza")
    async with Pool(idle_seconds=0.4, limits=Limits(health_seconds=60)) as pool, pool.lease(hangs) as lease:
        pid = state(pool, "hangs").pid
        os.kill(pid, signal.SIGSTOP)
        for process in pool._processes:
            process.next_check = 0.0  # the next look asks it
        await pool.load(ELIZA)
        await until(lambda: state(pool, "eliza").state == "stopped")  # sooner than the other must have answered
        assert not lease.failed.is_set()
        os.kill(pid, signal.SIGCONT)


# ---- the end


async def test_close_ends_and_reaps_everything(fragile):
    pool = Pool()
    await pool.load(ELIZA)
    loading = asyncio.create_task(pool.load(fragile("hangs")))
    await until(lambda: fragile.starts() == 1)
    async with pool.lease(ELIZA):
        waiting = asyncio.create_task(pool.lease(ELIZA).__aenter__())
        await until(lambda: state(pool, "eliza").queued == 1)
        await pool.close()
    for task in (loading, waiting):
        with pytest.raises((ModelBusyError, ModelLoadError)):
            await task
    assert workers() == []
    with pytest.raises(ModelBusyError, match="shut down"):
        await pool.load(ELIZA)


async def test_the_end_of_the_event_loop_ends_everything(fragile):
    left = []

    async def leave_in_the_middle():
        pool = Pool()
        await pool.load(ELIZA)
        left.append(asyncio.create_task(pool.load(fragile("hangs"))))
        await until(lambda: fragile.starts() == 1)

    await asyncio.to_thread(asyncio.run, leave_in_the_middle())
    await until(lambda: workers() == [])


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help, and /proc")
def test_no_process_outlives_a_killed_parent(tmp_path):
    program = """
import asyncio, time
from llamaforge.pool import Pool, Spec
async def main():
    pool = Pool()
    await pool.load(Spec("eliza", "doctor", "eliza"))
    print(pool.status()[0].pid, flush=True)
    time.sleep(60)
asyncio.run(main())
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", program], env=clean_environment(), cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    with parent:
        pid = int(parent.stdout.readline())
        assert not gone(pid)
        parent.kill()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)
