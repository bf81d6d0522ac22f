"""Chats with models of this machine, on the real engine: what they say, how they are waited for, and how they fail."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from open_webui.connections.local.connection import NO_TOOLS
from tests.open_webui.chat.page import Page, open_page
from tests.open_webui.llamaforge.conftest import LONG, SAYS, chat, offered, pids, state, until
from tests.support import live as people
from tests.support.live import Actor, Live

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
CALL = '<tool_call>\n{"name": "weather", "arguments": {}}\n</tool_call>'


async def said(page: Page, body: dict[str, Any]) -> dict[str, Any]:
    """The stored answer to a question, once all is over."""
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id)
    return await page.message(chat_id, body["id"])


async def test_a_file_that_is_dropped_in_answers_api_clients(boss: Actor, put: Callable[..., Path]) -> None:
    reply = await boss.client.post("/api/chat/completions", json=chat())
    assert (reply.status_code, reply.json()["detail"]) == (400, "Model not found")
    put()
    await offered(boss.client, "tiny")
    reply = await boss.client.post("/api/chat/completions", json=chat())
    answer = reply.json()
    assert reply.status_code == 200, answer
    assert answer["choices"][0]["message"]["content"] == SAYS
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] > 3
    assert answer["model"] == "tiny"


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/secret", "file:///etc/passwd", "", 7, None, {"url": "x"}])
async def test_an_engine_is_sent_to_no_address(boss: Actor, put: Callable[..., Path], address: Any) -> None:
    """It stands inside the network; who asks does not."""
    put()
    await offered(boss.client, "tiny")
    part = {"type": "image_url", "image_url": {"url": address}}
    reply = await boss.client.post("/api/chat/completions", json=chat(messages=[{"role": "user", "content": [part]}]))
    assert (reply.status_code, reply.json()["detail"]) == (400, "An image must be given as a data: URL.")


async def test_streams_are_openais(boss: Actor, put: Callable[..., Path]) -> None:
    put()
    await offered(boss.client, "tiny")
    body = chat(stream=True, stream_options={"include_usage": True})
    async with boss.client.stream("POST", "/api/chat/completions", json=body) as reply:
        lines = [line.removeprefix("data: ") async for line in reply.aiter_lines() if line]
    assert lines[-1] == "[DONE]"
    chunks = [msgspec.json.decode(line) for line in lines[:-1]]
    texts = [c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"]]
    assert "".join(texts) == SAYS
    assert len(texts) > 3
    assert chunks[-1]["usage"]["completion_tokens"] > 3


async def test_a_page_hears_that_it_loads_and_gets_its_answer(
    local: Live, boss: Actor, put: Callable[..., Path]
) -> None:
    put()
    await offered(boss.client, "tiny")
    async with open_page(boss.client, boss.token) as page:
        body = page.ask("tiny", "Hi")
        message = await said(page, body)
        assert (message["content"], message["done"]) == (SAYS, True)
        told = page.data("status", body["id"])
        assert told == [
            {"description": "Loading tiny…", "done": False, "hidden": False},
            {"description": "Loading tiny…", "done": True, "hidden": True},
        ]
        assert page.kinds().index("status") < page.kinds().index("response.output_text.delta")
        again = page.ask("tiny", "Hi")
        assert (await said(page, again))["content"] == SAYS
        assert page.data("status", again["id"]) == []
    assert len(pids(local)) == 1


async def test_the_list_says_what_it_is(boss: Actor, put: Callable[..., Path]) -> None:
    put("folder/small model.gguf", ctx=2048)
    model = await offered(boss.client, "folder/small model")
    assert (model["owned_by"], model["connection_type"], model["urlIdx"]) == ("local", "local", 0)
    assert model["info"]["meta"]["description"].startswith("Runs on this server: llama, F32, 2 MB, 2,048 tokens")
    assert model["local"]["context_length"] == 2048
    assert model["local"]["details"]["quantization_level"] == "F32"
    assert "/" not in model["local"]["name"].replace("folder/", "")


async def test_tools_and_schemas_reach_the_engine(boss: Actor, put: Callable[..., Path]) -> None:
    put("caller.gguf", CALL)
    put("tiny.gguf")
    await asyncio.gather(offered(boss.client, "caller"), offered(boss.client, "tiny"))
    reply = await boss.client.post("/api/chat/completions", json=chat("caller", tools=[TOOL]))
    choice = reply.json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls", choice
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "weather", "arguments": "{}"}
    schema = {"type": "object", "properties": {"n": {"enum": [7]}}, "required": ["n"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    reply = await boss.client.post("/api/chat/completions", json=chat(response_format=form))
    assert msgspec.json.decode(reply.json()["choices"][0]["message"]["content"]) == {"n": 7}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_prompt_beyond_the_context_is_refused(boss: Actor, put: Callable[..., Path], stream: bool) -> None:
    put(ctx=256)
    await offered(boss.client, "tiny")
    reply = await boss.client.post("/api/chat/completions", json=chat(text="x" * 3000, stream=stream))
    assert reply.status_code == 400, reply.text
    assert "context" in reply.text
    assert "127.0.0.1" not in reply.text


async def test_a_process_that_dies_in_the_middle_keeps_what_came(
    local: Live, boss: Actor, put: Callable[..., Path]
) -> None:
    put(says=LONG, endless=True)
    await offered(boss.client, "tiny")
    async with open_page(boss.client, boss.token) as page:
        body = page.ask("tiny", "Hi", params={"temperature": 0})
        chat_id = (await page.post(body))["chat_id"]
        await page.until(lambda p: len(p.of(body["id"])) > 5)
        (pid,) = pids(local)
        os.kill(pid, signal.SIGKILL)
        await page.idle(chat_id)
        message = await page.message(chat_id, body["id"])
        assert message["content"].startswith("word0 word1 word2")
        assert message["done"] is True
        error = message["error"]["content"]
        assert "tiny" in error
        assert "crashed" in error
        assert "kept" in error
        assert "127.0.0.1" not in error
    # The next question starts it anew.
    reply = await boss.client.post("/api/chat/completions", json=chat(max_tokens=3))
    assert reply.json()["choices"][0]["message"]["content"].startswith("word0")
    assert pids(local) != [pid]


async def test_a_process_that_died_unnoticed_costs_no_answer(
    local: Live, boss: Actor, put: Callable[..., Path]
) -> None:
    put()
    await offered(boss.client, "tiny")
    await boss.client.post("/api/chat/completions", json=chat())
    engine = psutil.Process(pids(local)[0])
    engine.kill()
    await asyncio.to_thread(engine.wait, 5)
    reply = await boss.client.post("/api/chat/completions", json=chat())
    assert (reply.status_code, reply.json()["choices"][0]["message"]["content"]) == (200, SAYS)


async def test_a_process_that_dies_of_a_request_is_not_started_for_it_again(
    local: Live, boss: Actor, put: Callable[..., Path]
) -> None:
    put()
    await offered(boss.client, "tiny")
    await boss.client.post("/api/chat/completions", json=chat())
    (pid,) = pids(local)
    # It has the request and says nothing, as one that is busy with what will be its end.
    os.kill(pid, signal.SIGSTOP)
    asked = asyncio.create_task(boss.client.post("/api/chat/completions", json=chat()))
    await until(boss.client, "/api/v1/llamaforge/models/tiny", lambda a: a["slots"]["used"] == 1)
    os.kill(pid, signal.SIGKILL)
    reply = await asked
    assert (reply.status_code, "crashed" in reply.json()["detail"]) == (502, True)
    assert pids(local) == []


async def test_who_waits_sees_the_place_in_the_queue(local: Live, boss: Actor, put: Callable[..., Path]) -> None:
    put(says=LONG, endless=True)
    await offered(boss.client, "tiny")
    other = await people.sign_up(local, "Other One", role="admin", admin=boss)
    endless = {"temperature": 0, "max_tokens": 100_000}
    async with (
        other.client,
        open_page(boss.client, boss.token) as first,
        open_page(other.client, other.token) as second,
    ):
        running = first.ask("tiny", "Hi", params=endless)
        chat_id = (await first.post(running))["chat_id"]
        await first.until(lambda p: len(p.of(running["id"])) > 3)
        mine = first.ask("tiny", "Me next", params={"temperature": 0, "max_tokens": 2})
        await first.post(mine)
        await first.until(lambda p: bool(p.data("status", mine["id"])))
        theirs = second.ask("tiny", "And me", params={"temperature": 0, "max_tokens": 2})
        await second.post(theirs)
        await second.until(lambda p: bool(p.data("status", theirs["id"])))
        assert first.data("status", mine["id"])[0]["description"] == "Waiting for tiny: you are next."
        assert second.data("status", theirs["id"])[0]["description"] == "Waiting for tiny: 1 before you."
        found = await state(boss.client, "tiny", "loaded")
        assert found["slots"] == {"all": 1, "used": 1, "waiting": 2}
        await boss.client.post(f"/api/tasks/chat/{chat_id}/stop")
        for page, body in ((first, mine), (second, theirs)):
            await page.until(lambda p, b=body: any(d.get("done") for d in p.data("chat:completion", b["id"])))
        told = [s["description"] for s in second.data("status", theirs["id"])]
        assert told[:2] == ["Waiting for tiny: 1 before you.", "Waiting for tiny: you are next."]
        assert second.data("status", theirs["id"])[-1]["hidden"] is True


async def test_it_goes_when_nobody_asks_and_comes_back(
    make_live: Callable[..., Any], folder: Path, put: Callable[..., Path]
) -> None:
    put()
    live = await make_live(local_models_idle_seconds=0.3)
    boss = await people.sign_up(live, "Boss One")
    async with boss.client:
        await offered(boss.client, "tiny")
        await boss.client.post("/api/chat/completions", json=chat())
        await state(boss.client, "tiny", "unloaded")
        assert pids(live) == []
        reply = await boss.client.post("/api/chat/completions", json=chat())
        assert reply.json()["choices"][0]["message"]["content"] == SAYS


async def test_files_that_can_not_be_used_are_told_to_the_admin_only(
    boss: Actor, local: Live, folder: Path, put: Callable[..., Path]
) -> None:
    put()
    whole = (folder / "tiny.gguf").read_bytes()
    (folder / "garbage.gguf").write_bytes(b"no model at all" * 100)
    (folder / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.gguf").touch()
    (folder / "coming.gguf.part").write_bytes(whole)
    (folder / ".hidden.gguf").write_bytes(whole)
    os.mkfifo(folder / "pipe.gguf")
    (folder / os.fsdecode(b"bad\xff\nname.gguf")).write_bytes(whole)
    broken = folder / "transformers"
    broken.mkdir()
    (broken / "config.json").write_text("{")
    (broken / "model.safetensors").touch()
    listed = await until(boss.client, "/api/v1/llamaforge/models", lambda a: len(a["models"]) == 7)
    states = {m["name"]: (m["state"], bool(m["error"])) for m in listed["models"]}
    assert states.pop("tiny") == ("unloaded", False)
    assert set(states.values()) == {("unusable", True)}
    assert "config.json" in next(m["error"] for m in listed["models"] if m["name"] == "transformers")
    assert str(folder) not in msgspec.json.encode(listed).decode()
    models = (await boss.client.get("/api/models")).json()["data"]
    assert [m["id"] for m in models] == ["tiny"]
    reply = await boss.client.post("/api/chat/completions", json=chat("garbage"))
    assert reply.status_code == 400
    # What is repaired is offered.
    (folder / "garbage.gguf").write_bytes(whole)
    await offered(boss.client, "garbage")


async def test_others_need_a_grant(local: Live, boss: Actor, put: Callable[..., Path]) -> None:
    put()
    await offered(boss.client, "tiny")
    user = await people.sign_up(local, "User One", role="user", admin=boss)
    waiting = await people.sign_up(local, "Pending One", role="pending", admin=boss)
    async with user.client, waiting.client:
        assert [m["id"] for m in (await user.client.get("/api/models")).json()["data"]] == []
        for path, body in (
            ("/api/chat/completions", chat()),
            ("/ollama/api/chat", chat()),
            ("/ollama/api/show", {"model": "tiny"}),
            ("/ollama/api/embed", {"model": "tiny", "input": "x"}),
            ("/api/embeddings", {"model": "tiny", "input": "x"}),
        ):
            assert (await user.client.post(path, json=body)).status_code == 400, path
            assert (await waiting.client.post(path, json=body)).status_code in {401, 403}, path
        assert (await user.client.get("/ollama/api/tags")).json() == {"models": []}
        assert pids(local) == []
        grant = {"principal_type": "user", "principal_id": "*", "permission": "read"}
        row = {"id": "tiny", "base_model_id": None, "name": "Tiny", "meta": {}, "params": {}, "access_grants": [grant]}
        assert (await boss.client.post("/api/v1/models/create", json=row)).status_code == 200
        reply = await user.client.post("/api/chat/completions", json=chat())
        assert reply.json()["choices"][0]["message"]["content"] == SAYS
        assert [m["name"] for m in (await user.client.get("/ollama/api/tags")).json()["models"]] == ["tiny"]
        assert (await waiting.client.post("/api/chat/completions", json=chat())).status_code == 401


@pytest.mark.parametrize("path", ["/api/chat/completions", "/ollama/api/chat"])
@pytest.mark.parametrize("stream", [False, True])
async def test_who_goes_away_leaves_the_queue(boss: Actor, put: Callable[..., Path], path: str, stream: bool) -> None:
    put(says=LONG, endless=True)
    await offered(boss.client, "tiny")
    where = "/api/v1/llamaforge/models/tiny"
    first = asyncio.create_task(boss.client.post(path, json=chat(stream=False, max_tokens=1_000_000)))
    await until(boss.client, where, lambda a: a["slots"]["used"] == 1 and a["state"] == "loaded")
    second = asyncio.create_task(boss.client.post(path, json=chat(stream=stream)))
    await until(boss.client, where, lambda a: a["slots"]["waiting"] == 1)
    second.cancel()
    await until(boss.client, where, lambda a: a["slots"]["waiting"] == 0)
    first.cancel()
    await until(boss.client, where, lambda a: a["slots"]["used"] == 0)


async def test_an_admin_unloads_what_is_answering(local: Live, boss: Actor, put: Callable[..., Path]) -> None:
    put(says=LONG, endless=True)
    await offered(boss.client, "tiny")
    async with open_page(boss.client, boss.token) as page:
        body = page.ask("tiny", "Hi", params={"temperature": 0, "max_tokens": 1_000_000})
        chat_id = (await page.post(body))["chat_id"]
        await page.until(lambda p: len(p.of(body["id"])) > 5)
        reply = await boss.client.post("/api/v1/llamaforge/models/tiny/unload")
        assert (reply.status_code, reply.json()["state"]) == (200, "unloaded")
        await page.idle(chat_id)
        message = await page.message(chat_id, body["id"])
        assert message["content"].startswith("word0 word1")
        assert "unloaded" in message["error"]["content"]
    assert pids(local) == []


@pytest.mark.parametrize("stream", [True, False])
async def test_tools_of_which_a_model_is_not_told_are_said(boss: Actor, put: Callable[..., Path], stream: bool) -> None:
    put("plain.gguf", template="{%- for message in messages %}{{- message.content }}{%- endfor %}")
    await offered(boss.client, "plain")
    sentence = NO_TOOLS.format("plain")

    async def warnings(**fields: Any) -> list[str]:
        reply = await boss.client.post("/api/chat/completions", json=chat("plain", stream=stream, **fields))
        assert reply.status_code == 200, reply.text
        said = reply.text.split("data: ")[1:-1] if stream else [reply.text]
        answers = [msgspec.json.decode(text) for text in said]
        assert all(a["choices"] or a.get("usage") for a in answers)
        return [a["warning"] for a in answers if "warning" in a]

    assert await warnings(tools=[TOOL]) == [sentence]
    assert await warnings(tools=[TOOL], tool_choice="none") == []
    assert await warnings() == []
    body = {"model": "plain", "messages": [{"role": "user", "content": "Hi"}], "tools": [TOOL], "stream": stream}
    lines = (await boss.client.post("/ollama/api/chat", json=body)).text.splitlines()
    assert msgspec.json.decode(lines[-1])["warning"] == sentence
