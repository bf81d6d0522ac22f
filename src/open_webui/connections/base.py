"""What a connection is: a named source of models that answers chat requests as a stream of OpenAI chunks."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol

import msgspec

from llamaforge.events import Event
from open_webui.models.functions import FunctionRow
from open_webui.principal import Principal

Kind = Literal["openai", "ollama", "local", "pipe"]
# Hears why an answer has not begun yet, as a sentence for who waits; None when it is about to begin.
Tell = Callable[[str | None], None]


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One model as its source lists it.

    id: what clients call it (with the connection's prefix, if it has one). remote_id: what the source calls it.
    connection: the key of its connection. index: the connection's place in the admin's list (the wire's `urlIdx`).
    raw: the source's own object, shown under the key of its kind; of a pipe `{"pipe": {"type": "pipe"}, "has_user_valves": ...}`,
    shown as it is. tags: names, for the page's filter.
    """

    id: str
    name: str
    remote_id: str
    connection: str
    kind: Kind
    index: int = 0
    created: int = 0
    connection_type: str = "external"
    raw: dict[str, Any] = {}
    tags: tuple[str, ...] = ()
    description: str | None = None
    # False for one that is no language model: it is not asked for titles, tags and follow-up questions.
    answers_tasks: bool = True
    # True for one whose provider wants a model's earlier thinking back with the conversation.
    returns_reasoning: bool = False
    # True for one that needs nobody's permission: every account may use it.
    for_everybody: bool = False


class Reply(Protocol):
    """A provider's opened answer."""

    def pace(self, wait: Callable[[], float]) -> None:
        """From now on lets `wait()` seconds pass before each read of a stream but the first. To be called before
        `batches`; an answer that is made in this process may pass it over.
        """
        ...

    def batches(self) -> AsyncIterator[list[bytes]]:
        """The answer's chunks as they arrive: each list holds the JSON texts (OpenAI `chat.completion.chunk`, without
        `data: `) that came in one read; never an empty list, no terminator. JSON that can't be decoded is left out.

        Ends after the terminator. Raises ProviderError when the stream broke off before it, or when a line is too long.
        """
        ...

    def events(self) -> AsyncIterator[list[Event]]:
        """The answer's events as they arrive, each list those that came in one read; also of an answer that was not
        streamed. An empty list: something came that says nothing, such as the role in a first chunk.

        Ends and raises as `batches`; an error that the provider tells of is raised and is no event. Of `batches`, `events`
        and `whole` one is used, once.
        """
        ...

    async def whole(self) -> bytes:
        """The answer to a request that did not ask for a stream, one OpenAI `chat.completion` as JSON."""
        ...


class Connection(Protocol):
    """A source of models. Implementations translate their wire to and from OpenAI's, and errors to ProviderError.

    Only gate.py calls `open`, `embed` and what else a connection offers. takes_stream_options: a stream tells its usage
    only when it is asked to.
    """

    key: str
    kind: Kind
    takes_stream_options: bool

    async def list_models(self) -> list[ModelEntry]:
        """What the source offers now. Raises ProviderError."""
        ...

    def open(
        self,
        entry: ModelEntry,
        payload: dict[str, Any],
        user: dict[str, str] | None = None,
        tell: Tell | None = None,
        *,
        patient: bool = False,
    ) -> AbstractAsyncContextManager[Reply]:
        """The opened answer to an OpenAI chat request (its `model` is replaced by the source's name for it).

        Entering sends it and waits for the status; leaving closes the provider's connection. payload["stream"] says
        whether `batches` or `whole` will be used; `events` serves both. Raises ProviderError with the provider's status
        and body when it refuses. user: id, name, e-mail and role, for connections that forward them. tell: for
        connections that know why one has to wait. patient: others come first where requests wait for each other, and end
        this one (Unavailable).
        """
        ...

    async def embed(self, entry: ModelEntry, payload: dict[str, Any], user: dict[str, str] | None = None) -> bytes:
        """An OpenAI embeddings request (its `model` is replaced), answered as the JSON of OpenAI. Raises ProviderError.

        user: as for `open`.
        """
        ...


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A model that a caller may use, resolved to what is needed to ask it.

    model_id: the id that was asked for (a custom model's or a base model's). entry, connection: where it is. params:
    the profile's parameters, those of a base model below those of a custom one. system: its system prompt. meta: its
    description, capabilities and the like. user_id: whom it was resolved for, None for the server's own questions. made_of: the
    ids of the models that it stands on, its own first. arena_id: the arena that was asked for, where this model was drawn for
    it.
    """

    model_id: str
    entry: ModelEntry
    connection: Connection
    params: dict[str, Any] = {}
    system: str | None = None
    meta: dict[str, Any] = {}
    user_id: str | None = None
    arena_id: str | None = None
    made_of: tuple[str, ...] = ()


class RemoteFilter(msgspec.Struct, frozen=True):
    """A filter of answers at a connection that is a pipelines server (connections/pipelines.py). own: it is the model itself,
    which may look at its questions and answers, too. required: without it a question is not put to a model.
    """

    connection: Connection
    entry: ModelEntry
    own: bool = False
    required: bool = True


class Models(Protocol):
    """What the chat turn asks of the catalogue (catalogue.Catalogue implements it), from memory.

    functions: those that are switched on, filters in the order in which they are run.
    """

    @property
    def functions(self) -> Sequence[FunctionRow]: ...

    def resolve(self, principal: Principal, model_id: str) -> Target:
        """A model for one answer; of an arena, a member that is drawn.

        Raises NotFound (status 400, "Model not found") for what doesn't exist or isn't the caller's to use.
        """
        ...

    def remote_filters(self, target: Target) -> Sequence[RemoteFilter]:
        """The filters of pipelines servers for the answers of a model, in the order in which they are run."""
        ...

    async def wait_until_listed(self, model_id: str) -> None:
        """Right after a start: waits shortly for connections that have not answered yet, if the model is unknown."""
        ...

    def find(self, model_id: str) -> Target | None:
        """The same without a caller, for the server's own questions."""
        ...
