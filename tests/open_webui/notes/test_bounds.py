"""Updates and texts that lie, that are nested, or that would become very much: none of them holds up the server or ends it."""

import re
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycrdt import Doc, XmlElement, XmlFragment, XmlText, get_update, merge_updates

from open_webui.errors import BadRequest
from open_webui.notes import document, markdown, nodes
from open_webui.notes.checking import Broken, walk
from open_webui.services import note_documents
from open_webui.socket import incoming
from open_webui.socket import notes as socket_notes
from tests.open_webui.notes.test_documents import text
from tests.open_webui.notes.test_notes import create
from tests.support.editor import Editor, editors
from tests.support.live import Actor, Live

# One block with a value at a name, up to where the value begins.
HEAD = bytes.fromhex("0101010028010001 6b01")


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def number(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def nested(depth: int) -> bytes:
    """Elements in each other, and the first one deleted."""
    first, each = b"\x07\x01\x01r\x03\x01p", b"\x03\x01p"
    rest = b"".join(b"\x07\x00\x01" + number(n) + each for n in range(depth - 1))
    return b"\x01" + number(depth) + b"\x01\x00" + first + rest + b"\x01\x01\x01\x00\x01"


SAY = """
import sys
from open_webui.notes import document
try:
    document.new_in([], sys.stdin.buffer.read())
    print("good")
except document.Broken:
    print("broken")
"""


@pytest.mark.parametrize(
    ("update", "said"),
    [
        (HEAD + b"\x75" + number(2**40), "broken"), (HEAD + b"\x75\x01" * 1_000_000, "broken"),
        (HEAD + b"\x75" + number(2**63 + 1) + b"\x7e\x00", "broken"), (HEAD + b"\x76\x01" * 1_000_000, "broken"),
        (nested(100_000), "good"),
    ],
)  # fmt: skip
def test_no_update_ends_the_process(update: bytes, said: str) -> None:
    """In a process of its own, which it would end."""
    done = subprocess.run([sys.executable, "-c", SAY], input=update, capture_output=True, check=False)
    assert (done.returncode, done.stdout.decode().strip()) == (0, said), done.stderr[-500:]


@pytest.mark.parametrize(
    "update",
    [
        b"",
        b"\x01",
        HEAD,
        HEAD + b"\x75\x01",
        HEAD + b"\x77\x01\xff\x00",
        HEAD + b"\x77\x05a",
        HEAD + b"\x01\x00",
        b"\x80" * 30,
    ],
)
def test_what_is_walked_through_is_whole(update: bytes) -> None:
    with pytest.raises(Broken):
        walk(update)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
EDITS = st.lists(st.tuples(st.integers(0, 5), st.text(max_size=8), VALUES, st.integers(0, 20)), max_size=15)


def change(root: Any, edit: tuple[int, str, Any, int]) -> None:
    """One change as editors make them."""
    kind, words, value, at = edit
    if kind == 0 or not len(root.children):
        element = XmlElement("paragraph")
        root.children.append(element)
        element.children.append(XmlText())
        return
    element = root.children[at % len(root.children)]
    held = element.children[0]
    if kind == 1:
        element.attributes[words or "a"] = value
    elif kind == 2:
        held.insert(0, words, {"bold": {}, "link--abcdefgh": {"href": words}})
    elif kind == 3:
        held.insert_embed(0, {"image": words})
    elif kind == 4:
        if str(held):
            held.format(0, 1, {"italic": {}})
    else:
        del root.children[at % len(root.children)]


@given(EDITS)
def test_what_editors_write_is_walked_through(edits: list[tuple[int, str, Any, int]]) -> None:
    doc: Doc[Any] = Doc()
    root = doc.get("prosemirror", type=XmlFragment)
    written: list[bytes] = [b"\x00\x00"]
    doc.observe(lambda event: written.append(event.update))
    for edit in edits:
        change(root, edit)
    half = merge_updates(*written[::2])
    for update in (*written, doc.get_update(), half, get_update(half, doc.get_state()), merge_updates(*written)):
        walk(update)
    document.check(doc.get_update())
    msgspec.json.encode(document.read(written).json)


class TestTexts:
    @pytest.mark.parametrize(
        "md",
        [
            "~~~" + " " * 999_990 + "`", "<u>" + "*a " * 330_000 + "</u>", "[" * 999_990 + "](",
            ("[" * 5_000 + "](<" + "a" * 4_000) * 100, "# a" + " " * 1_900 + "b\n" * 500,
            " ".join("`" * size for size in range(1, 1_400)), "<u>a</u>" * 120_000,
        ],
        ids=range(7),
    )  # fmt: skip
    def test_none_takes_long(self, md: str) -> None:
        words = nodes.plain_text(markdown.parse(md))
        assert len(re.sub(r"\s", "", words)) <= len(md)

    @pytest.mark.parametrize(
        "md", ["|a" * 200 + "\n|-|\n" + "|\n" * 490_000, ("|a" * 50 + "\n|-|\n" + "|\n" * 50 + "\n") * 4_000]
    )
    def test_short_rows_do_not_become_many_cells(self, md: str) -> None:
        tree = markdown.parse(md)
        rows = [row for block in tree["content"] if block["type"] == "table" for row in block["content"]]
        assert 10_000 < sum(len(row["content"]) for row in rows) <= 20_000

    @pytest.mark.parametrize("md", ["a\n\n" * 60_000, "a\n" * 60_000, "\t" * 900_000, "x" * 1_000_001])
    async def test_very_many_blocks_are_refused(self, md: str) -> None:
        with pytest.raises(BadRequest):
            await note_documents.read_posted({"md": md})

    def test_many_blocks_become_a_document(self) -> None:
        update = document.seed(markdown.parse("a\n\n" * 40_000))
        assert document.read([update]).md.count("a") == 40_000


def test_what_a_writer_puts_in_is_read_clean() -> None:
    doc: Doc[Any] = Doc()
    root = doc.get("prosemirror", type=XmlFragment)
    top = element = XmlElement("blockquote")
    root.children.append(top)
    top.attributes["a\x00"] = "b\x00"
    top.attributes["large"], top.attributes["odd"], top.attributes["whole"] = 1e300, float("inf"), 2.0
    for _ in range(500):
        inner = XmlElement("blockquote")
        element.children.append(inner)
        element = inner
    element.children.append(XmlText("dee\x00p"))
    found = document.read([doc.get_update()])
    assert found.json["content"][0]["attrs"] == {"a": "b", "large": 1e300, "odd": None, "whole": 2}
    assert "deep" in found.md
    assert b"\\u0000" not in msgspec.json.encode(found.json)


def test_a_text_with_what_is_left_out_is_changed_where_it_differs() -> None:
    doc: Doc[Any] = Doc()
    root = doc.get("prosemirror", type=XmlFragment)
    root.children.append(XmlElement("paragraph"))
    held = XmlText()
    root.children[0].children.append(held)
    held.insert(0, "one \x00\x00two three")
    held.insert_embed(0, {"image": "x"})
    before = doc.get_update()
    made = document.edit([before], markdown.parse("one TWO three"))
    assert made is not None
    assert document.read([before, made]).md == "one TWO three"


def test_large_packets_count_more() -> None:
    rate = incoming.Rate(burst=10, a_second=0)
    assert [rate.spend(size) for size in (100, 2**20, 3 * 2**20, 0)] == [True, True, False, False]


def test_an_update_that_is_too_large_is_not_read() -> None:
    assert incoming.MAX_NOTE_UPDATE == note_documents.MAX_DOCUMENT
    given = '["ydoc:document:update",{"document_id":"note:1","update":[%s0]}]'
    assert '"update":""' in incoming._without_text(given % ("0," * incoming.MAX_NOTE_UPDATE))


async def test_what_was_deleted_makes_room(live: Live, user: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(note_documents, "MAX_DOCUMENT", 3_000)
    made = await create(user, md="x")
    async with editors(live.url, made["id"], user.token) as (editor,):
        assert await editor.type("y" * 2_000) is True

        def clear() -> None:
            held = editor.root.children[0].children[0]
            del held[0 : len(str(held))]

        assert await editor.stored(editor.change(clear)) is True
        assert await editor.type("z" * 2_000) is True
        assert await editor.type("z" * 2_000) == {"error": note_documents.FULL}
        assert await text(user, made) == "z" * 2_000


async def test_whole_documents_are_for_members_and_not_too_often(
    live: Live, user: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket_notes, "STATES_A_SECOND", 0)
    made = await create(user, md="x")
    editor = Editor(live.url, user.token, made["id"])
    await editor.socket.connect(
        live.url, auth={"token": user.token}, socketio_path="/ws/socket.io", transports=["websocket"], wait_timeout=30
    )
    body = {"document_id": editor.document, "update": [0, 0], "initialize": True}
    assert await editor.socket.call("ydoc:document:update", body, timeout=30) is None
    await editor.socket.emit("join-note", {"note_id": made["id"]})
    answers = [await editor.socket.call("ydoc:document:update", body, timeout=30) for _ in range(7)]
    assert [bool(answer) for answer in answers] == [True] * socket_notes.STATES + [False] * 2
    await editor.close()


async def test_one_note_does_not_keep_others_from_their_texts(
    live: Live, user: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    async def left(*_: Any) -> list[str]:
        return ["first", "second"]

    async def settle(_deps: Any, note_id: str) -> None:
        seen.append(note_id)
        raise ValueError(note_id)

    monkeypatch.setattr(note_documents.notes, "without_text", left)
    monkeypatch.setattr(note_documents, "settle", settle)
    await live.app.state.oui.note_jobs.tidy()
    assert seen == ["first", "second"]
