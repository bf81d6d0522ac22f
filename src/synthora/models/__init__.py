"""Models: backends that ask them, wrappers around backends, and both from a configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, overload

from synthora.configs import ModelConfig
from synthora.exceptions import ConfigError
from synthora.models.azure import AzureChatBackend, AzureCompletionBackend
from synthora.models.base import BaseModelBackend
from synthora.models.llamaforge import LlamaForgeBackend
from synthora.models.native import AnthropicBackend, GeminiBackend
from synthora.models.openai_chat import OpenAIChatBackend
from synthora.models.openai_completion import OpenAICompletionBackend
from synthora.models.profile import Profile, profile_of
from synthora.models.provider import ProviderBackend
from synthora.models.scripted import Reply, ScriptedBackend
from synthora.models.wrappers import (
    CacheBackend,
    FallbackBackend,
    MemoryStore,
    RateLimitBackend,
    RateLimiter,
    RetryBackend,
    SQLiteStore,
    TraceBackend,
    WrapperBackend,
)
from synthora.types import ModelBackendType, Node

__all__ = [
    "BACKEND_MAP",
    "AnthropicBackend",
    "AzureChatBackend",
    "AzureCompletionBackend",
    "BaseModelBackend",
    "CacheBackend",
    "FallbackBackend",
    "GeminiBackend",
    "LlamaForgeBackend",
    "MemoryStore",
    "OpenAIChatBackend",
    "OpenAICompletionBackend",
    "Profile",
    "ProviderBackend",
    "RateLimitBackend",
    "RateLimiter",
    "Reply",
    "RetryBackend",
    "SQLiteStore",
    "ScriptedBackend",
    "TraceBackend",
    "WrapperBackend",
    "create_model_from_config",
    "profile_of",
]

# What a configuration's `backend` stands for; add your own.
BACKEND_MAP: Final[dict[ModelBackendType, Callable[..., BaseModelBackend]]] = {
    ModelBackendType.OPENAI_CHAT: OpenAIChatBackend,
    ModelBackendType.OPENAI_COMPLETION: OpenAICompletionBackend,
    ModelBackendType.AZURE_CHAT: AzureChatBackend,
    ModelBackendType.AZURE_COMPLETION: AzureCompletionBackend,
    ModelBackendType.ANTHROPIC: AnthropicBackend,
    ModelBackendType.GEMINI: GeminiBackend,
    ModelBackendType.LLAMAFORGE: LlamaForgeBackend,
    ModelBackendType.SCRIPTED: ScriptedBackend,
}


@overload
def create_model_from_config(config: ModelConfig, source: Node | None = None) -> BaseModelBackend: ...
@overload
def create_model_from_config(config: Sequence[ModelConfig], source: Node | None = None) -> list[BaseModelBackend]: ...
def create_model_from_config(
    config: ModelConfig | Sequence[ModelConfig], source: Node | None = None
) -> BaseModelBackend | list[BaseModelBackend]:
    """The backend that a configuration describes; of a list, a list.

    Raises ValueError without a key, ConfigError for a key of `backend_config` that the backend does not take.
    """
    if not isinstance(config, ModelConfig):
        return [_create(one, source) for one in config]
    return _create(config, source)


def _create(config: ModelConfig, source: Node | None) -> BaseModelBackend:
    options: dict[str, Any] = config.backend_config or {}
    try:
        return BACKEND_MAP[config.backend](
            model_type=config.model_type, name=config.name, source=source, config=config.config, **options
        )
    except TypeError as error:
        raise ConfigError(f"'backend_config' of '{config.name or config.model_type}': {error}") from error
