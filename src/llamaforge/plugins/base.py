"""What a plugin is: a name, a description and `process`; hooks and settings for those that want them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from llamaforge.parameters import Parameter, resolve

Kind = Literal["preprocessing", "postprocessing", "tools", "commands"]
KINDS: tuple[Kind, ...] = ("preprocessing", "postprocessing", "tools", "commands")


class BasePlugin:
    """A plugin of any kind. A subclass names itself and writes `process`, whose arguments differ by kind:

    - preprocessing and postprocessing: `process(text) -> str`;
    - tools: `process(**arguments)` with the arguments that `parameters`, a JSON schema, describes;
    - commands: `process(**arguments, llamaforge=forge)` with those that `command_args` lists.

    kind: set by the four subclasses below; a plugin that derives from this class directly names its own.
    settings: what `configure` takes, checked by name and type; None takes anything.
    defaults: the values of settings that were not given.
    """

    kind: ClassVar[Kind | None] = None
    version: str = "0.1.0"
    settings: ClassVar[tuple[Parameter, ...] | None] = None
    defaults: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        """config: settings. Raises ParameterError for one that is unknown or has a wrong value."""
        self.config: dict[str, Any] = {}
        self.configure(config or {})

    @property
    def name(self) -> str:
        """How the plugin is called. Unique among all kinds."""
        raise NotImplementedError(f"{type(self).__name__} has no name.")

    @property
    def description(self) -> str:
        """One sentence for people, and for models where the plugin is a tool."""
        return ""

    @property
    def supports_streaming(self) -> bool:
        """Whether a postprocessor can work on an answer that is still being written."""
        return False

    @property
    def dependencies(self) -> Sequence[str]:
        """The names of plugins that must be enabled before this one."""
        return ()

    @property
    def parameters(self) -> Mapping[str, Any]:
        """A tool's arguments as a JSON schema."""
        return {"type": "object", "properties": {}}

    @property
    def command_args(self) -> Sequence[Mapping[str, Any]]:
        """A command's arguments, each {name, help, required, default}."""
        return ()

    def process(self, *args: Any, **kwargs: Any) -> Any:
        """Do the work; see the class for the arguments."""
        raise NotImplementedError(f"{type(self).__name__} does nothing: it has no process().")

    def process_stream(self, pieces: Iterator[str]) -> Iterator[str]:
        """`process` over an answer in pieces; asked only of plugins that support streaming. Piece by piece by default."""
        for piece in pieces:
            yield self.process(piece)

    # ---- hooks

    def initialize(self, **kwargs: Any) -> None:
        """Called when the plugin is enabled, with `llamaforge`; an exception leaves it disabled."""

    def shutdown(self) -> None:
        """Called when the plugin is disabled."""

    # ---- settings

    def configure(self, config: Mapping[str, Any]) -> None:
        """Replace the settings. Raises ParameterError, and then keeps the present ones."""
        given = dict(config) if self.settings is None else resolve(config, self.settings, "setting")
        self.config = {**self.defaults, **given}

    def get_config(self, key: str, default: Any = None) -> Any:
        """The value of one setting."""
        return self.config.get(key, default)

    # ---- as a tool

    def get_tool_description(self) -> dict[str, Any]:
        """The tool in the form of OpenAI's requests."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}

    def process_tool_call(self, tool_name: str, parameters: Mapping[str, Any]) -> Any:  # noqa: ARG002 - for plugins of several tools
        """Run the tool with the arguments of a call."""
        return self.process(**parameters)


class PreprocessingPlugin(BasePlugin):
    """Changes a prompt before the model sees it."""

    kind: ClassVar[Kind | None] = "preprocessing"


class PostprocessingPlugin(BasePlugin):
    """Changes an answer before the caller sees it."""

    kind: ClassVar[Kind | None] = "postprocessing"


class ToolPlugin(BasePlugin):
    """A function that models may call."""

    kind: ClassVar[Kind | None] = "tools"


class CommandPlugin(BasePlugin):
    """Something a person runs by name."""

    kind: ClassVar[Kind | None] = "commands"
