"""What a conversation remembers: pieces of text, found again by the words they share with a query."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass, field

from consciousness.emotions import is_number
from llamaforge.exceptions import ParameterError

_WORD = re.compile(r"\w+")
_LEAST_OVERLAP = 0.1
_PRUNED = 0.1
_PER_ACCESS = 0.1


@dataclass(slots=True)
class MemoryFragment:
    """One piece. emotional_weight, importance_score: from 0 to 1. timestamp: seconds since 1970."""

    content: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    emotional_weight: float = 0.0
    timestamp: float = field(default_factory=time.time)
    connections: list[str] = field(default_factory=list)
    importance_score: float = 0.5
    access_count: int = 0
    emotional_tags: list[str] = field(default_factory=list)


class MemoryManager:
    """At most so many fragments; when one more comes, the least worth a tenth of them go.

    Worth: importance plus 0.1 for each time a fragment was found; of equals the older goes first.
    """

    def __init__(self, max_memories: int = 1000) -> None:
        """Raises ParameterError for a maximum below 1."""
        if not is_number(max_memories) or max_memories < 1:
            raise ParameterError("A memory must hold at least one fragment.")
        self.max_memories = int(max_memories)
        self._fragments: dict[str, MemoryFragment] = {}

    def __len__(self) -> int:
        return len(self._fragments)

    def add(self, fragment: MemoryFragment) -> None:
        """Keep a fragment, in the place of one with its id."""
        if fragment.id not in self._fragments and len(self._fragments) >= self.max_memories:
            self._prune()
        self._fragments[fragment.id] = fragment

    def retrieve(self, query: str, limit: int = 5) -> list[MemoryFragment]:
        """The fragments with more than a tenth of the query's words, by that share times their importance, best first.

        A query without words finds nothing. Being found counts as an access.
        """
        words = _words(query)
        if not words:
            return []
        shares = {
            fragment.id: len(words & _words(fragment.content)) / len(words) for fragment in self._fragments.values()
        }
        found = [fragment for fragment in self._fragments.values() if shares[fragment.id] > _LEAST_OVERLAP]
        found.sort(key=lambda fragment: shares[fragment.id] * fragment.importance_score, reverse=True)
        for fragment in found[:limit]:
            fragment.access_count += 1
        return found[:limit]

    def _prune(self) -> None:
        count = max(1, int(len(self._fragments) * _PRUNED))
        worth = sorted(self._fragments.values(), key=lambda f: f.importance_score + _PER_ACCESS * f.access_count)
        for fragment in worth[:count]:
            del self._fragments[fragment.id]


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))
