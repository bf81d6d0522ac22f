"""Skills over the API: kept, changed, shared, switched, brought back; and who may do none of it."""

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from open_webui.models import tables
from open_webui.services import skill_files
from open_webui.services import skills as kept
from tests.open_webui.models.test_workspace import allow
from tests.open_webui.plugins.test_tools import count, say, to
from tests.support.live import Actor, Live

SKILLS = "/api/v1/skills"
ONE = f"{SKILLS}/id/baking"
FILES = [
    {"path": "SKILL.md", "content": "# Bake"},
    {"path": "doughs/rye.md", "content": "Rye\nand water"},
    {"path": "oven.png", "content": "iVBORw0KGgo=", "encoding": "base64"},
]
BOTH = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """The life of a skill and its account run on both; the rest is nothing of SQL's."""
    return str(getattr(request, "param", "sqlite"))


def form(skill_id: str = "baking", **changes: Any) -> dict[str, Any]:
    told = {
        "id": skill_id,
        "name": "Baking",
        "description": "How bread is made",
        "content": "# Bake",
        "meta": {"tags": ["a"]},
    }
    return told | {"is_active": True, "access_grants": []} | changes


async def create(actor: Actor, *args: Any, **changes: Any) -> dict[str, Any]:
    status, made = await say(actor, "POST", f"{SKILLS}/create", form(*args, **changes))
    assert status == 200, made
    found: dict[str, Any] = made
    return found


async def update(actor: Actor, **changes: Any) -> Any:
    return await say(actor, "POST", f"{ONE}/update", {"id": "baking", "name": "Baking"} | changes)


def whole(**changes: Any) -> dict[str, Any]:
    """A form with three files."""
    return {"content": None, "files": FILES} | changes


async def content(actor: Actor, version: str, path: str) -> tuple[int, bytes]:
    reply = await actor.client.get(f"{ONE}/files/content", params={"version_id": version, "path": path})
    return reply.status_code, reply.content


@BOTH
async def test_the_life_of_a_skill(live: Live, admin: Actor) -> None:
    made = await create(admin)
    assert list(made) == [
        "version_id", "id", "user_id", "name", "description", "meta", "is_active", "access_grants", "updated_at", "created_at",
    ]  # fmt: skip
    assert (made["meta"], made["is_active"]) == ({"i18n": None, "tags": ["a"]}, True)
    (listed,) = (await say(admin, "GET", f"{SKILLS}/?"))[1]
    assert (listed["user"]["name"], "content" in listed) == ("Admin One", False)
    page = (await say(admin, "GET", f"{SKILLS}/list?page=1&query=BREAD"))[1]
    assert (page["total"], page["items"][0]["write_access"]) == (1, True)
    assert (await say(admin, "GET", f"{SKILLS}/list?page=2"))[1] == {"items": [], "total": 1}
    assert (await say(admin, "GET", f"{SKILLS}/list?view_option=shared"))[1] == {"items": [], "total": 0}
    one = (await say(admin, "GET", ONE))[1]
    assert (one["content"], one["write_access"], one["user"]) == ("# Bake", True, None)
    changed = (await update(admin, content="# Bake well", commit_message="two"))[1]
    assert changed["data"] == {"files": [{"path": "SKILL.md", "content": "# Bake well"}]}
    assert changed["version_id"] != made["version_id"]
    off = (await say(admin, "POST", f"{ONE}/toggle"))[1]
    assert (off["is_active"], off["version_id"]) == (False, changed["version_id"])
    # What a form leaves out stays.
    assert (await update(admin, content="# Bake well"))[1]["is_active"] is False
    assert await say(admin, "DELETE", f"{ONE}/delete") == (200, True)
    assert (await say(admin, "DELETE", f"{ONE}/delete"))[0] == 404
    for path in (ONE, f"{ONE}/files", f"{ONE}/history"):
        assert (await say(admin, "GET", path))[0] == 404
    assert await count(live, tables.version) == await count(live, tables.skill_file) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "bad id"}, {"id": "a/b"}, {"id": ".."}, {"id": ".a"}, {"id": "ä"}, {"id": "a\n"}, {"content": None},
        {"access_grants": [{"principal_type": "nobody"}]}, {"content": "x" * (skill_files.MAX_MAIN + 1)},
        whole(files=[{"path": "a.md", "content": "x"}]),
        *(
            whole(files=[*FILES, {"path": path, "content": "x"}])
            for path in (
                "../a", "/etc/passwd", "a/../../b", "a//b", "a/", "", ".", "a\\b", "C:a", "a\nb", "a\u202eb", "x" * 201,
                "SKILL.md", "SKILL.md/a", "oven.png", "doughs", " a/b",
            )
        ),
        whole(files=[*FILES, {"path": "a", "content": "%%%", "encoding": "base64"}]),
        whole(files=[{"path": "SKILL.md", "content": "/w==", "encoding": "base64"}]),
        whole(files=[*FILES, *({"path": f"{n}.md", "content": "x"} for n in range(200))]),
    ],
)  # fmt: skip
async def test_what_is_no_skill(live: Live, admin: Actor, changes: dict[str, Any]) -> None:
    """A sentence, and nothing of it is kept."""
    status, said = await say(admin, "POST", f"{SKILLS}/create", form() | changes)
    assert (status, isinstance(said["detail"], str)) == (400, True), said
    assert (
        await count(live, tables.skill)
        == await count(live, tables.version)
        == await count(live, tables.skill_file)
        == 0
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ""}, {"id": "a" * 300}, {"id": 3}, {"name": ""}, {"name": "x" * 300}, {"content": 7}, {"meta": []},
        {"meta": {"tags": ["x"] * 200}}, {"meta": {"tags": "a"}}, {"meta": {"i18n": {"a": "x" * 300_000}}},
        {"description": "x" * 5_000}, {"commit_message": "x" * 2_000}, {"files": [{}] * 2_000}, {"files": {}},
        {"files": [{"path": "a", "content": "x", "encoding": "hex"}]}, {"access_grants": {}}, {"is_active": "perhaps"},
        {"operations": [{"op": "burn", "path": "a"}]},
    ],
)  # fmt: skip
async def test_bad_bodies(live: Live, admin: Actor, changes: dict[str, Any]) -> None:
    assert (await say(admin, "POST", f"{SKILLS}/create", form() | changes))[0] == 422
    assert await count(live, tables.skill) == 0


async def test_half_a_character(live: Live, admin: Actor) -> None:
    for text in (
        rb'"content": "\ud800"',
        rb'"files": [{"path": "SKILL.md", "content": ""}, {"path": "\ud800", "content": "x"}]',
    ):
        reply = await admin.client.post(f"{SKILLS}/create", content=b'{"id": "a", "name": "a", ' + text + b"}")
        assert reply.status_code in {400, 422}
    assert await count(live, tables.skill) == 0


async def test_what_is_too_much(live: Live, admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("open_webui.services.skill_files.MAX_ALL", 1_000)
    status, said = await say(
        admin, "POST", f"{SKILLS}/create", form(**whole(files=[*FILES, {"path": "a", "content": "x" * 999}]))
    )
    assert (status, "together" in said["detail"]) == (400, True)
    # Of all versions: what no version has is thrown away first.
    monkeypatch.setattr("open_webui.services.skills.MAX_KEPT", 1_000)
    first = (await create(admin, **whole()))["version_id"]
    big = {"op": "put", "path": "a", "content": "x" * 900}
    second = (await update(admin, operations=[big]))[1]["version_id"]
    status, said = await update(admin, operations=[big | {"content": "y" * 900}])
    assert (status, said["detail"]) == (413, kept.TOO_MUCH)
    assert (await say(admin, "GET", ONE))[1]["version_id"] == second
    await update(admin, operations=[{"op": "delete", "path": "a"}])
    assert await say(admin, "DELETE", f"{ONE}/history/{second}") == (200, True)
    assert (await update(admin, operations=[big | {"content": "y" * 900}]))[0] == 200
    assert (await content(admin, first, "oven.png"))[0] == 200


async def test_an_id_that_is_taken(admin: Actor, user: Actor, live: Live) -> None:
    await create(admin)
    await allow(live, "workspace.skills")
    for actor in (admin, user):
        status, said = await say(actor, "POST", f"{SKILLS}/create", form(name="Another"))
        assert (status, "taken" in said["detail"]) == (400, True)


async def test_two_of_one_id_at_once(admin: Actor) -> None:
    done = await asyncio.gather(*(say(admin, "POST", f"{SKILLS}/create", form()) for _ in range(4)))
    assert sorted(status for status, _ in done) == [200, 400, 400, 400]


async def test_what_a_text_says_of_itself(admin: Actor) -> None:
    text = "---\nname: bread\ndescription: >\n  Bakes\n  bread\n---\n# Bake"
    made = await create(admin, description=None, content=text)
    assert (made["name"], made["description"]) == ("Baking", "Bakes bread")


class TestFiles:
    async def test_they_come_back(self, admin: Actor) -> None:
        version = (await create(admin, **whole()))["version_id"]
        listed = (await say(admin, "GET", f"{ONE}/files"))[1]
        assert listed == {"version_id": version, "files": [
            {"path": "SKILL.md", "size": 6, "encoding": None}, {"path": "doughs/rye.md", "size": 13, "encoding": None},
            {"path": "oven.png", "size": 8, "encoding": "base64"}]}  # fmt: skip
        assert await content(admin, version, "doughs/rye.md") == (200, b"Rye\nand water")
        assert await content(admin, version, "oven.png") == (200, b"\x89PNG\r\n\x1a\n")
        for path in ("none", "../skill", "doughs", "SKILL.md\x00", ""):
            assert (await content(admin, version, path))[0] == 404, path
        assert (await content(admin, "nope", "SKILL.md"))[0] == 404

    async def test_they_are_no_active_content(self, admin: Actor) -> None:
        page = {"path": "x.html", "content": "<script>alert(1)</script>"}
        version = (await create(admin, **whole(files=[*FILES, page])))["version_id"]
        params = {"version_id": version, "path": "x.html"}
        reply = await admin.client.get(f"{ONE}/files/content", params=params)
        assert "sandbox" in reply.headers["content-security-policy"]
        assert reply.headers["content-type"].startswith("text/plain")

    async def test_operations(self, admin: Actor) -> None:
        await create(admin, **whole())
        operations = [
            {"op": "put", "path": "new.md", "content": "new"}, {"op": "move", "path": "oven.png", "destination": "a/b.png"},
            {"op": "delete", "path": "doughs/rye.md"}, {"op": "put", "path": "SKILL.md", "content": "# Other"},
        ]  # fmt: skip
        status, made = await update(admin, operations=operations)
        assert status == 200
        assert [one["path"] for one in made["data"]["files"]] == ["SKILL.md", "a/b.png", "new.md"]
        assert (made["content"], made["data"]["files"][1]["content"]) == ("# Other", "iVBORw0KGgo=")
        for bad in (
            {"op": "delete", "path": "SKILL.md"}, {"op": "move", "path": "SKILL.md", "destination": "x"},
            {"op": "move", "path": "new.md", "destination": "../x"}, {"op": "move", "path": "new.md"},
            {"op": "move", "path": "new.md", "destination": "a/b.png"}, {"op": "put", "path": "a", "content": "x"},
            {"op": "delete", "path": "none"},
        ):  # fmt: skip
            assert (await update(admin, operations=[{"op": "put", "path": "z", "content": "z"}, bad]))[0] in {
                400,
                404,
            }, bad
        assert len((await say(admin, "GET", f"{ONE}/files"))[1]["files"]) == 3

    async def test_what_is_the_same_is_kept_once(self, live: Live, admin: Actor) -> None:
        await create(admin, **whole(files=[*FILES, {"path": "copy.md", "content": "Rye\nand water"}]))
        for n in range(3):
            await update(admin, operations=[{"op": "put", "path": "SKILL.md", "content": str(n)}])
        assert await count(live, tables.skill_file) == 2


class TestHistory:
    @BOTH
    async def test_versions(self, live: Live, admin: Actor) -> None:
        first = (await create(admin, commit_message="begun", **whole()))["version_id"]
        operations = [
            {"op": "put", "path": "doughs/rye.md", "content": "Rye\nand milk"},
            {"op": "delete", "path": "oven.png"},
        ]
        second = (await update(admin, name="Bread", operations=operations, commit_message="two"))[1]["version_id"]
        newest, oldest = (await say(admin, "GET", f"{ONE}/history"))[1]
        assert (newest["id"], newest["parent_id"], newest["commit_message"]) == (second, first, "two")
        assert (oldest["id"], oldest["skill_id"], oldest["user"]) == (first, "baking", {"name": "Admin One"})
        one = (await say(admin, "GET", f"{ONE}/history/{first}"))[1]["snapshot"]
        assert (one["name"], one["content"], len(one["data"]["files"])) == ("Baking", "# Bake", 3)
        differs = (await say(admin, "GET", f"{ONE}/history/diff?from_id={first}&to_id={second}"))[1]
        assert differs["files"] == [
            {"path": "doughs/rye.md", "status": "modified", "binary": False},
            {"path": "oven.png", "status": "deleted", "binary": True},
        ]
        assert differs["metadata"]["name"] == {"before": "Baking", "after": "Bread"}
        between = f"{ONE}/history/diff/file?from_id={first}&to_id={second}"
        lines = (await say(admin, "GET", f"{between}&path=doughs/rye.md"))[1]
        assert ("+and milk" in lines["diff"], lines["binary"]) == (True, False)
        assert (await say(admin, "GET", f"{between}&path=oven.png"))[1] == {
            "diff": "", "line_endings_only": False, "binary": True,
        }  # fmt: skip
        assert (await say(admin, "GET", f"{between}&path=none"))[0] == 404
        back = (
            await say(admin, "POST", f"{ONE}/update/version", {"version_id": first, "expected_version_id": second})
        )[1]
        assert (back["version_id"], back["name"], len(back["data"]["files"])) == (first, "Baking", 3)
        assert back["data"]["files"][2]["content"] == "iVBORw0KGgo="
        assert (await say(admin, "DELETE", f"{ONE}/history/{first}"))[0] == 400
        assert await say(admin, "DELETE", f"{ONE}/history/{second}") == (200, True)
        # What only that version had is gone with it.
        assert await count(live, tables.skill_file) == 2

    async def test_somebody_was_quicker(self, admin: Actor) -> None:
        first = (await create(admin))["version_id"]
        second = (await update(admin, content="two", expected_version_id=first))[1]["version_id"]
        asked = (
            (f"{ONE}/update", form(content="three", expected_version_id=first)),
            (f"{ONE}/update/version", {"version_id": first, "expected_version_id": first}),
        )
        for path, body in asked:
            status, said = await say(admin, "POST", path, body)
            assert (status, said["detail"]["code"]) == (409, "version_conflict")
        assert (await say(admin, "GET", ONE))[1]["version_id"] == second

    async def test_of_another_skill(self, admin: Actor) -> None:
        mine = (await create(admin))["version_id"]
        theirs = (await create(admin, "other"))["version_id"]
        doors = (
            ("GET", f"/history/{theirs}", None), ("DELETE", f"/history/{theirs}", None),
            ("GET", f"/history/diff?from_id={mine}&to_id={theirs}", None), ("GET", f"/files?version_id={theirs}", None),
            ("GET", f"/history/diff/file?from_id={mine}&to_id={theirs}&path=SKILL.md", None),
            ("GET", f"/files/content?version_id={theirs}&path=SKILL.md", None),
            ("POST", "/update/version", {"version_id": theirs, "expected_version_id": mine}),
            ("POST", "/clone", {"id": "c", "name": "C", "version_id": theirs}),
        )  # fmt: skip
        for method, rest, body in doors:
            assert (await say(admin, method, f"{ONE}{rest}", body))[0] == 404, rest

    async def test_line_endings(self, admin: Actor) -> None:
        first = (await create(admin, content="a\nb\n"))["version_id"]
        second = (await update(admin, content="a\r\nb\r\n"))[1]["version_id"]
        path = f"{ONE}/history/diff/file?from_id={first}&to_id={second}&path=SKILL.md"
        assert (await say(admin, "GET", path))[1] == {"diff": "", "line_endings_only": True, "binary": False}


class TestOthers:
    async def test_who_may_read_it(self, live: Live, admin: Actor, user: Actor) -> None:
        first = (await create(admin, **whole()))["version_id"]
        for path in (ONE, f"{ONE}/files", f"{ONE}/history/{first}"):
            assert (await say(user, "GET", path))[0] == 401
        assert (await say(user, "GET", f"{SKILLS}/"))[1] == []
        status, shared = await say(admin, "POST", f"{ONE}/access/update", {"access_grants": [to(user, "read")]})
        assert (status, shared["access_grants"][0]["principal_id"]) == (200, user.id)
        second = (await update(admin, content="two"))[1]["version_id"]
        # The version in use, and no earlier one.
        assert (await say(user, "GET", ONE))[1]["write_access"] is False
        assert (await content(user, second, "doughs/rye.md"))[0] == 200
        for path in (f"{ONE}/history", f"{ONE}/history/{first}", f"{ONE}/files?version_id={first}"):
            assert (await say(user, "GET", path))[0] == 401, path
        for path, body in (("update", form()), ("toggle", None), ("access/update", {"access_grants": []})):
            assert (await say(user, "POST", f"{ONE}/{path}", body))[0] == 401, path
        assert (await say(user, "POST", f"{ONE}/clone", {"id": "mine", "name": "Mine"}))[0] == 401
        await allow(live, "workspace.skills")
        copy = (await say(user, "POST", f"{ONE}/clone", {"id": "mine", "name": "Mine"}))[1]
        assert (copy["user_id"], copy["access_grants"], len(copy["data"]["files"])) == (user.id, [], 3)
        await say(admin, "DELETE", f"{ONE}/delete")
        path = f"{SKILLS}/id/mine/files/content?version_id={copy['version_id']}&path=oven.png"
        assert (await user.client.get(path)).content == b"\x89PNG\r\n\x1a\n"

    async def test_who_may_make_one(self, live: Live, user: Actor) -> None:
        assert await say(user, "POST", f"{SKILLS}/create", form()) == (401, {"detail": "401 Unauthorized"})
        assert (await say(user, "GET", f"{SKILLS}/export"))[0] == 403
        await allow(live, "workspace.skills_import")
        everybody = {"principal_type": "user", "principal_id": "*", "permission": "read"}
        assert (await create(user, access_grants=[everybody]))["access_grants"] == []
        status, _ = await say(user, "POST", f"{ONE}/access/update", {"access_grants": [everybody]})
        assert status == 403
        await allow(live, "sharing.public_skills")
        assert (await say(user, "POST", f"{ONE}/access/update", {"access_grants": [everybody]}))[0] == 200

    @BOTH
    async def test_an_account_takes_its_skills_along(self, live: Live, admin: Actor, user: Actor) -> None:
        await allow(live, "workspace.skills")
        await create(user, **whole())
        assert (await say(admin, "DELETE", f"/api/v1/users/{user.id}"))[0] == 200
        for table in (tables.skill, tables.skill_file, tables.version):
            assert await count(live, table) == 0

    async def test_what_a_broken_row_shows(self, live: Live, admin: Actor) -> None:
        """Somebody's hand in the database: files without what stands in them."""
        version = (await create(admin, **whole()))["version_id"]
        async with live.app.state.oui.database.write() as unit:
            await unit.connection.execute(sa.delete(tables.skill_file))
        assert await content(admin, version, "oven.png") == (200, b"")
