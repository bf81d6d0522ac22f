"""Documents of notes, written by several editors over real sockets: what the field has lost stays here."""

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from open_webui.models import tables
from open_webui.services import note_documents
from tests.open_webui.models.test_workspace import allow
from tests.open_webui.notes.test_notes import content, create, one, shared
from tests.open_webui.plugins.test_tools import count, say
from tests.support.editor import NOTHING, Editor, editors
from tests.support.live import Actor, Live

BOTH = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "sqlite"))


async def text(actor: Actor, row: dict[str, Any]) -> str:
    status, found = await say(actor, "GET", one(row))
    assert status == 200
    md: str = found["data"]["content"]["md"]
    return md


async def stored(live: Live) -> int:
    return await count(live, tables.note_update)


@BOTH
async def test_two_editors_and_a_third_that_comes_later(live: Live, user: Actor, admin: Actor) -> None:
    made = await shared(live, user, admin, "write", md="# Head\n\nbegun")
    async with editors(live.url, made["id"], user.token, admin.token) as (first, second):
        state = first.of("ydoc:document:state")[0]
        assert state["state"] != NOTHING
        assert state["content"]["md"] == "# Head\n\nbegun"
        assert first.text == second.text == "Head\nbegun"
        await first.until(lambda e: bool(e.of("ydoc:user:joined")))
        joined = first.of("ydoc:user:joined")[0]
        assert (joined["user_id"], joined["user_name"]) == (admin.id, admin.name)
        await asyncio.gather(*(first.type(" one", 1) for _ in range(20)), *(second.type(" two", 1) for _ in range(20)))
        for each in (first, second):
            await each.until(lambda e: e.text.count("one") == e.text.count("two") == 20)
        assert first.text == second.text
        async with editors(live.url, made["id"], user.token) as (third,):
            assert third.text == first.text
        md = await text(user, made)
        assert (md.startswith("# Head\n\nbegun"), md.count("one"), md.count("two")) == (True, 20, 20)
    heard = second.of("ydoc:document:update")[0]
    assert (heard["user_id"], heard["socket_id"]) == (user.id, first.socket.get_sid("/") or heard["socket_id"])


async def test_the_text_is_made_without_anybody_asking(live: Live, user: Actor) -> None:
    made = await create(user, md="")
    async with editors(live.url, made["id"], user.token) as (editor,):
        await editor.type("typed")
        async with asyncio.timeout(30):
            while (await say(user, "GET", "/api/v1/notes/search?query=typed"))[1]["total"] != 1:  # noqa: ASYNC110
                await asyncio.sleep(0.1)


class TestWhatTheFieldHasLost:
    async def test_an_empty_document_over_content(self, live: Live, user: Actor) -> None:
        """Where the first editor makes the document, one that sees nothing yet writes nothing over all there is."""
        made = await create(user, md="precious")
        editor = await Editor(live.url, user.token, made["id"]).connect()
        empty = Editor("", "", "").typing("")
        body = {"document_id": f"note:{made['id']}", "update": list(empty), "initialize": True}
        answer = await editor.socket.call("ydoc:document:update", body, timeout=30)
        editor.doc.apply_update(bytes(answer))
        assert editor.text == "precious"
        await editor.socket.emit(
            "ydoc:document:update",
            {"document_id": f"note:{made['id']}", "data": {"content": {"md": "", "html": "<p></p>", "json": None}}},
        )
        await editor.join()
        await asyncio.wait_for(editor.synced.wait(), 30)
        assert (editor.text, await text(user, made)) == ("precious", "precious")
        await editor.close()

    async def test_two_that_open_it_at_once(self, live: Live, user: Actor) -> None:
        made = await create(user, md="once")
        pair = [Editor(live.url, user.token, made["id"]) for _ in range(4)]
        await asyncio.gather(*(one_.open() for one_ in pair))
        assert {one_.text for one_ in pair} == {"once"}
        await asyncio.gather(*(one_.close() for one_ in pair))
        assert await stored(live) == 1

    async def test_an_edit_by_an_api_client_while_it_is_open(self, live: Live, user: Actor, admin: Actor) -> None:
        made = await shared(live, user, admin, "write", md="alpha beta\n\n- one\n- two")
        async with editors(live.url, made["id"], user.token) as (editor,):
            await editor.type(" typed", 0)
            given = {"data": {"content": {"md": "alpha BETA typed\n\n- one\n- two\n- three"}}}
            changed = (await say(admin, "POST", one(made, "/update"), given))[1]
            assert changed["data"]["content"]["md"] == "alpha BETA typed\n\n- one\n- two\n- three"
            await editor.until(lambda e: "BETA" in e.text and "three" in e.text)
            await editor.type(" on", 0)
            assert await text(user, made) == "alpha BETA typed on\n\n- one\n- two\n- three"
        # What was there before is a version.
        listed = (await say(user, "GET", one(made, "/history")))[1]
        whole = (await say(user, "GET", one(made, f"/history/{listed[0]['id']}")))[1]
        assert whole["snapshot"]["content"]["md"] == "alpha beta typed\n\n- one\n- two"

    async def test_typed_and_edited_at_the_same_moment(self, live: Live, user: Actor, admin: Actor) -> None:
        """The edit was made of what was there before; what was typed meanwhile stands in the text that came of it."""
        made = await shared(live, user, admin, "write", md="The quick fox")
        async with editors(live.url, made["id"], user.token, answers=False) as (editor,):
            late = editor.typing(" jumps")
            given = {"data": {"content": {"md": "The slow fox"}}}
            assert (await say(admin, "POST", one(made, "/update"), given))[0] == 200
            await editor.stored(late)
            assert await text(user, made) == "The slow fox jumps"

    async def test_a_page_that_saves_what_it_shows(self, live: Live, user: Actor) -> None:
        """The page's own copy of the text is old by a moment: it is never taken for what is there."""
        made = await create(user, md="old")
        async with editors(live.url, made["id"], user.token) as (editor,):
            await editor.type(" and new")
            given = {"title": "Named", "data": {"content": content("old"), "files": []}}
            changed = (await say(user, "POST", one(made, "/update"), given))[1]
            assert (changed["title"], changed["data"]["content"]["md"]) == ("Named", "old and new")
            await editor.until(lambda e: bool(e.of("events:note")))
            told = editor.of("events:note")[-1]
            # An editor that is handed a text puts it in the place of all that is there.
            assert (told["title"], told["data"]) == ("Named", {"files": []})

    async def test_a_save_that_another_event_would_cancel(self, live: Live, user: Actor, admin: Actor) -> None:
        """An update without a text of the page's is stored like any other, and so is what comes right behind it."""
        made = await shared(live, user, admin, "write", md="")
        async with editors(live.url, made["id"], user.token, admin.token) as (first, second):
            await first.stored(first.typing("with"), data={"content": content("with")})
            await second.until(lambda e: "with" in e.text)
            await second.stored(second.typing(" and without"))
        assert await text(user, made) == "with and without"

    async def test_a_large_paste(self, live: Live, user: Actor) -> None:
        made = await create(user, md="")
        pasted = "word and more " * 30_000
        async with editors(live.url, made["id"], user.token) as (editor,):
            update = editor.typing(pasted)
            snapshot = {
                "md": pasted,
                "html": f"<p>{pasted}</p>",
                "json": {"type": "doc", "content": [{"text": pasted}]},
            }
            assert await editor.stored(update, data={"content": snapshot}) is True
        assert await text(user, made) == pasted.strip()

    async def test_what_was_typed_without_a_connection(self, live: Live, user: Actor) -> None:
        """Pages send nothing while they have no connection, and don't say so later: they are asked when they come back."""
        made = await create(user, md="")
        editor = Editor(live.url, user.token, made["id"])
        await editor.open()
        await editor.type("before ")
        await editor.close()
        editor.typing("offline")
        again = Editor(live.url, user.token, made["id"])
        again.doc.apply_update(editor.doc.get_update())
        await again.open()
        async with asyncio.timeout(30):
            while await text(user, made) != "before offline":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await again.close()

    async def test_what_was_sent_before_it_was_opened_again(self, live: Live, user: Actor) -> None:
        made = await create(user, md="x")
        editor = await Editor(live.url, user.token, made["id"]).connect()
        assert await editor.stored(Editor("", "", "").typing("waited")) is True
        assert "waited" in await text(user, made)
        await editor.close()

    async def test_what_waits_for_what_came_before_it(self, live: Live, user: Actor) -> None:
        """An update whose forerunner is missing is kept, also when updates are made one."""
        made = await create(user, md="")
        async with editors(live.url, made["id"], user.token, answers=False) as (editor,):
            first, second = editor.typing("one "), editor.typing("two")
            assert await editor.stored(second) is True
            assert await text(user, made) == ""
            for _ in range(note_documents.MANY + 1):
                await editor.type("", 0)
                await editor.stored(editor.typing("."))
                # A socket that sends more than 50 packets a second for long is ended.
                await asyncio.sleep(0.02)
            assert "two" not in await text(user, made)
            assert await editor.stored(first) is True
            assert (await text(user, made)).startswith("one two")


class TestWhoMayWrite:
    async def test_a_reader_does_not(self, live: Live, user: Actor, admin: Actor) -> None:
        made = await shared(live, admin, user, "read", md="stays")
        async with editors(live.url, made["id"], user.token) as (reader,):
            assert reader.text == "stays"
            # They are not asked for what they have, either.
            assert [s["state"] for s in reader.of("ydoc:document:state") if s["state"] == NOTHING] == []
            before = await stored(live)
            for document in (f"note:{made['id']}", f"note_{made['id']}"):
                body = {"document_id": document, "update": list(reader.typing("taken"))}
                assert "error" in await reader.socket.call("ydoc:document:update", body, timeout=30)
                answer = await reader.socket.call("ydoc:document:update", body | {"initialize": True}, timeout=30)
                assert "taken" not in bytes(answer).decode(errors="ignore")
        assert (await stored(live), await text(admin, made)) == (before, "stays")

    async def test_a_stranger_hears_and_writes_nothing(self, live: Live, user: Actor, admin: Actor) -> None:
        made = await create(admin, md="secret")
        async with editors(live.url, made["id"], admin.token) as (owner,):
            stranger = await Editor(live.url, user.token, made["id"]).connect()
            await stranger.join()
            body = {"document_id": f"note_{made['id']}", "update": list(stranger.typing("taken"))}
            assert "error" in await stranger.socket.call("ydoc:document:update", body, timeout=30)
            for name in ("ydoc:document:state", "ydoc:awareness:update", "ydoc:document:leave"):
                await stranger.socket.emit(name, {"document_id": made["id"], "update": [1]})
                await stranger.socket.emit(name, {"document_id": f"note:{made['id']}", "update": [1]})
            await owner.type(" more")
            await stranger.socket.call("user-join", {"auth": {"token": user.token}}, timeout=30)
            assert stranger.heard == []
            assert owner.of("ydoc:user:joined") == []
            await stranger.close()

    async def test_a_right_that_ends(self, live: Live, user: Actor, admin: Actor) -> None:
        made = await shared(live, admin, user, "write", md="x")
        async with editors(live.url, made["id"], user.token, admin.token) as (editor, owner):
            await editor.type(" mine")
            assert (await say(admin, "POST", one(made, "/access/update"), {"access_grants": []}))[0] == 200
            async with asyncio.timeout(30):
                while await editor.type("!") is True:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            # The sweep shows out who may not even read.
            await owner.until(lambda e: bool(e.of("ydoc:user:left")))
            # What was on its way before comes before the answer.
            await editor.socket.call("user-join", {"auth": {"token": user.token}}, timeout=30)
            heard = len(editor.heard)
            await owner.type(" private")
            await editor.socket.call("user-join", {"auth": {"token": user.token}}, timeout=30)
            assert len(editor.heard) == heard

    async def test_names_are_true(self, live: Live, user: Actor, admin: Actor) -> None:
        made = await shared(live, admin, user, "read")
        async with editors(live.url, made["id"], user.token, admin.token) as (reader, owner):
            fake = list(b'{"7":{"user":{"name":"Admin One","color":"red"},"cursor":{}}}')
            body = {"document_id": reader.document, "user_id": admin.id, "update": fake}
            await reader.socket.emit("ydoc:awareness:update", body)
            await owner.until(lambda e: bool(e.of("ydoc:awareness:update")))
            told = owner.of("ydoc:awareness:update")[0]
            assert told["user_id"] == user.id
            assert (
                bytes(told["update"]) == b'{"7":{"user":{"name":"%s","color":"red"},"cursor":{}}}' % user.name.encode()
            )
            await reader.socket.emit("ydoc:document:leave", {"document_id": reader.document, "user_id": admin.id})
            await owner.until(lambda e: bool(e.of("ydoc:user:left")))
            assert owner.of("ydoc:user:left")[0]["user_id"] == user.id


class TestBounds:
    @pytest.mark.parametrize("update", [[], [1], [255] * 30, [0, 1, 2, 3], list(b"\x01\x01\x99" + b"x" * 40)])
    async def test_what_no_update_is(self, live: Live, user: Actor, update: list[int]) -> None:
        made = await create(user, md="x")
        async with editors(live.url, made["id"], user.token) as (editor,):
            before = await stored(live)
            body = {"document_id": editor.document, "update": update}
            assert await editor.socket.call("ydoc:document:update", body, timeout=30) == {
                "error": note_documents.NO_UPDATE
            }
            assert editor.of("error") == [{"message": note_documents.NO_UPDATE}]
            assert await stored(live) == before
            assert await editor.type("!") is True

    @pytest.mark.parametrize("body", [{"update": [300]}, {"update": [-1]}, {"update": ["a"]}, {"document_id": 7}, None])
    async def test_what_no_page_sends(self, live: Live, user: Actor, body: Any) -> None:
        made = await create(user, md="x")
        editor = await Editor(live.url, user.token, made["id"]).open()
        gone = asyncio.Event()
        editor.socket.on("disconnect", lambda *_: gone.set())
        sent = None if body is None else {"document_id": editor.document} | body
        await editor.socket.emit("ydoc:document:update", sent)
        await asyncio.wait_for(gone.wait(), 30)

    async def test_a_document_that_is_full(self, live: Live, user: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(note_documents, "MAX_DOCUMENT", 3_000)
        made = await create(user, md="x")
        async with editors(live.url, made["id"], user.token) as (editor,):
            assert await editor.type("y" * 2_000) is True
            assert await editor.type("z" * 2_000) == {"error": note_documents.FULL}
            assert "z" not in await text(user, made)

    async def test_a_note_that_goes(self, live: Live, user: Actor) -> None:
        made = await create(user, md="x")
        async with editors(live.url, made["id"], user.token) as (editor,):
            await editor.type("y")
            assert await say(user, "DELETE", one(made, "/delete")) == (200, True)
            assert await stored(live) == 0
            async with asyncio.timeout(30):
                while await editor.type("z") is True:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            assert await stored(live) == 0


@BOTH
async def test_many_updates_become_one(live: Live, user: Actor) -> None:
    made = await create(user, md="")
    async with editors(live.url, made["id"], user.token) as (editor,):
        for n in range(note_documents.MANY + 20):
            await editor.type(f"{n} ")
        wanted = " ".join(map(str, range(note_documents.MANY + 20)))
        assert await text(user, made) == wanted
        async with asyncio.timeout(30):
            while await stored(live) > note_documents.MANY:
                await asyncio.sleep(0.1)
                await text(user, made)
        await editor.type("more")
        async with editors(live.url, made["id"], user.token) as (later,):
            assert later.text == editor.text
        assert await text(user, made) == f"{wanted} more"


@BOTH
async def test_a_text_that_a_lost_process_did_not_make(live: Live, user: Actor) -> None:
    made = await create(user, md="x")
    async with editors(live.url, made["id"], user.token) as (editor,):
        await editor.type("y")
        assert await text(user, made) == "xy"
    state = live.app.state.oui
    async with state.database.write() as unit:
        late = {"note_id": made["id"], "user_id": None, "data": editor.typing("z"), "size": 1, "created_at": 1}
        await unit.connection.execute(sa.insert(tables.note_update).values(late))
    await state.note_jobs.tidy()
    async with state.database.read() as connection:
        assert await connection.scalar(sa.select(tables.note.c.md)) == "xyz"


async def test_allowing_is_not_enough_where_notes_are_off(live: Live, user: Actor) -> None:
    await allow(live, "features.notes")
    made = await create(user, md="x")
    async with editors(live.url, made["id"], user.token) as (editor,):
        await live.app.state.oui.save_config({"notes.enable": False})
        async with asyncio.timeout(30):
            while await editor.type("!") is True:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
