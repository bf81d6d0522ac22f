"""Pieces: where they end, what they know of their place, and that nothing is lost."""

from itertools import pairwise
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from open_webui.config import Config
from open_webui.retrieval.parsing.base import Parsed, ParseError
from open_webui.retrieval.parsing.readers import Readers
from open_webui.retrieval.splitting import MAX_PIECES, Splitting, split


def how(**changes: object) -> Splitting:
    plain = {"size": 100, "overlap": 0, "min_size": 0, "tokens": False, "sections": True, "pages": True}
    return Splitting(**(plain | changes))  # type: ignore[arg-type]


TEXTS = st.text(st.sampled_from("ab .,#`~\n\t\u00a0-。語1|"), max_size=600)


@settings(max_examples=100, deadline=None)
@given(
    text=TEXTS, markdown=st.booleans(), code=st.booleans(), pages=st.lists(st.integers(0, 600), max_size=4),
    size=st.integers(16, 90), overlap=st.integers(0, 45), least=st.integers(0, 90), tokens=st.booleans(),
    sections=st.booleans(), by_pages=st.booleans(),
)  # fmt: skip
def test_pieces_are_the_text(text, markdown, code, pages, size, overlap, least, tokens, sections, by_pages) -> None:
    parsed = Parsed(text, pages=tuple(sorted({0, *pages} if pages else ())), markdown=markdown)
    splitting = how(
        size=size,
        overlap=min(overlap, size // 2),
        min_size=min(least, size),
        tokens=tokens,
        sections=sections,
        pages=by_pages,
    )
    pieces = split(parsed, "a.py" if code else "a.md", splitting)
    covered = set()
    for piece in pieces:
        assert text[piece.start : piece.end] == piece.text
        assert piece.text == piece.text.strip() != ""
        assert tokens or len(piece.text) <= size
        assert (piece.page is None) == (not pages)
        assert piece.page is None or parsed.pages[piece.page - 1] <= piece.start
        covered.update(range(piece.start, piece.end))
    assert [p.start for p in pieces] == sorted({p.start for p in pieces})
    assert all(text[position].isspace() for position in set(range(len(text))) - covered)


BOOK = """Before all.

# Book

Words.

## Chapter one

Of this and that. And of more.

```sh
# no heading
```

### Part

Deep.

## Chapter two ##

The end.
"""


def test_a_piece_knows_what_it_stands_under() -> None:
    pieces = split(Parsed(BOOK, markdown=True), "book.md", how())
    assert [(p.text.split("\n")[0], p.headings) for p in pieces] == [
        ("Before all.", ()),
        ("# Book", ("Book",)),
        ("## Chapter one", ("Book", "Chapter one")),
        ("### Part", ("Book", "Chapter one", "Part")),
        ("## Chapter two ##", ("Book", "Chapter two")),
    ]


def test_sections_need_not_end_pieces() -> None:
    pieces = split(Parsed(BOOK, markdown=True), "book.md", how(size=1000, sections=False))
    assert [p.text for p in pieces] == [BOOK.strip()]
    assert [p.headings for p in split(Parsed(BOOK), "book.txt", how())] == [()] * 2


def test_short_sections_go_with_what_follows() -> None:
    pieces = split(Parsed(BOOK, markdown=True), "book.md", how(min_size=60))
    assert [p.text.split("\n")[0] for p in pieces] == ["Before all.", "## Chapter one", "### Part"]
    assert all(len(p.text) <= 100 for p in pieces)


def test_pages_end_pieces_and_are_known() -> None:
    text = "first page\nsecond page\nthird page"
    parsed = Parsed(text, pages=(0, 11, 23))
    assert [(p.text, p.page) for p in split(parsed, "a.pdf", how())] == [
        ("first page", 1), ("second page", 2), ("third page", 3)
    ]  # fmt: skip
    assert [(p.text, p.page) for p in split(parsed, "a.pdf", how(pages=False))] == [(text, 1)]
    # Pages without text have a number, too.
    assert [p.page for p in split(Parsed("ab", pages=(0, 0, 1, 1, 2)), "a.pdf", how())] == [2, 4]


def test_prose_ends_at_paragraphs_then_sentences_then_words() -> None:
    assert split(Parsed("a " * 20 + "\n\n" + "b " * 40), "a.txt", how(size=60))[0].text == ("a " * 20).strip()
    assert (
        split(Parsed("One sentence is this. Another is that one here."), "a.txt", how(size=30))[0].text
        == "One sentence is this."
    )
    assert split(Parsed("word " * 20), "a.txt", how(size=18))[0].text == "word word word"
    assert [len(p.text) for p in split(Parsed("x" * 50), "a.txt", how(size=20))] == [20, 20, 10]


def test_code_ends_where_a_definition_begins() -> None:
    code = "import a\n\n\ndef one():\n    x = 1\n\n    return x\n\n\n@decorated\ndef two():\n    pass\n"
    assert [p.text.split("\n")[0] for p in split(Parsed(code), "a.py", how(size=60))] == ["import a", "@decorated"]


def test_pieces_overlap_at_lines_or_words() -> None:
    pieces = split(Parsed(" ".join(f"word{n}" for n in range(40))), "a.txt", how(size=50, overlap=20))
    for one, following in pairwise(pieces):
        shared = one.end - following.start
        assert 0 < shared <= 20
        assert one.text.endswith(following.text[:shared])
        assert following.text.startswith("word")


def test_tokens_are_estimated() -> None:
    pieces = split(Parsed("The quick brown fox, 12345 times. " * 40), "a.txt", how(size=30, tokens=True))
    assert len(pieces) == pytest.approx(40 * 9 / 25, rel=0.3)
    assert how(tokens=True).signature != how().signature


async def test_tokens_are_counted_by_a_tokenizer_of_this_machine(tmp_path: Path) -> None:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(3)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    text = "extraordinarily länglich words\n" * 9_000
    readers = Readers()
    ends = await readers.token_ends(text, "a.txt", tmp_path / "tokenizer.json")
    assert ends is not None
    assert [text[:end].rsplit(None, 1)[-1] for end in ends[:3]] == ["extraordinarily", "länglich", "words"]
    assert (len(ends), ends[-1]) == (27_000, len(text) - 1)
    pieces = split(Parsed(text), "a.txt", how(size=30, tokens=True, tokenizer="x"), ends)
    assert {len(piece.text.split()) for piece in pieces} == {30}
    (tmp_path / "tokenizer.json").write_text("{}")
    assert await readers.token_ends(text, "a.txt", tmp_path / "tokenizer.json") is None
    await readers.close()


def test_who_counts_tokens_is_part_of_the_signature() -> None:
    counted = Splitting.of(Config({"RAG_TEXT_SPLITTER": "token", "RAG_TOKENIZER_MODEL": "some/model"}))
    assert counted.tokenizer == "some/model"
    assert counted.signature != how(size=1000, overlap=100, tokens=True).signature
    assert Splitting.of(Config({"RAG_TOKENIZER_MODEL": "some/model"})).tokenizer == ""


@pytest.mark.parametrize(
    "unit", ["a", "word ", "\n", "# h\n", ".", " ", "a\n\n", "。", '{"a":1,', "`", "\n\n\n \n", "def a():\n", "\n \t"]
)
@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("name", ["a.md", "a.py"])
def test_time_rises_with_the_length_alone(unit: str, tokens: bool, name: str) -> None:
    """Quadratic time here would be hours, and ends the test."""
    text = unit * (200_000 // len(unit))
    split(Parsed(text, markdown=name == "a.md"), name, how(size=1000, overlap=500, tokens=tokens))


def test_too_many_pieces_are_refused() -> None:
    with pytest.raises(ParseError, match=r"more than 65,535 pieces.*raise the chunk size"):
        split(Parsed("# a\n" * (MAX_PIECES + 1), markdown=True), "a.md", how())


def test_settings_that_make_no_sense_are_brought_to_sense() -> None:
    config = Config(
        {"CHUNK_SIZE": "-5", "CHUNK_OVERLAP": "900", "CHUNK_MIN_SIZE_TARGET": "9999", "RAG_TEXT_SPLITTER": "token"}
    )
    assert Splitting.of(config) == Splitting(16, 8, 16, tokens=True, sections=True, pages=True)
    assert Splitting.of(Config({})) == Splitting(1000, 100, 0, tokens=False, sections=True, pages=True)
    assert Splitting.of(Config({"PDF_LOADER_MODE": "single"})).pages is False
