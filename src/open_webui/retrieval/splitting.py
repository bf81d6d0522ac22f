"""Cuts a document into pieces that are found and cited by themselves: where its structure ends them, and none too long."""

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple, Self

import msgspec

from open_webui.config import Config
from open_webui.retrieval.parsing.base import Parsed, ParseError
from open_webui.retrieval.parsing.kinds import kind_of

MAX_PIECES: Final = 65_535
# Changes when the same text and settings come to other pieces.
VERSION: Final = 1
_MIN_SIZE: Final = 16
_SHOWN_HEADING: Final = 200

_HEADING: Final = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*))?$")
_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")
_SPACE: Final = re.compile(r"\s*+")
# Where a piece may end, the best first. A match ends where the next piece begins.
_PROSE: Final = tuple(map(re.compile, (r"\n\s*\n", r"\n", r"[.!?…]['\"”’)]*\s|[。！？]", r"[;:,]\s|[；：，、]", r"\s")))
_DEFINITION: Final = (
    r"(?=(?:export |default |pub |public |private |protected |static |abstract |final |async |inline |unsafe )*"
    r"(?:def|class|function|func|fn|impl|struct|enum|interface|trait|type|module|namespace|sub|proc|const|let|var|@)\b|@)"
)
_CODE: Final = tuple(
    map(
        re.compile, (rf"\n[ \t]*\n{_DEFINITION}", r"\n[ \t]*\n(?=\S)", rf"\n{_DEFINITION}", r"\n[ \t]*\n", r"\n", r"\s")
    )
)
# About what a tokenizer makes of a text: part of a word, a few digits, a sign.
_TOKEN: Final = re.compile(r"[^\W\d_\u2e80-\U0010ffff]{1,6}|\d{1,3}|\S")


class Piece(msgspec.Struct, frozen=True):
    """A part of a document. start, end: where it is in the document's text, whose characters there are `text`.

    page: the page that it begins on, from 1; None without pages. headings: those it stands under, the highest first.
    """

    text: str
    start: int
    end: int
    page: int | None
    headings: tuple[str, ...]


class Splitting(msgspec.Struct, frozen=True):
    """How documents are cut. size, overlap, min_size: in characters, or in tokens with `tokens`.

    overlap: how much of a piece the next one repeats, where they are cut within a section. min_size: shorter sections are
    put together with what follows. sections, pages: a piece ends where these do. tokenizer: the model whose tokens are
    counted; empty: they are estimated.
    """

    size: int
    overlap: int
    min_size: int
    tokens: bool
    sections: bool
    pages: bool
    tokenizer: str = ""

    @classmethod
    def of(cls, config: Config) -> Self:
        """As an admin has set it; values that make no sense are brought to the nearest that do."""
        size = max(config["rag.chunk_size"], _MIN_SIZE)
        tokens = config["rag.text_splitter"].startswith("token")
        return cls(
            size=size,
            overlap=min(max(config["rag.chunk_overlap"], 0), size // 2),
            min_size=min(max(config["rag.chunk_min_size_target"], 0), size),
            tokens=tokens,
            sections=config["rag.enable_markdown_header_text_splitter"],
            pages=config["rag.pdf_loader_mode"] != "single",
            tokenizer=config["rag.tokenizer_model"].strip() if tokens else "",
        )

    @property
    def signature(self) -> str:
        """What a document's pieces depend on besides its text: another signature, other pieces."""
        unit = f"tokens {self.tokenizer or 'estimated'}" if self.tokens else "characters"
        cut_at = "+".join(name for name, on in (("sections", self.sections), ("pages", self.pages)) if on)
        return f"{VERSION}:{self.size}/{self.overlap}/{self.min_size} {unit} {cut_at}"


class _Section(NamedTuple):
    start: int
    headings: tuple[str, ...]


def split(parsed: Parsed, name: str, how: Splitting, token_ends: "array[int] | None" = None) -> list[Piece]:
    """The pieces of a document in their order; none of them is blank. In linear time.

    name: of its file, which tells code from prose. token_ends: where each token of its text ends, by `how.tokenizer`; without
    them tokens are estimated. Raises ParseError for more than `MAX_PIECES`.
    """
    text = parsed.text
    sections = list(_sections(text)) if parsed.markdown else [_Section(0, ())]
    starts = [section.start for section in sections]
    bounds = {0, len(text)}
    if how.sections:
        bounds.update(starts)
    if how.pages:
        bounds.update(page for page in parsed.pages if 0 < page < len(text))
    measure = _Tokens(text, token_ends) if how.tokens else _Characters()
    ends = _CODE if not parsed.markdown and kind_of(b"", name, "") == "code" else _PROSE
    pieces: list[Piece] = []
    for start, end in _joined(sorted(bounds), measure, how):
        for first, last in _cut(text, start, end, measure, how, ends):
            page = max(bisect_right(parsed.pages, first), 1) if parsed.pages else None
            headings = sections[max(bisect_right(starts, first) - 1, 0)].headings
            pieces.append(Piece(text[first:last], first, last, page, headings))
            if len(pieces) > MAX_PIECES:
                raise ParseError(
                    f"'{name}' has more than {MAX_PIECES:,} pieces of text. Split it into smaller files, or raise the chunk"
                    " size in the settings of documents."
                )
    return pieces


class _Characters:
    """Lengths in characters."""

    def length(self, start: int, end: int) -> int:
        return end - start

    def after(self, start: int, size: int) -> int:
        """Where so much from `start` on ends."""
        return start + size

    def before(self, end: int, size: int) -> int:
        """Where so much that ends at `end` begins."""
        return end - size


class _Tokens:
    """Lengths in tokens."""

    def __init__(self, text: str, ends: "array[int] | None") -> None:
        self._ends = array("I", (token.end() for token in _TOKEN.finditer(text))) if ends is None else ends
        self._size = len(text)

    def length(self, start: int, end: int) -> int:
        return bisect_right(self._ends, end) - bisect_right(self._ends, start)

    def after(self, start: int, size: int) -> int:
        """Where so many tokens from `start` on end."""
        index = bisect_right(self._ends, start) + size - 1
        return self._ends[index] if index < len(self._ends) else self._size

    def before(self, end: int, size: int) -> int:
        """Where so many tokens that end at `end` begin."""
        index = bisect_left(self._ends, end) - size
        return self._ends[index] if index >= 0 else 0


def _sections(text: str) -> Iterator[_Section]:
    """Where a Markdown text's sections begin, each with its heading. Lines in a fence are no headings."""
    path: list[tuple[int, str]] = []
    yield _Section(0, ())
    fence = ""
    position = 0
    for line in text.split("\n"):
        if line[:4].strip(" ")[:1] in {"`", "~"} and (mark := _FENCE.match(line)):
            if not fence:
                fence = mark[1]
            elif mark[1].startswith(fence) and not line.strip(" " + fence[0]):
                fence = ""
        elif not fence and line[:4].lstrip(" ")[:1] == "#" and (heading := _HEADING.match(line)):
            level = len(heading[1])
            while path and path[-1][0] >= level:
                path.pop()
            path.append((level, (heading[2] or "").strip(" #\t")[:_SHOWN_HEADING]))
            yield _Section(position, tuple(title for _, title in path if title))
        position += len(line) + 1


def _joined(bounds: Sequence[int], measure: _Characters | _Tokens, how: Splitting) -> Iterator[tuple[int, int]]:
    """The stretches between bounds; those shorter than the minimum go with what follows, while that fits."""
    start, end = bounds[0], bounds[0]
    for following, last in pairwise(bounds):
        if end > start and (measure.length(start, end) >= how.min_size or measure.length(start, last) > how.size):
            yield start, end
            start = following
        end = last
    if end > start:
        yield start, end


def _cut(
    text: str, start: int, end: int, measure: _Characters | _Tokens, how: Splitting, ends: Sequence[re.Pattern[str]]
) -> Iterator[tuple[int, int]]:
    """The pieces of one stretch, each without the blank around it."""
    while start < end:
        stop = min(measure.after(start, how.size), end)
        if stop < end:
            # In its first half nothing ends a piece: pieces would be short, and their number not bounded by the text's length.
            # The blank after a piece is none of it.
            stop = _best(text, start + max((stop - start) // 2, 1), stop + text[stop].isspace(), ends)
        first, last = _SPACE.match(text, start, stop).end(), len(text[start:stop].rstrip()) + start  # type: ignore[union-attr]
        if first < last:
            yield first, last
        if stop >= end:
            return
        start = _again(text, start, stop, measure, how)


def _best(text: str, low: int, high: int, ends: Sequence[re.Pattern[str]]) -> int:
    """Where between `low` and `high` a piece ends best."""
    for pattern in ends:
        found = [match.end() for match in pattern.finditer(text, low, high)]
        if found:
            return found[-1]
    return high


def _again(text: str, start: int, stop: int, measure: _Characters | _Tokens, how: Splitting) -> int:
    """Where the piece after one from `start` to `stop` begins: before its end, at a line or a word, never near its start."""
    if not how.overlap:
        return stop
    low = max(measure.before(stop, how.overlap), start + max((stop - start) // 2, 1))
    for mark in ("\n", " "):
        found = text.find(mark, low, stop)
        if found >= 0:
            return found + 1
    return min(low, stop)
