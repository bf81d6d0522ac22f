"""Tools over the API: kept, changed, shared, set, brought back, moved; and who may do none of it."""

import asyncio
import json
from typing import Any

import pytest
import sqlalchemy as sa

from open_webui.models import tables
from open_webui.plugins.text import MAX_CONTENT
from tests.open_webui.models.test_workspace import allow, open_base
from tests.open_webui.models.test_workspace import form as model_form
from tests.open_webui.plugins.test_reading import ADDER
from tests.support.live import Actor, Live

TOOLS = "/api/v1/tools"
ONE = f"{TOOLS}/id/adder"
EMPTY = "class Tools: ..."


def form(tool_id: str = "adder", content: str = ADDER, **changes: Any) -> dict[str, Any]:
    return {
        "id": tool_id,
        "name": "Adder",
        "content": content,
        "meta": {"description": "adds", "manifest": {}},
    } | changes


def to(actor: Actor, permission: str) -> dict[str, str]:
    return {"principal_type": "user", "principal_id": actor.id, "permission": permission}


async def create(actor: Actor, *args: Any, **changes: Any) -> dict[str, Any]:
    reply = await actor.client.post(f"{TOOLS}/create", json=form(*args, **changes))
    assert reply.status_code == 200, reply.text
    made: dict[str, Any] = reply.json()
    return made


async def say(actor: Actor, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    reply = await actor.client.request(method, path, **({} if body is None else {"json": body}))
    return reply.status_code, reply.json()


async def history(actor: Actor, path: str = ONE) -> list[dict[str, Any]]:
    status, found = await say(actor, "GET", f"{path}/history")
    assert status == 200
    listed: list[dict[str, Any]] = found
    return listed


async def count(live: Live, table: sa.Table) -> int:
    async with live.app.state.oui.database.read() as connection:
        return int(await connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0)


async def test_the_life_of_a_tool(live: Live, admin: Actor) -> None:
    made = await create(admin)
    assert list(made) == [
        "version_id", "id", "user_id", "name", "meta", "access_grants", "updated_at", "created_at",
    ]  # fmt: skip
    assert made["meta"]["manifest"]["author"] == "me"
    assert (made["meta"]["description"], made["meta"]["has_user_valves"], made["meta"]["i18n"]) == ("adds", True, None)
    (listed,) = (await say(admin, "GET", f"{TOOLS}/"))[1]
    assert (listed["content"], listed["has_user_valves"], listed["user"]["name"]) == (None, True, "Admin One")
    assert [one["name"] for one in listed["specs"]] == ["add_numbers"]
    assert (await say(admin, "GET", f"{TOOLS}/?query=add"))[1] == [listed]
    assert (await say(admin, "GET", f"{TOOLS}/?query=none"))[1] == []
    (kept,) = (await say(admin, "GET", f"{TOOLS}/list"))[1]
    assert kept["write_access"] is True
    whole = (await say(admin, "GET", ONE))[1]
    assert (whole["content"], whole["write_access"], whole["user"]) == (ADDER, True, None)
    assert (await say(admin, "GET", f"{ONE}/specs"))[1] == whole["specs"]
    renamed = (await say(admin, "POST", f"{ONE}/update", form(name="Adder 2")))[1]
    assert (renamed["name"], renamed["content"], renamed["version_id"] != made["version_id"]) == (
        "Adder 2",
        ADDER,
        True,
    )
    assert await say(admin, "DELETE", f"{ONE}/delete") == (200, True)
    assert (await say(admin, "DELETE", f"{ONE}/delete"))[0] == 401
    assert (await say(admin, "GET", ONE))[0] == 404
    assert await count(live, tables.version) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "bad id!"}, {"id": "a-b"}, {"id": "ä"}, {"id": "a/b"}, {"id": "a\n"}, {"content": "x=1"},
        {"content": "class Tools:\n  def x(:"}, {"content": "class Pipe: ..."}, {"content": "class Pipe: ...\nclass Tools: ..."},
        {"content": "from open_webui.internal.db import Session\nclass Tools: ..."},
        {"content": "from open_webui.main import app\nclass Tools: ..."},
        {"content": "class Tools:\n  x = a" + ".a" * 50_000},
        {"access_grants": [{"principal_type": "nobody"}]},
    ],
)  # fmt: skip
async def test_what_is_no_tool(live: Live, admin: Actor, changes: dict[str, Any]) -> None:
    status, said = await say(admin, "POST", f"{TOOLS}/create", form() | changes)
    assert status in {400, 422}
    assert isinstance(said["detail"], str)
    assert await count(live, tables.tool) == await count(live, tables.version) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ""}, {"id": "a" * 300}, {"id": 3}, {"name": ""}, {"name": "x" * 300}, {"content": None}, {"meta": []},
        {"content": "#" * (MAX_CONTENT + 1)}, {"commit_message": "x" * 2_000}, {"access_grants": {}},
        {"access_grants": [{}] * 1_001},
    ],
)  # fmt: skip
async def test_bad_bodies(live: Live, admin: Actor, changes: dict[str, Any]) -> None:
    assert (await say(admin, "POST", f"{TOOLS}/create", form() | changes))[0] == 422
    assert await count(live, tables.tool) == 0


async def test_bodies_that_are_odd(admin: Actor) -> None:
    """What is too much of it is refused, and what no database takes is left out."""
    status, _ = await say(admin, "POST", f"{TOOLS}/create", form(meta={"description": "x" * 600_000}))
    assert status == 400
    deep: Any = {}
    for _ in range(150):
        deep = {"a": deep}
    assert (await say(admin, "POST", f"{TOOLS}/create", form(meta=deep)))[0] == 400
    meta = {"description": "a\x00b", "own": {"k": [1]}, "manifest": {"title": "Forged"}, "has_user_valves": False}
    made = await create(admin, name="Na\x00me", meta=meta, user_id="somebody", specs=[], created_at=1)
    assert (made["name"], made["user_id"]) == ("Name", admin.id)
    assert (made["meta"]["description"], made["meta"]["own"]) == ("ab", {"k": [1]})
    assert (made["meta"]["manifest"]["title"], made["meta"]["has_user_valves"]) == ("Adder", True)
    assert made["created_at"] > 1


async def test_an_id_that_is_taken(admin: Actor, user: Actor, live: Live) -> None:
    await create(admin)
    await allow(live, "workspace.tools")
    for actor in (admin, user):
        status, said = await say(actor, "POST", f"{TOOLS}/create", form(name="Another"))
        assert (status, "taken" in said["detail"]) == (400, True)
    assert (await say(admin, "GET", ONE))[1]["name"] == "Adder"


class TestWhoMay:
    async def test_nobody_brings_code_without_the_permission(self, live: Live, admin: Actor, user: Actor) -> None:
        """Making, changing and bringing back are the same, whatever else somebody may do with the tool."""
        await create(admin, access_grants=[to(user, "write")])
        marker = (401, {"detail": "401 Unauthorized"})
        (earlier,) = await history(user)
        doors = (
            (f"{TOOLS}/create", form("mine")), (f"{ONE}/update", form()),
            (f"{ONE}/update/version", {"version_id": earlier["id"]}), ("/api/v1/plugins/check", {"content": EMPTY}),
        )  # fmt: skip
        for path, body in doors:
            assert await say(user, "POST", path, body) == marker, path
        assert await say(user, "GET", f"{TOOLS}/export") == marker
        for permission in ("workspace.tools", "workspace.tools_import"):
            state = live.app.state.oui
            before = state.config["user.permissions"]
            await allow(live, permission)
            assert (await say(user, "POST", f"{TOOLS}/create", form(permission.replace(".", "_"))))[0] == 200
            assert (await say(user, "POST", f"{ONE}/update", form()))[0] == 200
            await state.save_config({"user.permissions": before})

    async def test_grants(self, live: Live, admin: Actor, user: Actor, other: Actor) -> None:
        await create(admin, access_grants=[to(user, "read")])
        await allow(live, "workspace.tools", "workspace.tools_export")
        assert [one["id"] for one in (await say(user, "GET", f"{TOOLS}/"))[1]] == ["adder"]
        assert (await say(other, "GET", f"{TOOLS}/"))[1] == []
        status, shown = await say(user, "GET", ONE)
        assert (status, shown["content"], shown["write_access"]) == (200, None, False)
        refused = (
            ("POST", "/update", form()), ("GET", "/valves", None), ("GET", "/valves/spec", None), ("GET", "/history", None),
            ("POST", "/valves/update", {"limit": 1}), ("POST", "/access/update", {"access_grants": []}),
            ("DELETE", "/delete", None),
        )  # fmt: skip
        for method, rest, body in refused:
            status, said = await say(user, method, f"{ONE}{rest}", body)
            assert (status, ADDER in str(said)) == (401, False), rest
        assert (await say(user, "GET", f"{TOOLS}/export"))[1] == []
        status, changed = await say(admin, "POST", f"{ONE}/access/update", {"access_grants": [to(user, "write")]})
        assert (status, changed["access_grants"][0]["permission"], changed["content"]) == (200, "write", ADDER)
        assert (await say(user, "POST", f"{ONE}/update", form(name="Taken over")))[0] == 200
        assert [one["name"] for one in (await say(user, "GET", f"{TOOLS}/export"))[1]] == ["Taken over"]
        for method, rest in (("GET", ""), ("GET", "/specs"), ("GET", "/valves/user")):
            assert (await say(other, method, f"{ONE}{rest}"))[0] == 401

    async def test_sharing_needs_its_permissions(self, live: Live, user: Actor, other: Actor) -> None:
        await allow(live, "workspace.tools")
        everybody = {"principal_type": "user", "principal_id": "*", "permission": "read"}
        made = await create(user, access_grants=[to(other, "read"), everybody])
        assert made["access_grants"] == []
        for given in (to(other, "read"), everybody):
            assert (await say(user, "POST", f"{ONE}/access/update", {"access_grants": [given]}))[0] == 403
        await allow(live, "sharing.tools")
        assert (await say(user, "POST", f"{ONE}/access/update", {"access_grants": [to(other, "read")]}))[0] == 200
        assert (await say(user, "POST", f"{ONE}/access/update", {"access_grants": [everybody]}))[0] == 403
        await allow(live, "sharing.public_tools")
        assert (await say(user, "POST", f"{ONE}/access/update", {"access_grants": [everybody]}))[0] == 200

    @pytest.mark.parametrize(
        "rest", ["", "/specs", "/valves", "/valves/spec", "/valves/user", "/valves/user/spec", "/history"]
    )
    async def test_what_there_is_not(self, user: Actor, rest: str) -> None:
        assert (await say(user, "GET", f"{TOOLS}/id/nope{rest}"))[0] == 404

    async def test_an_account_takes_its_tools_along(self, live: Live, admin: Actor, user: Actor) -> None:
        await allow(live, "workspace.tools")
        await create(user)
        await say(user, "POST", f"{ONE}/valves/user/update", {"nick": "n"})
        assert (await say(admin, "DELETE", f"/api/v1/users/{user.id}"))[0] == 200
        for table in (tables.tool, tables.version, tables.user_valves):
            assert await count(live, table) == 0


class TestHistory:
    async def test_versions(self, admin: Actor) -> None:
        first = (await create(admin, commit_message="begun"))["version_id"]
        second = (await say(admin, "POST", f"{ONE}/update", form(content=f"{ADDER}# two\n", commit_message="two")))[1][
            "version_id"
        ]
        newest, oldest = await history(admin)
        assert (newest["id"], newest["parent_id"], newest["commit_message"]) == (second, first, "two")
        assert (oldest["id"], oldest["parent_id"], oldest["tool_id"]) == (first, None, "adder")
        assert oldest["user"] == {"name": "Admin One"}
        assert (await say(admin, "GET", f"{ONE}/history?page=2"))[1] == []
        whole = (await say(admin, "GET", f"{ONE}/history/{first}"))[1]
        assert whole["snapshot"] == {"name": "Adder", "content": ADDER, "meta": {"description": "adds"}}
        differs = (await say(admin, "GET", f"{ONE}/history/diff?from_id={first}&to_id={second}"))[1]
        assert differs["content_diff"].splitlines()[:2] == ["--- selected.py", "+++ production.py"]
        assert "+# two" in differs["content_diff"]
        assert (differs["metadata"], differs["line_endings_only"]) == ({}, False)
        back = (await say(admin, "POST", f"{ONE}/update/version", {"version_id": first}))[1]
        assert (back["version_id"], back["content"]) == (first, ADDER)
        assert len(await history(admin)) == 2

    async def test_what_is_the_same_is_no_new_version(self, admin: Actor) -> None:
        first = (await create(admin))["version_id"]
        assert (await say(admin, "POST", f"{ONE}/update", form()))[1]["version_id"] == first
        named = (await say(admin, "POST", f"{ONE}/update", form(commit_message="a mark")))[1]
        assert named["version_id"] != first

    async def test_names_and_line_endings(self, admin: Actor) -> None:
        first = (await create(admin, content=EMPTY + "\nx = 1\n"))["version_id"]
        body = form(content=EMPTY + "\r\nx = 1\r\n", name="Named", meta={"description": "other"})
        second = (await say(admin, "POST", f"{ONE}/update", body))[1]["version_id"]
        differs = (await say(admin, "GET", f"{ONE}/history/diff?from_id={first}&to_id={second}"))[1]
        assert (differs["content_diff"], differs["line_endings_only"]) == ("", True)
        assert differs["metadata"] == {
            "meta": {"before": {"description": "adds"}, "after": {"description": "other"}},
            "name": {"before": "Adder", "after": "Named"},
        }

    async def test_removing_one(self, admin: Actor) -> None:
        made = [(await create(admin))["version_id"]]
        for n in range(2):
            made.append((await say(admin, "POST", f"{ONE}/update", form(name=f"N{n}")))[1]["version_id"])  # noqa: PERF401
        assert (await say(admin, "DELETE", f"{ONE}/history/{made[2]}"))[0] == 400
        assert await say(admin, "DELETE", f"{ONE}/history/{made[1]}") == (200, True)
        assert (await say(admin, "DELETE", f"{ONE}/history/{made[1]}"))[0] == 404
        newest, oldest = await history(admin)
        assert (newest["parent_id"], oldest["id"]) == (made[0], made[0])

    async def test_of_another_tool(self, admin: Actor) -> None:
        await create(admin)
        theirs = (await create(admin, "other"))["version_id"]
        mine = (await history(admin))[0]["id"]
        doors = (
            ("GET", f"/history/{theirs}", None), ("DELETE", f"/history/{theirs}", None),
            ("GET", f"/history/diff?from_id={mine}&to_id={theirs}", None),
            ("POST", "/update/version", {"version_id": theirs}), ("POST", "/update/version", {"version_id": ""}),
        )  # fmt: skip
        for method, rest, body in doors:
            assert await say(admin, method, f"{ONE}{rest}", body) == (404, {"detail": "Not found"}), rest

    async def test_there_is_an_end_to_it(self, admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("open_webui.models.versions.KEPT", 3)
        first = (await create(admin, content=EMPTY))["version_id"]
        for n in range(6):
            await say(admin, "POST", f"{ONE}/update", form(content=EMPTY, name=f"N{n}"))
        listed = await history(admin)
        assert len(listed) == 3
        assert first not in {one["id"] for one in listed}

    async def test_two_changes_at_once(self, admin: Actor) -> None:
        """Each is a version; they follow one another, and the tool is the last of them."""
        first = (await create(admin, content=EMPTY))["version_id"]
        bodies = [form(content=f"{EMPTY}\nx = {n}\n") for n in range(6)]
        done = await asyncio.gather(*(say(admin, "POST", f"{ONE}/update", body) for body in bodies))
        assert {status for status, _ in done} == {200}
        listed = await history(admin)
        assert [one["parent_id"] for one in listed] == [*(one["id"] for one in listed[1:]), None]
        assert listed[-1]["id"] == first
        now = (await say(admin, "GET", ONE))[1]
        assert now["version_id"] == listed[0]["id"]
        newest = (await say(admin, "GET", f"{ONE}/history/{listed[0]['id']}"))[1]
        assert newest["snapshot"]["content"] == now["content"]

    async def test_two_of_one_id_at_once(self, admin: Actor) -> None:
        done = await asyncio.gather(*(say(admin, "POST", f"{TOOLS}/create", form(content=EMPTY)) for _ in range(4)))
        assert sorted(status for status, _ in done) == [200, 400, 400, 400]
        assert len(await history(admin)) == 1


class TestValves:
    async def test_the_tools_own(self, admin: Actor) -> None:
        await create(admin)
        assert await say(admin, "GET", f"{ONE}/valves") == (200, {})
        assert (await say(admin, "GET", f"{ONE}/valves/spec"))[1]["properties"]["limit"]["default"] == 5
        assert await say(admin, "POST", f"{ONE}/valves/update", {"limit": "7", "other": 1}) == (200, {"limit": 7})
        assert await say(admin, "GET", f"{ONE}/valves") == (200, {"limit": 7})
        for bad in ({"limit": "x"}, {"limit": None}, {"limit": {"a": 1}}):
            status, said = await say(admin, "POST", f"{ONE}/valves/update", bad)
            assert (status, said["detail"].startswith("limit: ")) == (400, True)
        for bad in ([], "x", 3):
            assert (await say(admin, "POST", f"{ONE}/valves/update", bad))[0] == 422
        assert (await say(admin, "POST", f"{ONE}/valves/update", {"x": "x" * 200_000}))[0] == 422
        assert await say(admin, "GET", f"{ONE}/valves") == (200, {"limit": 7})
        await say(admin, "POST", f"{ONE}/update", form(name="Changed"))
        assert await say(admin, "GET", f"{ONE}/valves") == (200, {"limit": 7})

    async def test_a_persons_own(self, live: Live, admin: Actor, user: Actor) -> None:
        await create(admin, access_grants=[to(user, "read")])
        path = f"{ONE}/valves/user"
        assert (await say(user, "GET", f"{path}/spec"))[1]["properties"]["nick"]["type"] == "string"
        assert await say(user, "POST", f"{path}/update", {"nick": "mine"}) == (200, {"nick": "mine"})
        assert await say(user, "GET", path) == (200, {"nick": "mine"})
        assert await say(admin, "GET", path) == (200, {})
        await say(admin, "DELETE", f"{ONE}/delete")
        assert await count(live, tables.user_valves) == 0

    async def test_without_a_form(self, admin: Actor) -> None:
        await create(admin, content=EMPTY)
        for whose in ("valves", "valves/user"):
            assert await say(admin, "GET", f"{ONE}/{whose}/spec") == (200, None)
            assert (await say(admin, "POST", f"{ONE}/{whose}/update", {"a": 1}))[0] == 400

    async def test_they_are_sealed(self, live: Live, admin: Actor) -> None:
        """A copy of the database alone tells none; those of one thing are none of another's."""
        await create(admin)
        await create(admin, "second")
        await say(admin, "POST", f"{ONE}/valves/user/update", {"nick": "plain-canary"})
        await say(admin, "POST", f"{ONE}/valves/update", {"limit": 4242})
        state = live.app.state.oui
        async with state.database.write() as unit:
            (sealed,) = (await unit.connection.execute(sa.select(tables.user_valves.c.sealed))).scalars()
            moved = (await unit.connection.execute(sa.select(tables.tool.c.valves))).scalars().all()
            assert "plain-canary" not in sealed
            assert "4242" not in str(moved)
            given = next(one for one in moved if one)
            await unit.connection.execute(tables.tool.update().values(valves=given))
        assert await say(admin, "GET", f"{TOOLS}/id/second/valves") == (200, {})
        assert await say(admin, "GET", f"{ONE}/valves") == (200, {"limit": 4242})


async def test_a_model_names_only_tools_that_one_may_use(live: Live, admin: Actor, user: Actor) -> None:
    await open_base(admin)
    await allow(live, "workspace.models")
    await create(admin)
    await create(admin, "opened", access_grants=[to(user, "read")])
    for ids, status in ((["adder"], 400), (["opened", "server:x", "elsewhere"], 200)):
        body = model_form(f"m{status}", meta={"toolIds": ids}, access_grants=[to(user, "write")])
        assert (await say(user, "POST", "/api/v1/models/create", body))[0] == status
    taken = model_form("m200", meta={"toolIds": ["adder"]})
    assert (await say(user, "POST", "/api/v1/models/model/update", taken))[0] == 400
    # What an admin put there may stay.
    shared = model_form("m3", meta={"toolIds": ["adder"]}, access_grants=[to(user, "write")])
    assert (await say(admin, "POST", "/api/v1/models/create", shared))[0] == 200
    assert (await say(user, "POST", "/api/v1/models/model/update", shared | {"name": "Renamed"}))[0] == 200


async def test_an_export_is_an_import(live: Live, admin: Actor, user: Actor) -> None:
    await create(admin)
    await create(admin, "second", content=EMPTY)
    exported = (await say(admin, "GET", f"{TOOLS}/export"))[1]
    assert [one["id"] for one in exported] == ["adder", "second"]
    for one in exported:
        await say(admin, "DELETE", f"{TOOLS}/id/{one['id']}/delete")
    await allow(live, "workspace.tools_import", "workspace.tools_export")
    for one in exported:
        assert (await say(user, "POST", f"{TOOLS}/create", json.loads(json.dumps(one))))[0] == 200
    again = (await say(user, "GET", f"{TOOLS}/export"))[1]
    same = ("id", "name", "content", "specs", "meta")
    assert [{n: one[n] for n in same} for one in again] == [{n: one[n] for n in same} for one in exported]
    assert {one["user_id"] for one in again} == {user.id}


async def test_a_text_is_checked_before_it_is_saved(admin: Actor) -> None:
    text = f"import nothere\n{ADDER}"
    status, said = await say(admin, "POST", "/api/v1/plugins/check", {"content": text})
    assert (status, said["kind"], said["methods"]) == (200, "tool", ["add_numbers"])
    assert [one["refused"] for one in said["findings"]] == [False]
    status, said = await say(admin, "POST", "/api/v1/plugins/check", {"content": "class Tools:\n  def x(:"})
    assert (status, said["kind"], said["findings"][0]["refused"]) == (200, None, True)


async def test_code_is_laid_out_where_a_formatter_is_there(admin: Actor, user: Actor) -> None:
    path = "/api/v1/utils/code/format"
    status, said = await say(admin, "POST", path, {"code": "x = 1"})
    assert (status, said) == (200, {"code": "x = 1\n"})
    assert (await say(admin, "POST", path, {"code": "def ("}))[0] == 400
    assert (await say(admin, "POST", path, {}))[0] == 422
    assert (await say(user, "POST", path, {"code": "x = 1"}))[0] == 401
