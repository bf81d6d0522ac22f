"""Handlers: what is told of a run, as methods that do nothing until a subclass writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synthora.messages import BaseMessage
    from synthora.types import Node, Result


class BaseCallBackHandler:
    """Override what you want to hear of, and accept **kwargs: a model backend passes the whole request along.

    source: the node it happens at. An exception in a handler is logged, and the run goes on.
    """

    def on_llm_start(self, source: Node, messages: list[Any], stream: bool = False, *args: Any, **kwargs: Any) -> Any:
        """A model is about to be asked. messages: as they go to the provider, dictionaries of OpenAI's shape."""

    def on_llm_end(self, source: Node, message: BaseMessage, stream: bool = False, *args: Any, **kwargs: Any) -> Any:
        """The model has answered. Of a stream that its reader closed, what had come (its `is_complete` is False)."""

    def on_llm_error(self, source: Node, e: BaseException, stream: bool = False, *args: Any, **kwargs: Any) -> Any:
        """The model was not asked or has not finished its answer; no end follows. Cancellation is told, too."""

    def on_llm_chunk(self, source: Node, message: BaseMessage, *args: Any, **kwargs: Any) -> Any:
        """A piece of an answer: `message.chunk` is new, `message.content` is everything so far."""

    def on_tool_start(self, source: Node, *args: Any, **kwargs: Any) -> Any:
        """A tool is called with these arguments."""

    def on_tool_end(self, source: Node, result: Result[Any]) -> Any:
        """A tool has returned."""

    def on_tool_error(self, source: Node, result: Result[Any]) -> Any:
        """A tool has failed."""

    def on_agent_start(self, source: Node, message: Any, *args: Any, **kwargs: Any) -> Any:
        """An agent begins its task."""

    def on_agent_end(self, source: Node, message: Any, *args: Any, **kwargs: Any) -> Any:
        """An agent is done."""

    def on_agent_error(self, source: Node, result: Result[Any], *args: Any, **kwargs: Any) -> Any:
        """An agent has failed."""


class AsyncCallBackHandler(BaseCallBackHandler):
    """The same as coroutines. In a synchronous run they are run to their end on an event loop of their own."""

    async def _pass(self, *args: Any, **kwargs: Any) -> Any:
        """What a subclass does not write."""

    on_llm_start = on_llm_end = on_llm_error = on_llm_chunk = _pass
    on_tool_start = on_tool_end = on_tool_error = _pass
    on_agent_start = on_agent_end = on_agent_error = _pass
