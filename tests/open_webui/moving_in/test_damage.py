"""Moving in from a damaged or a hostile database: one bad row loses one row, and nothing leads out of what is imported."""

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from open_webui.env import Settings
from open_webui.internal.db import open_database
from open_webui.models import tables
from open_webui.moving_in import runner
from open_webui.moving_in.files import locate
from open_webui.moving_in.outcome import Report
from open_webui.moving_in.rows import Left
from tests.support.foreign_database import AT, TOOL, Broken, Foreign, branched, new_id


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """SQLite, where a test says nothing else."""
    kind: str = getattr(request, "param", "sqlite")
    return kind


async def move(settings: Settings, foreign: Foreign, **options: Any) -> Report:
    path = settings.data_dir.parent / "their.db"
    path.unlink(missing_ok=True)
    return await runner.move_in(settings, str(foreign.sqlite(path)), lambda _doing: None, **options)


async def rows(settings: Settings, name: str) -> list[Any]:
    database = open_database(settings)
    try:
        async with database.read() as connection:
            return list((await connection.execute(tables.config.metadata.tables[name].select())).all())
    finally:
        await database.close()


async def parents(settings: Settings, chat_id: str) -> dict[str, str | None]:
    return {row.id: row.parent_id for row in await rows(settings, "chat_message") if row.chat_id == chat_id}


def left(report: Report, table: str) -> dict[str, int]:
    return {why: reason.count for why, reason in report.of(table).left.items()}


def mended(report: Report, table: str) -> set[str]:
    return set(report.of(table).mended)


@pytest.fixture
def f() -> Foreign:
    return Foreign()


@pytest.fixture
def ada(f: Foreign) -> str:
    return f.person("Ada", "admin")


@pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)
async def test_damaged_chats(settings: Settings, f: Foreign, ada: str) -> None:
    good = f.chat(ada, "Good")
    f.chat(ada, "No JSON", rows=False, chat=Broken('{"history": {"messages": {"a"'))
    from_rows = f.chat(ada, "No JSON, but rows", chat=Broken("\x00\x01"))
    f.chat("nobody", "Of nobody")
    meta = f.chat(ada, "Bad meta", meta=Broken("[1,"), created_at=Broken("yesterday"), archived=Broken("maybe"))
    nul = f.chat(ada, "NUL \x00 in it", messages=branched("a\x00b"), rows=False)
    blob = f.chat(ada, "Bytes", chat=Broken(b"\xff\xfe\x00"), rows=False)
    report = await move(settings, f)
    assert left(report, "chat") == {
        "its document is no JSON, and it has no rows of messages": 2, "its owner did not come along": 1,
    }  # fmt: skip
    assert report.tables["chat"].taken == 4
    assert blob not in {row.id for row in await rows(settings, "chat")}
    for chat_id in (good, from_rows, meta, nul):
        assert await parents(settings, chat_id) == {"a": None, "b": "a", "c": "a", "d": "c"}
    titles = {row.id: row.title for row in await rows(settings, "chat")}
    assert titles[nul] == "NUL  in it"
    assert all("\x00" not in row.content for row in await rows(settings, "chat_message"))
    assert any("meta was no JSON" in why for why in mended(report, "chat"))


async def test_trees_that_are_none(settings: Settings, f: Foreign, ada: str) -> None:
    circle = branched("Circle")
    circle["a"]["parentId"] = "d"
    dangling = branched("Dangling")
    dangling["c"]["parentId"] = "gone"
    odd = {"x": "no message", "y": None, "": {"id": "", "content": "?"}, **branched("Odd")}
    odd["b"]["childrenIds"] = "b"
    odd["d"]["timestamp"] = "never"
    ids = [f.chat(ada, "Chat", messages=messages, rows=False) for messages in (circle, dangling)]
    odd_id = f.add("chat", user_id=ada, title="Odd", chat={"history": {"messages": odd, "currentId": 7}}, meta={})
    no_current = f.add("chat", user_id=ada, title="", chat={"title": "From the document", "history": None}, meta={})
    report = await move(settings, f)
    assert await parents(settings, ids[0]) == {"a": None, "b": "a", "c": "a", "d": "c"}
    assert await parents(settings, ids[1]) == {"a": None, "b": "a", "c": None, "d": "c"}
    titles = {row.id: row.title for row in await rows(settings, "chat")}
    assert titles[no_current] == "From the document"
    assert await parents(settings, odd_id) == {"a": None, "b": "a", "c": "a", "d": "c"}
    assert report.tables["chat"].taken == 4
    assert any("could not be read" in why for why in mended(report, "chat"))


async def test_rows_and_document_complete_each_other(settings: Settings, f: Foreign, ada: str) -> None:
    messages = branched("Both")
    chat_id = f.chat(ada, "Both", messages=messages)
    chat = f.rows["chat"][0]["chat"]
    stored = chat["history"]["messages"] = {k: dict(v) for k, v in messages.items() if k != "d"}
    stored["b"]["content"] = ""
    stored["c"]["content"] = "as the document has it"
    f.add("chat_message", id=f"{chat_id}-e", chat_id=chat_id, role="assistant", parent_id="d", content="later", done=False,
          created_at=AT + 999, usage={"total_tokens": 3}, model_id="m")  # fmt: skip
    f.add("chat_message", id="other-x", chat_id="other", role="user", content="of another chat", created_at=AT)
    await move(settings, f)
    found = {row.id: row for row in await rows(settings, "chat_message")}
    assert set(found) == set("abcde")
    assert found["b"].content == "The first answer"
    assert found["c"].content == "as the document has it"
    assert (found["e"].parent_id, found["e"].model_id, found["e"].done) == ("d", "m", True)
    assert found["e"].body["usage"] == {"total_tokens": 3}


async def test_who_wrote_what(settings: Settings, f: Foreign, ada: str) -> None:
    bob = f.person("Bob")
    messages = branched("Together")
    messages["d"]["user_id"] = bob
    messages["a"]["user_id"] = "nobody"
    f.chat(ada, "Together", messages=messages, rows=False)
    await move(settings, f)
    found = {row.id: row.body.get("user_id") for row in await rows(settings, "chat_message")}
    assert found == {"a": None, "b": None, "c": None, "d": bob}


async def test_damaged_people(settings: Settings, f: Foreign, ada: str) -> None:
    for name, values in {
        "Nomail": {"email": None}, "Bad": {"email": "no address"}, "Long": {"email": "x" * 300 + "@example.com"},
        "Control": {"email": "a\x1b[31m@example.com"},
    }.items():  # fmt: skip
        f.person(name, **values)
    twice = f.person("Twice", email="ADA@example.com ")
    odd = f.person(
        "Odd",
        "emperor",
        settings=Broken("{"),
        last_active_at=Broken("x"),
        date_of_birth=Broken("soon"),
        profile_image_url="javascript:alert(1)",
        info=Broken("[]"),
    )
    f.rows["user"][-1]["name"] = "\x00"  # fmt: skip
    f.add("user", id=Broken(None), email="noid@example.com")
    f.chat(twice, "Of the same person")
    report = await move(settings, f)
    people = {row.id: row for row in await rows(settings, "user")}
    assert set(people) == {ada, odd}
    assert sum(left(report, "user").values()) == 5
    made = people[odd]
    assert (made.role, made.settings, made.date_of_birth, made.profile_image_url, made.name) == (
        "pending", None, None, "/user.png", "odd",
    )  # fmt: skip
    assert {row.user_id for row in await rows(settings, "chat")} == {ada}
    assert any("ada@example.com has an account here already" in note for note in report.notes)


async def test_a_foreign_row_can_not_reach_what_is_here(settings: Settings, f: Foreign, ada: str) -> None:
    """The same ids as things here, and grants on them: nothing that is here changes hands."""
    own = Foreign()
    owner = own.person("Owner", "admin")
    base, file_id, folder = (
        own.add("knowledge", user_id=owner, name="Own"),
        new_id(),
        own.add("folder", user_id=owner, name="O"),
    )
    uploads = settings.data_dir.parent / "uploads"
    uploads.mkdir()
    (uploads / f"{file_id}_secret.txt").write_text("secret")
    own.add("file", id=file_id, user_id=owner, filename="secret.txt", path="x")
    chat = own.chat(owner, "Own chat")
    await move(settings, own)
    f.rows["user"][0]["role"] = "user"
    for kind, row in {"knowledge": base, "folder": folder, "shared_chat": chat, "file": file_id}.items():
        f.add(
            "access_grant",
            resource_type=kind,
            resource_id=row,
            principal_type="user",
            principal_id="*",
            permission="write",
        )
    f.add("knowledge", id=base, user_id=ada, name="Taken")
    f.add("folder", id=folder, user_id=ada, name="Taken")
    f.add("file", id=file_id, user_id=ada, filename="mine.txt", path="x", data={"content": "t"})
    theirs = f.add("knowledge", user_id=ada, name="Theirs")
    f.add("knowledge_file", user_id=ada, knowledge_id=theirs, file_id=file_id)
    f.chat(ada, "Taken", id=chat)
    inside = f.chat(ada, "Inside", folder_id=folder)
    f.add("model", id="spy", user_id=ada, base_model_id="m", name="Spy", params={},
          meta={"knowledge": [{"id": base, "type": "collection"}, {"id": file_id, "type": "file"}]}, is_active=True)  # fmt: skip
    report = await move(settings, f)
    assert await rows(settings, "access_grant") == []
    assert {row.id: (row.user_id, row.name) for row in await rows(settings, "knowledge")} == {
        base: (owner, "Own"), theirs: (ada, "Theirs"),
    }  # fmt: skip
    assert [row.user_id for row in await rows(settings, "file")] == [owner]
    assert await rows(settings, "knowledge_file") == []
    assert left(report, "knowledge_file") == {"its file did not come along": 1}
    assert {row.id: row.folder_id for row in await rows(settings, "chat")} == {chat: None, inside: None}
    assert [row.meta["knowledge"] for row in await rows(settings, "model")] == [[]]


async def test_folders_and_groups_in_circles(settings: Settings, f: Foreign, ada: str) -> None:
    first, second, other = new_id(), new_id(), f.person("Bob")
    f.add("folder", id=first, user_id=ada, name="A", parent_id=second)
    f.add("folder", id=second, user_id=ada, name="B", parent_id=first)
    f.add("folder", id="mine", user_id=other, name="C", parent_id=first)
    f.add("folder", id="self", user_id=ada, name="D", parent_id="self")
    f.add("folder", user_id=ada, name="")
    g1, g2, g3 = new_id(), new_id(), new_id()
    f.add("group", id=g1, user_id=ada, name="1", parent_group_id=g2, permissions=Broken("nothing"))
    f.add("group", id=g2, user_id="gone", name="2", parent_group_id=g3)
    f.add("group", id=g3, user_id=ada, name="3", parent_group_id=g1)
    report = await move(settings, f)
    above = {row.id: row.parent_id for row in await rows(settings, "folder")}
    assert above == {first: None, second: first, "mine": None, "self": None}
    assert left(report, "folder") == {"its name is missing": 1}
    groups = {row.id: (row.parent_group_id, row.user_id) for row in await rows(settings, "group")}
    assert set(groups) == {g1, g2, g3}
    assert groups[g2][1] == ada
    # One level of heirs: who inherits is inherited from by nobody.
    assert all(above is None or groups[above][0] is None for above, _ in groups.values())


async def test_plugins_that_are_none(settings: Settings, f: Foreign, ada: str) -> None:
    for name, content in {
        "broken": "class Tools:\n  def",
        "wrong": "class Pipe:\n    def pipe(self): pass",
        "long": "#" * 1_000_001,
    }.items():
        f.add("tool", id=name, user_id=ada, name=name, content=content)
    f.add("tool", id="no such id!", user_id=ada, name="x", content=TOOL)
    f.add("tool", id="sealed", user_id=ada, name="x", content=TOOL, valves="gAAAAABencrypted")
    f.add("tool", id="misfit", user_id=ada, name="x", content=TOOL, valves={"limit": "many"})
    f.add("tool_history", tool_id="misfit", snapshot=Broken("{"), user_id=ada)
    f.add("skill", id="../up", user_id=ada, name="x", content="# x")
    f.add(
        "skill", id="path", user_id=ada, name="x", content="# x", data={"files": [{"path": "../../etc", "content": ""}]}
    )
    f.add("model", id="m1", user_id=ada, name="", params={}, meta={})
    f.add("model", id="m2", user_id=ada, name="M", params=Broken("{"), meta=Broken('"text"'))
    report = await move(settings, f)
    assert sorted(row.id for row in await rows(settings, "tool")) == ["misfit", "sealed"]
    assert all(row.valves is None for row in await rows(settings, "tool"))
    assert sum(left(report, "tool").values()) == 4
    assert len(mended(report, "tool")) == 3
    assert await rows(settings, "skill") == []
    assert [row.id for row in await rows(settings, "model")] == ["m2"]


async def test_a_row_that_is_too_large(settings: Settings, f: Foreign, ada: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("open_webui.moving_in.source.LARGEST", 100_000)
    f.chat(ada, "x" * 10, messages={"a": {"id": "a", "role": "user", "content": "y" * 200_000, "parentId": None, "timestamp": 1}},
           rows=False)  # fmt: skip
    small = f.chat(ada, "Small")
    report = await move(settings, f)
    assert [row.id for row in await rows(settings, "chat")] == [small]
    assert sum(left(report, "chat").values()) == 1


class TestUploads:
    """The path that a row has names a file in the uploads folder, by its last part, and nothing else."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        uploads = tmp_path / "uploads"
        uploads.mkdir()
        (tmp_path / "outside.txt").write_text("outside")
        return uploads

    @pytest.mark.parametrize(
        "stored",
        ["../outside.txt", "../../etc/passwd", "/etc/passwd", "..", ".", "", "a\x00b", "..\\outside.txt", "C:\\outside.txt",
         "nothing"],
    )  # fmt: skip
    def test_nothing_outside(self, folder: Path, stored: str) -> None:
        assert locate(folder, stored, "id", "outside.txt") is None

    def test_by_the_last_part(self, folder: Path) -> None:
        (folder / "x_a.txt").write_text("a")
        assert locate(folder, "/elsewhere/data/uploads/x_a.txt", "x", "other") == folder / "x_a.txt"
        assert locate(folder, "", "x", "a.txt") == folder / "x_a.txt"
        assert locate(None, "x_a.txt", "x", "a.txt") is None

    def test_links_and_folders_are_none(self, folder: Path) -> None:
        (folder / "link").symlink_to(folder.parent / "outside.txt")
        (folder / "folder").mkdir()
        os.mkfifo(folder / "pipe")
        for name in ("link", "folder", "pipe"):
            with pytest.raises(Left):
                locate(folder, name, "id", "n")

    async def test_files_of_rows(self, settings: Settings, f: Foreign, ada: str, folder: Path) -> None:
        (folder / "link.txt").symlink_to(folder.parent / "outside.txt")
        (folder / "big.bin").write_bytes(b"\x01" * 700_000)
        f.add("file", id="link", user_id=ada, filename="link.txt", path="/x/link.txt")
        f.add("file", id="gone", user_id=ada, filename="gone.txt", path="/x/gone.txt")
        f.add("file", id="text", user_id=ada, filename="gone.pdf", path="/x/gone.pdf", data={"content": "its text"})
        f.add("file", id="big", user_id=ada, filename="../../big.bin", path="/x/big.bin", meta={"data": {"k": 1}})
        f.add("file", id="nobody", user_id="gone", filename="big.bin", path="/x/big.bin")
        f.add("file", id="shared", user_id="gone", filename="big.bin", path="/x/big.bin")
        base = f.add("knowledge", user_id=ada, name="B")
        f.add("knowledge_file", user_id=ada, knowledge_id=base, file_id="shared")
        f.add("knowledge_file", user_id=ada, knowledge_id="gone", file_id="shared")
        report = await move(settings, f, uploads=folder)
        found = {row.id: row for row in await rows(settings, "file")}
        assert set(found) == {"text", "big", "shared"}
        assert found["big"].filename == "big.bin"
        assert found["big"].meta["data"] == {"k": 1}
        assert found["big"].meta["size"] == 700_000
        assert (found["text"].status, found["big"].status, found["shared"].status) == ("pending", None, "pending")
        assert found["shared"].user_id is None
        assert sum(left(report, "file").values()) == 3
        assert left(report, "knowledge_file") == {"its knowledge base did not come along": 1}


async def test_directories_that_are_none(settings: Settings, f: Foreign, ada: str) -> None:
    base = f.add("knowledge", user_id=ada, name="B")
    for one, parent, name in [
        ("1", "2", "A"),
        ("2", "1", "B"),
        ("3", None, "C"),
        ("4", None, "C"),
        ("5", "gone", ""),
        ("6", None, "x/y"),
    ]:
        f.add("knowledge_directory", id=one, knowledge_id=base, parent_id=parent, name=name, user_id=ada)
    await move(settings, f)
    found = {row.id: (row.parent_id, row.name) for row in await rows(settings, "knowledge_directory")}
    assert len(found) == 6
    assert {found["3"][1], found["4"][1]} == {"C", "C (2)"}
    assert found["5"] == (None, "directory")
    assert found["6"] == (None, "x_y")
    assert sorted(above is None for above, _ in (found["1"], found["2"])) == [False, True]


async def test_a_table_that_lacks_a_column_is_left(settings: Settings, f: Foreign, ada: str, tmp_path: Path) -> None:
    """Older releases: what is there is taken."""
    chat_id = f.chat(ada, "Old", rows=False, meta={}, share_id=None)
    f.add("chatidtag", tag_name="Deep Sea", chat_id=chat_id, user_id=ada, timestamp=AT)
    path = f.sqlite(tmp_path / "old.db")
    with sqlite3.connect(path) as connection:
        for table in (
            "access_grant",
            "shared_chat",
            "chat_message",
            "group",
            "tag",
            "function",
            "skill",
            "knowledge_directory",
        ):
            connection.execute(f'DROP TABLE "{table}"')
        for column in ("meta", "folder_id", "tasks", "summary", "variables", "current_message_id", "last_read_at"):
            connection.execute(f"ALTER TABLE chat DROP COLUMN {column}")
        connection.execute("ALTER TABLE tool DROP COLUMN content")
    connection.close()
    report = await runner.move_in(settings, str(path), lambda _doing: None)
    assert report.tables["chat"].taken == 1
    assert await parents(settings, chat_id) == {"a": None, "b": "a", "c": "a", "d": "c"}
    assert [row.tag_id for row in await rows(settings, "chat_tag")] == ["deep_sea"]
    assert any("tool was left: it has no column content" in note for note in report.notes)


def test_the_report_shows_nothing_that_a_terminal_obeys() -> None:
    report = Report("x", False)
    report.leave("chat", "\x1b[31mred" + "x" * 100, "why")
    for number in range(100):
        report.leave("chat", "id", f"reason {number}")
    assert "\x1b" not in "\n".join(report.lines())
    assert len(report.tables["chat"].left) == 41
    assert b'"finished": false' in report.as_json()
