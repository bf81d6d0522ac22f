"""Answers that rest on documents: what is asked, what the model reads, what the page and API clients are told."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from open_webui.models import files, tables
from open_webui.models.files import NewFile
from open_webui.services.explaining import UNTOLD
from tests.open_webui.chat.page import Page, open_page
from tests.support import library
from tests.support.live import Actor, Live
from tests.support.upstream import Upstream

FRUIT = "The secret fruit is papaya. It grows on trees."
RIVER = "The Danube is a river. It ends in the Black Sea."


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]], connections: None) -> Live:
    """Everybody may use every model."""
    return await make_live(bypass_model_access_control=True)


@pytest.fixture
async def page(live: Live, user: Actor) -> AsyncIterator[Page]:
    async with open_page(user.client, user.token) as opened:
        yield opened


async def put_file(live: Live, owner: Actor, file_id: str, *texts: str, name: str | None = None) -> dict[str, Any]:
    """A file that has been read; gives it as an attachment."""
    state = live.app.state.oui
    name = name or f"{file_id}.txt"
    whole = "\n\n".join(texts)
    stored = await state.blobs.put(whole.encode())
    new = NewFile(id=file_id, filename=name, blob=stored.hash, size=stored.size, mime="text/plain", embedded=False)
    async with state.database.write() as unit:
        await files.add(unit.connection, owner.id, [new])
        values = {"status": "completed", "hash": stored.hash}
        await unit.connection.execute(tables.file.update().where(tables.file.c.id == file_id).values(**values))
        await library.document(unit.connection, texts, file_id=file_id, name=name)
    return {"type": "file", "id": file_id, "name": name, "url": file_id}


async def put_base(live: Live, owner: Actor, base_id: str, *file_ids: str) -> dict[str, Any]:
    async with live.app.state.oui.database.write() as unit:
        await library.base(unit.connection, owner.id, base_id, file_ids)
    return {"type": "collection", "id": base_id, "name": base_id}


async def answered(page: Page, text: str, **fields: Any) -> dict[str, Any]:
    """The stored answer to a question."""
    body = page.ask("fixed", text, **fields)
    reply = await page.post(body)
    await page.idle(reply["chat_id"])
    return await page.message(reply["chat_id"], body["id"])


async def test_a_page_is_told_the_sources_before_the_answer(
    live: Live, page: Page, user: Actor, upstream: Upstream
) -> None:
    file = await put_file(live, user, "f1", FRUIT, RIVER)
    kept = await answered(page, "Which fruit is secret?", files=[file])
    statuses = page.data("status")
    assert statuses == [
        {"action": "queries_generated", "queries": ["Which fruit is secret?"], "done": False},
        {"action": "sources_retrieved", "count": 1, "done": True},
    ]
    (told,) = [data["sources"] for data in page.data("chat:completion") if "sources" in data]
    assert kept["sources"] == told
    assert kept["statusHistory"] == statuses
    (source,) = told
    assert source["source"] == file
    assert source["document"][0] == FRUIT
    assert (
        source["metadata"][0] | {"name": "f1.txt", "source": "f1.txt", "file_id": "f1", "start_index": 0}
        == source["metadata"][0]
    )
    assert 0 < source["distances"][0] <= 1
    asked = upstream.chats[-1].body["messages"]
    assert [m["role"] for m in asked] == ["user"]
    assert f'<source id="1" name="f1.txt">\n{FRUIT}\n</source>' in asked[0]["content"]
    assert asked[0]["content"].endswith("\n\nWhich fruit is secret?")
    events = [e["data"]["type"] for e in page.events]
    assert events.index("status") < events.index("response:completion")


async def test_what_an_answer_cites_is_marked(live: Live, page: Page, user: Actor, upstream: Upstream) -> None:
    file = await put_file(live, user, "f1", FRUIT, RIVER)
    upstream.answer_when("Which fruit", "Papaya [1].")
    kept = await answered(page, "Which fruit is secret?", files=[file])
    assert kept["content"] == "Papaya [1]."
    assert all(meta["cited"] for meta in kept["sources"][0]["metadata"])


async def test_the_prompt_begins_as_in_the_turn_before(live: Live, page: Page, user: Actor, upstream: Upstream) -> None:
    found = await put_file(live, user, "f1", FRUIT, RIVER)
    whole = await put_file(live, user, "f2", "All of this is read.") | {"context": "full"}
    upstream.answer_when("search queries", '{"queries": ["Danube end"]}')
    body = page.ask("fixed", "Which fruit?", files=[found, whole], params={"system": "Be brief."})
    chat_id = (await page.post(body))["chat_id"]
    await page.idle(chat_id)
    first = upstream.chats[-1].body["messages"]
    more = page.ask(
        "fixed",
        "And the river?",
        files=[found, whole],
        params={"system": "Be brief."},
        chat_id=chat_id,
        parent_id=body["id"],
    )
    await page.post(more)
    await page.until(lambda p: len([d for d in p.data("chat:completion", more["id"]) if d.get("done")]) == 1)
    second = upstream.chats[-1].body["messages"]
    # The system prompt and whole documents, byte by byte.
    assert msgspec.json.encode(first[0]) == msgspec.json.encode(second[0])
    assert first[0]["content"].startswith("Be brief.\n\n")
    assert "All of this is read." in first[0]["content"]
    # Earlier questions stand as they were asked.
    assert second[1] == {"role": "user", "content": "Which fruit?"}
    assert RIVER in second[-1]["content"]
    assert page.data("status", more["id"])[0]["queries"] == ["Danube end", "And the river?"]


async def test_a_base_shows_itself_as_the_source(live: Live, page: Page, user: Actor) -> None:
    await put_file(live, user, "f1", FRUIT)
    await put_file(live, user, "f2", RIVER)
    base = await put_base(live, user, "b1", "f1", "f2")
    kept = await answered(page, "river or fruit", files=[base])
    (source,) = kept["sources"]
    assert source["source"] == base
    assert {meta["file_id"] for meta in source["metadata"]} == {"f1", "f2"}


async def test_files_of_one_name_are_two_sources(live: Live, page: Page, user: Actor) -> None:
    one = await put_file(live, user, "f1", FRUIT, name="notes.txt")
    two = await put_file(live, user, "f2", RIVER, name="notes.txt")
    kept = await answered(page, "river or fruit", files=[one, two])
    assert {meta["source"] for s in kept["sources"] for meta in s["metadata"]} == {"notes.txt", "f2"} or {
        meta["source"] for s in kept["sources"] for meta in s["metadata"]
    } == {"notes.txt", "f1"}


async def test_other_peoples_things_are_as_if_they_were_not(
    live: Live, page: Page, other: Actor, upstream: Upstream
) -> None:
    file = await put_file(live, other, "f1", FRUIT)
    base = await put_base(live, other, "b1", "f1")
    for entry in (file, base, {"type": "file", "id": "nothing", "name": "f1.txt"}):
        before = len(upstream.chats)
        kept = await answered(page, "Which fruit?", files=[entry])
        assert kept["error"]["content"].endswith("it is not there any more, or it isn't shared with you.")
        assert len(upstream.chats) == before
        assert "papaya" not in str(kept)


async def test_a_shared_base_is_read_until_it_is_unshared(live: Live, page: Page, user: Actor, other: Actor) -> None:
    await put_file(live, other, "f1", FRUIT)
    base = await put_base(live, other, "b1", "f1")
    database = live.app.state.oui.database
    async with database.write() as unit:
        await library.grant(unit.connection, "b1", user.id)
    assert (await answered(page, "Which fruit?", files=[base]))["sources"][0]["document"] == [FRUIT]
    async with database.write() as unit:
        await unit.connection.execute(sa.delete(tables.access_grant))
    assert "error" in await answered(page, "Which fruit?", files=[base])


@pytest.mark.parametrize(("status", "said"), [("failed", "its text could not be read: It is encrypted.")])
async def test_a_file_that_can_not_be_read_is_told(live: Live, page: Page, user: Actor, status: str, said: str) -> None:
    file = await put_file(live, user, "f1", FRUIT)
    async with live.app.state.oui.database.write() as unit:
        values = {"status": status, "data": {"error": "It is encrypted."}}
        await unit.connection.execute(tables.file.update().values(**values))
    kept = await answered(page, "Which fruit?", files=[file])
    assert said in kept["error"]["content"]


async def test_the_models_and_the_folders_knowledge(
    live: Live, page: Page, admin: Actor, user: Actor, upstream: Upstream
) -> None:
    await put_file(live, user, "f1", FRUIT)
    base = await put_base(live, user, "b1", "f1")
    folder = (await user.client.post("/api/v1/folders/", json={"name": "F", "data": {"files": [base]}})).json()
    kept = await answered(page, "Which fruit is secret?", folder_id=folder["id"])
    assert kept["sources"][0]["source"]["id"] == "b1"
    secret = await put_file(live, admin, "f2", "The admins' fruit is durian.")
    model = {
        "id": "wise",
        "base_model_id": "fixed",
        "name": "Wise",
        "meta": {"knowledge": [base, secret]},
        "params": {},
    }
    made = await admin.client.post(
        "/api/v1/models/create",
        json=model | {"access_grants": [{"principal_type": "user", "principal_id": "*", "permission": "read"}]},
    )
    assert made.status_code == 200, made.text
    body = page.ask("wise", "Which fruit is secret?")
    reply = await page.post(body)
    await page.idle(reply["chat_id"])
    kept = await page.message(reply["chat_id"], body["id"])
    assert [s["source"]["id"] for s in kept["sources"]] == ["b1"]
    assert "durian" not in str(upstream.chats[-1].body)


async def test_the_files_of_a_folder_act_in_each_of_its_questions(
    live: Live, page: Page, user: Actor, other: Actor, upstream: Upstream
) -> None:
    mine, theirs = await put_file(live, user, "f1", FRUIT), await put_file(live, other, "f2", "The durian is theirs.")
    folder = (await user.client.post("/api/v1/folders/", json={"name": "F", "data": {"files": [mine]}})).json()
    refused = await user.client.post(f"/api/v1/folders/{folder['id']}/update", json={"data": {"files": [mine, theirs]}})
    assert refused.status_code in {400, 403, 404}, "nobody puts files of others into a folder"
    first = page.ask("fixed", "Which fruit is secret?", folder_id=folder["id"])
    chat_id = (await page.post(first))["chat_id"]
    await page.idle(chat_id)
    # A page names the folder with a new chat only: what is said later lies in it.
    second = page.ask("fixed", "Which fruit was secret?", chat_id=chat_id, parent_id=first["id"])
    await page.post(second)
    for body in (first, second):
        await page.until(lambda p, i=body["id"]: any(d.get("done") for d in p.data("chat:completion", i)))
        kept = await page.message(chat_id, body["id"])
        assert [source["source"]["id"] for source in kept["sources"]] == ["f1"]
    for kind in ("note", "folder"):
        kept = await answered(page, "And here?", files=[{"type": kind, "id": folder["id"], "name": "F"}])
        assert kept["error"]["content"].endswith("not part of this server yet.")


async def test_another_chat_is_read_as_a_whole(live: Live, page: Page, other: Actor, upstream: Upstream) -> None:
    first = await page.post(page.ask("fixed", "We call it Project Heron"))
    await page.idle(first["chat_id"])
    entry = {"type": "chat", "id": first["chat_id"], "name": "Earlier"}
    kept = await answered(page, "What is it called?", files=[entry])
    assert "USER: We call it Project Heron" in kept["sources"][0]["document"][0]
    assert "Project Heron" in upstream.chats[-1].body["messages"][0]["content"]
    body = {"model": "fixed", "messages": [{"role": "user", "content": "What?"}], "files": [entry]}
    assert (await other.client.post("/api/chat/completions", json=body)).status_code == 404


async def test_an_api_client_is_told_first(live: Live, user: Actor, upstream: Upstream) -> None:
    file = await put_file(live, user, "f1", FRUIT)
    body = {
        "model": "fixed",
        "stream": True,
        "messages": [{"role": "user", "content": "Which fruit?"}],
        "files": [file],
    }
    reply = await user.client.post("/api/chat/completions", json=body)
    first, second, *_ = reply.text.split("\n\n")
    sources = msgspec.json.decode(first.removeprefix("data: "))["sources"]
    assert sources[0]["document"] == [FRUIT]
    assert "choices" in second
    assert FRUIT in upstream.chats[-1].body["messages"][-1]["content"]
    assert "files" not in upstream.chats[-1].body
    whole = (await user.client.post("/api/chat/completions", json=body | {"stream": False})).json()
    assert whole["sources"] == sources
    assert whole["choices"]


async def test_an_admin_reads_a_persons_file_where_the_settings_let_him(
    live: Live, admin: Actor, user: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = await put_file(live, user, "f1", FRUIT)
    body = {"model": "fixed", "messages": [{"role": "user", "content": "Which fruit?"}], "files": [file]}
    assert (await admin.client.post("/api/chat/completions", json=body)).json()["sources"][0]["document"] == [FRUIT]
    state = live.app.state.oui
    monkeypatch.setattr(state, "settings", state.settings.model_copy(update={"enable_admin_chat_access": False}))
    assert (await admin.client.post("/api/chat/completions", json=body)).status_code == 404


async def test_an_api_client_is_refused_with_a_status(live: Live, user: Actor, other: Actor) -> None:
    file = await put_file(live, other, "f1", FRUIT)
    body = {"model": "fixed", "messages": [{"role": "user", "content": "Which fruit?"}]}
    for entry, status in ((file, 404), ({"type": "hologram", "id": "h"}, 400), ({"type": "note", "id": "n"}, 400)):
        reply = await user.client.post("/api/chat/completions", json=body | {"files": [entry]})
        assert reply.status_code == status, reply.text


async def test_a_query_tells_how_it_was_answered(live: Live, user: Actor, other: Actor, admin: Actor) -> None:
    await put_file(live, user, "f1", FRUIT)
    await put_base(live, user, "b1", "f1")
    for path, name in (("doc", {"collection_name": "b1"}), ("collection", {"collection_names": ["b1", "file-f1"]})):
        ask = name | {"query": "secret fruit", "trace": True}
        reply = (await user.client.post(f"/api/v1/retrieval/query/{path}", json=ask)).json()
        trace = reply.pop("trace")
        assert reply == (await user.client.post(f"/api/v1/retrieval/query/{path}", json=ask | {"trace": False})).json()
        assert trace["queries"] == ["secret fruit"]
        stages = {stage["name"]: stage for stage in trace["stages"]}
        assert {"words", "fused"} <= stages.keys()
        (passage,) = stages["words"]["passages"]
        assert (passage["file_id"], passage["text"], passage["page"]) == ("f1", FRUIT[:200], None)
        assert passage["score"] > 0
        # Why words alone were searched names engines: that is for administrators.
        assert trace["notes"] == [UNTOLD]
        assert "trace" not in ((await other.client.post(f"/api/v1/retrieval/query/{path}", json=ask)).json() or {})
    ask = {"collection_names": ["b1"], "query": "secret fruit", "trace": True}
    await put_base(live, admin, "b2", "f1")
    told = (
        await admin.client.post("/api/v1/retrieval/query/collection", json=ask | {"collection_names": ["b2"]})
    ).json()
    assert told["trace"]["notes"] == ["Nothing has been embedded: only words were searched."]
    wrong = await user.client.post("/api/v1/retrieval/query/collection", json=ask | {"trace": "please"})
    assert wrong.status_code == 422


async def test_queries(live: Live, user: Actor, other: Actor) -> None:
    await put_file(live, user, "f1", FRUIT)
    await put_base(live, user, "b1", "f1")
    for name in ("file-f1", "b1"):
        ask = {"collection_name": name, "query": "secret fruit", "k": 1}
        reply = (await user.client.post("/api/v1/retrieval/query/doc", json=ask)).json()
        assert reply["documents"] == [[FRUIT]]
        assert reply["metadatas"][0][0]["file_id"] == "f1"
        assert (len(reply["ids"][0]), len(reply["distances"][0])) == (1, 1)
        assert (await other.client.post("/api/v1/retrieval/query/doc", json=ask)).json() is None
    ask = {"collection_names": ["b1", "nothing"], "query": "secret fruit"}
    assert (await user.client.post("/api/v1/retrieval/query/collection", json=ask)).json()["documents"] == [[FRUIT]]
    nothing = (await other.client.post("/api/v1/retrieval/query/collection", json=ask)).json()
    assert nothing == {"distances": [[]], "documents": [[]], "metadatas": [[]]}
