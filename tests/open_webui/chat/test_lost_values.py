"""What a provider sends in a form that can't be used: the rest is kept, and who asked is told once, at the end."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import ollama
import openai
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from llamaforge.events import Notice
from llamaforge.events.openai import notice_of
from tests.open_webui.chat.page import Page, open_page
from tests.support.live import Actor, Live

HELLO = {"choices": [{"index": 0, "delta": {"content": "Hello"}}]}
END = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
# The model, what is odd in its chunks, how many values of it are lost.
ODD: dict[str, tuple[Any, int]] = {
    "lost-one": ({"choices": [{"index": 0, "delta": {"content": {"a": 1}}}]}, 1),
    "lost-two": ({"choices": [{"index": 0, "delta": {"content": 5, "tool_calls": "none"}}]}, 2),
    "lost-part": ({"choices": [{"index": 0, "delta": {"content": [{"type": "odd"}]}}]}, 1),
    "kept-empty": ({"choices": [{"index": "0", "delta": {"tool_calls": {}, "reasoning": []}}], "usage": ""}, 0),
    "kept-null": (None, 0),
    "kept-word": ("still here", 0),
}


# What is stored here is the same in every database.
ONE_DATABASE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


def lost_sentence(count: int) -> str:
    (notice,) = notice_of(count)
    assert isinstance(notice, Notice)
    return notice.text


@pytest.fixture
def connections() -> None:
    """The provider is connected below."""


@pytest.fixture
async def provider(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TestServer]:
    async def chat(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        odd, _ = ODD[body["model"].removesuffix(":latest")]
        if not body.get("stream"):
            message = {"role": "assistant", **(odd["choices"][0]["delta"] if odd and odd != "still here" else {})}
            said = [{"type": "text", "text": "Hello"}]
            if isinstance(message.get("content"), list):
                said += message["content"]
            return web.json_response(
                {"choices": [{"index": 0, "message": message | {"content": said}, "finish_reason": "stop"}]}
            )
        chunks = b"".join(b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in (HELLO, odd, END))
        return web.Response(body=chunks + b"data: [DONE]\n\n", content_type="text/event-stream")

    async def ollama_chat(_request: web.Request) -> web.StreamResponse:
        lines: list[Any] = [
            {"message": {"content": "Hello"}},
            {"message": {"content": 5}},
            {"message": {}, "done": True},
        ]
        return web.Response(body=b"".join(json.dumps(line).encode() + b"\n" for line in lines))

    async def models(_request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": name} for name in ODD]})

    async def tags(_request: web.Request) -> web.Response:
        return web.json_response({"models": [{"model": "odd-lines:latest"}]})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_get("/v1/models", models)
    app.router.add_post("/api/chat", ollama_chat)
    app.router.add_get("/api/tags", tags)
    async with TestServer(app) as served:
        url = str(served.make_url("")).rstrip("/")
        monkeypatch.setenv("OPENAI_API_BASE_URLS", f"{url}/v1")
        monkeypatch.setenv("OLLAMA_BASE_URLS", url)
        yield served


@pytest.fixture
async def page(provider: TestServer, live: Live, admin: Actor) -> AsyncIterator[Page]:
    async with open_page(admin.client, admin.token) as opened:
        yield opened


@ONE_DATABASE
@pytest.mark.parametrize("model", [*ODD, "odd-lines:latest"])
async def test_the_page_is_told_at_the_end(page: Page, model: str) -> None:
    body = page.ask(model, "Hi")
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id)
    kept = await page.message(chat_id, body["id"])
    count = ODD[model][1] if model in ODD else 1
    expected = [{"description": lost_sentence(count), "done": True}] if count else []
    assert kept["content"] == "Hello"
    assert "error" not in kept
    assert (kept.get("statusHistory") or []) == expected
    assert page.data("status", body["id"]) == expected


@ONE_DATABASE
@pytest.mark.parametrize(("model", "lost"), [("lost-part", 1), ("kept-empty", 0)])
async def test_a_whole_answer_tells_the_page_too(page: Page, model: str, lost: int) -> None:
    body = page.ask(model, "Hi", stream=False)
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id)
    kept = await page.message(chat_id, body["id"])
    assert (kept["content"], len(kept.get("statusHistory") or [])) == ("Hello", lost)


def client_of(kind: Any, live: Live, actor: Actor, path: str) -> Any:
    plain = httpx.AsyncClient(trust_env=False, verify=False)
    return kind(base_url=live.url + path, api_key=actor.token, max_retries=0, http_client=plain)


@ONE_DATABASE
@pytest.mark.parametrize("stream", [True, False])
async def test_openais_package_reads_the_answer_and_finds_the_warning(
    provider: TestServer, live: Live, admin: Actor, stream: bool
) -> None:
    """Of an Ollama server, whose answer is written anew; an OpenAI provider's chunks pass as they are, nothing is lost."""
    question: Any = [{"role": "user", "content": "Hi"}]
    async with client_of(openai.AsyncOpenAI, live, admin, "/api") as client:
        answer = await client.chat.completions.create(model="odd-lines:latest", messages=question, stream=stream)
        chunks = [chunk async for chunk in answer] if stream else [answer]
    said = "".join((c.choices[0].delta if stream else c.choices[0].message).content or "" for c in chunks)
    assert said == "Hello"
    assert [c.model_extra.get("warning") for c in chunks if "warning" in c.model_extra] == [lost_sentence(1)]


@ONE_DATABASE
@pytest.mark.parametrize("model", ["lost-two", "kept-empty", "odd-lines:latest"])
async def test_ollamas_package_reads_the_answer_and_the_line_has_the_warning(
    provider: TestServer, live: Live, admin: Actor, model: str
) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    lines = [
        msgspec.json.decode(line) for line in (await admin.client.post("/ollama/api/chat", json=body)).text.splitlines()
    ]
    count = ODD[model][1] if model in ODD else 1
    assert lines[-1].get("warning") == (lost_sentence(count) if count else None)
    options = {"headers": {"Authorization": f"Bearer {admin.token}"}, "trust_env": False}
    async with ollama.AsyncClient(host=f"{live.url}/ollama", **options) as client:
        asked = await client.chat(model, messages=body["messages"], stream=True)  # type: ignore[arg-type]
        parts = [part async for part in asked]
    assert "".join(part.message.content or "" for part in parts) == "Hello"
    assert parts[-1].done
