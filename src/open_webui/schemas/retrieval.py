"""What the routes about retrieval take, and which setting stands behind which name of the wire."""

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import BaseModel, Field, StringConstraints

from open_webui.config import retrieval

# Settings of which the wire's name lacks the beginning of the variable.
_SHORT: Final = frozenset(
    "RAG_TOP_K RAG_TOP_K_RERANKER RAG_RELEVANCE_THRESHOLD RAG_HYBRID_BM25_WEIGHT RAG_TEXT_SPLITTER RAG_FILE_MAX_SIZE"
    " RAG_FILE_MAX_COUNT RAG_ALLOWED_FILE_EXTENSIONS".split()
)
# Those of the page about embedding, which has an object for each engine.
EMBEDDING: Final[Mapping[str, str]] = {
    "RAG_EMBEDDING_ENGINE": "rag.embedding_engine",
    "RAG_EMBEDDING_MODEL": "rag.embedding_model",
    "RAG_EMBEDDING_BATCH_SIZE": "rag.embedding_batch_size",
    "ENABLE_ASYNC_EMBEDDING": "rag.enable_async_embedding",
    "RAG_EMBEDDING_CONCURRENT_REQUESTS": "rag.embedding_concurrent_requests",
}
ENGINES: Final[Mapping[str, Mapping[str, str]]] = {
    "openai_config": {"url": "rag.openai.api_base_url", "key": "rag.openai.api_key"},
    "ollama_config": {"url": "rag.ollama.base_url", "key": "rag.ollama.api_key"},
    "azure_openai_config": {
        "url": "rag.azure_openai.base_url",
        "key": "rag.azure_openai.api_key",
        "version": "rag.azure_openai.api_version",
    },
}
_ELSEWHERE: Final = frozenset(EMBEDDING.values()).union(*(engine.values() for engine in ENGINES.values()))


def _wire(name: str) -> str:
    return name.removeprefix("RAG_") if name in _SHORT else name


_YOUTUBE: Final = "rag.youtube_"
DOCUMENTS: Final[Mapping[str, str]] = {
    _wire(s.variables[0]): s.key for s in retrieval.RAG if s.key not in _ELSEWHERE and not s.key.startswith(_YOUTUBE)
}
WEB: Final[Mapping[str, str]] = {
    s.variables[0]: s.key for s in (*retrieval.WEB, *(s for s in retrieval.RAG if s.key.startswith(_YOUTUBE)))
}

Name = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Query = Annotated[str, StringConstraints(max_length=100_000)]
Count = Annotated[int, Field(ge=1, le=1_000)]
Share = Annotated[float, Field(ge=0, le=1)]


class Address(BaseModel):
    url: Annotated[str, StringConstraints(max_length=2_000)] | None = None
    key: Annotated[str, StringConstraints(max_length=10_000)] | None = None
    version: Annotated[str, StringConstraints(max_length=200)] | None = None


class EmbeddingForm(BaseModel):
    """The page about embedding. What is left out keeps its value."""

    RAG_EMBEDDING_ENGINE: Annotated[str, StringConstraints(max_length=100)]
    RAG_EMBEDDING_MODEL: Annotated[str, StringConstraints(max_length=1_000)]
    RAG_EMBEDDING_BATCH_SIZE: Annotated[int, Field(ge=1, le=10_000)] | None = 1
    ENABLE_ASYNC_EMBEDDING: bool | None = True
    RAG_EMBEDDING_CONCURRENT_REQUESTS: Annotated[int, Field(ge=0, le=1_000)] | None = 0
    openai_config: Address | None = None
    ollama_config: Address | None = None
    azure_openai_config: Address | None = None


class Asked(BaseModel):
    """A question to collections. What is left out is as the settings have it. trace: how it was answered comes with it."""

    query: Query
    k: Count | None = None
    k_reranker: Count | None = None
    r: Share | None = None
    hybrid: bool | None = None
    hybrid_bm25_weight: Share | None = None
    trace: bool = False


class QueryDoc(Asked):
    collection_name: Name


class QueryCollections(Asked):
    collection_names: Annotated[list[Name], Field(max_length=1_000)]
    enable_enriched_texts: bool | None = None


class DeleteForm(BaseModel):
    collection_name: Name
    file_id: Name
