"""Vectors in a Qdrant: what is said where it is away, what is lost there or left there, and servers that share one."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from open_webui import env
from open_webui.constants import CHUNK_BITS
from open_webui.env import Settings
from open_webui.errors import ProviderError, StartupError
from open_webui.models import scopes, tables, vectors
from open_webui.models.scopes import Scope
from open_webui.principal import Principal
from open_webui.retrieval.vector import qdrant as adapter
from open_webui.retrieval.vector import qdrant_server
from open_webui.retrieval.vector.base import Hit
from tests.open_webui.search.test_indexing import Process
from tests.open_webui.search.test_vector_stores import ANN, MADE_ANEW, Server, fill, started
from tests.support import library, qdrant
from tests.support.fake_embedder import FakeEmbedder, vector
from tests.support.live import Live
from tests.support.qdrant import QdrantServer

MakeLive = Callable[..., Awaitable[Live]]
AWAY = f"{qdrant_server.AWAY} Only words were searched."
BOB = Principal(id="bob", role="user", name="bob", email="bob@example.com")


@pytest.fixture
async def service() -> AsyncIterator[QdrantServer]:
    async with qdrant.serving() as played:
        yield played


@pytest.fixture
def on_qdrant(settings: Settings, service: QdrantServer) -> Settings:
    changes = {"vector_db": "qdrant", "qdrant_uri": service.url, "qdrant_api_key": SecretStr(qdrant.KEY)}
    return settings.model_copy(update=changes)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Qdrant that has not answered is asked again at once."""
    monkeypatch.setattr(qdrant_server, "REST_SECONDS", 0.0)
    monkeypatch.setattr(qdrant_server, "LOOK_SECONDS", 0.0)


@contextlib.asynccontextmanager
async def filled(settings: Settings, **changes: Any) -> AsyncIterator[Server]:
    """A server with documents in the base `k`, all embedded."""
    async with started(settings, **changes) as server:
        await fill(server.database)
        await server.embed()
        yield server


async def tidy(server: Server) -> None:
    async with server.database.read() as connection:
        every = await vectors.every(connection)
    for model in every:
        await server.engines.index.tidy(server.database, model)  # type: ignore[arg-type]


async def near(server: Server, text: str, scope: Scope, who: Principal = ANN) -> list[Hit]:
    async with server.database.read() as connection:
        model = await vectors.active(connection)
        reach = await scopes.resolve(connection, who, scope)
    assert model is not None
    return await server.engines.index.search(server.database, model, vector(text), reach, 10)


def bodies(service: QdrantServer, method: str, ending: str) -> list[Any]:
    return [msgspec.json.decode(raw) for m, path, raw in service.asked if m == method and path.endswith(ending) and raw]


@pytest.mark.parametrize(
    ("uri", "read"),
    [
        ("http://localhost:6333", "http://localhost:6333"),
        (" https://x.example.org/ ", "https://x.example.org:6333"),
        ("http://[::1]", "http://[::1]:6333"),
        ("https://x.example.org:443/qdrant/", "https://x.example.org:443/qdrant"),
    ],
)
def test_an_address_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uri: str, read: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QDRANT_URI", uri)
    monkeypatch.setenv("VECTOR_DB", "Qdrant")
    assert (env.load().qdrant_uri, env.load().vector_db) == (read, "qdrant")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("QDRANT_URI", "localhost:6333", "QDRANT_URI: is no address"),
        ("QDRANT_URI", "ftp://x", "QDRANT_URI: is no address"),
        ("QDRANT_URI", "http://", "QDRANT_URI: is no address"),
        ("QDRANT_URI", "http://[x", "QDRANT_URI: is no address"),
        ("QDRANT_URI", "http://x:70000", "QDRANT_URI: is no address"),
        ("QDRANT_URI", "http://me:secret@x", "the key goes into QDRANT_API_KEY"),
        ("QDRANT_URI", "http://x?api_key=1", "QDRANT_URI: is no address"),
        ("QDRANT_COLLECTION_PREFIX", "a/b", "QDRANT_COLLECTION_PREFIX: may have up to 100 letters"),
        ("QDRANT_COLLECTION_PREFIX", "x" * 101, "QDRANT_COLLECTION_PREFIX: may have up to 100 letters"),
        ("QDRANT_TIMEOUT", "0", "QDRANT_TIMEOUT"),
        ("QDRANT_HNSW_M", "-1", "QDRANT_HNSW_M"),
    ],
)
def test_settings_that_are_none_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("VECTOR_DB", "qdrant")
    with pytest.raises(StartupError) as caught:
        env.load()
    assert said in caught.value.detail
    assert "secret" not in caught.value.detail


async def test_vectors_go_over_to_it_and_back(on_qdrant: Settings, service: QdrantServer) -> None:
    async with filled(on_qdrant, vector_db="packed") as server:
        assert await server.models() == [("packed", True, 2)]
    async with started(on_qdrant) as server:
        assert await server.first("cars") == ("An automobile.", [])
        await server.embed()
        [(store, is_active, count)] = await server.models()
        assert (store.partition(":")[0], is_active, count) == ("qdrant", True, 2)
        assert await server.first("cars") == ("An automobile.", [])
        async with server.database.read() as connection:
            assert set(await connection.scalars(sa.select(sa.func.length(tables.document_vectors.c.data)))) == {0}
    [collection] = service.collections
    assert collection.startswith("open-webui_")
    assert len(service.ids(collection)) == 4
    async with started(on_qdrant, vector_db="packed") as server:
        assert await server.first("cars") == ("An automobile.", [])
        await server.embed()
        assert await server.models() == [("packed", True, 2)]
    assert service.collections == []


async def test_another_model_is_made_beside_the_one_that_serves(on_qdrant: Settings, service: QdrantServer) -> None:
    async with filled(on_qdrant) as server:
        [old] = service.collections
        server.engines.engine = FakeEmbedder("another", 16)
        await server.embed()
        [new] = service.collections
        assert old != new
        assert old.rpartition("_")[0] == new.rpartition("_")[0]
        assert await server.first("cars") == ("An automobile.", [])
        assert [size["vectors"]["size"] for size in bodies(service, "PUT", new)] == [16]


async def test_a_question_is_asked_of_the_documents_that_are_reached(
    on_qdrant: Settings, service: QdrantServer
) -> None:
    async with filled(on_qdrant) as server:
        await near(server, "cars", Scope(files=("a",)))
        [asked] = bodies(service, "POST", "/query")
        async with server.database.read() as connection:
            file = tables.document.c.file_id
            number = await connection.scalar(sa.select(tables.document.c.n).where(file == "a"))
        assert asked["filter"] == {"must": [{"key": "document", "match": {"any": [number]}}]}
        assert asked["params"] == {"exact": True}
        assert await near(server, "cars", Scope(files=("a",), knowledge=("k",)), BOB) == []
        # Nobody was asked for what nobody may read.
        assert len(bodies(service, "POST", "/query")) == 1


async def test_what_is_gone_is_out_of_reach_while_its_points_lie_there(
    on_qdrant: Settings, service: QdrantServer
) -> None:
    scope = Scope(files=("a", "b"), knowledge=("k",))
    async with filled(on_qdrant) as server:
        [collection] = service.collections
        async with server.database.write() as unit:
            await library.grant(unit.connection, "k", "bob")
        assert len(await near(server, "quokka", scope, BOB)) == 4
        async with server.database.write() as unit:
            await unit.connection.execute(tables.access_grant.delete())
        assert await near(server, "quokka", scope, BOB) == []
        async with server.database.write() as unit:
            await unit.connection.execute(tables.file.delete().where(tables.file.c.id == "a"))
        assert len(service.ids(collection)) == 4
        assert len(await near(server, "automobile", scope)) == 2
        await tidy(server)
        assert len(service.ids(collection)) == 2
        assert await server.first("wombats") == ("Wombats dig.", [])


async def test_points_of_a_process_that_ended_are_found_by_nobody(on_qdrant: Settings, service: QdrantServer) -> None:
    async with started(on_qdrant) as server:
        await fill(server.database)
        index, engine = server.engines.index, server.engines.engine
        assert engine is not None
        store = await index.store(server.database)
        async with server.database.write() as unit:
            model = await vectors.ensure(unit.connection, "fake", store)
            await vectors.set_dimensions(unit.connection, model.n, 64)
            await vectors.activate(unit.connection, model.n)
            model = await vectors.ensure(unit.connection, "fake", store)
        await index.prepare(server.database, model)
        # Sent, and the process is killed before it is noted.
        await index.send(model, 1, [vector("An automobile."), vector("A quokka.")])
        assert await near(server, "cars", Scope(knowledge=("k",))) == []
        await tidy(server)
        [collection] = service.collections
        assert len(service.ids(collection)) == 2, "its document is there, and is to be embedded"
        await server.embed()
        assert len(service.ids(collection)) == 4
        assert await server.first("cars") == ("An automobile.", [])
        # A document that went while it was sent; and more points than a document has.
        await index.send(model, 77, [vector("Nothing.")])
        await index.send(model, 2, [vector("Wombats dig."), vector("A quokka."), vector("Too much.")])
        await tidy(server)
        assert service.ids(collection) == [
            1 << CHUNK_BITS,
            (1 << CHUNK_BITS) + 1,
            2 << CHUNK_BITS,
            (2 << CHUNK_BITS) + 1,
        ]


async def test_points_that_are_lost_are_made_anew(
    on_qdrant: Settings, service: QdrantServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "PAGE", 2)
    monkeypatch.setattr(adapter, "NUMBERS", 64)
    async with filled(on_qdrant) as server:
        [collection] = service.collections
        service.client.delete(collection, [2 << CHUNK_BITS])
        await tidy(server)
        assert [count for _, _, count in await server.models()] == [1]
        await server.embed()
        assert await near(server, "wombats dig", Scope(knowledge=("k",)))
        assert len(service.ids(collection)) == 4
        assert server.engines.engine is not None
        assert server.engines.engine.asked.count("A quokka.") == 1


@pytest.mark.usefixtures("impatient")
async def test_a_collection_that_is_lost_is_made_anew(on_qdrant: Settings, service: QdrantServer) -> None:
    async with filled(on_qdrant) as server:
        [collection] = service.collections
        del service.made[collection]
        service.client.delete_collection(collection)
        await tidy(server)
        assert await server.first("A quokka") == ("A quokka.", [MADE_ANEW])
        await server.embed()
        assert await server.first("cars") == ("An automobile.", [])
        assert service.collections == [collection]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("how", ["away", "key"])
async def test_without_it_words_are_searched(on_qdrant: Settings, service: QdrantServer, how: str) -> None:
    async with filled(on_qdrant) as server:
        assert await server.engines.index.answers()
    wrong = {"qdrant_api_key": SecretStr("a-wrong-key")} if how == "key" else {}
    service.is_away = how == "away"
    async with started(on_qdrant, **wrong) as server:
        assert await server.first("A quokka") == ("A quokka.", [AWAY])
        assert not await server.engines.index.answers()
        if how == "away":
            service.is_away = False
            assert await server.engines.index.answers()
            assert await server.first("cars") == ("An automobile.", [])


async def test_nobody_waits_for_one_that_has_just_not_answered(on_qdrant: Settings, service: QdrantServer) -> None:
    async with filled(on_qdrant) as server:
        service.is_away = True
        assert await server.first("A quokka") == ("A quokka.", [AWAY])
        service.is_away = False
        service.asked.clear()
        assert await server.first("A quokka") == ("A quokka.", [AWAY])
        assert service.asked == []


async def test_documents_wait_for_it(on_qdrant: Settings, service: QdrantServer) -> None:
    async with filled(on_qdrant) as server:
        engine = server.engines.engine
        assert engine is not None
        async with server.database.write() as unit:
            await library.file(unit.connection, "ann", "c", ["Emus run.", "Emus rest."])
        service.is_away = True
        engine.asked.clear()
        process = Process(server.database, server.engines)
        await process.runner.open()
        async with server.database.write() as unit:
            await process.indexing.enqueue(unit)
        job = tables.job
        error = await failed(server)
        assert "502" in error
        # Nothing is paid for that could not be stored.
        assert engine.asked == []
        service.is_away, service.fails = False, "/points"
        async with server.database.write() as unit:
            await unit.connection.execute(job.update().values(due_at=0, error=None))
        await process.runner.close()
        again = Process(server.database, server.engines)
        await again.runner.open()
        await failed(server)
        assert [count for _, _, count in await server.models()] == [2]
        service.fails = ""
        await again.runner.close()
        async with server.database.write() as unit:
            await unit.connection.execute(job.update().values(due_at=0))
        await server.embed()
        assert [count for _, _, count in await server.models()] == [3]


async def failed(server: Server) -> str:
    """What the job says that embeds."""
    for _ in range(600):
        async with server.database.read() as connection:
            if error := await connection.scalar(sa.select(tables.job.c.error)):
                return str(error)
        await asyncio.sleep(0.02)
    raise AssertionError("no attempt has failed")


async def test_servers_share_one(
    on_qdrant: Settings, service: QdrantServer, sqlite_template: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.db"
    shutil.copyfile(sqlite_template, other)
    async with (
        filled(on_qdrant) as one,
        started(on_qdrant, database_url=f"sqlite:///{other}") as two,
    ):
        async with two.database.write() as unit:
            await library.person(unit.connection, "ann")
            await library.file(unit.connection, "ann", "x", ["Emus run.", "Emus rest.", "Emus eat."])
            await library.base(unit.connection, "ann", "k", ["x"])
        await two.embed()
        assert len(service.collections) == 2
        for server in (one, two):
            await tidy(server)
        assert sorted(len(service.ids(name)) for name in service.collections) == [3, 4]
        assert await one.first("cars") == ("An automobile.", [])
        assert (await two.first("emus rest"))[0] == "Emus rest."
        await one.engines.index.remove(one.database, (await models_of(one))[0])
        assert len(service.collections) == 1
        assert (await two.first("emus rest"))[1] == []


async def models_of(server: Server) -> list[vectors.EmbeddingModel]:
    async with server.database.read() as connection:
        return await vectors.every(connection)


async def test_a_copy_of_a_database_with_a_prefix_of_its_own_touches_nothing(
    on_qdrant: Settings, service: QdrantServer
) -> None:
    async with filled(on_qdrant) as server:
        [collection] = service.collections
    async with started(on_qdrant, qdrant_collection_prefix="staging") as server:
        assert await server.first("A quokka") == ("A quokka.", [MADE_ANEW])
        await server.embed()
        assert await server.first("cars") == ("An automobile.", [])
        await server.engines.index.remove(server.database, (await models_of(server))[0])
    assert service.collections == [collection]
    assert len(service.ids(collection)) == 4


async def test_a_collection_of_others_is_not_written_into(on_qdrant: Settings, service: QdrantServer) -> None:
    async with filled(on_qdrant) as server:
        [collection] = service.collections
        made = service.made[collection]
        service.made[collection] = made.model_copy(
            update={"vectors": made.vectors.model_copy(update={"size": 3})}  # type: ignore[union-attr]
        )
        [model] = await models_of(server)
        with pytest.raises(ProviderError, match="QDRANT_COLLECTION_PREFIX"):
            await server.engines.index.prepare(server.database, model)


async def test_an_index_of_neighbours_is_an_option(on_qdrant: Settings, service: QdrantServer) -> None:
    async with filled(on_qdrant, qdrant_on_disk=True) as server:
        [made] = service.made.values()
        assert made.hnsw_config is not None
        assert (made.hnsw_config.m, made.on_disk_payload, made.vectors.on_disk) == (0, True, True)  # type: ignore[union-attr]
        assert service.indexes == {service.collections[0]: {"document"}}
    async with started(on_qdrant, qdrant_hnsw_m=16) as server:
        await server.embed()
        [made] = service.made.values()
        assert made.hnsw_config is not None
        assert made.hnsw_config.m == 16
        service.asked.clear()
        assert await server.first("cars") == ("An automobile.", [])
        assert [asked["params"] for asked in bodies(service, "POST", "/query")] == [{"hnsw_ef": 128}]


async def test_vectors_that_lie_in_one_of_earlier_settings(on_qdrant: Settings, service: QdrantServer) -> None:
    async with filled(on_qdrant):
        pass
    async with started(on_qdrant, vector_db="packed", qdrant_uri="") as server:
        said = "The vectors of documents lie in another database, and are being made anew. Only words were searched."
        assert await server.first("A quokka") == ("A quokka.", [said])
        await server.embed()
        assert await server.models() == [("packed", True, 2)]
    assert len(service.collections) == 1


@pytest.mark.usefixtures("impatient")
async def test_no_error_shows_the_key(on_qdrant: Settings, service: QdrantServer) -> None:
    async with filled(on_qdrant, qdrant_collection_prefix=qdrant.KEY) as server:
        [model] = await models_of(server)
        with pytest.raises(ProviderError) as caught:
            await server.engines.index.send(model, 1, [vector("x", 3)])
        assert "Vector dimension error" in caught.value.detail
        server.engines.index._all["qdrant"]._server._url = "http://127.0.0.1:1/" + qdrant.KEY  # type: ignore[attr-defined]
        with pytest.raises(ProviderError) as caught:
            await server.engines.index.send(model, 1, [vector("x")])
        assert qdrant.KEY not in caught.value.detail


@pytest.mark.usefixtures("impatient")
async def test_odd_answers_are_no_answers(
    on_qdrant: Settings, service: QdrantServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with filled(on_qdrant) as server:
        for odd in ({"points": [{"id": "x"}]}, [], None, {"points": [{"id": 1, "score": "high"}]}, "ok"):
            monkeypatch.setattr(service, "_of_points", lambda *_, odd=odd: odd)
            assert await server.first("A quokka") == ("A quokka.", [AWAY])


@pytest.mark.usefixtures("impatient")
async def test_a_live_server_says_that_it_is_away(
    make_live: MakeLive, on_qdrant: Settings, service: QdrantServer
) -> None:
    service.is_away = True
    live = await make_live(vector_db="qdrant", qdrant_uri=service.url, qdrant_api_key=SecretStr(qdrant.KEY))
    async with live.client() as client:
        for path in ("/ready", "/health/db"):
            reply = await client.get(path)
            assert (reply.status_code, reply.json()) == (200, {"status": True, "vectors": False})
        service.is_away = False
        assert (await client.get("/ready")).json() == {"status": True}
