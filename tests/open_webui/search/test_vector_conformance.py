"""What every adapter of the vector index keeps to: the nearest are found exactly as NumPy finds them, of what is reached and
of nothing else, by several writers, and again after a start.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import aiohttp
import numpy as np
import pytest
from pydantic import SecretStr

from open_webui.constants import CHUNK_BITS
from open_webui.env import Settings
from open_webui.internal.db import Database, open_database
from open_webui.models import documents, scopes, tables, vectors
from open_webui.models.scopes import Scope
from open_webui.models.vectors import EmbeddingModel
from open_webui.principal import Principal
from open_webui.retrieval.vector.base import Hit, VectorIndex
from open_webui.retrieval.vector.chosen import ChosenIndex
from tests.support import library, qdrant

pytestmark = pytest.mark.parametrize(
    ("adapter", "database_kind"),
    [
        ("packed", "sqlite"),
        ("packed", "postgresql"),
        ("pgvector", "postgresql"),
        ("qdrant", "sqlite"),
        ("qdrant", "postgresql"),
    ],
    indirect=["database_kind"],
)
ANN, BOB = (Principal(id=name, role="user", name=name, email=f"{name}@example.com") for name in ("ann", "bob"))
DIMENSIONS = 48
# Chunks of each file; the files of bases overlap.
FILES = {"f0": 3, "f1": 17, "f2": 1, "f3": 40, "f4": 5}
BASES = {"k1": ["f0", "f1", "f2"], "k2": ["f2", "f3"]}
EVERYTHING = Scope(files=("f4",), knowledge=("k1", "k2"), collections=("web",))


def texts_of(name: str, count: int) -> list[str]:
    return [f"{name} says {k}" for k in range(count)]


def vector_of(text: str, dimensions: int = DIMENSIONS) -> bytes:
    """Of length 1, and for each text another."""
    numbers = np.random.default_rng(list(text.encode())).standard_normal(dimensions).astype("<f4")
    return bytes((numbers / np.linalg.norm(numbers)).astype("<f4").tobytes())


class World:
    """Ann's files, bases and a collection, and an index of their vectors."""

    def __init__(self, settings: Settings, http: aiohttp.ClientSession) -> None:
        """settings: VECTOR_DB is the adapter."""
        self._settings = settings
        self._http = http
        self.database: Database = open_database(settings)
        self.index: VectorIndex = ChosenIndex(settings, http)
        self.numbers: dict[str, int] = {}

    async def fill(self) -> None:
        async with self.database.write() as unit:
            for who in (ANN, BOB):
                await library.person(unit.connection, who.id)
            for name, count in FILES.items():
                self.numbers[name] = await library.file(unit.connection, "ann", name, texts_of(name, count))
            for name, held in BASES.items():
                await library.base(unit.connection, "ann", name, held)
            self.numbers["web"] = await library.document(
                unit.connection, texts_of("web", 4), collection="web", user_id="ann"
            )

    async def restart(self) -> None:
        """What another process, or this one after its next start, has."""
        await self.database.close()
        self.database = open_database(self._settings)
        self.index = ChosenIndex(self._settings, self._http)

    async def model(self, signature: str = "one", dimensions: int | None = DIMENSIONS) -> EmbeddingModel:
        store = await self.index.store(self.database)
        async with self.database.write() as unit:
            made = await vectors.ensure(unit.connection, signature, store)
            if dimensions is not None:
                await vectors.set_dimensions(unit.connection, made.n, dimensions)
            made = await vectors.ensure(unit.connection, signature, store)
        if dimensions is not None:
            await self.index.prepare(self.database, made)
        return made

    async def put(self, model: EmbeddingModel, number: int) -> None:
        """Stores a document's vectors, as the job does."""
        async with self.database.read() as connection:
            chunks = await documents.chunks_of(connection, number)
        given = [vector_of(chunk.text, model.dimensions or DIMENSIONS) for chunk in chunks]
        await self.index.send(model, number, given)
        async with self.database.write() as unit:
            if await documents.hold(unit.connection, number):
                await self.index.put(unit.connection, model, number, given)

    async def put_all(self, model: EmbeddingModel) -> None:
        for number in self.numbers.values():
            await self.put(model, number)

    async def search(
        self, model: EmbeddingModel, query: bytes, scope: Scope = EVERYTHING, *, limit: int = 10, who: Principal = ANN
    ) -> list[Hit]:
        async with self.database.read() as connection:
            reach = await scopes.resolve(connection, who, scope)
        return await self.index.search(self.database, model, query, reach, limit)

    async def texts(self, hits: Sequence[Hit], scope: Scope = EVERYTHING, who: Principal = ANN) -> list[str]:
        """What the hits are, as far as they may be read."""
        async with self.database.read() as connection:
            reach = await scopes.resolve(connection, who, scope)
            rows = await scopes.rows(connection, reach, [hit.chunk_n for hit in hits])
        return [rows[hit.chunk_n].text for hit in hits if hit.chunk_n in rows]

    async def found(
        self, model: EmbeddingModel, query: bytes, scope: Scope = EVERYTHING, *, limit: int = 10, who: Principal = ANN
    ) -> list[str]:
        return await self.texts(await self.search(model, query, scope, limit=limit, who=who), scope, who)


def expected(query: bytes, names: Sequence[str], limit: int) -> list[tuple[str, float]]:
    """The nearest texts of these files as NumPy has them."""
    texts = [text for name in names for text in texts_of(name, FILES.get(name, 4))]
    asked = np.frombuffer(query, "<f4").astype(np.float64)
    near = {text: float(np.frombuffer(vector_of(text), "<f4").astype(np.float64) @ asked) for text in texts}
    return sorted(near.items(), key=lambda pair: -pair[1])[:limit]


@pytest.fixture(params=["few", "many"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether the documents are few enough to be listed."""
    if request.param == "many":
        monkeypatch.setattr("open_webui.models.scopes.FEW_DOCUMENTS", 0)
    return str(request.param)


@pytest.fixture
async def world(settings: Settings, size: str, adapter: str) -> AsyncIterator[World]:
    async with contextlib.AsyncExitStack() as stack:
        changes = {"vector_db": adapter}
        if adapter == "qdrant":
            service = await stack.enter_async_context(qdrant.serving())
            changes |= {"qdrant_uri": service.url, "qdrant_api_key": SecretStr(qdrant.KEY)}
        http = await stack.enter_async_context(aiohttp.ClientSession())
        made = World(settings.model_copy(update=changes), http)
        await made.fill()
        yield made
        await made.database.close()


async def write(world: World, *statements: object) -> None:
    async with world.database.write() as unit:
        for statement in statements:
            await unit.connection.execute(statement)  # type: ignore[call-overload]


async def test_the_nearest_come_in_their_order(world: World) -> None:
    model = await world.model()
    await world.put_all(model)
    for scope, names in (
        (Scope(files=("f1",)), ["f1"]),
        (Scope(files=("f1", "f4")), ["f1", "f4"]),
        (Scope(knowledge=("k1",)), BASES["k1"]),
        (Scope(knowledge=("k1", "k2")), ["f0", "f1", "f2", "f3"]),
        (Scope(collections=("web",)), ["web"]),
        (Scope(files=("f1",), knowledge=("k2",)), ["f1", "f2", "f3"]),
        (EVERYTHING, [*FILES, "web"]),
    ):
        for asked in ("a question", "another", "f2 says 0"):
            for limit in (1, 7, 100):
                query = vector_of(asked)
                hits = await world.search(model, query, scope, limit=limit)
                wanted = expected(query, names, limit)
                assert await world.texts(hits, scope) == [text for text, _ in wanted], (scope, asked, limit)
                assert [hit.score for hit in hits] == pytest.approx([score for _, score in wanted], abs=1e-5)
                assert len({hit.chunk_n for hit in hits}) == len(hits)


async def test_what_has_no_vectors_yet_is_not_found(world: World) -> None:
    model = await world.model()
    assert await world.search(model, vector_of("x")) == []
    await world.put(model, world.numbers["f0"])
    assert set(await world.found(model, vector_of("x"), limit=100)) == set(texts_of("f0", 3))
    await world.put(model, world.numbers["f3"])
    assert len(await world.search(model, vector_of("x"), limit=100)) == 43
    assert await world.search(model, vector_of("x"), Scope(knowledge=("k1",)), limit=0) == []


async def test_putting_the_same_again_changes_nothing(world: World) -> None:
    model = await world.model()
    await world.put_all(model)
    before = await world.search(model, vector_of("x"), limit=100)
    await world.put_all(model)
    assert await world.search(model, vector_of("x"), limit=100) == before


async def test_a_file_that_is_read_anew_has_its_new_vectors_alone(world: World) -> None:
    model = await world.model()
    await world.put_all(model)
    await world.search(model, vector_of("x"))
    async with world.database.write() as unit:
        number = await library.document(unit.connection, ["new says 0", "new says 1"], file_id="f1")
    await world.put(model, number)
    scope = Scope(knowledge=("k1",))
    found = await world.found(model, vector_of("new says 1"), scope, limit=100)
    assert found[0] == "new says 1"
    assert set(found) == {"new says 0", "new says 1", *texts_of("f0", 3), *texts_of("f2", 1)}


async def test_what_is_gone_is_not_found(world: World) -> None:
    model = await world.model()
    await world.put_all(model)
    await world.search(model, vector_of("x"))
    link = tables.knowledge_file
    await write(world, tables.document.delete().where(tables.document.c.n == world.numbers["f0"]))
    assert not set(await world.found(model, vector_of("f0 says 1"), limit=100)) & set(texts_of("f0", 3))
    await write(world, link.delete().where(link.c.file_id == "f1"))
    assert not set(await world.found(model, vector_of("f1 says 1"), limit=100)) & set(texts_of("f1", 17))
    await write(world, tables.knowledge.delete().where(tables.knowledge.c.id == "k2"))
    assert set(await world.found(model, vector_of("x"), limit=100)) == {
        *texts_of("f2", 1), *texts_of("f4", 5), *texts_of("web", 4),
    }  # fmt: skip
    await write(world, tables.document.delete())
    assert await world.found(model, vector_of("x"), limit=100) == []


async def test_a_file_in_two_bases_is_found_once_and_by_either(world: World) -> None:
    model = await world.model()
    await world.put_all(model)
    scopes_of_it = [Scope(knowledge=("k1",)), Scope(knowledge=("k2",)), Scope(files=("f2",), knowledge=("k1", "k2"))]
    for scope in scopes_of_it:
        found = await world.found(model, vector_of("f2 says 0"), scope, limit=100)
        assert (found[0], found.count("f2 says 0")) == ("f2 says 0", 1)
    await write(world, tables.knowledge_file.delete().where(tables.knowledge_file.c.knowledge_id == "k1"))
    assert await world.found(model, vector_of("f2 says 0"), scopes_of_it[0]) == []
    assert (await world.found(model, vector_of("f2 says 0"), scopes_of_it[1]))[0] == "f2 says 0"


async def test_writers_at_the_same_time_lose_nothing(world: World) -> None:
    model = await world.model()
    await asyncio.gather(
        *(world.put(model, number) for number in world.numbers.values()),
        *(world.search(model, vector_of("x")) for _ in range(4)),
    )
    hits = await world.search(model, vector_of("x"), limit=100)
    assert len(hits) == sum(FILES.values()) + 4
    gone = world.numbers["f3"]
    await asyncio.gather(
        world.put(model, gone), write(world, tables.document.delete().where(tables.document.c.n == gone))
    )
    assert len(await world.found(model, vector_of("x"), limit=100)) == len(hits) - FILES["f3"]


async def test_vectors_outlive_the_process(world: World) -> None:
    model = await world.model()
    await world.put_all(model)
    before = await world.search(model, vector_of("x"), limit=100)
    await world.restart()
    assert await world.search(model, vector_of("x"), limit=100) == before


async def test_models_lie_apart_each_with_its_dimensions(world: World) -> None:
    one, other = await world.model(), await world.model("other", 6)
    await world.put_all(one)
    assert await world.search(other, vector_of("x", 6), limit=100) == []
    await world.put_all(other)
    for model, dimensions in ((one, DIMENSIONS), (other, 6)):
        hits = await world.search(model, vector_of("f3 says 3", dimensions), limit=100)
        assert len(hits) == sum(FILES.values()) + 4
        assert (await world.texts(hits))[0] == "f3 says 3"
        assert hits[0].score == pytest.approx(1, abs=1e-5)
    await world.index.remove(world.database, other)
    assert len(await world.search(one, vector_of("x"), limit=100)) == sum(FILES.values()) + 4


async def test_a_question_of_another_length_finds_nothing(world: World) -> None:
    model = await world.model()
    await world.put_all(model)
    for query in (vector_of("x", DIMENSIONS + 1), vector_of("x", 1), b"", b"xyz"):
        assert await world.search(model, query) == []
    assert await world.search(await world.model("never made", None), vector_of("x")) == []


async def test_vectors_are_known_by_their_texts(world: World) -> None:
    one, other = await world.model(), await world.model("other", 6)
    hashes = {text: documents.passage_hash(text, ()) for text in ("f1 says 16", "f4 says 0", "never said")}
    assert await world.index.known(world.database, one, list(hashes.values())) == {}
    await world.put_all(one)
    assert await world.index.known(world.database, one, list(hashes.values()) * 2) == {
        hashes[text]: vector_of(text) for text in ("f1 says 16", "f4 says 0")
    }
    assert await world.index.known(world.database, one, []) == {}
    assert await world.index.known(world.database, other, list(hashes.values())) == {}


async def test_only_what_somebody_may_read_is_found(world: World) -> None:
    model = await world.model()
    await world.put_all(model)
    everything = Scope(files=tuple(FILES), knowledge=tuple(BASES), collections=("web",))
    await world.search(model, vector_of("x"), everything)
    assert await world.search(model, vector_of("f1 says 1"), everything, who=BOB) == []
    async with world.database.write() as unit:
        await library.grant(unit.connection, "k2", "bob")
    allowed = {*texts_of("f2", 1), *texts_of("f3", 40)}
    hits = await world.search(model, vector_of("f1 says 1"), everything, who=BOB, limit=100)
    assert set(await world.texts(hits, everything, BOB)) == allowed
    assert len(hits) == len(allowed)
    await write(world, tables.access_grant.delete())
    assert await world.search(model, vector_of("f3 says 1"), everything, who=BOB) == []
    # What was found before the grant went is not read after it.
    assert await world.texts(hits, everything, BOB) == []


HOSTILE = ["'; DROP TABLE document; --", '"]', '["f1"]', "*", "%", "f_", "f1\x00", "\x00", "\\", "{}", "{f1}", "null",
           "f1' OR '1'='1", "\U0001f600", "x" * 100_000, "", " f1", "F1"]  # fmt: skip


async def test_ids_are_never_read_as_anything_else(world: World) -> None:
    model = await world.model()
    await world.put_all(model)
    for text in HOSTILE:
        given = (text,)
        for scope in (Scope(files=given), Scope(knowledge=given), Scope(collections=given), Scope(given, given, given)):
            assert await world.search(model, vector_of("x"), scope) == [], scope
            assert await world.texts([Hit(world.numbers["f1"] << CHUNK_BITS, 1.0)], scope) == []
    mixed = Scope(files=("f0", *HOSTILE), knowledge=("k2", *HOSTILE), collections=("web", *HOSTILE))
    assert len(await world.search(model, vector_of("x"), mixed, limit=100)) == 3 + 41 + 4
