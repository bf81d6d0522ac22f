"""Retrieval, as it goes out."""

from typing import Any, Final, NotRequired, TypedDict

import msgspec

from open_webui.config import BY_KEY
from open_webui.schemas.replies.settings import shown
from open_webui.schemas.replies.shape import Object
from open_webui.schemas.retrieval import DOCUMENTS, EMBEDDING, ENGINES, WEB

_web: Final = shown("WebSettings", WEB)
Config: Final = shown(
    "RetrievalConfig",
    DOCUMENTS,
    {"status": True, "ENABLE_GOOGLE_DRIVE_INTEGRATION": False, "ENABLE_ONEDRIVE_INTEGRATION": False, "web": {}},
)


def _form(name: str, settings: Any, more: Any = ()) -> Any:
    fields = [(wire, BY_KEY[key].type | None | msgspec.UnsetType, msgspec.UNSET) for wire, key in settings.items()]
    return msgspec.defstruct(name, [*fields, *more], kw_only=True)


ConfigForm: Final = _form(
    "RetrievalConfigForm", DOCUMENTS, [("web", _form("WebSettingsForm", WEB) | None | msgspec.UnsetType, msgspec.UNSET)]
)
Embedding: Final = shown("Embedding", EMBEDDING, {"status": True} | {name: {} for name in ENGINES})


class State(TypedDict):
    """engine: what makes vectors now; null: nothing does, and `why`. searched: whose vectors are searched.

    documents: all that there are; embedded: those that have vectors of the engine. reading, failed: files.
    """

    engine: str | None
    why: str | None
    searched: str | None
    documents: int
    embedded: int
    reading: int
    failed: int


class TracePassage(TypedDict):
    """A passage that a stage looked at. text: its beginning. score: what the stage says of it, on a scale of its own."""

    id: str
    name: str
    file_id: str | None
    page: int | None
    text: str
    score: float


class TraceStage(TypedDict):
    """words, keys and vectors look for passages, fused adds up what they say, rerank orders the best of that anew.

    count: how many passages it has, of which the best are shown. ms: how long it took, 0 where it was part of another.
    """

    name: str
    ms: float
    count: int
    passages: list[TracePassage]


class Trace(TypedDict):
    """How a search came to its result. notes: what could not be used."""

    queries: list[str]
    stages: list[TraceStage]
    notes: list[str]


class DocHits(TypedDict):
    """The pieces that were found, as lists of one list each."""

    ids: list[list[str]]
    documents: list[list[str]]
    metadatas: list[list[Object]]
    distances: list[list[float]]
    trace: NotRequired[Trace]


class CollectionHits(TypedDict):
    documents: list[list[str]]
    metadatas: list[list[Object]]
    distances: list[list[float]]
    trace: NotRequired[Trace]


class Done(TypedDict):
    status: bool
    message: NotRequired[str]
