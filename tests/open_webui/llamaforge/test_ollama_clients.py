"""Ollama's own package against this server, with no Ollama anywhere: it lists, shows, loads, chats and embeds."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import ollama
import pytest

from open_webui.config import Config
from open_webui.retrieval.embedding import NoEmbedder, open_embedder
from open_webui.retrieval.onnx.runner import Runner
from open_webui.services.local_ollama import VERSION
from tests.open_webui.llamaforge.conftest import SAYS, offered, pids, until
from tests.open_webui.llamaforge.test_chats import CALL, TOOL
from tests.support.live import Actor, Live, used

HI = [{"role": "user", "content": "Hi"}]
GREEDY = {"temperature": 0, "num_ctx": 512, "num_predict": 50}


@pytest.fixture
async def client(local: Live, boss: Actor, put: Callable[..., Path]) -> AsyncIterator[ollama.AsyncClient]:
    put()
    await offered(boss.client, "tiny")
    opened = ollama.AsyncClient(host=f"{local.url}/ollama", headers={"Authorization": f"Bearer {boss.token}"})
    yield opened
    # It has no way to close its connections itself.
    await opened._client.aclose()


async def test_list_show_and_version(client: ollama.AsyncClient, boss: Actor) -> None:
    (model,) = (await client.list()).models
    assert (model.model, model.details.family, model.details.format) == ("tiny", "llama", "gguf")
    assert model.size > 1_000_000
    assert len(model.digest) == 64
    for name in ("tiny", "tiny:latest"):
        shown = await client.show(name)
        assert shown.modelinfo["llama.context_length"] == 4096
        assert shown.modelinfo["general.architecture"] == "llama"
        assert shown.capabilities == ["completion", "tools"]
        assert "im_start" in shown.template
    assert (await boss.client.get("/ollama/api/version")).json() == {"version": VERSION}
    listed = (await boss.client.get("/ollama/v1/models")).json()
    assert [m["id"] for m in listed["data"]] == ["tiny"]
    with pytest.raises(ollama.ResponseError, match="Model not found"):
        await client.show("nothing")


async def test_it_chats_whole_and_in_pieces(client: ollama.AsyncClient) -> None:
    whole = await client.chat("tiny", HI, options=GREEDY)
    assert (whole.message.content, whole.done, whole.done_reason) == (SAYS, True, "stop")
    assert whole.eval_count > 3
    assert whole.prompt_eval_count > 3
    pieces = [piece async for piece in await client.chat("tiny:latest", HI, options=GREEDY, stream=True)]
    assert "".join(piece.message.content for piece in pieces) == SAYS
    assert len(pieces) > 3
    assert pieces[-1].eval_count == whole.eval_count
    short = await client.chat("tiny", HI, options=GREEDY | {"num_predict": 2})
    assert SAYS.startswith(short.message.content)
    assert (short.eval_count, short.done_reason) == (2, "length")


async def test_it_generates(client: ollama.AsyncClient) -> None:
    assert (await client.generate("tiny", "Hi", system="Be brief", options=GREEDY)).response == SAYS
    pieces = [piece.response async for piece in await client.generate("tiny", "Hi", options=GREEDY, stream=True)]
    assert "".join(pieces) == SAYS


async def test_it_calls_tools(client: ollama.AsyncClient, boss: Actor, put: Callable[..., Path]) -> None:
    put("caller.gguf", CALL)
    await offered(boss.client, "caller")
    answer = await client.chat("caller", HI, tools=[TOOL], options=GREEDY)
    assert [(c.function.name, c.function.arguments) for c in answer.message.tool_calls] == [("weather", {})]
    pieces = [p async for p in await client.chat("caller", HI, tools=[TOOL], options=GREEDY, stream=True)]
    calls = [c for p in pieces for c in p.message.tool_calls or ()]
    assert [(c.function.name, c.function.arguments) for c in calls] == [("weather", {})]


async def test_it_keeps_to_a_schema(client: ollama.AsyncClient) -> None:
    schema = {"type": "object", "properties": {"n": {"enum": [7]}}, "required": ["n"], "additionalProperties": False}
    answer = await client.chat("tiny", HI, format=schema, options=GREEDY)
    assert msgspec.json.decode(answer.message.content) == {"n": 7}
    written = await client.generate("tiny", "Hi", format=schema, options=GREEDY)
    assert msgspec.json.decode(written.response) == {"n": 7}


async def test_what_is_loaded_and_letting_go(client: ollama.AsyncClient, local: Live, boss: Actor) -> None:
    assert (await client.ps()).models == []
    # An empty prompt loads, and keep_alive=0 lets go.
    loaded = await client.generate("tiny")
    assert (loaded.response, loaded.done, loaded.done_reason) == ("", True, "load")
    (model,) = (await client.ps()).models
    assert (model.model, model.details.family) == ("tiny", "llama")
    assert model.size > 1_000_000
    assert model.expires_at is not None
    gone = await client.generate("tiny", keep_alive=0)
    assert (gone.done, gone.done_reason) == (True, "unload")
    assert pids(local) == []
    for given in (0.0, "0", "0.0s", " 0m ", "0h0m0s"):
        assert (await client.generate("tiny", keep_alive=given)).done_reason == "unload"
    assert pids(local) == []
    await client.chat("tiny", HI, options=GREEDY)
    assert (await boss.client.post("/ollama/api/unload", json={"model": "tiny"})).json() is True
    assert pids(local) == []


async def test_it_embeds(client: ollama.AsyncClient, local: Live, boss: Actor, put: Callable[..., Path]) -> None:
    put("vectors.gguf")
    added = {"name": "embedder", "source": "vectors.gguf", "parameters": {"embedding": True}}
    reply = await boss.client.post("/api/v1/llamaforge/models", json=added)
    assert reply.status_code == 200, reply.text
    await offered(boss.client, "embedder")
    made = await client.embed("embedder", ["one text", "another"])
    assert [len(vector) for vector in made.embeddings] == [len(made.embeddings[0])] * 2
    assert made.embeddings[0] != made.embeddings[1]
    assert made.prompt_eval_count > 0
    (one,) = (await client.embed("embedder", "one text")).embeddings
    assert one == pytest.approx(made.embeddings[0], abs=1e-5)
    old = await client.embeddings("embedder", "one text")
    assert list(old.embedding) == pytest.approx(one, abs=1e-5)
    assert (await client.embed("embedder", [])).embeddings == []
    for path in ("/ollama/v1/embeddings", "/api/embeddings"):
        answer = (await boss.client.post(path, json={"model": "embedder", "input": "one text"})).json()
        assert answer["data"][0]["embedding"] == pytest.approx(one, abs=1e-5), path
    # The same as the engine of documents.
    config = Config({"RAG_EMBEDDING_ENGINE": "llamaforge", "RAG_EMBEDDING_MODEL": "embedder"})
    state = local.app.state.oui
    runner = Runner(state.settings)
    packed = await open_embedder(config, state.settings, state.http, state.local_models, runner).embed(["one text"])
    assert struct.unpack(f"<{len(one)}f", packed[0]) == pytest.approx(one, abs=1e-5)
    gone = Config({"RAG_EMBEDDING_ENGINE": "llamaforge", "RAG_EMBEDDING_MODEL": "other"})
    with pytest.raises(NoEmbedder, match="There is no model other among the models of this machine"):
        open_embedder(gone, state.settings, state.http, state.local_models, runner)
    found = await used(local, 5)
    assert [(row.kind, row.model_id, row.status) for row in found] == [("embedding", "embedder", 200)] * 5
    assert all(row.prompt_tokens > 0 for row in found)


@pytest.mark.parametrize("given", [7, [7], None, {}])
async def test_a_bad_input_is_refused(client: ollama.AsyncClient, boss: Actor, given: object) -> None:
    for path, field in (("/ollama/api/embed", "input"), ("/ollama/api/embeddings", "prompt")):
        reply = await boss.client.post(path, json={"model": "tiny", field: given})
        assert (reply.status_code, isinstance(reply.json()["detail"], str)) == (400, True), reply.text


async def test_a_model_that_makes_no_vectors_says_so(client: ollama.AsyncClient) -> None:
    with pytest.raises(ollama.ResponseError, match="embedding"):
        await client.embed("tiny", "text")


async def test_it_works_with_ollamas_own_servers_switched_off(
    client: ollama.AsyncClient, local: Live, boss: Actor
) -> None:
    await local.app.state.oui.save_config({"ollama.enable": False})
    assert [m.model for m in (await client.list()).models] == ["tiny"]
    assert (await client.chat("tiny", HI, options=GREEDY)).message.content == SAYS
    assert [m.model for m in (await client.ps()).models] == ["tiny"]
    (local.settings.data_dir / "models" / "tiny.gguf").unlink()
    await until(boss.client, "/api/v1/llamaforge/models", lambda a: not a["models"])
    assert (await boss.client.get("/ollama/api/tags")).status_code == 503
    assert (await boss.client.get("/ollama/api/version")).json() == {"version": False}


async def test_many_at_once(client: ollama.AsyncClient) -> None:
    answers = await asyncio.gather(*(client.chat("tiny", HI, options=GREEDY) for _ in range(8)))
    assert {answer.message.content for answer in answers} == {SAYS}
