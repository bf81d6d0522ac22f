"""Event streams: however the bytes are cut, the same data comes out."""

import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamaforge.events import Text, ToolCall, Usage
from llamaforge.events.openai import message_of
from open_webui.connections.chunks import ChunkReader, EventReader, error_of, to_chunks
from open_webui.connections.render import assemble
from open_webui.connections.sse import SseReader
from open_webui.errors import ProviderError

LINES = [
    b'data: {"choices":[]}',
    b'data:{"a":"\xc3\xa4"}',
    b"data: ",
    b"data",
    b"data: [DONE]",
    b"data: [DONE] ",
    b'data: {"text":"[DONE]"}',
    b": a comment",
    b"event: message",
    b"event: error",
    b'error: {"message":"no"}',
    b'data: {"a":1}',
    b"id: 7",
    b"retry: 10",
    b"",
    b"",
    b"{",
    b'{"error": {"message": "no"}}',
    b"\xef\xbb\xbfdata: 1",
    b"nonsense \xff",
    b"data: " + b"x" * 50,
]
ENDS = [b"\n", b"\n", b"\n\n", b"\r\n", b"\r\n\r\n", b"\r", b""]
streams = st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from(ENDS)), max_size=12).map(
    lambda parts: b"".join(line + end for line, end in parts)
)


def read(pieces: list[bytes], limit: int = 1_000) -> tuple[list[bytes], bool, bool, list[bytes], bytes | None]:
    reader = SseReader(limit)
    out = [payload for piece in pieces for payload in reader.feed(piece)]
    out += reader.close()
    return out, reader.done, reader.too_long, reader.stray, reader.failed


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(p % (len(data) + 1) for p in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@settings(max_examples=400, deadline=None)
@given(streams, st.lists(st.integers(0, 10_000), max_size=12))
def test_any_split_gives_the_same(data: bytes, places: list[int]) -> None:
    whole = read([data])
    assert read(cut(data, places)) == whole
    assert read([bytes([b]) for b in data]) == whole


def test_what_comes_with_an_error_is_not_looked_at() -> None:
    """A line that is too long and not over yet, in the read that brings the error: as if it came in the next one."""
    read = b'error: {"message":"no"}\ndata: ' + b"x" * 50
    reader = SseReader(30)
    assert reader.feed(read) == []
    assert (reader.failed, reader.too_long) == (b'{"message":"no"}', False)


@settings(max_examples=200, deadline=None)
@given(streams, st.lists(st.integers(0, 10_000), max_size=6))
def test_a_limit_holds_wherever_the_cuts_are(data: bytes, places: list[int]) -> None:
    whole, split = read([data], 30), read(cut(data, places), 30)
    assert whole[:3] == split[:3]
    assert all(len(payload) <= 30 for payload in whole[0])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_noise_is_harmless(data: bytes, places: list[int]) -> None:
    assert read(cut(data, places)) == read([data])


def test_the_forms_of_an_event() -> None:
    assert read([b'data: {"a":1}\n\ndata: {"b":2}\n\n'])[0] == [b'{"a":1}', b'{"b":2}']
    assert read([b"data: one\r\n\r\n"])[0] == [b"one"]
    assert read([b"data:one\ndata:two\n\n"])[0] == [b"one\ntwo"]
    assert read([b": hello\n\nevent: x\nid: 1\ndata: one\n\n"])[0] == [b"one"]
    assert read([b"data: unfinished"])[0] == [b"unfinished"]


def test_nothing_counts_after_the_terminator() -> None:
    reader = SseReader()
    assert reader.feed(b"data: 1\n\ndata: [DONE]\n\ndata: 2\n\n") == [b"1"]
    assert reader.done
    assert reader.feed(b"data: 3\n\n") == []
    assert reader.close() == []


def test_a_line_without_end_is_given_up() -> None:
    reader = SseReader(limit=100)
    assert reader.feed(b"data: good\n\ndata: ") == [b"good"]
    for _ in range(10):
        assert reader.feed(b"x" * 20) == []
    assert reader.too_long
    assert reader.feed(b"\n\ndata: late\n\n") == []


def chunk(text: str, reason: str | None = None) -> bytes:
    quoted = "null" if reason is None else f'"{reason}"'
    return b'{"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":%s}]}' % (text.encode(), quoted.encode())


def events(*payloads: bytes) -> bytes:
    return b"".join(b"data: " + p + b"\n\n" for p in payloads)


def test_what_is_no_json_object_is_dropped_and_counted() -> None:
    reader = ChunkReader()
    junk = (
        b"{not json", b"[1, 2]", b"", b"1", b"null", b"[" * 200_000, b"words", b'{"choices": "none"}', b'{"choices":[3]}'
    )  # fmt: skip
    assert reader.feed(events(junk[0], chunk("a"), *junk[1:], chunk("b", "stop"))) == [chunk("a"), chunk("b", "stop")]
    assert (reader.dropped, reader.unreadable) == (len(junk), 2)
    with pytest.raises(ProviderError, match="could not be read \\(2\\)"):
        reader.check_end()


def test_a_chunk_of_an_unusual_form_is_passed_on() -> None:
    odd = (b'{"choices":[{"finish_reason":7}]}', b'{"choices":[{"index":"0","delta":{"content":["a"]}}]}', b'{"a":1}')
    reader = ChunkReader()
    assert reader.feed(events(*odd)) == list(odd)
    assert (reader.dropped, reader.finished) == (0, False)
    assert ChunkReader().feed(events(b'{"a": "\xff"}')) == ['{"a":"\ufffd"}'.encode()]


def test_an_end_is_known_by_its_terminator_or_reason() -> None:
    for body, complete in (
        (events(chunk("a")), False),
        (events(chunk("a", "stop")), True),
        (events(chunk("a", "")), False),
        (events(chunk("a"), b"[DONE]"), True),
        (b"", False),
    ):
        reader = ChunkReader()
        reader.feed(body)
        reader.close()
        if complete:
            reader.check_end()
        else:
            with pytest.raises(ProviderError, match="cut off"):
                reader.check_end()


def test_an_error_in_a_stream_ends_it_after_what_came_before() -> None:
    for error in (
        b'data: {"error":{"message":"fell over","code":503}}\n\n',
        b'event: error\ndata: {"error":"fell over"}\n\n',
        b'{"error":{"message":"fell over"}}\n',
        b'{\n  "error": {\n    "message": "fell over"\n  }\n}\n',
    ):
        reader = ChunkReader()
        got = reader.feed(events(chunk("a")) + error)
        got += reader.close()
        assert got == [chunk("a")]
        assert reader.error is not None
        assert "fell over" in reader.error.detail
    assert reader.feed(events(chunk("late"))) == []


def test_null_errors_are_none() -> None:
    reader = ChunkReader()
    payload = b'{"error":null,"choices":[]}'
    assert reader.feed(events(payload)) == [payload]
    assert reader.error is None


def test_messages_of_errors() -> None:
    assert message_of({"error": {"message": "m"}}) == "m"
    assert message_of({"error": "m"}) == "m"
    assert message_of([{"error": {"message": "m"}}]) == "m"
    assert message_of({"detail": [{"msg": "m"}]}) == "m"
    assert message_of({"message": "x" * 9_000}) == "x" * 2_000
    for nothing in ({}, [], None, 5, {"error": {}}, {"error": {"error": {"error": {"error": {"error": "deep"}}}}}):
        assert message_of(nothing) is None
    assert error_of(b"not json") is None
    assert error_of(b'{"error":{"code":true}}').status == 502
    assert error_of(b'{"error":{"code":429}}').status == 429


def test_whole_answers_and_chunks_are_the_same_thing() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": "hello", "reasoning_content": "hm", "tool_calls": [call]}
    whole = {"id": "i", "model": "m", "created": 1, "choices": [{"index": 0, "message": message, "finish_reason": "x"}]}
    whole["usage"] = {"total_tokens": 3}
    back = msgspec.json.decode(assemble(to_chunks(whole)))
    assert back["choices"][0]["message"] == message
    assert back["choices"][0]["finish_reason"] == "x"
    assert (back["usage"], back["id"], back["object"]) == ({"total_tokens": 3}, "i", "chat.completion")


def test_pieces_of_tool_calls_are_put_together() -> None:
    parts = [
        {"index": 0, "id": "c1", "function": {"name": "look", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"a"'}},
        {"index": 1, "id": "c2", "function": {"name": "up", "arguments": "{}"}},
        {"index": 0, "function": {"arguments": ":1}"}},
        "no call",
    ]
    chunks = [msgspec.json.encode({"choices": [{"index": 0, "delta": {"tool_calls": [p]}}]}) for p in parts]
    calls = msgspec.json.decode(assemble(chunks))["choices"][0]["message"]["tool_calls"]
    assert [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in calls] == [
        ("c1", "look", '{"a":1}'),
        ("c2", "up", "{}"),
    ]


# ---- what providers send beside the standard


def test_lines_without_blank_lines_between_them_are_events_each_as_they_come() -> None:
    reader = SseReader()
    assert reader.feed(b'data: {"a":1}\ndata: {"b":2}\n') == [b'{"a":1}']
    assert reader.feed(b"data: [DONE]\n") == [b'{"b":2}']
    assert reader.close() == []
    assert reader.done


def test_an_object_over_several_lines_is_one_event() -> None:
    body = b'data: {\ndata: "a": {\ndata: "b": 1}\ndata: }\n\ndata: {"c":\ndata: {"d":1}}\n\n'
    assert SseReader().feed(body) == [b'{\n"a": {\n"b": 1}\n}', b'{"c":\n{"d":1}}']


ERRORS = {
    b'event: error\ndata: {"message":"model crashed","code":"crash"}\n\n': ("model crashed", 502),
    b'event: error\ndata: {"error":{"message":"slow down","code":429}}\n\n': ("slow down", 429),
    b"event:error\ndata: it broke\n\n": ("it broke", 502),
    b"event: error\ndata: \xff\n\n": ("\ufffd", 502),
    b'error: {"code":400,"message":"prompt is longer"}\n\n': ("prompt is longer", 400),
    b'data: {"object":"error","message":"worker died","code":500}\n\n': ("worker died", 500),
    b'data: {"type":"error","error":{"type":"overloaded_error","message":"overloaded"}}\n\n': ("overloaded", 502),
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}\n\n': ("it gave no reason", 502),
}


@pytest.mark.parametrize("make", [ChunkReader, EventReader])
@pytest.mark.parametrize("after", [b"", b"data: [DONE]\n\n"])
@pytest.mark.parametrize("error", ERRORS)
def test_an_error_inside_a_stream_is_never_a_good_end(
    make: type[ChunkReader] | type[EventReader], error: bytes, after: bytes
) -> None:
    said, status = ERRORS[error]
    body = events(chunk("a")) + error + after
    for pieces in ([body], [bytes([b]) for b in body]):
        reader = make()
        got = [found for piece in pieces for found in reader.feed(piece)] + reader.close()
        assert got
        with pytest.raises(ProviderError, match=said) as caught:
            reader.check_end()
        assert caught.value.status == status


@pytest.mark.parametrize(
    "field", [b'"error":null', b'"object":"chat.completion.chunk","x":"error"', b'"type":"errors"']
)
def test_what_only_mentions_errors_is_none(field: bytes) -> None:
    for make in (ChunkReader, EventReader):
        reader = make()
        reader.feed(b"data: {" + field + b',"choices":[]}\n\n' + events(chunk("error", "stop")))
        reader.check_end()


def said_by(chunks: list[bytes]) -> str:
    found = [msgspec.json.decode(c)["choices"][0]["delta"].get("content") or "" for c in chunks]
    return "".join(found)


BROKEN = {
    "a character's halves as escapes": ([rb'"Party \ud83c"', rb'"\udf89 time"'], "Party \U0001f389 time"),
    "its bytes": ([b'"Party \xf0"', b'"\x9f\x8e\x89 time"'], "Party \U0001f389 time"),
    "in three": ([b'"a\xf0"', b'"\x9f"', b'"\x8e\x89b"'], "a\U0001f389b"),
    "half, then plain text": ([rb'"a\ud83c"', b'"b"', b'"c"'], "a\ufffdbc"),
    "half at the end": ([b'"a"', rb'"b\ud83c"'], "ab\ufffd"),
    "the wrong half first": ([rb'"\udf89 a"', b'"b"'], "\ufffd ab"),
    "a byte that is none": ([b'"a\xffb"', b'"c"'], "a\ufffdbc"),
    "a raw line break": ([b'"a\nb"'], "a\nb"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_half_characters_are_joined_or_replaced(what: str) -> None:
    pieces, wanted = BROKEN[what]
    body = [b'{"choices":[{"index":0,"delta":{"content":' + piece + b"}}]}" for piece in pieces]
    body.append(b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}')
    chunks, read_events = ChunkReader(), EventReader()
    assert said_by([text for one in body for text in chunks._read([one])]) == wanted
    assert "".join(e.text for one in body for e in read_events._read([one]) if isinstance(e, Text)) == wanted
    for reader in (chunks, read_events):
        assert (reader.dropped, reader.finished) == (0, True)
        reader.check_end()


def test_halves_of_two_answers_and_of_a_call_are_not_mixed() -> None:
    def one(index: int, delta: str) -> bytes:
        return f'{{"choices":[{{"index":{index},"delta":{delta}}}]}}'.encode()

    reader = EventReader()
    found = reader._read([
        one(0, r'{"content":"\ud83c"}'), one(1, r'{"content":"x"}'),
        one(0, r'{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"{\"a\":\"\ud83d"}}]}'),
        one(0, r'{"tool_calls":[{"index":0,"function":{"arguments":"\ude00\"}"}}]}'), one(0, r'{"content":"\udf89"}'),
    ])  # fmt: skip
    assert "".join(e.text for e in found if isinstance(e, Text) and e.choice == 0) == "\U0001f389"
    assert "".join(e.text for e in found if isinstance(e, Text) and e.choice == 1) == "x"
    assert "".join(e.arguments for e in found if isinstance(e, ToolCall)) == '{"a":"\U0001f600"}'


def test_numbers_that_json_lacks_cost_no_words() -> None:
    body = b'{"choices":[{"index":0,"delta":{"content":"One "},"logprobs":{"content":[{"token":"One","logprob":-Infinity}]}}]}'
    [passed] = ChunkReader()._read([body])
    assert msgspec.json.decode(passed)["choices"][0]["logprobs"]["content"][0]["logprob"] is None
    assert EventReader()._read([body]) == [Text("One ")]


def test_usage_is_found_where_providers_put_it() -> None:
    groq = b'{"choices":[],"x_groq":{"usage":{"prompt_tokens":23,"completion_tokens":19}}}'
    llama = b'{"choices":[],"timings":{"prompt_n":5,"cache_n":2,"predicted_n":7,"predicted_per_second":33.1}}'
    [usage] = EventReader()._read([groq])
    assert isinstance(usage, Usage)
    assert (usage.prompt, usage.completion) == (23, 19)
    [usage] = EventReader()._read([llama])
    assert isinstance(usage, Usage)
    assert (usage.prompt, usage.completion, usage.cached) == (7, 7, 2)
    assert usage.raw["timings"]["predicted_per_second"] == 33.1
    for odd in (b'{"x_groq":7,"choices":[]}', b'{"timings":"fast","choices":[]}', b'{"timings":{"prompt_n":"5"}}'):
        assert EventReader()._read([odd]) == []


HELLO = b'{"choices":[{"index":0,"delta":{"content":"Hello"}}]}'
ENDED = b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'


@pytest.mark.parametrize("reader", [ChunkReader, EventReader])
@pytest.mark.parametrize("terminator", [b"", b"data: [DONE]\n\n"])
@pytest.mark.parametrize(
    ("last", "said"),
    [
        (b'{"detail":"Rate limited"}', "Rate limited"),
        (b'{"detail":[{"loc":["body"],"msg":"too long"}]}', "too long"),
        (b'{"message":"overloaded","code":529}', "overloaded"),
        (b'{"errors":[{"message":"no quota"}]}', "no quota"),
        (b'{"success":false,"msg":"no quota"}', "no quota"),
        (b'{"choices":[{"index":0,"delta":{},"finish_reason":"error","error":{"message":"fell over"}}]}', "fell over"),
        (b'{"choices":[{"index":0,"delta":{},"finish_reason":"error","error":7}]}', "it gave no reason"),
        (b'{"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}', "it gave no reason"),
    ],
)
def test_an_error_in_any_form_is_told_in_the_providers_words(
    reader: type[ChunkReader | EventReader], terminator: bytes, last: bytes, said: str
) -> None:
    read = reader()
    read.feed(events(HELLO, last) + terminator)
    read.close()
    with pytest.raises(ProviderError, match=said):
        read.check_end()


@pytest.mark.parametrize("reader", [ChunkReader, EventReader])
@pytest.mark.parametrize(
    "payloads", [(HELLO, ENDED, b'{"message":"done"}'), (b'{"message":"queued"}', HELLO), (HELLO, b'{"choices":[],"usage":{}}')]
)  # fmt: skip
def test_what_else_a_provider_says_is_no_error(
    reader: type[ChunkReader | EventReader], payloads: tuple[bytes, ...]
) -> None:
    read = reader()
    read.feed(events(*payloads) + b"data: [DONE]\n\n")
    read.close()
    read.check_end()
