"""The documents of the server, for one person at a time: what there is of attachments, their texts, and search in them."""

from collections.abc import Collection, Sequence
from typing import Any, Final, Literal, Protocol

import msgspec

from open_webui.config import Config
from open_webui.models import attachments, chats, messages, scopes, vectors
from open_webui.models.attachments import FileState
from open_webui.models.scopes import Scope
from open_webui.models.uploads import UNREAD
from open_webui.principal import Principal
from open_webui.retrieval.search import Found, Trace, search
from open_webui.schemas.retrieval import Asked
from open_webui.schemas.web import SearchForm
from open_webui.services import knowledge_external, web
from open_webui.services.explaining import explained
from open_webui.services.knowledge_external import Deps
from open_webui.services.retrieval import Retrieval


class Whole(msgspec.Struct, frozen=True):
    """The text of a document, or its beginning: `is_cut`."""

    file_id: str | None
    name: str
    text: str
    meta: dict[str, Any]
    url: str | None = None
    is_cut: bool = False


class Hits:
    """What was found, as answers to queries have it."""

    def __init__(self, found: Sequence[Found], config: Config) -> None:
        self.numbers = [hit.chunk_n for hit in found]
        self.wire: dict[str, Any] = {
            "distances": [[hit.score for hit in found]],
            "documents": [[hit.text for hit in found]],
            "metadatas": [[metadata(hit, hit.url or hit.name, config) for hit in found]],
        }


class Held:
    """What there is of a scope for somebody: files with the state of their reading, and knowledge bases."""

    def __init__(self, files: dict[str, FileState], bases: frozenset[str]) -> None:
        self._files = files
        self._bases = bases
        self._named: dict[str, str | None] = {}

    def has(self, kind: Literal["file", "knowledge"], thing_id: str) -> bool:
        return thing_id in (self._files if kind == "file" else self._bases)

    def is_pending(self, file_id: str) -> bool:
        """Whether a file is being read."""
        state = self._files.get(file_id)
        return state is not None and state.status in UNREAD

    def is_unread(self, file_id: str) -> bool:
        """Whether nobody asked for the file's text."""
        state = self._files.get(file_id)
        return state is not None and state.status is None

    def failure(self, file_id: str) -> str | None:
        """Why a file could not be read."""
        state = self._files.get(file_id)
        return None if state is None else state.problem

    def name(self, file_id: str | None, name: str) -> str:
        """What a document is cited by: its name, or where another of this answer has that already, its id."""
        first = self._named.setdefault(name, file_id)
        return name if first == file_id or file_id is None else file_id


class LibraryDeps(Deps, web.Deps, Protocol):
    """What it needs of the state."""


class Library:
    """Files, knowledge bases and collections as readers of them see them."""

    def __init__(self, deps: LibraryDeps) -> None:
        self._deps = deps
        self.retrieval = Retrieval(deps)

    async def close(self) -> None:
        """Ends the engines."""
        await self.retrieval.close()

    @property
    def _admin_access(self) -> bool:
        return self._deps.settings.enable_admin_chat_access

    def _for_admins(self, scope: Scope) -> Scope:
        return msgspec.structs.replace(scope, admin_access=self._admin_access)

    async def held(self, principal: Principal, scope: Scope) -> Held:
        """Which of these things there are for the person, and which files are not read yet or could not be."""
        async with self._deps.database.read() as connection:
            files = await attachments.file_states(connection, principal, scope.files, admin_access=self._admin_access)
            return Held(files, await attachments.bases(connection, principal, scope.knowledge))

    async def bases_of(self, file_ids: Collection[str], knowledge_ids: Collection[str]) -> dict[str, frozenset[str]]:
        """In which of the knowledge bases each file is."""
        async with self._deps.database.read() as connection:
            return await attachments.bases_of(connection, file_ids, knowledge_ids)

    async def search(self, principal: Principal, queries: Sequence[str], scope: Scope) -> list[Found]:
        """The passages that fit best, the best first; and behind them those of bases that are found in other services."""
        found = await search(self.retrieval.search_deps(), principal, queries, self._for_admins(scope))
        if not scope.knowledge or not queries:
            return found
        limit = self._deps.config["rag.top_k"]
        return found + await knowledge_external.search(self._deps, principal, scope.knowledge, queries[0], limit)

    async def memories(
        self, principal: Principal, question: str, limit: int, kind: Literal["user", "context"] | None = None
    ) -> list[Found]:
        """The memories of a person that fit a question best, the best first; nobody else's, whatever is asked. kind: of this
        type alone.
        """
        # What is told of somebody is short: a threshold that was set for passages of documents would leave all of it out.
        deps = self.retrieval.search_deps({"rag.relevance_threshold": 0.0})
        return await search(deps, principal, [question], Scope(memories=True, kind=kind), limit=limit)

    async def query(self, principal: Principal, names: Sequence[str], asked: Asked) -> "Hits | None":
        """The passages of collections by the wire's names: `file-` and a file's id, a knowledge base's id, or what one called
        a collection of one's own. None where the person may read none of them.
        """
        scope = self._for_admins(scope_of(names))
        async with self._deps.database.read() as connection:
            reach = await scopes.resolve(connection, principal, scope)
        if reach.is_empty:
            return None
        given = {key: value for name, key in _ASKED.items() if (value := getattr(asked, name)) is not None}
        deps = self.retrieval.search_deps(given)
        trace = Trace()
        hits = Hits(await search(deps, principal, [asked.query], scope, limit=asked.k, trace=trace), self._deps.config)
        if asked.trace:
            hits.wire["trace"] = explained(trace, principal)
        return hits

    async def search_web(self, principal: Principal, queries: Sequence[str]) -> dict[str, Any]:
        """See `services.web.search`: what was found is in a collection of the person's."""
        return await web.search(self._deps, principal, SearchForm(queries=list(queries)))

    async def transcript(self, principal: Principal, chat_id: str, most: int) -> Whole | None:
        """The newest branch of a chat as a text of so many characters at most; None where the person may read no such chat."""
        async with self._deps.database.read() as connection:
            chat = await chats.get(connection, principal, chat_id, admin_access=self._admin_access)
            if chat is None:
                return None
            last = chat.current_message_id
            branch, is_cut = await messages.branch(connection, chat.id, last, most) if last is not None else ([], False)
        lines = [f"{row.role.upper()}: {row.content}" for row in branch if row.content]
        return Whole(None, chat.title, "\n\n".join(lines)[:most], {"chat_id": chat.id}, is_cut=is_cut)

    async def state(self) -> dict[str, Any]:
        """How documents are found now, as `replies.retrieval.State`."""
        self.retrieval.look_again()
        embedder = self.retrieval.embedder()
        signature = None if embedder is None else embedder.signature
        async with self._deps.database.read() as connection:
            active = await vectors.active(connection)
            counts = await attachments.counts(connection, signature)
        return {
            "engine": signature,
            "why": self.retrieval.problem,
            "searched": None if active is None else active.signature,
            **counts,
        }

    async def whole(self, principal: Principal, scope: Scope, most: int) -> list[Whole]:
        """The texts of what may be read, of so many characters at most; one that does not fit ends where there is room."""
        async with self._deps.database.read() as connection:
            kept = await attachments.texts(connection, principal, scope, admin_access=self._admin_access)
        out: list[Whole] = []
        for text in kept:
            if most <= 0:
                break
            read = await self._read(text.hash, most)
            meta = text.meta if isinstance(text.meta, dict) else {}
            out.append(Whole(text.file_id, text.name, read[:most], meta, text.url, len(read) > most))
            most -= len(read)
        return out

    async def _read(self, key: str, most: int) -> str:
        """A kept text, or so much of it that it has more than this many characters."""
        pieces: list[bytes] = []
        size = 0
        async for piece in self._deps.blobs.read(key):
            pieces.append(piece)
            size += len(piece)
            if size > 4 * most + 4:
                break
        return b"".join(pieces).decode("utf-8", "replace")


_FILE: Final = "file-"
# What a query may say of itself, and the setting that it stands for.
_ASKED: Final = {
    "k_reranker": "rag.top_k_reranker",
    "r": "rag.relevance_threshold",
    "hybrid": "rag.enable_hybrid_search",
    "hybrid_bm25_weight": "rag.hybrid_bm25_weight",
}


def scope_of(names: Sequence[str]) -> Scope:
    """Collections by the wire's names."""
    files = tuple(name.removeprefix(_FILE) for name in names if name.startswith(_FILE))
    others = tuple(name for name in names if not name.startswith(_FILE))
    return Scope(files=files, knowledge=others, collections=others)


def metadata(hit: Found, source: str, config: Config) -> dict[str, Any]:
    """The wire's metadata of a passage. source: what it is cited by. config: which engine made the vectors, if any did."""
    meta: dict[str, Any] = {
        **hit.meta,
        "name": hit.name,
        "source": source,
        "start_index": hit.start,
        "end_index": hit.end,
        "scores": hit.stages,
    }
    if hit.file_id is not None:
        meta["file_id"] = hit.file_id
    if hit.url is not None:
        meta["url"] = hit.url
    if hit.page is not None:
        # The wire counts pages from 0.
        meta |= {"page": hit.page - 1, "page_label": str(hit.page)}
    if hit.headings:
        meta["headings"] = list(hit.headings)
    if "vectors" in hit.stages:
        engine = {name: config[f"rag.embedding_{name}"] for name in ("engine", "model")}
        # A text, as the wire has it.
        meta["embedding_config"] = str(engine)
    return meta
