"""Embeddings by providers: what is asked, in which batches, and what is refused."""

import asyncio
import math
import struct
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from open_webui.connections import services
from open_webui.errors import ProviderError
from open_webui.retrieval.embedding.remote import Provider, RemoteEmbedder
from tests.support.service import Asked, Service

KEY = "sk-very-secret-key"


def vector_of(text: str) -> list[float]:
    return [float(len(text)), 1.0, float(ord(text[0]))]


def numbers(packed: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(packed) // 4}f", packed)


def openai(asked: Asked) -> web.Response:
    """The items in another order than asked, as the wire allows."""
    items = [{"index": i, "embedding": vector_of(text)} for i, text in enumerate(asked.json["input"])]
    return web.json_response({"data": items[::-1], "usage": {"prompt_tokens": 1}})


def provider(service: Service, **changes: Any) -> Provider:
    given: dict[str, Any] = {"kind": "openai", "url": f"{service.url}/v1", "key": KEY, "model": "small", "batch": 2}
    return Provider(**(given | changes))


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_FIRST_PAUSE", 0.0)


async def test_openai(http: aiohttp.ClientSession, service: Service) -> None:
    service.answer = openai
    embedder = RemoteEmbedder(http, provider(service))
    texts = ["a", "bb", "ccc", "a", "dddd"]
    found = await embedder.embed(texts)
    for text, packed in zip(texts, found, strict=True):
        length = math.hypot(*vector_of(text))
        assert numbers(packed) == pytest.approx([number / length for number in vector_of(text)])
    # Each text once, two in a request.
    assert [asked.json["input"] for asked in service.asked] == [["a", "bb"], ["ccc", "dddd"]]
    assert {asked.path for asked in service.asked} == {"/v1/embeddings"}
    assert service.asked[0].headers["authorization"] == f"Bearer {KEY}"
    assert service.asked[0].json["model"] == "small"
    assert KEY not in embedder.signature


async def test_no_texts_are_no_request(http: aiohttp.ClientSession, service: Service) -> None:
    assert await RemoteEmbedder(http, provider(service)).embed([]) == []
    assert service.asked == []


async def test_azure(http: aiohttp.ClientSession, service: Service) -> None:
    service.answer = openai
    await RemoteEmbedder(http, provider(service, kind="azure_openai", url=service.url, version="2024-10-21")).embed(
        ["a"]
    )
    asked = service.asked[0]
    assert asked.path == "/openai/deployments/small/embeddings"
    assert asked.query == {"api-version": "2024-10-21"}
    assert asked.headers["api-key"] == KEY
    assert "authorization" not in asked.headers


async def test_ollama(http: aiohttp.ClientSession, service: Service) -> None:
    service.answer = lambda asked: web.json_response({"embeddings": [vector_of(t) for t in asked.json["input"]]})
    found = await RemoteEmbedder(http, provider(service, kind="ollama", url=service.url, key="")).embed(["abc"])
    assert len(numbers(found[0])) == 3
    assert service.asked[0].path == "/api/embed"
    assert "authorization" not in service.asked[0].headers


async def test_prefixes(http: aiohttp.ClientSession, service: Service) -> None:
    service.answer = openai
    embedder = RemoteEmbedder(http, provider(service, prefixes=("query: ", "passage: ")))
    await embedder.embed(["a"], query=True)
    await embedder.embed(["a"])
    assert [asked.json["input"] for asked in service.asked] == [["query: a"], ["passage: a"]]
    assert embedder.signature != RemoteEmbedder(http, provider(service)).signature


async def test_requests_at_once_are_bounded(http: aiohttp.ClientSession, service: Service) -> None:
    running = most = 0

    async def slow(asked: Asked) -> web.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return openai(asked)

    service.answer = slow
    await RemoteEmbedder(http, provider(service, batch=1, at_once=3)).embed([f"{n} text" for n in range(12)])
    assert most == 3
    assert len(service.asked) == 12


async def test_a_busy_provider_is_asked_again(http: aiohttp.ClientSession, service: Service, monkeypatch: Any) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(services.asyncio, "sleep", sleep)
    answers = [
        web.Response(status=429, headers={"Retry-After": "7"}, text="slow down"),
        web.Response(status=503, text="busy"),
    ]
    service.answer = lambda asked: answers.pop(0) if answers else openai(asked)
    assert len(await RemoteEmbedder(http, provider(service)).embed(["a"])) == 1
    assert waited[0] == 7
    assert len(service.asked) == 3


async def test_a_provider_that_wants_a_long_rest_is_not_waited_for(
    http: aiohttp.ClientSession, service: Service
) -> None:
    service.reply({"error": {"message": "quota"}}, status=429, headers={"Retry-After": "3600"})
    with pytest.raises(ProviderError, match="quota") as raised:
        await RemoteEmbedder(http, provider(service)).embed(["a"])
    assert raised.value.retry_after == 3600
    assert len(service.asked) == 1


async def test_a_refusal_shows_no_key_and_is_not_repeated(http: aiohttp.ClientSession, service: Service) -> None:
    service.reply({"error": {"message": f"Incorrect API key provided: {KEY}"}}, status=401)
    with pytest.raises(ProviderError) as raised:
        await RemoteEmbedder(http, provider(service)).embed(["a", "b", "c"])
    assert "Incorrect API key provided: ***" in raised.value.detail
    assert KEY not in str(raised.value) + repr(raised.value.body)
    assert raised.value.status == 401


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"data": []}, "gave 0 vectors for 1 texts"),
        ({"data": [{"embedding": [1.0]}, {"embedding": [1.0]}]}, "gave 2 vectors for 1 texts"),
        ({"data": [{"embedding": [0.0, 0.0]}]}, "no direction"),
        ({"data": [{"embedding": []}]}, "a vector of 0 numbers"),
        ({"data": [{"embedding": [1.0] * 20_000}]}, "a vector of 20000 numbers"),
        ({"data": [{"embedding": "AAAA"}]}, "no embeddings"),
        ({"data": None}, "no embeddings"),
        ({"object": "list"}, "no embeddings"),
        ("<html>not found</html>", "no embeddings"),
        ('{"data": [{"embedding": [NaN]}]}', "no embeddings"),
        ('{"data": [{"embedding": [1e400]}]}', "no"),
    ],
)
async def test_what_can_be_no_vector_is_refused(
    http: aiohttp.ClientSession, service: Service, body: Any, says: str
) -> None:
    service.reply(body)
    with pytest.raises(ProviderError, match=says):
        await RemoteEmbedder(http, provider(service)).embed(["a"])


async def test_another_dimension_than_before_is_refused(http: aiohttp.ClientSession, service: Service) -> None:
    embedder = RemoteEmbedder(http, provider(service))
    service.reply({"data": [{"embedding": [1.0, 2.0]}]})
    await embedder.embed(["a"])
    service.reply({"data": [{"embedding": [1.0, 2.0, 3.0]}]})
    with pytest.raises(ProviderError, match="a vector of 3 numbers, where others have 2"):
        await embedder.embed(["b"])


async def test_ollama_with_another_answer_is_refused(http: aiohttp.ClientSession, service: Service) -> None:
    service.reply({"embedding": [1.0]})
    with pytest.raises(ProviderError, match="no embeddings"):
        await RemoteEmbedder(http, provider(service, kind="ollama")).embed(["a"])


async def test_nobody_there(http: aiohttp.ClientSession) -> None:
    given = Provider(kind="openai", url="http://127.0.0.1:1/v1", key=KEY, model="small")
    with pytest.raises(ProviderError, match="can't be reached"):
        await RemoteEmbedder(http, given).embed(["a"])
