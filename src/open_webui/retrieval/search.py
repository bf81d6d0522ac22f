"""From questions to the chunks that may answer them: by words and by vectors, fused, and ranked anew where there is a reranker.

Who asks finds what he may read, and nothing else: the ids in a scope are looked up together with the right to them, before
anything is looked for, and once more in the snapshot of the database that the chunks are read from.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

import msgspec

from open_webui.config import Config
from open_webui.errors import OuiError
from open_webui.internal.db import Database
from open_webui.internal.log import get_logger
from open_webui.models import lexical, scopes, vectors
from open_webui.models.base import decode_json
from open_webui.models.documents import passage
from open_webui.models.lexical import Candidates, Frequencies
from open_webui.models.scopes import Reach, Row, Scope
from open_webui.models.vectors import EmbeddingModel
from open_webui.principal import Principal
from open_webui.retrieval.embedding.base import Embedder
from open_webui.retrieval.vector.base import Hit, VectorIndex

log = get_logger(__name__)
# Candidates of each kind for a question, and for each chunk that is wanted in the end.
DEPTH: Final = 50
DEPTH_FOR_EACH: Final = 4
# Chunks that a reranker looks at, for each that is wanted.
RERANKED_FOR_EACH: Final = 5
MOST_RERANKED: Final = 50
MOST_QUERIES: Final = 8
# How often is looked, where documents are made anew meanwhile, one after the other; and where there are so many of them that it
# is not known whether any was.
TRIES: Final = 10
TRIES_OF_MANY: Final = 3


class Reranker(Protocol):
    async def score(self, query: str, texts: Sequence[str]) -> list[float]: ...


class SearchDeps(msgspec.Struct, frozen=True):
    """What a search needs. embedder: what makes vectors like those of a signature, if there is something. reranker: None
    where none is chosen.
    """

    database: Database
    config: Config
    index: VectorIndex
    embedder: Callable[[str], Embedder | None]
    reranker: Callable[[], Reranker | None]
    frequencies: Frequencies


class Found(msgspec.Struct, frozen=True):
    """A chunk that was found. page: from 1. start, end: characters of the document's text. collection: of what is of no file.
    memory_id: of what is a memory.

    score: how well it answers, from 0 to 1: what the reranker says; without one the larger of the cosine and the part of
    the question's words that the chunk has, the rare ones counting more. stages: the score in each stage that saw it.
    """

    chunk_n: int
    text: str
    document_n: int
    file_id: str | None
    collection: str | None
    name: str
    url: str | None
    page: int | None
    headings: tuple[str, ...]
    start: int
    end: int
    score: float
    stages: dict[str, float]
    meta: dict[str, Any]
    memory_id: str | None = None


class Stage(msgspec.Struct):
    """A stage of a search: how long it took (in ms), and the chunks it gave with their scores, the best first."""

    name: str
    ms: float
    chunks: list[tuple[int, float]] = []


class Trace(msgspec.Struct):
    """How a search came to its result. notes: sentences on what could not be done, for administrators.

    read: the chunks of the stages that who asks may read; others were gone, or closed to him, when they were looked up.
    """

    queries: list[str] = []
    stages: list[Stage] = []
    notes: list[str] = []
    read: dict[int, Row] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        began = time.perf_counter()
        stage = Stage(name, 0.0)
        self.stages.append(stage)
        try:
            yield stage
        finally:
            stage.ms = round((time.perf_counter() - began) * 1000, 3)


class _Ranked(msgspec.Struct, frozen=True):
    """A chunk that was read, with its score and that of each stage."""

    row: Row
    score: float
    stages: dict[str, float]

    def found(self) -> Found:
        row, meta = self.row, decode_json(self.row.meta)
        return Found(
            chunk_n=row.chunk_n,
            text=row.text,
            document_n=row.document_n,
            file_id=row.file_id,
            collection=row.collection,
            name=row.name,
            url=row.url,
            page=row.page,
            headings=row.headings,
            start=row.start,
            end=row.end,
            score=self.score,
            stages=self.stages,
            meta=meta if isinstance(meta, dict) else {},
            memory_id=row.memory_id,
        )


class _Looked(msgspec.Struct):
    """What was found for one question, before it is read."""

    words: Candidates = lexical.NONE
    near: list[Hit] = []


async def search(
    deps: SearchDeps,
    principal: Principal,
    queries: Sequence[str],
    scope: Scope,
    *,
    limit: int | None = None,
    trace: Trace | None = None,
) -> list[Found]:
    """The chunks of a scope that answer the questions best, the best first. The first question is the person's own.

    limit: how many at most; by the settings otherwise (`rag.top_k`, `rag.top_k_reranker` where there is a reranker).
    """
    trace = trace if trace is not None else Trace()
    asked = [query for query in dict.fromkeys(q.strip() for q in queries) if query][:MOST_QUERIES]
    trace.queries = asked
    reranker = deps.reranker()
    wanted = limit if limit is not None else deps.config["rag.top_k" if reranker is None else "rag.top_k_reranker"]
    if not asked or wanted < 1:
        return []
    async with deps.database.look() as connection:
        reach = await scopes.resolve(connection, principal, scope)
        model = await vectors.active(connection)
    for number in range(1, TRIES + 1):
        if reach.is_empty:
            return []
        trace.stages, trace.notes = [], []
        before = reach
        looked = await _look(deps, asked, model, before, max(DEPTH, DEPTH_FOR_EACH * wanted), trace)
        reach, rows = await _read(deps, principal, scope, looked)
        # A document that was made anew meanwhile has other chunks than those that were found.
        if not (
            _lost(before, reach, looked, rows) or (before.few is None and before != reach and number < TRIES_OF_MANY)
        ):
            break
    trace.read = rows
    ranked = _rank(deps.config, looked, rows, trace)
    if reranker is not None:
        ranked = await _rerank(reranker, asked[0], ranked, wanted, trace)
    threshold = deps.config["rag.relevance_threshold"]
    found = [each for each in ranked if each.score >= threshold] if threshold > 0 else ranked
    return [each.found() for each in _spread(found, wanted)]


def _lost(before: Reach, now: Reach, looked: Sequence[_Looked], rows: dict[int, Row]) -> bool:
    """Whether documents in which was looked are not there any more, or what was found in them is not."""
    if before.few is not None and now.few is not None:
        return not before.few.keys() <= now.few.keys()
    return any(n not in rows for each in looked for n in each.words.numbers)


# Looking


async def _look(
    deps: SearchDeps, asked: Sequence[str], model: EmbeddingModel | None, reach: Reach, depth: int, trace: Trace
) -> list[_Looked]:
    """By words and by vectors at the same time."""
    by_vectors = asyncio.ensure_future(_by_vectors(deps, asked, model, reach, depth, trace))
    try:
        is_hybrid = deps.config["rag.enable_hybrid_search"] and deps.config["rag.hybrid_bm25_weight"] > 0
        words = await _by_words(deps, asked, reach, depth, trace) if is_hybrid else None
        near = await by_vectors
    finally:
        by_vectors.cancel()
    if words is None:
        words = [lexical.NONE] * len(asked) if near is not None else None
    if words is None:
        words = await _by_words(deps, asked, reach, depth, trace)
    return [_Looked(w, n) for w, n in zip(words, near or [[]] * len(asked), strict=True)]


async def _by_words(deps: SearchDeps, asked: Sequence[str], reach: Reach, depth: int, trace: Trace) -> list[Candidates]:
    with trace.stage("words"):
        # What is found is read once more in the end: these statements need not see the same state.
        async with deps.database.look() as connection:
            return [
                await lexical.candidates(connection, reach, lexical.terms(query), deps.frequencies, depth)
                for query in asked
            ]


async def _by_vectors(
    deps: SearchDeps, asked: Sequence[str], model: EmbeddingModel | None, reach: Reach, depth: int, trace: Trace
) -> list[list[Hit]] | None:
    """None where there are no vectors, or where nothing makes one of a question."""
    if model is None:
        trace.notes.append("Nothing has been embedded: only words were searched.")
        return None
    embedder = deps.embedder(model.signature)
    if embedder is None:
        trace.notes.append(
            f"There is no engine for the vectors that are stored ({model.signature}): only words were searched."
        )
        return None
    try:
        with trace.stage("embed"):
            questions = await embedder.embed(asked, query=True)
    except OuiError as error:
        log.warning("a question was not embedded", error=str(error))
        trace.notes.append(f"The question was not embedded: {error.detail} Only words were searched.")
        return None
    try:
        with trace.stage("vectors") as stage:
            near = [await deps.index.search(deps.database, model, question, reach, depth) for question in questions]
            stage.chunks = [(hit.chunk_n, hit.score) for hit in near[0]]
    except OuiError as error:
        log.warning("vectors were not searched", error=str(error))
        trace.notes.append(f"{error.detail} Only words were searched.")
        return None
    return near


async def _read(
    deps: SearchDeps, principal: Principal, scope: Scope, looked: Sequence[_Looked]
) -> tuple[Reach, dict[int, Row]]:
    """What was found, as far as the principal may still read it, and what he may by now."""
    numbers = {n for each in looked for n in each.words.numbers} | {hit.chunk_n for each in looked for hit in each.near}
    async with deps.database.read() as connection:
        reach = await scopes.resolve(connection, principal, scope)
        rows = await scopes.rows(connection, reach, sorted(numbers))
    if scope.knowledge and any(hit.chunk_n not in rows for each in looked for hit in each.near):
        deps.index.forget(scope.knowledge)
    return reach, rows


# Ranking


def _rank(config: Config, looked: Sequence[_Looked], rows: dict[int, Row], trace: Trace) -> list[_Ranked]:
    """All that was read, by the weighed sum of what words and vectors of each question say, each brought to 0 to 1 before."""
    share = config["rag.hybrid_bm25_weight"] if any(each.near for each in looked) else 1.0
    fused: defaultdict[int, float] = defaultdict(float)
    stages: defaultdict[int, dict[str, float]] = defaultdict(dict)
    relevance: defaultdict[int, float] = defaultdict(float)
    for each in looked:
        near = [(hit.chunk_n, hit.score) for hit in each.near if hit.chunk_n in rows]
        words, keys, shares = _by_weight(each.words, rows)
        # Words that no chunk has more than a few of say little: most of a question in other words than the text's.
        told = max((part for _, part in shares), default=0.0) ** 2
        for name, ranking, least, weight in (
            ("vectors", near, min((score for _, score in near), default=0.0), 1 - share),
            ("words", words, 0.0, share * told),
            ("keys", keys, 0.0, 1.0),
        ):
            best = max((score for _, score in ranking), default=0.0)
            for n, score in ranking:
                fused[n] += weight * ((score - least) / (best - least) if best > least else 1.0)
                stages[n][name] = max(score, stages[n].get(name, score))
        for n, score in [*near, *shares]:
            relevance[n] = max(relevance[n], min(1.0, score))
        if each is looked[0]:
            _note(trace, "words", words)
            _note(trace, "keys", keys)
    order = sorted(fused, key=lambda n: (-fused[n], -relevance[n], n))
    _note(trace, "fused", [(n, fused[n]) for n in order])
    once: dict[tuple[str, tuple[str, ...]], _Ranked] = {}
    for n in order:
        stages[n]["fused"] = fused[n]
        # The same text may be in several files.
        once.setdefault((rows[n].text, rows[n].headings), _Ranked(rows[n], relevance[n], stages[n]))
    return list(once.values())


def _by_weight(
    words: Candidates, rows: dict[int, Row]
) -> tuple[list[tuple[int, float]], list[tuple[int, float]], list[tuple[int, float]]]:
    """Candidates by their words, those with a rare key of the question by these, and which part of the words each has."""
    there = [rows[n] for n in words.numbers if n in rows]
    scored = lexical.scores([(row.title, row.text) for row in there], words.weights)
    by_words = [(row.chunk_n, score) for row, (score, _) in zip(there, scored, strict=True)]
    by_words.sort(key=lambda pair: -pair[1])
    keyed = there if words.keys else ()
    by_keys = [(row.chunk_n, lexical.keys_in(f"{row.title}\n{row.text}", words)) for row in keyed]
    by_keys = sorted((pair for pair in by_keys if pair[1] > 0), key=lambda pair: -pair[1])
    return by_words, by_keys, [(row.chunk_n, share) for row, (_, share) in zip(there, scored, strict=True)]


def _note(trace: Trace, name: str, chunks: list[tuple[int, float]]) -> None:
    stage = next((stage for stage in trace.stages if stage.name == name), None)
    if stage is None:
        trace.stages.append(stage := Stage(name, 0.0))
    stage.chunks = chunks


async def _rerank(reranker: Reranker, query: str, ranked: list[_Ranked], wanted: int, trace: Trace) -> list[_Ranked]:
    """The best of them by what the reranker says of each; as they were where it fails."""
    looked_at = ranked[: min(MOST_RERANKED, max(wanted, RERANKED_FOR_EACH * wanted))]
    try:
        with trace.stage("rerank") as stage:
            scored = await reranker.score(query, [passage(each.row.text, each.row.headings) for each in looked_at])
            pairs = list(zip(looked_at, scored, strict=True))
            stage.chunks = sorted(((each.row.chunk_n, score) for each, score in pairs), key=lambda pair: -pair[1])
    except OuiError as error:
        log.warning("chunks were not ranked anew", error=str(error))
        trace.notes.append(f"The reranker failed: {error.detail}")
        return ranked
    anew = [_Ranked(each.row, score, each.stages | {"rerank": score}) for each, score in pairs]
    return sorted(anew, key=lambda each: -each.score)


def _spread(found: Sequence[_Ranked], wanted: int) -> list[_Ranked]:
    """So many of them; of one document two in three at most, as long as others have something."""
    most = max(2, -(-2 * wanted // 3))
    taken: defaultdict[int, int] = defaultdict(int)
    first: list[_Ranked] = []
    later: list[_Ranked] = []
    for each in found:
        taken[each.row.document_n] += 1
        (first if taken[each.row.document_n] <= most else later).append(each)
    kept = {each.row.chunk_n for each in [*first[:wanted], *later[: max(0, wanted - len(first))]]}
    return [each for each in found if each.row.chunk_n in kept]
