"""Which model a query goes to, by what the query needs and what the models say they can."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from llamaforge.exceptions import ParameterError

_SIGNS = {
    "code": re.compile(
        r"```|\b(?:code|function|python|javascript|sql|regex|compile[rs]?|debug|traceback|refactor|unit test)\b",
        re.IGNORECASE,
    ),
    "math": re.compile(
        r"\d\s*[-+*/^=]\s*\d|\b(?:calculate|equation|integral|derivative|proof|prove|probability|algebra)\b",
        re.IGNORECASE,
    ),
    "creative": re.compile(r"\b(?:story|stories|poems?|song|lyrics|novel|imagine|brainstorm|haiku)\b", re.IGNORECASE),
    "translation": re.compile(r"\btranslat(?:e|ion)\b", re.IGNORECASE),
}
_CHARACTERS_PER_TOKEN = 4


class ModelRouter:
    """Scores each model by the share of a query's needs among its capabilities; of equals the first wins.

    Needs are found by words: code, math, creative, translation; `images` in the context is a need for "vision". A model
    whose `context_length` (tokens, four characters each) is too short for the query is passed over, if another is not.
    """

    def __init__(self) -> None:
        self._routed: Counter[str] = Counter()

    def route_query(
        self,
        query: str,
        context: Mapping[str, Any] | None = None,
        available_models: Sequence[str | Mapping[str, Any]] = (),
    ) -> dict[str, Any]:
        """{model_id, confidence, metadata}: the id (None without models), the share of needs it meets (1 where there are
        none, 0 without models), and the needs and every model's score.

        available_models: ids, or mappings with `id`, `capabilities` (a list) and `context_length`. Raises ParameterError.
        """
        if not isinstance(query, str):
            raise ParameterError("The query must be text.")
        needs = [need for need, sign in _SIGNS.items() if sign.search(query)]
        if (context or {}).get("images"):
            needs.append("vision")
        models = [_described(model) for model in available_models]
        roomy = [m for m in models if (m.get("context_length") or len(query)) * _CHARACTERS_PER_TOKEN >= len(query)]
        scores = {str(model["id"]): _share(needs, model) for model in roomy or models}
        if not scores:
            return {"model_id": None, "confidence": 0.0, "metadata": {"needs": needs, "scores": {}}}
        chosen = max(scores, key=lambda name: scores[name])
        self._routed[chosen] += 1
        return {"model_id": chosen, "confidence": scores[chosen], "metadata": {"needs": needs, "scores": scores}}

    def get_router_status(self) -> dict[str, Any]:
        """How many queries were routed, in all and to each model."""
        return {"queries": self._routed.total(), "models": dict(self._routed)}


def _described(model: object) -> Mapping[str, Any]:
    if isinstance(model, str):
        return {"id": model}
    if isinstance(model, Mapping) and isinstance(model.get("id"), str):
        return model
    raise ParameterError("Each available model must be an id, or a mapping with an 'id'.")


def _share(needs: Sequence[str], model: Mapping[str, Any]) -> float:
    capabilities = set(model.get("capabilities") or ())
    return sum(need in capabilities for need in needs) / len(needs) if needs else 1.0
