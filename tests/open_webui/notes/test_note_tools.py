"""The tools of models for notes: they find, read, write and change what the person may, and nothing else."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from open_webui.errors import BadRequest, Forbidden, NotFound
from tests.open_webui.builtin.test_builtin import called
from tests.open_webui.notes.test_notes import create, one, shared
from tests.open_webui.plugins.test_tools import say
from tests.support.live import Actor, Live

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]], monkeypatch: pytest.MonkeyPatch) -> Live:
    monkeypatch.delenv("ENABLE_BUILTIN_TOOLS", raising=False)
    return await make_live()


async def text_of(actor: Actor, note_id: str) -> str:
    status, row = await say(actor, "GET", one({"id": note_id}))
    assert status == 200, row
    text: str = row["data"]["content"]["md"]
    return text


async def test_notes_are_written_found_read_and_changed(live: Live, user: Actor) -> None:
    made = await called(
        live, user, "write_note", title="Garden", content="# Garden\n\nThe pears are ripe.\n\nPlums later."
    )
    assert set(made) == {"id", "title"}
    found = await called(live, user, "search_notes", query="pears")
    assert ([row["id"] for row in found["notes"]], found["total"]) == ([made["id"]], 1)
    assert (await called(live, user, "search_notes", query="apples"))["notes"] == []
    assert (await called(live, user, "search_notes", query="pears", end_timestamp=1))["notes"] == []
    seen = await called(live, user, "view_note", note_id=made["id"])
    assert (seen["title"], seen["may_change"]) == ("Garden", True)
    assert "The pears are ripe." in seen["content"]
    operations = [{"find": "ripe", "replace": "picked"}, {"find": "Plums later.", "replace": "Plums now."}]
    changed = await called(live, user, "replace_note_content", note_id=made["id"], operations=operations, title="Fruit")
    assert changed["title"] == "Fruit"
    assert changed["content"].split("\n\n") == ["# Garden", "The pears are picked.", "Plums now."]
    assert "picked" in await text_of(user, made["id"])
    await called(live, user, "replace_note_content", note_id=made["id"], content="All gone.")
    assert (await text_of(user, made["id"])).strip() == "All gone."
    # What stood there can be put back.
    _, kept = await say(user, "GET", one(made, "/history"))
    assert len(kept) >= 2


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("search_notes", {}), ("search_notes", {"query": 5}), ("write_note", {"title": "x"}),
    ("write_note", {"title": " ", "content": "x"}), ("write_note", {"title": "x" * 5_000, "content": "x"}),
    ("write_note", {"title": "x", "content": "x" * 1_000_001}), ("view_note", {}), ("view_note", {"note_id": 5}),
    ("replace_note_content", {"note_id": "$"}), ("replace_note_content", {"note_id": "$", "content": 5}),
    ("replace_note_content", {"note_id": "$", "content": "x", "operations": [{"find": "a", "replace": "b"}]}),
    ("replace_note_content", {"note_id": "$", "operations": "x"}), ("replace_note_content", {"note_id": "$", "operations": [5]}),
    ("replace_note_content", {"note_id": "$", "operations": [{"find": "", "replace": "b"}]}),
    ("replace_note_content", {"note_id": "$", "operations": [{"find": "red", "replace": "b"}]}),
    ("replace_note_content", {"note_id": "$", "operations": [{"find": "blue", "replace": "b"}]}),
    ("replace_note_content", {"note_id": "$", "operations": [{"find": "one", "replace": "b"}] * 101}),
]  # fmt: skip


async def test_wrong_arguments_are_a_sentence_and_change_nothing(live: Live, user: Actor) -> None:
    made = await create(user, md="one red, two red")
    for name, arguments in WRONG:
        given = {key: made["id"] if value == "$" else value for key, value in arguments.items()}
        with pytest.raises(BadRequest):
            await called(live, user, name, **given)
    assert await text_of(user, made["id"]) == "one red, two red"
    assert (await called(live, user, "search_notes", query="x"))["total"] == 0


async def test_other_peoples_notes_are_read_where_shared_and_changed_by_nobody_else(
    live: Live, user: Actor, other: Actor
) -> None:
    hidden = await create(user, md="a secret")
    for name, more in (("view_note", {}), ("replace_note_content", {"content": "taken"})):
        with pytest.raises(NotFound, match="no such note"):
            await called(live, other, name, note_id=hidden["id"], **more)
    assert (await called(live, other, "search_notes", query="secret"))["notes"] == []
    read = await shared(live, user, other, "read", md="for reading")
    assert (await called(live, other, "view_note", note_id=read["id"]))["may_change"] is False
    with pytest.raises(BadRequest, match="may not change"):
        await called(live, other, "replace_note_content", note_id=read["id"], content="taken")
    write = await shared(live, user, other, "write", md="for both")
    await called(live, other, "replace_note_content", note_id=write["id"], content="by both")
    assert [await text_of(user, row["id"]) for row in (hidden, read, write)] == ["a secret", "for reading", "by both"]
    await live.app.state.oui.save_config({"notes.enable": False})
    with pytest.raises(Forbidden):
        await called(live, user, "view_note", note_id=hidden["id"])
