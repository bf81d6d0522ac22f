"""Which built-in tools an answer gets."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from open_webui.services.builtin.row import BuiltIn, Row, brought
from open_webui.services.builtin.rows import ROWS
from open_webui.tools.port import Asked, Tool

if TYPE_CHECKING:
    from open_webui.services.builtin.deps import Deps

# Names that categories had, which may be stored with models.
FORMER: Final = {"user_input": "asking"}


def is_on(feature: str, asked: Asked) -> bool:
    """Whether a feature was switched on for the question, of a model that may have it."""
    capabilities = asked.meta.get("capabilities")
    return feature in asked.features and not (isinstance(capabilities, dict) and capabilities.get(feature) is False)


def _names(category: str) -> tuple[str, ...]:
    """By which names a model's settings switch a category off."""
    return (category, FORMER[category]) if category in FORMER else (category,)


def _belongs(row: Row, asked: Asked) -> bool:
    """Whether a tool belongs into such a chat."""
    # What is the asker's alone is no business of a chat's owner, who would read it in the answer.
    if not asked.is_own and (row.private or (row.brought and not brought(asked))):
        return False
    if row.with_skills and not asked.skills:
        return False
    return not (row.stored and asked.chat_id is None) and not (row.by_page and not asked.session_id)


class BuiltIns:
    """`tools.port.ToolSource` of the tools that nobody has to make."""

    def __init__(self, deps: "Deps") -> None:
        self._deps = deps

    async def tools(self, asked: Asked) -> Sequence[Tool]:
        """Those that the settings, the model, the person's permissions and the question's features allow."""
        if not asked.wants_builtin and not asked.needed:
            return ()
        return [BuiltIn(row, self._deps, asked) for row in ROWS if self._is_offered(row, asked)]

    def _is_offered(self, row: Row, asked: Asked) -> bool:
        if row.on_demand or not asked.wants_builtin:
            return row.name in asked.needed
        chosen = asked.meta.get("builtinTools")
        if isinstance(chosen, dict) and any(chosen.get(name) is False for name in _names(row.category)):
            return False
        if not _belongs(row, asked) or (row.feature is not None and not is_on(row.feature, asked)):
            return False
        if row.setting is not None and not self._deps.config[row.setting]:
            return False
        return all(asked.principal.may(permission) for permission in row.needs)
