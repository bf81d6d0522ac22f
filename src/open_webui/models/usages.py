"""What model calls cost: one row a provider call, and their sums by day. Rows outlive the accounts that they are about."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal.prepared import Prepared
from open_webui.models import tables

_add = Prepared(tables.usage.insert(), [column.name for column in tables.usage.c if column.name != "n"])
DAY: Final = 86_400
# The status of a call that was ended by whoever asked.
STOPPED: Final = 499
# What tells the rows of a day apart, and what is summed in them.
_KEY: Final = ("user_id", "day", "model_id", "connection", "kind")
_SUMS: Final = (
    "calls",
    "errors",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "duration_ms",
)
# Text, since both databases have the same words for it and SQLAlchemy has them twice.
_NAMED: Final = _KEY + _SUMS
_ADD_TO_DAY: Final = f"""
INSERT INTO usage_day ({", ".join(_NAMED)}) VALUES ({", ".join(f":{name}" for name in _NAMED)})
ON CONFLICT ({", ".join(_KEY)}) DO UPDATE SET {", ".join(f"{name} = usage_day.{name} + excluded.{name}" for name in _SUMS)}
"""  # noqa: S608 - names of columns
_add_to_day = Prepared(sa.text(_ADD_TO_DAY))
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
    """Inserts usage rows, all columns but `n`, and adds them to the sums of their days."""
    await _add.run_many(connection, rows)
    await _add_to_day.run_many(connection, _by_day(rows))


def _by_day(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What usage rows add to `usage_day`: a row for each key, in one order always, or two processes wait in a circle."""
    sums: dict[tuple[Any, ...], dict[str, int]] = {}
    for row in rows:
        key = (row["user_id"], row["created_at"] // DAY, row["model_id"], row["connection"], row["kind"])
        found = sums.setdefault(key, dict.fromkeys(_SUMS, 0))
        found["calls"] += 1
        # One that was stopped has not failed.
        found["errors"] += row["status"] >= 400 and row["status"] != STOPPED
        for name in _SUMS[2:]:
            found[name] += row[name] or 0
    return [dict(zip(_KEY, key, strict=True)) | sums[key] for key in sorted(sums)]
