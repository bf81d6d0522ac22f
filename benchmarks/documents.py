"""What searching documents costs: CPU of a question over a large knowledge base, over many, and over a few files.

    .venv/bin/python benchmarks/documents.py [--chunks 100000] [--folder /tmp/somewhere]

Texts are words drawn by Zipf's law, vectors lie around 300 centres. The process does nothing else, so that its CPU time is
that of the search, with all threads of it. What is found by vectors is compared with the nearest of all vectors.
"""

import argparse
import asyncio
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# As the server has it; otherwise threads that wait for work are measured.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import numpy as np

from open_webui.config import Config
from open_webui.env import Settings
from open_webui.internal.db import Database, open_database
from open_webui.migrations.runner import migrate
from open_webui.models import documents, tables, users, vectors
from open_webui.models.documents import NewDocument
from open_webui.models.lexical import Frequencies
from open_webui.models.scopes import Scope
from open_webui.principal import Principal
from open_webui.retrieval.search import SearchDeps, Trace, search
from open_webui.retrieval.splitting import Piece
from open_webui.retrieval.vector.packed import PackedIndex

DIMENSIONS, VOCABULARY, PER_DOCUMENT, WORDS = 384, 60_000, 5, 140
ME = Principal(id="me", role="user", name="Me", email="me@example.com")
COMMON = ["how", "does", "the", "what", "is", "of", "in", "a"]


class Given:
    """An embedder that gives vectors in their order."""

    signature = "given"

    def __init__(self) -> None:
        self.next: list[bytes] = []

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> list[bytes]:  # noqa: ARG002
        return [self.next.pop(0) for _ in texts]

    async def close(self) -> None:
        pass


def word(n: int) -> str:
    out, n = "", n + 30
    while n:
        out, n = out + "bcdfghjklmnprstvz"[n % 17] + "aeiou"[n % 5], n // 17
    return out


class Corpus:
    """Chunks in knowledge bases: `all` with every file, and twenty parts of it."""

    def __init__(self, chunks: int) -> None:
        self.random = np.random.default_rng(1)
        self.words = COMMON + [word(n) for n in range(VOCABULARY - len(COMMON))]
        share = 1 / np.arange(1, VOCABULARY + 1) ** 1.05
        self.share = share / share.sum()
        centres = self.random.standard_normal((300, DIMENSIONS))
        noise = self.random.standard_normal((chunks, DIMENSIONS)) * 0.9
        self.vectors = (centres[self.random.integers(0, 300, chunks)] + noise).astype("<f4")
        self.vectors /= np.linalg.norm(self.vectors, axis=1, keepdims=True)
        self.documents = chunks // PER_DOCUMENT
        self.rows: list[int] = []
        self.keys: dict[int, str] = {}

    async def fill(self, database: Database) -> None:
        async with database.write() as unit:
            await users.insert(unit.connection, {"id": "me", "email": ME.email, "name": "Me", "role": "user"})
            for base in ["all", *(f"part{n}" for n in range(20))]:
                row = {"id": base, "user_id": "me", "name": base, "description": "", "created_at": 1, "updated_at": 1}
                await unit.connection.execute(tables.knowledge.insert(), row)
            model = await vectors.ensure(unit.connection, Given.signature)
            await vectors.set_dimensions(unit.connection, model.n, DIMENSIONS)
            await vectors.activate(unit.connection, model.n)
            model = await vectors.active(unit.connection)
        for first in range(0, self.documents, 200):
            async with database.write() as unit:
                for n in range(first, min(first + 200, self.documents)):
                    await self._document(unit.connection, model, n)
        async with database.write() as unit:
            for base in ("all", "part0"):
                await documents.changed(unit.connection, [base])

    async def _document(self, connection: Any, model: Any, n: int) -> None:
        file_id = f"{n:08x}-0000-4000-8000-{n:012x}"
        digest = f"{n:064x}"
        blob = {"hash": digest, "size": 1, "mime": "text/plain", "created_at": 1, "touched_at": 1}
        await connection.execute(tables.blob.insert(), blob)
        row = {"id": file_id, "user_id": "me", "filename": f"{n}.md", "blob": digest, "embedded": False, "data": {},
               "meta": {}, "created_at": 1, "updated_at": 1}  # fmt: skip
        await connection.execute(tables.file.insert(), row)
        drawn = self.random.choice(VOCABULARY, size=(PER_DOCUMENT, WORDS), p=self.share)
        texts = [" ".join(self.words[k] for k in line) for line in drawn]
        if n % (self.documents // 30) == 0 and len(self.keys) < 30:
            self.keys[n] = f"ERR_{4711 + n}-X"
            texts[2] += f" see {self.keys[n]} there"
        pieces = [Piece(text, 0, len(text), None, ("Section",)) for text in texts]
        new = NewDocument(name=f"{n}.md", hash=digest, splitting="s", file_id=file_id)
        number = await documents.replace(connection, new, pieces)
        mine = range(n * PER_DOCUMENT, (n + 1) * PER_DOCUMENT)
        await vectors.put(connection, model.n, number, b"".join(self.vectors[k].tobytes() for k in mine))
        self.rows += [number << 16 | k for k in range(PER_DOCUMENT)]
        for base in ("all", f"part{n * 20 // self.documents}"):
            held = {"id": f"{base}/{n}", "knowledge_id": base, "file_id": file_id, "created_at": 1, "updated_at": 1}
            await connection.execute(tables.knowledge_file.insert(), held)

    def question(self, n: int) -> str:
        """Eight common words and some that chunks have, as people ask."""
        random = np.random.default_rng(n)
        drawn = random.choice(VOCABULARY, size=40, p=self.share)
        rare = [self.words[k] for k in drawn if k > 30][:5]
        return " ".join(random.permutation([*COMMON, *rare]))

    def asked(self, n: int) -> Any:
        random = np.random.default_rng(n)
        near = self.vectors[random.integers(0, len(self.vectors))] + random.standard_normal(DIMENSIONS) * 0.03
        return (near / np.linalg.norm(near)).astype("<f4")


async def measure(corpus: Corpus, database: Database, scope: Scope, name: str, count: int) -> None:
    given, index = Given(), PackedIndex()
    deps = SearchDeps(
        database=database,
        config=Config({"ENABLE_RAG_HYBRID_SEARCH": "true"}),
        index=index,
        embedder=lambda _signature: given,
        reranker=lambda: None,
        frequencies=Frequencies(),
    )
    times, missed, first = [], 0, 0.0
    numbers = np.array(corpus.rows)
    files = {n for n in range(corpus.documents) if not scope.files or f"{n:08x}-0000-4000-8000-{n:012x}" in scope.files}
    inside = np.array([k for k in range(len(numbers)) if k // PER_DOCUMENT in files])
    for n in range(count):
        vector = corpus.asked(n)
        given.next = [vector.tobytes()]
        trace, question = Trace(), corpus.question(n)
        began = time.process_time()
        await search(deps, ME, [question], scope, limit=10, trace=trace)
        spent = (time.process_time() - began) * 1000
        if n == 0:
            first = spent
        else:
            times.append(spent)
        nearest = set(numbers[inside[np.argsort(-(corpus.vectors[inside] @ vector), kind="stable")[:10]]].tolist())
        stage = next(stage for stage in trace.stages if stage.name == "vectors")
        missed += len(nearest - {chunk for chunk, _ in stage.chunks[:10]})
    times.sort()
    kept = sum(copy.size for copy in index._copies.values()) / 2**20  # noqa: SLF001
    print(
        f"{name}: CPU ms p50 {times[len(times) // 2]:.1f}, p95 {times[int(len(times) * 0.95)]:.1f}, max {times[-1]:.1f},"
        f" the first {first:.0f}; recall@10 of vectors {1 - missed / 10 / count:.4f}; kept {kept:.1f} MB"
    )


async def keys(corpus: Corpus, database: Database) -> None:
    given = Given()
    deps = SearchDeps(
        database=database,
        config=Config({"ENABLE_RAG_HYBRID_SEARCH": "true"}),
        index=PackedIndex(),
        embedder=lambda _signature: given,
        reranker=lambda: None,
        frequencies=Frequencies(),
    )
    found = 0
    for n, key in corpus.keys.items():
        given.next = [corpus.asked(n).tobytes()]
        got = await search(deps, ME, [f"what is {key} {corpus.question(n)}"], Scope(knowledge=("all",)), limit=3)
        found += any(key in each.text for each in got)
    print(f"a key named in the question: found {found} of {len(corpus.keys)}")


async def main(chunks: int, folder: Path) -> None:
    settings = Settings(_env_file=None, data_dir=folder, webui_secret_key="x" * 32)
    await migrate(settings)
    database = open_database(settings)
    corpus = Corpus(chunks)
    began = time.process_time()
    await corpus.fill(database)
    print(
        f"{chunks} chunks stored in {time.process_time() - began:.0f} s CPU, {(folder / 'webui.db').stat().st_size >> 20} MB"
    )
    few = tuple(f"{n:08x}-0000-4000-8000-{n:012x}" for n in range(100))
    await measure(corpus, database, Scope(files=few), "500 chunks of 100 files", 100)
    await measure(corpus, database, Scope(knowledge=("all",)), f"{chunks} chunks of one base", 100)
    await measure(
        corpus, database, Scope(knowledge=tuple(f"part{n}" for n in range(20))), f"20 bases of {chunks // 20}", 100
    )
    await keys(corpus, database)
    print(
        f"the most memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MB (with the corpus)"
    )
    await database.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--folder", type=Path)
    given_ = parser.parse_args()
    place = given_.folder or Path(tempfile.mkdtemp(prefix="oui-documents-"))
    try:
        asyncio.run(main(given_.chunks, place))
    finally:
        if given_.folder is None:
            shutil.rmtree(place, ignore_errors=True)
