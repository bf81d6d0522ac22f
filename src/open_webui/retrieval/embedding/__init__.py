"""Embeddings: which engine makes them, by the settings."""

from typing import Final

import aiohttp

from open_webui.config import Config
from open_webui.connections.local.models import LocalModels
from open_webui.env import Settings
from open_webui.retrieval.embedding.base import Embedder
from open_webui.retrieval.embedding.local import EngineEmbedder, OnnxEmbedder
from open_webui.retrieval.embedding.remote import AT_ONCE, Provider, RemoteEmbedder
from open_webui.retrieval.onnx.folders import NoModel, folder_of
from open_webui.retrieval.onnx.runner import Runner

# Where the address and the key of an engine stand.
_ADDRESSES: Final = {
    "openai": ("rag.openai.api_base_url", "rag.openai.api_key"),
    "azure_openai": ("rag.azure_openai.base_url", "rag.azure_openai.api_key"),
    "ollama": ("rag.ollama.base_url", "rag.ollama.api_key"),
}
_MOST_AT_ONCE: Final = 64
_MOST_TEXTS: Final = 1_000


class NoEmbedder(Exception):
    """Why there are no embeddings, so that retrieval goes by words alone: a sentence for an admin."""


def open_embedder(
    config: Config, settings: Settings, http: aiohttp.ClientSession, local_models: LocalModels, runner: Runner
) -> Embedder:
    """The engine that the settings name. Looks at the disk, but starts and loads nothing.

    Raises NoEmbedder where there is none.
    """
    engine, model = config["rag.embedding_engine"], config["rag.embedding_model"]
    prefixes = (settings.rag_embedding_query_prefix, settings.rag_embedding_content_prefix)
    if config["rag.bypass_embedding_and_retrieval"]:
        raise NoEmbedder("Embedding is switched off (BYPASS_EMBEDDING_AND_RETRIEVAL).")
    if not model:
        raise NoEmbedder("No embedding model is chosen.")
    match engine:
        case "":
            try:
                folder = folder_of(model, settings, is_operators=config.locked_by("rag.embedding_model") is not None)
            except NoModel as error:
                raise NoEmbedder(str(error)) from error
            return OnnxEmbedder(runner, model, folder, prefixes)
        case "llamaforge":
            offer = local_models.offers.get(model)
            if offer is None or not offer.is_usable:
                why = offer.problem if offer is not None else None
                raise NoEmbedder(why or f"There is no model {model} among the models of this machine.")
            return EngineEmbedder(http, local_models, model, prefixes)
        case "openai" | "azure_openai" | "ollama":
            return RemoteEmbedder(http, _provider(config, engine, model, prefixes))
    raise NoEmbedder(f"There is no engine for embeddings called {engine!r}.")


def _provider(config: Config, engine: str, model: str, prefixes: tuple[str, str]) -> Provider:
    url, key = (config[name] for name in _ADDRESSES[engine])
    if not url:
        raise NoEmbedder(f"The address of the engine {engine} is not set ({_ADDRESSES[engine][0]}).")
    return Provider(
        kind=engine,
        url=url,
        key=key,
        model=model,
        version=config["rag.azure_openai.api_version"],
        batch=min(max(config["rag.embedding_batch_size"], 1), _MOST_TEXTS),
        at_once=min(config["rag.embedding_concurrent_requests"], _MOST_AT_ONCE) or AT_ONCE,
        prefixes=prefixes,
    )
