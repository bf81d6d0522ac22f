"""What gpt-oss' channels become, when a server leaks them as text: in any split, and never with a marker."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaforge.events import Done, Event, Reasoning, Text, ToolCall, Usage
from llamaforge.events.harmony import Channels
from llamaforge.events.parts import Growing, Part, Reducer

CALL = "<|start|>assistant<|channel|>commentary to=functions.{} <|constrain|>json<|message|>{}<|call|>"
PLAIN = "<|channel|>analysis<|message|>Two and two.<|end|><|start|>assistant<|channel|>final<|message|>Four < five.<|return|>"
CASES: list[tuple[str, list[tuple[str, ...]]]] = [
    (PLAIN, [("reasoning", "Two and two."), ("text", "Four < five.")]),
    ("<|channel|>final<|message|>Yes", [("text", "Yes")]),
    ("\n <|start|>assistant<|channel|>final <|constrain|>json<|message|>{}", [("text", "{}")]),
    ("<|start|>assistant<|message|>Plain", [("text", "Plain")]),
    ("<|channel|>analysis<|message|>a<|end|>" + CALL.format("get_weather", '{"place":"Bern"}'),
     [("reasoning", "a"), ("call", "get_weather", '{"place":"Bern"}')]),
    (CALL.format("a", "{}") + CALL.format("b", '{"x":[1,2]}'), [("call", "a", "{}"), ("call", "b", '{"x":[1,2]}')]),
    # The receiver before the channel, as older templates write it; and a tool of the model's own.
    ("<|start|>assistant to=functions.f<|channel|>commentary<|message|>{}<|call|>", [("call", "f", "{}")]),
    ("<|channel|>analysis to=python code<|message|>1+1<|call|>", [("call", "python", "1+1")]),
    # Words before a call are for the person, and two of a kind are two paragraphs.
    ("<|channel|>commentary<|message|>I look.<|end|><|start|>assistant<|channel|>final<|message|>Done",
     [("text", "I look.\n\nDone")]),
    ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>analysis<|message|>b", [("reasoning", "a\n\nb")]),
    # Ends are left out, the last marker is cut.
    ("<|channel|>analysis<|message|>a<|start|>assistant<|channel|>final<|message|>b<|retu", [("reasoning", "a"), ("text", "b")]),
    ("<|channel|>analysis<|message|>a<|channel|>final<|message|>b", [("reasoning", "a"), ("text", "b")]),
    ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>fin", [("reasoning", "a")]),
    ("<|channel|>final<|message|>1 <", [("text", "1 <")]),
    # A result that the model made up is no answer.
    (CALL.format("f", "{}") + "<|start|>functions.f to=assistant<|channel|>commentary<|message|>sunny<|end|>",
     [("call", "f", "{}"), ("reasoning", "sunny")]),
    # Begins otherwise: as it is.
    ("The marker <|channel|>final<|message|> is gpt-oss'.", [("text", "The marker <|channel|>final<|message|> is gpt-oss'.")]),
    ("<|channel", [("text", "<|channel")]),
    ("<|begin_of_thought|>", [("text", "<|begin_of_thought|>")]),
    (" \n", [("text", " \n")]),
    ("<|start|>user<|message|>", [("text", "<|start|>user<|message|>")]),
]  # fmt: skip


def parts(events: list[Event]) -> list[tuple[str, ...]]:
    reducer: Reducer[Part] = Reducer(lambda kind: Part(kind, Growing()))
    for event in events:
        reducer.add(event)
    return [(p.kind, p.name, p.text) if p.kind == "call" else (p.kind, p.text) for p in reducer.parts]


def read(pieces: list[str], *, ended_by: Event | None = None) -> list[Event]:
    channels = Channels()
    out: list[Event] = []
    for piece in pieces:
        out += channels.feed([Text(piece)])
    out += channels.feed([ended_by] if ended_by is not None else [])
    return out + channels.end()


@pytest.mark.parametrize(("said", "expected"), CASES)
def test_what_it_is_whole_and_letter_by_letter(said: str, expected: Any) -> None:
    for pieces in ([said], list(said)):
        assert parts(read(pieces)) == expected
        done = read(pieces, ended_by=Done("stop"))
        assert (parts(done), done[-1]) == (expected, Done("stop"))


@given(st.data())
def test_any_split_gives_the_same(data: st.DataObject) -> None:
    markers = st.sampled_from(
        ["<|channel|>", "<|message|>", "<|end|>", "<|start|>", "assistant", "final", "analysis", "commentary",
         " to=functions.f", "<|constrain|>", "<|call|>", "<|return|>", "<", "<|", "|>", "x", "{}", "\n"]
    )  # fmt: skip
    said = data.draw(st.sampled_from(["<|channel|>", "<|start|>assistant", ""])) + "".join(data.draw(st.lists(markers)))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(said)))))
    pieces = [said[a:b] for a, b in zip([0, *cuts], [*cuts, len(said)], strict=True)]
    whole = parts(read([said]))
    assert parts(read(pieces)) == whole
    if said.startswith("<|channel|>"):
        shown = "".join(part[-1] for part in whole)
        assert not any(f"<|{name}|>" in shown for name in ("channel", "message", "end", "start", "call", "return"))


def test_other_events_and_choices_pass() -> None:
    channels = Channels()
    other, call = Text("<|channel|>", choice=1), ToolCall(0, "c", "f", "{}")
    assert channels.feed([Reasoning("thought"), other]) == [Reasoning("thought"), other]
    # The thinking came apart, and the answer's marker leaks all the same.
    assert channels.feed([Text("<|channel|>final<|message|>Yes"), call]) == [Text("Yes"), call]
    counted = Channels()
    pieces = [e for piece in ("<|chan", "nel|>fi", "nal<|mess", "age|>Yes") for e in (Text(piece), Usage(1, 1))]
    assert [e for event in pieces for e in counted.feed([event]) if not isinstance(e, Usage)] == [Text("Yes")]
    plain = Channels()
    assert plain.feed([Text("<")]) == []
    assert plain.feed([Done("stop")]) == [Text("<"), Done("stop")]
    assert plain.is_over
    plain = Channels()
    said = Text("Hello")
    assert plain.feed([said])[0] is said
    assert plain.is_over
