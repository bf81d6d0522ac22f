"""OpenAIChatBackend: chat completions of OpenAI and of every server that speaks as it does."""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, Self, cast

from llamaforge.backends.loop_clients import AsyncClients
from synthora.callbacks import BaseCallBackHandler
from synthora.models.clients import Chunks, Client, sdk, translated
from synthora.models.profile import Profile, profile_of
from synthora.models.provider import Json, ProviderBackend
from synthora.types import ModelBackendType, Node

_COMMON_OPTIONS = {
    "timeout",
    "max_retries",
    "organization",
    "project",
    "default_headers",
    "default_query",
    "http_client",
}


class OpenAIChatBackend(ProviderBackend):
    """`config` has the parameters of a chat completion request by OpenAI's names; they go to the provider as they are,
    but for the name of `max_tokens` where the profile has another.

    The usage of streams is asked for; where a server refuses `stream_options`, set it to None.
    """

    backend = ModelBackendType.OPENAI_CHAT

    def __init__(  # noqa: PLR0917 -- as published
        self,
        model_type: str,
        api_key: str | None = None,
        base_url: str | None = None,
        source: Node | None = None,
        config: Mapping[str, Any] | None = None,
        name: str | None = None,
        handlers: Iterable[BaseCallBackHandler] | None = None,
        *,
        profile: Profile | None = None,
        **kwargs: Any,
    ) -> None:
        """api_key, base_url: else those of OPENAI_API_KEY and OPENAI_BASE_URL. kwargs: of the SDK's client (timeout, ...).

        profile: what the model wants of a request, else known by the provider's domain or the model's name.

        Raises ValueError without a key, TypeError for an option that the client does not have, ConfigError for prices that
        are none.
        """
        super().__init__(model_type, source, self.backend, config, name, handlers)
        access = self._access(api_key, base_url)
        self.base_url: str | None = access.get("base_url") or access.get("azure_endpoint")
        self.profile = profile or profile_of(model_type, self.base_url)
        self._client_options = {**kwargs, **access}
        self._check_options(kwargs)
        self._forget_clients()

    @classmethod
    def default(cls, model_type: str = "gpt-4o", *args: Any, **kwargs: Any) -> Self:
        """As the constructor, for gpt-4o unless told otherwise."""
        return cls(model_type, *args, **kwargs)

    def close(self) -> None:
        """Close the connections of `run`. Those of `async_run` are closed with their event loop."""
        client, self.client = self.client, None
        if client is not None:
            client.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A backend of its own, without clients, whose options may hold what can't be copied."""
        for shared in (self._async_clients, self._client_options, self._sync):
            memo[id(shared)] = shared
        twin = super().__deepcopy__(memo)
        twin._forget_clients()  # noqa: SLF001 -- of the same class
        return twin

    def _access(self, api_key: str | None, base_url: str | None) -> Json:
        """What the client needs to reach the provider."""
        key = api_key or os.environ.get("OPENAI_API_KEY")
        if not key:
            raise ValueError("API Key is required for OpenAI: give api_key, or set OPENAI_API_KEY.")
        return {"api_key": key, "base_url": base_url or os.environ.get("OPENAI_BASE_URL") or None}

    def _check_options(self, options: Json) -> None:
        """Raises TypeError for one that the SDK's client does not take. The SDK is imported only to ask for rare ones."""
        if not options.keys() <= _COMMON_OPTIONS:
            taken = inspect.signature(self._client_class(asynchronous=False)).parameters
            if unknown := [name for name in options if name not in taken]:
                raise TypeError(f"the openai SDK's client takes no '{unknown[0]}'; it takes {', '.join(taken)}.")

    def _client_class(self, *, asynchronous: bool) -> Any:
        return sdk().AsyncOpenAI if asynchronous else sdk().OpenAI

    def _forget_clients(self) -> None:
        self.client = None
        self._sync: Client | None = None
        self._process = os.getpid()
        self._async_clients = AsyncClients(self._async_client)

    def _async_client(self) -> Client:
        return Client(self._client_class(asynchronous=True)(**self._client_options))

    def _sync_client(self) -> Any:
        # A forked process must not write to the connections of its parent.
        if self.client is None or self._process != os.getpid():
            self.client = self._client_class(asynchronous=False)(**self._client_options)
            self._process = os.getpid()
        if self._sync is None or self._sync.client is not self.client:
            self._sync = Client(self.client)
        return self._sync.now()

    def _resource(self, client: Any) -> Any:
        """The part of the client that is asked."""
        return client.chat.completions

    def _ask(self, parameters: Json) -> Any:
        return self._resource(self._sync_client()).create(**parameters)

    def _ask_stream(self, parameters: Json) -> Iterator[Any]:
        return cast("Iterator[Any]", Chunks.of(self._ask(parameters)))

    async def _aask(self, parameters: Json) -> Any:
        return await self._resource((await self._async_clients.get()).now()).create(**parameters)

    async def _aask_stream(self, parameters: Json) -> AsyncIterator[Any]:
        return cast("AsyncIterator[Any]", await Chunks.aof(await self._aask(parameters)))

    def _as_ours(self, error: BaseException) -> BaseException:
        base = self.base_url or "https://api.openai.com/v1"
        return translated(error, base.rstrip("/"), str(self._client_options.get("api_key") or ""))
