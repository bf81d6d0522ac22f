"""R14: secrets are planted wherever the server keeps some; nobody who may not write the thing finds one anywhere."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa

from open_webui.models import tables
from open_webui.printing import declared
from open_webui.socket.incoming import NOTE_UPDATE
from tests.open_webui.chat.page import open_page
from tests.security import matrix
from tests.security.matrix import MARK, Role, World, ok
from tests.security.matrix_doors import EVENTS
from tests.support.live import Live
from tests.support.server import SECRET
from tests.support.upstream import Upstream

CANARY = "planted-7f3a9"
PROMPT = f"{CANARY}-prompt"


@pytest.fixture
def database_kind() -> str:
    """Nothing here depends on it."""
    return "sqlite"


@pytest.fixture
async def world(live: Live, upstream: Upstream) -> AsyncIterator[World]:
    made = await matrix.make_world(live, upstream)
    yield made
    await matrix.close(made)


async def plant(world: World, upstream: Upstream) -> None:
    """Keys and headers of connections, prompts of everything that has one, templates and parameters."""
    state = world.live.app.state.oui
    entry = {"key": CANARY, "headers": {"x-secret": CANARY}, "tags": [], "azure": False}
    await state.save_config(
        {
            "openai.api_base_urls": [f"{upstream.openai_url}?token={CANARY}", upstream.openai_url],
            "openai.api_keys": [CANARY, CANARY],
            "openai.api_configs": {"0": {"headers": {"x-secret": CANARY}}, "1": {"prefix_id": "two"} | entry},
            "ollama.base_urls": [f"http://me:{CANARY}@127.0.0.1:{upstream.port}", upstream.url],
            "ollama.api_configs": {"0": {"prefix_id": "oll"} | entry, "1": {"prefix_id": "lama"} | entry},
            "models.default_params": {"system": PROMPT},
            "task.title.prompt_template": PROMPT,
            "task.tags.prompt_template": PROMPT,
            "task.follow_up.prompt_template": PROMPT,
            "task.model.params": {"key": CANARY},
            "tool_server.connections": [
                {
                    "url": f"{upstream.url}/{CANARY}",
                    "path": CANARY,
                    "type": kind,
                    "auth_type": "bearer",
                    "key": CANARY,
                    "headers": {"x-secret": CANARY},
                    "info": {"id": "for-all", "oauth_client_info": CANARY},
                    "config": {"access_grants": [matrix.granted("*")]},
                }
                for kind in ("openapi", "mcp")
            ],
        },
        # The addresses of the tests' provider are fixed by the environment.
        partly=True,
    )
    await state.catalogue.wait_for_lists()
    outside = {"name": "q", "provider": "qdrant", "endpoint": upstream.url, "auth_config": {"api_key": CANARY}}
    await ok(world.admin, "POST", "/api/v1/knowledge/external/connections", outside)
    secret = {"system": PROMPT, "custom_params": {"key": CANARY}}
    readable = [matrix.granted("*")]
    for model_id, base in (("echo", None), ("for-all", "echo")):
        row = {"id": model_id, "base_model_id": base, "name": model_id, "meta": {}, "params": secret}
        door = "model/update" if base is None else "create"
        await ok(world.admin, "POST", f"/api/v1/models/{door}", row | {"access_grants": readable})
    await plant_plugins(world)
    await ok(world.owner, "PATCH", f"/api/v1/chats/{world.ids['chat']}/params", secret)
    folder = {"data": {"system_prompt": PROMPT}}
    await ok(world.owner, "POST", f"/api/v1/folders/{world.ids['folder']}/update", folder)
    await ok(world.owner, "POST", "/api/v1/users/user/settings/update", {"ui": {"system": PROMPT}})


async def plant_plugins(world: World) -> None:
    """Texts of plugins that everybody may use, and what is set of them."""
    text = matrix.tool_text(CANARY)
    form = {"id": "planted", "name": "Planted", "content": text, "meta": {}}
    readable = {"access_grants": [matrix.granted("*")]}
    await ok(world.admin, "POST", "/api/v1/tools/create", form | readable)
    function = form | {"content": text.replace("Tools", "Action")}
    await ok(world.admin, "POST", "/api/v1/functions/create", function)
    for switch in ("toggle", "toggle/global"):
        await ok(world.admin, "POST", f"/api/v1/functions/id/planted/{switch}")
    for kind in ("tools", "functions"):
        await ok(world.admin, "POST", f"/api/v1/{kind}/id/planted/valves/update", {"note": CANARY})
    world.ids |= {"tool": "planted", "function": "planted"}


async def secrets_of(world: World) -> set[str]:
    """What is secret of itself: hashes, stamps, sealed and plain keys, tokens, the server's own secret."""
    async with world.live.app.state.oui.database.read() as connection:
        credentials = (await connection.execute(sa.select(tables.credential))).mappings().all()
        keys = (await connection.execute(sa.select(tables.api_key))).mappings().all()
    found = {CANARY, SECRET, world.ids["key"], world.owner.token, world.admin.token}
    found |= {row[name] for row in credentials for name in ("password_hash", "session_stamp") if row[name]}
    return found | {row[name] for row in keys for name in ("hash", "former_hash", "sealed") if row[name] is not None}


async def crawl(world: World, role: Role | None) -> list[str]:
    """Every GET, with the ids of all that there is, and what of it was answered with a secret in it."""
    secrets, told, asked = await secrets_of(world), [], 0
    hidden = secrets | ({MARK} if role in {"stranger", "pending", None} else {f"{MARK} chat prompt"})
    client = world.live.client() if role is None else world.actor(role).client
    for door in declared(world.live.app):
        if door.kind != "GET":
            continue
        names = [name.partition(":")[0] for name in re.findall(r"\{([^}]*)\}", door.path)]
        query_ids = ("model", "local", "public") if "/model" in door.path or "/export" in door.path else ("chat",)
        kinds = (
            ("chat", "share", "live_share", "folder", "user", "group", "model", "knowledge", "index", "admin", "tool")
            if names
            else query_ids
        )
        for kind in kinds:
            value = world.ids[kind]
            path = re.sub(r"\{[^}]*\}", value, door.path)
            query = {"id": value, "ids": value, "q": MARK, "text": MARK, "query": ""} | {"share": "true"}
            reply = await client.get(path, params=query)
            asked += 1
            text = reply.text + str(dict(reply.headers))
            told += [f"{path} ({reply.status_code}) tells {s}" for s in hidden if s in text]
            if reply.status_code == 500:
                told.append(f"{path} failed")
    if role is None:
        await client.aclose()
    assert asked > 150
    return told


# The reader's own token is theirs; what they were let read is theirs to read, but for its prompts.
@pytest.mark.parametrize("role", ["stranger", "reader", "pending", None])
async def test_no_reading_finds_a_secret(world: World, upstream: Upstream, role: Role | None) -> None:
    await plant(world, upstream)
    world.ids |= {"index": "0", "admin": world.admin.id}
    assert await crawl(world, role) == []


async def test_the_canaries_are_where_the_crawl_looks(world: World, upstream: Upstream) -> None:
    """Who may write a thing sees its secrets: so the crawl above would have seen them too."""
    await plant(world, upstream)
    plugins = [f"/api/v1/{kind}/id/planted{rest}" for kind in ("tools", "functions") for rest in ("", "/valves")]
    for path in (
        "/openai/config",
        "/ollama/config",
        "/api/v1/models/model?id=for-all",
        "/api/v1/tasks/config",
        *plugins,
    ):
        assert CANARY in (await world.admin.client.get(path)).text, path
    chat = await world.owner.client.get(f"/api/v1/chats/{world.ids['chat']}")
    folder = await world.owner.client.get(f"/api/v1/folders/{world.ids['folder']}")
    assert PROMPT in chat.text
    assert PROMPT in folder.text
    assert (await world.owner.client.get("/api/v1/auths/api_key")).json() == {"api_key": world.ids["key"]}


@pytest.mark.parametrize("role", ["stranger", "reader"])
async def test_no_socket_event_answers_with_a_secret(world: World, upstream: Upstream, role: Role) -> None:
    await plant(world, upstream)
    secrets = await secrets_of(world)
    heard: list[Any] = []
    actor = world.actor(role)
    async with open_page(actor.client, actor.token) as page, open_page(world.owner.client, world.owner.token) as owner:
        bodies = [body for cases in EVENTS.values() for body, _ in cases]
        bodies += [{"model": "$model"}, {"auth": {"token": "$key"}}, {"id": "$user", "chat_id": "$hidden"}]
        for name in world.live.app.state.sockets.handlers:
            for body in bodies:
                if name == NOTE_UPDATE and "document_id" not in body:
                    # A socket that sends an update of something else is ended.
                    continue
                heard.append(await page.socket.call(name, world.fill(body), timeout=30))
                # A socket that sends more than 50 packets a second for long is ended.
                await asyncio.sleep(0.02)
        await page.socket.call("events:chat", world.fill({"chat_id": "$chat", "data": {"type": "join"}}), timeout=30)
        turn = owner.ask("for-all", "Hello", chat_id=world.ids["chat"], parent_id="answer")
        await owner.post(turn)
        await owner.idle(world.ids["chat"])
        await page.socket.call("user-join", {"auth": {"token": page.token}}, timeout=30)
        heard += [page.events, page.others]
    assert [s for s in secrets if s in str(heard)] == []
    assert f"{MARK} chat prompt" not in str(heard)
    assert (MARK in str(heard)) is False or role == "reader"


async def test_a_copy_has_no_prompt_of_the_original(world: World, upstream: Upstream) -> None:
    """Who may read a chat may copy it, without what steers it."""
    await plant(world, upstream)
    for path in ("chat/fork", "chat/clone/shared", "live_share/clone/shared", "share/clone/shared"):
        kind, _, action = path.partition("/")
        copy = await ok(world.reader, "POST", f"/api/v1/chats/{world.ids[kind]}/{action}", {})
        assert MARK in copy["title"], path
        for text in (str(copy), (await world.reader.client.get(f"/api/v1/chats/{copy['id']}")).text):
            assert CANARY not in text, path
            assert f"{MARK} chat prompt" not in text, path
            assert copy["variables"] == {}, path


async def test_refusals_tell_no_secret(world: World, upstream: Upstream) -> None:
    """A provider's failure is told in its words, without the key or the address that was used."""
    await plant(world, upstream)
    secrets = await secrets_of(world)
    upstream.api_key = "another"
    for path in ("/api/chat/completions", "/openai/chat/completions", "/ollama/api/chat", "/ollama/api/generate",
                 "/openai/embeddings", "/ollama/api/embed", "/api/v1/tasks/title/completions"):  # fmt: skip
        for model in ("for-all", "echo", "oll.fixed:latest", "nonsense"):
            body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "prompt": "hi", "input": "hi"}
            for actor in (world.stranger, world.reader):
                reply = await actor.client.post(path, json=body)
                assert [s for s in secrets if s in reply.text] == [], (path, model)
                assert reply.status_code != 500, (path, model, reply.text)
