"""The pages about documents, the web and embedding: their objects put together from settings and taken apart again."""

import re
from collections.abc import Mapping
from typing import Any, Final

from open_webui.config import BY_KEY, Config
from open_webui.errors import BadRequest
from open_webui.models.base import clean_json
from open_webui.schemas.retrieval import DOCUMENTS, EMBEDDING, ENGINES, WEB, EmbeddingForm

# What this server doesn't have: shown as off, and what is posted for it is not stored.
ABSENT: Final[Mapping[str, Any]] = {"ENABLE_GOOGLE_DRIVE_INTEGRATION": False, "ENABLE_ONEDRIVE_INTEGRATION": False}
# The least and the most of a number.
_BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "rag.chunk_size": (10, 1_000_000),
    "rag.chunk_overlap": (0, 1_000_000),
    "rag.chunk_min_size_target": (0, 1_000_000),
    "rag.top_k": (1, 1_000),
    "rag.top_k_reranker": (1, 1_000),
    "rag.relevance_threshold": (0, 1),
    "rag.hybrid_bm25_weight": (0, 1),
    "rag.reranking_batch_size": (1, 10_000),
    "rag.embedding_batch_size": (1, 10_000),
    "rag.embedding_concurrent_requests": (0, 1_000),
    "web.search.result_count": (1, 100),
    "web.search.concurrent_requests": (0, 1_000),
    "web.loader.concurrent_requests": (1, 1_000),
}
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "rag.embedding_engine": ("", "openai", "azure_openai", "ollama", "llamaforge"),
    "rag.text_splitter": ("", "character", "token"),
    "rag.pdf_loader_mode": ("page", "single"),
    "rag.reranking_engine": ("", "external"),
}
_LONGEST: Final = 100_000
_NOT_NEGATIVE: Final = frozenset(
    {"rag.file.max_size", "rag.file.max_count", "file.image_compression_width", "file.image_compression_height"}
)
# A number as a form's field of text has it.
_NUMBER: Final = re.compile(r"\s*[-+]?[0-9]{1,15}(?P<part>\.[0-9]{1,15})?\s*", re.ASCII)


def documents(config: Config) -> dict[str, Any]:
    """The object of the page about documents, the web's settings inside it."""
    shown = {name: config[key] for name, key in DOCUMENTS.items()}
    return {"status": True, **shown, **ABSENT, "web": {name: config[key] for name, key in WEB.items()}}


def embedding(config: Config) -> dict[str, Any]:
    """The object of the page about embedding."""
    engines = {name: {field: config[key] for field, key in fields.items()} for name, fields in ENGINES.items()}
    return {"status": True, **{name: config[key] for name, key in EMBEDDING.items()}, **engines}


def documents_changes(posted: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """The settings that a posted object changes; what it leaves out, or has as null, stays.

    Raises BadRequest naming a value that can't be one.
    """
    out = _changes(posted, DOCUMENTS)
    web = posted.get("web")
    if web is not None:
        if not isinstance(web, dict):
            raise BadRequest("'web' should be an object.", status=422)
        out |= _changes(web, WEB)
    in_force: dict[str, Any] = {key: out.get(key, config[key]) for key in ("rag.chunk_size", "rag.chunk_overlap")}
    if in_force["rag.chunk_overlap"] >= in_force["rag.chunk_size"]:
        raise BadRequest("CHUNK_OVERLAP should be smaller than CHUNK_SIZE.", status=422)
    return out


def embedding_changes(form: EmbeddingForm) -> dict[str, Any]:
    """The same of the page about embedding."""
    posted = form.model_dump(exclude_unset=True, exclude_none=True)
    out = _changes(posted, EMBEDDING)
    for name, fields in ENGINES.items():
        out |= _changes(posted.get(name) or {}, fields)
    return out


def _changes(posted: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, key in names.items():
        if name not in posted:
            continue
        value = _number(key, posted[name])
        if value is None and not BY_KEY[key].nullable:
            continue
        out[key] = _checked(name, key, value)
    return out


def _number(key: str, value: Any) -> Any:
    """The number that the text of a form's field says, None for an empty field; anything else as it is."""
    if not isinstance(value, str) or BY_KEY[key].type not in {int, float}:
        return value
    if not value.strip():
        return None
    found = _NUMBER.fullmatch(value)
    if found is None:
        return value
    return float(value) if found["part"] else int(value)


def _checked(name: str, key: str, value: Any) -> Any:
    """The value as it is stored. Raises BadRequest naming the field."""
    setting = BY_KEY[key]
    if setting.type is str and isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not setting.accepts(value):
        raise BadRequest(f"{name} should be {_KINDS[setting.type]}.", status=422)
    if isinstance(value, str) and len(value) > _LONGEST:
        raise BadRequest(f"{name} is too long: at most {_LONGEST} characters.", status=422)
    if key in _BOUNDS:
        least, most = _BOUNDS[key]
        if not least <= value <= most:
            raise BadRequest(f"{name} should be between {least:g} and {most:g}.", status=422)
    if key in _NOT_NEGATIVE and value is not None and value < 0:
        raise BadRequest(f"{name} should not be negative.", status=422)
    if key in _CHOICES and value not in _CHOICES[key]:
        named = ", ".join(f"'{choice}'" for choice in _CHOICES[key])
        raise BadRequest(f"{name} should be one of {named}.", status=422)
    try:
        return clean_json(value)
    except ValueError as error:
        raise BadRequest(f"{name} can't be stored: it {error}.", status=422) from None


_KINDS: Final[Mapping[type, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "an object",
}
