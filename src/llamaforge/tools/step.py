"""One step, without I/O: what a model calls, matched with the tools that there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

from llamaforge.exceptions import ToolError

T = TypeVar("T")
# A longer result is cut: it goes to the model again with every further round.
MAX_RESULT_CHARS: Final = 200_000
_CUT: Final = "\n[The rest of this result was left out: it is longer than {} characters.]"


class CallLike(Protocol):
    """A tool call of a model. arguments: JSON text as the model wrote it."""

    @property
    def call_id(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def arguments(self) -> str: ...


class Call(msgspec.Struct, frozen=True):
    """A tool call of a model. arguments: JSON text as the model wrote it."""

    call_id: str
    name: str
    arguments: str


class BoundCall(msgspec.Struct, Generic[T], frozen=True):
    """A call whose tool exists and whose arguments are an object."""

    call: CallLike
    tool: T
    arguments: dict[str, Any]


def bind(call: CallLike, tools: Mapping[str, T]) -> BoundCall[T]:
    """The call with its tool and its decoded arguments; no arguments at all are an empty object.

    Raises ToolError with a sentence for the model: there is no such tool, or the arguments are no JSON object.
    """
    tool = tools.get(call.name)
    if tool is None:
        names = ", ".join(sorted(tools)) or "none"
        raise ToolError(f"There is no tool '{call.name[:100]}'. There are: {names}.")
    try:
        arguments = msgspec.json.decode(call.arguments.encode()) if call.arguments.strip() else {}
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise ToolError("The arguments of this call are not JSON. Call it again with a JSON object.") from None
    if not isinstance(arguments, dict):
        raise ToolError("The arguments of this call should be a JSON object.")
    return BoundCall(call, tool, arguments)


def shorten(text: str, limit: int = MAX_RESULT_CHARS) -> str:
    """A result as it goes to the model: at most `limit` characters, and a sentence where it was cut."""
    return text if len(text) <= limit else text[:limit] + _CUT.format(limit)
