"""The Azure twins of the OpenAI backends: the same requests to a resource of one's own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, Self

from synthora.callbacks import BaseCallBackHandler
from synthora.models.clients import sdk
from synthora.models.openai_chat import OpenAIChatBackend
from synthora.models.openai_completion import OpenAICompletionBackend
from synthora.models.provider import Json
from synthora.types import ModelBackendType, Node


class AzureChatBackend(OpenAIChatBackend):
    """`model_type` is the name of the deployment."""

    backend = ModelBackendType.AZURE_CHAT

    def __init__(  # noqa: PLR0917 -- as published
        self,
        model_type: str,
        api_key: str | None = None,
        azure_endpoint: str | None = None,
        api_version: str | None = None,
        source: Node | None = None,
        config: Mapping[str, Any] | None = None,
        name: str | None = None,
        handlers: Iterable[BaseCallBackHandler] | None = None,
        **kwargs: Any,
    ) -> None:
        """What is left out comes from AZURE_OPENAI_API_KEY, AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_API_VERSION.

        Raises ValueError for what is in neither.
        """
        self._azure = {"azure_endpoint": azure_endpoint, "api_version": api_version}
        super().__init__(model_type, api_key, None, source, config, name, handlers, **kwargs)

    @classmethod
    def default(cls, model_type: str = "gpt-4o", *args: Any, **kwargs: Any) -> Self:
        """As the constructor, for a deployment named gpt-4o unless told otherwise."""
        return cls(model_type, *args, **kwargs)

    def _access(self, api_key: str | None, base_url: str | None) -> Json:  # noqa: ARG002 -- the endpoint is Azure's
        return {
            "api_key": _required("api_key", api_key, "AZURE_OPENAI_API_KEY"),
            "azure_endpoint": _required("azure_endpoint", self._azure["azure_endpoint"], "AZURE_OPENAI_ENDPOINT"),
            "api_version": _required("api_version", self._azure["api_version"], "AZURE_OPENAI_API_VERSION"),
        }

    def _client_class(self, *, asynchronous: bool) -> Any:
        return sdk().AsyncAzureOpenAI if asynchronous else sdk().AzureOpenAI


class AzureCompletionBackend(AzureChatBackend, OpenAICompletionBackend):
    """Plain completions of a deployment."""

    backend = ModelBackendType.AZURE_COMPLETION


def _required(name: str, given: str | None, variable: str) -> str:
    value = given or os.environ.get(variable)
    if not value:
        raise ValueError(f"Azure OpenAI needs {name}: give it, or set {variable}.")
    return value
