"""A provider's bad days, for the page and for API clients: its own words are seen, what came is kept, the chat goes on."""

import json
from collections.abc import AsyncIterator

import httpx
import openai
import pytest

from open_webui.chat import loop, waiting
from tests.open_webui.chat.page import Page, open_page
from tests.support.live import Actor, Live
from tests.support.script import ERRORS, fixed_text
from tests.support.upstream import Upstream


@pytest.fixture
async def page(live: Live, admin: Actor) -> AsyncIterator[Page]:
    async with open_page(admin.client, admin.token) as opened:
        yield opened


async def asked(page: Page, model: str, **fields: object) -> dict[str, object]:
    """Asks, waits for the end, checks that the chat goes on, and returns the stored answer."""
    body = page.ask(model, "Hi", **fields)
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id)
    kept = await page.message(chat_id, body["id"])
    after = page.ask("echo", "And now?", chat_id=chat_id, parent_id=body["id"])
    await page.post(after)
    await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", after["id"])))
    # Without an answer between them, two questions are one message.
    question = "And now?" if kept["content"] else "Hi\n\nAnd now?"
    assert (await page.message(chat_id, after["id"]))["content"] == question
    assert kept["done"] is True
    return kept


class TestPage:
    @pytest.mark.parametrize("status", sorted(ERRORS))
    async def test_a_refusal_is_told_in_the_providers_words(self, page: Page, status: int) -> None:
        kept = await asked(page, f"error{status}")
        assert ERRORS[status] in kept["error"]["content"]  # type: ignore[index]

    async def test_a_proxys_web_page_is_told_as_a_sentence(self, page: Page) -> None:
        kept = await asked(page, "html502")
        text = kept["error"]["content"]  # type: ignore[index]
        assert "<" not in text
        assert len(text) > 20

    async def test_junk_between_the_chunks_costs_no_words_and_is_told(self, page: Page) -> None:
        kept = await asked(page, "garbage")
        assert kept["content"] == fixed_text()
        assert "could not be read" in kept["error"]["content"]  # type: ignore[index]

    @pytest.mark.parametrize("model", ["drop", "cut", "instream"])
    async def test_a_stream_that_breaks_leaves_its_part(self, page: Page, model: str) -> None:
        kept = await asked(page, model)
        assert kept["content"] == fixed_text(10)
        assert kept["output"][-1]["type"] == "message"  # type: ignore[index]
        text = kept["error"]["content"]  # type: ignore[index]
        assert ("the model fell over" in text) if model == "instream" else ("cut off" in text or "connection" in text)

    async def test_a_line_of_20_megabytes_of_junk_is_passed_over(self, page: Page) -> None:
        kept = await asked(page, "hugeline")
        assert kept["content"] == fixed_text()

    async def test_an_answer_without_a_word_says_so(self, page: Page) -> None:
        kept = await asked(page, "empty")
        assert kept["error"]["content"] == loop.EMPTY  # type: ignore[index]

    async def test_without_usage_none_is_claimed(self, page: Page) -> None:
        kept = await asked(page, "mute")
        assert kept["content"] == fixed_text()
        assert "usage" not in kept

    async def test_an_error_without_streaming(self, page: Page) -> None:
        kept = await asked(page, "error429", stream=False)
        assert "slow down" in kept["error"]["content"]  # type: ignore[index]

    async def test_long_silence_is_mentioned(
        self, page: Page, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(waiting, "SILENCE", 0.1)
        body = page.ask("gated", "Take your time")
        chat_id = (await page.post(body))["chat_id"]
        await page.until(lambda p: bool(p.data("status")))
        assert page.data("status")[0]["done"] is False
        upstream.release(20)
        await page.idle(chat_id)
        assert page.data("status")[-1]["hidden"] is True
        kept = await page.message(chat_id, body["id"])
        assert kept["content"] == fixed_text()

    async def test_a_provider_that_accepts_and_says_nothing_can_be_stopped(
        self, page: Page, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(waiting, "SILENCE", 0.1)
        upstream.silent = True
        body = page.ask("fixed", "Hello?")
        chat_id = (await page.post(body))["chat_id"]
        await page.until(lambda p: bool(p.data("status")))
        assert (await page.http.post(f"/api/tasks/chat/{chat_id}/stop")).json()["status"] is True
        kept = await page.message(chat_id, body["id"])
        assert (kept["content"], kept["done"]) == ("", True)

    async def test_a_provider_that_is_gone(self, page: Page, upstream: Upstream) -> None:
        body = page.ask("fixed", "Hello?")
        upstream.models_status = 500
        port, upstream.port = upstream.port, 0
        upstream._run(upstream._runner.cleanup())  # type: ignore[union-attr]
        assert port
        chat_id = (await page.post(body))["chat_id"]
        await page.idle(chat_id)
        [error] = page.data("chat:message:error")
        assert "reach" in error["error"]["content"] or "connect" in error["error"]["content"]


class TestApi:
    @pytest.mark.parametrize("path", ["/api/chat/completions", "/api/v1/chat/completions", "/openai/chat/completions"])
    @pytest.mark.parametrize("stream", [True, False])
    async def test_a_refusal_keeps_status_and_words(self, admin: Actor, path: str, stream: bool) -> None:
        body = {"model": "error429", "messages": [{"role": "user", "content": "Hi"}], "stream": stream}
        reply = await admin.client.post(path, json=body)
        assert reply.status_code == 429
        assert "slow down" in reply.text

    @pytest.mark.parametrize("model", ["drop", "cut", "instream"])
    async def test_a_stream_that_breaks_says_so_inside(self, admin: Actor, model: str) -> None:
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "stream": True}
        reply = await admin.client.post("/api/chat/completions", json=body)
        events = [line[6:] for line in reply.text.splitlines() if line.startswith("data: ")]
        assert events[-1] != "[DONE]"
        assert json.loads(events[-1])["error"]["message"]
        text = "".join(choice["delta"].get("content") or "" for e in events[:-1] for choice in json.loads(e)["choices"])
        assert text == fixed_text(10)

    async def test_junk_is_not_passed_on_and_told_at_the_end(self, admin: Actor) -> None:
        body = {"model": "garbage", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
        reply = await admin.client.post("/api/chat/completions", json=body)
        events = [line[6:] for line in reply.text.splitlines() if line.startswith("data: ")]
        assert "could not be read" in json.loads(events[-1])["error"]["message"]
        assert (
            "".join(c["delta"].get("content") or "" for e in events[:-1] for c in json.loads(e)["choices"])
            == fixed_text()
        )

    async def test_a_client_that_leaves_lets_the_provider_go(self, admin: Actor, upstream: Upstream) -> None:
        body = {"model": "stall", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
        async with admin.client.stream("POST", "/api/chat/completions", json=body) as reply:
            async for _ in reply.aiter_lines():
                break
        await upstream.wait_for_async(lambda u: u.chats[0].disconnected)


class TestSdk:
    """The `openai` package, as people point it at the server."""

    @pytest.fixture(params=["/api", "/api/v1", "/openai"])
    async def sdk(self, request: pytest.FixtureRequest, live: Live, admin: Actor) -> AsyncIterator[openai.AsyncOpenAI]:
        url = live.url + request.param
        async with openai.AsyncOpenAI(
            base_url=url, api_key=admin.token, max_retries=0, http_client=httpx.AsyncClient(trust_env=False)
        ) as client:
            yield client

    async def test_whole(self, sdk: openai.AsyncOpenAI) -> None:
        done = await sdk.chat.completions.create(
            model="fixed", messages=[{"role": "user", "content": "Hi"}], max_tokens=5
        )
        assert done.choices[0].message.content == fixed_text(5)
        assert done.usage is not None
        assert done.usage.completion_tokens == 5

    async def test_streamed(self, sdk: openai.AsyncOpenAI) -> None:
        stream = await sdk.chat.completions.create(
            model="fixed",
            messages=[{"role": "user", "content": "Hi"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == fixed_text()
        assert chunks[-1].usage is not None

    async def test_tools(self, sdk: openai.AsyncOpenAI) -> None:
        tool = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}
        asked = await sdk.chat.completions.create(
            model="tools",
            messages=[{"role": "user", "content": "Foxes?"}],
            tools=[tool],  # type: ignore[list-item]
        )
        [call] = asked.choices[0].message.tool_calls or []
        assert asked.choices[0].finish_reason == "tool_calls"
        assert call.type == "function"
        assert json.loads(call.function.arguments) == {"query": "foxes"}
        told = await sdk.chat.completions.create(
            model="tools",
            messages=[
                {"role": "user", "content": "Foxes?"},
                asked.choices[0].message.model_dump(exclude_none=True),  # type: ignore[list-item]
                {"role": "tool", "tool_call_id": call.id, "content": "42"},
            ],
        )
        assert (told.choices[0].message.content or "").startswith("The tool says 42.")

    async def test_errors(self, sdk: openai.AsyncOpenAI) -> None:
        for model, kind in (
            ("error401", openai.APIStatusError),
            ("error429", openai.RateLimitError),
            ("error500", openai.InternalServerError),
            ("nope", openai.NotFoundError if str(sdk.base_url).endswith("/openai/") else openai.BadRequestError),
        ):
            with pytest.raises(kind):
                await sdk.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hi"}])
        with pytest.raises(openai.APIError, match="the model fell over"):
            async for _ in await sdk.chat.completions.create(
                model="instream", messages=[{"role": "user", "content": "Hi"}], stream=True
            ):
                pass

    async def test_models(self, sdk: openai.AsyncOpenAI) -> None:
        assert {"fixed", "echo"} <= {model.id async for model in sdk.models.list()}


async def test_an_api_call_stores_no_chat_and_its_fields_arrive(admin: Actor, upstream: Upstream) -> None:
    body = {
        "model": "fixed", "messages": [{"role": "user", "content": "Hi"}], "logprobs": True, "seed": 7,
        "response_format": {"type": "json_object"}, "reasoning": {"effort": "low"}, "unheard_of": {"a": [1]},
        "chat_id": "c", "features": {"web_search": False},
    }  # fmt: skip
    reply = await admin.client.post("/api/chat/completions", json=body)
    assert reply.json()["choices"][0]["logprobs"]
    sent = upstream.chats[0].body
    assert {k: sent[k] for k in ("logprobs", "seed", "response_format", "reasoning", "unheard_of")} == {
        k: body[k] for k in ("logprobs", "seed", "response_format", "reasoning", "unheard_of")
    }
    assert not {"chat_id", "features"} & set(sent)
    assert (await admin.client.get("/api/v1/chats/?page=1")).json() == []
