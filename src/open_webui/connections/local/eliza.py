"""The model that needs no download, in this process."""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Self

from llamaforge import LlamaForgeError, ParameterError, get_backend
from llamaforge.backends.base import BaseBackend
from llamaforge.events import Done, Event, Text
from open_webui.connections.base import Kind, ModelEntry, Reply, Tell
from open_webui.connections.render import as_chunks, as_completion
from open_webui.errors import BadRequest, ProviderError

ELIZA: Final = "eliza"
ELIZA_NAME: Final = "Eliza"
ELIZA_DESCRIPTION: Final = (
    "A small program that listens and asks back, no language model. It is here so that you can chat before any model is"
    " connected."
)
# About how fast one reads.
WORD_SECONDS: Final = 0.03


class ElizaConnection:
    """The built-in model as a connection. word_seconds: the time between two words of a stream."""

    key = "local:0"
    kind: Kind = "local"
    takes_stream_options = False

    def __init__(self, word_seconds: float = WORD_SECONDS) -> None:
        self._word_seconds = word_seconds
        self._backend: BaseBackend | None = None

    async def list_models(self) -> list[ModelEntry]:
        return [
            ModelEntry(
                id=ELIZA,
                name=ELIZA_NAME,
                remote_id=ELIZA,
                connection=self.key,
                kind=self.kind,
                connection_type="local",
                description=ELIZA_DESCRIPTION,
                answers_tasks=False,
                for_everybody=True,
            )
        ]

    @contextlib.asynccontextmanager
    async def open(
        self,
        entry: ModelEntry,
        payload: dict[str, Any],
        user: dict[str, str] | None = None,  # noqa: ARG002
        tell: Tell | None = None,  # noqa: ARG002
        *,
        patient: bool = False,  # noqa: ARG002
    ) -> AsyncIterator[Reply]:
        if self._backend is None:
            backend = get_backend(ELIZA)()
            backend.load_model(entry.remote_id)
            self._backend = backend
        messages = payload.get("messages")
        if not isinstance(messages, list):
            raise BadRequest("'messages' should be a list.")
        delay = self._word_seconds if payload.get("stream") else 0.0
        async with ElizaReply(self._backend.achat_stream(messages, {"delay": delay}), entry.id) as reply:
            yield reply

    async def embed(self, entry: ModelEntry, payload: dict[str, Any], user: dict[str, str] | None = None) -> bytes:  # noqa: ARG002
        raise BadRequest(f"{entry.name} makes no embeddings. Connect a model that does.")


class ElizaReply:
    """The pieces of a backend's answer as a reply."""

    def __init__(self, pieces: AsyncIterator[str], model_id: str) -> None:
        self._pieces = pieces
        self._model_id = model_id

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            await close()

    def pace(self, wait: Callable[[], float]) -> None:
        """See `base.Reply`."""

    async def events(self) -> AsyncIterator[list[Event]]:
        try:
            async for piece in self._pieces:
                yield [Text(piece)]
        except ParameterError as error:
            raise BadRequest(str(error)) from None
        except LlamaForgeError as error:
            raise ProviderError(f"The model in this server failed: {error}") from error
        yield [Done("stop")]

    def batches(self) -> AsyncIterator[list[bytes]]:
        return as_chunks(self.events(), self._model_id)

    async def whole(self) -> bytes:
        return await as_completion(self.events(), self._model_id)
