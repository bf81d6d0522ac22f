"""Messages in, messages out: model backends with callbacks over any provider, and over llamaforge in this process."""

from importlib import import_module
from typing import Any

_PLACES = {
    "synthora.types": "CallBackEvent Err MessageRole ModelBackendType Node NodeType Ok Result TraceEvent",
    "synthora.messages": "BaseMessage assistant system tool_response user",
    "synthora.callbacks": "AsyncCallBackHandler AsyncCallBackManager BaseCallBackHandler BaseCallBackManager RichOutputHandler",
    "synthora.configs": "ModelConfig",
    "synthora.models": (
        "AnthropicBackend AzureChatBackend AzureCompletionBackend BaseModelBackend CacheBackend FallbackBackend "
        "GeminiBackend LlamaForgeBackend "
        "OpenAIChatBackend OpenAICompletionBackend RateLimitBackend RateLimiter Reply RetryBackend ScriptedBackend "
        "TraceBackend create_model_from_config"
    ),
}
_LAZY = {name: module for module, names in _PLACES.items() for name in names.split()}

__all__ = sorted(_LAZY)  # noqa: PLE0605 -- one list of names instead of two


def __getattr__(name: str) -> Any:
    """Each name is imported when it is first asked for, so that importing the package costs next to nothing."""
    if name not in _LAZY:
        raise AttributeError(f"module 'synthora' has no attribute '{name}'")
    found = globals()[name] = getattr(import_module(_LAZY[name]), name)
    return found
