"""What administrators do with the models of this machine: adding, downloading, loading, removing, and what is refused."""

import asyncio
import contextlib
import hashlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from llamaforge.hub import ollama
from open_webui.services.llamaforge import LOAD_HINT, OUTSIDE, OWN_CODE
from tests.open_webui.llamaforge.conftest import SAYS, chat, offered, pids, state, until
from tests.support import live as people
from tests.support.live import Actor, Live

PATH = "/api/v1/llamaforge/models"


async def add(boss: Actor, name: str, source: str, **fields: Any) -> Any:
    return await boss.client.post(PATH, json={"name": name, "source": source, **fields})


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def answer(boss: Actor, name: str, **fields: Any) -> str:
    reply = await boss.client.post("/api/chat/completions", json=chat(name, **fields))
    assert reply.status_code == 200, reply.text
    text: str = reply.json()["choices"][0]["message"]["content"]
    return text


async def test_a_model_is_added_loaded_unloaded_and_removed(
    local: Live, boss: Actor, put: Callable[..., Path], folder: Path
) -> None:
    put("files/a.gguf")
    reply = await add(boss, "mine:7b", "files/a.gguf", parameters={"n_ctx": 512, "max_new_tokens": 3, "stop": ["zzz"]})
    model = reply.json()
    assert reply.status_code == 200, model
    assert {k: model[k] for k in ("name", "state", "added", "source", "file", "backend", "error", "progress")} == {
        "name": "mine:7b", "state": "unloaded", "added": True, "source": "files/a.gguf", "file": "files/a.gguf",
        "backend": "llama.cpp", "error": None, "progress": None,
    }  # fmt: skip
    assert model["parameters"] == {"n_ctx": 512, "max_new_tokens": 3, "stop": ["zzz"]}
    assert (model["architecture"], model["context_length"]) == ("llama", 4096)
    assert model["memory"]["used"] == 0
    assert model["memory"]["needed"] > model["size"] > 1_000_000
    # The file is not offered once more under its own name.
    assert [m["id"] for m in (await boss.client.get("/api/models")).json()["data"]] == ["mine:7b"]

    reply = await boss.client.post(f"{PATH}/mine:7b/load")
    assert (reply.status_code, reply.json()["state"]) == (200, "loading")
    loaded = await state(boss.client, "mine:7b", "loaded")
    assert loaded["memory"]["used"] > 1_000_000
    assert len(pids(local)) == 1
    # Its parameters are the defaults of answers; the request's own win, whatever they are called.
    short = await answer(boss, "mine:7b")
    assert SAYS.startswith(short)
    assert short != SAYS
    assert await answer(boss, "mine:7b", max_tokens=100) == SAYS
    assert await answer(boss, "mine:7b", max_completion_tokens=100) == SAYS
    listed = (await boss.client.get(PATH)).json()
    assert listed["memory"]["used"] > 1_000_000
    assert listed["memory"]["budget"] > listed["memory"]["used"]
    assert {b["name"]: b["installed"] for b in listed["backends"]} == {"llama.cpp": True, "huggingface": True}

    reply = await boss.client.post(f"{PATH}/mine:7b/unload")
    assert reply.json()["state"] == "unloaded"
    assert pids(local) == []
    assert (await boss.client.delete(f"{PATH}/mine:7b")).json() == {"status": True}
    # Forgotten, but its file lies there still.
    assert (await boss.client.get(f"{PATH}/mine:7b")).status_code == 404
    assert (await offered(boss.client, "files/a"))["id"] == "files/a"
    assert (await boss.client.delete(f"{PATH}/files/a")).status_code == 400
    assert (await boss.client.delete(f"{PATH}/files/a", params={"files": True})).status_code == 200
    assert files_in(folder) == []
    assert (await boss.client.get("/api/models")).json()["data"][0]["id"] == "eliza"


async def test_what_was_added_is_there_after_a_restart(
    make_live: Callable[..., Awaitable[Live]], local: Live, boss: Actor, put: Callable[..., Path]
) -> None:
    put()
    await add(boss, "kept", "tiny.gguf", parameters={"max_tokens": 2})
    again = await make_live(local_models_scan_seconds=0.1)
    async with again.client(boss.token) as client:
        assert (await client.get(f"{PATH}/kept")).json()["parameters"] == {"max_tokens": 2}
        assert [m["id"] for m in (await client.get("/api/models")).json()["data"]] == ["kept"]


async def test_a_load_that_fails_says_why(boss: Actor, put: Callable[..., Path], folder: Path) -> None:
    """A file whose header is good and whose model the engine refuses."""
    put("odd.gguf", metadata={"llama.rope.dimension_count": 8})
    found = await until(boss.client, f"{PATH}/odd", lambda a: "state" in a)
    if found["state"] == "unloaded":
        await boss.client.post(f"{PATH}/odd/load")
        found = await state(boss.client, "odd", "failed", "unloaded", "loaded")
    (folder / "odd.gguf").write_bytes(b"garbage")
    found = await state(boss.client, "odd", "unusable")
    assert "not a GGUF file" in found["error"]
    reply = await boss.client.post(f"{PATH}/odd/load")
    assert (reply.status_code, "not a GGUF file" in reply.json()["detail"]) == (400, True)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"name": "x"},
        {"source": "tiny.gguf"},
        {"name": "", "source": "tiny.gguf"},
        {"name": "a b", "source": "tiny.gguf"},
        {"name": "../x", "source": "tiny.gguf"},
        {"name": "x/../y", "source": "tiny.gguf"},
        {"name": "/x", "source": "tiny.gguf"},
        {"name": "x" * 300, "source": "tiny.gguf"},
        {"name": "x\n", "source": "tiny.gguf"},
        {"name": 7, "source": "tiny.gguf"},
        {"name": "x", "source": "  "},
        {"name": "x", "source": 7},
        {"name": "x", "source": "tiny.gguf", "parameters": []},
        {"name": "x", "source": "tiny.gguf", "path": "/etc/passwd"},
        {"name": "x", "source": "tiny.gguf", "parameters": {str(n): 1 for n in range(300)}},
    ],
)
async def test_what_has_the_wrong_form(boss: Actor, put: Callable[..., Path], fields: dict[str, Any]) -> None:
    put()
    assert (await boss.client.post(PATH, json=fields)).status_code == 422


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"source": "nothing.gguf"}, 400, "There is no GGUF file"),
        ({"source": "."}, 400, "There is no GGUF file"),
        ({"source": "tiny.gguf/"}, 200, None),
        ({"source": "notes.txt"}, 400, "There is no GGUF file"),
        ({"source": "x\0y.gguf"}, 400, "There is no GGUF file"),
        ({"source": "https://example.com/x.gguf"}, 400, "There is no GGUF file"),
        ({"source": "../secret-key"}, 403, OUTSIDE),
        ({"source": "/etc/passwd"}, 403, OUTSIDE),
        ({"source": "/no/such/file.gguf"}, 403, OUTSIDE),
        ({"source": "link.gguf"}, 403, OUTSIDE),
        ({"source": "sub/../../webui.db"}, 403, OUTSIDE),
        ({"source": "hf:"}, 400, "hf:owner/repo"),
        ({"source": "hf:../x/y"}, 400, "hf:owner/repo"),
        ({"source": "hf:owner"}, 400, "hf:owner/repo"),
        ({"source": "ollama:evil.example/a/b/c"}, 400, "no name of a model of Ollama"),
        ({"source": "ollama:"}, 400, "no name of a model of Ollama"),
        ({"source": "tiny.gguf", "name": "eliza"}, 409, "already"),
        ({"source": "other.gguf", "name": "tiny"}, 409, "already"),
        ({"source": "tiny.gguf", "name": "tiny"}, 200, None),
        ({"source": "tiny.gguf", "backend": "openai"}, 400, "runs no models here"),
        ({"source": "tiny.gguf", "backend": "nonsense"}, 400, "runs no models here"),
        ({"source": "tiny.gguf", "parameters": {"n_ctz": 5}}, 400, "Did you mean 'n_ctx'"),
        ({"source": "tiny.gguf", "parameters": {"n_ctx": "many"}}, 400, "must be a number"),
        ({"source": "tiny.gguf", "parameters": {"n_ctx": True}}, 400, "must be a number"),
        ({"source": "tiny.gguf", "parameters": {"temperature": -1}}, 400, "temperature"),
        ({"source": "tiny.gguf", "parameters": {"n_ctx": 5, "context_length": 6}}, 400, "same"),
        ({"source": "tiny.gguf", "parameters": {"lora": "/etc/passwd"}}, 403, "operate the machine"),
        ({"source": "tiny.gguf", "parameters": {"mmproj": "x.gguf"}}, 403, "operate the machine"),
        ({"source": "folder", "parameters": {"cache_dir": "/tmp"}}, 403, "operate the machine"),
        ({"source": "folder", "parameters": {"trust_remote_code": True}}, 403, OWN_CODE),
        ({"source": "folder", "parameters": {"trust_remote_code": 1}}, 400, "true or false"),
        ({"source": "tiny.gguf", "parameters": {"stop": ["a\u0000b"]}}, 200, None),
    ],
)
async def test_what_may_not_be_added(
    boss: Actor,
    put: Callable[..., Path],
    folder: Path,
    gguf_files: Callable[..., Path],
    fields: dict[str, Any],
    status: int,
    said: str | None,
) -> None:
    put()
    put("other.gguf")
    (folder / "folder").mkdir()
    (folder / "notes.txt").touch()
    (folder / "link.gguf").symlink_to(gguf_files())
    reply = await boss.client.post(PATH, json={"name": "new"} | fields)
    assert reply.status_code == status, reply.text
    if said is not None:
        assert said in reply.json()["detail"]
        listed = (await boss.client.get(PATH)).json()["models"]
        assert not any(m["added"] for m in listed)


async def test_whoever_operates_the_machine_can_trust_its_admins(
    make_live: Callable[..., Awaitable[Live]], folder: Path, gguf_files: Callable[..., Path]
) -> None:
    place = gguf_files()
    trusting = await make_live(local_models_trust_admins=True, local_models_scan_seconds=0.1)
    boss = await people.sign_up(trusting, "Boss One")
    async with boss.client:
        reply = await add(boss, "far", str(place))
        assert (reply.status_code, reply.json()["file"]) == (200, str(place)), reply.text
        assert await answer(boss, "far") == SAYS
        reply = await boss.client.delete(f"{PATH}/far", params={"files": True})
        assert (reply.status_code, place.exists()) == (403, True)
        await add(boss, "far", str(place))
    # What was added in trust is not used where there is none any more.
    strict = await make_live(local_models_scan_seconds=0.1)
    async with strict.client(boss.token) as client:
        found = (await client.get(f"{PATH}/far")).json()
        assert (found["state"], "outside" in found["error"]) == ("unusable", True)
        assert (await client.post(f"{PATH}/far/load")).status_code == 400
        assert (await client.post("/api/chat/completions", json=chat("far"))).status_code == 400


async def test_switched_off_nothing_is_offered(
    make_live: Callable[..., Awaitable[Live]], put: Callable[..., Path]
) -> None:
    put()
    off = await make_live(enable_local_models=False)
    boss = await people.sign_up(off, "Boss One")
    async with boss.client:
        assert [m["id"] for m in (await boss.client.get("/api/models")).json()["data"]] == ["eliza"]
        assert (await boss.client.get(PATH)).json()["enabled"] is False
        assert (await add(boss, "x", "tiny.gguf")).status_code == 503
        assert (await boss.client.post(f"{PATH}/tiny/load")).status_code == 503


@pytest.mark.parametrize("verb", ["load", "unload", "download", "cancel"])
async def test_what_is_asked_of_nothing(boss: Actor, verb: str) -> None:
    assert (await boss.client.post(f"{PATH}/nothing/{verb}")).status_code == 404
    assert (await boss.client.get(f"{PATH}/nothing")).status_code == 404
    assert (await boss.client.delete(f"{PATH}/nothing")).status_code == 404


class Registry:
    """Ollama's registry with one model, which it gives in two halves: the second when it is let."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.stop = msgspec.json.encode({"stop": ["<end>"], "temperature": 0})
        self.more = asyncio.Event()
        self.asked: list[str | None] = []

    async def manifest(self, _request: web.Request) -> web.Response:
        parameters = f"sha256:{hashlib.sha256(self.stop).hexdigest()}"
        kinds = {"model": self.digest, "params": parameters}
        layers = [{"mediaType": f"application/vnd.ollama.image.{k}", "digest": d} for k, d in kinds.items()]
        return web.json_response({"layers": layers})

    async def blob(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["digest"] != self.digest:
            return web.Response(body=self.stop)
        wanted = request.headers.get("Range")
        self.asked.append(wanted)
        begin = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        headers = {"Content-Length": str(len(self.content) - begin), "ETag": '"v1"'}
        if wanted:
            headers["Content-Range"] = f"bytes {begin}-{len(self.content) - 1}/{len(self.content)}"
        response = web.StreamResponse(status=206 if wanted else 200, headers=headers)
        await response.prepare(request)
        half = len(self.content) // 2
        await response.write(self.content[begin : max(begin, half)])
        while not self.more.is_set():
            # A byte now and then, as slow lines have them.
            half = max(begin, half) + 1
            await response.write(self.content[half - 1 : half])
            await asyncio.sleep(0.02)
        await response.write(self.content[max(begin, half) :])
        return response


@pytest.fixture
async def registry(gguf_files: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Registry]:
    made = Registry(await asyncio.to_thread(gguf_files().read_bytes))
    app = web.Application()
    app.router.add_get("/v2/library/tiny/manifests/latest", made.manifest)
    app.router.add_get("/v2/library/tiny/blobs/{digest}", made.blob)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    monkeypatch.setattr(ollama, "REGISTRY", f"http://127.0.0.1:{runner.addresses[0][1]}")
    yield made
    await runner.cleanup()


async def test_a_download_tells_its_progress_can_be_stopped_and_goes_on(
    local: Live, boss: Actor, registry: Registry, folder: Path
) -> None:
    reply = await add(boss, "pulled", "ollama:tiny", parameters={"max_tokens": 50})
    assert (reply.status_code, reply.json()["state"]) == (200, "downloading"), reply.text
    path = f"{PATH}/pulled"
    half = await until(boss.client, path, lambda a: (a["progress"] or 0) >= 0.5)
    assert (half["state"], half["error"]) == ("downloading", None)
    assert half["progress"] < 0.6
    for verb, status in (("download", 409), ("load", 409)):
        assert (await boss.client.post(f"{path}/{verb}")).status_code in {400, status}, verb
    assert [m["id"] for m in (await boss.client.get("/api/models")).json()["data"]] == ["eliza"]
    stopped = (await boss.client.post(f"{path}/cancel")).json()
    assert (stopped["state"], stopped["progress"], stopped["error"]) == ("incomplete", None, None)
    assert (await boss.client.post(f"{path}/cancel")).status_code == 400
    assert (await boss.client.post(f"{path}/load")).json()["detail"] == LOAD_HINT
    registry.more.set()
    await boss.client.post(f"{path}/download")
    done = await state(boss.client, "pulled", "unloaded")
    assert registry.asked[0] is None
    assert int(str(registry.asked[-1]).removeprefix("bytes=").rstrip("-")) >= len(registry.content) // 2
    # What came with it lies beneath what the admin said.
    assert done["parameters"] == {"stop": ["<end>"], "temperature": 0.0, "max_tokens": 50}
    assert done["file"] == "ollama/tiny-latest.gguf"
    assert (await boss.client.post(f"{path}/download")).status_code == 400
    await offered(boss.client, "pulled")
    assert await answer(boss, "pulled") == SAYS
    await boss.client.delete(path, params={"files": True})
    assert files_in(folder) == []


@pytest.mark.parametrize("is_killed", [False, True])
async def test_a_download_goes_on_by_itself_after_a_restart(
    make_live: Callable[..., Awaitable[Live]], settings: Any, folder: Path, registry: Registry, is_killed: bool
) -> None:
    async with people.serve(settings) as first:
        boss = await people.sign_up(first, "Boss One")
        async with boss.client:
            await add(boss, "pulled", "ollama:tiny")
            await until(boss.client, f"{PATH}/pulled", lambda a: (a["progress"] or 0) >= 0.5)
    if is_killed:
        # As a process leaves it that could say nothing any more.
        with contextlib.closing(sqlite3.connect(settings.database_url.removeprefix("sqlite:///"))) as connection:
            connection.execute("UPDATE job SET state = 'running', attempts = 1 WHERE kind = 'download model'")
            connection.commit()
    registry.more.set()
    second = await make_live(local_models_scan_seconds=0.1)
    async with second.client(boss.token) as client:
        await state(client, "pulled", "unloaded")
        assert str(registry.asked[-1]).startswith("bytes=")
        listed = (await client.get(PATH)).json()["models"]
        assert [(m["name"], m["error"]) for m in listed] == [("pulled", None)]


async def test_a_download_that_fails_says_why(boss: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ollama, "REGISTRY", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for name, source in (("one", "ollama:tiny"), ("two", "hf:owner/repo")):
        assert (await add(boss, name, source)).status_code == 200
        found = await state(boss.client, name, "incomplete")
        assert "can't be reached" in found["error"]
        assert (await boss.client.delete(f"{PATH}/{name}")).status_code == 200


async def test_a_removed_download_stops(boss: Actor, registry: Registry) -> None:
    await add(boss, "pulled", "ollama:tiny")
    await until(boss.client, f"{PATH}/pulled", lambda a: (a["progress"] or 0) >= 0.5)
    assert (await boss.client.delete(f"{PATH}/pulled")).status_code == 200
    assert (await boss.client.get(PATH)).json()["models"] == []


async def test_a_model_beyond_the_budget_says_so(
    make_live: Callable[..., Awaitable[Live]], put: Callable[..., Path]
) -> None:
    put()
    small = await make_live(local_models_memory_gb=0.01, local_models_scan_seconds=0.1)
    boss = await people.sign_up(small, "Boss One")
    async with boss.client:
        await offered(boss.client, "tiny")
        reply = await boss.client.post("/api/chat/completions", json=chat())
        assert reply.status_code == 503
        assert "needs" in reply.json()["detail"]
        assert (await boss.client.get(PATH)).json()["memory"]["budget"] == int(0.01 * 2**30)
        await boss.client.post(f"{PATH}/tiny/load")
        found = await until(boss.client, f"{PATH}/tiny", lambda a: a["error"])
        assert (found["state"], "needs" in found["error"]) == ("unloaded", True)


async def test_two_names_for_one_file(boss: Actor, put: Callable[..., Path], folder: Path) -> None:
    put()
    for name in ("one", "two"):
        assert (await add(boss, name, "tiny.gguf")).status_code == 200
    assert [m["id"] for m in (await boss.client.get("/api/models")).json()["data"]] == ["one", "two"]
    reply = await boss.client.delete(f"{PATH}/one", params={"files": True})
    assert (reply.status_code, "two" in reply.json()["detail"]) == (409, True)
    assert {m["name"] for m in (await boss.client.get(PATH)).json()["models"]} == {"one", "two"}
    assert (await boss.client.delete(f"{PATH}/one")).status_code == 200
    assert (await boss.client.delete(f"{PATH}/two", params={"files": True})).status_code == 200
    assert files_in(folder) == []
