"""Retry, fallback, cache and rate limit around backends, streamed and whole, sync and async."""

import asyncio
import copy
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import openai as sdk
import pytest
from pydantic import BaseModel

from llamaforge.exceptions import APIError
from synthora.callbacks import AsyncCallBackHandler, BaseCallBackHandler
from synthora.exceptions import FallbackError, MessageError
from synthora.messages import user
from synthora.models import (
    CacheBackend,
    FallbackBackend,
    MemoryStore,
    OpenAIChatBackend,
    RateLimitBackend,
    RateLimiter,
    Reply,
    RetryBackend,
    ScriptedBackend,
    SQLiteStore,
)
from tests.support.script import fixed_text
from tests.synthora.support import Listener

LOST = ConnectionError("lost")
WAYS = [(False, False), (False, True), (True, False), (True, True)]


async def ask(backend, stream, asynchronous, **more):
    """The answer of any of the four ways of asking."""
    if asynchronous:
        answer = await backend.async_run(user("x"), stream=stream, **more)
        return [m async for m in answer][-1] if stream else answer
    answer = backend.run(user("x"), stream=stream, **more)
    return list(answer)[-1] if stream else answer


ways = pytest.mark.parametrize(("stream", "asynchronous"), WAYS)


# ---- retry


@ways
async def test_retry(stream, asynchronous):
    handler = Listener()
    inner = ScriptedBackend(answers=[LOST, TimeoutError(), "there"], handlers=[handler])
    answer = await ask(RetryBackend(inner, delay=0.001), stream, asynchronous)
    assert answer.content == "there"
    assert handler.names().count("on_llm_error") == 2
    assert handler.names().count("on_llm_end") == 1


@ways
async def test_retry_gives_up(stream, asynchronous):
    inner = ScriptedBackend(answers=[LOST, LOST, "too late"])
    with pytest.raises(ConnectionError, match="lost"):
        await ask(RetryBackend(inner, attempts=2, delay=0), stream, asynchronous)
    assert len(inner.requests) == 2


@ways
async def test_no_retry_of_what_will_not_pass(stream, asynchronous):
    inner = ScriptedBackend(answers=[ValueError("wrong"), "never"])
    with pytest.raises(ValueError, match="wrong"):
        await ask(RetryBackend(inner, delay=0), stream, asynchronous)
    assert len(inner.requests) == 1


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_no_retry_after_the_first_message(asynchronous):
    inner = ScriptedBackend(answers=[Reply("a b", error=LOST), "never"])
    retry = RetryBackend(inner, delay=0)
    got = []

    async def read():
        if asynchronous:
            async for message in await retry.async_run(user("x"), stream=True):
                got.append(message.content)  # noqa: PERF401 -- what comes before the error counts
        else:
            got.extend(m.content for m in retry.run(user("x"), stream=True))

    with pytest.raises(ConnectionError, match="lost"):
        await read()
    assert got == ["a ", "a b"]
    assert len(inner.requests) == 1


def test_retry_waits_as_long_as_it_is_asked():
    inner = ScriptedBackend(answers=[APIError("slow", status=429, retry_after=0.05), "there"])
    started = time.monotonic()
    assert RetryBackend(inner, delay=0).run(user("x")).content == "there"
    assert time.monotonic() - started >= 0.05
    inner = ScriptedBackend(answers=[APIError("slow", status=429, retry_after=31), "never"])
    with pytest.raises(APIError):
        RetryBackend(inner, delay=0).run(user("x"))


def test_retry_with_a_real_provider(openai):
    """Its 429 asks for 7 seconds."""
    backend = OpenAIChatBackend("error429", max_retries=0)
    with pytest.raises(sdk.RateLimitError) as raised:
        RetryBackend(backend, delay=0, max_delay=1).run(user("x"))
    assert raised.value.retry_after == 7
    assert len(openai.chats) == 1
    backend.close()


@ways
async def test_one_policy_for_retries(openai, stream, asynchronous):
    """The SDK would send each attempt three times."""
    backend = OpenAIChatBackend("error503")
    retry = RetryBackend(FallbackBackend([backend]), delay=0, attempts=2)
    for model, count in (("error503", 2), ("error401", 1), ("nosuch", 1)):
        openai.received.clear()
        backend.model_type = model
        with pytest.raises(FallbackError):
            await ask(retry, stream, asynchronous)
        with pytest.raises(sdk.APIError):
            await ask(RetryBackend(backend, delay=0, attempts=2), stream, asynchronous)
        assert len(openai.chats) == 2 * count, model
    openai.received.clear()
    backend.model_type = "error429"
    with pytest.raises(sdk.RateLimitError):
        await ask(RetryBackend(backend, max_delay=1), stream, asynchronous)
    assert len(openai.chats) == 1
    backend.close()


def test_pauses_grow():
    retry = RetryBackend(ScriptedBackend(), attempts=9, delay=1, factor=2, max_delay=5)
    for attempt, longest in enumerate((1, 2, 4, 5, 5), start=1):
        assert longest / 2 <= retry._pause(LOST, attempt) <= longest
    with pytest.raises(ValueError, match="at least one attempt"):
        RetryBackend(ScriptedBackend(), attempts=0)


# ---- fallback


@ways
async def test_fallback(stream, asynchronous):
    handler = Listener()
    first, second = ScriptedBackend(name="first", answers=[LOST]), ScriptedBackend(name="second", answers=["there"])
    chain = FallbackBackend([first, second])
    chain.add_handler(handler)
    answer = await ask(chain, stream, asynchronous)
    assert answer.content == "there"
    assert answer.metadata["backend"] == "second"
    assert answer.metadata["failed"] == [{"backend": "first", "error": "lost"}]
    assert handler.names()[:3] == ["on_llm_start", "on_llm_error", "on_llm_start"]
    assert (chain.name, chain.source) == ("first", first.source)


@ways
async def test_the_first_needs_no_name(stream, asynchronous):
    chain = FallbackBackend([ScriptedBackend(answers=["there"]), ScriptedBackend()])
    assert "backend" not in (await ask(chain, stream, asynchronous)).metadata


@ways
async def test_all_have_failed(stream, asynchronous):
    chain = FallbackBackend(
        [ScriptedBackend(name="first", answers=[LOST]), ScriptedBackend(name="second", answers=[ValueError("no")])]
    )
    with pytest.raises(FallbackError, match="first: lost; second: no") as raised:
        await ask(chain, stream, asynchronous)
    assert [name for name, _ in raised.value.failures] == ["first", "second"]
    assert isinstance(raised.value.__cause__, ValueError)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_no_fallback_after_the_first_message(asynchronous):
    second = ScriptedBackend(answers=["never"])
    chain = FallbackBackend([ScriptedBackend(answers=[Reply("a", error=LOST)]), second])
    with pytest.raises(ConnectionError, match="lost"):
        await ask(chain, True, asynchronous)
    assert second.requests == []


def test_wrong_messages_are_wrong_for_all():
    with pytest.raises(MessageError):
        FallbackBackend([ScriptedBackend(), ScriptedBackend(answers=["x"])]).run("text")
    with pytest.raises(ValueError, match="at least one"):
        FallbackBackend([])


# ---- cache


class Answer(BaseModel):
    ok: bool


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    if request.param == "memory":
        yield MemoryStore()
    else:
        made = SQLiteStore(tmp_path / "answers.db")
        yield made
        made.close()


@ways
async def test_cache(store, stream, asynchronous):
    handler = Listener()
    prices = {"m": {"input": 1, "output": 1}}
    reply = Reply('{"ok": true}', usage={"prompt_tokens": 3, "completion_tokens": 4})
    inner = ScriptedBackend("m", [reply], config={"prices": prices, "response_format": Answer}, handlers=[handler])
    cache = CacheBackend(inner, store)
    first = await ask(cache, stream, asynchronous)
    again = await ask(cache, stream, asynchronous)
    other_way = await ask(cache, not stream, not asynchronous)
    assert len(inner.requests) == 1
    for kept in (again, other_way):
        assert (kept.content, kept.parsed, kept.id, kept.source) == (
            first.content,
            Answer(ok=True),
            first.id,
            first.source,
        )
        assert kept.metadata["usage"] == first.metadata["usage"]
        assert (kept.metadata["cached"], kept.metadata["cost"]) == (True, 0.0)
    assert first.metadata["cost"] > 0
    assert "cached" not in first.metadata
    assert handler.names().count("on_llm_start") == handler.names().count("on_llm_end") == 3
    assert handler.events[-1][2]["cached"] is True


def test_what_makes_another_request(store):
    inner = ScriptedBackend(answers=[str(n) for n in range(9)])
    cache = CacheBackend(inner, store)
    asked = [
        cache.run(user("x")), cache.run(user("y")), cache.run([user("x"), user("x")]),
        cache.run(user("x"), temperature=1), cache.run(user("x"), response_format={"type": "text"}),
    ]  # fmt: skip
    inner.model_type = "other"
    asked.append(cache.run(user("x")))
    assert [answer.content for answer in asked] == ["0", "1", "2", "3", "4", "5"]
    assert cache.run(user("x"), stream=False, timeout=3).content == "5"


async def test_what_is_not_kept(store):
    inner = ScriptedBackend(answers=[LOST, Reply("a b", error=LOST), "a b c", "there"])
    cache = CacheBackend(inner, store)
    with pytest.raises(ConnectionError):
        cache.run(user("x"))
    with pytest.raises(ConnectionError):
        list(cache.run(user("x"), stream=True))
    stream = cache.run(user("x"), stream=True)
    next(stream)
    stream.close()
    assert cache.run(user("x")).content == "there"


def test_the_key_is_the_same_in_every_process(tmp_path):
    """Nothing in it is the place of an object in memory, or the order of a set."""
    code = (
        "import datetime, pathlib; from synthora.messages import user; from synthora.models import *\n"
        "cache = CacheBackend(ScriptedBackend(answers=['x'], repeat=True))\n"
        "odd = {'metadata': {'when': datetime.date(2026, 1, 2), 'where': pathlib.Path('x'), 'who': {'a', 'b', 'c', 'd'}}}\n"
        "print(cache._key(user('x'), odd), cache._key(user('x'), {'seed': object()}))"
    )
    told = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(told) == 1
    assert told.pop().split()[1] == "None"


@ways
async def test_a_parameter_without_a_lasting_form(stream, asynchronous, store):
    inner = ScriptedBackend(answers=["one", "two"])
    cache = CacheBackend(inner, store)
    said = [(await ask(cache, stream, asynchronous, seed=object())).content for _ in range(2)]
    assert said == ["one", "two"]


def test_threads_that_ask_the_same_ask_once(store):
    inner = ScriptedBackend(answers=[Reply("one", delay=0.1), "two"])
    cache = CacheBackend(inner, store)
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda _: cache.run(user("x")), range(8)))
    assert {answer.content for answer in said} == {"one"}
    assert [bool(answer.metadata.get("cached")) for answer in said].count(False) == len(inner.requests) == 1


async def test_tasks_that_ask_the_same_ask_once(store):
    inner = ScriptedBackend(answers=[Reply("one", delay=0.05), "two"])
    cache = CacheBackend(inner, store)
    said = await asyncio.gather(*(cache.async_run(user("x")) for _ in range(8)))
    assert {answer.content for answer in said} == {"one"}
    assert len(inner.requests) == 1


async def test_who_asks_first_and_fails_or_leaves_leaves_the_others_to_themselves(store):
    cache = CacheBackend(ScriptedBackend(answers=[Reply("one", delay=9), "two", LOST, "three"]), store)
    first = asyncio.create_task(cache.async_run(user("x")))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(cache.async_run(user("x")))
    await asyncio.sleep(0.01)
    first.cancel()
    assert (await second).content == "two"
    with pytest.raises(ConnectionError):
        cache.run(user("y"))
    assert cache.run(user("y")).content == "three"
    assert cache._asked == cache._aasked == {}


async def test_who_asks_within_the_same_request_does_not_wait_for_himself():
    class Asks(AsyncCallBackHandler):
        async def on_llm_start(self, *_, **__):
            if not said:
                said.append("")
                [said[0]] = [answer.content for answer in await asyncio.gather(cache.async_run(user("x")))]

    said = []
    cache = CacheBackend(ScriptedBackend(answers=["one", "two"], handlers=[Asks()]))
    async with asyncio.timeout(30):
        assert (await cache.async_run(user("x"))).content == "two"
    assert said == ["one"]
    assert cache._aasked == {}


def test_a_handler_that_asks_the_same_is_not_waited_for():
    class Asks(BaseCallBackHandler):
        def on_llm_start(self, *_, **__):
            if not said:
                said.append("")
                said[0] = cache.run(user("x")).content

    said = []
    cache = CacheBackend(ScriptedBackend(answers=["inner", "outer"], handlers=[Asks()]))
    assert cache.run(user("x")).content == "outer"
    assert said == ["inner"]


def test_a_kept_answer_that_cannot_be_read(tmp_path):
    store = SQLiteStore(tmp_path / "answers.db")
    cache = CacheBackend(ScriptedBackend(answers=["one", "two"]), store)
    cache.run(user("x"))
    with sqlite3.connect(tmp_path / "answers.db") as database:
        database.execute("UPDATE answers SET value = 'junk'")
    database.close()
    assert cache.run(user("x")).content == "two"
    store.close()


def test_memory_is_bounded():
    store = MemoryStore(max_entries=2)
    for key in "ab":
        store.set(key, key)
    store.get("a")
    store.set("c", "c")
    assert [store.get(key) for key in "abc"] == ["a", None, "c"]


# ---- rate limit


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_limiter_fills_evenly():
    clock = Clock()
    limiter = RateLimiter(requests_per_minute=2, tokens_per_minute=60, clock=clock)
    assert [limiter.reserve(0) for _ in range(4)] == [0, 0, 30, 60]
    clock.now = 60
    assert limiter.reserve(0) == 30
    limiter = RateLimiter(tokens_per_minute=60, clock=clock)
    assert limiter.reserve(600) == 0  # more than a minute has counts as a minute's
    assert limiter.reserve(30) == 30
    limiter.settle(30, used=0, requests=0)
    assert limiter.reserve(1) == 1
    limiter.settle(1, used=11)
    assert limiter.reserve(1) == 12
    for limits in ({"requests_per_minute": 0}, {"tokens_per_minute": -1}, {"tokens_per_minute": float("nan")}):
        with pytest.raises(ValueError, match="more than 0"):
            RateLimiter(**limits)
    assert RateLimiter().reserve(10**9) == 0


def test_less_than_one_request_a_minute():
    clock = Clock()
    limiter = RateLimiter(requests_per_minute=0.5, clock=clock)
    assert [limiter.reserve(0) for _ in range(3)] == [0, 120, 240]
    limiter.settle(0, used=0, requests=0)
    clock.now = 10_000
    assert [limiter.reserve(0) for _ in range(2)] == [0, 120]


@ways
async def test_rate_limit(stream, asynchronous):
    inner = ScriptedBackend(answers=["a"], repeat=True)
    limiter = RateLimiter(requests_per_minute=1200)
    limiter._levels[0] = 1  # as after many requests
    limited = RateLimitBackend(inner, limiter)
    started = time.monotonic()
    for _ in range(3):
        await ask(limited, stream, asynchronous)
    assert time.monotonic() - started >= 0.09


@ways
async def test_tokens_are_counted_by_the_usage(stream, asynchronous):
    clock = Clock()
    limiter = RateLimiter(tokens_per_minute=1000, clock=clock)
    reply = Reply("a", usage={"prompt_tokens": 100, "completion_tokens": 200})
    limited = RateLimitBackend(ScriptedBackend(answers=[reply]), limiter)
    await ask(limited, stream, asynchronous, max_tokens=500)
    assert limiter._levels[1] == pytest.approx(700)


async def test_who_gives_up_gives_back():
    limiter = RateLimiter(requests_per_minute=60)
    limiter._levels[0] = 0.0
    limited = RateLimitBackend(ScriptedBackend(answers=["a"]), limiter)
    task = asyncio.create_task(limited.async_run(user("x")))
    await asyncio.sleep(0.01)
    assert limiter._levels[0] == pytest.approx(-1, abs=0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert limiter._levels[0] >= 0  # and it goes on filling


@ways
async def test_a_request_that_fails_gives_its_tokens_back(stream, asynchronous):
    clock = Clock()
    limiter = RateLimiter(requests_per_minute=60, tokens_per_minute=10_000, clock=clock)
    limited = RateLimitBackend(ScriptedBackend(answers=[LOST] * 6), limiter)
    for _ in range(6):
        with pytest.raises(ConnectionError):
            await ask(limited, stream, asynchronous, max_tokens=4000)
    assert limiter._levels == [54, 10_000]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("error", [None, LOST])
async def test_a_stream_that_is_not_read_to_its_end_gives_tokens_back(asynchronous, error):
    """About what was read is billed: the messages' 1.25 tokens, and the answer's characters."""
    clock = Clock()
    limiter = RateLimiter(tokens_per_minute=10_000, clock=clock)
    limited = RateLimitBackend(ScriptedBackend(answers=[Reply("four five", error=error)] * 2), limiter)
    for read in (0, 1):  # messages before it is closed
        if asynchronous:
            stream = await limited.async_run(user("x"), stream=True, max_tokens=4000)
            for _ in range(read):
                await anext(stream)
            await stream.aclose()
        else:
            stream = limited.run(user("x"), stream=True, max_tokens=4000)
            for _ in range(read):
                next(stream)
            stream.close()
    assert limiter._levels[1] == pytest.approx(10_000 - 1.25 - len("four ") / 4)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_limiter_may_count(asynchronous, monkeypatch):
    clock = Clock()
    limiter = RateLimiter(tokens_per_minute=1000, clock=clock)
    inner = ScriptedBackend(answers=[Reply("four", usage={})] * 2)
    limited = RateLimitBackend(inner, limiter, exact=True)
    await ask(limited, False, asynchronous)  # nobody can count: about four characters a token, and one
    assert limiter._levels[1] == pytest.approx(1000 - 1.25 - 1)
    monkeypatch.setattr(inner, "count_tokens", lambda _, **given: 100 * len(given))
    await ask(limited, False, asynchronous, max_tokens=500)
    assert limiter._levels[1] == pytest.approx(1000 - 1.25 - 1 - 200 - 1)


def test_threads_take_their_turn():
    limiter = RateLimiter(requests_per_minute=6000)
    limiter._levels[0] = 0.0
    limited = RateLimitBackend(ScriptedBackend(answers=["a"], repeat=True), limiter)
    started = time.monotonic()
    threads = [threading.Thread(target=limited.run, args=(user("x"),)) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert time.monotonic() - started >= 0.09


def test_a_store_is_its_owners_only(tmp_path):
    store = SQLiteStore(tmp_path / "answers.db")
    store.set("a", "b")
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
    store.close()
    with pytest.raises(sqlite3.Error):
        SQLiteStore(tmp_path / "nowhere" / "answers.db")
    memory = SQLiteStore(":memory:")
    memory.set("a", "b")
    assert memory.get("a") == "b"


# ---- all together


def test_a_copy_of_a_fallback_has_backends_of_its_own():
    chain = FallbackBackend([ScriptedBackend(answers=[LOST]), ScriptedBackend(answers=["there"])])
    twin = copy.deepcopy(chain)
    assert twin.backend is twin.backends[0]
    twin.backends[1].config["seed"] = 1
    twin.add_handler(Listener())
    for backend in chain.backends:
        assert (backend.config, backend.callback_manager.handlers) == ({}, [])
    assert twin.run(user("x")).content == "there"


def test_wrappers_are_backends(openai):
    inner = OpenAIChatBackend("fixed", max_retries=0, config={"max_tokens": 2})
    backend = CacheBackend(RetryBackend(RateLimitBackend(inner, RateLimiter(requests_per_minute=600))))
    assert (backend.name, backend.model_type, backend.source, backend.stream) == ("fixed", "fixed", inner.source, False)
    backend.set_stream(True)
    assert inner.stream is True
    assert [m.chunk for m in backend.run(user("x"))] == ["the ", "quick ", None, None]
    assert [m.chunk for m in backend.run(user("x"))] == [fixed_text(2)]
    handler = Listener()
    backend.add_handler(handler)
    twin = copy.deepcopy(backend)
    twin.set_stream(False)
    assert inner.stream is True
    assert twin.run(user("x")).metadata["cached"] is True
    assert handler.names() == ["on_llm_start", "on_llm_end"]
    with pytest.raises(TypeError, match="made around a backend"):
        RetryBackend.default()
    with pytest.raises(TypeError, match="is no backend"):
        RetryBackend("gpt-4o")
    with pytest.raises(AttributeError):
        backend.nosuch  # noqa: B018
    inner.close()


async def test_closing_reaches_the_provider(openai):
    inner = OpenAIChatBackend("stall", max_retries=0)
    backend = FallbackBackend([CacheBackend(RetryBackend(RateLimitBackend(inner, RateLimiter())))])
    stream = backend.run(user("x"), stream=True)
    next(stream)
    stream.close()
    openai.wait_for(lambda up: up.chats[0].ended.is_set())
    stream = await backend.async_run(user("x"), stream=True)
    await anext(stream)
    await stream.aclose()
    await openai.wait_for_async(lambda up: up.chats[1].ended.is_set())
    assert [received.disconnected for received in openai.chats] == [True, True]
    inner.close()
