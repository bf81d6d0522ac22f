"""What model calls cost: one row a provider call. Rows outlive the accounts that they are about."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal.prepared import Prepared
from open_webui.models import tables

_add = Prepared(tables.usage.insert(), [column.name for column in tables.usage.c if column.name != "n"])
# Where providers tell the counts: OpenAI (chat, Responses), Anthropic, DeepSeek, Ollama's among them as translated.
_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "prompt_tokens": ("prompt_tokens", "input_tokens"),
    "completion_tokens": ("completion_tokens", "output_tokens"),
    "cached_tokens": ("cached_tokens", "cache_read_input_tokens", "prompt_cache_hit_tokens"),
    "reasoning_tokens": ("reasoning_tokens",),
}
_DETAILS: Final = (
    "prompt_tokens_details",
    "input_tokens_details",
    "completion_tokens_details",
    "output_tokens_details",
)


def tokens(usage: Mapping[str, Any] | None) -> dict[str, int | None]:
    """The columns of tokens from a provider's usage object; None for what it doesn't tell or tells in another type."""
    usage = usage or {}
    places = [usage, *(part for name in _DETAILS if isinstance(part := usage.get(name), dict))]
    return {column: _first_count(places, names) for column, names in _NAMES.items()}


def _first_count(places: Iterable[Mapping[str, Any]], names: tuple[str, ...]) -> int | None:
    for place in places:
        for name in names:
            value = place.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31:
                return value
    return None


async def add(connection: AsyncConnection, rows: list[dict[str, Any]]) -> None:
    """Inserts usage rows: all columns but `n`."""
    await _add.run_many(connection, rows)
