"""What providers say besides plain text, for the page and on both wires; and answers that are longer than is kept."""

import json
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaforge.events import Done, Event, Image, Reasoning, Refusal, Source, Text, ToolCall, Usage
from llamaforge.events.openai import Decoder
from open_webui.chat import loop
from open_webui.chat.assemble import Answer
from open_webui.chat.ollama import Lines
from open_webui.connections.chunks import EventReader
from open_webui.connections.render import Chunks, Completion, assemble
from tests.open_webui.chat.page import Page, open_page, rebuilt
from tests.support.live import Actor, Live, sign_up
from tests.support.script import PARALLEL, PARTS, PICTURE
from tests.support.upstream import Upstream

ASK = {"messages": [{"role": "user", "content": "Hi"}]}
BOTH = [("weather", {"city": "Rome"}), ("time", {"tz": "CET"})]


@pytest.fixture
async def page(live: Live, admin: Actor) -> AsyncIterator[Page]:
    async with open_page(admin.client, admin.token) as opened:
        yield opened


async def answered(page: Page, model: str, **fields: Any) -> dict[str, Any]:
    body = page.ask(model, "Hi", **fields)
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id)
    return await page.message(chat_id, body["id"])


class TestPage:
    async def test_two_calls_at_once_are_two(self, page: Page) -> None:
        kept = await answered(page, "parallel")
        assert [(c["call_id"], c["name"], json.loads(c["arguments"])) for c in kept["output"]] == [
            ("call_a", *BOTH[0]), ("call_b", *BOTH[1]),
        ]  # fmt: skip
        assert "error" not in kept

    async def test_content_in_parts_sources_pictures_and_a_refusal(self, page: Page) -> None:
        kept = await answered(page, "parts")
        assert [item["type"] for item in kept["output"]] == ["reasoning", "message", "message"]
        assert kept["content"] == "See the fox but not more."
        [source] = kept["sources"]
        assert source["source"] == {"name": "Foxes", "url": "https://fox.example/"}
        # The picture, sent twice, is one file; the one that can't be decoded is none.
        [file] = kept["files"]
        assert (file["type"], file["url"].startswith("/api/v1/files/")) == ("image", True)
        assert (await page.http.get(file["url"])).content == b64decode(PICTURE.partition(",")[2])
        assert page.data("source") == kept["sources"]
        assert len(page.data("files")) == 1
        assert rebuilt([], page.events) == kept["content"]

    async def test_a_temporary_chat_is_told_the_picture_itself(self, page: Page) -> None:
        body = page.ask("parts", "Hi", chat_id=f"temporary:{page.sid}", messages=[{"role": "user", "content": "Hi"}])
        await page.post(body)
        await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion")))
        assert page.data("files")[0] == {"files": [{"type": "image", "url": PICTURE}]}

    async def test_an_answer_of_one_bracket_is_an_answer(self, page: Page) -> None:
        for stream in (True, False):
            kept = await answered(page, "bracket", stream=stream)
            assert (kept["content"], kept.get("error")) == ("<", None)

    @pytest.mark.parametrize("model", ["fixed", "reasoning", "tools"])
    async def test_a_whole_answer_is_as_a_streamed_one(self, page: Page, model: str) -> None:
        def words(kept: dict[str, Any]) -> list[Any]:
            return [(i["type"], i.get("content"), i.get("name"), i.get("arguments")) for i in kept["output"]]

        streamed, whole = await answered(page, model), await answered(page, model, stream=False)
        assert words(streamed) == words(whole)
        assert streamed.get("usage") == whole.get("usage")


@pytest.mark.usefixtures("connections")
class TestCutOff:
    async def test_an_answer_without_end_is_cut_off_told_and_stored(
        self, make_live: Callable[..., Awaitable[Live]], upstream: Upstream
    ) -> None:
        live = await make_live(chat_answer_max_chars=1_000_000)
        admin = await sign_up(live, "Admin One")
        async with admin.client, open_page(admin.client, admin.token) as page:
            kept = await answered(page, "endless")
            assert kept["error"]["content"] == loop.CUT_OFF
            assert (len(kept["content"]), kept["done"]) == (1_000_000, True)
            assert kept["output"][-1]["status"] == "incomplete"
            assert rebuilt([], page.events) == kept["content"]
            # The provider is let go.
            await upstream.wait_for_async(lambda u: u.chats[0].disconnected)
            [error] = page.data("chat:message:error")
            assert error["error"]["content"] == loop.CUT_OFF

    async def test_what_is_cut_off_can_not_be_gone_on_with(self, make_live: Callable[..., Awaitable[Live]]) -> None:
        live = await make_live(chat_answer_max_chars=1_000)
        admin = await sign_up(live, "Admin One")
        async with admin.client, open_page(admin.client, admin.token) as page:
            body = page.ask("endless", "Hi")
            chat_id = (await page.post(body))["chat_id"]
            await page.idle(chat_id)
            again = body | {"chat_id": chat_id, "assistant_message_id": body["id"], "message_ids": []}
            await page.post(again)
            await page.until(lambda p: len(p.data("chat:message:error")) == 2)
            kept = await page.message(chat_id, body["id"])
            assert (kept["error"]["content"], len(kept["content"])) == (loop.CUT_OFF, 1_000)

    async def test_data_beyond_the_limit(self, make_live: Callable[..., Awaitable[Live]]) -> None:
        live = await make_live(chat_answer_max_bytes=5_000)
        admin = await sign_up(live, "Admin One")
        async with admin.client, open_page(admin.client, admin.token) as page:
            assert "error" not in await answered(page, "parts")
            kept = await answered(page, "poster")
            assert (kept["error"]["content"], kept["content"], kept.get("files")) == (loop.CUT_OFF, "Look: ", None)


class TestOllamaWire:
    async def test_two_calls_at_once_are_two(self, admin: Actor) -> None:
        reply = await admin.client.post("/ollama/api/chat", json=ASK | {"model": "parallel"})
        last = json.loads(reply.text.splitlines()[-1])
        assert [(c["function"]["name"], c["function"]["arguments"]) for c in last["message"]["tool_calls"]] == BOTH

    async def test_parts(self, admin: Actor) -> None:
        reply = await admin.client.post("/ollama/api/chat", json=ASK | {"model": "parts"})
        lines = [json.loads(line)["message"] for line in reply.text.splitlines()]
        assert [line.get("thinking") for line in lines] == ["Hm.", None, None, None]
        assert "".join(line["content"] for line in lines) == "See the fox but not more."
        assert lines[-1]["images"][0] == PICTURE.partition(",")[2]

    async def test_an_endless_answer_holds_no_memory_and_ends_with_its_client(
        self, admin: Actor, upstream: Upstream
    ) -> None:
        async with admin.client.stream("POST", "/ollama/api/chat", json=ASK | {"model": "endless"}) as reply:
            async for _ in reply.aiter_lines():
                break
        await upstream.wait_for_async(lambda u: u.chats[0].disconnected)


async def test_openai_clients_get_the_providers_own_chunks(admin: Actor) -> None:
    reply = await admin.client.post("/api/chat/completions", json=ASK | {"model": "parts", "stream": True})
    said = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: {")]
    assert tuple(c["choices"][0]["delta"] for c in said if c["choices"])[: len(PARTS)] == PARTS


# ---- one set of rules

pieces = st.text(alphabet="ab <>\n", max_size=6)
events = st.lists(
    st.builds(Text, pieces) | st.builds(Reasoning, pieces) | st.builds(Refusal, pieces)
    | st.builds(ToolCall, st.sampled_from([None, 0, 1]), st.sampled_from([None, "a", "b"]), st.sampled_from([None, "f", "g"]),
                st.sampled_from(["", "{", "}", "1"]))
    | st.builds(Source, st.sampled_from(["https://a.example/", "https://b.example/"]))
    | st.builds(Image, st.sampled_from([PICTURE, "data:image/png;base64,QQ=="]))
    | st.builds(lambda n: Usage(n, raw={"prompt_tokens": n}), st.integers(0, 9)),
    max_size=25,
)  # fmt: skip


def by_the_page(given_: list[Event]) -> dict[str, Any]:
    answer = Answer(lambda: 0.0)
    answer.feed(given_)
    answer.close()
    posts = answer.take_posts()
    return {
        "calls": [(item.name, item.text) for item in answer.items if item.kind == "call"],
        "sources": [data["source"]["url"] for kind, data in posts if kind == "source"],
        "images": [data["files"][0]["url"] for kind, data in posts if kind == "files"],
        "usage": (answer.usage or {}).get("prompt_tokens"),
    }


def by_openai(given_: list[Event]) -> dict[str, Any]:
    completion = Completion("m")
    completion.feed(given_)
    whole = json.loads(completion.encode())
    message = whole["choices"][0]["message"] if whole["choices"] else {}
    return {
        "calls": [(c["function"]["name"], c["function"]["arguments"]) for c in message.get("tool_calls", ())],
        "sources": [a["url_citation"]["url"] for a in message.get("annotations", ())],
        "images": [i["image_url"]["url"] for i in message.get("images", ())],
        "usage": whole.get("usage", {}).get("prompt_tokens"),
        "content": message.get("content") or "",
        "thinking": message.get("reasoning_content", ""),
    }


@given(events)
def test_the_renderers_agree(given_: list[Event]) -> None:
    page, openai = by_the_page(given_), by_openai(given_)
    assert {name: openai[name] for name in page} == page
    lines = Lines("m", generate=False)
    said = [json.loads(line)["message"] for line in lines.feed(given_).splitlines()]
    last = json.loads(lines.end())
    assert [c["function"]["name"] for c in last["message"].get("tool_calls", ())] == [name for name, _ in page["calls"]]
    refused = "".join(e.text for e in given_ if isinstance(e, Refusal))
    content = "".join(line["content"] for line in said)
    assert sorted(content) == sorted(openai["content"] + refused)
    assert "".join(line.get("thinking", "") for line in said) == openai["thinking"]
    assert last["prompt_eval_count"] == (page["usage"] or 0)


@given(events)
def test_chunks_say_what_the_events_said(given_: list[Event]) -> None:
    """Events as chunks and read again are the same answer, put together from events or from chunks."""
    chunks = Chunks("m").render([*given_, Done("stop")])
    decoder = Decoder()
    again = [event for chunk in chunks for event in decoder.decode(chunk)]
    assert decoder.lost == 0
    assert by_openai(again) == by_openai([*given_, Done("stop")])
    whole = json.loads(assemble(chunks))
    assert by_the_page(Decoder().decode(json.dumps(whole).encode())) == by_the_page(given_)


@given(events, st.data())
def test_however_the_bytes_are_split_the_answer_is_the_same(given_: list[Event], data: st.DataObject) -> None:
    body = (
        b"".join(b"data: " + chunk + b"\n\n" for chunk in Chunks("m").render([*given_, Done("stop")]))
        + b"data: [DONE]\n\n"
    )
    cuts = sorted(data.draw(st.sets(st.integers(1, len(body) - 1), max_size=6)))
    reader, whole = EventReader(), EventReader()
    split = [e for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True) for e in reader.feed(body[a:b])]
    assert split + reader.close() == whole.feed(body) + whole.close()
    assert reader.finished
    reader.check_end()


def test_a_completion_of_parallel_calls() -> None:
    chunks = [json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode() for delta in PARALLEL]
    [choice] = json.loads(assemble(chunks))["choices"]
    calls = choice["message"]["tool_calls"]
    assert [c["id"] for c in calls] == ["call_a", "call_b"]
    assert [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in calls] == BOTH


def test_fields_that_no_event_has_stay_in_a_completion() -> None:
    deltas = [{"audio_text": "a", "score": 1}, {"audio_text": "b", "score": 2}, {"content": "x"}]
    chunks = [json.dumps({"id": "i", "choices": [{"index": 0, "delta": delta}]}).encode() for delta in deltas]
    whole = json.loads(assemble(chunks))
    assert whole["choices"][0]["message"] == {"role": "assistant", "content": "x", "audio_text": "ab", "score": 2}
    assert whole["id"] == "i"


def test_other_choices_are_choices_of_the_completion() -> None:
    completion = Completion("m")
    completion.feed([Text("a"), Text("b", 1), Done("stop", 1), Done("length")])
    choices = json.loads(completion.encode())["choices"]
    assert [(c["index"], c["message"]["content"], c["finish_reason"]) for c in choices] == [
        (0, "a", "length"), (1, "b", "stop"),
    ]  # fmt: skip
