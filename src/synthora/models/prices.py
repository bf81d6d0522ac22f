"""What an answer cost, by the user's own table of prices. None is built in: prices change, and differ by contract."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from synthora.exceptions import ConfigError
from synthora.messages import Usage

_PER = 1_000_000
_KINDS = ("input", "output", "cached_input")


def check(table: Any) -> None:
    """Raises ConfigError unless `table` is {model: {input, output, cached_input}}, each a price of a million tokens."""
    if not isinstance(table, Mapping):
        raise ConfigError("'prices' must be a table of models.")
    for model, prices in table.items():
        if not isinstance(prices, Mapping):
            raise ConfigError(f"'prices.{model}' must have 'input' and 'output', per million tokens.")
        for kind, price in prices.items():
            if kind not in _KINDS:
                raise ConfigError(f"'prices.{model}.{kind}' is unknown. Known: {', '.join(_KINDS)}.")
            if isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price < math.inf:
                raise ConfigError(f"'prices.{model}.{kind}' must be a number of at least 0.")
        for kind in ("input", "output"):
            if kind not in prices:
                raise ConfigError(f"'prices.{model}.{kind}' is missing.")


def cost(usage: Usage, table: Mapping[str, Mapping[str, float]], models: Iterable[str | None]) -> float | None:
    """The price of this usage in the table's currency, None where it has no price for any of `models`.

    Cached tokens of the prompt cost `cached_input`, where the table has it. The first model with a price counts.
    """
    prices = next((table[model] for model in models if model is not None and model in table), None)
    if prices is None:
        return None
    cached = min(usage.cached_tokens, usage.prompt_tokens)
    fresh = usage.prompt_tokens - cached
    spent = fresh * prices["input"] + cached * prices.get("cached_input", prices["input"])
    return (spent + usage.completion_tokens * prices["output"]) / _PER
