"""One question of a plugin: who asks, with which arguments, checked as they are taken."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from pydantic import BaseModel, ValidationError

from open_webui.constants import MAX_ID
from open_webui.errors import BadRequest
from open_webui.models.base import clean, clean_json
from open_webui.principal import Principal

if TYPE_CHECKING:
    from open_webui.plugins.source import Call
    from open_webui.services.facades.deps import Deps
    from open_webui.services.uploads import Sent

F = TypeVar("F", bound=BaseModel)
# Files that one call may leave in the store before it notes them as somebody's.
_MOST_STAGED: Final = 32


class Memory:
    """What lasts from one question of a call to the next.

    depth: how many calls of plugins stand above this one. staged: bytes in the store that are nobody's file yet, by the
    path that the plugin was told.
    """

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.staged: dict[str, Sent] = {}

    def stage(self, path: str, sent: "Sent") -> None:
        """Raises BadRequest."""
        if len(self.staged) >= _MOST_STAGED:
            raise BadRequest(f"At most {_MOST_STAGED} files can be put into the storage in one call.")
        self.staged[path] = sent


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """name: the function that the plugin called."""

    deps: "Deps"
    principal: Principal
    call: "Call"
    name: str
    arguments: dict[str, Any]
    memory: Memory

    def _wrong(self, name: str, what: str) -> BadRequest:
        return BadRequest(f"{self.name}: '{name}' should be {what}.")

    def has(self, name: str) -> bool:
        return self.arguments.get(name) is not None

    def text(self, name: str, *, limit: int = MAX_ID) -> str:
        """A text that has to be there. Raises BadRequest."""
        value = self.arguments.get(name)
        if not isinstance(value, str):
            raise self._wrong(name, "a text")
        if len(value) > limit:
            raise self._wrong(name, f"no longer than {limit:,} characters")
        return clean(value)

    def maybe_text(self, name: str, *, limit: int = MAX_ID) -> str | None:
        return self.text(name, limit=limit) if self.has(name) else None

    def number(self, name: str, default: int, *, most: int) -> int:
        """A whole number from 0, brought into its bound; the default where there is none. Raises BadRequest."""
        value = self.arguments.get(name)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(name, "a whole number")
        return min(max(value, 0), most)

    def object(self, name: str) -> dict[str, Any]:
        """An object that every database can hold. Raises BadRequest."""
        value = self.arguments.get(name)
        if not isinstance(value, dict):
            raise self._wrong(name, "a dictionary")
        cleaned: dict[str, Any] = self._cleaned(name, value)
        return cleaned

    def maybe_object(self, name: str) -> dict[str, Any]:
        return self.object(name) if self.has(name) else {}

    def objects(self, name: str) -> list[dict[str, Any]]:
        """A list of objects. Raises BadRequest."""
        value = self.arguments.get(name)
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise self._wrong(name, "a list of dictionaries")
        cleaned: list[dict[str, Any]] = self._cleaned(name, value)
        return cleaned

    def ids(self, name: str, *, most: int) -> list[str]:
        """A list of ids. Raises BadRequest."""
        value = self.arguments.get(name)
        if not isinstance(value, list) or not all(isinstance(one, str) and len(one) <= MAX_ID for one in value):
            raise self._wrong(name, "a list of ids")
        if len(value) > most:
            raise self._wrong(name, f"a list of at most {most}")
        return [clean(one) for one in value]

    def form(self, name: str, model: type[F], **more: Any) -> F:
        """A form as a route takes it. Raises BadRequest naming the field."""
        return self.filled(model, self.object(name) | more)

    def filled(self, model: type[F], values: Mapping[str, Any]) -> F:
        try:
            return model.model_validate(dict(values))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise BadRequest(f"{self.name}: '{place}' can't be used: {first['msg']}.") from None

    def is_own(self, name: str = "user_id") -> bool:
        """Whether an argument names the person who asks. Raises BadRequest."""
        return self.text(name) == self.principal.id

    def _cleaned(self, name: str, value: Any) -> Any:
        try:
            return clean_json(value)
        except ValueError as error:
            raise BadRequest(f"{self.name}: '{name}' can't be taken: it {error}.") from None
