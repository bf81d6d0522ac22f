"""Arena models: a name behind which one of several models answers, drawn anew for each answer, so that people judge blindly."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from open_webui.models.grants import Audience, audiences
from open_webui.principal import Principal

DEFAULT_ID: Final = "arena-model"
DEFAULT_NAME: Final = "Arena Model"
DESCRIPTION: Final = (
    "One of the models answers, and you are not told which. Rate its answer: the leaderboard is made of that."
)
_OPEN: Final[frozenset[Audience]] = frozenset({("user", "*")})
# Of its meta, what is the administrators' alone: who is let in, and who takes part.
_PRIVATE: Final = frozenset({"access_control", "access_grants", "filter_mode", "profile_image_url"})


class Arena(msgspec.Struct, frozen=True, kw_only=True):
    """An arena as it is set up.

    members: ids of those who take part, None where all do. excluded: the ids are those of who takes no part. audience: whom
    it is open to. listed: how lists show it.
    """

    id: str
    members: frozenset[str] | None = None
    excluded: bool = False
    audience: frozenset[Audience] = _OPEN
    listed: dict[str, Any] = {}

    def open_to(self, principal: Principal) -> bool:
        """Whether somebody may ask it at all; whether there is somebody to answer is another question."""
        if not principal.may_ask(self.id):
            return False
        return principal.is_admin or (principal.is_active and not self.audience.isdisjoint(audiences(principal)))

    def takes(self, model_id: str) -> bool:
        """Whether a model takes part."""
        return self.members is None or (model_id in self.members) is not self.excluded


def arenas(given: Sequence[Any], taken: Iterable[str]) -> dict[str, Arena]:
    """Those that are set up, by their ids, or one with all models where none is. taken: ids of models, which come first."""
    others = set(taken)
    out: dict[str, Arena] = {}
    for one in given or [{"id": DEFAULT_ID, "name": DEFAULT_NAME}]:
        if not isinstance(one, Mapping) or not isinstance(arena_id := one.get("id"), str) or arena_id in others:
            continue
        out.setdefault(arena_id, _arena(arena_id, one))
    return out


def _arena(arena_id: str, given: Mapping[str, Any]) -> Arena:
    found = given.get("meta")
    meta = dict(found) if isinstance(found, Mapping) else {"description": DESCRIPTION, "model_ids": None}
    ids = meta.get("model_ids")
    named = frozenset(one for one in ids if isinstance(one, str)) if isinstance(ids, list) else frozenset()
    name = given.get("name")
    shown = {key: value for key, value in meta.items() if key not in _PRIVATE} | {"model_ids": None}
    return Arena(
        id=arena_id,
        members=named or None,
        excluded=meta.get("filter_mode") == "exclude",
        audience=_audience(meta),
        listed={
            "id": arena_id,
            "name": name if isinstance(name, str) and name else arena_id,
            "info": {"meta": shown},
            "object": "model",
            "created": 0,
            "owned_by": "arena",
            "arena": True,
            "actions": [],
            "filters": [],
            "tags": [],
        },
    )


def _audience(meta: Mapping[str, Any]) -> frozenset[Audience]:
    """Whom an arena is open to: by grants, or as older pages say it, where null is everybody and {} nobody."""
    grants = meta.get("access_grants")
    if isinstance(grants, list):
        return frozenset(
            (kind, who)
            for one in grants
            if isinstance(one, Mapping)
            and isinstance(kind := one.get("principal_type"), str)
            and isinstance(who := one.get("principal_id"), str)
        )
    control = meta.get("access_control")
    if not isinstance(control, Mapping):
        return _OPEN
    out: set[Audience] = set()
    for permission in ("read", "write"):
        named = control.get(permission)
        for kind, key in (("group", "group_ids"), ("user", "user_ids")):
            ids = named.get(key) if isinstance(named, Mapping) else None
            out |= {(kind, one) for one in ids if isinstance(one, str)} if isinstance(ids, list) else set()
    return frozenset(out)
