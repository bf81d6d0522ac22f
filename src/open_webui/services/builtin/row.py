"""What a built-in tool is: one declared row, and what it may use when it is called."""

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from pydantic import BaseModel, ValidationError

from open_webui.errors import BadRequest
from open_webui.events import Caller
from open_webui.models.base import clean
from open_webui.tools.port import Asked, Progress, ToolResult

if TYPE_CHECKING:
    from open_webui.services.builtin.deps import Deps


F = TypeVar("F", bound=BaseModel)


class Use(msgspec.Struct, frozen=True):
    """One call. asked: the answer that it is made for; all is done in the name of its principal."""

    deps: "Deps"
    asked: Asked
    arguments: dict[str, Any]
    progress: Progress

    @property
    def page(self) -> Caller:
        """The person's page, which can be asked something."""
        found: Caller = self.deps.emitter
        return found

    @property
    def brought(self) -> tuple[str, ...]:
        """Ids of the knowledge that comes with the model."""
        return brought(self.asked)

    def text(self, name: str, *, limit: int = 2_000) -> str:
        """A text that has to be there. Raises BadRequest."""
        value = self.arguments.get(name)
        value = clean(value).strip() if isinstance(value, str) else ""
        if not value:
            raise BadRequest(f"'{name}' should be a text.")
        return value[:limit]

    def optional(self, name: str, *, limit: int = 2_000) -> str | None:
        """A text that may be left out, or empty. Raises BadRequest."""
        return self.text(name, limit=limit) if self.arguments.get(name) not in (None, "") else None

    def number(self, name: str, default: int, *, least: int = 0, most: int = 50) -> int:
        """A whole number, brought into its bounds."""
        value = self.arguments.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            return default
        return min(max(int(value), least), most)

    def flag(self, name: str, *, default: bool = False) -> bool:
        value = self.arguments.get(name)
        return value if isinstance(value, bool) else default


def brought(asked: Asked) -> tuple[str, ...]:
    """Ids of the knowledge that comes with an answer's model."""
    known = asked.meta.get("knowledge")
    ids = [entry.get("id") for entry in known if isinstance(entry, dict)] if isinstance(known, list) else []
    return tuple(one for one in ids if isinstance(one, str))


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A tool. category: the model's settings switch categories off. parameters: JSON Schema of each, by name.

    needs: the permissions that a person needs for it. feature: it is offered only where this was switched on for the
    question. setting: it is offered only where this setting is on. on_demand: it is offered only where an answer needs it.
    stored: it is not offered in temporary chats. with_skills: it is offered only where there are skills. private: what it finds
    or changes is the asker's alone, so it is not offered in somebody else's chat. by_page: it is offered only where a person's
    page asked, and not in the runs of automations. brought: in somebody else's chat it finds only what comes with the model, and
    is not offered where nothing does. run: the module of this package and the function in it, which takes the Use
    and answers something that becomes JSON, or a ToolResult; imported when it is called.
    """

    name: str
    category: str
    description: str
    run: str
    parameters: Mapping[str, dict[str, Any]] = {}
    required: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    feature: str | None = None
    setting: str | None = None
    seconds: float = 30.0
    on_demand: bool = False
    stored: bool = False
    with_skills: bool = False
    private: bool = False
    by_page: bool = False
    brought: bool = False


class BuiltIn:
    """A row, for one answer: `tools.port.Tool`."""

    def __init__(self, row: Row, deps: "Deps", asked: Asked) -> None:
        self.row = row
        self.seconds = row.seconds
        self.definition: dict[str, Any] = {
            "name": row.name,
            "description": row.description,
            "parameters": {"type": "object", "properties": dict(row.parameters), "required": list(row.required)},
        }
        self._deps = deps
        self._asked = asked

    async def run(self, arguments: dict[str, Any], progress: Progress) -> ToolResult:
        """See `tools.port.Tool`."""
        module, _, name = self.row.run.partition(".")
        run: Any = getattr(importlib.import_module(f"{__package__}.{module}"), name)
        given = await run(Use(self._deps, self._asked, arguments, progress))
        if isinstance(given, ToolResult):
            return given
        return ToolResult(text=given if isinstance(given, str) else msgspec.json.encode(given).decode())


def formed(form: type[F], values: Mapping[str, Any]) -> F:
    """A form of what a model gave, with the bounds of the routes. Raises BadRequest."""
    try:
        return form.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise BadRequest(f"'{'.'.join(str(part) for part in first['loc'])}': {first['msg']}.") from None


def text(description: str) -> dict[str, Any]:
    """The schema of a text."""
    return {"type": "string", "description": description}


def number(description: str) -> dict[str, Any]:
    """The schema of a whole number."""
    return {"type": "integer", "description": description}


def flag(description: str) -> dict[str, Any]:
    """The schema of a yes or no."""
    return {"type": "boolean", "description": description}
