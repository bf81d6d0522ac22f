"""Documents and their chunks: stored in one go or in several, renamed, removed with what they are of, found by full text."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.env import Settings
from open_webui.errors import BadRequest, NotFound
from open_webui.internal.db import Database, open_database
from open_webui.models import documents, tables
from open_webui.models.base import now
from open_webui.models.documents import NewDocument
from open_webui.utils import bigrams
from tests.support import library
from tests.support.library import Part, parts


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """With two people, ann and bob."""
    opened = open_database(settings)
    async with opened.write() as unit:
        await library.person(unit.connection, "ann")
        await library.person(unit.connection, "bob")
    yield opened
    await opened.close()


async def found(connection: AsyncConnection, word: str) -> list[int]:
    """The numbers of the chunks that full text finds."""
    if connection.dialect.name == "postgresql":
        match = sa.text("SELECT n FROM chunk WHERE search @@ phraseto_tsquery('english', :word) ORDER BY n")
        return list(await connection.scalars(match, {"word": word}))
    match = sa.text("SELECT rowid FROM chunk_fts WHERE chunk_fts MATCH :word ORDER BY rowid")
    return list(await connection.scalars(match, {"word": f'"{word}"'}))


async def revision(connection: AsyncConnection, knowledge_id: str) -> Any:
    return await connection.scalar(sa.select(tables.knowledge.c.revision).where(tables.knowledge.c.id == knowledge_id))


async def count(connection: AsyncConnection, table: sa.Table) -> Any:
    return await connection.scalar(sa.select(sa.func.count()).select_from(table))


async def test_what_was_stored_is_read_again(database: Database) -> None:
    given = parts(
        [Part("The quokka smiles.", page=1, headings=("Animals", "Of\n Australia")), Part("And sleeps.", page=2)]
    )
    async with database.write() as unit:
        await library.file(unit.connection, "ann", "f", [])
        new = NewDocument(name="a\nb.md", hash="abc", splitting="by hand", file_id="f", meta={"title": "T"})
        n = await documents.replace(unit.connection, new, given)
    async with database.read() as connection:
        stored = (await documents.of_files(connection, ["f", "g"]))["f"]
        assert (stored.n, stored.name, stored.hash, stored.splitting, stored.chunks, stored.meta, stored.expires_at) == (
            n, "a\nb.md", "abc", "by hand", 2, {"title": "T"}, None,
        )  # fmt: skip
        first, second = await documents.chunks_of(connection, n)
        assert (first.text, first.headings, first.page, first.start, first.end) == (
            "The quokka smiles.", ("Animals", "Of Australia"), 1, 0, 18,
        )  # fmt: skip
        assert first.passage == "Animals > Of Australia\nThe quokka smiles."
        assert (second.n, second.headings, second.passage, second.page) == (first.n + 1, (), "And sleeps.", 2)
        assert await documents.chunks_of(connection, n, 1) == [second]
        for word in ("quokka", "QUOKKAS", "sleep", "b md", "animal"):
            assert first.n in await found(connection, word) or second.n in await found(connection, word), word


async def test_a_new_reading_takes_the_place_of_the_last(database: Database) -> None:
    async with database.write() as unit:
        await library.file(unit.connection, "ann", "f", ["first reading", "of two"])
        old = (await documents.of_files(unit.connection, ["f"]))["f"].n
        new = await library.document(unit.connection, ["second reading"], file_id="f")
        assert new > old
        assert (await found(unit.connection, "first"), await found(unit.connection, "second")) == ([], [new << 16])
        assert await count(unit.connection, tables.chunk) == 1
        # A number never comes again, also when it was the highest.
        await documents.delete_of_files(unit.connection, ["f"])
        assert await library.document(unit.connection, ["third"], file_id="f") > new


async def test_a_large_document_is_found_when_it_is_whole(database: Database) -> None:
    document = NewDocument(name="large", hash="h", splitting="s", file_id="f")
    async with database.write() as unit:
        await library.file(unit.connection, "ann", "f", ["what was there"])
        n = await documents.begin(unit.connection, document, 4)
        await documents.add(unit.connection, n, "large", 0, parts(["one", "two"]))
    async with database.write() as unit:
        assert [d.hash for d in (await documents.of_files(unit.connection, ["f"])).values()] == ["h"]
        assert [c.text for c in await documents.chunks_of(unit.connection, n - 1)] == ["what was there"]
        assert await documents.split_otherwise(unit.connection, "?", after=n - 1) == []
        await documents.add(unit.connection, n, "large", 2, parts(["three", "four"]))
        await documents.attach(unit.connection, n, document)
        assert list(await documents.of_files(unit.connection, ["f"])) == ["f"]
        assert [c.text for c in await documents.chunks_of(unit.connection, n)] == ["one", "two", "three", "four"]
        assert await found(unit.connection, "there") == []
        assert await documents.delete_expired(unit.connection, now() + 10 * documents.ABANDONED) == 0


async def test_what_nobody_goes_on_writing_goes(database: Database) -> None:
    async with database.write() as unit:
        n = await documents.begin(unit.connection, NewDocument(name="x", hash="h", splitting="s", file_id="f"), 1)
        await documents.add(unit.connection, n, "x", 0, parts(["abandoned"]))
        assert await documents.delete_expired(unit.connection, now()) == 0
        assert await documents.delete_expired(unit.connection, now() + documents.ABANDONED + 60) == 1
        assert await found(unit.connection, "abandoned") == []


async def test_no_document_has_more_chunks_than_numbers(database: Database) -> None:
    async with database.write() as unit:
        new = NewDocument(name="x", hash="h", splitting="s", collection="c", user_id="ann")
        with pytest.raises(BadRequest, match="65,537 parts, and 65,536 are the most"):
            await documents.begin(unit.connection, new, 65_537)
        assert await count(unit.connection, tables.document) == 0


async def test_collections_are_of_their_owner(database: Database) -> None:
    async with database.write() as unit:
        for owner in ("ann", "bob"):
            for url in (None, "https://a.example", "https://b.example", "https://a.example"):
                await library.document(unit.connection, [f"{owner} {url}"], collection="web", user_id=owner, url=url)
        listed = await documents.of_collection(unit.connection, "ann", "web")
        assert [d.url for d in listed] == [None, "https://b.example", "https://a.example"]
        assert await documents.delete_collection(unit.connection, "ann", "web") == 3
        assert await documents.of_collection(unit.connection, "ann", "web") == []
        assert len(await documents.of_collection(unit.connection, "bob", "web")) == 3
        assert await found(unit.connection, "ann") == []
        await library.document(unit.connection, ["soon over"], collection="web", user_id="bob", expires_at=now() + 60)
        assert await documents.delete_expired(unit.connection, now() + 61) == 1


async def test_a_document_is_found_by_its_new_name(database: Database) -> None:
    async with database.write() as unit:
        n = await library.file(
            unit.connection, "ann", "f", [Part("text", headings=("Heading",)), "more"], name="wombat.md"
        )
        assert len(await found(unit.connection, "wombat")) == 2
        await documents.rename(unit.connection, "f", "新しい echidna.md")
        await documents.rename(unit.connection, "nobody", "x")
        assert (await documents.of_files(unit.connection, ["f"]))["f"].name == "新しい echidna.md"
        assert (len(await found(unit.connection, "wombat")), len(await found(unit.connection, "echidna"))) == (0, 2)
        assert len(await found(unit.connection, "新し しい")) == 2
        assert [c.headings for c in await documents.chunks_of(unit.connection, n)] == [("Heading",), ()]


async def test_texts_without_blanks_are_found_by_their_pairs(database: Database) -> None:
    async with database.write() as unit:
        n = await library.file(unit.connection, "ann", "f", ["東京都の天気は晴れ、気温は5度。", "ประเทศไทย", "plain"])
        assert await found(unit.connection, "東京 京都") == [n << 16]
        assert await found(unit.connection, "京東") == []
        assert await found(unit.connection, " ".join(bigrams.pairs("เทศ"))) == [n << 16 | 1]
        words = await unit.connection.execute(sa.select(tables.chunk.c.words).order_by(tables.chunk.c.n))
        assert [row.words is None for row in words] == [False, False, True]
        assert next(c.text for c in await documents.chunks_of(unit.connection, n)).startswith("東京都の")


async def test_accents_and_signs_are_no_part_of_a_word(database: Database) -> None:
    async with database.write() as unit:
        n = await library.file(
            unit.connection, "ann", "f", ["Café ERR_4711-X it's version 2.4.1 of C++ and \\x 'quoted'"]
        )
        for text in ("cafe", "err 4711 x", "2 4 1", "quoted", "x quoted"):
            assert await found(unit.connection, text) == [n << 16], text


async def test_neighbours_do_not_leave_the_document(database: Database) -> None:
    async with database.write() as unit:
        await library.file(unit.connection, "ann", "before", ["x"])
        n = await library.file(unit.connection, "ann", "f", list("abcde"))
        await library.file(unit.connection, "ann", "after", ["x"])
        for position, expected in ((0, "abc"), (1, "abcd"), (2, "abcde"), (4, "cde")):
            got = await documents.around(unit.connection, n << 16 | position, 2)
            assert "".join(c.text for c in got) == expected
        assert await documents.around(unit.connection, n + 9 << 16, 2) == []


async def test_what_changes_is_known_to_the_knowledge_bases(database: Database) -> None:
    async with database.write() as unit:
        connection = unit.connection
        await library.file(connection, "ann", "f", ["x"])
        await library.base(connection, "ann", "k", ["f"])
        await library.base(connection, "ann", "l")
        await library.base(connection, "ann", "m", ["f"])
        assert [await revision(connection, k) for k in "klm"] == [1, 0, 1]
        await library.document(connection, ["y"], file_id="f")
        assert [await revision(connection, k) for k in "klm"] == [2, 0, 2]
        await documents.delete_of_files(connection, ["f", "none"])
        assert [await revision(connection, k) for k in "klm"] == [3, 0, 3]
        await documents.changed(connection, ["l", "unknown"])
        await documents.changed(connection, [])
        assert [await revision(connection, k) for k in "klm"] == [3, 1, 3]


async def test_documents_go_with_their_file_and_their_owner(database: Database) -> None:
    async with database.write() as unit:
        await library.file(unit.connection, "ann", "f", ["of a file"])
        await library.document(unit.connection, ["of a page"], collection="web", user_id="ann")
        await unit.connection.execute(tables.file.delete().where(tables.file.c.id == "f"))
        assert await found(unit.connection, "file") == []
        assert len(await found(unit.connection, "page")) == 1
        await unit.connection.execute(tables.user.delete().where(tables.user.c.id == "ann"))
        assert await found(unit.connection, "page") == []
        assert await count(unit.connection, tables.chunk) == 0


async def test_two_that_read_one_file_leave_one_document(database: Database) -> None:
    async with database.write() as unit:
        await library.file(unit.connection, "ann", "f", ["x"])
        await library.base(unit.connection, "ann", "k", ["f"])

    async def read(text: str) -> None:
        async with database.write() as unit:
            await library.document(unit.connection, [text], file_id="f")

    await asyncio.gather(*(read(f"reading {n}") for n in range(5)))
    async with database.read() as connection:
        assert await count(connection, tables.document) == await count(connection, tables.chunk) == 1


async def test_a_file_that_is_gone_gets_no_document(database: Database) -> None:
    with pytest.raises(NotFound):
        async with database.write() as unit:
            await library.document(unit.connection, ["x"], file_id="gone")
    async with database.read() as connection:
        assert await count(connection, tables.document) == 0


async def test_documents_that_were_split_otherwise(database: Database) -> None:
    async with database.write() as unit:
        numbers = [await library.file(unit.connection, "ann", f"f{k}", ["x"]) for k in range(4)]
        await library.document(unit.connection, ["x"], file_id="f1", splitting="new")
        old = await documents.split_otherwise(unit.connection, "new")
        assert [d.n for d in old] == [numbers[0], numbers[2], numbers[3]]
        assert [d.n for d in await documents.split_otherwise(unit.connection, "new", numbers[0], 1)] == [numbers[2]]


async def test_texts_that_databases_refuse_are_cleaned(database: Database) -> None:
    async with database.write() as unit:
        part = Part("a\x00b", headings=("c\x00d",))
        n = await library.document(
            unit.connection, [part], collection="c", user_id="ann", name="e\x00f", url="g\x00h", meta={"i\x00": "j\x00"}
        )
        [chunk] = await documents.chunks_of(unit.connection, n)
        [stored] = await documents.of_collection(unit.connection, "ann", "c")
        assert (chunk.text, chunk.headings, stored.name, stored.url, stored.meta) == (
            "ab",
            ("cd",),
            "ef",
            "gh",
            {"i": "j"},
        )
