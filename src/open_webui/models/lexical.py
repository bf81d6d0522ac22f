"""Chunks that hold the words of a question: FTS5 on SQLite, tsvector on PostgreSQL.

What a question costs has a bound, however long it is and however many chunks there are: words are counted up to a limit, and
of those that many chunks have, only as many are looked for as the bound allows, the rarest first. What goes into a query is
letters and digits only, so that nothing typed is ever its syntax.
"""

import itertools
import math
import re
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui import constants
from open_webui.internal.prepared import Prepared
from open_webui.models.base import ByDialect, clean, json_list
from open_webui.models.scopes import Reach
from open_webui.utils import accents, bigrams

BITS: Final = constants.CHUNK_BITS
# Of a question: characters that are looked at, words that are counted, words that are looked for in few documents.
MAX_CHARS: Final = 20_000
MAX_COUNTED: Final = 32
MAX_TERMS: Final = 24
# A word that so many chunks have is frequent: it is looked for only where there is nothing else.
FREQUENT: Final = 5_000
# Of all chunks: a word that more of them have is looked for only where there is nothing else, too.
COMMON: Final = 0.15
# Chunks that are ranked for a question.
MOST: Final = 4_000
# A key is a word that so many chunks have at most.
RARE: Final = 20
# Runs of documents in the index; documents lie close together where fewer others than this are between them.
MOST_RUNS: Final = 16
CLOSE: Final = 64
# Seconds for which a word stays frequent, and how many such words are remembered.
REMEMBERED: Final = 600.0
MOST_REMEMBERED: Final = 4_096
# English words that say nothing of what is asked for. PostgreSQL's dictionary leaves them out as well.
_LITTLE: Final = frozenset(
    "a about an and any are as at be been but by can could did do does for from had has have he her his how i if in into is"
    " it its me my no nor not of on or our she should so some than that the their them then there these they this those to"
    " was we were what when where which who whom why will with would you your".split()
)
_PART: Final = re.compile(r"[^\W_]+")
_VERSION: Final = re.compile(r"(v?)(\d+( \d+)+.*)")
_BEFORE: Final = tuple("$@#./-~")
_AFTER: Final = tuple("+#")
# Keys of a question whose words many chunks have, so that the chunks with the signs as well are looked for among them.
MOST_LOOKED_FOR: Final = 2
MOST_LOOKED_AT: Final = 2_000
_AROUND: Final = "\"'`´’‘“”„«»()[]{}<>,.;:!?…*|"


class Term(msgspec.Struct, frozen=True):
    """A word of a question, or a run of words without blanks (`ERR_4711-X`), in lower case and without accents.

    words: its letters and digits, parted by blanks. literal: as typed, where signs belong to it. is_key: it looks like a
    name of something: an identifier, a number, a product.
    """

    words: str
    literal: str | None = None
    is_key: bool = False


class Candidates(msgspec.Struct, frozen=True):
    """Chunks that may answer a question, the likeliest first. weights: of each word that was used, how much it tells
    (its inverse document frequency). keys: the terms that few chunks have.
    """

    numbers: list[int]
    weights: dict[str, float]
    keys: tuple[Term, ...] = ()


NONE: Final = Candidates([], {})


def terms(text: str) -> list[Term]:
    """The terms of a question, each once; those that look like names first, then the long before the short."""
    plain = clean(text[:MAX_CHARS])
    found: dict[str, Term] = {}
    for token in (bigrams.spaced(plain) if bigrams.has_runs(plain) else plain).split():
        for term in _of_token(token.rstrip(_AROUND).lstrip(_AROUND.replace(".", ""))):
            known = found.get(term.words)
            if known is None or (term.is_key and not known.is_key):
                found[term.words] = term
    return sorted(found.values(), key=lambda term: (not term.is_key, -len(term.words)))


def _of_token(token: str) -> list[Term]:
    plain = accents.bare(token)
    parts = _PART.findall(plain)
    if not parts:
        return []
    is_named = any(c.isdigit() for c in plain) or any(c.isupper() for c in token[1:])
    if len(parts) == 1:
        has_signs = plain.startswith(_BEFORE) or plain.endswith(_AFTER)
        return [Term(parts[0], plain if has_signs else None, is_key=is_named or has_signs)]
    alone = [Term(part, is_key=len(part) > 3 and any(c.isdigit() for c in part)) for part in parts if len(part) > 1]
    if "'" in token or "’" in token:
        return alone
    run = " ".join(parts)
    out = [Term(run, plain, is_key=True), *alone]
    if version := _VERSION.fullmatch(run):
        # 2.4.1 and v2.4.1 are one version, and other words for the index.
        out.append(Term(version[2] if version[1] else f"v{run}", is_key=True))
    return out


class Frequencies:
    """In how many chunks words are. Frequent ones are remembered for a while, since it is they that cost to count."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._frequent: OrderedDict[str, float] = OrderedDict()
        self._total = (0.0, 0)

    async def of(self, connection: AsyncConnection, wanted: Sequence[Term]) -> dict[str, int]:
        """How many chunks have each of these terms; FREQUENT where it is so many or more."""
        at = self._clock()
        known = {term.words: FREQUENT for term in wanted if self._frequent.get(term.words, 0.0) > at}
        unknown = [term.words for term in wanted if term.words not in known]
        if unknown:
            rows = await _of(connection, "count").all(
                connection, {"terms": _texts(connection, unknown), "most": FREQUENT}
            )
            for index, count in rows:
                known[unknown[int(index)]] = count
                if count >= FREQUENT:
                    self._frequent[unknown[int(index)]] = at + REMEMBERED
            while len(self._frequent) > MOST_REMEMBERED:
                self._frequent.popitem(last=False)
        return known

    async def total(self, connection: AsyncConnection) -> int:
        """How many chunks there are, or were some minutes ago."""
        until, total = self._total
        if until <= self._clock():
            total = await _count_of_all(connection)
            self._total = self._clock() + (REMEMBERED if total > FREQUENT else 0.0), total
        return total


async def _count_of_all(connection: AsyncConnection) -> int:
    """How many chunks there are, without reading them. PostgreSQL knows roughly; where it knows of few, these are counted.

    SQLite's index of words begins with its size: the first number of its record 1, seven bits a byte, the highest ones first.
    """
    if connection.dialect.name == "postgresql":
        guessed = await connection.scalar(sa.text("SELECT reltuples FROM pg_class WHERE oid = 'chunk'::regclass"))
        if guessed is not None and guessed > FREQUENT:
            return int(guessed)
        counted = f"SELECT count(*) FROM (SELECT 1 FROM chunk LIMIT {FREQUENT}) found"  # noqa: S608 - a number
        return int(await connection.scalar(sa.text(counted)) or 0)
    record = await connection.scalar(sa.text("SELECT block FROM chunk_fts_data WHERE id = 1"))
    total = 0
    for byte in record or b"":
        total = total << 7 | byte & 0x7F
        if byte < 0x80:
            break
    return total


async def candidates(
    connection: AsyncConnection, reach: Reach, question: Sequence[Term], frequencies: Frequencies, limit: int
) -> Candidates:
    """Chunks of what is reached that have words of a question, at most `limit`."""
    if not question or reach.is_empty:
        return NONE
    question = [term for term in question if term.is_key or term.words not in _LITTLE] or question
    if reach.few is not None:
        return await _in_few(connection, reach.few, question[:MAX_TERMS], limit)
    return await _in_many(connection, reach, question[:MAX_COUNTED], frequencies, limit)


# Few documents: the places of each word in them are read, and weighed here.


async def _in_few(connection: AsyncConnection, few: dict[int, int], question: Sequence[Term], limit: int) -> Candidates:
    total = sum(few.values())
    # What so many of them have tells little.
    many = max(limit, total // 3)
    wanted: dict[str, Any] = {
        "terms": _texts(connection, [term.words for term in question]),
        "documents": list(few),
        "most": many,
    }
    if connection.dialect.name == "sqlite":
        wanted["runs"] = json_list([first << BITS, (last + 1 << BITS) - 1] for first, last in _runs(sorted(few)))
    holders = _decoded(await _of(connection, "few").all(connection, wanted))
    if all(len(numbers) in {0, many} for numbers in holders.values()):
        holders = _decoded(await _of(connection, "few").all(connection, wanted | {"most": total}))
        many = total + 1
    counts = {question[k].words: len(numbers) for k, numbers in holders.items() if numbers}
    weights = {words: weight_of(count, total) for words, count in counts.items()}
    scores: defaultdict[int, float] = defaultdict(float)
    for k, numbers in holders.items():
        for n in numbers if len(numbers) < many else ():
            scores[n] += weights[question[k].words]
    best = sorted(scores, key=lambda n: (-scores[n], n))[:limit]
    found = Candidates(best, weights)
    return await _with_keys(connection, Reach({}, few, few), found, question, counts, max(3, total // 20))


def _decoded(rows: Sequence[Sequence[Any]]) -> dict[int, list[int]]:
    return {int(index): msgspec.json.decode(numbers or "[]") for index, numbers in rows}


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """First and last of runs of documents that lie close together, at most MOST_RUNS."""
    gaps = sorted((b - a for a, b in itertools.pairwise(numbers)), reverse=True)
    close = max(CLOSE, gaps[MOST_RUNS - 1] if len(gaps) >= MOST_RUNS else 0)
    runs: list[tuple[int, int]] = []
    for n in numbers:
        if runs and n - runs[-1][1] <= close:
            runs[-1] = (runs[-1][0], n)
        else:
            runs.append((n, n))
    return runs


# Many documents: the rarest words are looked for, as many as the bound allows.


async def _in_many(
    connection: AsyncConnection, reach: Reach, question: Sequence[Term], frequencies: Frequencies, limit: int
) -> Candidates:
    counts = await frequencies.of(connection, question)
    total = await frequencies.total(connection)
    ranked = sorted((term for term in question if counts[term.words]), key=lambda term: counts[term.words])
    chosen: list[Term] = []
    left = MOST
    for term in ranked:
        if counts[term.words] <= min(left, FREQUENT - 1, max(limit, total * COMMON)):
            chosen.append(term)
            left -= counts[term.words]
    weights = {term.words: weight_of(counts[term.words], total) for term in ranked}
    found = await _matching(connection, reach, chosen, limit)
    rest = [term for term in ranked if term not in chosen]
    if not found and rest:
        found = await _matching(connection, reach, rest[:1], limit)
    return await _with_keys(connection, reach, Candidates(found, weights), ranked, counts, RARE)


async def _with_keys(
    connection: AsyncConnection,
    reach: Reach,
    found: Candidates,
    question: Sequence[Term],
    counts: dict[str, int],
    rare: int,
) -> Candidates:
    """Candidates with the keys of the question. Where many chunks have the words of one, those with its signs go first."""
    keys = [term for term in question if term.is_key and counts.get(term.words, 0)]
    frequent = [term for term in keys if counts[term.words] > rare and term.literal is not None][:MOST_LOOKED_FOR]
    first = [n for term in frequent for n in await _with_signs(connection, reach, term)]
    told = [term for term in keys if counts[term.words] <= rare or term in frequent]
    return Candidates(list(dict.fromkeys([*first, *found.numbers])), found.weights, tuple(told))


def weight_of(count: int, total: int) -> float:
    """How much a word tells that so many of all chunks have."""
    return math.log(1 + (max(total, count) - count + 0.5) / (count + 0.5))


async def _matching(connection: AsyncConnection, reach: Reach, chosen: Sequence[Term], limit: int) -> list[int]:
    if not chosen:
        return []
    texts = [term.words for term in chosen]
    match = (
        " | ".join(map(_tsquery, texts)) if connection.dialect.name == "postgresql" else " OR ".join(map(_fts5, texts))
    )
    values = _where(reach) | {"match": match, "most": MOST, "limit": limit}
    return [row[0] for row in await _of(connection, "many").all(connection, values)]


async def _with_signs(connection: AsyncConnection, reach: Reach, term: Term) -> list[int]:
    """Chunks with a word and its signs, among the first that have the word."""
    [match] = _texts(connection, [term.words])
    values = _where(reach) | {"match": match, "most": MOST_LOOKED_AT, "limit": RARE, "literal": term.literal}
    return [row[0] for row in await _of(connection, "signs").all(connection, values)]


def _where(reach: Reach) -> dict[str, Any]:
    return {"bases": list(reach.knowledge), "documents": list(reach.documents)}


def _fts5(words: str) -> str:
    return f'"{words}"'


def _tsquery(words: str) -> str:
    return " <-> ".join(f"'{word}'" for word in words.split())


def _texts(connection: AsyncConnection, texts: Sequence[str]) -> list[str]:
    """Queries for these words."""
    return [(_tsquery if connection.dialect.name == "postgresql" else _fts5)(words) for words in texts]


# The base of a chunk is found by its file, which few bases hold, and not by trying all that are asked for: `+` says so to
# SQLite, and the scalar subquery to PostgreSQL, which would list all chunks of an EXISTS that stands beside an OR.
_WITHIN: Final = {
    "sqlite": """(EXISTS (
    SELECT 1 FROM document d JOIN knowledge_file k ON k.file_id = d.file_id
    WHERE d.n = chunk_fts.rowid >> <bits> AND +k.knowledge_id IN <texts bases>)
  OR chunk_fts.rowid >> <bits> IN <numbers documents>)""",
    "postgresql": """(c.document_n IN <numbers documents> OR (
    SELECT true FROM document d JOIN knowledge_file k ON k.file_id = d.file_id
    WHERE d.n = c.document_n AND k.knowledge_id IN <texts bases> LIMIT 1))""",
}
_STATEMENTS: Final[dict[str, dict[str, str]]] = {
    "count": {
        "sqlite": """
SELECT w.key, (SELECT count(*) FROM (SELECT 1 FROM chunk_fts WHERE chunk_fts MATCH w.value LIMIT :most))
FROM <each terms> w""",
        "postgresql": """
SELECT w.n - 1, (SELECT count(*) FROM (
    SELECT 1 FROM chunk WHERE search @@ to_tsquery('english', w.match) LIMIT CAST(:most AS bigint)) found)
FROM <each terms> w (match, n)""",
    },
    "few": {
        "sqlite": """
SELECT w.key, (SELECT json_group_array(n) FROM (
    SELECT f.rowid AS n FROM json_each(:runs) r CROSS JOIN chunk_fts f
    WHERE f.chunk_fts MATCH w.value AND f.rowid >= json_extract(r.value, '$[0]')
        AND f.rowid <= json_extract(r.value, '$[1]') AND f.rowid >> <bits> IN <numbers documents>
    LIMIT :most))
FROM <each terms> w""",
        "postgresql": """
SELECT w.n - 1, (SELECT CAST(json_agg(holding.n) AS text) FROM (
    SELECT c.n FROM chunk c WHERE c.search @@ to_tsquery('english', w.match) AND c.document_n IN <numbers documents>
    LIMIT CAST(:most AS bigint)) AS holding)
FROM <each terms> w (match, n)""",
    },
    "many": {
        "sqlite": """
SELECT n FROM (SELECT rowid AS n, bm25(chunk_fts, 2.0, 1.0) AS score FROM chunk_fts
    WHERE chunk_fts MATCH :match AND <within> LIMIT :most)
ORDER BY score, n LIMIT :limit""",
        "postgresql": """
SELECT n FROM (SELECT c.n, ts_rank(c.search, to_tsquery('english', :match), 1) AS score FROM chunk c
    WHERE c.search @@ to_tsquery('english', :match) AND <within> LIMIT CAST(:most AS bigint)) found
ORDER BY score DESC, n LIMIT CAST(:limit AS bigint)""",
    },
    "signs": {
        "sqlite": """
SELECT c.n FROM (SELECT rowid AS n FROM chunk_fts WHERE chunk_fts MATCH :match AND <within> LIMIT :most) f
JOIN chunk c ON c.n = f.n WHERE instr(lower(c.title || ' ' || c.text), :literal) > 0 LIMIT :limit""",
        "postgresql": """
SELECT n FROM (SELECT c.n, c.title || ' ' || c.text AS text FROM chunk c
    WHERE c.search @@ to_tsquery('english', :match) AND <within> LIMIT CAST(:most AS bigint)) found
WHERE strpos(lower(text), :literal) > 0 LIMIT CAST(:limit AS bigint)""",
    },
}


def _prepared(words: dict[str, str]) -> ByDialect:
    texts = {name: sql.replace("<within>", _WITHIN[name]).replace("<bits>", str(BITS)) for name, sql in words.items()}
    return ByDialect(texts["sqlite"], postgresql=texts["postgresql"])


_prepared_statements: Final = {what: _prepared(words) for what, words in _STATEMENTS.items()}


def _of(connection: AsyncConnection, what: str) -> Prepared:
    return _prepared_statements[what].of(connection)


# What orders candidates in the end: the same on both databases.

_K1, _B, _IN_TITLE = 1.2, 0.5, 2
# Where a title ends: no word goes on behind it.
_END: Final = "\0"
_ENDINGS: Final = ("ations", "ation", "ings", "ing", "ies", "ied", "ed", "es", "ly", "er", "s", "y", "e")


def stem(word: str) -> str:
    """The beginning of a word that its forms share, roughly."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word.removesuffix(ending)
    return word


def scores(texts: Sequence[tuple[str, str]], weights: dict[str, float]) -> list[tuple[float, float]]:
    """Of each (title, text) two numbers, by how often they hold the beginnings of the weighed words: BM25 among the texts,
    and which part of the weights it has, from 0 to 1.
    """
    # A word in the title counts as often as in as many texts: one look through each is enough.
    plain = [accents.bare(f"{f' {title}{_END}' * _IN_TITLE} {text}") for title, text in texts]
    average = sum(len(text) for _, text in texts) / max(1, len(texts)) or 1.0
    needles = [(f" {stem(words)}" if len(words) < 4 else stem(words), weight) for words, weight in weights.items()]
    every = sum(weight for _, weight in needles) or 1.0
    out = []
    for (_, text), said in zip(texts, plain, strict=True):
        length = _K1 * (1 - _B + _B * len(text) / average)
        score = share = 0.0
        for needle, weight in needles:
            if often := said.count(needle):
                score += weight * often * (_K1 + 1) / (often + length)
                share += weight
        out.append((score, share / every))
    return out


def keys_in(text: str, words: Candidates) -> float:
    """The weights of the keys that a text has as they were typed, all together."""
    plain = accents.bare(text)
    return sum(words.weights.get(key.words, 0.0) for key in words.keys if _has(plain, key.literal or key.words))


def _has(text: str, key: str) -> bool:
    """Whether it stands there by itself, and not as a part of a longer word."""
    if key not in text:
        return False
    ends = r"(?![^\W_])" if key[-1].isalnum() else ""
    return re.search(rf"(?<![^\W_]){re.escape(key)}{ends}", text) is not None
