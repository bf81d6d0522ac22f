"""The gate's budget: asked before each call, and told once how it ended, whatever ended it."""

import asyncio
import random
from typing import Any

import aiohttp
import pytest

from open_webui.connections.calls import Estimate, Kind
from open_webui.connections.estimate import estimate_of
from open_webui.connections.gate import Gate
from open_webui.connections.local.eliza import ElizaConnection
from open_webui.errors import NotFound, ProviderError, TooManyRequests
from open_webui.internal.load import Load
from tests.open_webui.connections.test_gate import ADA, ANN, ASK, STREAM, Log, Made, Shelf, read
from tests.support.purse import USED_UP, Held, Purse
from tests.support.upstream import Upstream, entered

COUNTS = {"prompt_tokens": 7, "completion_tokens": 20, "cached_tokens": None, "reasoning_tokens": None}


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def purse() -> Purse:
    return Purse()


@pytest.fixture
def gate(log: Log, purse: Purse) -> Gate:
    return Gate(Shelf(), log, Load(), budget=purse, traces=(log,))


@pytest.fixture
def made(http: aiohttp.ClientSession, upstream: Upstream) -> Made:
    return Made(http, upstream)


async def test_an_answer_is_settled_with_its_counts(gate: Gate, purse: Purse, made: Made, upstream: Upstream) -> None:
    await read(gate.chat(ANN, made("echo"), STREAM, chat_id="c", message_id="m"))
    async with gate.chat(ANN, made("echo"), ASK | {"max_tokens": 20}, kind="task") as reply:
        await reply.whole()
    upstream.refuses_stream_options = 400
    await read(gate.chat(ANN, made("fixed"), STREAM, kind="chat"))
    assert [(h.call.user_id, h.call.kind, h.call.chat_id, h.call.model_id) for h in purse.held] == [
        ("ann", "api", "c", "echo"), ("ann", "task", None, "echo"), ("ann", "chat", None, "fixed"),
    ]  # fmt: skip
    assert [held.estimate.completion for held in purse.held] == [None, 20, None]
    assert purse.ends()[:2] == [COUNTS, COUNTS]
    assert len(upstream.chats) == 4, "asked again without the field, in the same reservation"


async def test_embeddings_are_asked_for_and_operations_are_not(gate: Gate, purse: Purse, made: Made) -> None:
    await gate.embed(ANN, made("echo"), {"input": ["a", "b"]})
    await gate.call(ANN, made("echo:latest", made.ollama), "/api/embed", {"input": "a"}, "embedding")
    await gate.call(ANN, made("echo:latest", made.ollama), "/api/show", {})
    await gate.ask_server(ANN, made.ollama, "/api/version", timeout=5)
    with pytest.raises(ProviderError):
        await entered(gate.change_server(ADA, made.ollama, "POST", "/api/pull", {"model": "x"}))
    assert [held.call.kind for held in purse.held] == ["embedding", "embedding"]
    assert [end["prompt_tokens"] for end in purse.ends()] == [1, 1]


async def test_who_is_refused_asks_nobody(gate: Gate, log: Log, purse: Purse, made: Made, upstream: Upstream) -> None:
    purse.refuses = lambda _call: True
    for work in (entered(gate.chat(ANN, made("echo"), ASK)), gate.embed(ANN, made("echo"), {"input": "a"})):
        with pytest.raises(TooManyRequests, match="used up") as refused:
            await work
        assert (refused.value.detail, refused.value.headers) == (USED_UP, {"Retry-After": "3600"})
    assert (upstream.received, log.counted, log.traced, purse.held) == ([], [], [], [])
    assert gate.process_load.streams == 0


async def test_who_has_no_right_is_not_in_the_budget(gate: Gate, purse: Purse, made: Made) -> None:
    with pytest.raises(NotFound):
        await entered(gate.chat(ANN, made("echo", user_id="ada"), ASK))
    assert (purse.held, purse.refused) == ([], [])


@pytest.mark.parametrize(
    ("model", "end"),
    [("error429", "released"), ("unknown", "released"), ("drop", None), ("cut", None), ("instream", None)],
)
async def test_what_failed_before_it_began_costs_nothing(
    gate: Gate, purse: Purse, made: Made, model: str, end: Any
) -> None:
    with pytest.raises(ProviderError):
        await read(gate.chat(ANN, made(model), STREAM))
    assert purse.ends() == [end]


async def test_embeddings_that_fail_cost_nothing(gate: Gate, purse: Purse, made: Made, upstream: Upstream) -> None:
    upstream.api_key = "another"
    with pytest.raises(ProviderError):
        await gate.embed(ANN, made("echo"), {"input": "a"})
    assert purse.ends() == ["released"]


@pytest.mark.parametrize("silent", [True, False])
async def test_who_is_cancelled_is_settled(
    gate: Gate, purse: Purse, made: Made, upstream: Upstream, *, silent: bool
) -> None:
    """Nobody knows what the provider did until then."""
    upstream.silent = silent
    task = asyncio.create_task(read(gate.chat(ANN, made("stall"), STREAM)))
    await upstream.wait_for_async(lambda u: len(u.chats) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert purse.ends() == [None]


async def test_who_is_cancelled_while_the_budget_thinks_holds_nothing(gate: Gate, purse: Purse, made: Made) -> None:
    task = asyncio.create_task(read(gate.chat(ANN, made("echo"), STREAM)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert purse.held == []


async def test_a_task_that_dies_has_settled(gate: Gate, purse: Purse, made: Made) -> None:
    """By an error of its own, and where it is thrown away in the middle."""

    async def run(error: Exception | None) -> None:
        async with gate.chat(ANN, made("eliza", ElizaConnection(0.0)), STREAM):
            if error is not None:
                raise error

    with pytest.raises(ValueError, match="a bug"):
        await run(ValueError("a bug"))
    thrown_away = run(None)
    for _ in range(2):
        thrown_away.send(None)
    thrown_away.close()
    assert purse.ends() == [None, None]


async def test_a_budget_that_fails_at_the_end_fails_no_call(
    gate: Gate, log: Log, purse: Purse, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    def settle(_held: Held, _counts: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Held, "settle", settle)
    assert await read(gate.chat(ANN, made("echo"), STREAM))
    assert [status for _, status, _ in log.counted] == [200]
    assert purse.held[0].ends == []


async def test_what_is_reserved_is_settled(gate: Gate, log: Log, purse: Purse, made: Made, upstream: Upstream) -> None:
    """50 calls at once: answered, refused, failing, breaking off, stopped and cancelled ones."""
    chance = random.Random(7)
    purse.refuses = lambda _call: chance.random() < 0.2

    async def leave(model: str) -> None:
        async with gate.chat(ANN, made(model), STREAM) as reply:
            async for _ in reply.batches():
                return

    def one(number: int) -> Any:
        model = ("echo", "error500", "drop", "fixed", "instream", "unknown")[number % 6]
        kind: Kind = chance.choice(("api", "chat", "task"))
        match number % 5:
            case 0:
                return leave("stall")
            case 1:
                return gate.embed(ANN, made("echo"), {"input": "a"})
        return read(gate.chat(ANN, made(model), STREAM, kind=kind))

    tasks = [asyncio.create_task(one(number)) for number in range(50)]
    await upstream.wait_for_async(lambda u: len(u.received) >= 10)
    for task in tasks[::7]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    known = ProviderError | TooManyRequests | asyncio.CancelledError
    assert [r for r in results if isinstance(r, BaseException) and not isinstance(r, known)] == []
    ends = purse.ends()
    assert len(ends) + len(purse.refused) <= 50
    assert len(ends) == len(log.counted), "what is counted was reserved, and the reverse"
    told = [usage for _, _, usage in log.counted if usage is not None]
    assert len([end for end in ends if isinstance(end, dict)]) == len(told) > 0
    assert {"released", None} <= {end if not isinstance(end, dict) else 0 for end in ends}


@pytest.mark.parametrize(
    ("payload", "estimate"),
    [
        ({}, Estimate(0, None)),
        ({"messages": [{"role": "u", "content": "four" * 3}]}, Estimate(5, None)),
        ({"messages": [{"content": [{"text": "abc"}, {"image_url": {"url": "data:image/png;base64,QQ=="}}]}]}, Estimate(1, None)),
        ({"prompt": "abcd", "options": {"num_predict": 5, "max_tokens": True}}, Estimate(2, 5)),
        ({"input": ["abc", ["def"]], "max_tokens": 3, "max_completion_tokens": 8}, Estimate(2, 8)),
        ({"messages": "abc", "max_tokens": -1, "options": 7}, Estimate(1, None)),
        ({"messages": [1, None, True, 2.5], "max_tokens": "9", "n": 3}, Estimate(0, None)),
    ],
)  # fmt: skip
def test_estimates(payload: dict[str, Any], estimate: Estimate) -> None:
    assert estimate_of(payload) == estimate
