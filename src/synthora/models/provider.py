"""ProviderBackend: asking a model, once for all providers: the request, the handlers, the stream, usage and cost."""

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, overload

from pydantic import BaseModel

from llamaforge.exceptions import UnsupportedError
from synthora.callbacks import BaseCallBackHandler
from synthora.callbacks.manager import anotify, notify
from synthora.exceptions import MessageError, NoAnswerError, StreamInterruptedError
from synthora.messages import BaseMessage
from synthora.messages.answers import failure
from synthora.models import prices, structured
from synthora.models.base import OPENED, AsyncPieces, BaseModelBackend, Pieces
from synthora.models.profile import OPENAI
from synthora.types import CallBackEvent, ModelBackendType, Node

Json = dict[str, Any]
# The names of the longest answer, in tokens.
_LIMITS = frozenset({"max_tokens", "max_completion_tokens"})


@dataclass(frozen=True, slots=True)
class Request:
    """parameters: what goes to the provider. told: what handlers are told with each event. shape: of the answer."""

    parameters: Json
    told: Json
    streamed: bool
    shape: type[BaseModel] | None
    prices: Mapping[str, Any] | None


class ProviderBackend(BaseModelBackend):
    """A subclass says how to ask: whole, in chunks, and both without blocking. The answers have OpenAI's shapes.

    Beside the provider's own parameters, `config` and calls take `response_format` (a pydantic class as well as OpenAI's
    dictionary) and `prices` (see synthora.models.prices). A parameter that is None counts as not given.

    profile: what the model wants of a request; OpenAI's unless a subclass, or its user, sets another.
    """

    def __init__(
        self,
        model_type: str,
        source: Node | None,
        backend_type: ModelBackendType,
        config: Mapping[str, Any] | None = None,
        name: str | None = None,
        handlers: Iterable[BaseCallBackHandler] | None = None,
    ) -> None:
        """Raises ConfigError for prices that are none."""
        super().__init__(model_type, source, backend_type, config, name, handlers)
        self.profile = OPENAI
        if self.config.get("prices") is not None:
            prices.check(self.config["prices"])

    # ---- what a subclass writes

    @abstractmethod
    def _ask(self, parameters: Json) -> Any:
        """The whole response."""
        raise NotImplementedError

    @abstractmethod
    def _ask_stream(self, parameters: Json) -> Iterator[Any]:
        """The chunks of the response. The request is made now; `close()` ends it."""
        raise NotImplementedError

    @abstractmethod
    async def _aask(self, parameters: Json) -> Any:
        """The whole response, without blocking."""
        raise NotImplementedError

    @abstractmethod
    async def _aask_stream(self, parameters: Json) -> AsyncIterator[Any]:
        """Its chunks, without blocking. `aclose()` or an asynchronous `close()` ends the request."""
        raise NotImplementedError

    def _input(self, messages: Any) -> Json:
        """Messages as parameters of a request. Raises MessageError."""
        return {"messages": [message.to_openai_message(self.profile) for message in _as_list(messages)]}

    def _told(self, messages: Any, parameters: Json) -> Json:  # noqa: ARG002 -- for those that tell them in another way
        """What handlers are told when the model is asked, of `messages` as they were given."""
        return parameters

    def _as_ours(self, error: BaseException) -> BaseException:
        """An error of the provider's client as one of our family; any other error itself."""
        return error

    def _message(self, response: Any) -> BaseMessage:
        """The answer in a response. Raises NoAnswerError where there is none."""
        if (error := failure(response)) is not None:
            raise error
        return BaseMessage.from_openai_chat_response(response, self.source)

    def _next_message(self, chunk: Any, previous: BaseMessage | None) -> BaseMessage:
        return BaseMessage.from_openai_chat_stream_response(chunk, self.source, previous)

    # ---- asking

    @overload
    def run(self, messages: Any, *args: Any, stream: Literal[False], **kwargs: Any) -> BaseMessage: ...
    @overload
    def run(self, messages: Any, *args: Any, stream: Literal[True], **kwargs: Any) -> Pieces: ...
    @overload
    def run(self, messages: Any, *args: Any, **kwargs: Any) -> Any: ...
    def run(self, messages: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002 -- as published
        """See BaseModelBackend. What goes wrong is told to `on_llm_error` and raised, also in the middle of a stream.

        Raises APIError and its kin for what a provider or the network does (see synthora.exceptions; they are the errors of
        the provider's client as well), MessageError, StreamInterruptedError, StructuredOutputError.
        """
        request = self._request(messages, kwargs)
        if request.streamed:
            pieces = self._pieces(request)
            next(pieces)  # the request is made now, and what is wrong with it is raised here
            return pieces
        handlers = self.callback_manager.handlers
        notify(handlers, CallBackEvent.LLM_START, self.source, **request.told)
        try:
            message = self._finished(self._message(self._ask(request.parameters)), request)
        except BaseException as raised:
            error = self._failure(raised, None)
            notify(handlers, CallBackEvent.LLM_ERROR, self.source, error, **request.parameters)
            if error is raised:
                raise
            raise error from raised
        notify(handlers, CallBackEvent.LLM_END, self.source, message, **request.parameters)
        return message

    @overload
    async def async_run(self, messages: Any, *args: Any, stream: Literal[False], **kwargs: Any) -> BaseMessage: ...
    @overload
    async def async_run(self, messages: Any, *args: Any, stream: Literal[True], **kwargs: Any) -> AsyncPieces: ...
    @overload
    async def async_run(self, messages: Any, *args: Any, **kwargs: Any) -> Any: ...
    async def async_run(self, messages: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002 -- as published
        """See BaseModelBackend; errors as of `run`. Cancelling ends the request."""
        request = self._request(messages, kwargs)
        if request.streamed:
            pieces = self._apieces(request)
            await anext(pieces)
            return pieces
        handlers = self.callback_manager.handlers
        await anotify(handlers, CallBackEvent.LLM_START, self.source, **request.told)
        try:
            message = self._finished(self._message(await self._aask(request.parameters)), request)
        except BaseException as raised:
            error = self._failure(raised, None)
            await anotify(handlers, CallBackEvent.LLM_ERROR, self.source, error, **request.parameters)
            if error is raised:
                raise
            raise error from raised
        await anotify(handlers, CallBackEvent.LLM_END, self.source, message, **request.parameters)
        return message

    def _pieces(self, request: Request) -> Pieces:
        """The messages of a stream, after one that only says that the request has been made."""
        handlers, parameters = self.callback_manager.handlers, request.parameters
        message: BaseMessage | None = None
        notify(handlers, CallBackEvent.LLM_START, self.source, **request.told)
        try:
            with _closing(self._ask_stream(parameters)) as chunks:
                yield OPENED
                for chunk in chunks:
                    message = self._grown(chunk, message, request)
                    if handlers:
                        notify(handlers, CallBackEvent.LLM_CHUNK, self.source, message, **parameters)
                    yield message
                if (last := self._unfinished(message, chunks, request)) is not None:
                    message = last
                    notify(handlers, CallBackEvent.LLM_CHUNK, self.source, message, **parameters)
                    yield message
        except GeneratorExit:  # its reader has had enough
            notify(handlers, CallBackEvent.LLM_END, self.source, message or OPENED, **parameters)
            raise
        except BaseException as raised:
            error = self._failure(raised, message)
            notify(handlers, CallBackEvent.LLM_ERROR, self.source, error, **parameters)
            if error is raised:
                raise
            raise error from raised
        notify(handlers, CallBackEvent.LLM_END, self.source, message, **parameters)

    async def _apieces(self, request: Request) -> AsyncPieces:
        """The same without blocking."""
        handlers, parameters = self.callback_manager.handlers, request.parameters
        message: BaseMessage | None = None
        await anotify(handlers, CallBackEvent.LLM_START, self.source, **request.told)
        try:
            async with _aclosing(await self._aask_stream(parameters)) as chunks:
                yield OPENED
                async for chunk in chunks:
                    message = self._grown(chunk, message, request)
                    if handlers:
                        await anotify(handlers, CallBackEvent.LLM_CHUNK, self.source, message, **parameters)
                    yield message
                if (last := self._unfinished(message, chunks, request)) is not None:
                    message = last
                    await anotify(handlers, CallBackEvent.LLM_CHUNK, self.source, message, **parameters)
                    yield message
        except GeneratorExit:
            await anotify(handlers, CallBackEvent.LLM_END, self.source, message or OPENED, **parameters)
            raise
        except BaseException as raised:
            error = self._failure(raised, message)
            await anotify(handlers, CallBackEvent.LLM_ERROR, self.source, error, **parameters)
            if error is raised:
                raise
            raise error from raised
        await anotify(handlers, CallBackEvent.LLM_END, self.source, message, **parameters)

    # ---- before and after

    def _request(self, messages: Any, given: Json) -> Request:
        merged = {**self.config, **given}
        table = merged.pop("prices", None)
        streamed = bool(merged.pop("stream", False))
        if "stream_options" not in merged and streamed:
            merged["stream_options"] = {"include_usage": True}
        parameters = {name: value for name, value in merged.items() if value is not None}
        if not parameters.get("tools", True):
            del parameters["tools"]
        if "tools" in parameters and not self.profile.supports_tools:
            raise UnsupportedError(f"The model '{self.model_type}' calls no tools.")
        if limit := self.profile.max_tokens:
            for other in _LIMITS - {limit} & parameters.keys():
                parameters.setdefault(limit, parameters.pop(other))
        shape = parameters.get("response_format")
        if isinstance(shape, type) and issubclass(shape, BaseModel):
            parameters["response_format"] = structured.response_format(shape, self.profile.schemas)
        else:
            shape = None
        parameters.update(model=self.model_type, **self._input(messages))
        if streamed:
            parameters["stream"] = True
        else:
            parameters.pop("stream_options", None)
        return Request(parameters, self._told(messages, parameters), streamed, shape, table)

    def _grown(self, chunk: Any, previous: BaseMessage | None, request: Request) -> BaseMessage:
        message = self._next_message(chunk, previous)
        if message.metadata["finish_reason"] or message.metadata["usage"]:
            return self._finished(message, request)
        return message

    def _unfinished(self, message: BaseMessage | None, chunks: Any, request: Request) -> BaseMessage | None:
        """What has to follow the last message of a stream: its end, where the provider has given no reason for it.

        None where it is there. Raises StreamInterruptedError, NoAnswerError where nothing has come.
        """
        if message is not None and message.is_complete:
            return None
        if message is None or not (message.content or message.tool_calls or message.metadata.get("refusal")):
            raise NoAnswerError(f"The provider of '{self.name}' ended its stream without an answer.")
        if not getattr(chunks, "done", False):
            raise StreamInterruptedError(f"The provider of '{self.name}' ended its answer in the middle.")
        last = message.model_copy(update={"chunk": None, "metadata": dict(message.metadata)})
        last.metadata["finish_reason"] = "tool_calls" if message.tool_calls else "stop"
        return self._finished(last, request)

    def _failure(self, raised: BaseException, message: BaseMessage | None) -> BaseException:
        """What is told and raised for an error. message: what had come of a stream."""
        error = self._as_ours(raised)
        if message is not None and not isinstance(error, asyncio.CancelledError):
            error.add_note(f"It happened in the middle of a stream, after {len(message.content or '')} characters.")
        return error

    def _finished(self, message: BaseMessage, request: Request) -> BaseMessage:
        """`message` with its cost and its object, where it is known and they are not yet."""
        metadata = message.metadata
        if request.prices and (usage := metadata["usage"]) is not None:
            spent = prices.cost(usage, request.prices, (metadata["model"], self.model_type))
            if spent is not None:
                metadata["cost"] = spent
        if request.shape is not None and message.parsed is None and message.is_complete:
            message.parsed = structured.parse(message, request.shape)
        return message


def _as_list(messages: Any) -> list[BaseMessage]:
    found = list(messages) if isinstance(messages, list | tuple) else [messages]
    for message in found:
        if not isinstance(message, BaseMessage):
            raise MessageError(f"A model is asked with messages, not {type(message).__name__}; use user('...').")
    if not found:
        raise MessageError("A model is asked with at least one message.")
    return found


@contextlib.contextmanager
def _closing(chunks: Iterator[Any]) -> Iterator[Iterator[Any]]:
    try:
        yield chunks
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            close()


@contextlib.asynccontextmanager
async def _aclosing(chunks: AsyncIterator[Any]) -> AsyncIterator[AsyncIterator[Any]]:
    try:
        yield chunks
    finally:
        close = getattr(chunks, "aclose", None) or getattr(chunks, "close", None)
        if close is not None:
            await close()
