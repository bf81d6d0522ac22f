"""Searches: what is found by words, by vectors and by both, what each stage says, and that nobody finds what isn't theirs."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from open_webui.config import Config
from open_webui.env import Settings
from open_webui.internal.db import Database, open_database
from open_webui.models import documents, lexical, tables, vectors
from open_webui.models.lexical import Frequencies, Term
from open_webui.models.scopes import Scope
from open_webui.principal import Principal
from open_webui.retrieval.search import TRIES_OF_MANY, Found, SearchDeps, Trace, search
from open_webui.retrieval.vector.packed import PackedIndex
from tests.support import library
from tests.support.fake_embedder import FakeEmbedder, FakeReranker
from tests.support.library import Part

ANN, BOB, ADMIN = (
    Principal(id=name, role=role, name=name, email=f"{name}@example.com")
    for name, role in (("ann", "user"), ("bob", "user"), ("root", "admin"))
)
ANIMALS = {
    "quokka.md": ["The quokka is a small wallaby.", "It smiles at tourists on Rottnest Island.", "It eats leaves."],
    "wombat.md": ["Wombats dig burrows.", "Their droppings are cubes."],
    "echidna.md": ["The echidna lays eggs.", "An automobile never does."],
}


class World:
    """A database with ann, bob and root; ann has files of animals in the knowledge base `animals`."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.embedder: FakeEmbedder | None = None
        self.reranker: FakeReranker | None = None
        self.index = PackedIndex()
        self.environ: dict[str, str] = {"ENABLE_RAG_HYBRID_SEARCH": "true"}
        self.frequencies = Frequencies()

    async def search(self, who: Principal, *queries: str, **given: Any) -> list[Found]:
        options = {k: given.pop(k) for k in ("limit", "trace") if k in given}
        deps = SearchDeps(
            database=self.database,
            config=Config(self.environ),
            index=self.index,
            embedder=lambda signature: (
                self.embedder if self.embedder and self.embedder.signature == signature else None
            ),
            reranker=lambda: self.reranker,
            frequencies=self.frequencies,
        )
        return await search(deps, who, queries, Scope(**given), **options)

    async def texts(self, who: Principal, *queries: str, **given: Any) -> list[str]:
        return [found.text for found in await self.search(who, *queries, **given)]

    async def embed(self, embedder: FakeEmbedder, *, is_active: bool = True) -> None:
        """Vectors for all documents that have none."""
        async with self.database.write() as unit:
            connection = unit.connection
            model = await vectors.ensure(connection, embedder.signature)
            await vectors.set_dimensions(connection, model.n, embedder.dimensions)
            model = await vectors.ensure(connection, embedder.signature)
            for n in await vectors.missing(connection, model.n, limit=1_000):
                chunks = await documents.chunks_of(connection, n)
                await self.index.put(connection, model, n, await embedder.embed([c.passage for c in chunks]))
            if is_active:
                await vectors.activate(connection, model.n)
        self.embedder = embedder


@pytest.fixture(params=["few", "many"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether the documents are few enough to be listed. Where they aren't, words that five chunks have are frequent."""
    if request.param == "many":
        monkeypatch.setattr("open_webui.models.scopes.FEW_DOCUMENTS", 0)
        monkeypatch.setattr("open_webui.models.lexical.FREQUENT", 5)
    return str(request.param)


@pytest.fixture
async def world(settings: Settings, size: str) -> AsyncIterator[World]:
    database = open_database(settings)
    async with database.write() as unit:
        for who in (ANN, BOB, ADMIN):
            await library.person(unit.connection, who.id, who.role)
        for name, texts in ANIMALS.items():
            await library.file(unit.connection, "ann", name, texts, name=name)
        await library.base(unit.connection, "ann", "animals", list(ANIMALS))
    yield World(database)
    await database.close()


async def write(world: World, statement: Any) -> None:
    async with world.database.write() as unit:
        await unit.connection.execute(statement)


async def test_words_find_without_any_vectors(world: World) -> None:
    trace = Trace()
    found = await world.search(ANN, "Where does the quokka smile?", knowledge=("animals",), trace=trace)
    assert {"The quokka is a small wallaby.", "It smiles at tourists on Rottnest Island."} <= {
        f.text for f in found[:3]
    }
    first = found[0]
    assert (first.name, first.file_id, first.page, first.headings) == ("quokka.md", "quokka.md", None, ())
    assert 0 < first.score <= 1
    assert {"words", "fused"} <= first.stages.keys()
    assert trace.notes == ["Nothing has been embedded: only words were searched."]
    assert [stage.name for stage in trace.stages] == ["words", "keys", "fused"]
    assert trace.stages[0].ms > 0


async def test_vectors_find_what_words_do_not(world: World) -> None:
    await world.embed(FakeEmbedder())
    assert await world.texts(ANN, "cars", knowledge=("animals",), limit=1) == ["An automobile never does."]
    world.environ["ENABLE_RAG_HYBRID_SEARCH"] = "false"
    trace = Trace()
    found = await world.search(ANN, "physician cars", knowledge=("animals",), limit=1, trace=trace)
    assert [f.text for f in found] == ["An automobile never does."]
    assert found[0].stages.keys() == {"vectors", "fused"}
    assert [(s.name, bool(s.chunks)) for s in trace.stages if s.name in {"words", "vectors"}] == [
        ("vectors", True), ("words", False),
    ]  # fmt: skip


async def test_a_scope_is_of_files_bases_and_own_collections(world: World) -> None:
    async with world.database.write() as unit:
        for who in ("ann", "bob"):
            await library.document(
                unit.connection, [f"{who} saw a quokka"], collection="web", user_id=who, url="https://x"
            )
        await library.document(
            unit.connection, ["an old quokka"], collection="web", user_id="ann", expires_at=1, name="b"
        )
    await world.embed(FakeEmbedder())
    texts = [f.text for f in await world.search(ANN, "quokka", collections=("web",), limit=9)]
    assert texts == ["ann saw a quokka"]
    assert (await world.search(ANN, "quokka", collections=("web",)))[0].url == "https://x"
    assert set(await world.texts(ANN, "quokka", files=("quokka.md",), limit=9)) == set(ANIMALS["quokka.md"])
    everything = await world.texts(
        ANN, "quokka", files=("quokka.md",), knowledge=("animals",), collections=("web",), limit=9
    )
    assert (len(everything), len(set(everything))) == (8, 8)
    assert await world.texts(ANN, "quokka") == []
    assert await world.texts(ANN, "quokka", files=("no such",), knowledge=("none",), collections=("no",)) == []
    assert await world.texts(ANN, " ", knowledge=("animals",)) == await world.texts(ANN, knowledge=("animals",)) == []
    assert await world.texts(ANN, "quokka", knowledge=("animals",), limit=0) == []


async def test_others_find_only_what_they_may_read(world: World) -> None:
    await world.embed(FakeEmbedder())
    given: dict[str, Any] = {"files": tuple(ANIMALS), "knowledge": ("animals",), "limit": 9}
    assert len(await world.texts(ANN, "quokka", **given)) == 7
    assert await world.texts(BOB, "quokka", **given) == []
    async with world.database.write() as unit:
        await library.grant(unit.connection, "animals", "bob")
    assert len(await world.texts(BOB, "quokka", knowledge=("animals",), limit=9)) == 7
    # The grant ends: out of reach with the next question, although vectors were just in memory.
    await write(world, tables.access_grant.delete())
    assert await world.texts(BOB, "quokka", **given) == []
    assert len(await world.texts(ADMIN, "quokka", knowledge=("animals",), limit=9)) == 7


async def test_what_is_gone_is_out_of_reach_at_once(world: World) -> None:
    await world.embed(FakeEmbedder())
    given: dict[str, Any] = {"knowledge": ("animals",), "limit": 2}
    assert await world.texts(ANN, "wombat burrows", **given) != []
    # Also by a way that tells nobody: vectors in memory still have it, and give nothing else its place twice.
    await write(world, tables.file.delete().where(tables.file.c.id == "wombat.md"))
    for _ in range(2):
        texts = await world.texts(ANN, "wombat burrows", **given)
        assert not set(texts) & set(ANIMALS["wombat.md"])
    assert len(texts) == 2
    link = tables.knowledge_file
    await write(world, link.delete().where(link.c.file_id == "quokka.md"))
    assert not set(await world.texts(ANN, "quokka", **given)) & set(ANIMALS["quokka.md"])
    await write(world, tables.knowledge.delete())
    assert await world.texts(ANN, "echidna", **given) == []


@pytest.mark.parametrize("size", ["few"], indirect=True)
async def test_the_number_of_all_chunks_is_known(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def total() -> int:
        async with world.database.read() as connection:
            return await Frequencies().total(connection)

    assert await total() == 7
    async with world.database.write() as unit:
        await library.document(unit.connection, [f"number {n}" for n in range(300)], collection="web", user_id="ann")
    assert await total() == 307
    await write(world, tables.file.delete())
    assert await total() == 300
    await write(world, tables.document.delete())
    assert await total() == 0
    if not world.database.is_sqlite:
        # Of many, as many as PostgreSQL knew of when it looked last.
        monkeypatch.setattr("open_webui.models.lexical.FREQUENT", 5)
        async with world.database.write() as unit:
            await library.document(unit.connection, ["a"] * 9, collection="web", user_id="ann")
            await unit.connection.exec_driver_sql("ANALYZE chunk")
        assert await total() == 9


@pytest.mark.parametrize("times", [1, 5])
@pytest.mark.parametrize("scope", [{"knowledge": ("animals",)}, {"files": ("quokka.md",)}])
async def test_what_is_made_anew_meanwhile_is_found(
    world: World, scope: dict[str, Any], times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = 0
    candidates = lexical.candidates

    async def late(*given: Any) -> Any:
        nonlocal looked
        looked += 1
        found = await candidates(*given)
        if looked <= times:
            async with world.database.write() as unit:
                await library.document(unit.connection, [f"The quokka smiles for time {looked}."], file_id="quokka.md")
        return found

    monkeypatch.setattr(lexical, "candidates", late)
    assert f"The quokka smiles for time {times}." in await world.texts(ANN, "Does the quokka smile?", **scope)
    assert looked == times + 1


async def test_what_comes_meanwhile_has_nobody_look_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = 0
    candidates = lexical.candidates

    async def late(*given: Any) -> Any:
        nonlocal looked
        looked += 1
        async with world.database.write() as unit:
            await library.file(unit.connection, "ann", f"new{looked}.md", ["A new animal."])
            await library.fill(unit.connection, "animals", [f"new{looked}.md"])
        return await candidates(*given)

    monkeypatch.setattr(lexical, "candidates", late)
    assert await world.texts(ANN, "quokka", knowledge=("animals",), limit=1) == ["The quokka is a small wallaby."]
    # Of many documents it is not known that none has gone.
    assert looked in {1, TRIES_OF_MANY}


async def test_what_comes_is_found_at_once(world: World) -> None:
    embedder = FakeEmbedder()
    await world.embed(embedder)
    assert await world.texts(ANN, "platypus venom", knowledge=("animals",), limit=1) != ["The platypus has venom."]
    async with world.database.write() as unit:
        await library.file(unit.connection, "ann", "platypus.md", ["The platypus has venom."])
        await library.fill(unit.connection, "animals", ["platypus.md"])
    assert await world.texts(ANN, "platypus venom", knowledge=("animals",), limit=1) == ["The platypus has venom."]
    await world.embed(embedder)
    found = (await world.search(ANN, "platypus venom", knowledge=("animals",), limit=1))[0]
    assert {"words", "vectors"} <= found.stages.keys()
    async with world.database.write() as unit:
        await library.document(unit.connection, ["It has a beak."], file_id="platypus.md")
    assert await world.texts(ANN, "platypus venom", knowledge=("animals",), limit=1) != ["The platypus has venom."]


@pytest.mark.parametrize(
    "question",
    ['" OR *', "'; DROP TABLE chunk; --", "NEAR(a b) AND title:quokka", "quokka) OR (x", "a:* & !b | <-> \\", "\x00", "%_\\",
     "{title body}: x", "^quokka", "- + # ++ ## \U0001f600", "'' :* ''", "quokka" * 5_000, "quokka " * 5_000,
     " ".join(f"word{k}" for k in range(5_000))],
)  # fmt: skip
async def test_nothing_typed_is_syntax(world: World, question: str) -> None:
    await world.embed(FakeEmbedder())
    found = await world.texts(ANN, question, knowledge=("animals",), limit=3)
    assert len(found) <= 3
    if question.startswith("quokka "):
        assert found[0] == "The quokka is a small wallaby."


KEYS = ["ERR_4711-X", "C++", "C#", "v2.4.1", "ISO-27001", "10.0.0.17", "a8f3e2", "kubectl-foo", "user_id", "/etc/passwd",
        "E=mc2", "x86_64", "RFC2616", "$HOME",
        "127.0.0.1:8080", "Straße-9", "Größe_L", "foo.bar.baz", "--dry-run", "Müller42"]  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
async def test_a_key_is_found_where_it_is_named(world: World, key: str) -> None:
    """It wins against chunks that share all the other words, and against its own parts."""
    async with world.database.write() as unit:
        question = f"What does {key} mean in the manual of the machine?"
        filler = [
            f"What the manual of the machine may mean, part {n}; c err x e r {n} user id home etc." for n in range(20)
        ]
        texts = [*filler, f"A line that has {key} in it.", *(key[:-1] + "q and so on" for _ in range(3))]
        await library.file(unit.connection, "ann", "manual", texts)
        await library.fill(unit.connection, "animals", ["manual"])
    await world.embed(FakeEmbedder())
    assert f"A line that has {key} in it." in await world.texts(ANN, question, knowledge=("animals",), limit=3)


async def test_words_are_found_in_any_form_case_and_script(world: World) -> None:
    async with world.database.write() as unit:
        texts = ["Das Café öffnet um acht.", "東京都の天気は晴れです。", "ราคาในประเทศไทย", "Running wolves were seen."]
        await library.file(unit.connection, "ann", "more", texts)
        await library.fill(unit.connection, "animals", ["more"])
    for question, number in (
        ("Wann öffnet das cafe?", 0), ("CAFÉ", 0), ("東京の天気は？", 1), ("天気", 1), ("ประเทศไทย", 2), ("wolf run wolves", 3),
        ("Which wolves ran, running?", 3),
    ):  # fmt: skip
        assert (await world.texts(ANN, question, knowledge=("animals",), limit=1)) == [texts[number]], question


async def test_frequent_words_find_where_there_is_nothing_else(world: World) -> None:
    async with world.database.write() as unit:
        await library.file(unit.connection, "ann", "many", [f"the machine hums, {n}" for n in range(30)])
        await library.fill(unit.connection, "animals", ["many"])
    assert len(await world.texts(ANN, "the machine", knowledge=("animals",), limit=5)) == 5
    first = await world.texts(ANN, "the machine of the wombats", knowledge=("animals",), limit=3)
    assert "Wombats dig burrows." in first


async def test_titles_and_headings_count(world: World) -> None:
    async with world.database.write() as unit:
        texts = [Part("Turn it on.", headings=("Coffee machine",)), Part("The coffee is here."), Part("Nothing.")]
        await library.file(unit.connection, "ann", "manual", texts, name="espresso.md")
        await library.fill(unit.connection, "animals", ["manual"])
    found = await world.search(ANN, "coffee machine", knowledge=("animals",))
    assert (found[0].text, found[0].headings) == ("Turn it on.", ("Coffee machine",))
    assert len(await world.texts(ANN, "espresso", knowledge=("animals",), limit=9)) == 3


async def test_several_questions_are_merged(world: World) -> None:
    await world.embed(FakeEmbedder())
    trace = Trace()
    texts = await world.texts(
        ANN, "quokka wallaby", "wombats burrows", " ", "quokka wallaby", knowledge=("animals",), limit=2, trace=trace
    )
    assert set(texts) == {"The quokka is a small wallaby.", "Wombats dig burrows."}
    assert trace.queries == ["quokka wallaby", "wombats burrows"]


async def test_one_document_does_not_take_all_places(world: World) -> None:
    async with world.database.write() as unit:
        await library.file(unit.connection, "ann", "a", [f"zebra zebra number {n}" for n in range(9)])
        await library.file(unit.connection, "ann", "b", ["a zebra, once, among many other animals of the plain"])
        await library.fill(unit.connection, "animals", ["a", "b"])
    found = await world.search(ANN, "zebra", knowledge=("animals",))
    assert ([f.file_id for f in found].count("a"), [f.file_id for f in found].count("b")) == (2, 1)
    assert len(await world.search(ANN, "zebra", files=("a",))) == 3


async def test_the_same_text_is_found_once(world: World) -> None:
    async with world.database.write() as unit:
        for name in "abc":
            await library.file(unit.connection, "ann", name, ["the very same text"])
        await library.fill(unit.connection, "animals", ["a", "b", "c"])
    await world.embed(FakeEmbedder())
    texts = await world.texts(ANN, "the very same text", knowledge=("animals",), limit=9)
    assert texts.count("the very same text") == 1


async def test_a_reranker_has_the_last_word(world: World) -> None:
    world.environ |= {"RAG_TOP_K_RERANKER": "2"}
    reranker = world.reranker = FakeReranker()
    trace = Trace()
    found = await world.search(ANN, "The echidna lays eggs.", "quokka", knowledge=("animals",), trace=trace)
    assert (found[0].text, found[0].score, len(found)) == ("The echidna lays eggs.", 1.0, 2)
    assert found[0].stages["rerank"] == 1.0
    assert reranker.asked[0][0] == "The echidna lays eggs."
    assert trace.stages[-1].name == "rerank"
    reranker.fails = True
    trace = Trace()
    assert len(await world.search(ANN, "The echidna lays eggs.", knowledge=("animals",), trace=trace)) == 2
    assert trace.notes[-1] == "The reranker failed: The reranker is away."


async def test_what_answers_too_little_is_left_out(world: World) -> None:
    await world.embed(FakeEmbedder())
    world.environ["RAG_RELEVANCE_THRESHOLD"] = "0.8"
    assert await world.texts(ANN, "the echidna lays eggs", knowledge=("animals",)) == ["The echidna lays eggs."]
    assert await world.texts(ANN, "politics in Europe", knowledge=("animals",)) == []


async def test_an_engine_that_is_away_leaves_the_words(world: World) -> None:
    embedder = FakeEmbedder()
    await world.embed(embedder)
    embedder.fails = True
    trace = Trace()
    assert (await world.texts(ANN, "quokka", knowledge=("animals",), trace=trace))[
        0
    ] == "The quokka is a small wallaby."
    assert trace.notes == ["The question was not embedded: The engine is away. Only words were searched."]
    world.environ["ENABLE_RAG_HYBRID_SEARCH"] = "false"
    assert (await world.texts(ANN, "quokka", knowledge=("animals",)))[0] == "The quokka is a small wallaby."
    world.embedder = None
    trace = Trace()
    assert await world.texts(ANN, "quokka", knowledge=("animals",), trace=trace)
    assert trace.notes == ["There is no engine for the vectors that are stored (fake): only words were searched."]


async def test_the_old_vectors_serve_until_the_new_are_whole(world: World) -> None:
    old, new = FakeEmbedder("old"), FakeEmbedder("new", 96)
    await world.embed(old)
    await world.embed(new, is_active=False)
    world.embedder = old
    assert (await world.search(ANN, "cars", knowledge=("animals",), limit=1))[0].stages.keys() >= {"vectors"}
    async with world.database.write() as unit:
        await vectors.activate(unit.connection, (await vectors.ensure(unit.connection, "new")).n)
    world.embedder = new
    found = (await world.search(ANN, "cars", knowledge=("animals",), limit=1))[0]
    assert (found.text, "vectors" in found.stages) == ("An automobile never does.", True)


async def test_vectors_are_taken_over_from_the_same_text(world: World) -> None:
    await world.embed(FakeEmbedder())
    async with world.database.write() as unit:
        model = await vectors.active(unit.connection)
        assert model is not None
    hashes = [documents.passage_hash(text, ()) for text in ("Wombats dig burrows.", "never seen")]
    known = await world.index.known(world.database, model, hashes)
    assert known == {hashes[0]: (await FakeEmbedder().embed(["Wombats dig burrows."]))[0]}


async def test_stored_vectors_that_are_broken_take_no_search_with_them(world: World) -> None:
    await world.embed(FakeEmbedder())
    table = tables.document_vectors
    await write(world, table.update().where(table.c.document_n == 1).values(data=b"short"))
    assert len(await world.texts(ANN, "quokka wombat echidna", knowledge=("animals",), limit=9)) == 7


def test_terms_of_a_question() -> None:
    def of(text: str) -> dict[str, bool]:
        return {term.words: term.is_key for term in lexical.terms(text)}

    assert of("What's the ERR_4711-X?") == {
        "err 4711 x": True, "4711": True, "err": False, "what": False, "the": False,
    }  # fmt: skip
    assert of("v2.4.1") == {"v2 4 1": True, "2 4 1": True, "v2": False}
    assert lexical.terms("c++ (C++)") == [Term("c", "c++", is_key=True)]
    assert of("“Quokka”, quokka… QUOKKA!") == {"quokka": True}
    assert of("") == of("?!") == of(" - ") == {}
    assert len(lexical.terms("x" * 50_000)) == 1
    assert [t.words for t in lexical.terms("a longer word 42")] == ["42", "longer", "word", "a"]
