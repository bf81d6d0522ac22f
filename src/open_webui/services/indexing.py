"""Vectors for documents that have none: one job for all of them, whenever an engine, its model or a document is new.

The vectors of another model serve until all documents have new ones; then searches go over to these, and the old ones go. What
has the same text has the same vector, and is not embedded again.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from sqlalchemy.exc import SQLAlchemyError

from open_webui.errors import OuiError
from open_webui.internal.db import Database, UnitOfWork
from open_webui.internal.log import get_logger
from open_webui.jobs.kinds import Every, Kind, Nothing, Retry, Run
from open_webui.jobs.queue import Queue
from open_webui.models import documents, vectors
from open_webui.models.documents import Chunk, passage_hash
from open_webui.models.vectors import EmbeddingModel
from open_webui.retrieval.embedding.base import Embedder
from open_webui.retrieval.vector.base import VectorIndex

log = get_logger(__name__)
KEY: Final = "embed documents"
# Documents that are looked for at once, and chunks that an engine gets at once.
DOCUMENTS: Final = 32
CHUNKS: Final = 256
# How often what is stored outside of the database is compared with what it should be, in seconds.
TIDY_SECONDS: Final = 3_600


class Engines(Protocol):
    """What it needs of retrieval."""

    @property
    def index(self) -> VectorIndex: ...

    def embedder(self) -> Embedder | None:
        """What makes vectors now."""


class LazyEngines:
    """The engines, which are made when the first document asks for them."""

    def __init__(self, engines: Callable[[], Engines]) -> None:
        self._engines = engines

    @property
    def index(self) -> VectorIndex:
        return self._engines().index

    def embedder(self) -> Embedder | None:
        return self._engines().embedder()


class Indexing:
    """One for a process. `enqueue` where a document was stored, and when settings changed."""

    def __init__(self, database: Database, queue: Queue, engines: Engines) -> None:
        self._database = database
        self._queue = queue
        self._engines = engines
        self.kind = Kind(
            name="embed documents",
            payload=Nothing,
            handler=self._embed_all,
            retry=Retry(attempts=8, first=10.0, longest=600.0),
            keep=0,
        )
        self.tidying = Kind(
            name="tidy vectors",
            payload=Nothing,
            handler=self._tidy,
            every=Every(TIDY_SECONDS, phase=1_500),
            retry=Retry(attempts=3),
            time_limit=3_000.0,
        )

    async def at_start(self) -> None:
        """Has documents embedded that an engine of before the start did not get to, or that none was there for."""
        async with self._database.read() as connection:
            is_filled = await documents.is_any(connection)
        if is_filled:
            await self.changed()

    async def changed(self) -> None:
        """The engine may be another now."""
        async with self._database.write() as unit:
            await self.enqueue(unit)

    async def anew(self) -> None:
        """Removes all vectors, and has all documents embedded anew."""
        async with self._database.read() as connection:
            every = await vectors.every(connection)
        for model in every:
            await self._engines.index.remove(self._database, model)
        await self.changed()

    async def enqueue(self, unit: UnitOfWork) -> None:
        """Has what is without vectors embedded, if something is there to do it."""
        if self._engines.embedder() is not None:
            await self._queue.enqueue(unit, self.kind, Nothing(), key=KEY)

    async def _tidy(self, _run: Run, _nothing: Nothing) -> None:
        """Removes vectors that nothing needs, and has those made that are missing, also where a job has given up."""
        async with self._database.read() as connection:
            every = await vectors.every(connection)
        for model in every:
            try:
                await self._engines.index.tidy(self._database, model)
            except OuiError as error:
                log.warning("vectors could not be compared with what should be there", error=error.detail)
        await self.at_start()

    async def _embed_all(self, run: Run, _nothing: Nothing) -> None:
        embedder = self._engines.embedder()
        if embedder is None:
            return
        store = await self._engines.index.store(self._database)
        async with self._database.write() as unit:
            model = await vectors.ensure(unit.connection, embedder.signature, store)
        if model.dimensions is not None:
            await self._engines.index.prepare(self._database, model)
        after = 0
        while True:
            async with self._database.read() as connection:
                numbers = await vectors.missing(connection, model.n, after, DOCUMENTS)
                done, of = await vectors.progress(connection, model.n)
            for n in numbers:
                model = await self._embed(embedder, model, n)
                after = n
            run.progress(min(1.0, done / of) if of else None, f"{done} of {of} documents have vectors.")
            if not numbers and await self._finished(run, model):
                return
            if not numbers:
                # Something was stored meanwhile, or an earlier document is still without: once more from the start.
                after = 0

    async def _embed(self, embedder: Embedder, model: EmbeddingModel, n: int) -> EmbeddingModel:
        """Stores the vectors of one document; gives the model, whose dimensions are known by then."""
        index = self._engines.index
        async with self._database.read() as connection:
            chunks = await documents.chunks_of(connection, n)
        if not chunks:
            return model
        hashes = [passage_hash(chunk.text, chunk.headings) for chunk in chunks]
        known = await index.known(self._database, model, hashes)
        found = dict(known)
        new = {text: chunk for text, chunk in zip(hashes, chunks, strict=True) if text not in known}
        for part in _parts(list(new.items())):
            given = await embedder.embed([chunk.passage for _, chunk in part])
            found.update(zip((text for text, _ in part), given, strict=True))
        length = len(next(iter(found.values()))) // vectors.FLOAT
        if model.dimensions is None:
            async with self._database.write() as unit:
                await vectors.set_dimensions(unit.connection, model.n, length)
                model = await vectors.ensure(unit.connection, model.signature, model.store)
            await index.prepare(self._database, model)
        if model.dimensions != length:
            raise OuiError(
                f"The model gave vectors of {length} numbers, where the earlier ones have {model.dimensions}."
            )
        made = [found[text] for text in hashes]
        await index.send(model, n, made)
        async with self._database.write() as unit:
            if await documents.hold(unit.connection, n):
                await index.put(unit.connection, model, n, made)
        return model

    async def _finished(self, run: Run, model: EmbeddingModel) -> bool:
        """Whether all documents have vectors: searches use them then, those of other models go, and the job is over."""
        async with self._database.write() as unit:
            connection = unit.connection
            await run.hold(unit)
            if await vectors.missing(connection, model.n, limit=1):
                return False
            others: list[EmbeddingModel] = []
            if model.dimensions is not None:
                await vectors.activate(connection, model.n)
                others = [each for each in await vectors.every(connection) if each.n != model.n]
            if not others:
                await run.commit(unit)
                return True
        for other in others:
            log.info("vectors of another model are removed", model=other.signature, store=other.store)
            try:
                await self._engines.index.remove(self._database, other)
            except (OuiError, SQLAlchemyError) as error:
                log.warning("they could not be removed; the next run tries it again", error=str(error))
        async with self._database.write() as unit:
            await run.hold(unit)
            if await vectors.missing(unit.connection, model.n, limit=1):
                return False
            await run.commit(unit)
        return True


def _parts(new: Sequence[tuple[bytes, Chunk]]) -> list[Sequence[tuple[bytes, Chunk]]]:
    return [new[k : k + CHUNKS] for k in range(0, len(new), CHUNKS)]
