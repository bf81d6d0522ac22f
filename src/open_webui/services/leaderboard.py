"""The leaderboard of models: counted in a thread, kept until a rating changes, in whichever process."""

import array
import asyncio
import sys
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, Protocol

from open_webui.errors import OuiError
from open_webui.internal.db import Database
from open_webui.internal.log import get_logger
from open_webui.models import feedbacks
from open_webui.models.feedbacks import Rated
from open_webui.models.usages import DAY
from open_webui.services import ratings
from open_webui.services.dates import date_of, today
from open_webui.services.ratings import Comparison, Entry, Texts

if TYPE_CHECKING:
    from open_webui.retrieval.embedding.base import Embedder

log = get_logger(__name__)
# Of more ratings the newest count.
MAX_RATINGS: Final = 200_000
# Answers to questions about topics that are kept.
MAX_KEPT: Final = 32
# Topics that are compared with a question, the most frequent ones.
MAX_TOPICS: Final = 500
# Similarity of vectors below which two texts have nothing to do with each other.
UNLIKE: Final = 0.3
# Days of a model's history.
MAX_DAYS: Final = 3_660


class Engines(Protocol):
    """Who makes vectors, where anybody does."""

    def embedder(self) -> "Embedder | None": ...


class Deps(Protocol):
    database: Database

    @property
    def retrieval(self) -> Engines: ...


class Leaderboard:
    """One for a process. Of several requests at once one counts, and the others get what it found."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._counting = asyncio.Lock()
        # By the question; forgotten when a rating has changed.
        self._kept: OrderedDict[str, list[Entry]] = OrderedDict()
        self._state: tuple[int, int] = (-1, 0)

    async def entries(self, query: str | None = None) -> list[Entry]:
        """The models that were compared, the best first. query: a topic; what has nothing to do with it doesn't count."""
        asked = " ".join((query or "").split())
        async with self._counting:
            async with self._deps.database.look() as connection:
                state = await feedbacks.state(connection)
            if state != self._state:
                self._kept.clear()
                self._state = state
            if (kept := self._kept.get(asked)) is not None:
                self._kept.move_to_end(asked)
                return kept
            counted, lasts = await self._counted(asked)
            if lasts:
                self._kept[asked] = counted
                while len(self._kept) > MAX_KEPT:
                    self._kept.popitem(last=False)
            return counted

    async def _counted(self, query: str) -> tuple[list[Entry], bool]:
        """The entries, and whether they are right until a rating changes: not where an engine was away just now."""
        comparisons = await self._comparisons()
        if not query:
            return await asyncio.to_thread(ratings.leaderboard, comparisons), True
        topics = await asyncio.to_thread(ratings.tag_counts, comparisons, MAX_TOPICS)
        similar, lasts = await self._similar(query, topics)
        return await asyncio.to_thread(ratings.leaderboard, comparisons, ratings.weighing(similar)), lasts

    async def _comparisons(self) -> list[Comparison]:
        """All ratings that count, the oldest first."""
        out: list[Comparison] = []
        texts = Texts()
        async with self._deps.database.read() as connection:
            async for rows in feedbacks.rated(connection, MAX_RATINGS):
                out += await asyncio.to_thread(_taken, rows, texts)
        out.reverse()
        return out

    async def _similar(self, query: str, topics: list[str]) -> tuple[dict[str, float], bool]:
        """How much each topic is like the question: by an engine's vectors, or where there is none by their letters.

        And whether that is the last word: not where an engine failed.
        """
        embedder = self._deps.retrieval.embedder() if topics else None
        if embedder is None:
            return ratings.by_words(query, topics), True
        try:
            (asked,) = await embedder.embed([query], query=True)
            vectors = await embedder.embed(topics)
        except OuiError as error:
            log.info("topics are compared by their letters", reason=error.detail)
            return ratings.by_words(query, topics), False
        return await asyncio.to_thread(by_vectors, asked, dict(zip(topics, vectors, strict=True))), True


def _taken(rows: list[Rated], texts: Texts) -> list[Comparison]:
    return [found for row in rows if (found := ratings.comparison(*row, texts)) is not None]


def by_vectors(asked: bytes, topics: dict[str, bytes]) -> dict[str, float]:
    """The similarity of each topic with what is asked, from their vectors of length 1."""
    wanted = _floats(asked)
    out = {}
    for topic, packed in topics.items():
        found = sum(a * b for a, b in zip(wanted, _floats(packed), strict=False))
        out[topic] = found if found >= UNLIKE else 0.0
    return out


def _floats(packed: bytes) -> "array.array[float]":
    out = array.array("f", packed)
    if sys.byteorder == "big":
        out.byteswap()
    return out


async def history(database: Database, model_id: str, days: int) -> list[dict[str, Any]]:
    """Good and bad ratings of a model on each of so many days up to today, of UTC. days: 0 for all since its first rating."""
    last = today()
    first = last - min(days or MAX_DAYS, MAX_DAYS) + 1
    async with database.look() as connection:
        found = await feedbacks.by_day(connection, model_id, first * DAY, MAX_DAYS)
    if not days:
        first = min(found, default=last)
    return [
        {"date": date_of(day), "won": won, "lost": lost}
        for day in range(first, last + 1)
        for won, lost in (found.get(day, (0, 0)),)
    ]
