"""The catalogue in the running application: dead endpoints, several connections, changes of the config, the builtin."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from open_webui.connections.base import ModelEntry
from open_webui.connections.catalogue import Catalogue
from open_webui.connections.openai import OpenAIConnection
from open_webui.connections.source import Source
from open_webui.connections.specs import Spec
from tests.support import live as people
from tests.support.live import Actor, Live
from tests.support.process import free_port
from tests.support.upstream import Upstream

Make = Callable[..., Awaitable[Live]]


@pytest.fixture
def black_hole() -> Iterator[str]:
    """An address that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"


def catalogue(live: Live) -> Catalogue:
    found: Catalogue = live.app.state.oui.catalogue
    return found


async def names(actor: Actor, query: str = "") -> list[str]:
    reply = await actor.client.get(f"/api/models{query}")
    assert reply.status_code == 200
    return [m["id"] for m in reply.json()["data"]]


@pytest.fixture
def connections() -> None:
    """These tests say themselves what is connected; the default is nothing."""


@pytest.fixture
def connected(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_BASE_URLS", upstream.openai_url)


async def test_the_builtin_is_there_when_nothing_is_connected(admin: Actor, user: Actor) -> None:
    for actor in (admin, user):
        (model,) = (await actor.client.get("/api/models")).json()["data"]
        assert (model["id"], model["name"], model["owned_by"]) == ("eliza", "Eliza", "local")
        assert "no language model" in model["info"]["meta"]["description"]
    body = {"model": "eliza", "messages": [{"role": "user", "content": "I am unhappy"}]}
    reply = await user.client.post("/api/chat/completions", json=body)
    assert reply.json()["choices"][0]["message"]["content"]
    reply = await user.client.post("/api/chat/completions", json=body | {"stream": True})
    assert reply.text.count("data: {") > 3
    assert reply.text.endswith("data: [DONE]\n\n")
    reply = await user.client.post("/api/embeddings", json={"model": "eliza", "input": "x"})
    assert reply.status_code == 400


@pytest.mark.parametrize(("builtin", "there"), [("auto", False), ("always", True), ("never", False)])
async def test_the_builtin_beside_others(connected: None, live: Live, admin: Actor, builtin: str, there: bool) -> None:
    await live.app.state.oui.save_config({"models.builtin": builtin})
    assert ("eliza" in await names(admin)) == there
    assert "echo" in await names(admin)


async def test_dead_endpoints_delay_nothing(
    make_live: Make, upstream: Upstream, black_hole: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = f"http://127.0.0.1:{free_port()}/v1"
    monkeypatch.setenv("OPENAI_API_BASE_URLS", f"{black_hole};{refused};{upstream.openai_url}")
    monkeypatch.setenv("OLLAMA_BASE_URLS", black_hole)
    live = await make_live()
    admin = await people.sign_up(live, "Admin One")
    async with admin.client:
        assert "echo" in await names(admin)
        before = time.monotonic()
        body = {"model": "echo", "messages": [{"role": "user", "content": "quick"}]}
        assert (await admin.client.post("/api/chat/completions", json=body)).status_code == 200
        assert (await admin.client.get("/health")).status_code == 200
        await names(admin)
        assert time.monotonic() - before < 8, "a list of models is waited for at most 10 seconds"
        assert "openai:1" in catalogue(live).problems()


async def test_an_admin_sees_a_new_model_at_once(
    connected: None, live: Live, admin: Actor, user: Actor, upstream: Upstream
) -> None:
    upstream.models = (*upstream.models, "fresh")
    assert "fresh" not in await names(admin)
    asked = len(upstream.received)
    await names(user, "?refresh=true")
    assert len(upstream.received) == asked, "only an admin's wish makes the server ask"
    assert "fresh" in await names(admin, "?refresh=true")


async def test_several_connections(connected: None, live: Live, admin: Actor, upstream: Upstream) -> None:
    """The first of two equal ids wins; a prefix tells them apart; a switched off one is gone."""
    upstream.models = ("echo", "fixed")
    form: dict[str, Any] = {
        "ENABLE_OLLAMA_API": True,
        "OLLAMA_BASE_URLS": [upstream.url, upstream.url],
        "OLLAMA_API_CONFIGS": {"1": {"enable": True, "prefix_id": "second", "model_ids": ["fixed:latest"]}},
    }
    assert (await admin.client.post("/ollama/config/update", json=form)).status_code == 200
    assert sorted(await names(admin, "?refresh=true")) == [
        "echo", "echo:latest", "fixed", "fixed:latest", "second.fixed:latest",
    ]  # fmt: skip
    found = {m["id"]: m for m in (await admin.client.get("/api/models")).json()["data"]}
    assert (found["second.fixed:latest"]["urlIdx"], found["second.fixed:latest"]["owned_by"]) == (1, "ollama")
    body = {"model": "second.fixed:latest", "messages": [{"role": "user", "content": "hello"}]}
    reply = await admin.client.post("/api/chat/completions", json=body)
    assert reply.json()["choices"][0]["message"]["content"].startswith("the quick")
    form["OLLAMA_API_CONFIGS"]["1"]["enable"] = False
    await admin.client.post("/ollama/config/update", json=form)
    assert "second.fixed:latest" not in await names(admin)
    await admin.client.post("/ollama/config/update", json=form | {"ENABLE_OLLAMA_API": False})
    assert await names(admin) == ["echo", "fixed"]


async def test_order_and_defaults(connected: None, live: Live, admin: Actor, upstream: Upstream) -> None:
    form = {
        "DEFAULT_MODELS": "slow", "DEFAULT_PINNED_MODELS": None, "MODEL_ORDER_LIST": ["slow", "gone", "echo"],
        "DEFAULT_MODEL_METADATA": {"capabilities": {"vision": False}}, "DEFAULT_MODEL_PARAMS": {"temperature": 0.1},
    }  # fmt: skip
    assert (await admin.client.post("/api/v1/configs/models", json=form)).json() == form
    assert (await names(admin))[:3] == ["slow", "echo", "fixed"]
    target = catalogue(live).find("echo")
    assert target is not None
    assert (target.params, target.meta) == ({"temperature": 0.1}, {"capabilities": {"vision": False}})


async def test_the_answer_comes_from_memory(connected: None, live: Live, admin: Actor) -> None:
    """Encoded once for all who see the same, and anew when what there is changes."""
    await names(admin)
    held = catalogue(live)
    principal = await live.app.state.oui.identify(admin.token)
    assert await held.listed(principal) is await held.listed(principal)
    first = await held.listed(principal)
    await held.reload()
    assert await held.listed(principal) is first
    form = {"id": "mine", "base_model_id": "echo", "name": "M", "meta": {}, "params": {}}
    assert (await admin.client.post("/api/v1/models/create", json=form)).status_code == 200
    assert await held.listed(principal) != first


class Flaky:
    """A connection that fails when told to."""

    key = "openai:0"
    kind = "openai"

    def __init__(self) -> None:
        self.broken = False
        self.asked = 0
        self.spec = Spec(kind="openai", index=0, url="http://127.0.0.1:1")

    async def list_models(self) -> list[ModelEntry]:
        self.asked += 1
        if self.broken:
            await asyncio.Event().wait()
        return [ModelEntry(id="m", name="m", remote_id="m", connection=self.key, kind="openai")]

    open = embed = OpenAIConnection.open


async def test_a_source_keeps_what_it_knew_and_comes_back() -> None:
    connection = Flaky()
    changes: list[int] = []
    source = Source(connection, 1_000, 0.02, lambda: changes.append(1))  # type: ignore[arg-type]
    try:
        await source.settled.wait()
        assert ([e.id for e in source.entries], source.breaker.state) == (["m"], "closed")
        connection.broken = True
        await source.refresh().wait()
        assert ([e.id for e in source.entries], source.breaker.state) == (["m"], "open")
        assert "in time" in (source.error or "")
        connection.broken = False
        await source.refresh().wait()
        assert (source.error, source.breaker.state) == (None, "closed")
        assert (connection.asked, len(changes)) == (3, 3)
    finally:
        await source.close()


async def test_right_after_a_start_an_unknown_model_waits_for_who_has_not_answered(
    make_live: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = b'{"data":[{"id":"late"}]}'
    answer = b'{"choices":[{"message":{"role":"assistant","content":"here"},"finish_reason":"stop"}]}'

    async def provide(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        body = answer
        if b"/models" in head:
            await asyncio.sleep(0.6)  # longer than a start waits
            body = listing
        size = str(len(body)).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ")
        writer.write(size + b"\r\n\r\n" + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(provide, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("OPENAI_API_BASE_URLS", f"http://127.0.0.1:{port}/v1")
        live = await make_live()
        admin = await people.sign_up(live, "Admin One")
        async with admin.client as http:
            body = {"model": "late", "messages": [{"role": "user", "content": "x"}]}
            reply = await http.post("/api/chat/completions", json=body)
            assert reply.json()["choices"][0]["message"]["content"] == "here"
            unknown = await http.post("/api/chat/completions", json=body | {"model": "never"})
            assert (unknown.status_code, unknown.json()["detail"]) == (400, "Model not found")
