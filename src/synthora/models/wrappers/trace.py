"""TraceBackend: OpenTelemetry spans by the names of its GenAI conventions, and TraceEvents.

The names are those of https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from synthora.messages import BaseMessage
from synthora.models.base import OPENED, AsyncPieces, BaseModelBackend, Pieces
from synthora.models.wrappers.base import Json, WrapperBackend, as_list, as_openai
from synthora.types import CallBackEvent, ModelBackendType, Node, TraceEvent

_PROVIDERS = {
    ModelBackendType.OPENAI_CHAT: "openai",
    ModelBackendType.OPENAI_COMPLETION: "openai",
    ModelBackendType.AZURE_CHAT: "azure.ai.openai",
    ModelBackendType.AZURE_COMPLETION: "azure.ai.openai",
    ModelBackendType.GEMINI: "gcp.gemini",
}
_PLAIN = {ModelBackendType.OPENAI_COMPLETION, ModelBackendType.AZURE_COMPLETION}
_PARAMETERS = ("temperature", "top_p", "top_k", "max_tokens", "frequency_penalty", "presence_penalty", "seed")


class TraceBackend(WrapperBackend):
    """A client span for each request, without the words of either side, where opentelemetry-api is installed.

    Streams are spans until they end or are closed. `record` gets the start, the end and the error of each request as
    TraceEvents, these with the words.
    """

    def __init__(
        self,
        backend: BaseModelBackend,
        record: Callable[[TraceEvent], None] | None = None,
        tracer: Any = None,
    ) -> None:
        """record: called at once, in the thread of the request. tracer: an OpenTelemetry one, else the global one's."""
        super().__init__(backend)
        self.record = record
        self.tracer = tracer or _global_tracer()

    def _whole(self, messages: Any, arguments: Json) -> BaseMessage:
        trace = _Trace(self, messages, arguments)
        try:
            with trace.current():
                answer = super()._whole(messages, arguments)
        except BaseException as error:
            trace.failed(error)
            raise
        trace.ended(answer)
        return answer

    def _open(self, messages: Any, arguments: Json) -> Pieces:
        pieces = self._traced(messages, arguments)
        next(pieces)
        return pieces

    async def _awhole(self, messages: Any, arguments: Json) -> BaseMessage:
        trace = _Trace(self, messages, arguments)
        try:
            with trace.current():
                answer = await super()._awhole(messages, arguments)
        except BaseException as error:
            trace.failed(error)
            raise
        trace.ended(answer)
        return answer

    async def _aopen(self, messages: Any, arguments: Json) -> AsyncPieces:
        pieces = self._atraced(messages, arguments)
        await anext(pieces)
        return pieces

    def _traced(self, messages: Any, arguments: Json) -> Pieces:
        """The stream, after one message that only says that it has been opened."""
        trace = _Trace(self, messages, arguments)
        message: BaseMessage | None = None
        try:
            with trace.current():
                opened = super()._open(messages, arguments)
            with contextlib.closing(opened) as pieces:
                yield OPENED
                for message in pieces:
                    yield message
        except GeneratorExit:
            trace.ended(message)
            raise
        except BaseException as error:
            trace.failed(error)
            raise
        trace.ended(message)

    async def _atraced(self, messages: Any, arguments: Json) -> AsyncPieces:
        trace = _Trace(self, messages, arguments)
        last: BaseMessage | None = None
        try:
            with trace.current():
                opened = await super()._aopen(messages, arguments)
            async with contextlib.aclosing(opened) as pieces:
                yield OPENED
                async for message in pieces:
                    last = message
                    yield message
        except GeneratorExit:
            trace.ended(last)
            raise
        except BaseException as error:
            trace.failed(error)
            raise
        trace.ended(last)


class _Trace:
    """One request, from its start to its end."""

    def __init__(self, backend: TraceBackend, messages: Any, arguments: Json) -> None:
        self._node: Node = backend.source
        self._record = backend.record
        self._started = time.perf_counter()
        self._span = None
        asked = {**backend.config, **arguments}
        if backend.tracer is not None:
            self._span = _span(backend, asked)
        if self._record is not None:
            given = [as_openai(message) for message in as_list(messages)]
            self._tell(CallBackEvent.LLM_START, given, model=backend.model_type)

    def current(self) -> contextlib.AbstractContextManager[Any]:
        """While it lasts, spans of others are within this one."""
        if self._span is None:
            return contextlib.nullcontext()
        from opentelemetry import trace  # noqa: PLC0415 -- it is there, since there is a span

        return trace.use_span(self._span, record_exception=False, set_status_on_exception=False)

    def ended(self, message: BaseMessage | None) -> None:
        metadata = {} if message is None else message.metadata
        usage = metadata.get("usage")
        if self._span is not None:
            found = {
                "gen_ai.response.id": None if message is None else message.id,
                "gen_ai.response.model": metadata.get("model"),
                "gen_ai.response.finish_reasons": [reason] if (reason := metadata.get("finish_reason")) else None,
                "gen_ai.usage.input_tokens": None if usage is None else usage.prompt_tokens,
                "gen_ai.usage.output_tokens": None if usage is None else usage.completion_tokens,
            }
            for name, value in found.items():
                if value is not None:
                    self._span.set_attribute(name, value)
            self._span.end()
        if self._record is not None:
            self._tell(CallBackEvent.LLM_END, as_openai(message), **metadata)

    def failed(self, error: BaseException) -> None:
        if self._span is not None:
            from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 -- as above

            kind = type(error)
            self._span.set_attribute("error.type", f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."))
            self._span.set_status(Status(StatusCode.ERROR, str(error)))
            self._span.end()
        if self._record is not None:
            self._tell(CallBackEvent.LLM_ERROR, f"{type(error).__name__}: {error}")

    def _tell(self, event: CallBackEvent, data: Any, **metadata: Any) -> None:
        if self._record is not None:
            stack = list(_ancestors(self._node))[::-1]
            about = {**metadata, "seconds": time.perf_counter() - self._started}
            self._record(TraceEvent.create(event, data, stack, self._node, about))


def _span(backend: TraceBackend, asked: Json) -> Any:
    from opentelemetry.trace import SpanKind  # noqa: PLC0415 -- there is a tracer

    operation = "text_completion" if backend.backend_type in _PLAIN else "chat"
    attributes = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": _PROVIDERS.get(backend.backend_type, str(backend.backend_type)),
        "gen_ai.request.model": backend.model_type,
        **{f"gen_ai.request.{name}": asked[name] for name in _PARAMETERS if asked.get(name) is not None},
    }
    if stop := asked.get("stop"):
        attributes["gen_ai.request.stop_sequences"] = [stop] if isinstance(stop, str) else list(stop)
    address = urlsplit(getattr(backend, "base_url", None) or "")
    if address.hostname:
        attributes["server.address"] = address.hostname
        attributes["server.port"] = address.port or (443 if address.scheme == "https" else 80)
    return backend.tracer.start_span(f"{operation} {backend.model_type}", kind=SpanKind.CLIENT, attributes=attributes)


def _global_tracer() -> Any:
    try:
        from opentelemetry import trace  # noqa: PLC0415 -- not a dependency: used where it is there
    except ImportError:
        return None
    return trace.get_tracer("synthora")


def _ancestors(node: Node) -> Iterator[Node]:
    above = node.ancestor
    while above is not None:
        yield above
        above = above.ancestor
