"""From a question of a plugin to the function that answers it."""

import contextvars
import importlib
from typing import TYPE_CHECKING, Any, Final

from open_webui.errors import BadRequest, NotFound
from open_webui.principal import Principal
from open_webui.services.facades.table import ROWS, Row
from open_webui.services.facades.use import Memory, Use

if TYPE_CHECKING:
    from open_webui.plugins.source import Call
    from open_webui.services.facades.deps import Deps

# How many plugins that ask models may stand above each other: a pipe that asks itself would never end.
MOST_DEEP: Final = 5
DEEP: Final = "Plugins have asked models that are plugins, {} times in each other. It ends here."
# What a plugin hands on because the original takes it; who answers has its own.
_HANDED_ON: Final = frozenset({"db", "request", "background_tasks"})
_depth: contextvars.ContextVar[int] = contextvars.ContextVar("depth of plugins", default=0)


class Answering:
    """The answers to one call of a plugin: `plugins.source.Answer`.

    It is to be made where the call is made: a model that is a plugin is called while another plugin's question is answered,
    and this is where the two are counted.
    """

    def __init__(self, deps: "Deps", principal: Principal) -> None:
        self._deps = deps
        self._principal = principal
        self._memory = Memory(_depth.get())

    async def __call__(self, call: "Call", name: str, arguments: dict[str, Any]) -> Any:
        """Raises OuiError with a sentence for the plugin."""
        row = ROWS.get(name)
        if row is None:
            raise NotFound(f"'{name[:100]}' can't be asked of this server.")
        use = Use(
            deps=self._deps,
            principal=self._principal,
            call=call,
            name=name.rpartition(".")[2],
            arguments=_named(name, row, arguments),
            memory=self._memory,
        )
        token = _depth.set(self._memory.depth + 1)
        try:
            return await _function(row)(use)
        finally:
            _depth.reset(token)


def answering(deps: "Deps", principal: Principal) -> Answering:
    """What answers the questions of one call."""
    return Answering(deps, principal)


def check_depth(use: Use) -> None:
    """Raises BadRequest where plugins ask each other without an end."""
    if use.memory.depth >= MOST_DEEP:
        raise BadRequest(DEEP.format(use.memory.depth))


def _function(row: Row) -> Any:
    module, _, name = row.run.partition(".")
    return getattr(importlib.import_module(f"{__package__}.{module}"), name)


def _named(name: str, row: Row, given: dict[str, Any]) -> dict[str, Any]:
    """The arguments by their names. Raises BadRequest for what the function does not take."""
    if "args" not in given and "kwargs" not in given:
        return given
    args, kwargs = given.get("args") or [], given.get("kwargs") or {}
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise BadRequest("A question has arguments in a list and by name.")
    own = name.rpartition(".")[2]
    if len(args) > len(row.takes) and any(arg is not None for arg in args[len(row.takes) :]):
        raise BadRequest(f"{own} takes at most {len(row.takes)} arguments.")
    named = dict(zip(row.takes, args, strict=False))
    for key, value in kwargs.items():
        if key in row.takes:
            if key in named:
                raise BadRequest(f"{own} was given '{key}' twice.")
            named[key] = value
        elif value is not None and key not in _HANDED_ON:
            raise BadRequest(f"{own} takes no '{str(key)[:100]}' on this server.")
    return named
