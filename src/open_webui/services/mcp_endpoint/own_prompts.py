"""The prompts of this server for MCP clients: each by its command, with its variables as arguments."""

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from open_webui.models import prompts
from open_webui.principal import Principal
from open_webui.services import prompts as kept
from open_webui.services.mcp_endpoint.own_tools import Deps
from open_webui.services.mcp_endpoint.prompt_sources import SLOT, Argument, Prompt, Texts, slot_name

_MOST: Final = 50
# Characters that are said of one variable.
_LONGEST: Final = 2_000
# What is said of a variable, between colons: `type:name="value"`.
_PROPERTY: Final = re.compile(r":\s*(\w+)\s*(?:=\s*(\"[^\"]*\"|\[[^\]]*\]|[^:]*))?")


class OwnPrompts(Texts):
    """Those that are switched on and that somebody may use, the ones that were changed last first."""

    async def listed(self, deps: Deps, principal: Principal) -> Sequence[Prompt]:
        """See `Source`."""
        found = await kept.listed(deps, principal)
        return await asyncio.to_thread(lambda: [_prompt(row, principal) for row in found])

    async def find(self, deps: Deps, principal: Principal, name: str) -> Prompt | None:
        """See `Texts`."""
        async with deps.database.read() as connection:
            row = await prompts.by_command(connection, principal, name)
        return None if row is None or not row.is_active else _prompt(row, principal)


def _prompt(row: prompts.Prompt, principal: Principal) -> Prompt:
    known = _known(principal)
    text = SLOT.sub(lambda slot: known.get(slot_name(slot[1]), slot[0]), row.content)
    description = row.meta.get("description")
    return Prompt(
        name=row.command,
        title=row.name,
        description=description if isinstance(description, str) else "",
        arguments=tuple(arguments_of(text)),
        text=text,
    )


def _known(principal: Principal) -> dict[str, str]:
    """What this server fills in itself; everything else the client asks its person for."""
    now = datetime.now(UTC)
    forms = {
        "CURRENT_DATE": "%Y-%m-%d",
        "CURRENT_TIME": "%H:%M:%S",
        "CURRENT_DATETIME": "%Y-%m-%d %H:%M:%S",
        "CURRENT_WEEKDAY": "%A",
    }
    return {name: now.strftime(form) for name, form in forms.items()} | {"USER_NAME": principal.name}


def arguments_of(text: str) -> list[Argument]:
    """The variables of a prompt, each once. The mention that says more of one counts."""
    found: dict[str, Argument] = {}
    explained: set[str] = set()
    for slot in SLOT.finditer(text):
        name, _, said = slot[1].partition("|")
        name = name.strip()
        if name in found and (not said or name in explained):
            continue
        if name and (name in found or len(found) < _MOST):
            found[name] = _argument(name, said)
            explained.update([name] if said else [])
    return list(found.values())


def _argument(name: str, said: str) -> Argument:
    given = {match[1].lower(): _value(match[2]) for match in _PROPERTY.finditer(f":{said[:_LONGEST]}")}
    choices, required = given.get("options"), given.get("required")
    return Argument(
        name,
        _text(given.get("label")) or _text(given.get("placeholder")),
        required is True or required == "true",
        _text(given.get("default")),
        tuple(str(one) for one in choices)[:100] if isinstance(choices, list) else (),
    )


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _value(text: str | None) -> Any:
    if text is None:
        return True
    try:
        return msgspec.json.decode(text.strip())
    except (msgspec.DecodeError, RecursionError):
        return text.strip()
