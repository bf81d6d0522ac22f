"""Tools for synthora's backends: functions that a model may call, run until it answers, with the handlers told of each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from llamaforge.tools import Call, Request, Tool, ToolLoop
from llamaforge.tools.loop import AApprove, Answer, Approve, Bound, Result, arun, run
from synthora.callbacks.manager import anotify, notify
from synthora.exceptions import StructuredOutputError
from synthora.messages import BaseMessage, assistant, tool_response, user
from synthora.models import structured
from synthora.models.base import BaseModelBackend
from synthora.types import CallBackEvent, Err, Node, NodeType, Ok

__all__ = ["Answer", "Tool", "arun_tools", "run_tools"]


class _Messages:
    """llamaforge.tools.MessageFormat over BaseMessage."""

    def calls(self, message: BaseMessage) -> Sequence[Call]:
        found = []
        for number, call in enumerate(message.tool_calls or ()):
            call.id = call.id or f"call_{number}"
            found.append(Call(call.id, call.function.name, call.function.arguments))
        return found

    def text(self, message: BaseMessage) -> str | None:
        return None if message.metadata.get("refusal") else message.content or ""

    def result(self, call: Any, result: Result) -> BaseMessage:
        return tool_response(result.text, call.call_id, call.name or "tool")

    def correction(self, text: str) -> BaseMessage:
        return user(text)


def run_tools(
    backend: BaseModelBackend,
    messages: BaseMessage | Sequence[BaseMessage],
    tools: Iterable[Tool | Callable[..., Any]],
    *,
    approve: Approve | None = None,
    max_rounds: int = 16,
    check: Callable[[str], Any] | None = None,
    retries: int = 2,
    **parameters: Any,
) -> Answer[BaseMessage]:
    """The backend's answer to `messages`, with the tools that the model calls run on the way.

    Handlers of the backend are told of each call (on_tool_start, on_tool_end, on_tool_error). parameters: of each request;
    with `response_format`, an answer that doesn't fit is asked for again, and the object is the answer's `output`.
    approve, max_rounds, check, retries: see llamaforge.tools. Raises what the backend raises, GenerationError,
    InvalidOutputError.
    """
    loop = _loop(messages, tools, check, parameters, max_rounds=max_rounds, retries=retries)

    def ask(request: Request[BaseMessage]) -> BaseMessage:
        try:
            answer = backend.run(request.messages, **{**parameters, **_asked(request)})
            return _last(answer) if isinstance(answer, Iterator) else answer
        except StructuredOutputError as error:
            return error.message  # type: ignore[no-any-return]

    return run(loop, ask, approve=approve, observe=lambda call, result: notify(*_event(backend, call, result)))


async def arun_tools(
    backend: BaseModelBackend,
    messages: BaseMessage | Sequence[BaseMessage],
    tools: Iterable[Tool | Callable[..., Any]],
    *,
    approve: AApprove | None = None,
    max_rounds: int = 16,
    check: Callable[[str], Any] | None = None,
    retries: int = 2,
    **parameters: Any,
) -> Answer[BaseMessage]:
    """`run_tools` without blocking the event loop; cancelling it ends the request and asynchronous tools."""
    loop = _loop(messages, tools, check, parameters, max_rounds=max_rounds, retries=retries)

    async def ask(request: Request[BaseMessage]) -> BaseMessage:
        try:
            answer = await backend.async_run(request.messages, **{**parameters, **_asked(request)})
            return await _alast(answer) if isinstance(answer, AsyncIterator) else answer
        except StructuredOutputError as error:
            return error.message  # type: ignore[no-any-return]

    return await arun(loop, ask, approve=approve, observe=lambda call, result: anotify(*_event(backend, call, result)))


def _loop(
    messages: BaseMessage | Sequence[BaseMessage],
    tools: Iterable[Tool | Callable[..., Any]],
    check: Callable[[str], Any] | None,
    parameters: dict[str, Any],
    **options: Any,
) -> ToolLoop[BaseMessage]:
    shape = parameters.get("response_format")
    if check is None and isinstance(shape, type) and issubclass(shape, BaseModel):
        check = _parser(shape)
    given = [messages] if isinstance(messages, BaseMessage) else messages
    return ToolLoop(given, tools, _Messages(), check=check, **options)


def _parser(shape: type[BaseModel]) -> Callable[[str], Any]:
    return lambda text: structured.parse(assistant(text), shape)


def _asked(request: Request[BaseMessage]) -> dict[str, Any]:
    if not request.tools:
        return {}
    return {"tools": request.tools} | ({} if request.may_call else {"tool_choice": "none"})


def _event(backend: BaseModelBackend, call: Bound, result: Result | None) -> tuple[Any, ...]:
    """What handlers are told of a call: the arguments of `notify`."""
    source = Node(name=call.tool.name, type=NodeType.TOOL, ancestor=backend.source)
    handlers = backend.callback_manager.handlers
    if result is None:
        return handlers, CallBackEvent.TOOL_START, source, call.arguments
    if result.failed:
        error = result.value if isinstance(result.value, Exception) else RuntimeError(result.text)
        return handlers, CallBackEvent.TOOL_ERROR, source, Err(error, result.text)
    return handlers, CallBackEvent.TOOL_END, source, Ok(result.value)


def _last(answer: Iterator[BaseMessage]) -> BaseMessage:
    """The whole answer of a stream."""
    *_, message = answer
    return message


async def _alast(answer: AsyncIterator[BaseMessage]) -> BaseMessage:
    found: BaseMessage | None = None
    async for message in answer:
        found = message
    assert found is not None, "a backend raises when nothing comes"
    return found
