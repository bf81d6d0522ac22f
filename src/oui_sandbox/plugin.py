"""The plugin of a worker: its module, its one instance, its settings."""

import inspect
import linecache
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any, Final

from oui_sandbox.channel import Channel
from oui_sandbox.context import Context, bound
from oui_sandbox.describe import describe, entry_class

_TRACE_LINES: Final = 8
_LONGEST: Final = 2_000


class Plugin:
    """Loaded once, by the first frame that the server sends."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._instance: Any = None
        self._file = "<plugin>"

    def load(self, frame: dict[str, Any]) -> dict[str, Any]:
        """What the plugin is. Raises whatever its own code raises."""
        name = f"{frame['kind']}_{frame['plugin']}"
        self._file = f"<{name}>"
        sys.path[:0] = frame.get("path") or ()
        module = types.ModuleType(name)
        module.__file__ = self._file
        content = frame["content"]
        linecache.cache[self._file] = (len(content), None, content.splitlines(keepends=True), self._file)
        sys.modules[name] = module
        exec(compile(content, self._file, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - what this process is for
        kind, made_of = entry_class(module)
        self._instance = made_of()
        if frame.get("valves") is not None:
            self._set_valves(frame["valves"])
        return describe(kind, self._instance, module)

    def bind(
        self, method: str, arguments: dict[str, Any], told: dict[str, Any]
    ) -> tuple[Callable[..., Any], dict[str, Any]]:
        """A method and the arguments of one call. Raises AttributeError."""
        function = getattr(self._instance, method)
        context = Context(told, self._channel, lambda: getattr(self._instance, "UserValves", None))
        return function, bound(function, arguments, context)

    async def change_valves(self, values: dict[str, Any]) -> None:
        """Takes other settings, and tells the plugin. Raises whatever its own code raises."""
        self._set_valves(values)
        if (told := getattr(self._instance, "on_valves_updated", None)) is not None:
            done = told()
            if inspect.isawaitable(done):
                await done

    def _set_valves(self, values: dict[str, Any]) -> None:
        if (model := getattr(self._instance, "Valves", None)) is not None:
            self._instance.valves = model(**{name: value for name, value in values.items() if value is not None})

    def failure(self, error: BaseException) -> dict[str, Any]:
        """What the server is told of what was raised. Only lines of the plugin's own text are shown."""
        try:
            sentence = str(error)
        except Exception:  # noqa: BLE001 - the plugin's own exceptions may fail even here
            sentence = ""
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == self._file]
        trace = [f"line {f.lineno}, in {f.name}: {f.line}" for f in frames[-_TRACE_LINES:]]
        if isinstance(error, SyntaxError) and error.filename == self._file:
            sentence = f"{error.msg} (line {error.lineno})"
        return {
            "error": sentence.strip()[:_LONGEST] or f"It raised {type(error).__name__}.",
            "kind": type(error).__name__,
            "trace": "\n".join(trace)[:_LONGEST],
        }
