"""A request to a model's process: sent once, again only where it can't have arrived, and explained when it breaks."""

import asyncio
import itertools
import os
import signal

import aiohttp
import pytest

from llamaforge.backends.llama_cpp import LlamaCppBackend
from llamaforge.exceptions import GenerationError, ModelNotFoundError
from llamaforge.pool import Limits, Pool, Spec
from llamaforge.pool.client import open_request

ELIZA = Spec("eliza", "doctor", "eliza", {"delay": 0.05})
PATH = "/v1/chat/completions"
BODY = b'{"messages": [{"role": "user", "content": "I am sad"}], "stream": true}'


@pytest.fixture
async def pool():
    async with Pool() as made:
        yield made


@pytest.fixture(params=[60.0])
async def http(request):
    timeout = aiohttp.ClientTimeout(total=None, sock_read=request.param)
    async with aiohttp.ClientSession(timeout=timeout) as made:
        yield made


def pid(pool):
    return pool.status()[0].pid


async def test_an_answer_comes_and_the_slot_is_free_afterwards(pool, http):
    heard = []
    async with open_request(pool, http, ELIZA, (PATH, BODY), on_lease=lambda: heard.append("lease")) as (lease, answer):
        assert (answer.status, lease.model, heard) == (200, "eliza", ["lease"])
        assert b"[DONE]" in await answer.read()
        assert pool.status()[0].in_use == 1
    assert pool.status()[0].in_use == 0


async def test_a_body_of_megabytes_arrives(pool, http):
    large = BODY.replace(b"I am sad", b"I am sad " + b"x" * 3_000_000)
    async with open_request(pool, http, ELIZA, (PATH, large)) as (_, answer):
        assert answer.status == 200


async def test_a_refusal_is_an_answer_like_any_other(pool, http):
    async with open_request(pool, http, ELIZA, (PATH, b"{}")) as (_, answer):
        assert answer.status == 400


async def test_a_process_that_died_unnoticed_is_replaced(pool, http, monkeypatch):
    await pool.load(ELIZA)
    dead = pid(pool)
    posts = []
    post = aiohttp.ClientSession.post

    async def kill_before_the_first(self, url, **options):
        posts.append(url)
        if len(posts) == 1:
            os.kill(dead, signal.SIGKILL)
            while True:  # until nothing listens any more
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", int(url.split(":")[2].split("/")[0]))
                    writer.close()
                except OSError:
                    break
        return await post(self, url, **options)

    monkeypatch.setattr(aiohttp.ClientSession, "post", kill_before_the_first)
    async with open_request(pool, http, ELIZA, (PATH, BODY)) as (_, answer):
        assert b"[DONE]" in await answer.read()
    assert pid(pool) != dead
    assert len(posts) == 2


async def read_while(pool, http, happens):
    """An answer during which something happens to its process."""
    async with open_request(pool, http, ELIZA, (PATH, BODY)) as (_, answer):
        await answer.content.readany()
        await happens()
        await answer.read()


async def test_one_that_dies_of_the_request_is_not_asked_again(pool, http):
    async def die():
        os.kill(pid(pool), signal.SIGKILL)

    with pytest.raises(GenerationError, match=r"crashed \(SIGKILL\)") as caught:
        await read_while(pool, http, die)
    assert (caught.value.status, caught.value.code) == (502, "model_crashed")


async def test_an_unload_under_the_answer_is_told_as_such_and_loads_nothing(pool, http):
    with pytest.raises(GenerationError, match="'eliza' was unloaded") as caught:
        await read_while(pool, http, lambda: pool.unload("eliza", force=True))
    assert caught.value.code == "model_unloaded"
    assert pool.status()[0].state == "stopped"


@pytest.mark.parametrize("http", [1.0], indirect=True)
async def test_silence_is_a_timeout(pool, http):
    async def stop():
        os.kill(pid(pool), signal.SIGSTOP)

    with pytest.raises(GenerationError, match="'eliza' took too long") as caught:
        await read_while(pool, http, stop)
    assert caught.value.status == 504


HANGS = """
import time
class Hangs:
    def load_model(self, model_path, parameters=None): ...
    def is_model_loaded(self): return True
    def generate(self, prompt, parameters=None): return "".join(self.generate_stream(prompt, parameters))
    def generate_stream(self, prompt, parameters=None):
        yield "one"
        if "sad" in prompt:
            time.sleep(600)
        for _ in range(6):
            time.sleep(1.2)
            yield "two"
"""


@pytest.mark.parametrize("body", [BODY, BODY.replace(b"true", b"false")], ids=["streamed", "whole"])
async def test_an_engine_that_hangs_is_ended_though_its_server_answers(tmp_path, monkeypatch, body):
    """And one that goes on, however slowly, is not."""
    (tmp_path / "hanging_backends.py").write_text(HANGS)
    monkeypatch.syspath_prepend(str(tmp_path))
    hangs = Spec("h", "x", "hanging_backends:Hangs")
    async with Pool(limits=Limits(health_seconds=2, hang_seconds=6)) as pool, aiohttp.ClientSession() as http:
        with pytest.raises(GenerationError, match=r"'h' got no further for \d+ seconds") as caught:
            async with open_request(pool, http, hangs, (PATH, body)) as (_, answer):
                await answer.read()
        assert (caught.value.status, caught.value.code) == (502, "model_crashed")
        async with open_request(pool, http, hangs, (PATH, body.replace(b"sad", b"glad"))) as (lease, answer):
            assert (await answer.read()).count(b"two") == 6
            await asyncio.sleep(2.5)  # a look at it
            assert not lease.failed.is_set()


class Engine:
    """What a pool sees of a process: whether it hangs, look by look, and the CPU time that it has used before each."""

    def __init__(self, hangs, used):
        self.looks, self.used = iter(hangs), iter(used)
        self.spec, self.alive, self.crashed, self.probing = Spec("h", "x"), True, None, False
        self.failed = None

    async def hangs(self, _seconds):
        return next(self.looks)

    def computed(self):
        return next(self.used)

    def fail(self, why):
        self.failed = why


WORKING, IDLE, UNKNOWN = itertools.count(0, 1.0), itertools.repeat(7.0), itertools.repeat(None)


@pytest.mark.parametrize(
    ("hangs", "used", "looks"),
    [
        ([False], IDLE, 1),
        ([True], IDLE, 1),
        ([True, True, False], WORKING, 3),
        ([True] * 12, WORKING, 12),
        ([True, True, False], UNKNOWN, 3),
        ([True] * 12, UNKNOWN, 12),
        ([True, True], [0, 1.0, 1.0, 1.0], 2),
    ],
    ids=["answers", "hangs", "computes", "computes without end", "unknown", "unknown without end", "computed"],
)
async def test_an_engine_that_computes_has_longer(hangs, used, looks):
    """A large prompt on a small machine is no hang; a loop without end is one after all."""
    engine = Engine(hangs, used)
    async with Pool(limits=Limits(hang_seconds=1)) as pool:
        await pool._probe(engine)
    assert (engine.failed is not None) == hangs[-1]
    assert list(engine.looks) == hangs[looks:]
    assert not engine.probing


async def test_what_a_process_computes_is_its_cpu_time(pool):
    async with pool.lease(ELIZA):
        (process,) = pool._processes
        assert 0 < process.computed() < 60


async def test_llama_cpp_tells_from_its_loop_whether_it_computes(http, gguf_that_says):
    path = gguf_that_says("Hello from the tiny test model.")
    spec = Spec("tiny", str(path), parameters={"n_threads": 1})
    async with Pool(limits=Limits(health_seconds=2, hang_seconds=30)) as pool, pool.lease(spec) as lease:
        headers = {"authorization": f"Bearer {lease.key}"}
        async with http.get(lease.url + LlamaCppBackend.alive_path(), headers=headers) as answer:
            assert (answer.status, await answer.json()) == (200, [])
        await asyncio.sleep(0.5)  # some looks at it
        assert not lease.failed.is_set()


async def test_a_load_that_is_refused_says_so(pool, http):
    with pytest.raises(ModelNotFoundError, match="no model 'nobody'"):
        async with open_request(pool, http, Spec("x", "nobody", "eliza"), (PATH, BODY)):
            pass


async def test_an_error_of_the_caller_passes_and_frees_the_slot(pool, http):
    with pytest.raises(LookupError):
        async with open_request(pool, http, ELIZA, (PATH, BODY)):
            raise LookupError
    assert pool.status()[0].in_use == 0
