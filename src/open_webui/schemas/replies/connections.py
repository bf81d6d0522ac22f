"""Connections, and what they list, as it goes out."""

from typing import Any, Final, NotRequired, TypedDict

from open_webui.schemas.replies.completions import Embeddings
from open_webui.schemas.replies.models import Model
from open_webui.schemas.replies.shape import Object


class OpenAIConfig(TypedDict):
    ENABLE_OPENAI_API: bool
    OPENAI_API_BASE_URLS: list[str]
    OPENAI_API_KEYS: list[str]
    OPENAI_API_CONFIGS: Object


class OllamaConfig(TypedDict):
    ENABLE_OLLAMA_API: bool
    OLLAMA_BASE_URLS: list[str]
    OLLAMA_API_CONFIGS: Object


class _Model(TypedDict):
    """A model. Under the name of its kind stands what its provider says about it."""

    id: str
    name: str
    object: str
    created: int
    owned_by: str
    provider: NotRequired[str]
    urlIdx: NotRequired[int | None]
    openai: NotRequired[Object]
    ollama: NotRequired[Object]
    local: NotRequired[Object]
    pipeline: NotRequired[Object]


class ConnectionsModel(_Model):
    """A connection's model."""

    connection_type: str


class OfferedModel(ConnectionsModel):
    """The same, with what an administrator stored about it."""

    info: NotRequired[Model]


class OfferedModels(TypedDict):
    data: list[OfferedModel]


class ListedModel(_Model):
    """A model that can be chosen. preset: it is one that somebody made of another. arena: others answer behind its name."""

    connection_type: NotRequired[str]
    arena: NotRequired[bool]
    info: NotRequired[Object]
    preset: NotRequired[bool]
    actions: list[Object]
    filters: list[Object]
    tags: list[Object]


class ListedModels(TypedDict):
    data: list[ListedModel]


class PlainModel(TypedDict):
    id: str
    object: str
    created: int
    owned_by: str


class PlainModels(TypedDict):
    """OpenAI's list of models."""

    object: str
    data: list[PlainModel]


class ProvidersModels(TypedDict):
    """A provider's own list of models."""

    object: NotRequired[str]
    data: list[Object]


class PipelinesServer(TypedDict):
    url: str
    idx: int


class PipelinesServers(TypedDict):
    data: list[PipelinesServer]


# What a pipelines server answers is its own: an object, or null where a pipeline has nothing that can be set.
PipelinesAnswer = Object | bool | None


class Pipelines(TypedDict):
    """A pipelines server's own list."""

    data: list[Object]


class OllamaModel(TypedDict):
    """A model as Ollama lists it. urls: the places of the servers that have it; none for one of this machine."""

    name: str
    model: str
    modified_at: NotRequired[str]
    size: NotRequired[int]
    digest: NotRequired[str]
    details: NotRequired[Object]
    urls: NotRequired[list[int | None]]


class OllamaTags(TypedDict):
    models: list[OllamaModel]


class OllamaLoaded(TypedDict):
    """models: as each server tells them."""

    models: list[Object]


class OllamaVersion(TypedDict):
    """version: false where no server is connected."""

    version: str | bool


class OllamaShow(TypedDict):
    """What an Ollama server says about a model."""

    license: NotRequired[str]
    modelfile: NotRequired[str]
    parameters: NotRequired[str]
    template: NotRequired[str]
    system: NotRequired[str]
    details: NotRequired[Object]
    messages: NotRequired[list[Object]]
    model_info: NotRequired[Object]
    projector_info: NotRequired[Object]
    tensors: NotRequired[list[Any]]
    capabilities: NotRequired[list[str]]
    modified_at: NotRequired[str]
    remote_model: NotRequired[str]
    remote_host: NotRequired[str]


class OllamaEmbedded(TypedDict):
    model: NotRequired[str]
    embeddings: list[list[float]]
    total_duration: NotRequired[int]
    load_duration: NotRequired[int]
    prompt_eval_count: NotRequired[int]


class OllamaEmbedding(TypedDict):
    embedding: list[float]


# What calls about one model answer.
CALLS: Final[dict[str, Any]] = {
    "/api/show": OllamaShow,
    "/api/embed": OllamaEmbedded,
    "/api/embeddings": OllamaEmbedding,
    "/v1/embeddings": Embeddings,
}
# In which form a change is told: its progress line by line, or only its end, in whichever form the server has.
CHANGES: Final = dict.fromkeys(("/api/pull", "/api/create", "/api/push"), "application/x-ndjson")
