"""`oui-backend knowledge sync`: a folder becomes a knowledge base, and only what is new or changed is sent."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from open_webui.commands import app
from open_webui.knowledge_sync import Result, SyncError, reindex, sync
from open_webui.models import documents
from tests.open_webui.knowledge.test_bases import BASES, make_base
from tests.open_webui.knowledge.test_tree import listed
from tests.support.live import Actor, Live


@pytest.fixture
async def key(live: Live, admin: Actor) -> str:
    await live.app.state.oui.save_config({"auth.enable_api_keys": True})
    made: str = (await admin.client.post("/api/v1/auths/api_key")).json()["api_key"]
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "docs"
    for name, text in {
        "top.md": "# Top",
        "a/b/deep.txt": "Deep",
        "a/old.txt": "Old",
        ".hidden": "x",
        "a/.git/x": "x",
    }.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(text)
    (made / "link.txt").symlink_to(made / "top.md")
    return made


async def paths(actor: Actor) -> dict[str, str]:
    """The files of the only base: their ids by path."""
    (base,) = (await actor.client.get(f"{BASES}/")).json()["items"]
    items = (await listed(actor, base["id"]))["items"] + (
        await actor.client.get(f"{BASES}/{base['id']}/files/pending")
    ).json()
    return {f"{i.get('directory_path', '')}/{i['filename']}".strip("/"): i["id"] for i in items}


async def settled(actor: Actor) -> None:
    (base,) = (await actor.client.get(f"{BASES}/")).json()["items"]
    async with actor.client.stream("GET", f"{BASES}/{base['id']}/files/pending?stream=true") as reply:
        async for _ in reply.aiter_lines():
            pass


async def test_a_folder_becomes_a_base_and_stays_it(live: Live, admin: Actor, key: str, folder: Path) -> None:
    async def run(**options: Any) -> Result:
        done = await sync(live.settings, live.url, key, folder, "Docs", **options)
        await settled(admin)
        return done

    assert await run() == Result(added=3)
    first = await paths(admin)
    assert set(first) == {"top.md", "a/b/deep.txt", "a/old.txt"}
    assert await run() == Result(same=3)
    (folder / "top.md").write_text("# Another")
    (folder / "a" / "old.txt").unlink()
    (folder / "new.txt").write_text("New")
    assert await run() == Result(added=1, changed=1, same=1)
    second = await paths(admin)
    assert set(second) == {*first, "new.txt"}
    assert second["top.md"] != first["top.md"]
    assert (await admin.client.get(f"/api/v1/files/{first['top.md']}/content")).status_code == 404
    (folder / "a" / "b" / "deep.txt").unlink()
    assert await run(delete=True) == Result(removed=2, same=2)
    assert set(await paths(admin)) == {"top.md", "new.txt"}


async def test_what_hinders_a_sync_is_said(live: Live, admin: Actor, key: str, folder: Path) -> None:
    async def refused(into: str = "Docs", given: str = key, place: Path = folder, url: str = live.url) -> str:
        with pytest.raises(SyncError) as raised:
            await sync(live.settings, url, given, place, into)
        return str(raised.value)

    assert "no folder" in await refused(place=folder / "none")
    assert "(401)" in await refused(given="sk-" + "0" * 32)
    assert "could not be asked" in await refused(url="http://127.0.0.1:9")
    for _ in range(2):
        await make_base(admin, "Twice")
    assert "2 knowledge bases" in await refused("Twice")
    await live.app.state.oui.save_config({"rag.file.allowed_extensions": ["md"]})
    done = await sync(live.settings, live.url, key, folder, "Docs")
    assert (done.added, len(done.failed)) == (1, 2)


def test_the_command_wants_a_key(tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["knowledge", "sync", str(tmp_path), "--into", "Docs"], env={"OUI_API_KEY": ""})
    assert run.exit_code == 1


@pytest.mark.parametrize("vectors", [False, True])
async def test_documents_are_made_anew_on_request(
    live: Live, admin: Actor, key: str, folder: Path, vectors: bool
) -> None:
    await sync(live.settings, live.url, key, folder, "Docs")
    await settled(admin)
    ask = {"collection_names": [(await admin.client.get(f"{BASES}/")).json()["items"][0]["id"]], "query": "deep"}

    async def number() -> str:
        (found,) = (await admin.client.post("/api/v1/retrieval/query/collection", json=ask)).json()["metadatas"]
        assert found[0]["name"] == "deep.txt"
        async with live.app.state.oui.database.read() as connection:
            return str(await documents.newest(connection))

    before = await number()
    said = await reindex(live.settings, live.url, key, vectors=vectors)
    assert said.startswith("All documents")
    # What is searched meanwhile is what was there before, and then the new.
    for _ in range(400):
        if await number() != before:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("nothing was made anew")


async def test_only_an_administrators_key_makes_them_anew(live: Live, user: Actor) -> None:
    with pytest.raises(SyncError, match="refused"):
        await reindex(live.settings, live.url, user.token, vectors=False)
    with pytest.raises(SyncError, match="could not be asked"):
        await reindex(live.settings, "http://127.0.0.1:9", "k", vectors=False)
    assert CliRunner().invoke(app, ["reindex"], env={"OUI_API_KEY": ""}).exit_code == 1
