"""How well questions find their passages: a judged set is asked of a server of its own, in a folder that goes afterwards.

What is measured is the whole way: files are read, split, indexed and embedded as the settings say, and searched as chats do.
"""

import asyncio
import math
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from open_webui.env import Settings
from open_webui.errors import OuiError
from open_webui.main import create_app
from open_webui.models import jobs, users, vectors
from open_webui.models.base import new_id
from open_webui.models.documents import chunks_of, of_files
from open_webui.models.files import NewFile
from open_webui.models.scopes import Scope
from open_webui.models.uploads import insert
from open_webui.principal import Principal
from open_webui.retrieval.search import Found, Trace, search
from open_webui.services.indexing import KEY
from open_webui.state import State

DEPTHS: Final = (1, 3, 5, 10)
ME: Final = Principal(id="judge", role="admin", name="Judge", email="judge@example.com")
Tell = Callable[[str], None]


class EvalError(OuiError):
    """It can't be measured; `detail` says why."""

    exit_code = 1


class Passage(msgspec.Struct, frozen=True):
    """Where an answer stands: in the chunks of a document that have the phrase. document: its path in a folder of files."""

    document: str
    phrase: str

    def is_in(self, document: str, text: str) -> bool:
        return document == self.document and flat(self.phrase) in flat(text)


class Question(msgspec.Struct, frozen=True):
    """A line of a judged set. kind: any word, by which the figures are told apart as well."""

    question: str
    answers: tuple[Passage, ...]
    kind: str = ""


class Figures(msgspec.Struct):
    """Means over questions. recall: which part of a question's passages is among the first 1, 3, 5 and 10 chunks. mrr: one
    divided by the place of the first chunk with a passage. ndcg: at 10; a passage counts where it is found first. by_kind:
    nDCG@10 of each kind.
    """

    recall: dict[int, float]
    mrr: float
    ndcg: float
    by_kind: dict[str, float]


class Report(msgspec.Struct):
    """methods: `words`, and what else there is of `vectors`, `hybrid` and `hybrid+rerank`. absent: passages that no chunk has,
    which nobody can find. notes: what could not be done.
    """

    questions: int
    documents: int
    chunks: int
    engine: str | None
    methods: dict[str, Figures]
    absent: list[Passage]
    notes: list[str]

    def as_json(self) -> str:
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode()

    def table(self) -> str:
        head = ["", *(f"recall@{depth}" for depth in DEPTHS), "MRR", "nDCG@10"]
        kinds = sorted({kind for figures in self.methods.values() for kind in figures.by_kind if kind})
        rows = [[*head, *(f"({kind})" for kind in kinds)]]
        for name, figures in self.methods.items():
            numbers = [*figures.recall.values(), figures.mrr, figures.ndcg, *(figures.by_kind[kind] for kind in kinds)]
            rows.append([name, *(f"{number:.3f}" for number in numbers)])
        widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
        lines = [
            f"{self.questions} questions, {self.documents} documents, {self.chunks} chunks, vectors by {self.engine or 'nothing'}"
        ]
        lines += [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
        lines += [f"no chunk has it: {passage.phrase} ({passage.document})" for passage in self.absent]
        return "\n".join([*lines, *self.notes])


def flat(text: str) -> str:
    """With one space where there is any."""
    return " ".join(text.split())


def read_set(path: Path) -> list[Question]:
    """The questions of a file, one a line. Raises EvalError."""
    out: list[Question] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EvalError(f"The judged set {path} can't be read: {error}") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                question = msgspec.json.decode(line, type=Question)
            except msgspec.DecodeError as error:
                raise EvalError(f"Line {number} of {path} is no question with its answers: {error}") from None
            if not question.question.strip() or not all(flat(passage.phrase) for passage in question.answers):
                raise EvalError(f"Line {number} of {path} has an empty question or phrase.")
            if not question.answers:
                raise EvalError(f"Line {number} of {path} has no answers.")
            out.append(question)
    if not out:
        raise EvalError(f"There are no questions in {path}.")
    return out


def files_of(folders: Sequence[Path], questions: Sequence[Question]) -> dict[str, Path]:
    """The files of folders that have an ending which the set names, by their paths there.

    Raises EvalError for a folder that is none, and where the set names a file that isn't there.
    """
    named = {passage.document for question in questions for passage in question.answers}
    endings = {Path(name).suffix for name in named}
    found: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise EvalError(f"{folder} is no folder.")
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.suffix in endings and path.is_file() and not any(part[0] == "." for part in Path(name).parts):
                found.setdefault(name, path)
    if missing := sorted(named - found.keys()):
        raise EvalError(f"The set names documents that are in none of the folders: {', '.join(missing[:5])}.")
    return found


# Measuring


async def evaluate(settings: Settings, path: Path, folders: Sequence[Path], tell: Tell) -> Report:
    """Asks the questions of a set about the files of folders; of the folder of the set where none is given.

    The models are those of the environment's settings and of DATA_DIR. Raises EvalError.
    """
    questions = read_set(path)
    named = files_of(folders or [path.parent], questions)
    async with _server(settings) as state:
        names = {await _add(state, place): name for name, place in named.items()}
        for done, file_id in enumerate(names, 1):
            stored = await state.ingestion.finished(file_id)
            if stored is None or stored.status != "completed":
                why = "it is gone" if stored is None else stored.data.get("error")
                raise EvalError(f"{named[names[file_id]]} could not be read: {why}")
            tell(f"{done} of {len(names)} files read")
        await _embedded(state, tell)
        return await _measure(state, questions, names, tell)


@asynccontextmanager
async def _server(settings: Settings) -> AsyncIterator[State]:
    """A server without a port, on SQLite in a folder of its own, with the models of DATA_DIR."""
    with tempfile.TemporaryDirectory(prefix="oui-rag-eval-") as folder:
        models = settings.data_dir / "models"
        if models.is_dir():
            (Path(folder) / "models").symlink_to(models.resolve(), target_is_directory=True)
        own = {
            "data_dir": Path(folder),
            "database_url": "",
            "redis_url": "",
            "storage_provider": "",
            "uvicorn_workers": 1,
        }
        quiet = {"global_log_level": "WARNING", "main_log_level": "", "log_levels": "", "log_to_file": False}
        app = create_app(settings.model_copy(update=own | quiet))
        async with app.router.lifespan_context(app):
            state: State = app.state.oui
            async with state.database.write() as unit:
                person = {"id": ME.id, "email": ME.email, "name": ME.name, "role": ME.role}
                await users.insert(unit.connection, person)
            yield state


async def _add(state: State, path: Path) -> str:
    """Stores a file, which is read then; gives its id."""
    stored = await state.blobs.put(await asyncio.to_thread(path.read_bytes))
    new = NewFile(new_id(), path.name, stored.hash, stored.size, "application/octet-stream", embedded=False)
    async with state.database.write() as unit:
        await insert(unit.connection, ME.id, new, {"name": path.name, "size": stored.size}, "pending")
        await state.ingestion.enqueue(unit, new.id)
    return new.id


async def _embedded(state: State, tell: Tell) -> None:
    """Waits until all have vectors, where there is an engine. Raises EvalError where it fails."""
    embedder = state.retrieval.embedder()
    if embedder is None:
        return
    store = await state.retrieval.index.store(state.database)
    async with state.database.write() as unit:
        model = await vectors.ensure(unit.connection, embedder.signature, store)
    while True:
        async with state.database.read() as connection:
            done, of = await vectors.progress(connection, model.n)
            job = await jobs.live(connection, KEY)
        tell(f"{done} of {of} documents embedded")
        if done == of and job is None:
            return
        if job is None or job.error is not None:
            raise EvalError(f"The documents could not be embedded: {job.error if job else 'their job is over.'}")
        await asyncio.sleep(0.2)


async def _measure(state: State, questions: Sequence[Question], names: dict[str, str], tell: Tell) -> Report:
    chunks: list[tuple[str, str]] = []
    async with state.database.read() as connection:
        for file_id, document in (await of_files(connection, list(names))).items():
            chunks += [(names[file_id], chunk.text) for chunk in await chunks_of(connection, document.n)]
    every = {passage for question in questions for passage in question.answers}
    here = {passage for passage in every if any(passage.is_in(*chunk) for chunk in chunks)}
    embedder = state.retrieval.embedder()
    reranker = state.retrieval.reranker()
    methods: dict[str, dict[str, Any]] = {"words": {"embedder": lambda _signature: None, "reranker": lambda: None}}
    if embedder is not None:
        methods["vectors"] = {"reranker": lambda: None}
        methods["hybrid"] = {"reranker": lambda: None}
    if reranker is not None:
        methods["hybrid+rerank"] = {}
    figures: dict[str, Figures] = {}
    notes: list[str] = [] if embedder is not None else [f"No vectors: {state.retrieval.problem}"]
    for method, parts in methods.items():
        config = {"rag.enable_hybrid_search": method != "vectors", "rag.relevance_threshold": 0.0}
        deps = msgspec.structs.replace(state.retrieval.search_deps(config), **parts)
        results: list[tuple[Question, list[int]]] = []
        for number, question in enumerate(questions, 1):
            trace = Trace()
            scope = Scope(files=tuple(names))
            found = await search(deps, ME, [question.question], scope, limit=max(DEPTHS), trace=trace)
            if method != "words":
                notes += [note for note in trace.notes if note not in notes]
            results.append((question, _gains(question, found, names)))
            tell(f"{method}: {number} of {len(questions)} questions")
        figures[method] = summed(results)
    signature = None if embedder is None else embedder.signature
    absent = sorted(every - here, key=lambda passage: (passage.document, passage.phrase))
    return Report(len(questions), len(names), len(chunks), signature, figures, absent, notes)


def _gains(question: Question, found: Sequence[Found], names: dict[str, str]) -> list[int]:
    """How many of a question's passages each chunk has that none before it had."""
    left = list(question.answers)
    out: list[int] = []
    for each in found:
        name = names.get(each.file_id or "", "")
        rest = [passage for passage in left if not passage.is_in(name, each.text)]
        out.append(len(left) - len(rest))
        left = rest
    return out


def summed(results: Sequence[tuple[Question, Sequence[int]]]) -> Figures:
    """results: of each question, how many new passages the chunks have, the best chunk first."""
    recall = {
        depth: _mean([sum(gains[:depth]) / len(question.answers) for question, gains in results]) for depth in DEPTHS
    }
    mrr = _mean([next((1 / place for place, gain in enumerate(gains, 1) if gain), 0.0) for _, gains in results])
    scores = [(question.kind, _ndcg(gains, len(question.answers))) for question, gains in results]
    kinds = sorted({kind for kind, _ in scores})
    by_kind = {kind: _mean([score for other, score in scores if other == kind]) for kind in kinds}
    return Figures(recall, mrr, _mean([score for _, score in scores]), by_kind)


def _ndcg(gains: Sequence[int], passages: int, depth: int = 10) -> float:
    """At most 1, also where one chunk has several passages."""
    got = sum(gain / math.log2(place + 1) for place, gain in enumerate(gains[:depth], 1))
    return min(1.0, got / sum(1 / math.log2(place + 1) for place in range(1, min(passages, depth) + 1)))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
