"""Notes over the API: made, read, found, changed, pinned, shared, brought back, removed; and who may do none of it."""

from typing import Any

import pytest

from open_webui.models import tables
from open_webui.schemas import notes as schema
from open_webui.services import note_documents, notes
from tests.open_webui.models.test_workspace import allow
from tests.open_webui.plugins.test_tools import count, say, to
from tests.support.live import Actor, Live

NOTES = "/api/v1/notes"
BOTH = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)
EVERYBODY = {"principal_type": "user", "principal_id": "*", "permission": "read"}
TREE = {"type": "doc", "content": [{"type": "paragraph", "content": [{"type": "text", "text": "from the tree"}]}]}


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """Lists, pins and the account run on both; the rest is nothing of SQL's."""
    return str(getattr(request, "param", "sqlite"))


def content(md: str, **more: Any) -> dict[str, Any]:
    return {"json": None, "html": f"<p>{md}</p>", "md": md} | more


async def create(actor: Actor, title: str = "N1", md: str = "x", **changes: Any) -> dict[str, Any]:
    form = {"title": title, "data": {"content": content(md)}, "meta": None, "access_grants": []} | changes
    status, made = await say(actor, "POST", f"{NOTES}/create", form)
    assert status == 200, made
    found: dict[str, Any] = made
    return found


def one(row: dict[str, Any], rest: str = "") -> str:
    return f"{NOTES}/{row['id']}{rest}"


async def shared(live: Live, owner: Actor, other: Actor, permission: str, **changes: Any) -> dict[str, Any]:
    await allow(live, "sharing.notes")
    return await create(owner, access_grants=[to(other, permission)], **changes)


@BOTH
async def test_the_life_of_a_note(live: Live, user: Actor) -> None:
    made = await create(user)
    assert list(made) == [
        "id", "user_id", "title", "data", "meta", "is_pinned", "access_grants", "created_at", "updated_at",
    ]  # fmt: skip
    assert made["data"] == {"content": content("x")}
    assert (made["meta"], made["is_pinned"], made["access_grants"]) == (None, False, [])
    assert made["created_at"] > 1e18, "nanoseconds"
    owner = {"id": user.id, "name": user.name, "role": "user", "email": user.email}
    line = {
        "id": made["id"], "title": "N1", "data": {"content": {"md": "x"}}, "is_pinned": False,
        "updated_at": made["updated_at"], "created_at": made["created_at"], "user": owner,
    }  # fmt: skip
    for path in ("/", "/?page=1"):
        assert await say(user, "GET", f"{NOTES}{path}") == (200, [line])
    assert await say(user, "GET", f"{NOTES}/?page=2") == (200, [])
    wanted = line | {"user_id": user.id, "meta": None, "access_grants": []}
    assert await say(user, "GET", f"{NOTES}/search?query=n1&page=1") == (200, {"items": [wanted], "total": 1})
    assert await say(user, "GET", one(made)) == (200, made | {"write_access": True})
    change = {"title": "N2", "data": {"content": content("y")}}
    status, changed = await say(user, "POST", one(made, "/update"), change)
    assert (status, changed["title"], changed["data"]) == (200, "N2", {"content": content("y")})
    assert changed["updated_at"] > made["updated_at"]
    status, pinned = await say(user, "POST", one(made, "/pin"))
    assert (status, pinned["is_pinned"]) == (200, True)
    assert [row["is_pinned"] for row in (await say(user, "GET", f"{NOTES}/pinned"))[1]] == [True]
    assert (await say(user, "POST", one(made, "/pin")))[1]["is_pinned"] is False
    assert (await say(user, "GET", f"{NOTES}/pinned"))[1] == []
    await say(user, "POST", one(made, "/pin"))
    assert await say(user, "DELETE", one(made, "/delete")) == (200, True)
    missing = (404, {"detail": "We couldn't find what you are looking for."})
    for method, rest in (("GET", ""), ("POST", "/pin"), ("GET", "/chat"), ("GET", "/chats"), ("DELETE", "/delete")):
        assert await say(user, method, one(made, rest)) == missing, rest
    assert await say(user, "POST", one(made, "/update"), {}) == missing
    for table in (tables.note, tables.pinned_note, tables.version, tables.access_grant):
        assert not await count(live, table), table.name


@BOTH
async def test_lists_are_searched_and_sorted(live: Live, user: Actor, admin: Actor) -> None:
    for title, md in (("b", "wombat"), ("A", "emu"), ("c", "Wombats")):
        await create(user, title, md)
    theirs = await shared(live, admin, user, "write", title="theirs", md="wombat of another")
    await shared(live, admin, user, "read", title="read only", md="")
    await create(admin, "hidden", "wombat")

    async def found(**asked: Any) -> list[str]:
        reply = await user.client.get(f"{NOTES}/search", params=asked)
        assert reply.status_code == 200, reply.text
        assert reply.json()["total"] == len(reply.json()["items"])
        return [row["title"] for row in reply.json()["items"]]

    assert await found(query="WOMBAT") == ["theirs", "c", "b"]
    assert await found(order_by="title", direction="asc") == ["A", "b", "c", "read only", "theirs"]
    assert await found(view_option="shared") == ["read only", "theirs"]
    assert await found(view_option="created") == ["c", "A", "b"]
    assert await found(permission="write", view_option="shared") == ["theirs"]
    assert await found(query="no such") == []
    await say(user, "POST", one(theirs, "/pin"))
    # A pin is one person's.
    assert (await say(admin, "GET", one(theirs)))[1]["is_pinned"] is False
    assert [row["title"] for row in (await say(user, "GET", f"{NOTES}/pinned"))[1]] == ["theirs"]


class TestTexts:
    async def test_what_a_change_leaves_out_stays(self, user: Actor) -> None:
        made = await create(user, meta={"a": 1})
        files = {"title": "T", "data": {"files": [{"id": "f"}]}}
        changed = (await say(user, "POST", one(made, "/update"), files))[1]
        assert changed["data"] == {"content": content("x"), "files": [{"id": "f"}]}
        assert changed["meta"] == {"a": 1}
        again = (await say(user, "POST", one(made, "/update"), {"data": {"content": content("z")}}))[1]
        assert (again["title"], again["data"]["files"], again["data"]["content"]["md"]) == ("T", [{"id": "f"}], "z")

    async def test_forms_of_a_text(self, user: Actor) -> None:
        made = await create(user, data={"content": {"json": TREE, "html": "", "md": ""}})
        assert made["data"]["content"] == {"json": TREE, "html": "", "md": "from the tree"}
        made = await create(user, data={"content": {"html": "<h1>Head</h1><p>and <b>bold</b></p>"}})
        assert made["data"]["content"]["md"] == "# Head\n\nand bold"
        made = await create(user, data=None)
        assert made["data"]["content"] == {"json": None, "html": None, "md": ""}

    async def test_markup_of_others_runs_nothing(self, user: Actor) -> None:
        bad = "<p>hi<script>alert(1)</script><img src=x onerror=alert(1)><a href='javascript:alert(1)'>x</a></p>"
        made = await create(user, data={"content": {"json": None, "html": bad, "md": ""}})
        shown = made["data"]["content"]["html"]
        assert "<script" not in shown
        assert "onerror" not in shown
        assert "javascript:" not in shown
        tree = {"type": "doc", "content": [
            {"type": "image", "attrs": {"src": "javascript:alert(1)"}},
            {"type": "paragraph", "content": [
                {"type": "text", "text": "<b>", "marks": [{"type": "link", "attrs": {"href": "JavaScript:alert(1)"}}]}]},
        ]}  # fmt: skip
        made = await create(user, data={"content": {"json": tree, "html": "<p></p>", "md": "x"}})
        assert made["data"]["content"]["html"] == "<p>&lt;b&gt;</p>"
        assert "cript:" not in str(made["data"]["content"]["json"])

    @pytest.mark.parametrize(
        "form",
        [
            {}, {"title": 7}, {"title": "x" * 2_001}, {"title": "t", "data": []}, {"title": "t", "meta": "m"},
            {"title": "t", "access_grants": {}}, {"title": "t", "data": {"a": "x" * (schema.MAX_DATA + 1)}},
            {"title": "t", "meta": {"a": "x" * (schema.MAX_META + 1)}},
        ],
    )  # fmt: skip
    async def test_what_no_note_is(self, live: Live, user: Actor, form: dict[str, Any]) -> None:
        assert (await say(user, "POST", f"{NOTES}/create", form))[0] == 422
        assert not await count(live, tables.note)

    async def test_what_is_too_long(self, live: Live, user: Actor) -> None:
        long = {"title": "t", "data": {"content": {"md": "x" * (note_documents.MAX_TEXT + 1)}}}
        assert await say(user, "POST", f"{NOTES}/create", long) == (400, {"detail": note_documents.LONG})
        besides = {"title": "t", "data": {"files": ["x" * notes.MAX_BESIDES]}}
        assert (await say(user, "POST", f"{NOTES}/create", besides))[0] == 400
        assert not await count(live, tables.note)
        made = await create(user)
        assert (await say(user, "POST", one(made, "/update"), long))[0] == 400
        assert (await say(user, "GET", one(made)))[1]["data"] == made["data"]

    async def test_odd_texts(self, user: Actor) -> None:
        for odd in ("\x00nul\x00", "😀" * 1_000, "a\r\nb", "# " * 5_000):
            made = await create(user, "odd \x00 title", odd)
            assert made["title"] == "odd  title"
            assert (await say(user, "GET", one(made)))[1]["data"] == made["data"]
        for data in (
            {"content": "text"},
            {"content": None},
            {"content": [1]},
            {"content": {"md": 7, "html": [], "json": 3}},
        ):
            assert (await create(user, data=data))["data"]["content"]["md"] == ""


class TestWhoMay:
    async def test_a_reader_reads(self, live: Live, user: Actor, admin: Actor) -> None:
        made = await shared(live, admin, user, "read")
        assert (await say(user, "GET", one(made)))[1]["write_access"] is False
        for method, rest, body in (
            ("POST", "/update", {"title": "taken"}), ("POST", "/access/update", {"access_grants": []}),
            ("DELETE", "/delete", None), ("GET", "/history", None),
        ):  # fmt: skip
            assert (await say(user, method, one(made, rest), body))[0] == 401, rest
        assert (await say(admin, "GET", one(made)))[1]["title"] == "N1"

    async def test_a_writer_writes(self, live: Live, user: Actor, admin: Actor) -> None:
        made = await shared(live, admin, user, "write")
        assert (await say(user, "POST", one(made, "/update"), {"title": "ours"}))[1]["title"] == "ours"

    async def test_administrators_have_no_way_into_notes_of_others(self, user: Actor, admin: Actor) -> None:
        made = await create(user)
        assert (await say(admin, "GET", one(made)))[0] == 404
        assert (await say(admin, "GET", f"{NOTES}/"))[1] == []

    async def test_grants_that_are_not_ones_own_to_give(self, live: Live, user: Actor, admin: Actor) -> None:
        made = await create(user, access_grants=[to(admin, "read"), EVERYBODY])
        assert made["access_grants"] == []
        refused = await say(user, "POST", one(made, "/access/update"), {"access_grants": [to(admin, "read")]})
        assert refused[0] == 403
        await allow(live, "sharing.notes")
        status, given = await say(user, "POST", one(made, "/access/update"), {"access_grants": [to(admin, "read")]})
        assert (status, [g["permission"] for g in given["access_grants"]]) == (200, ["read"])
        assert (await say(user, "POST", one(made, "/access/update"), {}))[0] == 422

    async def test_off_and_not_allowed(self, live: Live, user: Actor, admin: Actor) -> None:
        made = await create(user)
        state = live.app.state.oui
        await state.save_config({"notes.enable": False})
        assert await say(user, "GET", one(made)) == (403, {"detail": notes.OFF})
        assert await say(user, "GET", f"{NOTES}/pinned") == (200, [])
        assert (await admin.client.get("/api/config")).json()["features"]["enable_notes"] is False
        await state.save_config({"notes.enable": True})
        tree = {section: dict(entries) for section, entries in state.config["user.permissions"].items()}
        tree["features"]["notes"] = False
        await state.save_config({"user.permissions": tree})
        assert (await say(user, "GET", f"{NOTES}/"))[0] == 401
        assert (await say(user, "POST", f"{NOTES}/create", {"title": "t"}))[0] == 401
        # One's own one may still remove.
        assert await say(user, "DELETE", one(made, "/delete")) == (200, True)

    async def test_nobody(self, live: Live, user: Actor) -> None:
        made = await create(user)
        async with live.client() as nobody:
            for path in ("/", "/pinned", "/search", f"/{made['id']}", f"/{made['id']}/chats"):
                assert (await nobody.get(f"{NOTES}{path}")).status_code == 401, path


class TestVersions:
    async def test_texts_come_back(self, user: Actor) -> None:
        made = await create(user, md="first")
        await say(user, "POST", one(made, "/update"), {"data": {"content": content("second")}})
        status, listed = await say(user, "GET", one(made, "/history"))
        assert (status, len(listed)) == (200, 1)
        whole = (await say(user, "GET", one(made, f"/history/{listed[0]['id']}")))[1]
        assert whole["snapshot"]["content"]["md"] == "first"
        back = (await say(user, "POST", one(made, f"/history/{listed[0]['id']}/restore")))[1]
        assert back["data"]["content"]["md"] == "first"
        assert len((await say(user, "GET", one(made, "/history")))[1]) == 2
        assert (await say(user, "POST", one(made, "/history/none/restore")))[0] == 404
        other = await create(user)
        assert (await say(user, "GET", one(other, f"/history/{listed[0]['id']}")))[0] == 404


class TestChats:
    async def test_beside_a_note(self, live: Live, user: Actor, admin: Actor) -> None:
        made = await shared(live, user, admin, "read")
        status, chat = await say(user, "POST", one(made, "/chat"))
        assert (status, chat["title"], chat["chat"]["models"]) == (200, "Chat", [""])
        assert chat["meta"] == {"internal": True, "type": "note", "note_id": made["id"]}
        assert made["id"] in chat["chat"]["params"]["system"]
        assert (await say(user, "GET", one(made, "/chat")))[1]["id"] == chat["id"]
        assert [row["id"] for row in (await say(user, "GET", one(made, "/chats")))[1]] == [chat["id"]]
        # Each has their own; of the first one that is asked for one is begun.
        assert (await say(admin, "GET", one(made, "/chats")))[1] == []
        assert (await say(admin, "GET", one(made, "/chat")))[1]["id"] != chat["id"]
        assert (await say(user, "GET", "/api/v1/chats/?page=1"))[1] == []
        assert (await say(user, "GET", f"/api/v1/chats/{chat['id']}"))[0] == 200
