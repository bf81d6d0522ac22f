"""Prompts over the API: kept, called by their commands, changed, shared, brought back; and who may do none of it."""

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from open_webui.models import prompts as stored
from open_webui.models import tables, versions
from open_webui.schemas import prompts as schema
from open_webui.services import prompts as service
from tests.open_webui.models.test_workspace import allow
from tests.open_webui.plugins.test_tools import count, say, to
from tests.support.live import Actor, Live

PROMPTS = "/api/v1/prompts"
BOTH = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)
EVERYBODY = {"principal_type": "user", "principal_id": "*", "permission": "read"}


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """Lists, races and the account run on both; the rest is nothing of SQL's."""
    return str(getattr(request, "param", "sqlite"))


def form(command: str = "sum", **changes: Any) -> dict[str, Any]:
    return {"command": command, "name": "Summarise", "content": "Summarise {{text}}", "tags": ["a"]} | changes


async def create(actor: Actor, *args: Any, **changes: Any) -> dict[str, Any]:
    status, made = await say(actor, "POST", f"{PROMPTS}/create", form(*args, access_grants=[]) | changes)
    assert status == 200, made
    found: dict[str, Any] = made
    return found


def one(row: dict[str, Any], rest: str = "") -> str:
    return f"{PROMPTS}/id/{row['id']}{rest}"


async def names(actor: Actor, **asked: Any) -> list[str]:
    """The commands of a page of the workspace, in its order."""
    reply = await actor.client.get(f"{PROMPTS}/list", params=asked)
    assert reply.status_code == 200, reply.text
    found = reply.json()
    assert found["total"] >= len(found["items"])
    return [row["command"] for row in found["items"]]


@BOTH
async def test_the_life_of_a_prompt(live: Live, admin: Actor) -> None:
    made = await create(admin)
    assert list(made) == [
        "id", "command", "user_id", "name", "content", "data", "meta", "tags", "is_active", "version_id", "created_at",
        "updated_at", "access_grants",
    ]  # fmt: skip
    assert (made["data"], made["meta"], made["tags"], made["is_active"]) == ({}, {}, ["a"], True)
    assert (await say(admin, "GET", f"{PROMPTS}/"))[1] == [made]
    page = (await say(admin, "GET", f"{PROMPTS}/list?page=1"))[1]
    owner = {"id": admin.id, "name": "Admin One", "role": "admin", "email": admin.email}
    assert page == {"items": [made | {"user": owner, "write_access": True}], "total": 1}
    assert (await say(admin, "GET", one(made)))[1] == made | {"user": None, "write_access": True}
    status, changed = await say(admin, "POST", one(made, "/update"), form(content="Sum up", commit_message="v2"))
    assert (status, changed["content"], changed["tags"]) == (200, "Sum up", ["a"])
    assert changed["version_id"] != made["version_id"]
    meta = {"name": "Sum", "command": "/short", "tags": ["b", "b", " c ", ""]}
    named = (await say(admin, "POST", one(made, "/update/meta"), meta))[1]
    assert (named["name"], named["command"], named["tags"]) == ("Sum", "short", ["b", "c"])
    assert (named["content"], named["version_id"]) == ("Sum up", changed["version_id"])
    assert (await say(admin, "GET", f"{PROMPTS}/tags"))[1] == ["b", "c"]
    off = (await say(admin, "POST", one(made, "/toggle")))[1]
    assert (off["is_active"], off["version_id"]) == (False, changed["version_id"])
    # It is not offered; the workspace has it.
    assert ((await say(admin, "GET", f"{PROMPTS}/"))[1], await names(admin)) == ([], ["short"])
    assert (await say(admin, "POST", one(made, "/toggle")))[1]["is_active"] is True
    assert await say(admin, "DELETE", one(made, "/delete")) == (200, True)
    for method, rest in (("GET", ""), ("DELETE", "/delete"), ("GET", "/history"), ("POST", "/toggle")):
        assert (await say(admin, method, one(made, rest)))[0] == 404, rest
    assert await count(live, tables.prompt) == await count(live, tables.version) == 0


async def test_what_a_form_leaves_out_stays(admin: Actor) -> None:
    made = await create(admin, data={"a": None}, meta={"b": 1}, access_grants=[EVERYBODY])
    bare = {"command": "sum", "name": "Other", "content": "Other"}
    changed = (await say(admin, "POST", one(made, "/update"), bare))[1]
    assert (changed["data"], changed["meta"], changed["tags"]) == ({"a": None}, {"b": 1}, ["a"])
    assert changed["access_grants"] == made["access_grants"]
    assert (await say(admin, "POST", one(made, "/update"), bare | {"tags": [], "data": {}}))[1]["tags"] == []


class TestCommands:
    async def test_taken(self, live: Live, admin: Actor, user: Actor) -> None:
        made = await create(admin)
        other = await create(admin, "other")
        await allow(live, "workspace.prompts")
        taken = (400, {"detail": stored.TAKEN})
        for actor in (admin, user):
            assert await say(actor, "POST", f"{PROMPTS}/create", form(name="Another")) == taken
        assert await say(admin, "POST", one(other, "/update"), form(content="New")) == taken
        assert await say(admin, "POST", one(other, "/update/meta"), {"command": "sum", "name": "New"}) == taken
        # Nothing of it is kept.
        assert (await say(admin, "GET", one(other)))[1] | {"user": None} == other | {"user": None, "write_access": True}
        assert (len((await say(admin, "GET", one(other, "/history")))[1]), await count(live, tables.prompt)) == (1, 2)
        # One's own is not.
        assert (await say(admin, "POST", one(made, "/update"), form(content="New")))[0] == 200

    @BOTH
    async def test_two_at_once(self, live: Live, admin: Actor) -> None:
        done = await asyncio.gather(*(say(admin, "POST", f"{PROMPTS}/create", form()) for _ in range(4)))
        assert sorted(status for status, _ in done) == [200, 400, 400, 400]
        assert await count(live, tables.prompt) == await count(live, tables.version) == 1

    @BOTH
    async def test_two_take_one_at_once(self, live: Live, admin: Actor) -> None:
        rows = [await create(admin, name) for name in ("one", "two", "three")]
        body = {"command": "wanted", "name": "N"}
        done = await asyncio.gather(*(say(admin, "POST", one(row, "/update/meta"), body) for row in rows))
        assert sorted(status for status, _ in done) == [200, 400, 400]
        assert await count(live, tables.prompt) == 3

    @pytest.mark.parametrize("command", ["a b", "a/b", "ä", "a\nb", "a.b", "{{x}}", "//a", "\u202ea"])
    async def test_what_is_none(self, live: Live, admin: Actor, command: str) -> None:
        refused = (400, {"detail": service.BAD_COMMAND})
        assert await say(admin, "POST", f"{PROMPTS}/create", form(command)) == refused
        made = await create(admin, "good")
        assert await say(admin, "POST", one(made, "/update"), form(command)) == refused
        assert await say(admin, "POST", one(made, "/update/meta"), {"command": command, "name": "N"}) == refused
        assert (await count(live, tables.prompt), await count(live, tables.version)) == (1, 1)

    @BOTH
    async def test_what_else_goes_wrong_is_not_told_as_taken(self, live: Live, admin: Actor) -> None:
        row = await create(admin)

        async def give_to_nobody() -> None:
            async with live.app.state.oui.database.write() as unit:
                await stored.change(unit.connection, row["id"], {"user_id": "nobody"})

        with pytest.raises(sa.exc.IntegrityError):
            await give_to_nobody()

    async def test_its_letters_may_be_large(self, admin: Actor) -> None:
        first, second = await create(admin, "Sum"), await create(admin, "sum")
        assert (first["command"], second["command"]) == ("Sum", "sum")

    async def test_its_sign_is_left_out(self, admin: Actor) -> None:
        assert (await create(admin, "/sum-up_2"))["command"] == "sum-up_2"


@pytest.mark.parametrize(
    "changes",
    [
        {"command": ""}, {"command": "/"}, {"command": "a" * 101}, {"command": 3}, {"command": None}, {"name": ""},
        {"name": " "}, {"name": "x" * 300}, {"content": None}, {"content": 7}, {"content": "x" * (schema.MAX_CONTENT + 1)},
        {"tags": "a"}, {"tags": ["x"] * 101}, {"tags": ["x" * 201]}, {"tags": [1]}, {"data": []}, {"meta": "a"},
        {"meta": {"a": "x" * 100_001}}, {"commit_message": "x" * 2_000}, {"access_grants": {}}, {"access_grants": ["a"]},
        {"is_production": "perhaps"},
    ],
)  # fmt: skip
async def test_bad_bodies(live: Live, admin: Actor, changes: dict[str, Any]) -> None:
    assert (await say(admin, "POST", f"{PROMPTS}/create", form() | changes))[0] == 422
    assert await count(live, tables.prompt) == 0


async def test_bad_grants_and_missing_fields(live: Live, admin: Actor) -> None:
    odd = [{"principal_type": "nobody", "principal_id": "x", "permission": "read"}]
    assert (await say(admin, "POST", f"{PROMPTS}/create", form(access_grants=odd)))[0] == 400
    status, said = await say(admin, "POST", f"{PROMPTS}/create", {})
    assert (status, [each["loc"][-1] for each in said["detail"]]) == (422, ["command", "name", "content"])
    assert await count(live, tables.prompt) == await count(live, tables.version) == 0
    made = await create(admin)
    for rest, missing in (
        ("/update", ["command", "name", "content"]), ("/update/meta", ["name", "command"]),
        ("/update/version", ["version_id"]), ("/access/update", ["access_grants"]),
    ):  # fmt: skip
        status, said = await say(admin, "POST", one(made, rest), {})
        assert (status, [each["loc"][-1] for each in said["detail"]]) == (422, missing)


async def test_half_a_character_and_none(live: Live, admin: Actor) -> None:
    body = b'{"command": "a", "name": "a", "content": "\\ud800"}'
    assert (await admin.client.post(f"{PROMPTS}/create", content=body)).status_code in {400, 422}
    assert await count(live, tables.prompt) == 0
    assert (await create(admin, name="a\x00b", content="c\x00d"))["content"] == "cd"


class TestLists:
    @BOTH
    async def test_searched_filtered_and_sorted(self, admin: Actor, user: Actor, live: Live) -> None:
        await allow(live, "workspace.prompts")
        await create(admin, "tea", name="Green Tea", tags=["drink", "warm"])
        await create(admin, "ale", name="Pale ale", tags=["drink"])
        theirs = await create(user, "bun", name="Cinnamon bun", tags=["food"])
        assert sorted(await names(admin)) == ["ale", "bun", "tea"]
        assert await names(admin, query="GREEN") == ["tea"]
        assert await names(admin, query="al") == ["ale"]
        assert await names(admin, query="%") == []
        assert sorted(await names(admin, tag="drink")) == ["ale", "tea"]
        assert await names(admin, tag="drink", query="tea") == ["tea"]
        assert await names(admin, tag="drin") == await names(admin, tag="$.x'") == []
        assert await names(admin, view_option="shared") == ["bun"]
        assert sorted(await names(admin, view_option="created")) == ["ale", "tea"]
        assert await names(admin, order_by="name", direction="asc") == ["bun", "tea", "ale"]
        assert await names(admin, order_by="command", direction="desc") == ["tea", "bun", "ale"]
        assert len(await names(admin, order_by="nonsense", direction="sideways")) == 3
        assert await names(admin, page=2) == []
        assert (await say(admin, "GET", f"{PROMPTS}/list?page=2"))[1]["total"] == 3
        assert (await say(admin, "GET", f"{PROMPTS}/list?page=0"))[0] == 422
        assert (await say(admin, "GET", f"{PROMPTS}/tags"))[1] == ["drink", "food", "warm"]
        # Others see their own, and no tag of what they may not read.
        assert await names(user) == ["bun"]
        assert (await say(user, "GET", f"{PROMPTS}/tags"))[1] == ["food"]
        assert [row["id"] for row in (await say(user, "GET", f"{PROMPTS}/"))[1]] == [theirs["id"]]

    async def test_pages(self, admin: Actor) -> None:
        for n in range(31):
            await create(admin, f"p{n:02}")
        first, second = [await names(admin, page=n, order_by="command", direction="asc") for n in (1, 2)]
        assert (len(first), second) == (30, ["p30"])

    async def test_the_whole_list_is_bounded(self, admin: Actor, monkeypatch: pytest.MonkeyPatch, live: Live) -> None:
        monkeypatch.setattr(service, "MAX_LISTED", 2)
        for at, command in enumerate(("a", "b", "c")):
            row = await create(admin, command)
            async with live.app.state.oui.database.write() as unit:
                changed = sa.update(tables.prompt).where(tables.prompt.c.id == row["id"]).values(updated_at=at)
                await unit.connection.execute(changed)
        assert [row["command"] for row in (await say(admin, "GET", f"{PROMPTS}/"))[1]] == ["c", "b"]

    @BOTH
    async def test_the_whole_list_has_an_end_in_characters(
        self, admin: Actor, monkeypatch: pytest.MonkeyPatch, live: Live
    ) -> None:
        monkeypatch.setattr(service, "MAX_LISTED_CHARS", 50_000)
        for at, command in enumerate(("a", "b", "c", "d")):
            row = await create(admin, command, content="x" * (15_000 if command != "c" else 10))
            async with live.app.state.oui.database.write() as unit:
                changed = sa.update(tables.prompt).where(tables.prompt.c.id == row["id"]).values(updated_at=at)
                await unit.connection.execute(changed)
        assert [row["command"] for row in (await say(admin, "GET", f"{PROMPTS}/"))[1]] == ["d", "c", "b", "a"]
        monkeypatch.setattr(service, "MAX_LISTED_CHARS", 20_000)
        assert [row["command"] for row in (await say(admin, "GET", f"{PROMPTS}/"))[1]] == ["d", "c"]

    @BOTH
    async def test_there_is_an_end_to_ones_prompts(
        self, admin: Actor, monkeypatch: pytest.MonkeyPatch, live: Live
    ) -> None:
        monkeypatch.setattr(service, "MAX_OWN", 2)
        done = [say(admin, "POST", f"{PROMPTS}/create", form(f"p{n}", access_grants=[])) for n in range(5)]
        replies = await asyncio.gather(*done)
        assert sorted(status for status, _ in replies) == [200] * 2 + [400] * 3
        assert {reply["detail"] for status, reply in replies if status == 400} == {service.FULL}
        assert await count(live, tables.prompt) == 2

    @pytest.mark.parametrize("path", ["/", "/list", "/list?tag=a&query=s", "/tags"])
    async def test_three_statements(self, live: Live, admin: Actor, path: str) -> None:
        await create(admin, access_grants=[EVERYBODY])
        asked: list[str] = []
        engine = live.app.state.oui.database._readers.sync_engine

        def note(*given: Any) -> None:
            asked.append(given[2])

        sa.event.listen(engine, "before_cursor_execute", note)
        try:
            assert (await say(admin, "GET", f"{PROMPTS}{path}"))[0] == 200
        finally:
            sa.event.remove(engine, "before_cursor_execute", note)
        mine = [query for query in asked if "prompt" in query or "access_grant" in query or "email" in query]
        assert 0 < len(mine) <= 3, mine


class TestHistory:
    @BOTH
    async def test_versions(self, live: Live, admin: Actor) -> None:
        made = await create(admin, content="one\ntwo")
        first = made["version_id"]
        changed = form(content="one\nthree", name="Other", tags=["b"], commit_message="v2")
        second = (await say(admin, "POST", one(made, "/update"), changed))[1]["version_id"]
        newest, oldest = (await say(admin, "GET", one(made, "/history")))[1]
        assert (newest["id"], newest["parent_id"], newest["commit_message"]) == (second, first, "v2")
        assert oldest == {
            "id": first, "prompt_id": made["id"], "parent_id": None, "user_id": admin.id, "commit_message": service.FIRST,
            "created_at": oldest["created_at"],
            "user": {"id": admin.id, "name": "Admin One", "role": "admin", "email": admin.email},
            "snapshot": {"name": "Summarise", "content": "one\ntwo", "command": "sum", "data": {}, "meta": {}, "tags": ["a"],
                         "access_grants": []},
        }  # fmt: skip
        assert (await say(admin, "GET", one(made, "/history?page=1")))[1] == []
        assert (await say(admin, "GET", one(made, "/history?page=-1")))[0] == 422
        del newest["user"]
        assert (await say(admin, "GET", one(made, f"/history/{second}")))[1] == newest
        told = (await say(admin, "GET", one(made, f"/history/diff?from_id={first}&to_id={second}")))[1]
        assert told == {
            "from_id": first, "to_id": second, "from_snapshot": oldest["snapshot"], "to_snapshot": newest["snapshot"],
            "content_diff": [f"--- v{first[:8]}", f"+++ v{second[:8]}", "@@ -1,2 +1,2 @@", " one", "-two", "+three"],
            "line_endings_only": False, "name_changed": True,
        }  # fmt: skip
        back = (await say(admin, "POST", one(made, "/update/version"), {"version_id": first}))[1]
        assert (back["version_id"], back["content"], back["name"], back["tags"]) == (
            first,
            "one\ntwo",
            "Summarise",
            ["a"],
        )
        assert (await say(admin, "DELETE", one(made, f"/history/{first}")))[0] == 400
        assert await say(admin, "DELETE", one(made, f"/history/{second}")) == (200, True)
        for method, rest, body in (
            ("DELETE", f"/history/{second}", None), ("GET", f"/history/{second}", None),
            ("GET", f"/history/diff?from_id={first}&to_id={second}", None),
            ("POST", "/update/version", {"version_id": second}),
        ):  # fmt: skip
            assert (await say(admin, method, one(made, rest), body))[0] == 404, rest
        assert await count(live, tables.version) == 1

    async def test_a_version_that_is_not_in_use(self, admin: Actor) -> None:
        made = await create(admin)
        changes = {"name": "Draft", "content": "Draft", "command": "draft", "access_grants": [EVERYBODY]}
        status, stands = await say(admin, "POST", one(made, "/update"), form() | changes | {"is_production": False})
        assert (status, stands) == (200, made)
        draft, live = (await say(admin, "GET", one(made, "/history")))[1]
        assert (draft["snapshot"]["content"], draft["parent_id"], live["id"]) == (
            "Draft",
            live["id"],
            made["version_id"],
        )
        chosen = (await say(admin, "POST", one(made, "/update/version"), {"version_id": draft["id"]}))[1]
        assert (chosen["content"], chosen["version_id"]) == ("Draft", draft["id"])
        # By what it is called and who may use it is nothing of the text.
        assert (chosen["command"], chosen["access_grants"]) == ("sum", [])

    async def test_the_same_again_is_no_version(self, admin: Actor) -> None:
        made = await create(admin)
        for _ in range(2):
            assert (await say(admin, "POST", one(made, "/update"), form()))[1]["version_id"] == made["version_id"]
        assert len((await say(admin, "GET", one(made, "/history")))[1]) == 1

    async def test_of_another_prompt(self, admin: Actor) -> None:
        made, theirs = await create(admin), (await create(admin, "other"))["version_id"]
        mine = made["version_id"]
        for method, rest, body in (
            ("GET", f"/history/{theirs}", None), ("DELETE", f"/history/{theirs}", None),
            ("GET", f"/history/diff?from_id={mine}&to_id={theirs}", None),
            ("POST", "/update/version", {"version_id": theirs}),
        ):  # fmt: skip
            assert (await say(admin, method, one(made, rest), body))[0] == 404, rest

    async def test_line_endings(self, admin: Actor) -> None:
        made = await create(admin, content="a\nb\n")
        second = (await say(admin, "POST", one(made, "/update"), form(content="a\r\nb\r\n")))[1]["version_id"]
        between = f"/history/diff?from_id={made['version_id']}&to_id={second}"
        told = (await say(admin, "GET", one(made, between)))[1]
        assert (told["content_diff"], told["line_endings_only"], told["name_changed"]) == ([], True, False)
        for rest in ("/history/diff", f"/history/diff?from_id={second}"):
            assert (await say(admin, "GET", one(made, rest)))[0] == 422

    async def test_pages(self, admin: Actor) -> None:
        made = await create(admin)
        for n in range(service.PER_PAGE):
            await say(admin, "POST", one(made, "/update"), form(content=str(n)))
        pages = [(await say(admin, "GET", one(made, f"/history?page={n}")))[1] for n in range(3)]
        assert [len(page) for page in pages] == [20, 1, 0]
        assert pages[1][0]["id"] == made["version_id"]

    async def test_the_oldest_go(self, admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(versions, "KEPT", 3)
        made = await create(admin)
        for n in range(6):
            draft = form(content=str(n), is_production=False)
            await say(admin, "POST", one(made, "/update"), draft)
        found = [row["id"] for row in (await say(admin, "GET", one(made, "/history")))[1]]
        assert (len(found), found[-1]) == (4, made["version_id"])

    async def test_who_made_it_is_gone(self, admin: Actor, user: Actor) -> None:
        made = await create(admin, access_grants=[to(user, "write")])
        await say(user, "POST", one(made, "/update"), form(content="Theirs"))
        await say(admin, "DELETE", f"/api/v1/users/{user.id}")
        newest = (await say(admin, "GET", one(made, "/history")))[1][0]
        assert (newest["user"], newest["user_id"], newest["snapshot"]["content"]) == (None, "", "Theirs")


class TestOthers:
    async def test_who_may_read_it(self, admin: Actor, user: Actor) -> None:
        made = await create(admin)
        for rest in ("", "/history", f"/history/{made['version_id']}"):
            assert (await say(user, "GET", one(made, rest)))[0] == 404
        assert (await say(user, "POST", one(made, "/toggle")))[0] == 404
        status, shared = await say(admin, "POST", one(made, "/access/update"), {"access_grants": [to(user, "read")]})
        assert (status, shared["access_grants"][0]["principal_id"]) == (200, user.id)
        now = (await say(admin, "POST", one(made, "/update"), form(content="two")))[1]["version_id"]
        assert (await say(user, "GET", one(made)))[1]["write_access"] is False
        # The version in use, and no earlier one; nobody's address.
        (seen,) = (await say(user, "GET", one(made, "/history")))[1]
        assert (seen["id"], seen["user"]["name"], seen["user"]["email"]) == (now, "Admin One", "")
        assert (await say(user, "GET", one(made, "/history?page=1")))[1] == []
        assert (await say(user, "GET", one(made, f"/history/{now}")))[0] == 200
        assert (await say(user, "GET", one(made, f"/history/{made['version_id']}")))[0] == 401
        (listed,) = (await say(user, "GET", f"{PROMPTS}/list"))[1]["items"]
        assert (listed["user"]["email"], listed["write_access"]) == ("", False)
        between = f"/history/diff?from_id={now}&to_id={now}"
        doors = (
            ("POST", "/update", form()), ("POST", "/update/meta", {"name": "N", "command": "n"}), ("POST", "/toggle", None),
            ("POST", "/update/version", {"version_id": made["version_id"]}), ("POST", "/access/update", {"access_grants": []}),
            ("GET", between, None), ("DELETE", f"/history/{made['version_id']}", None), ("DELETE", "/delete", None),
        )  # fmt: skip
        for method, rest, body in doors:
            assert (await say(user, method, one(made, rest), body))[0] == 401, rest
        assert (await say(admin, "GET", one(made)))[1]["content"] == "two"

    async def test_who_may_make_one(self, live: Live, user: Actor) -> None:
        refused = (401, {"detail": "401 Unauthorized"})
        assert await say(user, "POST", f"{PROMPTS}/create", form()) == refused
        await allow(live, "workspace.prompts_import")
        made = await create(user, access_grants=[EVERYBODY])
        assert made["access_grants"] == []
        status, _ = await say(user, "POST", one(made, "/access/update"), {"access_grants": [EVERYBODY]})
        assert status == 403
        await allow(live, "sharing.public_prompts")
        assert (await say(user, "POST", one(made, "/access/update"), {"access_grants": [EVERYBODY]}))[0] == 200

    @BOTH
    async def test_an_account_takes_its_prompts_along(self, live: Live, admin: Actor, user: Actor) -> None:
        await allow(live, "workspace.prompts", "sharing.public_prompts")
        await create(user, access_grants=[EVERYBODY])
        assert (await say(admin, "DELETE", f"/api/v1/users/{user.id}"))[0] == 200
        for table in (tables.prompt, tables.version, tables.access_grant):
            assert await count(live, table) == 0
        # The command is free again.
        await create(admin)
