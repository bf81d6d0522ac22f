"""Code between tags, in whichever pieces it comes."""

import time

import pytest

from llamaforge.events import Reasoning, Text
from open_webui.chat.code_tags import CodeTags
from open_webui.services.code.port import MAX_CODE

TAG = '<code_interpreter type="code" lang="python">'
END = "</code_interpreter>"


def said(text: str, piece: int) -> tuple[str, str | None]:
    tags = CodeTags()
    events = []
    for at in range(0, len(text), piece):
        events += tags.feed([Text(text[at : at + piece])])
        if tags.is_closed:
            break
    events += tags.end()
    return "".join(event.text for event in events), tags.code


@pytest.mark.parametrize("piece", [1, 2, 7, 1000])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Just words.", ("Just words.", None)),
        (f"Let me see.{TAG}\nprint(1)\n{END} It is 1.", ("Let me see.", "print(1)")),
        (f"{TAG}1 < 2{END}", ("", "1 < 2")),
        (f"a{TAG}\n```python\nx = 1\n```\n{END}", ("a", "x = 1")),
        (f"a{TAG}  indented", ("a", "  indented")),
        ("a < b <code <code_interpret", ("a < b <code <code_interpret", None)),
        ("<code_interpreter" + " x" * 200 + "> y", ("<code_interpreter" + " x" * 200 + "> y", None)),
        (f"{TAG}{END}", ("", "")),
        ("<code_interpreter>1</code_interpreter>", ("", "1")),
        # Another tag of a longer name is none of ours, and neither is one that doesn't end.
        ("a <code_interpreters>b", ("a <code_interpreters>b", None)),
        ("a <code_interpreter_tool x='1'>b", ("a <code_interpreter_tool x='1'>b", None)),
        (f"<code_interpreter {'x' * 300}> {TAG}1{END}", (f"<code_interpreter {'x' * 300}> ", "1")),
        (f"<code_interpreter <{TAG}1{END}", ("<code_interpreter <", "1")),
        (f"{TAG}a </code_interpret {END}", ("", "a </code_interpret ")),
    ],
)
def test_it_is_taken_out(text: str, expected: tuple[str, str | None], piece: int) -> None:
    assert said(text, piece) == expected


def test_other_events_pass_and_what_follows_the_code_does_not() -> None:
    tags = CodeTags()
    thought = Reasoning("hm")
    assert tags.feed([thought, Text(f"{TAG}1{END} made up"), Text("more")]) == [thought]
    assert (tags.code, tags.is_closed, tags.end()) == ("1", True, [])


def test_endless_code_is_closed_and_too_long_to_be_run() -> None:
    """Blanks at its ends don't make it short enough: half of it would be run."""
    for code in ("x" * 300_000, "\n" * 100 + "x" * 199_990):
        tags = CodeTags()
        tags.feed([Text(TAG + code)])
        tags.feed([Text("\n" * 100)])
        assert tags.is_closed
        assert len(tags.code or "") > MAX_CODE


@pytest.mark.parametrize("piece", [1, 5, 1000])
def test_code_that_was_cut_off_is_said_and_not_run(piece: int) -> None:
    tags, text = CodeTags(), f"See:{TAG}\nimport shutil\nshutil.rmtree('/data"
    events = [e for at in range(0, len(text), piece) for e in tags.feed([Text(text[at : at + piece])])]
    events += tags.end(is_cut=True)
    assert "".join(event.text for event in events if isinstance(event, Text)) == text
    assert (tags.code, tags.is_closed) == (None, False)


def test_code_in_many_pieces_is_read_in_time() -> None:
    """Each piece is looked at once, however much there is."""
    tags = CodeTags()
    tags.feed([Text(TAG)])
    before = time.process_time()
    for _ in range(66_000):
        tags.feed([Text("abc")])
    tags.feed([Text(END)])
    assert tags.code == "abc" * 66_000
    assert time.process_time() - before < 2
