"""A provider's JSON as events, tolerant field by field; and the rules by which events become an answer, and their bounds."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaforge.events import Done, Error, Event, Image, Reasoning, Refusal, Source, Text, ToolCall, Usage
from llamaforge.events.openai import Decoder
from llamaforge.events.parts import MAX_CALLS, MAX_PARTS, Growing, Limits, Part, Reducer, place_of, summed


def decode(value: Any) -> tuple[list[Event], int]:
    decoder = Decoder()
    return decoder.decode(json.dumps(value).encode()), decoder.lost


def delta(**fields: Any) -> list[Event]:
    events, lost = decode({"choices": [{"index": 0, "delta": fields}]})
    assert lost == 0
    return events


def reduced(events: list[Event], limits: Limits = Limits()) -> Reducer[Part]:  # noqa: B008
    reducer: Reducer[Part] = Reducer(lambda kind: Part(kind, Growing()), limits)
    for event in events:
        reducer.add(event)
    return reducer


def called(events: list[Event]) -> list[tuple[str, str, str]]:
    return [(part.call_id, part.name, part.text) for part in reduced(events).calls]


class TestDecoding:
    def test_a_plain_chunk(self) -> None:
        chunk = {"id": 7, "choices": [{"index": 0, "delta": {"content": "a", "x": []}, "logprobs": {}}], "y": 1}
        assert decode(chunk) == ([Text("a")], 0)
        assert delta(role="assistant", content="", refusal=None, annotations=[]) == []
        assert decode({"choices": [{"index": 1, "delta": {"content": "b"}, "finish_reason": "stop"}]})[0] == [
            Text("b", 1), Done("stop", 1),
        ]  # fmt: skip
        # Of a plain completion.
        assert decode({"choices": [{"index": 1, "text": "b", "logprobs": None}, {"text": ""}]})[0] == [Text("b", 1)]

    @pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "thinking"])
    def test_reasoning_has_three_names(self, field: str) -> None:
        assert delta(**{field: "hm"}) == [Reasoning("hm")]

    def test_reasoning_that_comes_under_two_names_is_one(self) -> None:
        details = [{"type": "reasoning.text", "text": "hm", "signature": "s", "index": 0}]
        assert delta(reasoning="hm", reasoning_content="hm", reasoning_details=details) == [
            Reasoning("hm", "s", details={"reasoning_details": details})
        ]

    def test_reasoning_in_parts_alone(self) -> None:
        parts = [
            {"type": "reasoning.summary", "summary": "a"},
            {"type": "reasoning.encrypted", "data": "x", "deep": {}},
        ]
        kept = [parts[0], {"type": "reasoning.encrypted", "data": "x"}]
        assert delta(reasoning_details=parts) == [Reasoning("a", details={"reasoning_details": kept})]
        blocks = [{"type": "thinking", "thinking": "b", "signature": "s"}]
        assert delta(thinking_blocks=blocks) == [Reasoning("b", "s", details={"thinking_blocks": blocks})]

    def test_content_as_a_list_of_parts(self) -> None:
        parts = [
            {"type": "thinking", "thinking": [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}]},
            {"type": "text", "text": "Y"}, {"type": "output_text", "text": "es"}, ".",
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}},
            {"type": "refusal", "refusal": "No."},
        ]  # fmt: skip
        assert delta(content=parts) == [
            Reasoning("hm"), Text("Yes."), Image("data:image/png;base64,QQ=="), Refusal("No."),
        ]  # fmt: skip

    def test_a_refusal_sources_and_pictures(self) -> None:
        cited = {"url": "https://a.example/x", "title": "A", "content": "says", "start_index": 1, "end_index": 2}
        notes = [{"type": "url_citation", "url_citation": cited}, {"type": "url_citation", "url": "http://b.example/"}]
        url = "data:image/png;base64,QQ=="
        assert delta(refusal="No", annotations=notes, images=[{"image_url": {"url": url}}, {"url": url}, url]) == [
            Refusal("No"), Image(url), Image(url), Image(url),
            Source("https://a.example/x", "A", "says", details={"start_index": 1, "end_index": 2}),
            Source("http://b.example/"),
        ]  # fmt: skip

    def test_usage_under_its_names(self) -> None:
        raw = {"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4},
               "completion_tokens_details": {"reasoning_tokens": 3}}  # fmt: skip
        assert decode({"choices": [], "usage": raw})[0] == [Usage(9, 5, 4, 3, raw)]
        other = {"input_tokens": 9, "output_tokens": 5, "cache_read_input_tokens": 4}
        assert decode({"usage": other})[0] == [Usage(9, 5, 4, None, other)]
        odd = {"prompt_tokens": True, "completion_tokens": -1, "prompt_tokens_details": 7}
        assert decode({"usage": odd})[0] == [Usage(raw=odd)]

    def test_arguments_as_an_object_become_text(self) -> None:
        for given_, text in (({"a": 1}, '{"a":1}'), ([1], "[1]"), ("{", "{"), (None, ""), ({}, "{}")):
            [call] = delta(tool_calls=[{"index": 0, "id": "c", "function": {"name": "f", "arguments": given_}}])
            assert call == ToolCall(0, "c", "f", text)

    def test_a_call_of_the_older_kind(self) -> None:
        assert delta(function_call={"name": "f", "arguments": "{"}) == [ToolCall(None, None, "f", "{")]

    def test_a_whole_messages_calls_are_whole(self) -> None:
        calls = [
            {"index": 0, "function": {"name": "f", "arguments": "1"}},
            {"index": 0, "function": {"name": "g", "arguments": "2"}},
        ]
        message = {"role": "assistant", "content": None, "tool_calls": calls}
        events, _ = decode({"choices": [{"message": message, "finish_reason": "tool_calls"}]})
        assert events == [ToolCall(0, None, "f", "1"), ToolCall(1, None, "g", "2"), Done("tool_calls")]

    def test_an_error_ends_the_answer(self) -> None:
        decoder = Decoder()
        body = {"error": {"message": "fell over", "code": 429}, "choices": [{"delta": {"content": "a"}}]}
        assert decoder.decode(json.dumps(body).encode()) == [Error("fell over", 429, body)]
        assert decoder.error == Error("fell over", 429, body)
        assert decode({"error": None, "choices": [{"delta": {"content": "a"}}]})[0] == [Text("a")]
        assert decode({"error": "no", "usage": 5})[0] == [Error("no", 502, {"error": "no", "usage": 5})]

    @pytest.mark.parametrize(
        ("value", "events", "lost"),
        [
            ({"choices": [{"delta": {"content": 5, "reasoning": "hm"}}]}, [Reasoning("hm")], 1),
            ({"choices": [{"delta": {"content": "a"}, "index": "1", "finish_reason": 4}]}, [Text("a", 1)], 1),
            (
                {"choices": [{"delta": {"content": "a", "tool_calls": {}, "reasoning": []}}], "usage": ""},
                [Text("a")],
                0,
            ),
            ({"choices": [{"delta": {"content": "a", "annotations": [{"type": "file", "file": {}}]}}]}, [Text("a")], 0),
            ({"choices": [{"delta": {"content": "a"}}], "usage": [1]}, [Text("a")], 1),
            ({"choices": [1, {"delta": {"content": "a"}}]}, [Text("a")], 1),
            ({"choices": [{"delta": {"content": "a", "tool_calls": {"0": 1}}}]}, [Text("a")], 1),
            (
                {"choices": [{"delta": {"tool_calls": {"id": "c", "function": {"name": "f"}}}}]},
                [ToolCall(None, "c", "f")],
                0,
            ),
            ({"choices": {"delta": {"content": "a"}}}, [Text("a")], 0),
            ({"choices": [{"usage": {"prompt_tokens": 2}}]}, [Usage(2, raw={"prompt_tokens": 2})], 0),
            (
                {"choices": [{"delta": {"tool_calls": [7, {"index": 0, "id": 5, "function": {"name": "f"}}]}}]},
                [ToolCall(0, None, "f")],
                2,
            ),
            ({"choices": [{"delta": "a", "message": {"content": "b"}}]}, [Text("b")], 1),
            ({"choices": [{"delta": {"images": [5, {"url": "javascript:x"}]}}]}, [], 2),
            ({"choices": [{"delta": {"annotations": [5, {"url": "javascript:x"}]}}]}, [], 2),
            ({"choices": [{"delta": {"content": [5, {}, {"type": "text", "text": "a"}]}}]}, [Text("a")], 2),
            ({"choices": "none"}, [], 1),
            ([], [], 1),
            ("text", [], 1),
        ],
    )
    def test_one_field_of_an_unexpected_kind_loses_that_field(self, value: Any, events: list[Event], lost: int) -> None:
        assert decode(value) == (events, lost)

    @pytest.mark.parametrize(
        "raw",
        [
            b"", b"{", b"null]",
            b'{"usage": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
            b'{"ignored": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
            b'{"choices": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        ],
    )  # fmt: skip
    def test_what_is_no_json_is_dropped(self, raw: bytes) -> None:
        decoder = Decoder()
        assert decoder.decode(raw) == []
        assert decoder.lost == 1

    @given(
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        "choices delta message content tool_calls function usage index id type text thinking images url"
                        " annotations url_citation reasoning_details arguments name refusal error".split()
                    ),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=20,
        )
    )
    def test_no_json_value_raises_anywhere(self, value: Any) -> None:
        for sent in (value, {"choices": [{"delta": value}]}, {"choices": [{"message": {"content": value}}]},
                     {"choices": [{"delta": {"tool_calls": [value], "reasoning_details": [value]}}]}):  # fmt: skip
            events, _ = decode(sent)
            reduced(events)
            # An answer that was decoded elsewhere is read alike.
            assert Decoder().read(json.loads(json.dumps(sent))) == events

    @given(st.binary(max_size=60))
    def test_no_bytes_raise(self, raw: bytes) -> None:
        Decoder().decode(raw)


class TestCalls:
    def test_calls_that_all_say_index_0(self) -> None:
        events: list[Event] = [
            ToolCall(0, "a", "weather", "{"), ToolCall(0, None, None, "}"), ToolCall(0, "b", "time", "["),
            ToolCall(0, "b", None, "]"), ToolCall(0, "a", None, " "),
        ]  # fmt: skip
        assert called(events) == [("a", "weather", "{} "), ("b", "time", "[]")]

    def test_calls_without_an_index(self) -> None:
        events: list[Event] = [
            ToolCall(None, "a", "f", "{"), ToolCall(None, "b", "g", "1"), ToolCall(None, "a", None, "}"),
            ToolCall(None, None, None, "2"),
        ]  # fmt: skip
        assert called(events) == [("a", "f", "{}"), ("b", "g", "12")]

    def test_calls_with_neither_index_nor_id_are_told_apart_by_their_names(self) -> None:
        events: list[Event] = [
            ToolCall(name="f", arguments="1"), ToolCall(arguments="2"), ToolCall(name="f", arguments="3"),
        ]  # fmt: skip
        assert called(events) == [("", "f", "12"), ("", "f", "3")]

    def test_an_id_and_a_name_that_come_late(self) -> None:
        assert called([ToolCall(0), ToolCall(0, "a"), ToolCall(0, None, "f", "{}")]) == [("a", "f", "{}")]
        assert called([ToolCall(), ToolCall(None, "a", "f", "{}")]) == [("a", "f", "{}")]

    def test_a_piece_of_a_call_that_is_not_the_last(self) -> None:
        first: list[Event] = [
            ToolCall(0, "a", "f"),
            ToolCall(1, "b", "g"),
            ToolCall(0, None, None, "1"),
            ToolCall(1, None, None, "2"),
        ]
        assert called(first) == [("a", "f", "1"), ("b", "g", "2")]

    @pytest.mark.parametrize(
        ("names", "name"),
        [
            (["get_", "wea", "ther"], "get_weather"),  # in pieces
            (["get_weather", "get_weather"], "get_weather"),  # whole each time
            (["get", "get_wea", "get_weather"], "get_weather"),  # all of it so far
            (["get_weather", None, ""], "get_weather"),
        ],
    )
    @pytest.mark.parametrize("repeats_id", [True, False])
    def test_a_name_in_pieces(self, names: list[str | None], name: str, repeats_id: bool) -> None:
        events: list[Event] = [
            ToolCall(0, "a" if repeats_id or not n else None, named) for n, named in enumerate(names)
        ]
        assert called([*events, ToolCall(0, None, None, "{}")]) == [("a", name, "{}")]
        # After its first arguments a call's name is over.
        assert called([ToolCall(0, "a", "f", "{"), ToolCall(0, None, "g", "}")]) == [("a", "f", "{}")]

    def test_a_flood_is_bounded(self) -> None:
        assert len(called([ToolCall(n, f"c{n}", "f") for n in range(MAX_CALLS + 9)])) == MAX_CALLS

    @given(st.lists(st.builds(ToolCall, st.sampled_from([None, 0, 1]), st.sampled_from([None, "a", "b"]),
                              st.sampled_from([None, "f", "g"]), st.text(max_size=3)), max_size=30))  # fmt: skip
    def test_nothing_is_lost_and_no_two_calls_share_index_and_id(self, events: list[ToolCall]) -> None:
        calls = reduced(list(events)).calls
        assert sorted("".join(e.arguments for e in events)) == sorted("".join(c.text for c in calls))
        both = [(c.index, c.call_id) for c in calls if c.index is not None and c.call_id]
        assert len(both) == len(set(both))
        assert place_of([], ToolCall(0)) is None


class TestReducing:
    def test_parts_stand_in_the_order_in_which_they_began(self) -> None:
        events: list[Event] = [
            Reasoning("h"), Reasoning("m"), Text("a"), Text("b"), ToolCall(0, "c", "f"), Text("c"), Refusal("d"),
        ]  # fmt: skip
        assert [(p.kind, p.text) for p in reduced(events).parts] == [
            ("reasoning", "hm"), ("text", "ab"), ("call", ""), ("text", "c"), ("refusal", "d"),
        ]  # fmt: skip

    def test_signatures_and_details_are_kept_with_their_part(self) -> None:
        events: list[Event] = [
            Reasoning("a", details={"reasoning_details": [{"type": "t", "index": 0, "text": "a"}]}),
            Reasoning("b", details={"reasoning_details": [{"type": "t", "index": 0, "text": "b", "format": "x"}]}),
            Reasoning("", "sig", details={"reasoning_details": [{"type": "e", "index": 1, "data": "z"}]}),
        ]
        [part] = reduced(events).parts
        assert (part.text, str(part.signature)) == ("ab", "sig")
        assert part.details is not None
        assert part.details.value() == {
            "reasoning_details": [
                {"type": "t", "index": 0, "text": "ab", "format": "x"}, {"type": "e", "index": 1, "data": "z"},
            ]
        }  # fmt: skip

    def test_usage_of_a_round_is_the_last_and_of_rounds_the_sum(self) -> None:
        reducer = reduced([Usage(raw={"prompt_tokens": 1}), Usage(raw={"prompt_tokens": 10, "d": {"c": 1}, "x": "a"})])
        assert reducer.usage == {"prompt_tokens": 10, "d": {"c": 1}, "x": "a"}
        reducer.begin_round()
        assert reducer.usage == {"prompt_tokens": 10, "d": {"c": 1}, "x": "a"}
        reducer.add(Usage(raw={"prompt_tokens": 5, "d": {"c": 2, "e": 3}, "x": "b", "cost": 0.5}))
        assert reducer.usage == {"prompt_tokens": 15, "d": {"c": 3, "e": 3}, "x": "b", "cost": 0.5}
        assert summed({"a": True, "b": None}, {"a": 1, "b": 2}) == {"a": 1, "b": 2}

    def test_calls_of_a_round_are_its_own(self) -> None:
        reducer = reduced([ToolCall(0, None, "f", "1"), Done("tool_calls")])
        reducer.begin_round()
        assert (reducer.calls, reducer.finish_reason) == ([], None)
        reducer.add(ToolCall(0, None, None, "2"))
        assert [part.text for part in reducer.parts] == ["1", "2"]

    def test_a_source_or_picture_that_comes_twice_is_one(self) -> None:
        reducer = reduced(
            [Source("https://a.example"), Image("data:image/x"), Source("https://a.example"), Image("data:image/x")]
        )
        assert (len(reducer.sources), len(reducer.images)) == (1, 1)


class TestLimits:
    @given(st.lists(st.builds(Text, st.text(min_size=1, max_size=9)) | st.builds(Reasoning, st.text(max_size=9))
                    | st.builds(ToolCall, st.just(0), st.just("c"), st.just("f"), st.text(max_size=9)), max_size=30))  # fmt: skip
    def test_no_more_text_than_the_limit_and_not_less(self, events: list[Event]) -> None:
        reducer = reduced(events, Limits(chars=20))
        came = sum(len(e.arguments if isinstance(e, ToolCall) else e.text) for e in events)  # type: ignore[union-attr]
        assert sum(len(part.text) for part in reducer.parts) == min(came, 20)
        assert reducer.is_full == (came > 20)

    def test_pictures_and_a_providers_own_objects_count_as_data(self) -> None:
        picture = "data:image/png;base64," + "A" * 100
        assert reduced([Image(picture)], Limits(data=200)).is_full is False
        reducer = reduced([Image(picture), Image(picture + "B")], Limits(data=200))
        assert (len(reducer.images), reducer.is_full) == (1, True)
        details = {"reasoning_details": [{"type": "x", "data": "A" * 300}]}
        assert reduced([Reasoning("", details=details)], Limits(data=200)).is_full

    def test_parts_without_end(self) -> None:
        events: list[Event] = [Text("a"), Reasoning("b")] * MAX_PARTS
        reducer = reduced(events)
        assert len(reducer.parts) == MAX_PARTS
        assert reducer.is_full

    def test_a_text_of_many_small_pieces_is_held_in_few(self) -> None:
        text = Growing()
        for number in range(100_000):
            text.add(str(number % 10))
        assert len(text._blocks) + len(text._pieces) < 1_000
        assert str(text) == "0123456789" * 10_000
        assert len(text._blocks) + len(text._pieces) == 1
        assert not Growing()
        assert Growing("a")


def test_an_event_has_room_for_the_providers_own_details() -> None:
    for kind in (Text, Reasoning, ToolCall, Source, Image, Refusal, Done):
        assert "details" in kind.__struct_fields__
        assert "choice" in kind.__struct_fields__
    assert msgspec.structs.asdict(Usage(raw={"a": 1}))["raw"] == {"a": 1}
