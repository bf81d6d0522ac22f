"""The access rule is one: SQL and values agree on who may read and write, for whatever grants and people there are."""

import asyncio
import importlib
import itertools
import pkgutil
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from open_webui import models as room
from open_webui.env import Settings
from open_webui.internal.db import open_database
from open_webui.models import grants, resources, tables
from open_webui.models.resource import Resource
from open_webui.principal import Principal

# Few of each, so that they meet. One group has the name of a person.
PEOPLE, GROUPS = ("ann", "bob", "cleo"), ("g1", "g2", "ann")
ACTIONS: tuple[grants.Action, ...] = ("read", "write")


class Undo(Exception):
    """Ends a unit of work without a trace."""


principals = st.none() | st.builds(
    Principal,
    id=st.sampled_from(PEOPLE),
    role=st.sampled_from(("pending", "user", "admin")),
    groups=st.frozensets(st.sampled_from(GROUPS)),
    name=st.just("N"),
    email=st.just("n@example.com"),
)
# Also rows that no form lets in: stored data is not trusted.
triples = st.tuples(
    st.sampled_from(("user", "group", "anyone", "odd")),
    st.sampled_from((*PEOPLE, *GROUPS, "*", "")),
    st.sampled_from(("read", "write", "own")),
)
things = st.lists(
    st.tuples(st.sampled_from(PEOPLE), st.lists(triples, max_size=4, unique=True)), min_size=1, max_size=5
)


async def fill(connection: Any, made: list[tuple[str, list[grants.GrantTriple]]]) -> None:
    at = {"created_at": 1, "updated_at": 1}
    for person in PEOPLE:
        values = {"id": person, "email": person, "name": person, "role": "user", "last_active_at": 0} | at
        await connection.execute(tables.user.insert().values(values))
    for n, (owner, given_) in enumerate(made):
        own = {"id": f"t{n}", "user_id": owner} | at
        await connection.execute(tables.model.insert().values(own | {"name": "m", "params": {}, "meta": {}}))
        await connection.execute(tables.folder.insert().values(own | {"name": "f"}))
        await connection.execute(
            tables.tool.insert().values(own | {"name": "t", "content": "", "specs": [], "meta": {}})
        )
        chat = own | {"id": f"c{n}", "title": "t", "body": {}, "meta": {}}
        await connection.execute(tables.chat.insert().values(chat))
        link = own | {"chat_id": f"c{n}", "title": "t", "mode": "snapshot"}
        await connection.execute(tables.shared_chat.insert().values(link))
        for resource in resources.ALL:
            # Somebody else's grants on a thing of another kind with the same id change nothing.
            named = f"c{n}" if resource.name == "shared_chat" else f"t{n}"
            await grants.replace(connection, resource.name, named, given_)
            await grants.replace(connection, "elsewhere", named, [("anyone", "*", "read")])


async def judged(connection: Any, resource: Resource[Any], principal: Principal | None) -> tuple[Any, Any]:
    """What SQL and what values say: (id, action) of all that is allowed."""
    in_sql, in_values = set(), set()
    for row in await resource.all(connection):
        named = row.chat_id if resource.name == "shared_chat" else row.id
        held = SimpleNamespace(user_id=row.user_id, access_grants=await resource.grants_on(connection, named))
        for action in ACTIONS:
            if await resource.get_for(connection, principal, row.id, action) is not None:
                in_sql.add((row.id, action))
            if resource.may(held, principal, action):
                in_values.add((row.id, action))
    return in_sql, in_values


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(made=things, principal=principals)
def test_sql_and_values_agree(settings: Settings, made: Any, principal: Principal | None) -> None:
    async def check() -> None:
        database = open_database(settings)
        try:
            async with database.write() as unit:
                await fill(unit.connection, made)
                for resource in resources.ALL:
                    in_sql, in_values = await judged(unit.connection, resource, principal)
                    assert in_sql == in_values, resource.name
                    # Who may write may read.
                    assert {i for i, action in in_sql if action == "write"} <= {i for i, a in in_sql if a == "read"}
                raise Undo
        except Undo:
            pass
        finally:
            await database.close()

    asyncio.run(check())


# Who asks, what is granted, and what comes of it: the rule in words.
ANN = Principal(id="ann", role="user", name="N", email="n@example.com", groups=frozenset({"g1"}))
PENDING = Principal(id="ann", role="pending", name="N", email="n@example.com", groups=frozenset({"g1"}))


@pytest.mark.parametrize(
    ("principal", "grant", "may"),
    [
        (ANN, ("user", "ann", "read"), {"read"}), (ANN, ("user", "ann", "write"), {"read", "write"}),
        (ANN, ("user", "*", "read"), {"read"}), (ANN, ("group", "g1", "write"), {"read", "write"}),
        (ANN, ("anyone", "*", "read"), {"read"}), (ANN, ("user", "bob", "write"), set()),
        (ANN, ("group", "ann", "read"), set()), (ANN, ("user", "g1", "read"), set()), (ANN, ("group", "*", "read"), set()),
        (ANN, ("user", "ann", "own"), set()), (ANN, ("anyone", "ann", "read"), set()),
        (PENDING, ("user", "ann", "write"), set()), (PENDING, ("user", "*", "read"), set()),
        (PENDING, ("group", "g1", "read"), set()), (PENDING, ("anyone", "*", "read"), {"read"}),
        (None, ("user", "*", "read"), set()), (None, ("anyone", "*", "read"), {"read"}),
    ],
)  # fmt: skip
def test_what_a_grant_gives(principal: Principal | None, grant: grants.GrantTriple, may: set[str]) -> None:
    held = [grants.Grant("1", "x", "t", *grant, 0)]
    assert {action for action in ACTIONS if grants.allows(held, principal, action)} == may
    assert grants.concerns(held[0], principal) == (grant[:2] in grants.audiences(principal))


def test_every_resource_is_known() -> None:
    """Whoever deletes an account clears the grants on all its things, so each resource stands in the list."""
    found = {}
    for module in pkgutil.iter_modules(room.__path__, f"{room.__name__}."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, Resource):
                # One table may be read in several ways.
                found[value.name] = value.table
    assert found == {resource.name: resource.table for resource in resources.ALL}
    assert all(a.table is not b.table for a, b in itertools.combinations(resources.ALL, 2))
