"""Parts of an answer, put together: frames rebuild what the reducer holds, however they are cut into parts."""

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaforge.events import Event
from llamaforge.events.openai import Decoder
from open_webui.chat.assemble import Answer, items_of
from open_webui.chat.delivery.sender import AnswerSender
from open_webui.chat.running import RunningAnswer
from open_webui.events import Audience
from open_webui.internal.load import Load
from open_webui.models import generation_parts
from open_webui.utils.answer_parts import Part, apply_frames, ended, joined, rebuild
from tests.open_webui.chat.conftest import Notes, make_turn

encode = msgspec.json.encode
TEXTS = st.text(st.sampled_from("ab <>/thinkx\n\x00é"), min_size=1, max_size=12)
CALLS = st.fixed_dictionaries(
    {"index": st.sampled_from([None, 0, 1]), "id": st.sampled_from([None, "c1", "c2"]),
     "function": st.fixed_dictionaries({"name": st.sampled_from(["f", "g"]), "arguments": TEXTS})}
)  # fmt: skip
DELTAS = st.one_of(
    st.fixed_dictionaries({"content": TEXTS}),
    st.fixed_dictionaries({"reasoning_content": TEXTS}),
    st.fixed_dictionaries({"tool_calls": st.lists(CALLS, min_size=1, max_size=2)}),
)
STEPS = st.lists(
    st.one_of(
        DELTAS.map(lambda delta: ("feed", delta)),
        st.tuples(st.just("cut"), st.none()),
        st.tuples(st.just("lose"), st.none()),
        st.tuples(st.just("append"), st.sampled_from(["statusHistory", "sources"])),
        st.tuples(st.just("set"), st.sampled_from(["voice", "sources"])),
        st.tuples(st.just("text"), TEXTS),
        st.tuples(st.just("round"), TEXTS),
        st.tuples(st.just("replace"), TEXTS),
    ),
    max_size=30,
)
PREFIXES = st.sampled_from(
    [None, ({"output": None, "content": "Before. "}), {"output": [{"type": "x", "id": "q"}], "content": "More"}]
)


def events(delta: dict[str, Any]) -> list[Event]:
    return Decoder().decode(encode({"choices": [{"index": 0, "delta": delta}]}))


def plain(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items without the state of messages, which no frame tells."""
    return [{k: v for k, v in item.items() if k != "status" or item["type"] != "message"} for item in items]


class NoStore:
    def store_end(self, *_: Any) -> Any:
        raise AssertionError

    def store_now(self) -> Any:
        raise AssertionError


async def change(running: RunningAnswer, kind: str, value: Any, number: int) -> None:
    answer = running.answer
    if kind == "feed":
        running.say(answer.feed(events(value)))
    elif kind == "text":
        await running.append_text(value)
    elif kind == "round":
        for call in answer.calls():
            running.say(answer.add_output(call.call_id, value))
        running.say(answer.begin_round())
    elif kind == "replace":
        await running.replace_text("replace", value, {})
    elif kind == "append":
        running.append(value, [number])
    else:
        running.set(**{value: [number]})


@given(STEPS, PREFIXES)
async def test_parts_rebuild_the_message_however_it_is_cut(steps: list[tuple[str, Any]], before: Any) -> None:
    clock = itertools.count(1)
    prefix = None if before is None else items_of(before["output"], before["content"])
    answer = Answer(lambda: float(next(clock)), prefix)
    sender = AnswerSender(Notes(), Load(), Audience(frozenset({"ann"})), "c", "a")
    running = RunningAnswer(
        turn=make_turn(row=1), answer=answer, sender=sender, store=NoStore(), body={"meta": {"x": 1}, "sources": [0]}
    )
    parts: list[Part] = []
    for number, (kind, value) in enumerate([*steps, ("cut", None)]):
        if kind == "cut":
            if (taken := running.take_part()) is not None:
                parts.append(generation_parts._decode(encode(taken[1])))
        elif kind == "lose":
            if running.take_part() is not None:
                running.lose_part()
        else:
            await change(running, kind, value, number)
    sender.close()
    content, body = running.snapshot(done=False)
    found = rebuild(parts)
    if not parts:
        assert found is None
        return
    assert found is not None
    assert (found.version, found.content) == (answer.version, content)
    assert plain(found.body["output"]) == plain(body["output"])
    assert {k: v for k, v in found.body.items() if k != "output"} == {k: v for k, v in body.items() if k != "output"}


@given(st.lists(DELTAS, max_size=20))
def test_frames_rebuild_the_reducers_items(deltas: list[dict[str, Any]]) -> None:
    answer = Answer(lambda: 7.0)
    frames = [frame for delta in deltas for frame in answer.feed(events(delta))] + answer.close("incomplete")
    assert plain(apply_frames([], frames)) == plain(answer.output())


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["x", "y"]), TEXTS), max_size=20))
def test_joining_keeps_order_and_text(deltas: list[tuple[str, str, str]]) -> None:
    frames = [{"type": kind, "item_id": item, "delta": text} for kind, item, text in deltas]
    before = [dict(frame) for frame in frames]
    out = joined(frames)
    assert frames == before, "what others hold stays as it is"
    for key in {(f["type"], f["item_id"]) for f in frames}:
        assert "".join(f["delta"] for f in out if (f["type"], f["item_id"]) == key) == "".join(
            f["delta"] for f in frames if (f["type"], f["item_id"]) == key
        )
    assert all((a["type"], a["item_id"]) != (b["type"], b["item_id"]) for a, b in itertools.pairwise(out))


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "response.unknown", "output_index": 0},
        {"type": "response.output_text.delta", "item_id": "i", "output_index": 9, "delta": "x"},
        {"type": "response.reasoning_text.delta", "item_id": "i", "output_index": 0, "delta": "x"},
        {"type": "response.output_item.added", "item": {}},
    ],
)
def test_a_frame_that_fits_nowhere_changes_nothing(frame: dict[str, Any]) -> None:
    assert apply_frames([], [frame]) == []


def test_parts_without_a_beginning_are_nothing() -> None:
    assert rebuild([]) is None
    assert rebuild([Part(version=3, set={"x": 1})]) is None


def test_what_was_open_is_incomplete_at_the_end() -> None:
    body = {"output": [{"status": "in_progress"}, {"status": "completed"}, 7], "meta": {"sequence_number": 3, "x": 1}}
    assert ended(body) == {"output": [{"status": "incomplete"}, {"status": "completed"}, 7], "meta": {"x": 1}}
    assert ended({}) == {"meta": {}}
