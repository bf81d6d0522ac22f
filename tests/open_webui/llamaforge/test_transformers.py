"""A Transformers folder is a model as a GGUF file is one."""

from pathlib import Path

import msgspec
import pytest

from llamaforge.exceptions import how_to_install
from open_webui.connections.local import library, models
from tests.open_webui.llamaforge.conftest import SAYS, chat, offered, until
from tests.support import tiny_transformers
from tests.support.live import Actor

pytestmark = pytest.mark.timeout(90)


async def test_it_answers_by_api_and_on_ollamas_wire(boss: Actor, folder: Path) -> None:
    tiny_transformers.write_model(folder / "org" / "tiny", says=SAYS)
    model = await offered(boss.client, "org/tiny")
    assert model["local"]["details"]["format"] == "safetensors"
    assert model["local"]["context_length"] == 512
    reply = await boss.client.post("/api/chat/completions", json=chat("org/tiny", max_tokens=100), timeout=60)
    assert reply.status_code == 200, reply.text
    assert reply.json()["choices"][0]["message"]["content"] == SAYS
    body = chat("org/tiny", options={"temperature": 0, "num_predict": 100, "num_ctx": 100}, stream=True)
    del body["temperature"]
    reply = await boss.client.post("/ollama/api/chat", json=body)
    lines = [msgspec.json.decode(line) for line in reply.text.splitlines()]
    assert "".join(line["message"]["content"] for line in lines) == SAYS
    assert lines[-1]["eval_count"] > 3
    shown = (await boss.client.post("/ollama/api/show", json={"model": "org/tiny"})).json()
    assert shown["capabilities"][0] == "completion"
    reply = await boss.client.post("/api/chat/completions", json=chat("org/tiny", nonsense=1))
    assert (reply.status_code, "nonsense" in reply.text) == (400, True)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (b"", "can't be read"),
        (b"[]", "can't be read"),
        (b"{" * 10_000, "can't be read"),
        (b"\xff", "can't be read"),
        (b"{}", "no architecture"),
        (b'{"architectures": 7}', "no architecture"),
        (b'{"architectures": ["BertModel"], "max_position_embeddings": "x", "dtype": []}', "names BertModel"),
    ],
)
async def test_folders_that_are_no_language_model(boss: Actor, folder: Path, config: bytes, said: str) -> None:
    place = folder / "odd"
    place.mkdir()
    (place / "model.safetensors").touch()
    (place / "config.json").write_bytes(config)
    listed = await until(boss.client, "/api/v1/llamaforge/models", lambda a: a["models"])
    (model,) = listed["models"]
    assert (model["state"], said in model["error"]) == ("unusable", True), model


async def test_without_its_engine_a_model_is_not_offered(
    boss: Actor, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(library.EXTRAS, "huggingface", ("transformers", ("no_such_module",)))
    tiny_transformers.write_model(folder / "tiny", says=SAYS)
    listed = await until(boss.client, "/api/v1/llamaforge/models", lambda a: a["models"])
    assert listed["models"][0]["state"] == "unusable"
    assert listed["models"][0]["error"].endswith(how_to_install("transformers"))
    assert {b["name"]: b["installed"] for b in listed["backends"]} == {"llama.cpp": True, "huggingface": False}
    assert [m["id"] for m in (await boss.client.get("/api/models")).json()["data"]] == ["eliza"]


def test_an_engine_gets_no_secrets_of_the_server() -> None:
    given = {
        "PATH": "/bin",
        "WEBUI_SECRET_KEY": "s",
        "DATABASE_URL": "d",
        "OPENAI_API_KEY": "k",
        "CUDA_VISIBLE_DEVICES": "0",
    }
    assert models.engine_environment(given) == {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "0", "HF_HUB_OFFLINE": "1"}
