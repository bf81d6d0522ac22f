"""What an engine is asked to read, bounded before it does: native code ends its process over what is nested too deeply, and
takes minutes over what is too long, while all others wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llamaforge.exceptions import ParameterError
from llamaforge.formats.gbnf import check_grammar

MAX_TEXT: Final = 8_000_000  # characters of all texts together; pictures and sounds have bounds of their own
MAX_MESSAGES: Final = 4_000
MAX_TOOLS: Final = 128
# Values in the parameters, and in what describes the tools: engines take the square of these.
MAX_VALUES: Final = 20_000
MAX_TOOL_VALUES: Final = 4_000
MAX_PROPERTIES: Final = 500
MAX_DEPTH: Final = 64


def check_limits(fields: Mapping[str, Any], content: str) -> None:
    """Raises ParameterError for a request that is too long or too deep for an engine.

    content: the name of the field that says what is asked.
    """
    asked = fields.get(content)
    if content == "messages" and isinstance(asked, list) and len(asked) > MAX_MESSAGES:
        raise ParameterError(f"'messages' has more than {MAX_MESSAGES:,} messages; send the last of them.")
    _walk(content, asked, MAX_VALUES * 10)
    for name, value in fields.items():
        if name != content and isinstance(value, dict | list):
            _walk(name, value, MAX_TOOL_VALUES if name in {"tools", "functions"} else MAX_VALUES)
    tools = fields.get("tools")
    if isinstance(tools, list) and len(tools) > MAX_TOOLS:
        raise ParameterError(f"'tools' has more than {MAX_TOOLS} tools.")
    _check_properties(tools)
    if isinstance(grammar := fields.get("grammar"), str):
        check_grammar(grammar)


def _walk(name: str, value: Any, most: int) -> None:
    """Counts what stands in a value, level by level."""
    level, seen, text = [value], 0, 0
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below.extend(one.values())
            elif isinstance(one, list):
                below.extend(one)
            elif isinstance(one, str) and not one.startswith("data:"):
                text += len(one)
        seen += len(level)
        if seen > most:
            raise ParameterError(f"'{name}' holds more than {most:,} values.")
        if text > MAX_TEXT:
            raise ParameterError(f"'{name}' is longer than {MAX_TEXT:,} characters.")
        if not below:
            return
        level = below
    raise ParameterError(f"'{name}' is nested more than {MAX_DEPTH} deep.")


def _check_properties(tools: Any) -> None:
    count, rest = 0, [tools]
    while rest:
        one = rest.pop()
        if isinstance(one, dict):
            known = one.get("properties")
            count += len(known) if isinstance(known, dict) else 0
            rest.extend(one.values())
        elif isinstance(one, list):
            rest.extend(one)
    if count > MAX_PROPERTIES:
        raise ParameterError(f"'tools' describes more than {MAX_PROPERTIES} properties.")
