"""The fake provider plays its parts over the real wire, as the official clients of both protocols understand it."""

import json

import aiohttp
import ollama
import openai
import pytest

from tests.support import script
from tests.support.upstream import Upstream


def ask(model: str, text: str = "Say it", **more: object) -> dict[str, object]:
    return {"model": model, "stream": True, "messages": [{"role": "user", "content": text}], **more}


async def read(upstream: Upstream, body: dict[str, object]) -> tuple[int, bytes]:
    async with (
        aiohttp.ClientSession(read_bufsize=64 * 2**20) as session,
        session.post(f"{upstream.openai_url}/chat/completions", json=body) as reply,
    ):
        return reply.status, await reply.read()


def client(upstream: Upstream) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=upstream.openai_url, api_key="sk-upstream", max_retries=0)


async def test_echo_streams_the_question_back_and_counts_it(upstream: Upstream) -> None:
    async with client(upstream) as sdk:
        asked = ask("echo", "one two  three") | {"stream_options": {"include_usage": True}}
        stream = await sdk.chat.completions.create(**asked)  # type: ignore[call-overload]
        chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "one two  three"
    assert chunks[-1].usage is not None
    assert upstream.chats[0].headers["Authorization"] == "Bearer sk-upstream"


async def test_a_whole_answer_has_the_text_of_the_streamed_one(upstream: Upstream) -> None:
    async with client(upstream) as sdk:
        body = ask("fixed", max_tokens=5) | {"stream": False, "logprobs": True}
        reply = await sdk.chat.completions.create(**body)  # type: ignore[call-overload]
    assert reply.choices[0].message.content == script.fixed_text(5) == "the quick brown fox jumps "
    assert reply.choices[0].logprobs is not None


async def test_tools_are_called_and_their_result_is_told(upstream: Upstream) -> None:
    offered = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]
    async with client(upstream) as sdk:
        first = await sdk.chat.completions.create(**ask("tools", tools=offered) | {"stream": False})  # type: ignore[call-overload]
        call = first.choices[0].message.tool_calls[0]
        assert (call.function.name, json.loads(call.function.arguments)) == ("find", {"query": "foxes"})
        told = ask("tools")
        told["messages"] = [{"role": "tool", "tool_call_id": call.id, "content": "42"}]
        second = await sdk.chat.completions.create(**told | {"stream": False})  # type: ignore[call-overload]
    assert second.choices[0].message.content.startswith("The tool says 42.")


@pytest.mark.parametrize("status", sorted(script.ERRORS))
async def test_errors_have_their_status_and_a_message(upstream: Upstream, status: int) -> None:
    got, body = await read(upstream, ask(f"error{status}"))
    assert got == status
    assert json.loads(body)["error"]["message"] == script.ERRORS[status]


async def test_an_unknown_model_and_a_wrong_key_are_refused(upstream: Upstream) -> None:
    assert (await read(upstream, ask("nobody")))[0] == 404
    upstream.api_key = "right"
    assert (await read(upstream, ask("echo")))[0] == 401


async def test_broken_streams_break_as_they_say(upstream: Upstream) -> None:
    _, cut = await read(upstream, ask("cut"))
    assert cut.count(b"data: ") == script.WORDS_BEFORE_TROUBLE
    assert b"[DONE]" not in cut
    _, garbage = await read(upstream, ask("garbage"))
    assert b"{not json" in garbage
    assert garbage.rstrip().endswith(b"[DONE]")
    _, huge = await read(upstream, ask("hugeline"))
    assert len(huge) > script.HUGE_LINE_BYTES
    _, failed = await read(upstream, ask("instream"))
    assert b"the model fell over" in failed
    with pytest.raises(aiohttp.ClientPayloadError):
        await read(upstream, ask("drop"))


async def test_a_gated_answer_waits_for_the_test_and_notices_that_its_reader_left(upstream: Upstream) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{upstream.openai_url}/chat/completions", json=ask("gated")) as reply:
            upstream.release(2)
            assert b'"the "' in await reply.content.readuntil(b"\n\n")
            assert b'"quick "' in await reply.content.readuntil(b"\n\n")
            reply.close()
        await upstream.wait_for_async(lambda u: u.chats[0].ended.is_set())
    assert upstream.chats[0].disconnected


async def test_an_answer_can_be_set(upstream: Upstream) -> None:
    upstream.answer_when("capital of France", "Paris, of course.")
    async with client(upstream) as sdk:
        reply = await sdk.chat.completions.create(**ask("echo", "The capital of France?") | {"stream": False})  # type: ignore[call-overload]
    assert reply.choices[0].message.content == "Paris, of course."


async def test_the_ollama_side_speaks_to_the_ollama_client(upstream: Upstream) -> None:
    sdk = ollama.AsyncClient(host=upstream.url)
    names = [model.model for model in (await sdk.list()).models]
    assert "echo:latest" in names
    parts = await sdk.chat("reasoning:latest", [{"role": "user", "content": "Why?"}], stream=True)
    messages = [part.message async for part in parts]
    assert "".join(m.thinking or "" for m in messages) == "First I think."
    assert "".join(m.content or "" for m in messages) == script.fixed_text()
    whole = await sdk.generate("echo", "hello there", stream=False)
    assert whole.response == "hello there"
    vectors = (await sdk.embed("echo", ["a", "b"])).embeddings
    assert [len(v) for v in vectors] == [384, 384]
    with pytest.raises(ollama.ResponseError, match="upstream exploded"):
        await sdk.chat("error500", [{"role": "user", "content": "x"}])
    await sdk._client.aclose()
