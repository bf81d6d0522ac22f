"""Elo ratings of models out of people's ratings of answers: pure arithmetic, for threads beside the event loop.

A good rating of an answer is a win against each model that answered beside it, a bad one a defeat (A. Elo, The Rating of
Chessplayers, 1978). Who wins against himself stays where he is.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

START: Final = 1_000.0
# Points that a certain winner could lose at most.
K: Final = 32.0
# Two models of which one has so many more points win 10 to 1.
SCALE: Final = 400.0
TOP_TAGS: Final = 5
# Of a normal distribution, 95% lie within so many standard deviations.
Z: Final = 1.96
# Other models and topics of one rating that are looked at, and characters of each.
MAX_TEXTS: Final = 50
MAX_TOPICS: Final = 10
MAX_TEXT: Final = 255
# Models on a leaderboard: those that were compared most often. Ids are whatever people have sent.
MAX_MODELS: Final = 500
# Characters of all ids and topics together that one counting remembers.
MAX_CHARS: Final = 10_000_000


class _Data(msgspec.Struct):
    """The part of a rating's data that counts; anything in it may be of another kind."""

    sibling_model_ids: Any = None
    tags: Any = None


class Comparison(msgspec.Struct, frozen=True):
    """A rating as a leaderboard takes it. won: whether the answer was good. others: who answered beside it."""

    model_id: str
    won: bool
    others: tuple[str, ...]
    tags: tuple[str, ...]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A model on the leaderboard. rating_low, rating_high: where its rating lies in 95 of 100 cases."""

    model_id: str
    rating: int
    won: int
    lost: int
    count: int
    top_tags: list[dict[str, Any]]
    rating_low: int
    rating_high: int


_decoder: Final = msgspec.json.Decoder(_Data)


class Texts:
    """Ids and topics of many ratings, each held once; new ones are not taken any more once there are very many."""

    def __init__(self) -> None:
        self._held: dict[str, str] = {}
        self._left = MAX_CHARS

    def one(self, text: Any) -> str | None:
        """The same text, as it is held; None for what is no id or topic, and for one too many."""
        if not isinstance(text, str) or not 0 < len(text) <= MAX_TEXT:
            return None
        if (held := self._held.get(text)) is None and len(text) <= self._left:
            self._left -= len(text)
            held = self._held[text] = text
        return held

    def some(self, value: Any, most: int) -> tuple[str, ...]:
        """Those of a list, each once."""
        if not isinstance(value, list):
            return ()
        found = dict.fromkeys(held for one in value[: 2 * most] if (held := self.one(one)) is not None)
        return tuple(found)[:most]


def comparison(model_id: str, rating: int, data: str | None, texts: Texts | None = None) -> Comparison | None:
    """A row of the database, taken apart; None where there are too many models. texts: of the ratings before."""
    texts = texts or Texts()
    try:
        found = _decoder.decode(data or "{}")
    except (msgspec.DecodeError, RecursionError):
        found = _Data()
    if (rated := texts.one(model_id)) is None:
        return None
    others = texts.some(found.sibling_model_ids, MAX_TEXTS)
    return Comparison(rated, rating > 0, others, texts.some(found.tags, MAX_TOPICS))


def expected(own: float, other: float) -> float:
    """How probably somebody with so many points wins."""
    return 1.0 / (1.0 + math.pow(10.0, (other - own) / SCALE))


def most_compared(comparisons: Sequence[Comparison], most: int) -> frozenset[str]:
    """The models that were compared most often."""
    every = {one.model_id for one in comparisons}
    for one in comparisons:
        every.update(one.others)
    if len(every) <= most:
        return frozenset(every)
    met: Counter[str] = Counter()
    for one in comparisons:
        met[one.model_id] += len(one.others)
        met.update(one.others)
    return frozenset(sorted(met, key=lambda model_id: (-met[model_id], model_id))[:most])


def leaderboard(comparisons: Sequence[Comparison], weigh: Callable[[Comparison], float] | None = None) -> list[Entry]:
    """The models that were compared most often, the best first. comparisons: the oldest first, for the order counts.

    weigh: how much a comparison says of what is asked about, from 0 (nothing) to 1; it moves points by that part of what
    it would.
    """
    points: dict[str, float] = {}
    won: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    tags: dict[str, Counter[str]] = {}
    met: dict[tuple[str, str], float] = {}
    counting = most_compared(comparisons, MAX_MODELS)
    for one in comparisons:
        weight = 1.0 if weigh is None else weigh(one)
        if weight <= 0.0 or one.model_id not in counting:
            continue
        tags.setdefault(one.model_id, Counter()).update(one.tags)
        for other in one.others:
            if other not in counting:
                continue
            winner, loser = (one.model_id, other) if one.won else (other, one.model_id)
            won[winner] += 1
            lost[loser] += 1
            moved = K * weight * (1.0 - expected(points.get(winner, START), points.get(loser, START)))
            points[winner] = points.get(winner, START) + moved
            points[loser] = points.get(loser, START) - moved
            pair = (winner, loser) if winner < loser else (loser, winner)
            met[pair] = met.get(pair, 0.0) + weight
    spread = intervals(points, met)
    entries = [
        Entry(
            model_id=model_id,
            rating=round(at),
            won=won[model_id],
            lost=lost[model_id],
            count=won[model_id] + lost[model_id],
            top_tags=top(tags.get(model_id, {})),
            rating_low=round(at - spread[model_id]),
            rating_high=round(at + spread[model_id]),
        )
        for model_id, at in points.items()
    ]
    return sorted(entries, key=lambda entry: (-entry.rating, entry.model_id))


def intervals(points: Mapping[str, float], met: Mapping[tuple[str, str], float]) -> dict[str, float]:
    """Half the width of each model's 95% interval, by the information in its comparisons (Bradley and Terry, 1952).

    A comparison of a model with one of about the same strength says most; without any, all is possible within two SCALEs.
    """
    information: dict[str, float] = dict.fromkeys(points, 0.0)
    for (first, second), count in met.items():
        if first == second:
            continue
        p = expected(points[first], points[second])
        gained = count * p * (1.0 - p) * (math.log(10.0) / SCALE) ** 2
        information[first] += gained
        information[second] += gained
    widest = 2 * SCALE
    return {
        model_id: min(widest, Z / math.sqrt(found)) if found > 0.0 else widest
        for model_id, found in information.items()
    }


def top(tags: Mapping[str, int]) -> list[dict[str, Any]]:
    """The most frequent topics of a model's ratings, as the wire has them."""
    ranked = sorted(tags.items(), key=lambda item: -item[1])[:TOP_TAGS]
    return [{"tag": tag, "count": count} for tag, count in ranked]


def tag_counts(comparisons: Iterable[Comparison], most: int) -> list[str]:
    """The topics of ratings, the most frequent first."""
    counted: Counter[str] = Counter()
    for one in comparisons:
        counted.update(one.tags)
    return [tag for tag, _ in counted.most_common(most)]


def weighing(similar: Mapping[str, float]) -> Callable[[Comparison], float]:
    """A comparison says of a topic as much as the nearest of its own topics is like it."""

    def weigh(one: Comparison) -> float:
        return max((similar.get(tag, 0.0) for tag in one.tags), default=0.0)

    return weigh


def by_words(query: str, tags: Iterable[str]) -> dict[str, float]:
    """How much each topic is like a query, from 0 to 1, by the letters that they share: three in a row at a time (Dice)."""
    asked = _trigrams(query)
    return {tag: _alike(asked, _trigrams(tag)) for tag in tags}


# Less than this is chance.
_CHANCE: Final = 0.3


def _alike(first: frozenset[str], second: frozenset[str]) -> float:
    if not first or not second:
        return 0.0
    shared = 2.0 * len(first & second) / (len(first) + len(second))
    return shared if shared >= _CHANCE else 0.0


def _trigrams(text: str) -> frozenset[str]:
    padded = [f"  {word} " for word in text.casefold().split()]
    return frozenset(word[k : k + 3] for word in padded for k in range(len(word) - 2))
