"""Exports of other programs as trees of messages, and as somebody's chats."""

import json
from pathlib import Path
from typing import Any

import pytest

from open_webui import administration
from open_webui.env import Settings
from open_webui.errors import NotFound, StartupError
from open_webui.internal.db import open_database
from open_webui.models import tables
from open_webui.moving_in import conversations, export_file
from open_webui.moving_in.conversations import Conversation, NotKnown

ADA = "ada@example.com"


def node(key: str, parent: str | None, role: str | None, text: Any, *children: str, **more: Any) -> dict[str, Any]:
    content = {"content_type": "text", "parts": text if isinstance(text, list) else [text]}
    message = {
        "id": key,
        "author": {"role": role},
        "content": content,
        "create_time": 1_700_000_000.5,
        "metadata": {},
    } | more
    return {"id": key, "parent": parent, "children": list(children), "message": message if role else None}


def chatgpt(title: str = "Tea", key: str = "c1") -> dict[str, Any]:
    nodes = [
        node("root", None, None, "", "sys"),
        node("sys", "root", "system", "hidden", "q", metadata={"is_visually_hidden_from_conversation": True}),
        node("q", "sys", "user", "How is tea made?", "a1", "tool"),
        node(
            "a1",
            "q",
            "assistant",
            ["With water.", {"asset_pointer": "file-service://x"}],
            metadata={"model_slug": "gpt-9"},
        ),
        node("tool", "q", "tool", "searching", "a2"),
        node("a2", "tool", "assistant", "With leaves.", "end", metadata={"model_slug": "gpt-9"}),
        node("end", "a2", "assistant", ""),
    ]
    mapping = {one["id"]: one for one in nodes}
    return {"title": title, "create_time": 1_700_000_000.0, "update_time": 1_700_000_100.0, "mapping": mapping,
            "current_node": "end", "conversation_id": key}  # fmt: skip


def librechat() -> dict[str, Any]:
    messages = [
        {"messageId": "1", "parentMessageId": "00000000-0000-0000-0000-000000000000", "text": "Hi", "isCreatedByUser": True,
         "createdAt": "2024-05-01T10:00:00.000Z"},
        {"messageId": "2", "parentMessageId": "1", "text": "", "model": "m", "isCreatedByUser": False,
         "content": [{"type": "think", "think": "hm"}, {"type": "text", "text": {"value": "Hello"}}]},
        {"messageId": "3", "parentMessageId": "1", "text": "Hello again", "model": "m"},
    ]  # fmt: skip
    return {"conversationId": "l1", "title": "Greeting", "messages": messages}


def read(*values: Any, lines: bool = False) -> list[Conversation]:
    text = "\n".join(json.dumps(one) for one in values) if lines else json.dumps(list(values))
    return list(conversations.read(text.encode()))


def tree_of(one: Conversation) -> dict[str, str | None]:
    return {i: message["parentId"] for i, message in one.messages.items()}


def test_chatgpt() -> None:
    (one,) = read(chatgpt())
    assert (one.key, one.title, one.current_id) == ("c1", "Tea", "a2")
    assert (one.created_at, one.updated_at) == (1_700_000_000, 1_700_000_100)
    assert tree_of(one) == {"q": None, "a1": "q", "a2": "q"}
    assert one.messages["q"]["childrenIds"] == ["a1", "a2"]
    assert one.messages["a1"]["content"] == "With water.\n\n[picture]"
    assert (one.messages["a2"]["model"], one.messages["a2"]["timestamp"]) == ("gpt-9", 1_700_000_000)


def test_librechat_flat_and_nested() -> None:
    flat = librechat()
    (one,) = conversations.read(json.dumps(flat, indent=1).encode())
    assert tree_of(one) == {"1": None, "2": "1", "3": "1"}
    assert [m["content"] for m in one.messages.values()] == ["Hi", "Hello", "Hello again"]
    assert (one.messages["1"]["role"], one.messages["2"]["role"], one.created_at) == (
        "user",
        "assistant",
        1_714_557_600,
    )
    first, *others = flat["messages"]
    nested = flat | {"messages": [first | {"children": others}]}
    assert tree_of(read(nested)[0]) == tree_of(one)


def test_lines_of_messages() -> None:
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Why?\nWell"}]},
            {"role": "tool", "content": "x"}, {"role": "assistant", "content": "Because."}]  # fmt: skip
    found = read({"messages": said}, {"messages": said, "title": "Named", "id": "x"}, lines=True)
    assert [(one.title, list(tree_of(one).values())) for one in found] == [
        ("Why?", [None, "m0", "m1"]), ("Named", [None, "m0", "m1"]),
    ]  # fmt: skip


def test_what_is_damaged_loses_one_chat() -> None:
    good = chatgpt()
    circle = chatgpt(key="c2")
    circle["mapping"]["q"]["parent"] = "a2"
    odd = chatgpt(key="c3") | {"title": 5, "create_time": "then", "current_node": ["x"]}
    odd["mapping"] |= {"n": 1, "m": {"message": {"author": "me"}}, "p": {"parent": 3, "message": None}}
    found = read(good, {"mapping": "none"}, 7, circle, odd)
    assert [one.problem is None for one in found] == [True, False, False, True, True]
    assert tree_of(found[3]) == {"q": None, "a1": "q", "a2": "q"} or None in tree_of(found[3]).values()
    assert (found[4].title, found[4].created_at, found[4].current_id) == ("", None, None)
    lines = b"\n".join([json.dumps({"messages": [{"role": "user", "content": "x"}]}).encode(), b"{broken", b'"text"'])
    assert [one.problem is None for one in conversations.read(lines)] == [True, False, False]


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"[1, 2]", b"{}", b"PK\x03\x04", b'[{"mapping": {}', b'{"messages": [1]}', b"\xff\xfe"]
)
def test_what_is_no_export(data: bytes) -> None:
    with pytest.raises(NotKnown):
        list(conversations.read(data))


def test_deep_nesting_ends() -> None:
    deep = b'{"conversationId": "x", "messages": [' + b'{"messageId": "a", "children": [' * 100_000
    with pytest.raises(NotKnown):
        list(conversations.read(deep))


async def test_an_export_becomes_chats_once(settings: Settings, tmp_path: Path) -> None:
    await administration.add_user(settings, ADA, "Ada", None, lambda: "a password of some length")
    file = tmp_path / "conversations.json"
    bad = chatgpt(key="bad") | {"mapping": {}}
    file.write_text(json.dumps([chatgpt(f"Chat \x00{k}", f"c{k}") for k in range(5)] + [bad]))

    async def run(**options: Any) -> tuple[int, int, int]:
        of = (
            await export_file.import_chats(settings, file, " Ada@Example.com", lambda _doing: None, **options)
        ).tables["chats"]
        return of.taken, of.there, sum(reason.count for reason in of.left.values())

    async def stored() -> tuple[list[str], int]:
        database = open_database(settings)
        async with database.read() as connection:
            titles = sorted(row.title for row in await connection.execute(tables.chat.select()))
            count = len((await connection.execute(tables.message.select())).all())
        await database.close()
        return titles, count

    assert await run(dry_run=True) == (5, 0, 1)
    assert await stored() == ([], 0)
    assert await run() == (5, 0, 1)
    assert await run() == (0, 5, 1)
    assert await stored() == ([f"Chat {k}" for k in range(5)], 15)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_what_can_not_be_imported(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    with pytest.raises(StartupError, match="can't be read"):
        await export_file.import_chats(settings, file, ADA, lambda _doing: None)
    file.write_text("[]")
    with pytest.raises(NotFound):
        await export_file.import_chats(settings, file, ADA, lambda _doing: None)
    await administration.add_user(settings, ADA, "Ada", None, lambda: "a password of some length")
    with pytest.raises(StartupError, match="none of the exports"):
        await export_file.import_chats(settings, file, ADA, lambda _doing: None)
