"""The encoded list of models: what everybody gets, shared by those who get the same, within a bound."""

import itertools
import json
from typing import Any

import pytest

from open_webui.connections import profiles
from open_webui.connections.base import ModelEntry
from open_webui.connections.listing import Listing
from open_webui.connections.profiles import Defaults, Snapshot
from open_webui.models.grants import Grant
from open_webui.models.models import Model
from open_webui.principal import Principal

GRANTS: list[list[tuple[str, str, str]]] = [
    [], [("user", "*", "read")], [("user", "u1", "read")], [("user", "u1", "write")], [("group", "g1", "read")],
    [("group", "g2", "write"), ("user", "u2", "read")], [("anyone", "*", "read")],
]  # fmt: skip


def snapshot(count: int = len(GRANTS), **changes: Any) -> Snapshot:
    """Base models that differ in whom they are opened to; the first one has no row."""

    class Here:
        key = "openai:0"

    entries = [
        ModelEntry(id=f"m{n}", name=f"m{n}", remote_id=f"m{n}", connection="openai:0", kind="openai")
        for n in range(count)
    ]
    rows = []
    for n in range(1, count):
        given = [Grant(f"{n}-{k}", "model", f"m{n}", *one, 0) for k, one in enumerate(GRANTS[n % len(GRANTS)])]
        fields: dict[str, Any] = {
            "version_id": "v", "id": f"m{n}", "user_id": "u3" if n == 1 else "admin", "base_model_id": None, "name": f"M{n}",
            "params": {}, "meta": {}, "access_grants": tuple(given), "is_active": True, "updated_at": 1, "created_at": 1,
        }  # fmt: skip
        rows.append(Model(**(fields | changes)))
    return profiles.build(1, [(Here(), entries)], rows, Defaults())  # type: ignore[list-item]


def people() -> list[Principal]:
    roles: tuple[Any, ...] = ("pending", "user", "admin")
    groups = [frozenset(g) for g in ((), ("g1",), ("g2",), ("g1", "g2"), ("g9",))]
    return [
        Principal(id=i, role=role, name=i, email=i, groups=g)
        for i, role, g in itertools.product(("u1", "u2", "u3", "u4", "u5"), roles, groups)
    ]


@pytest.mark.parametrize("bypass", [False, True])
def test_everybody_gets_what_the_rule_says(bypass: bool) -> None:
    made = snapshot()
    listing = Listing(made, bypass=bypass)
    # Twice: a list that is kept is the right one, too.
    for principal in (*people(), *people()):
        expected = [
            profiles.shown_to(profile, principal)
            for profile in made.models.values()
            if profile.readable(principal, bypass=bypass)
        ]
        got = json.loads(listing.encoded(principal))
        assert got == json.loads(json.dumps({"data": expected}, default=_plain)), principal


def _plain(value: Any) -> Any:
    return {name: getattr(value, name) for name in value.__struct_fields__}


def test_those_who_see_the_same_share_one_text() -> None:
    listing = Listing(snapshot(), bypass=False)
    crowd = [
        Principal(id=f"p{n}", role="user", name="N", email="e", groups=frozenset({f"own{n}"})) for n in range(2_000)
    ]
    assert len({id(listing.encoded(p)) for p in crowd}) == 1
    admins = [Principal(id=f"a{n}", role="admin", name="N", email="e") for n in range(10)]
    assert len({id(listing.encoded(p)) for p in admins}) == 1
    assert listing.size < 20_000


def test_all_lists_together_stay_within_a_bound() -> None:
    """Two hundred people of whom each has a grant of their own: the lists of those who asked last are kept."""
    given = tuple(Grant(str(n), "model", "m", "user", f"p{n}", "read", 0) for n in range(200))
    made = snapshot(10, access_grants=given)
    crowd = [Principal(id=f"p{n}", role="user", name="N", email="e") for n in range(200)]
    one = len(Listing(made, bypass=False).encoded(crowd[0]))
    listing = Listing(made, bypass=False, max_bytes=20 * one)
    for person in crowd:
        listing.encoded(person)
        assert listing.size <= 20 * one
    last = listing.encoded(crowd[-1])
    assert listing.encoded(crowd[-1]) is last
    tiny = Listing(made, bypass=False, max_bytes=1)
    assert tiny.encoded(crowd[0]) is tiny.encoded(crowd[0])
    assert tiny.encoded(crowd[1]) != tiny.encoded(crowd[0])
