"""`/api/models` encoded: once for all people who see the same, and never more than a fixed amount of it."""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Final

from open_webui.connections.profiles import ModelProfile, Snapshot, shown_to
from open_webui.internal.db import dumps
from open_webui.models.grants import audiences
from open_webui.principal import Principal

# All encoded lists together. One of 400 models is 460 KB.
MAX_BYTES: Final = 32 * 2**20


class Listing:
    """The encoded lists of one snapshot of the catalogue."""

    def __init__(self, snapshot: Snapshot, *, bypass: bool, max_bytes: int = MAX_BYTES) -> None:
        """bypass: everybody may use every model. max_bytes: of lists that are kept; those used last stay."""
        self._snapshot = snapshot
        self._models = snapshot.models
        self._bypass = bypass
        self._max_bytes = max_bytes
        rows = [row for profile in snapshot.models.values() for row in profile.rows]
        self._owners = frozenset(row.user_id for row in rows)
        invited = [audience for arena in snapshot.arenas.values() for audience in arena.audience]
        self._named = frozenset([*(grant.audience for row in rows for grant in row.access_grants), *invited])
        self._whole: dict[str, bytes] = {}
        self._lists: OrderedDict[Hashable, bytes] = OrderedDict()
        self.size = 0

    def encoded(self, principal: Principal) -> bytes:
        """The list for one person. The same bytes for everybody whom the same grants concern and who owns no model."""
        key = self._key(principal)
        hit = self._lists.get(key)
        if hit is None:
            hit = self._lists[key] = self._encode(principal)
            self.size += len(hit)
            while self.size > self._max_bytes and len(self._lists) > 1:
                self.size -= len(self._lists.popitem(last=False)[1])
        else:
            self._lists.move_to_end(key)
        return hit

    def _key(self, principal: Principal) -> Hashable:
        """All that a list depends on."""
        models = None if principal.key is None else principal.key.models
        if principal.is_admin:
            return "admin", models
        own = principal.id if principal.id in self._owners else None
        return principal.is_active, own, audiences(principal) & self._named, models, principal.manages("model")

    def _encode(self, principal: Principal) -> bytes:
        readable: Sequence[ModelProfile] = [
            p for p in self._models.values() if p.readable(principal, bypass=self._bypass)
        ]
        shown = [self._model(profile, principal) for profile in readable]
        # An arena is shown where somebody would answer.
        shown += [
            dumps(arena.listed).encode()
            for arena in self._snapshot.arenas.values()
            if arena.open_to(principal) and self._snapshot.members(arena, principal, bypass=self._bypass)
        ]
        return b'{"data":[' + b",".join(shown) + b"]}"

    def _model(self, profile: ModelProfile, principal: Principal) -> bytes:
        """A model as this person sees it. What is shown whole is encoded once."""
        shown = shown_to(profile, principal)
        if shown is not profile.listed:
            return dumps(shown).encode()
        hit = self._whole.get(profile.id)
        if hit is None:
            hit = self._whole[profile.id] = dumps(shown).encode()
        return hit
