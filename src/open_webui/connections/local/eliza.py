"""The model that needs no download, in this process."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self

from llamaforge import LlamaForgeError, ParameterError, get_backend
from llamaforge.backends.base import BaseBackend, message_text
from llamaforge.events import Done, Event, Text
from open_webui.connections.base import Kind, ModelEntry, Reply, Tell
from open_webui.connections.render import as_chunks, as_completion
from open_webui.errors import BadRequest, ProviderError
from open_webui.internal.log import get_logger
from open_webui.utils import manual

if TYPE_CHECKING:
    from open_webui.connections.local.lookup import Manual

log = get_logger(__name__)
ELIZA: Final = "eliza"
ELIZA_NAME: Final = "Eliza"
ELIZA_DESCRIPTION: Final = (
    "A small program that listens and asks back, no language model. Ask it how something is done here, and it looks that"
    " up in the documentation. It goes when a model is connected."
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
        found = await self._looked_up(messages)
        pieces = _slowly(found, delay) if found else self._backend.achat_stream(messages, {"delay": delay})
        async with ElizaReply(pieces, entry.id) as reply:
            yield reply

    async def _looked_up(self, messages: list[Any]) -> str | None:
        """What the documentation says to the last message, if that is a question to it."""
        from open_webui.connections.local.lookup import asks  # noqa: PLC0415 -- a server that has models never needs it

        last = messages[-1] if messages else None
        try:
            text = message_text(last) if isinstance(last, Mapping) and last.get("role") == "user" else ""
        except ParameterError:  # the backend says so
            return None
        return await asyncio.to_thread(self._look_up, text) if asks(text) else None

    def _look_up(self, text: str) -> str | None:
        return None if self._manual is None else self._manual.answer(text)

    @cached_property
    def _manual(self) -> "Manual | None":
        """The documentation, read with the first question; None where it is not installed."""
        from open_webui.connections.local.lookup import Manual  # noqa: PLC0415 -- as above

        folder = manual.folder()
        try:
            return None if folder is None else Manual(folder)
        except (OSError, UnicodeDecodeError) as error:
            log.warning("the documentation can't be read", error=str(error))
            return None

    async def embed(self, entry: ModelEntry, payload: dict[str, Any], user: dict[str, str] | None = None) -> bytes:  # noqa: ARG002
        raise BadRequest(f"{entry.name} makes no embeddings. Connect a model that does.")


async def _slowly(text: str, delay: float) -> AsyncIterator[str]:
    """A text word by word."""
    for piece in re.findall(r"\S+\s*", text):
        yield piece
        if delay:
            await asyncio.sleep(delay / 2)  # what is looked up is longer than what is asked back


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
