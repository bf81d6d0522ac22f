"""The worked example "Add a resource" runs: its blocks are put where they belong, and six people try the new resource."""

import re
import sys
import types
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations

import open_webui.models
from open_webui.models import resources, tables
from open_webui.models.base import metadata
from open_webui.printing import declared
from tests.security import matrix, matrix_doors
from tests.security.matrix import Role, World
from tests.security.test_matrix import judge
from tests.support.live import Live
from tests.support.upstream import Upstream

PAGE = Path(__file__).resolve().parents[2] / "docs" / "architecture" / "add_a_resource.md"
# Blocks that add to a module that is there; the others are modules of their own.
ADDED = {
    "models/tables.py": tables, "models/resources.py": resources,
    "tests/security/matrix.py": matrix, "tests/security/matrix_doors.py": matrix_doors,
}  # fmt: skip
PEOPLE: tuple[Role, ...] = ("owner", "writer", "reader", "stranger", "pending", "admin")


def blocks() -> dict[str, str]:
    """The page's code by the file that its first line names."""
    found = re.findall(r"^```python\n# (\S+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return dict(found)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The modules of the example by their file, as if they were part of the server."""
    held = dict(matrix.MAKERS), dict(matrix_doors.DOORS)
    made: dict[str, Any] = {}
    for path, code in blocks().items():
        name = "open_webui." + path.removesuffix(".py").replace("/", ".")
        target = ADDED.get(path) or types.ModuleType(name)
        if path in ADDED:
            # What the block changes is undone after the test.
            for changed in ("ALL", "recipe"):
                if hasattr(target, changed) or path == "models/tables.py":
                    monkeypatch.setattr(target, changed, getattr(target, changed, None), raising=False)
            if path == "models/resources.py":
                monkeypatch.setattr(target, "recipes", made["models/recipes.py"], raising=False)
        else:
            monkeypatch.setitem(sys.modules, name, target)
            if path.startswith("models/"):
                monkeypatch.setattr(open_webui.models, name.rpartition(".")[2], target, raising=False)
        exec(compile(code, f"{PAGE.name}: {path}", "exec"), target.__dict__)
        made[path] = target
    yield made
    metadata.remove(tables.recipe)  # type: ignore[attr-defined]
    for kept, now in zip(held, (matrix.MAKERS, matrix_doors.DOORS), strict=True):
        now.clear()
        now.update(kept)


@pytest.fixture
async def world(example: dict[str, Any], live: Live, upstream: Upstream) -> AsyncIterator[World]:
    """The server with recipes: its database is migrated by the example's own migration."""
    state = live.app.state.oui

    def upgrade(connection: sa.Connection) -> None:
        with Operations.context(MigrationContext.configure(connection)):
            example["migrations/versions/recipes.py"].upgrade()

    async with state.database.write() as unit:
        await unit.connection.run_sync(upgrade)
    live.app.router.routes[:0] = example["routers/recipes.py"].router.routes
    await permit(live, public_recipes=False)
    made = await matrix.make_world(live, upstream)
    await permit(live, public_recipes=False)
    yield made
    await matrix.close(made)


async def permit(live: Live, **sharing: bool) -> None:
    """The permissions that recipes bring, and which of them everybody has."""
    state = live.app.state.oui
    tree = state.config["user.permissions"]
    more = {"workspace": {"recipes": True}, "sharing": {"recipes": True} | sharing}
    await state.save_config({"user.permissions": tree | {name: tree[name] | more[name] for name in more}})


def test_the_page_has_every_step() -> None:
    assert list(blocks()) == [
        "models/tables.py", "migrations/versions/recipes.py", "models/recipes.py", "models/resources.py",
        "schemas/recipes.py", "routers/recipes.py", "tests/security/matrix.py", "tests/security/matrix_doors.py",
    ]  # fmt: skip


async def test_the_migration_makes_the_declared_table(world: World) -> None:
    def compare(connection: sa.Connection) -> None:
        there = sa.inspect(connection)
        columns = {c["name"]: (str(c["type"]), c["nullable"]) for c in there.get_columns("recipe")}
        declared_ = {c.name: (c.type.compile(connection.dialect), c.nullable) for c in tables.recipe.columns}  # type: ignore[attr-defined]
        assert columns == declared_
        assert [i["name"] for i in there.get_indexes("recipe")] == ["ix_recipe_user_id"]

    async with world.live.app.state.oui.database.read() as connection:
        await connection.run_sync(compare)


@pytest.mark.parametrize("role", PEOPLE)
async def test_who_gets_at_a_recipe(world: World, role: Role) -> None:
    """The two-user test over the new routes: each door as each of the people, as its policy says."""
    wrong = {}
    doors = [d for d in declared(world.live.app) if d.path.startswith("/api/v1/recipes/")]
    assert len(doors) == 6
    for door in sorted(doors, key=lambda d: d.kind == "DELETE"):
        for case in matrix_doors.DOORS[f"{door.kind} {door.path}"]:
            if case.turn:
                await world.furnish("recipe")
            found, _ = await judge(world, role, door, case, None)
            if found:
                wrong[f"{door.kind} {door.path}"] = found
    assert wrong == {}


async def test_the_life_of_a_recipe(world: World) -> None:
    owner, stranger, admin = (world.actor(role).client for role in ("owner", "stranger", "admin"))
    form = {"name": "Bread", "steps": "Knead, wait, bake.", "meta": {"minutes": 90}}
    public = matrix.granted("*")
    made = (await owner.post("/api/v1/recipes/create", json=form | {"access_grants": [public]})).json()
    assert list(made) == [
        "id", "user_id", "name", "steps", "meta", "access_grants", "created_at", "updated_at",
    ]  # fmt: skip
    # It was not the owner's to open to everybody.
    assert (made["access_grants"], made["meta"]) == ([], {"minutes": 90})
    one = f"/api/v1/recipes/id/{made['id']}"
    refused = await owner.post(f"{one}/access/update", json={"access_grants": [public]})
    assert refused.status_code == 403
    assert (await stranger.get(one)).status_code == 404
    assert (await admin.post(f"{one}/access/update", json={"access_grants": [public]})).status_code == 200
    assert (await stranger.get(one)).json()["write_access"] is False
    changed = (await owner.post(f"{one}/update", json=form | {"name": "Rye bread"})).json()
    assert (changed["name"], len(changed["access_grants"])) == ("Rye bread", 1)
    listed = (await stranger.get("/api/v1/recipes/list?query=RYE")).json()
    assert (listed["total"], listed["items"][0]["user"]["name"]) == (1, "Owner One")
    assert (await stranger.post(f"{one}/update", json=form)).status_code == 401
    assert (await owner.post("/api/v1/recipes/create", json=form | {"name": ""})).status_code == 422
    assert (await owner.delete(f"{one}/delete")).json() is True
    assert (await owner.delete(f"{one}/delete")).status_code == 404
    async with world.live.app.state.oui.database.read() as connection:
        left = sa.select(tables.access_grant.c.id).where(tables.access_grant.c.resource_id == made["id"])
        assert list(await connection.scalars(left)) == []


async def test_recipes_go_with_their_account(world: World) -> None:
    grant = tables.access_grant.c
    mine = sa.select(grant.id).where(grant.resource_type == "recipe")
    async with world.live.app.state.oui.database.read() as connection:
        assert len(list(await connection.scalars(mine))) == 2
    assert (await world.admin.client.delete(f"/api/v1/users/{world.owner.id}")).status_code == 200
    async with world.live.app.state.oui.database.read() as connection:
        assert list(await connection.scalars(mine)) == []
