"""Several models in memory: the budget, who has to go, leases under running generations, many threads."""

# ruff: noqa: ARG002 -- backends must take the arguments of the interface
import asyncio
import concurrent.futures
import threading
import time
from pathlib import Path

import pytest

from llamaforge import LlamaForge, ModelLoadError, backends, loading, register_backend, threads
from llamaforge.backends.base import BaseBackend
from llamaforge.exceptions import ConfigError
from llamaforge.loaded import LoadedModels
from llamaforge.memory.devices import RAM, machine_memory, parse_size, readable

MB = 1_000_000


class Weights(BaseBackend):
    """Holds a file in memory and says its name word for word; the class keeps count. A load waits until it `may_end`."""

    alive = 0
    loads = 0
    slow = 0.0
    begun, may_end = threading.Event(), threading.Event()
    lock = threading.Lock()

    def __init__(self):
        self.data = None

    def load_model(self, model_path, parameters=None):
        time.sleep(self.slow)
        self.begun.set()
        if not self.may_end.wait(30):
            raise RuntimeError("nobody let the load end")
        self.data = Path(model_path).read_bytes()
        with self.lock:
            Weights.alive += 1
            Weights.loads += 1

    def generate(self, prompt, parameters=None):
        return "".join(self.generate_stream(prompt))

    def generate_stream(self, prompt, parameters=None):
        for word in prompt.split(" "):
            if self.data is None:
                raise RuntimeError("unloaded under a generation")
            yield word

    def is_model_loaded(self):
        return self.data is not None

    def unload(self):
        self.data = None
        with self.lock:
            Weights.alive -= 1


@pytest.fixture
def forge(monkeypatch, tmp_path):
    """Models a, b and c of 1 MB each, and room for two."""
    monkeypatch.setattr(backends, "_registry", dict(backends._registry))
    for name in ("alive", "loads", "slow"):
        monkeypatch.setattr(Weights, name, 0)
    Weights.begun.clear()
    Weights.may_end.set()
    register_backend("weights", Weights)
    with LlamaForge(":memory:") as forge:
        for name in "abc":
            (tmp_path / name).write_bytes(bytes(MB))
            forge.add_model(name, tmp_path / name, "weights")
        forge.config.set("memory_budget", "2.5MB")
        yield forge
    assert Weights.alive == 0


def test_the_least_recently_used_goes(forge):
    forge.load_model("a")
    forge.load_model("b")
    assert forge.generate("x y", model="a") == "xy"
    forge.load_model("c")
    assert forge.loaded_models() == ["a", "c"]
    assert Weights.alive == 2
    assert forge._library.loaded.used_bytes() == 2 * MB


def test_one_that_had_to_go_comes_back_when_it_is_used(forge):
    forge.load_model("a")
    for name in "bc":
        forge.generate("x", model=name)
    assert not forge.is_model_loaded("a")
    assert forge.current_model.name == "a"
    assert forge.generate("x y") == "xy"
    assert forge.loaded_models() == ["c", "a"]


def test_a_model_in_use_stays_until_its_generation_ends(forge):
    stream = forge.generate_stream("x y z", model="a")
    assert next(stream) == "x"
    forge.load_model("b")
    forge.load_model("c")
    assert forge.loaded_models() == ["a", "c"]
    assert list(stream) == ["y", "z"]


def test_unloading_under_a_generation_lets_it_end(forge):
    stream = forge.generate_stream("x y z", model="a")
    next(stream)
    assert forge.unload_model("a") is True
    assert not forge.is_model_loaded("a")
    assert Weights.alive == 1
    assert next(stream) == "y"
    stream.close()
    assert Weights.alive == 0


def test_an_iterator_that_is_never_begun_holds_nothing(forge):
    stream = forge.generate_stream("x", model="a")
    forge.load_model("b")
    forge.load_model("c")
    assert forge.loaded_models() == ["b", "c"]
    assert list(stream) == ["x"]  # loaded again


def test_when_all_are_used_by_the_same_thread_it_is_told_at_once(forge):
    streams = [forge.generate_stream("x y", model=name) for name in "ab"]
    for stream in streams:
        next(stream)
    with pytest.raises(ModelLoadError, match=r"no room for the model 'c' \(1.0 MB of 2.5 MB\): in use are a, b"):
        forge.load_model("c")
    assert forge.loaded_models() == ["a", "b"]
    assert forge._library.loaded.used_bytes() == 2 * MB
    for stream in streams:
        stream.close()
    forge.load_model("c")


def test_a_load_waits_for_models_that_other_threads_use(forge):
    streams = [forge.generate_stream("x y", model=name) for name in "ab"]
    for stream in streams:
        next(stream)
    loading = threading.Thread(target=forge.load_model, args=("c",))
    loading.start()
    time.sleep(0.05)
    assert forge.loaded_models() == ["a", "b"]
    assert list(streams[0]) == ["y"]
    loading.join(10)
    assert forge.loaded_models() == ["b", "c"]
    streams[1].close()


def test_patience_ends(forge):
    forge._library.loaded.eviction_timeout = 0.05
    streams = [forge.generate_stream("x y", model=name) for name in "ab"]
    for stream in streams:
        next(stream)
    failed = []

    def load():
        try:
            forge.load_model("c")
        except ModelLoadError as error:
            failed.append(str(error))

    thread = threading.Thread(target=load)
    thread.start()
    thread.join(10)
    assert "no room for the model 'c'" in failed[0]
    for stream in streams:
        stream.close()


def test_a_model_larger_than_everything_allowed(forge, tmp_path):
    (tmp_path / "huge").write_bytes(bytes(3 * MB))
    forge.add_model("huge", tmp_path / "huge", "weights")
    forge.load_model("a")
    with pytest.raises(ModelLoadError, match=r"'huge' needs about 3.0 MB .* may take 2.5 MB \('memory_budget'"):
        forge.load_model("huge")
    assert forge.loaded_models() == ["a"]
    forge.config.set("memory_budget", 4 * MB)
    forge.load_model("huge")


def test_a_load_that_fails_gives_its_room_back(forge, tmp_path):
    forge.add_model("gone", tmp_path / "gone", "weights")
    with pytest.raises(ModelLoadError, match="'gone' could not be loaded"):
        forge.load_model("gone")
    assert forge._library.loaded.used_bytes() == 0
    (tmp_path / "gone").write_bytes(bytes(MB))
    forge.load_model("gone")


def test_a_folder_counts_its_weights(forge, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(bytes(MB))
    (folder / "tokenizer.json").write_bytes(bytes(MB))
    forge.add_model("folder", folder, "weights")
    with pytest.raises(ModelLoadError):
        forge.load_model("folder")
    with forge._library.using("a"):
        assert forge._library.loaded.used_bytes() == MB


def test_threads_that_want_one_model_load_it_once(forge):
    Weights.slow = 0.05
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(forge.generate("x y", model="a"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert answers == ["xy"] * 8
    assert Weights.loads == 1


def test_threads_that_want_more_models_than_fit_all_get_their_answers(forge):
    answers, failed = [], []

    def work(number):
        try:
            for step in range(20):
                name = "abc"[(number + step) % 3]
                if step % 7 == 6:
                    forge.unload_model(name)
                answers.append("".join(forge.generate_stream("w " * 5 + name, model=name)) == "wwwww" + name)
                assert forge._library.loaded.used_bytes() <= 2.5 * MB
        except Exception as error:  # noqa: BLE001 -- told below
            failed.append(repr(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failed == []
    assert answers == [True] * 120
    assert Weights.alive == len(forge.loaded_models()) <= 2


def test_fifty_rounds_of_load_and_unload_leave_nothing(forge):
    for _ in range(50):
        forge.load_model("a")
        forge.unload_model()
    assert Weights.loads == 50
    assert Weights.alive == 0
    assert forge._library.loaded.used_bytes() == 0


async def until_wait_for_a(forge, count):
    """Until the model a is being loaded, and so many wait for it."""
    async with asyncio.timeout(30):
        while not Weights.begun.is_set() or len(forge._library.loaded._loads["a"][0].waiting) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def until_unused(forge):
    """Until nobody uses the model a."""
    async with asyncio.timeout(30):
        while forge._library.loaded.get("a").users:  # noqa: ASYNC110 -- nothing tells of it
            await asyncio.sleep(0.01)


async def test_a_cancelled_wait_for_a_load_leaves_no_lease(forge):
    Weights.may_end.clear()
    waiting = asyncio.ensure_future(forge.agenerate("x", model="a"))
    await until_wait_for_a(forge, 1)
    waiting.cancel()
    Weights.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    while not forge.is_model_loaded("a"):  # noqa: ASYNC110 -- nothing tells of it
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    await until_unused(forge)


async def test_the_event_loop_goes_on_while_a_model_loads(forge):
    Weights.may_end.clear()
    answer = asyncio.ensure_future(forge.agenerate("x y", model="a"))
    await until_wait_for_a(forge, 1)
    for _ in range(5):
        await asyncio.sleep(0.01)
    assert not answer.done()
    Weights.may_end.set()
    assert await answer == "xy"


async def test_a_burst_of_requests_to_a_model_that_loads_stops_nobody_else(forge, monkeypatch):
    asyncio.get_running_loop().set_default_executor(concurrent.futures.ThreadPoolExecutor(1))
    Weights.may_end.clear()
    monkeypatch.setattr(threads, "_threads", threads._Threads())
    before = set(threading.enumerate())
    burst = [asyncio.ensure_future(forge.agenerate("x y", model="a")) for _ in range(30)]
    await until_wait_for_a(forge, 30)
    assert len(set(threading.enumerate()) - before) - threads._threads._idle == 1  # who waits holds none
    assert await asyncio.get_running_loop().getaddrinfo("localhost", 80)
    assert not any(one.done() for one in burst)
    Weights.may_end.set()
    assert await asyncio.gather(*burst) == ["xy"] * 30
    assert Weights.loads == 1


async def test_in_async_use_models_of_other_tasks_are_waited_for(forge):
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def read_slowly():
        pieces = []
        async for piece in forge.agenerate_stream("x y z", model="a"):
            pieces.append(piece)
            begun.set()
            await go_on.wait()
        return pieces

    reading = asyncio.ensure_future(read_slowly())
    holding = forge.agenerate_stream("x y", model="b")
    await asyncio.create_task(anext(holding))
    await begun.wait()
    assert sorted(forge.loaded_models()) == ["a", "b"]
    third = asyncio.ensure_future(forge.agenerate("x y", model="c"))
    await asyncio.sleep(0.05)
    assert not third.done()
    go_on.set()
    assert await third == "xy"  # in the room of a
    assert await reading == ["x", "y", "z"]
    assert sorted(forge.loaded_models()) == ["b", "c"]
    await holding.aclose()


async def test_a_task_that_holds_all_the_room_itself_is_told_at_once(forge):
    streams = [forge.agenerate_stream("x y", model=name) for name in "ab"]
    for stream in streams:
        await anext(stream)
    async with asyncio.timeout(30):
        with pytest.raises(ModelLoadError, match="no room for the model 'c'"):
            await forge.agenerate("x", model="c")
    for stream in streams:
        await stream.aclose()


async def test_a_thread_that_served_another_is_not_taken_for_it(forge):
    stream = forge.generate_stream("x y", model="a")
    await threads.call(next, stream)  # the lease is that of whoever steps the stream, not of the thread
    other = forge.generate_stream("x y", model="b")
    await threads.call(next, other)
    loading = asyncio.ensure_future(threads.call(forge.load_model, "c"))
    await asyncio.sleep(0.05)
    assert not loading.done()
    await threads.call(list, stream)
    await loading
    other.close()


async def test_those_who_wait_for_a_load_share_its_failure(forge, tmp_path):
    forge.add_model("gone", tmp_path / "gone", "weights")
    Weights.slow = 0.1
    answers = await asyncio.gather(*(forge.agenerate("x", model="gone") for _ in range(4)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [ModelLoadError] * 4
    assert forge._library.loaded.used_bytes() == 0


async def test_a_cancelled_one_of_many_takes_nothing_from_the_others(forge):
    Weights.may_end.clear()
    waiting = [asyncio.ensure_future(forge.agenerate("x", model="a")) for _ in range(4)]
    await until_wait_for_a(forge, 4)
    waiting[0].cancel()
    waiting[2].cancel()
    Weights.may_end.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(answer, asyncio.CancelledError) for answer in answers] == [True, False, True, False]
    await until_unused(forge)


def test_an_interrupted_load_leaves_nothing_and_those_who_waited_are_told(forge):
    begun, told = threading.Event(), []

    def interrupted():
        begun.set()
        deadline = time.monotonic() + 30
        while len(forge._library.loaded._loads["x"][0].waiting) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        raise KeyboardInterrupt

    def wait():
        begun.wait(30)
        try:
            forge._library.loaded.load("x", MB, {}, interrupted)
        except ModelLoadError as error:
            told.append(str(error))

    other = threading.Thread(target=wait)
    other.start()
    with pytest.raises(KeyboardInterrupt):
        forge._library.loaded.load("x", MB, {}, interrupted)
    other.join(30)
    assert told == ["The load of the model 'x' was interrupted."]
    assert forge._library.loaded.used_bytes() == 0


def test_an_engine_that_fails_to_unload_keeps_no_other_in_memory(forge, monkeypatch, caplog):
    class Stubborn(Weights):
        def unload(self):
            super().unload()
            raise OSError("it does not let go")

    register_backend("stubborn", Stubborn)
    forge.add_model("s", forge.get_model("a").path, "stubborn")
    models = forge._library.loaded
    for name in "sb":
        forge.load_model(name)
    first, second = models.take("s"), models.take("b")
    forge.unload_all()
    with monkeypatch.context() as patch:  # so that both go in one round
        patch.setattr(models, "_unload_retired", lambda: None)
        first.release()
        second.release()
    forge.load_model("c")
    assert models.used_bytes() == MB
    assert Weights.alive == 1
    assert "it does not let go" in caplog.text


async def test_a_load_for_which_there_is_no_thread_fails_and_the_next_one_does_not_wait_for_it(forge, monkeypatch):
    def none_left(thread):
        raise RuntimeError("can't start new thread")

    library = forge._library
    request = library._request("a", None)
    arguments = ("a", request.memory, request.settings, request.start)
    with monkeypatch.context() as patch:
        patch.setattr(threads, "_threads", threads._Threads())
        patch.setattr(threading.Thread, "start", none_left)
        with pytest.raises(ModelLoadError, match="can't start new thread"):
            await library.loaded.aload(*arguments)
    async with asyncio.timeout(30):
        (await library.loaded.aload(*arguments)).release()


def test_a_load_that_cannot_fit_evicts_nobody_and_blocks_nobody(forge, tmp_path):
    (tmp_path / "large").write_bytes(bytes(2 * MB))
    (tmp_path / "small").write_bytes(bytes(MB // 4))
    forge.add_model("large", tmp_path / "large", "weights")
    forge.add_model("small", tmp_path / "small", "weights")
    forge.load_model("b")
    holding = forge.generate_stream("x y", model="a")
    next(holding)
    large = threading.Thread(target=forge.load_model, args=("large",))
    large.start()
    time.sleep(0.05)
    assert forge.loaded_models() == ["b", "a"]  # 2 MB beside the busy one would not fit into 2.5 MB
    begun = time.monotonic()
    assert forge.generate("x", model="small") == "x"
    assert time.monotonic() - begun < 5
    holding.close()
    large.join(10)
    assert forge.is_model_loaded("large")


def test_two_loads_that_fit_only_one_after_the_other_do_not_block_each_other():
    models = LoadedModels(lambda: 10, eviction_timeout=5)
    done = []

    class Backend:
        def unload(self):
            return None

    def load(name):
        from llamaforge.loaded import Loaded

        def start():
            time.sleep(0.02)
            return Loaded(name, Backend())

        models.load(name, 8, {}, start).release()
        done.append(name)

    threads = [threading.Thread(target=load, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(done) == ["a", "b", "c", "d"]
    assert models.used_bytes() == 8


# ---- amounts


@pytest.mark.parametrize(
    ("value", "size"),
    [(1, 1), ("12GB", 12 * 10**9),
     ("12 gib", 12 * 2**30), ("0.5k", 500), ("100", 100), ("3B", 3), ("1TiB", 2**40), ("2m", 2 * MB)],
)  # fmt: skip
def test_amounts_of_memory(value, size):
    assert parse_size(value) == size


@pytest.mark.parametrize("value", [0, -1, "0", "", "much", "12XB", "-3GB", True, 1.5, [], "0.1B", "9" * 400 + "GB"])
def test_what_is_no_amount(value, forge):
    with pytest.raises(ConfigError, match="no amount of memory"):
        parse_size(value)
    forge.config.set("memory_budget", value)
    with pytest.raises(ConfigError, match="'memory_budget' of the configuration"):
        forge.load_model("a")


def test_amounts_as_people_read_them():
    assert [readable(size) for size in (5, 1500, 2 * MB, 12 * 10**9)] == ["5 B", "1.5 kB", "2.0 MB", "12.0 GB"]


def test_the_default_budget_is_a_share_of_the_machine(forge):
    forge.config.set("memory_budget", None)
    memory = machine_memory()
    assert memory is None or 0 < forge._library._budget()[RAM] < memory


# ---- real models


def test_the_context_is_counted_as_the_backend_makes_it(gguf_that_says):
    path = str(gguf_that_says(ctx=8192))
    several = ({}, {"n_ctx": 4096}, {"n_ctx": 0}, {"n_ctx": 8192, "n_parallel": 2})
    sizes = [loading.memory_needed(path, parameters) for parameters in several]
    assert sizes[0] == sizes[1] < sizes[2] < sizes[3]


def test_two_real_models_at_once_and_one_in_the_room_of_another(gguf_that_says, tmp_path):
    with LlamaForge(":memory:") as forge:
        for name in ("red", "green", "blue"):
            path = gguf_that_says(f"The sky is {name} today.")
            forge.add_model(name, path, parameters={"n_ctx": 256, "n_threads": 1, "n_parallel": 1, "temperature": 0})
        forge.load_model("red")
        size = forge.get_model_info("red")["memory"]
        assert size > 2 * MB
        forge.config.set("memory_budget", int(size * 2.5))
        assert forge.generate("hi") == "The sky is red today."
        assert forge.generate("hi", model="green") == "The sky is green today."
        red, green = forge.generate_stream("hi", model="red"), forge.generate_stream("hi", model="green")
        begun = next(red), next(green)
        assert begun[1] + "".join(green) == "The sky is green today."
        assert begun[0] + "".join(red) == "The sky is red today."
        assert forge.loaded_models() == ["green", "red"]
        assert forge.generate("hi", model="blue") == "The sky is blue today."
        assert forge.loaded_models() == ["red", "blue"]


@pytest.mark.parametrize("content", [b"", b"GGUF", b"garbage" * 1000])
def test_a_broken_file_is_a_load_error_and_leaves_the_others(gguf_that_says, tmp_path, content):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(content)
    with LlamaForge(":memory:") as forge:
        forge.load_model(str(gguf_that_says()), {"n_ctx": 256, "n_threads": 1})
        with pytest.raises(ModelLoadError):
            forge.load_model(str(broken))
        assert forge.generate("hi", temperature=0) == "Hello from the tiny test model."
