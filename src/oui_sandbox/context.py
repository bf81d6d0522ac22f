"""What a plugin's function is told of the call: the parameters in double underscores, made of what the server sent."""

import inspect
import types
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final

from oui_sandbox.channel import Channel
from oui_sandbox.values import Value, wrapped

EVENT: Final = "event"
EVENT_CALL: Final = "event_call"
TOOL_CALL: Final = "tool_call"
REQUEST: Final = "request"


class Context:
    """One call's. told: the parts that the server sent, by the parameter's name without its underscores."""

    def __init__(self, told: dict[str, Any], channel: Channel, user_valves: Callable[[], Any]) -> None:
        self._told = told
        self._channel = channel
        self._user_valves = user_valves

    def parameter(self, name: str) -> Any:
        """The value of one parameter."""
        makers: dict[str, Callable[[], Any]] = {
            "user": self._user,
            "event_emitter": lambda: self._emitter(EVENT),
            "event_call": lambda: self._emitter(EVENT_CALL),
            "request": lambda: Request(self._told.get("request") or {}, self._told, self._channel),
            "tools": self._tools,
            "app": lambda: App(self._channel),
            "event": lambda: wrapped(self._told.get("event")),
        }
        key = name.strip("_")
        return makers[key]() if key in makers else self._told.get(key)

    def _user(self) -> Any:
        user = self._told.get("user")
        if not isinstance(user, dict):
            return user
        valves = self._user_valves()
        return user if valves is None else user | {"valves": valves(**(self._told.get("user_valves") or {}))}

    def _emitter(self, name: str) -> Callable[[Any], Any]:
        async def emit(event: Any) -> Any:
            return await self._channel.ask(name, {"event": event})

        return emit

    def _tools(self) -> dict[str, Any]:
        return {tool["name"]: tool | {"callable": self._caller(tool["name"])} for tool in self._told.get("tools") or ()}

    def _caller(self, name: str) -> Callable[..., Any]:
        async def call(**arguments: Any) -> Any:
            return await self._channel.ask(TOOL_CALL, {"name": name, "arguments": arguments})

        return call


class Headers(dict[str, str]):
    """Headers, whose names are the same in any case."""

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return super().__contains__(str(name).lower())

    def get(self, name: str, default: Any = None) -> Any:
        """The header's value."""
        return super().get(name.lower(), default)


class Request:
    """What stands for the request: what most plugins read of it, and otherwise something to hand on."""

    def __init__(self, told: dict[str, Any], context: dict[str, Any], channel: Channel) -> None:
        self.headers = Headers({k.lower(): v for k, v in (told.get("headers") or {}).items()})
        self.cookies: dict[str, str] = {}
        self.query_params: dict[str, str] = dict(told.get("query") or {})
        self.method = told.get("method", "POST")
        self.base_url = told.get("base_url", "http://localhost/")
        self.url = told.get("url", self.base_url)
        self.client = None
        self.state = Value(
            user=Value(**user) if isinstance(user := context.get("user"), dict) else None,
            metadata=context.get("metadata") or {},
            token=None,
            direct=False,
        )
        self.app = App(channel)

    async def is_disconnected(self) -> bool:
        """A stop ends the call itself."""
        return False


class App:
    """What stands for the application."""

    def __init__(self, channel: Channel) -> None:
        self.state = _Asked(channel, f"{REQUEST}.state")
        self._channel = channel

    def url_path_for(self, name: str, **parameters: Any) -> str:
        """The path of a route. Raises AskError."""
        return str(self._channel.ask_now(f"{REQUEST}.url_path_for", {"name": name, "parameters": parameters}))


class _Asked:
    """Attributes that the server is asked for."""

    def __init__(self, channel: Channel, name: str) -> None:
        self._channel = channel
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "config":
            return _Asked(self._channel, f"{self._name}.config")
        return self._channel.ask_now(self._name, {"name": name})


def bound(function: Callable[..., Any], arguments: dict[str, Any], context: Context) -> dict[str, Any]:
    """The arguments of a call: those given that the function takes, and what it is told of the call."""
    return dict(_bound(function, arguments, context))


def _bound(function: Callable[..., Any], arguments: dict[str, Any], context: Context) -> Iterator[tuple[str, Any]]:
    names, takes_any = _shape(function) if isinstance(function, types.MethodType) else _look_at(function)
    for name in names:
        if name.startswith("__") and name.endswith("__"):
            yield name, context.parameter(name)
    for name, value in arguments.items():
        if not name.startswith("__") and (takes_any or name in names):
            yield name, value


def _look_at(function: Callable[..., Any]) -> tuple[tuple[str, ...], bool]:
    """The names of a function's parameters, and whether it takes others, too."""
    parameters = inspect.signature(function).parameters
    return tuple(parameters), any(p.kind is p.VAR_KEYWORD for p in parameters.values())


# A plugin's method is called for each batch of a stream.
_shape: Final = lru_cache(maxsize=256)(_look_at)
