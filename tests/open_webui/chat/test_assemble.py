"""The reducer: whatever a provider splits, the frames that go out rebuild the answer that is stored."""

import itertools
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llamaforge.events import Done, Event, Image, Reasoning, Refusal, Source, Text, ToolCall, Usage
from llamaforge.events.parts import MAX_CALLS, MAX_PARTS, Growing, Limits
from open_webui.chat.assemble import Answer, Call, Frame, Item, items_of
from open_webui.chat.thinking import THINK_TAGS
from open_webui.utils.answer_parts import joined

Events = list[Event]


class Page:
    """A client that knows nothing but the frames it was sent."""

    def __init__(self, output: list[dict[str, Any]] | None = None) -> None:
        self.items: list[dict[str, Any]] = [dict(item) for item in output or []]

    def take(self, frames: list[Frame]) -> None:
        for frame in frames:
            getattr(self, "_" + frame["type"].removeprefix("response.").replace(".", "_"))(frame)

    def _output_item_added(self, frame: Frame) -> None:
        assert frame["output_index"] == len(self.items)
        self.items.append(dict(frame["item"]))

    def _output_item_done(self, frame: Frame) -> None:
        assert self.items[frame["output_index"]]["id"] == frame["item"]["id"]
        self.items[frame["output_index"]] = dict(frame["item"])

    def _output_text_delta(self, frame: Frame) -> None:
        at = frame["output_index"]
        if at == len(self.items):
            self.items.append({"type": "message", "id": frame["item_id"], "content": []})
        self._add(frame, "message")

    def _reasoning_text_delta(self, frame: Frame) -> None:
        self._add(frame, "reasoning")

    def _add(self, frame: Frame, kind: str) -> None:
        item = self.items[frame["output_index"]]
        assert (item["type"], item["id"]) == (kind, frame["item_id"])
        text = item["content"][0]["text"] if item["content"] else ""
        item["content"] = [{"type": "output_text", "text": text + frame["delta"]}]

    def _function_call_arguments_delta(self, frame: Frame) -> None:
        item = self.items[frame["output_index"]]
        assert item["id"] == frame["item_id"]
        item["arguments"] += frame["delta"]

    def _function_call_arguments_done(self, frame: Frame) -> None:
        assert self.items[frame["output_index"]]["arguments"] == frame["arguments"]

    @property
    def text(self) -> str:
        said = [i["content"][0]["text"] for i in self.items if i["type"] == "message" and i["content"]]
        return "".join(said)

    def output(self) -> list[dict[str, Any]]:
        return [comparable(item) for item in self.items]

    def so_far(self) -> list[dict[str, Any]]:
        return so_far(self.items)


def so_far(output: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what is told when an item is over: a late name, a signature, the provider's details."""
    late = {"name", "signature", "provider_details"}
    return [{k: v for k, v in comparable(item).items() if k not in late} for item in output]


def comparable(item: dict[str, Any]) -> dict[str, Any]:
    """A message without what no frame tells: its role and status come with the end."""
    return {k: v for k, v in item.items() if item["type"] != "message" or k in {"type", "id", "content"}}


def clock() -> Any:
    ticks = itertools.count(1_700_000_000)
    return lambda: float(next(ticks))


def says(text: str) -> Events:
    return [Text(text)]


def thinks(text: str) -> Events:
    return [Reasoning(text)]


def calls(index: int | None, id_: str | None = None, name: str | None = None, arguments: str | None = None) -> Events:
    return [ToolCall(index, id_, name, arguments or "")]


def ends(reason: str = "stop") -> Events:
    return [Done(reason)]


texts = st.one_of(
    st.text(max_size=12),
    st.sampled_from([*THINK_TAGS, *THINK_TAGS.values(), "<", "<thi", "</th", "</", "think>", "\n", " "]),
)
chunks = st.one_of(
    st.builds(says, texts),
    st.builds(thinks, texts),
    st.builds(
        calls,
        st.sampled_from([None, 0, 1, 2]),
        st.sampled_from([None, "call_a", "call_b"]),
        st.sampled_from([None, "", "lookup"]),
        st.one_of(st.none(), st.text(max_size=8)),
    ),
    st.builds(ends),
    st.builds(lambda n: [Usage(n, raw={"prompt_tokens": n})], st.integers(0, 9)),
    st.builds(lambda text: [Refusal(text)], st.text(max_size=5)),
    st.builds(lambda n: [Source(f"https://a.example/{n}"), Image(f"data:image/png;base64,{n}")], st.integers(0, 3)),
    st.builds(
        lambda text: [Reasoning("", "sig", details={"reasoning_details": [{"data": text}]})], st.text(max_size=5)
    ),
    st.just([]),
)


@given(st.lists(chunks, max_size=40), st.sampled_from(["completed", "incomplete"]))
def test_the_frames_rebuild_the_answer(fed: list[Events], status: str) -> None:
    answer, page, lazy = Answer(clock()), Page(), []
    for chunk in fed:
        before, version = answer.output(), answer.version
        frames = answer.feed(chunk)
        assert answer.version > version or (answer.output() == before and not frames)
        assert answer.version >= version
        page.take(frames)
        lazy += frames
        assert page.so_far() == so_far(answer.output())
    version = answer.version
    last = answer.close(status)
    assert answer.version > version
    page.take(last)
    lazy += last
    assert page.output() == [comparable(item) for item in answer.output()]
    assert page.text == answer.text
    later = Page()
    later.take(joined(lazy))
    assert later.output() == page.output()
    assert all(item["status"] != "in_progress" for item in answer.output())


@given(st.lists(chunks, max_size=30), st.data())
def test_one_who_comes_in_the_middle_misses_nothing_and_sees_nothing_twice(
    fed: list[Events], data: st.DataObject
) -> None:
    """The output at any version, and the frames after that version, are the whole answer."""
    answer = Answer(clock())
    sent: list[tuple[int, list[Frame]]] = []
    cut = data.draw(st.integers(0, len(fed)))
    page, seen = Page(), 0
    for number, chunk in enumerate(fed):
        if number == cut:
            page, seen = Page(answer.output()), answer.version
        frames = answer.feed(chunk)
        sent.append((answer.version, frames))
    if cut == len(fed):
        page, seen = Page(answer.output()), answer.version
    frames = answer.close()
    sent.append((answer.version, frames))
    for version, frames in sent:
        if version > seen:
            page.take(frames)
    assert page.output() == [comparable(item) for item in answer.output()]


@given(st.sampled_from(sorted(THINK_TAGS)), st.text(max_size=30), st.text(max_size=30), st.data())
def test_thinking_tags_are_seen_wherever_they_are_split(tag: str, thought: str, said: str, data: st.DataObject) -> None:
    closing = THINK_TAGS[tag]
    whole = f"{tag}{thought}{closing}{said}"
    thought, said = whole[len(tag) :].split(closing, 1)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1), max_size=8)))
    pieces = [whole[a:b] for a, b in itertools.pairwise([0, *cuts, len(whole)])]
    answer, page = Answer(clock()), Page()
    for piece in pieces:
        page.take(answer.feed(says(piece)))
    page.take(answer.close())
    assert answer.items[0].kind == "reasoning"
    assert answer.items[0].text == thought
    assert answer.items[0].tags == (tag, closing)
    assert answer.text.lstrip("\n") == said.lstrip("\n")
    assert page.output() == [comparable(item) for item in answer.output()]


@pytest.mark.parametrize("text", ["<", "<thin", "  <thinker> says", "a <think> later", "<b>bold</b>", "\n\n", "x"])
def test_text_that_only_looks_like_a_tag_is_kept_whole(text: str) -> None:
    answer = Answer(clock())
    for letter in text:
        answer.feed(says(letter))
    answer.close()
    assert answer.text == text
    assert [item.kind for item in answer.items] == ["text"]


def test_thinking_that_never_ends_is_kept_as_thinking() -> None:
    answer = Answer(clock())
    answer.feed(says("<think>half a thought </thi"))
    answer.close("incomplete")
    assert answer.items[0].text == "half a thought </thi"
    assert answer.text == ""


@pytest.mark.parametrize("whole", ["They want a sum.\n</think>\n\nIt is 4.", "</think>\nIt is 4.", "a\n</think>"])
def test_thinking_without_its_opening_tag_is_no_part_of_the_answer(whole: str) -> None:
    for pieces in ([whole], list(whole), whole.partition("</think>")):
        answer, page = Answer(lambda: 1.0), Page()
        for piece in pieces:
            page.take(answer.feed([Text(piece)] if piece else []))
        page.take(answer.feed([Done("stop")]))
        page.take(answer.close())
        thought, _, said = whole.partition("</think>")
        assert answer.text.strip() == said.strip()
        assert [i.text for i in answer.items if i.kind == "reasoning"] == (
            [thought] if thought or len(pieces) == 1 else [""]
        )
        assert page.output() == [comparable(item) for item in answer.output()]


@pytest.mark.parametrize(
    "text",
    [
        "the `</think>` tag closes it", "```\n</think>\n```", "a </think> b", "\n</think> is a tag", "a > b\nc > d",
        "</thinking>\nx", "x\n</think",
    ],
)  # fmt: skip
def test_a_closing_tag_that_is_talked_about_stays(text: str) -> None:
    for pieces in ([text], [text[:3], text[3:]]):
        answer = Answer(lambda: 1.0)
        answer.feed([Text(piece) for piece in pieces])
        answer.close()
        assert (answer.text, len(answer.items)) == (text, 1)


def test_a_closing_tag_after_a_call_or_in_what_is_continued_stays() -> None:
    answer = Answer(lambda: 1.0)
    answer.feed([Text("a\n"), ToolCall(0, "c", "f", "{}"), Text("b\n</think>\n")])
    assert answer.text == "a\nb\n</think>\n"
    goes_on = Answer(lambda: 1.0, items_of([], "a\n"))
    goes_on.feed([Text("</think>\nb")])
    assert goes_on.text == "a\n</think>\nb"


def test_reasoning_ends_when_the_answer_begins_and_takes_its_time() -> None:
    answer = Answer(clock())
    answer.feed(thinks("hm"))
    frames = answer.feed(says("Yes."))
    assert [f["type"] for f in frames] == ["response.output_item.done", "response.output_text.delta"]
    assert frames[0]["item"]["duration"] == 1
    assert frames[0]["item"]["status"] == "completed"


def test_other_choices_are_not_mixed_in() -> None:
    answer = Answer(clock())
    first, second = Text("a"), Text("X", 1)
    for events in ([first, second, Done("stop", 1)], [second, ToolCall(0, "c", "f", "", 1)], [first]):
        answer.feed(events)
    assert (answer.text, answer.finish_reason, answer.calls()) == ("aa", None, [])


class TestToolCalls:
    def arguments(self, answer: Answer) -> list[tuple[str, str, str]]:
        return [(i.id, i.name, i.text) for i in answer.items if i.kind == "call"]

    def test_parts_go_to_their_index(self) -> None:
        answer = Answer(clock())
        for chunk in (
            calls(0, "a", "f", ""),
            calls(1, "b", "g", "{}"),
            calls(0, None, None, '{"x"'),
            calls(0, arguments=":1}"),
        ):
            answer.feed(chunk)
        assert self.arguments(answer) == [("a", "f", '{"x":1}'), ("b", "g", "{}")]

    def test_parts_without_index_and_id_go_to_the_last_call(self) -> None:
        answer = Answer(clock())
        for chunk in (
            calls(None, "a", "f"),
            calls(None, arguments="{"),
            calls(None, arguments="}"),
            calls(None, "b", "g", "1"),
        ):
            answer.feed(chunk)
        assert self.arguments(answer) == [("a", "f", "{}"), ("b", "g", "1")]

    def test_calls_that_all_have_index_0_are_told_apart_by_their_ids(self) -> None:
        answer = Answer(clock())
        for chunk in (calls(0, "a", "f", "{}"), calls(0, "b", "g", "[]"), calls(0, "b", None, " ")):
            answer.feed(chunk)
        assert self.arguments(answer) == [("a", "f", "{}"), ("b", "g", "[] ")]

    def test_a_name_that_comes_late_is_taken(self) -> None:
        answer = Answer(clock())
        answer.feed(calls(0, "a"))
        answer.feed(calls(0, None, "f", "{}"))
        assert self.arguments(answer) == [("a", "f", "{}")]

    def test_a_flood_of_calls_is_bounded(self) -> None:
        answer = Answer(clock())
        for n in range(MAX_CALLS + 50):
            answer.feed(calls(n, f"c{n}", "f", "{}"))
        assert len(answer.items) == MAX_CALLS

    def test_calls_are_done_only_when_they_are_whole(self) -> None:
        for status, kinds in (
            ("completed", ["response.function_call_arguments.done", "response.output_item.done"]),
            ("incomplete", ["response.output_item.done"]),
        ):
            answer = Answer(clock())
            answer.feed(calls(0, "a", "f", "{"))
            frames = answer.close(status)
            assert [f["type"] for f in frames] == kinds
            assert frames[-1]["item"]["status"] == status


class TestRounds:
    def test_a_round_of_calls_and_the_answer_after_it(self) -> None:
        answer, page = Answer(clock()), Page()
        page.take(
            answer.feed(
                [Text("Let me look."), *calls(0, "a", "f", "{}"), *calls(1, "b", "g", "[]"), *ends("tool_calls")]
            )
        )
        assert answer.calls() == [Call("a", "f", "{}"), Call("b", "g", "[]")]
        page.take(answer.add_output("a", "42", files=[{"type": "image", "url": "u"}], embeds=["<p>"]))
        assert [call.call_id for call in answer.calls()] == ["b"]
        page.take(answer.add_output("b", [{"type": "input_text", "text": "no"}], status="incomplete"))
        assert answer.calls() == []
        page.take(answer.begin_round())
        page.take(answer.feed([Text("It is 42."), *ends()]))
        page.take(answer.close())
        assert [item["type"] for item in answer.output()] == [
            "message", "function_call", "function_call", "function_call_output", "function_call_output", "message",
        ]  # fmt: skip
        found = answer.output()[3]
        assert {k: v for k, v in found.items() if k != "id"} == {
            "type": "function_call_output", "call_id": "a", "output": [{"type": "input_text", "text": "42"}],
            "status": "completed", "files": [{"type": "image", "url": "u"}], "embeds": ["<p>"],
        }  # fmt: skip
        assert (answer.text, answer.finish_reason) == ("Let me look.It is 42.", "stop")
        assert page.output() == [comparable(item) for item in answer.output()]

    def test_the_same_index_and_id_in_the_next_round_is_another_call(self) -> None:
        answer = Answer(clock())
        for arguments in ("1", "2"):
            answer.feed(calls(0, "call_0", "f", arguments))
            [call] = answer.calls()
            answer.add_output(call.call_id, "x")
            answer.begin_round()
        wanted = [item for item in answer.output() if item["type"] == "function_call"]
        assert [item["arguments"] for item in wanted] == ["1", "2"]
        assert len({item["call_id"] for item in wanted}) == 2
        assert [i["call_id"] for i in answer.output() if i["type"] == "function_call_output"] == [
            item["call_id"] for item in wanted
        ]

    def test_usage_of_rounds_is_summed(self) -> None:
        answer = Answer(clock())
        answer.feed([Usage(raw={"prompt_tokens": 4}), Usage(raw={"prompt_tokens": 10, "completion_tokens": 1})])
        answer.begin_round()
        answer.feed([Usage(raw={"prompt_tokens": 5, "completion_tokens": 2})])
        assert answer.usage == {"prompt_tokens": 15, "input_tokens": 15, "completion_tokens": 3, "output_tokens": 3}

    def test_each_round_may_begin_with_thinking_tags(self) -> None:
        answer = Answer(clock())
        for _ in range(2):
            answer.feed([Text("<think>hm</think>"), *calls(0, None, "f", "{}")])
            answer.begin_round()
        assert [item.kind for item in answer.items] == ["reasoning", "call"] * 2
        assert all(item.status == "completed" for item in answer.items)

    @given(st.lists(st.lists(chunks, max_size=8), min_size=1, max_size=4))
    def test_the_frames_of_all_rounds_rebuild_the_answer(self, rounds: list[list[Events]]) -> None:
        answer, page = Answer(clock()), Page()
        for fed in rounds:
            for events in fed:
                page.take(answer.feed(events))
            for call in answer.calls():
                page.take(answer.add_output(call.call_id, "done"))
            assert answer.calls() == []
            page.take(answer.begin_round())
            assert all(item.status == "completed" for item in answer.items)
        page.take(answer.close())
        assert page.output() == [comparable(item) for item in answer.output()]
        ids = [item["id"] for item in answer.output()]
        assert len(ids) == len(set(ids))


class TestLimits:
    def test_what_fits_is_kept_and_told(self) -> None:
        answer, page = Answer(clock(), limits=Limits(chars=10)), Page()
        for events in (thinks("four"), says("four"), says("four"), says("four"), calls(0, "a", "f", "{}")):
            page.take(answer.feed(events))
        page.take(answer.close("incomplete"))
        assert (answer.text, answer.is_full) == ("fourfo", True)
        assert page.output() == [comparable(item) for item in answer.output()]

    def test_what_is_continued_counts(self) -> None:
        stored = [{"type": "message", "id": "m", "content": [{"text": "x" * 9}]}]
        answer = Answer(clock(), items_of(stored, ""), Limits(chars=10))
        answer.feed(says("yz"))
        assert (answer.text, answer.is_full) == ("x" * 9 + "y", True)
        assert Answer(clock(), items_of(stored, ""), Limits(chars=9)).is_full

    def test_parts_without_end_are_cut_off(self) -> None:
        answer = Answer(clock())
        for _ in range(MAX_PARTS):
            answer.feed([*thinks("a"), *says("b")])
        assert (len(answer.items), answer.is_full) == (MAX_PARTS, True)


class TestBesides:
    def test_sources_and_pictures_are_told_once(self) -> None:
        answer = Answer(clock())
        source, picture = Source("https://a.example/", "A", "says"), Image("data:image/png;base64,QQ==")
        answer.feed([source, picture, source, picture])
        assert answer.take_posts() == [
            ("source", {"source": {"name": "A", "url": "https://a.example/"}, "document": ["says"],
                        "metadata": [{"source": "https://a.example/", "name": "A"}]}),
            ("files", {"files": [{"type": "image", "url": picture.url}]}),
        ]  # fmt: skip
        assert answer.take_posts() == []

    @pytest.mark.parametrize(
        ("events", "is_empty"),
        [([], True), (ends(), True), ([Usage(raw={"prompt_tokens": 1})], True), ([Text("<")], False), ([Text(" ")], False),
         ([Text("<"), *ends()], False), ([Refusal("no")], False), ([Image("data:image/x")], False), (calls(0, "a"), False),
         (thinks("hm"), False), ([Source("https://a.example")], True)],
    )  # fmt: skip
    def test_an_answer_is_empty_only_when_nothing_was_said(self, events: Events, is_empty: bool) -> None:
        answer = Answer(clock())
        answer.feed(events)
        assert answer.is_empty == is_empty

    def test_signature_and_details_stay_with_the_reasoning_also_when_it_goes_on(self) -> None:
        answer = Answer(clock())
        details = {"reasoning_details": [{"type": "t", "data": "x"}]}
        answer.feed([Reasoning("hm", "sig", details=details), Text("a")])
        answer.close()
        kept = answer.output()[0]
        assert (kept["signature"], kept["provider_details"]) == ("sig", details)
        later = Answer(clock(), items_of(answer.output(), ""))
        later.feed([Text("b")])
        later.close()
        assert later.output()[0] == kept
        odd = [{"type": "reasoning", "signature": 5, "provider_details": value} for value in (5, {"a": 1}, {"a": [1]})]
        assert all("provider_details" not in item.wire() for item in items_of(odd, ""))

    def test_words_that_are_not_the_models(self) -> None:
        answer, page = Answer(clock()), Page()
        page.take(answer.feed(says("one ")))
        page.take(answer.append_text("two "))
        page.take(answer.feed(says("three")))
        page.take(answer.append_text(""))
        assert page.text == answer.text == "one two three"
        answer.feed([*calls(0, "a", "f"), *says("four")])
        answer.replace_text("new")
        answer.feed(says("er"))
        assert answer.text == "newer"
        empty = Answer(clock())
        empty.replace_text("x")
        assert empty.text == "x"


class TestContinued:
    def stored(self) -> list[dict[str, Any]]:
        answer = Answer(clock())
        for chunk in (thinks("hm"), says("One, "), calls(0, "a", "f", "{}")):
            answer.feed(chunk)
        answer.close("incomplete")
        return answer.output()

    @given(st.lists(chunks, max_size=20))
    def test_it_goes_on_from_what_is_stored(self, fed: list[Events]) -> None:
        stored = self.stored()
        answer, page = Answer(clock(), items_of(stored, "One, ")), Page(stored)
        for chunk in fed:
            page.take(answer.feed(chunk))
        page.take(answer.close())
        assert answer.text.startswith("One, ")
        assert page.output() == [comparable(item) for item in answer.output()]

    def test_text_goes_on_in_the_same_item(self) -> None:
        answer = Answer(clock(), items_of([{"type": "message", "id": "m", "content": [{"text": "One, "}]}], "One, "))
        [frame] = answer.feed(says("<think>two"))
        assert (frame["item_id"], frame["output_index"]) == ("m", 0)
        assert answer.text == "One, <think>two"

    def test_nothing_of_a_stored_answer_is_lost(self) -> None:
        stored = [*self.stored(), {"type": "function_call_output", "id": "fco", "output": [{"text": "x"}]}]
        kept = Answer(clock(), items_of(stored, "One, "))
        kept.close()
        before = [{k: v for k, v in item.items() if k != "status"} for item in stored]
        assert [{k: v for k, v in item.items() if k != "status"} for item in kept.output()] == before

    def test_an_answer_without_items_goes_on_from_its_text(self) -> None:
        for output in (None, [], "nonsense", [1, None]):
            answer = Answer(clock(), items_of(output, "One, "))
            answer.feed(says("two"))
            assert answer.text == "One, two"

    @given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                        lambda inner: st.lists(inner, max_size=3)
                        | st.dictionaries(st.sampled_from(["type", "id", "content", "text", "started_at", "ended_at",
                                                           "start_tag", "end_tag"]), inner, max_size=4),
                        max_leaves=12))  # fmt: skip
    @example([{"type": []}, {"type": {}}])
    def test_whatever_is_stored_can_be_continued(self, output: Any) -> None:
        answer = Answer(clock(), items_of(output, "x"))
        answer.feed(says("y"))
        answer.close()
        assert isinstance(answer.output(), list)


def test_joined_never_joins_across_another_frame() -> None:
    def delta(item: str, text: str) -> Frame:
        return {"type": "response.output_text.delta", "item_id": item, "delta": text}

    added = {"type": "response.output_item.added", "item": {}}
    frames = [delta("a", "1"), delta("a", "2"), added, added, delta("a", "3"), delta("b", "4")]
    assert [f.get("delta") for f in joined(frames)] == ["12", None, None, "3", "4"]
    assert frames[0]["delta"] == "1"


def test_long_answers_cost_what_their_text_costs() -> None:
    answer = Answer(clock())
    for n in range(20_000):
        answer.feed(says("word "))
        if n % 500 == 0:
            assert answer.text.endswith("word ")
    assert len(answer.text) == 100_000


def test_items_are_not_shared_between_answers() -> None:
    first = Item("text", Growing("a"), id="m")
    answer = Answer(clock(), [first])
    answer.feed(says("b"))
    assert Answer(clock()).items == []
