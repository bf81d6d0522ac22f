"""What the host is given, what it answers, and how a plugin's failures are told."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from open_webui.errors import OuiError, Unavailable

# The kind of what is no plugin: code that a model or a person has run. Who has it run says whether it may be.
CODE = "code"


class PluginSource(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin as it is stored.

    kind: "tool", "function" or CODE. valves: what an admin has set. requirements: as pip takes them, of the front matter.
    """

    id: str
    kind: str
    content: str
    valves: dict[str, Any] | None = None
    requirements: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """What makes a worker another one: all but the valves."""
        parts = (self.kind, self.id, self.content, *self.requirements)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


class Member(msgspec.Struct, frozen=True):
    """A function of a plugin. wants: names in double underscores. parameters: all others. takes_any: it has **kwargs."""

    wants: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    takes_any: bool = False
    is_async: bool = False


class Loaded(msgspec.Struct, frozen=True):
    """What a plugin is.

    kind: tool, pipe, filter, action or event. members: its functions by name (of a tool: those that it offers to models).
    specs: of a tool, OpenAI's function objects. attributes: name, icon, toggle, citation, file_handler and the like, those
    that it has. pipes: a list of models that is not a function. valves, user_valves: JSON schemas.
    """

    kind: str
    members: dict[str, Member] = {}
    specs: list[dict[str, Any]] = []
    attributes: dict[str, Any] = {}
    pipes: list[dict[str, Any]] | None = None
    valves: dict[str, Any] | None = None
    user_valves: dict[str, Any] | None = None


class Call(msgspec.Struct, frozen=True, eq=False):
    """One call, as who answers its questions sees it. context: what the caller gave. kind: "tool" or "function"."""

    plugin: str
    method: str
    context: dict[str, Any]
    kind: str = ""


# Answers a question that a plugin asks: `event` and `event_call` with {"event": ...}, `tool_call` with {"name", "arguments"},
# `request.state`, `request.url_path_for`, and those of the façade ({"args", "kwargs"}; see oui_sandbox/facade/remote.py). What it
# returns is JSON, or an asynchronous iterator of JSON for an answer in parts. An OuiError's sentence is raised in the plugin.
Answer = Callable[[Call, str, dict[str, Any]], Awaitable[Any]]


class PluginFailed(OuiError):
    """The plugin raised something, or is none. detail: its own sentence. kind: the class of what it raised. trace: its lines."""

    status = 400

    def __init__(self, detail: str, kind: str = "", trace: str = "") -> None:
        super().__init__(detail)
        self.kind = kind
        self.trace = trace


class PluginLost(Unavailable):
    """Its process crashed over the call, took too long or broke a bound, and is gone; the next call has another one."""
