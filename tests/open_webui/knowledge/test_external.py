"""Knowledge in other services: connections, whose keys nobody sees again, and what questions find through them."""

import struct
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from aiohttp import web

from open_webui.errors import BadRequest
from open_webui.models import outside_vectors, tables
from open_webui.models.scopes import Scope
from open_webui.retrieval import external
from open_webui.retrieval.external import Outside, Source
from tests.open_webui.knowledge.test_bases import BASES, call, grant, make_base
from tests.support.live import Actor, Live
from tests.support.put_files import put_file
from tests.support.upstream import Upstream

OUTSIDE = f"{BASES}/external"
KEY = "key-of-the-service"
CONFIG = {"content_field": "payload.text", "metadata_field": "payload.metadata", "document_id_field": "id"}
SOURCE = {"type": "collection", "name": "birds", "config": CONFIG}


class Service:
    """Plays Qdrant and Milvus. asked: what it was sent. answer: what it answers a search with."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any, dict[str, str]]] = []
        self.points: Any = [
            {"id": 7, "score": 0.9, "payload": {"text": "Emus run.", "metadata": {"source": "emu.txt"}}},
            {"id": 8, "score": 0.5, "payload": {"text": " "}},
            "no point",
        ]
        self.status = 200
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.text()
        sent = msgspec.json.decode(body) if body else None
        self.asked.append((request.method, request.path, sent, dict(request.headers)))
        if self.status != 200:
            return web.json_response({"message": f"no: {KEY}"}, status=self.status)
        if request.path.startswith("/v2/"):
            rows = [{"id": "m1", "distance": 0.7, "data": {"text": "Fish swim."}, "metadata": '{"name": "fish.md"}'}]
            return web.json_response({"code": 0, "data": rows})
        return web.json_response({"result": {"points": self.points}})


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    played = Service()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", played.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    played.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield played
    await runner.cleanup()


def form(service: Service, **more: Any) -> dict[str, Any]:
    auth = {"type": "bearer", "api_key": KEY}
    return {
        "name": "Q",
        "provider": "qdrant",
        "endpoint": service.url,
        "auth_config": auth,
        "config": {"timeout": 5},
    } | more


async def ask(actor: Actor, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
    reply = await actor.client.request(method, f"{OUTSIDE}/{path}", json=body)
    assert reply.status_code == status, reply.text
    assert KEY not in reply.text
    return reply.json()


async def embeds(live: Live, upstream: Upstream) -> None:
    await live.app.state.oui.save_config(
        {
            "rag.embedding_engine": "openai",
            "rag.embedding_model": "echo",
            "rag.openai.api_base_url": upstream.openai_url,
            "rag.openai.api_key": "k",
        }
    )


async def test_a_connection_keeps_its_key_to_itself(live: Live, admin: Actor, service: Service) -> None:
    made = await ask(admin, "POST", "connections", form(service))
    connection_id = made["id"]
    assert made["endpoint"] == service.url
    assert await ask(admin, "GET", f"connections/{connection_id}") == made
    assert await ask(admin, "GET", "connections") == {"items": [made], "total": 1}
    async with live.app.state.oui.database.read() as connection:
        stored = [str(row) for row in await connection.execute(sa.select(tables.knowledge_connection))]
    assert KEY not in stored[0]
    assert await ask(admin, "POST", f"connections/{connection_id}/test") == {"status": True}
    assert service.asked[-1][3]["api-key"] == KEY
    changed = await ask(admin, "PATCH", f"connections/{connection_id}", form(service, auth_config=None, name="R"))
    assert changed["name"] == "R"
    await ask(admin, "POST", f"connections/{connection_id}/test")
    assert service.asked[-1][3]["api-key"] == KEY
    await ask(admin, "PATCH", f"connections/{connection_id}", form(service, auth_config={}))
    await ask(admin, "POST", f"connections/{connection_id}/test")
    assert "api-key" not in service.asked[-1][3]
    assert await ask(admin, "DELETE", f"connections/{connection_id}") is True
    await ask(admin, "DELETE", f"connections/{connection_id}", status=404)


async def test_only_administrators_connect_services(user: Actor, service: Service) -> None:
    await ask(user, "GET", "connections", status=401)
    await ask(user, "POST", "connections", form(service), status=401)
    await ask(user, "POST", "source/test", {"connection": form(service), "source": SOURCE, "query": "q"}, status=401)
    assert service.asked == []


async def test_a_bad_connection_is_refused(admin: Actor, service: Service) -> None:
    for wrong in ({"provider": "other"}, {"endpoint": "file:///etc/passwd"}, {"endpoint": "http://"}, {"endpoint": "x"},
                  {"provider": "pgvector", "endpoint": "http://127.0.0.1"}, {"endpoint": "http://[x"}):  # fmt: skip
        await ask(admin, "POST", "connections", form(service, **wrong), status=400)
    for wrong in ({"name": " "}, {"config": {"a": "x" * 30_000}}, {"endpoint": 5}):
        await ask(admin, "POST", "connections", form(service, **wrong), status=422)
    assert (await ask(admin, "GET", "connections"))["total"] == 0


async def test_the_password_of_a_database_stays_where_the_endpoint_stays(
    live: Live, admin: Actor, service: Service
) -> None:
    place = "@127.0.0.1:1/db"
    given = form(service, provider="pgvector", endpoint=f"postgresql://me:p%40ss{place}", auth_config={})
    made = await ask(admin, "POST", "connections", given)
    assert made["endpoint"] == f"postgresql://me:***{place}"
    kept = await ask(admin, "PATCH", f"connections/{made['id']}", given | {"endpoint": made["endpoint"]})
    assert kept["endpoint"] == made["endpoint"]
    moved = await ask(
        admin, "PATCH", f"connections/{made['id']}", given | {"endpoint": "postgresql://me:***@127.0.0.2/db"}
    )
    assert moved["endpoint"] == "postgresql://me@127.0.0.2/db"


async def test_a_source_is_tried_before_it_is_stored(
    live: Live, admin: Actor, user: Actor, service: Service, upstream: Upstream
) -> None:
    body = {"name": "Birds", "connection": form(service), "source": SOURCE, "test_query": "How fast?",
            "access_grants": [grant(user)]}  # fmt: skip
    await ask(admin, "POST", "source/create", body, status=503)
    await embeds(live, upstream)
    points, service.points = service.points, []
    await ask(admin, "POST", "source/create", body, status=400)
    assert (await ask(admin, "GET", "connections"))["total"] == 0
    service.points = points
    base = await ask(admin, "POST", "source/create", body)
    assert base["meta"]["source"] == "external"
    assert base["meta"]["external"]["source"]["name"] == "birds"
    method, path, sent, _ = service.asked[-1]
    assert (method, path, len(sent["query"]), sent["limit"]) == ("POST", "/collections/birds/points/query", 384, 5)
    connection_id = base["meta"]["external"]["connection_id"]
    await ask(admin, "DELETE", f"connections/{connection_id}", status=400)
    found = await ask(admin, "POST", f"connections/{connection_id}/retrieve-test", {"query": "q", "source": SOURCE})
    assert found == {"documents": ["Emus run."], "metadatas": [{"source": "emu.txt"}], "distances": [0.9]}
    await ask(admin, "POST", f"connections/{connection_id}/retrieve-test", {"query": "q"}, status=400)
    change = {n: v for n, v in body.items() if n != "access_grants"} | {"name": "Fish"}
    change["connection"] = form(service, auth_config=None)
    assert (await ask(admin, "PATCH", f"source/{base['id']}", change))["name"] == "Fish"
    assert service.asked[-1][3]["api-key"] == KEY
    listed = (await user.client.get(f"{BASES}/search?source=external")).json()
    assert [item["id"] for item in listed["items"]] == [base["id"]]
    assert (await user.client.get(f"{BASES}/search?source=local")).json()["total"] == 0
    await call(admin, base["id"], "file/add", {"file_id": await put_file(live, admin.id)}, status=400)


async def test_a_question_finds_passages_in_what_one_may_read(
    live: Live, admin: Actor, user: Actor, service: Service, upstream: Upstream
) -> None:
    await embeds(live, upstream)
    made = await ask(admin, "POST", "connections", form(service))
    body = {"name": "Birds", "connection_id": made["id"], "source": SOURCE}
    base = (await ask(admin, "POST", "knowledge/create", body))["id"]
    state = live.app.state.oui

    async def found(actor: Actor) -> list[tuple[str | None, str, str]]:
        principal = await state.identify(actor.token)
        hits = await state.library.search(principal, ["How fast?"], Scope(knowledge=(base, "nope")))
        return [(hit.collection, hit.name, hit.text) for hit in hits]

    assert await found(admin) == [(base, "emu.txt", "Emus run.")]
    service.asked.clear()
    assert await found(user) == []
    assert service.asked == []
    await call(admin, base, "access/update", {"access_grants": [grant(user)]})
    assert len(await found(user)) == 1
    service.status = 403
    assert await found(user) == []
    service.status = 200
    await ask(admin, "PATCH", f"connections/{made['id']}", form(service, enabled=False))
    assert await found(user) == []


async def test_a_base_is_made_on_a_connection(admin: Actor, service: Service) -> None:
    made = await ask(admin, "POST", "connections", form(service))
    body = {"name": "Birds", "connection_id": made["id"], "source": SOURCE}
    base = await ask(admin, "POST", "knowledge/create", body)
    assert base["meta"]["external"]["connection_id"] == made["id"]
    await ask(admin, "POST", "knowledge/create", body | {"connection_id": "nope"}, status=404)
    local = await make_base(admin)
    change = {"name": "x", "connection": form(service), "source": SOURCE, "test_query": "q"}
    await ask(admin, "PATCH", f"source/{local}", change, status=404)


async def test_a_service_that_refuses_is_told_without_its_key(admin: Actor, service: Service) -> None:
    made = await ask(admin, "POST", "connections", form(service))
    service.status = 403
    reply = await admin.client.post(f"{OUTSIDE}/connections/{made['id']}/test")
    assert reply.status_code >= 400
    assert KEY not in reply.text


VECTOR = struct.pack("<3f", 1.0, 0.0, 0.0)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_milvus_is_asked(live: Live, service: Service) -> None:
    outside = Outside(engine="milvus", endpoint=service.url + "/", key=KEY, database="db")
    source = Source(name="fish", content="data.text", vector="vector", metadata="metadata", document_id="id")
    (found,) = await external.find(live.app.state.oui.http, outside, source, VECTOR, 3)
    assert (found.text, found.id, found.score, found.source) == ("Fish swim.", "m1", 0.7, "fish.md")
    _, path, sent, headers = service.asked[-1]
    assert (path, sent["data"], sent["dbName"], sent["annsField"]) == (
        "/v2/vectordb/entities/search", [[1.0, 0.0, 0.0]], "db", "vector",
    )  # fmt: skip
    assert headers["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", ["a/b", "..", ""])
async def test_a_collections_name_leads_nowhere_else(live: Live, service: Service, name: str) -> None:
    source = Source(name=name, content="payload.text")
    with pytest.raises(BadRequest):
        await external.find(live.app.state.oui.http, Outside(engine="qdrant", endpoint=service.url), source, VECTOR, 3)
    assert service.asked == []


def test_names_of_columns_are_quoted() -> None:
    columns = outside_vectors.Columns(
        table='public.doc"; DROP TABLE x; --', collection="c", vector="v", content="t", metadata="", document_id="id"
    )
    assert '"public"."doc""; DROP TABLE x; --"' in outside_vectors._statement(columns)
    with pytest.raises(BadRequest):
        outside_vectors._quoted("a..b")
