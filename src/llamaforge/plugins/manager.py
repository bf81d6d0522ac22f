"""Plugins at work: which are enabled, with which settings, and what they do to prompts, answers and calls."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from llamaforge.exceptions import ParameterError, PluginError
from llamaforge.parameters import unknown
from llamaforge.plugins.base import KINDS, BasePlugin, Kind
from llamaforge.plugins.registry import CLASSES, discover
from llamaforge.plugins.stored import Config, StoredPlugins
from llamaforge.plugins.streaming import guarded

_log = logging.getLogger(__name__)


class PluginManager:
    """The plugins of one forge. Preprocessors run in the order in which they were enabled, postprocessors in reverse.

    A preprocessor or postprocessor that raises is logged and skipped; errors of tools and commands reach the caller.
    Tools and commands are asked for by name, so they also run while they are not enabled; models are offered
    enabled tools only. Which plugins are enabled, and their settings, stand in the configuration under "plugins", not saved
    until `config.save()`.
    """

    def __init__(self, forge: Any, config: Config) -> None:
        """forge: given to commands and to `initialize` as `llamaforge`. What the configuration enables is enabled."""
        self._forge = forge
        self._stored = StoredPlugins(config)
        self._plugins: dict[str, BasePlugin] = {}
        self._kinds: dict[str, Kind] = {}
        self._enabled: list[str] = []
        self._started: set[str] = set()
        self._discovered = False
        self._lock = threading.RLock()
        # Replaced, never changed, so that a generation needs no lock to read them.
        self._pre: tuple[BasePlugin, ...] = ()
        self._post: tuple[BasePlugin, ...] = ()
        for name in self._stored.enabled():
            try:
                self._enable(name, ())
            except (PluginError, ParameterError) as error:
                _log.warning("The plugin '%s' of the configuration was not enabled: %s", name, error)

    # ---- which there are

    def list(self, kind: Kind | None = None) -> Sequence[str]:
        """The names of all plugins, those of installed packages among them."""
        with self._lock:
            self._discover()
            names = {name: k for k, classes in CLASSES.items() for name in classes} | self._kinds
            return [name for wanted in KINDS for name, k in names.items() if k == wanted and kind in {None, wanted}]

    def list_enabled(self) -> Sequence[str]:
        """The names of enabled plugins, in the order in which they were enabled."""
        return list(self._enabled)

    def is_enabled(self, name: str) -> bool:
        """Whether `name` is enabled; False for one that does not exist."""
        return name in self._enabled

    def kind(self, name: str) -> Kind:
        """What `name` is. Raises PluginError when it does not exist."""
        with self._lock:
            self.get(name)
            return self._kinds[name]

    def get(self, name: str) -> BasePlugin:
        """The plugin itself. Raises PluginError when it does not exist or can't be made."""
        with self._lock:
            if name not in self._plugins:
                kind, cls = self._find(name)
                self._plugins[name] = _made(name, cls, self._stored.settings(name))
                self._kinds[name] = kind
            return self._plugins[name]

    def register(self, plugin: BasePlugin, kind: Kind | None = None) -> None:
        """Add an instance and enable it; one of the same name is replaced.

        kind: for a plugin that doesn't say it itself. Raises PluginError when it has no kind, name or process().
        """
        kind = kind or getattr(plugin, "kind", None)
        name = _name_of(plugin)
        if kind not in KINDS:
            raise PluginError(
                f"The kind of the plugin '{name}' is not known; derive it from one of the four plugin classes."
            )
        if not callable(getattr(plugin, "process", None)):
            raise PluginError(f"The plugin '{name}' has no process() method.")
        with self._lock:
            if name in self._enabled:
                self.disable(name)
            settings = self._stored.settings(name)
            if settings:
                plugin.configure(settings)
            self._plugins[name], self._kinds[name] = plugin, kind
            self._started.discard(name)
            self._enable(name, ())

    # ---- on and off

    def enable(self, name: str) -> None:
        """Enable `name` after the plugins that it depends on; nothing happens if it is.

        Raises PluginError, and enables nothing, when one of them does not exist, depends on itself or can't start.
        """
        with self._lock:
            before = list(self._enabled)
            try:
                self._enable(name, ())
            except PluginError:
                for other in [other for other in self._enabled if other not in before]:
                    self._stop(other)
                raise
            self._stored.set_enabled(self._enabled)

    def disable(self, name: str) -> None:
        """Disable `name`; nothing happens if it is not enabled. Raises PluginError when it does not exist or is needed."""
        with self._lock:
            if name not in self._enabled:
                self.get(name)
                return
            needing = [other for other in self._enabled if name in self._plugins[other].dependencies]
            if needing:
                raise PluginError(f"The plugin '{name}' is needed by {', '.join(needing)}; disable that first.")
            self._stop(name)
            self._stored.set_enabled(self._enabled)

    def close(self) -> None:
        """Shut all plugins down, the last enabled first. The configuration stays as it is."""
        with self._lock:
            for name in reversed([*self._enabled, *(self._started - set(self._enabled))]):
                self._stop(name)

    # ---- settings

    def get_config(self, name: str) -> dict[str, Any]:
        """The settings that count for `name`, defaults included. Raises PluginError."""
        return dict(self.get(name).config)

    def set_config(self, name: str, config: Mapping[str, Any]) -> None:
        """Replace the settings of `name`, now and in the configuration. Raises PluginError, ParameterError."""
        with self._lock:
            self.get(name).configure(config)
            self._stored.set_settings(name, dict(config))

    def all_configs(self) -> dict[str, dict[str, Any]]:
        """The settings of every plugin that can be made."""
        found = {}
        for name in self.list():
            try:
                found[name] = self.get_config(name)
            except PluginError as error:
                _log.warning("%s", error)
        return found

    # ---- text

    def preprocess(self, text: str) -> str:
        """A prompt through the enabled preprocessors."""
        return _through(self._pre, text)

    def postprocess(self, text: str) -> str:
        """An answer through the enabled postprocessors."""
        return _through(self._post, text)

    def postprocess_stream(self, pieces: Iterator[str]) -> Iterator[str]:
        """An answer in pieces through the enabled postprocessors.

        If all of them support streaming, the pieces go through them as they come. Otherwise all pieces pass unchanged:
        an answer is never held back until it is whole, and never processed by some and not by others.
        """
        if not all(plugin.supports_streaming for plugin in self._post):
            return pieces
        for plugin in self._post:
            pieces = guarded(plugin, pieces)
        return pieces

    # ---- tools and commands

    def tool_schemas(self) -> Sequence[dict[str, Any]]:
        """The enabled tools in OpenAI's form."""
        return [self._plugins[n].get_tool_description() for n in self._enabled if self._kinds[n] == "tools"]

    def use_tool(self, name: str, data: Any) -> Any:
        """What the tool makes of `data`: its arguments by name, or the value of its first one.

        Raises PluginError when there is no such tool or the arguments don't fit, and what the tool itself raises.
        """
        plugin = self._ready(name, "tools")
        schema = plugin.parameters
        properties = schema.get("properties", {})
        if not isinstance(data, Mapping):
            first = next(iter(properties), None)
            if first is None:
                raise PluginError(f"The tool '{name}' needs its arguments by name.")
            data = {first: data}
        _check_names(f"tool '{name}'", data, properties, schema.get("required", ()))
        return plugin.process_tool_call(name, data)

    def run_command(self, name: str, args: Mapping[str, Any] | None = None) -> Any:
        """What the command returns. Raises PluginError when it is unknown or `args` don't fit, and what it raises."""
        plugin = self._ready(name, "commands")
        known = {arg["name"]: arg for arg in plugin.command_args}
        required = [n for n, arg in known.items() if arg.get("required")]
        _check_names(f"command '{name}'", args or {}, known, required)
        defaults = {n: arg["default"] for n, arg in known.items() if "default" in arg and not arg.get("required")}
        return plugin.process(**{**defaults, **(args or {})}, llamaforge=self._forge)

    # ---- inside

    def _ready(self, name: str, kind: Kind) -> BasePlugin:
        with self._lock:
            plugin = self.get(name)
            if self._kinds[name] != kind:
                raise PluginError(f"The plugin '{name}' is not among the {kind}: it is for {self._kinds[name]}.")
            self._start(name, plugin)
            return plugin

    def _enable(self, name: str, needed_by: tuple[str, ...]) -> None:
        if name in self._enabled:
            return
        if name in needed_by:
            raise PluginError(f"Plugins depend on each other in a circle: {' -> '.join((*needed_by, name))}.")
        plugin = self.get(name)
        for dependency in plugin.dependencies:
            try:
                self._enable(dependency, (*needed_by, name))
            except PluginError as error:
                raise PluginError(f"The plugin '{name}' needs '{dependency}'. {error}") from error
        self._start(name, plugin)
        self._enabled.append(name)
        self._sort()

    def _start(self, name: str, plugin: BasePlugin) -> None:
        if name in self._started:
            return
        initialize: Callable[..., None] | None = getattr(plugin, "initialize", None)
        if initialize is not None:
            try:
                initialize(llamaforge=self._forge)
            except Exception as error:
                raise PluginError(f"The plugin '{name}' could not start: {error}") from error
        self._started.add(name)

    def _stop(self, name: str) -> None:
        if name in self._enabled:
            self._enabled.remove(name)
            self._sort()
        self._started.discard(name)
        shutdown: Callable[[], None] | None = getattr(self._plugins[name], "shutdown", None)
        if shutdown is not None:
            try:
                shutdown()
            except Exception:  # noqa: BLE001 - a plugin of others
                _log.exception("The plugin '%s' failed to shut down.", name)

    def _sort(self) -> None:
        of_kind = {kind: [self._plugins[n] for n in self._enabled if self._kinds[n] == kind] for kind in KINDS}
        self._pre = tuple(of_kind["preprocessing"])
        self._post = tuple(reversed(of_kind["postprocessing"]))

    def _find(self, name: str) -> tuple[Kind, type[BasePlugin]]:
        for _ in range(2):
            for kind, classes in CLASSES.items():
                if name in classes:
                    return kind, classes[name]
            if self._discovered:
                break
            self._discover()
        raise PluginError(unknown(name, self.list(), "plugin"))

    def _discover(self) -> None:
        if not self._discovered:
            self._discovered = True
            discover()


def _made(name: str, cls: type[BasePlugin], settings: Mapping[str, Any]) -> BasePlugin:
    try:
        return cls(settings) if settings else cls()
    except Exception as error:
        raise PluginError(f"The plugin '{name}' could not be made: {error}") from error


def _name_of(plugin: BasePlugin) -> str:
    name = getattr(plugin, "name", None)
    if not isinstance(name, str) or not name.strip():
        raise PluginError(f"The plugin {type(plugin).__name__} has no name.")
    return name


def _through(plugins: Sequence[BasePlugin], text: str) -> str:
    for plugin in plugins:
        try:
            changed = plugin.process(text)
        except Exception:  # noqa: BLE001 - a plugin of others
            _log.exception("The plugin '%s' failed and was skipped.", plugin.name)
            continue
        if isinstance(changed, str):
            text = changed
        else:
            _log.error("The plugin '%s' returned no text and was skipped.", plugin.name)
    return text


def _check_names(what: str, given: Mapping[str, Any], known: Mapping[str, Any], required: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise PluginError(f"The {what}: {unknown(name, known, 'argument')}")
    missing = [name for name in required if given.get(name) is None]
    if missing:
        raise PluginError(f"The {what} needs {', '.join(repr(name) for name in missing)}.")
