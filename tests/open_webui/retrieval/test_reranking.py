"""Rerankers: services of each shape, a cross-encoder of this machine, and which of them the settings choose."""

import math
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from open_webui.config import Config
from open_webui.connections import services
from open_webui.env import Settings
from open_webui.errors import ProviderError
from open_webui.retrieval.onnx.runner import Runner
from open_webui.retrieval.reranking import ExternalReranker, NoReranker, open_reranker
from tests.open_webui.retrieval.test_local_embedding import TEXTS, config_of, made
from tests.support.service import Asked, Service

KEY = "rerank-secret"


def reranker(http: aiohttp.ClientSession, service: Service, batch: int = 32) -> ExternalReranker:
    return ExternalReranker(http, f"{service.url}/v1/rerank", KEY, "ranker", batch=batch, timeout=5)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_FIRST_PAUSE", 0.0)


async def test_cohere_and_jina(http: aiohttp.ClientSession, service: Service) -> None:
    def answer(asked: Asked) -> web.Response:
        scored = [
            {"index": i, "relevance_score": len(t) / 100, "document": {"text": t}}
            for i, t in enumerate(asked.json["documents"])
        ]
        return web.json_response({"id": "x", "results": sorted(scored, key=lambda item: -item["relevance_score"])})

    service.answer = answer
    assert await reranker(http, service, batch=2).score("q", ["a", "ccc", "bb"]) == [0.01, 0.03, 0.02]
    first, second = service.asked
    assert first.json == {"model": "ranker", "query": "q", "documents": ["a", "ccc"], "top_n": 2}
    assert second.json["documents"] == ["bb"]
    assert first.headers["authorization"] == f"Bearer {KEY}"


async def test_tei(http: aiohttp.ClientSession, service: Service) -> None:
    def answer(asked: Asked) -> web.Response:
        if "texts" not in asked.json:
            return web.json_response({"error": "missing field `texts`", "error_type": "Validation"}, status=422)
        return web.json_response([{"index": 1, "score": 0.9}, {"index": 0, "score": 0.1}])

    service.answer = answer
    ranks = reranker(http, service)
    assert await ranks.score("q", ["a", "b"]) == [0.1, 0.9]
    assert await ranks.score("q", ["a", "b"]) == [0.1, 0.9]
    assert len(service.asked) == 3, "it remembers"


async def test_logits_become_scores(http: aiohttp.ClientSession, service: Service) -> None:
    service.reply({"results": [{"index": 0, "relevance_score": 2.0}, {"index": 1, "relevance_score": -9000.0}]})
    found = await reranker(http, service).score("q", ["a", "b"])
    assert found == [pytest.approx(1 / (1 + math.exp(-2))), pytest.approx(0)]


@pytest.mark.parametrize(
    "body",
    [
        {"results": []},
        {"results": [{"index": 0, "relevance_score": 0.5}, {"index": 0, "relevance_score": 0.5}]},
        {"results": [{"index": 0, "relevance_score": 0.5}, {"index": 7, "relevance_score": 0.5}]},
        {"results": [{"index": 0, "relevance_score": 0.5}, {"index": 1}]},
        {"results": [{"index": 0, "relevance_score": 0.5}] * 3},
        {"results": {"0": 1}},
        "<html>",
    ],
)
async def test_what_is_no_ranking_is_refused(http: aiohttp.ClientSession, service: Service, body: Any) -> None:
    service.reply(body)
    with pytest.raises(ProviderError, match="reranker"):
        await reranker(http, service).score("q", ["a", "b"])


async def test_a_refusal_shows_no_key(http: aiohttp.ClientSession, service: Service) -> None:
    service.reply({"message": f"invalid token {KEY}"}, status=401)
    with pytest.raises(ProviderError, match=r"invalid token \*\*\*"):
        await reranker(http, service).score("q", ["a"])


async def test_one_that_hangs_is_given_up(http: aiohttp.ClientSession, service: Service) -> None:
    import asyncio

    over = asyncio.Event()

    async def never(_: Asked) -> web.Response:
        await over.wait()
        return web.Response()

    service.answer = never
    slow = ExternalReranker(http, service.url, "", "", batch=1, timeout=0.05)
    with pytest.raises(ProviderError, match="did not answer in time"):
        await slow.score("q", ["a"])
    over.set()


@pytest.fixture
async def runner(own_settings: Settings) -> AsyncIterator[Runner]:
    running = Runner(own_settings)
    yield running
    await running.close()


async def test_a_cross_encoder_of_this_machine(
    own_settings: Settings, http: aiohttp.ClientSession, runner: Runner
) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(3)
    network = AutoModelForSequenceClassification.from_config(config_of("bert", num_labels=1))
    made(own_settings.data_dir / "models" / "cross", network)
    ranks = open_reranker(Config({"RAG_RERANKING_MODEL": "cross"}), own_settings, http, runner)
    found = await ranks.score("the cat", TEXTS)
    assert len(set(found)) == 3
    assert all(0 < score < 1 for score in found)


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "No reranker is chosen"),
        ({"RAG_RERANKING_MODEL": "not/there"}, "not/there is not on this machine"),
        ({"RAG_RERANKING_ENGINE": "external"}, "address of the external reranker is not set"),
        ({"RAG_RERANKING_ENGINE": "colbert", "RAG_RERANKING_MODEL": "x"}, "no reranker called 'colbert'"),
    ],
)
async def test_why_there_is_none(
    own_settings: Settings, http: aiohttp.ClientSession, runner: Runner, environment: dict[str, str], says: str
) -> None:
    with pytest.raises(NoReranker, match=says):
        open_reranker(Config(environment), own_settings, http, runner)
