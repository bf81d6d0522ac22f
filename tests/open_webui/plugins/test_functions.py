"""Functions over the API: the server's own, which admins keep, switch and set."""

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from open_webui.models import tables
from tests.open_webui.models.test_workspace import allow
from tests.open_webui.plugins.test_tools import count, history, say
from tests.support.live import Actor, Live

FUNCTIONS = "/api/v1/functions"
ONE = f"{FUNCTIONS}/id/mine"
FILTER = """
from pydantic import BaseModel
class Filter:
    class Valves(BaseModel):
        priority: int = 3
        key: str = ""
    class UserValves(BaseModel):
        on: bool = True
    def inlet(self, body, __user__=None):
        return body
"""
PIPE = "class Pipe:\n    def pipe(self, body): return 'hi'\n"


def form(function_id: str = "mine", content: str = FILTER, **changes: Any) -> dict[str, Any]:
    return {
        "id": function_id,
        "name": "Mine",
        "content": content,
        "meta": {"description": "d", "manifest": {}},
    } | changes


async def create(actor: Actor, *args: Any, **changes: Any) -> dict[str, Any]:
    status, made = await say(actor, "POST", f"{FUNCTIONS}/create", form(*args, **changes))
    assert status == 200, made
    assert isinstance(made, dict)
    return made


async def priority(live: Live) -> int:
    async with live.app.state.oui.database.read() as connection:
        return int(await connection.scalar(sa.select(tables.function.c.priority)) or 0)


async def test_the_life_of_a_function(live: Live, admin: Actor) -> None:
    made = await create(admin)
    assert list(made) == [
        "version_id", "id", "user_id", "type", "name", "meta", "is_active", "is_global", "updated_at", "created_at",
    ]  # fmt: skip
    assert (made["type"], made["is_active"], made["is_global"]) == ("filter", False, False)
    assert made["meta"] == {"description": "d", "manifest": {}, "toggle": False}
    assert (await say(admin, "POST", f"{ONE}/toggle"))[1]["is_active"] is True
    assert (await say(admin, "POST", f"{ONE}/toggle/global"))[1]["is_global"] is True
    assert (await say(admin, "GET", ONE))[1]["content"] == FILTER
    (listed,) = (await say(admin, "GET", f"{FUNCTIONS}/list"))[1]
    assert (listed["user"]["name"], "content" in listed) == ("Admin One", False)
    changed = (await say(admin, "POST", f"{ONE}/update", form(content=PIPE, name="A pipe")))[1]
    assert (changed["type"], changed["is_active"], changed["name"]) == ("pipe", True, "A pipe")
    first = (await history(admin, ONE))[-1]["id"]
    back = (await say(admin, "POST", f"{ONE}/update/version", {"version_id": first}))[1]
    assert (back["type"], back["version_id"], back["is_active"]) == ("filter", first, True)
    assert await say(admin, "DELETE", f"{ONE}/delete") == (200, True)
    assert await say(admin, "DELETE", f"{ONE}/delete") == (200, False)
    assert (await say(admin, "GET", ONE))[0] == 401
    assert await count(live, tables.version) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "a b"}, {"content": "x=1"}, {"content": "class Tools: ..."}, {"content": "class Pipeline: ..."},
        {"content": "class Filter:\n def x(:"}, {"content": "from open_webui.internal import db\nclass Filter: ..."},
    ],
)  # fmt: skip
async def test_what_is_no_function(live: Live, admin: Actor, changes: dict[str, Any]) -> None:
    status, said = await say(admin, "POST", f"{FUNCTIONS}/create", form() | changes)
    assert (status, isinstance(said["detail"], str)) == (400, True)
    await create(admin)
    bad = form() | changes
    if "content" in changes:
        assert (await say(admin, "POST", f"{ONE}/update", bad))[0] == 400
    assert (await say(admin, "GET", ONE))[1]["content"] == FILTER


async def test_others_see_what_is_switched_on(live: Live, admin: Actor, user: Actor) -> None:
    await create(admin)
    assert (await say(user, "GET", f"{FUNCTIONS}/"))[1] == []
    for rest in ("", "/spec"):
        assert (await say(user, "GET", f"{ONE}/valves/user{rest}"))[0] == 401
    await say(admin, "POST", f"{ONE}/toggle")
    (shown,) = (await say(user, "GET", f"{FUNCTIONS}/"))[1]
    assert (shown["id"], "content" in shown) == ("mine", False)
    assert (await say(user, "GET", f"{ONE}/valves/user/spec"))[1]["properties"]["on"]["type"] == "boolean"
    assert await say(user, "POST", f"{ONE}/valves/user/update", {"on": "no"}) == (200, {"on": False})
    assert await say(user, "GET", f"{ONE}/valves/user") == (200, {"on": False})
    assert (await say(user, "POST", f"{ONE}/valves/user/update", {"on": "perhaps"}))[0] == 400
    tree = live.app.state.oui.config["user.permissions"]
    await live.app.state.oui.save_config({"user.permissions": tree | {"chat": tree["chat"] | {"valves": False}}})
    assert (await say(user, "POST", f"{ONE}/valves/user/update", {"on": True}))[0] == 401
    for method, rest in (
        ("GET", ""),
        ("GET", "/valves"),
        ("POST", "/toggle"),
        ("GET", "/history"),
        ("DELETE", "/delete"),
    ):
        assert (await say(user, method, f"{ONE}{rest}"))[0] == 401
    await allow(live, "workspace.tools", "workspace.tools_export", "workspace.tools_import")
    assert (await say(user, "POST", f"{FUNCTIONS}/create", form("theirs")))[0] == 401
    assert (await say(user, "GET", f"{FUNCTIONS}/export"))[0] == 401
    assert (await say(user, "POST", f"{FUNCTIONS}/sync", {"functions": []}))[0] == 401


async def test_it_stays_when_its_author_goes(live: Live, admin: Actor) -> None:
    from tests.support.live import sign_up

    second = await sign_up(live, "Second One", role="admin", admin=admin)
    await create(second)
    await second.client.aclose()
    assert (await say(admin, "DELETE", f"/api/v1/users/{second.id}"))[0] == 200
    status, shown = await say(admin, "GET", ONE)
    assert (status, shown["user_id"]) == (200, None)
    (listed,) = (await say(admin, "GET", f"{FUNCTIONS}/list"))[1]
    assert listed["user"] is None
    (version,) = await history(admin, ONE)
    assert (version["user_id"], version["user"]) == ("", None)


async def test_the_priority_is_the_valves(live: Live, admin: Actor) -> None:
    """It is read without unsealing what is set."""
    await create(admin)
    assert await priority(live) == 3
    await say(admin, "POST", f"{ONE}/valves/update", {"priority": -5, "key": "secret-canary"})
    assert await priority(live) == -5
    await say(admin, "POST", f"{ONE}/update", form(content=FILTER.replace("= 3", "= 8")))
    assert await priority(live) == -5
    await say(admin, "POST", f"{ONE}/valves/update", {"key": "secret-canary"})
    assert await priority(live) == 8
    await say(admin, "POST", f"{ONE}/valves/update", {"priority": 2**60})
    assert await priority(live) == 0
    assert (await say(admin, "GET", f"{ONE}/valves"))[1] == {"priority": 2**60}
    async with live.app.state.oui.database.read() as connection:
        assert "canary" not in str((await connection.execute(sa.select(tables.function.c.valves))).all())


class TestSync:
    async def test_an_export_taken_over(self, live: Live, admin: Actor) -> None:
        await create(admin)
        await say(admin, "POST", f"{ONE}/toggle")
        await say(admin, "POST", f"{ONE}/valves/update", {"priority": 1, "key": "k"})
        await create(admin, "pipe", PIPE)
        plain = (await say(admin, "GET", f"{FUNCTIONS}/export"))[1]
        assert [("valves" in one, one["id"]) for one in plain] == [(False, "mine"), (False, "pipe")]
        exported = (await say(admin, "GET", f"{FUNCTIONS}/export?include_valves=true"))[1]
        assert [one["valves"] for one in exported] == [{"priority": 1, "key": "k"}, None]
        await say(admin, "DELETE", f"{ONE}/delete")
        await create(admin, "third", PIPE)
        status, taken = await say(admin, "POST", f"{FUNCTIONS}/sync", {"functions": exported})
        assert status == 200
        assert {one["id"]: (one["is_active"], one["valves"]) for one in taken} == {
            "mine": (True, {"priority": 1, "key": "k"}), "pipe": (False, None),
        }  # fmt: skip
        assert (await say(admin, "GET", f"{ONE}/valves"))[1] == {"priority": 1, "key": "k"}
        assert await say(admin, "POST", f"{FUNCTIONS}/sync", {"functions": []}) == (200, [])
        assert await count(live, tables.function) == await count(live, tables.version) == 0

    @pytest.mark.parametrize(
        "bad",
        [
            form("b", "x=1"), form("b c"), form("b", "class Tools: ..."), form("b", valves={"priority": "x"}),
            form("b", PIPE, valves={"a": 1}), form("b", "import open_webui.main\nclass Pipe: ..."),
        ],
    )  # fmt: skip
    async def test_all_or_none(self, admin: Actor, bad: dict[str, Any]) -> None:
        await create(admin)
        status, said = await say(admin, "POST", f"{FUNCTIONS}/sync", {"functions": [form("good"), bad]})
        assert (status, bad["id"] in said["detail"]) == (400, True)
        assert [one["id"] for one in (await say(admin, "GET", f"{FUNCTIONS}/"))[1]] == ["mine"]

    async def test_two_at_once(self, admin: Actor) -> None:
        lists = [[form("a"), form("b", PIPE)], [form("b"), form("a", PIPE)]]
        done = await asyncio.gather(
            *(say(admin, "POST", f"{FUNCTIONS}/sync", {"functions": each}) for each in lists for _ in range(2))
        )
        assert {status for status, _ in done} == {200}
        assert {one["id"] for one in (await say(admin, "GET", f"{FUNCTIONS}/"))[1]} == {"a", "b"}

    @pytest.mark.parametrize("body", [{"functions": {}}, {"functions": [{}]}, {"functions": [form()] * 501}, []])
    async def test_bad_bodies(self, admin: Actor, body: Any) -> None:
        await create(admin)
        assert (await say(admin, "POST", f"{FUNCTIONS}/sync", body))[0] == 422
        assert len((await say(admin, "GET", f"{FUNCTIONS}/"))[1]) == 1
