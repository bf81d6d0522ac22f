"""OpenAI's shapes: chunks made and put together again, and what engines leave to do."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaforge.formats.completions import (
    MAX_CHOICES,
    Rewriter,
    Whole,
    chat_chunks,
    chat_completion,
    chunk_text,
    text_chunks,
    text_completion,
    usage_of,
    whole,
)
from llamaforge.formats.request import normalise


def chunk(delta: Any, reason: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": reason}
    return {"id": "i", "object": "chat.completion.chunk", "choices": [choice], **more}


def said(*deltas: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = whole(map(chunk, deltas))["choices"][0]["message"]
    return message


def test_chunks_put_together_are_the_answer() -> None:
    usage = usage_of(3, 2)
    for made, one in (
        (whole(chat_chunks(["a", "b"], "m", usage=usage)), chat_completion("ab", "m", usage=usage)),
        (whole(text_chunks(["a", "b"], "m", usage=usage)), text_completion("ab", "m", usage=usage)),
    ):
        assert {**made, "id": 0, "created": 0} == {**one, "id": 0, "created": 0}
        assert made["usage"] == usage
    assert chat_completion("", "m")["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": "stop"}
    ]
    assert text_completion("", "m")["choices"] == [{"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}]


def test_chunks_as_json_are_put_together_alike() -> None:
    chunks = [*chat_chunks(["a", {"reasoning_content": "h"}, "b"], "m", usage=usage_of(3, 2))]
    chunks[-1]["timings"] = {"predicted_n": 2}
    answer = Whole()
    for made in ({"x": None}, None, *chunks):
        answer.read(json.dumps(made).encode())
    assert answer.is_finished
    assert answer.value() == {**whole(chunks), "x": None}
    assert answer.value()["timings"] == {"predicted_n": 2}
    answer.read(b'{"error": {"message": "broke", "code": 429}}')
    assert answer.error is not None
    assert answer.error.status == 429


@pytest.mark.parametrize("last", [b"null", b"{", b"\xff", b"[]"])
def test_what_is_no_chunk_at_the_end_changes_nothing(last: bytes) -> None:
    answer = Whole()
    for made in chat_chunks(["a", "b"], "m"):
        answer.read(json.dumps(made).encode())
    answer.read(last)
    assert answer.value()["choices"][0]["message"]["content"] == "ab"


def test_the_text_of_a_chunk_may_be_in_parts() -> None:
    parts = [{"type": "thinking", "thinking": [{"text": "hm"}]}, {"type": "text", "text": "4"}, "x", {"text": None}]
    assert chunk_text(chunk({"content": parts})) == "4"
    assert chunk_text(chunk({"content": []})) == ""


def test_a_reason_and_usage_that_are_known_at_the_end() -> None:
    state: dict[str, Any] = {}

    def pieces() -> Any:
        yield "a"
        yield {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]}
        state.update(reason="tool_calls", usage=usage_of(1, 2))

    made = whole(chat_chunks(pieces(), "m", reason=lambda: state["reason"], usage=lambda: state["usage"]))
    [choice] = made["choices"]
    assert (choice["finish_reason"], choice["message"]["content"], made["usage"]) == ("tool_calls", "a", usage_of(1, 2))


def test_closing_the_chunks_closes_what_they_are_made_of() -> None:
    closed = []

    def pieces() -> Any:
        try:
            yield "a"
            yield "b"
        finally:
            closed.append(True)

    for make in (chat_chunks, text_chunks):
        chunks = make(pieces(), "m")
        next(chunks)
        chunks.close()
    assert closed == [True, True]


def test_all_that_a_message_has() -> None:
    url = "data:image/png;base64,QQ=="
    message = said(
        {"role": "assistant", "reasoning_content": "h"}, {"reasoning": "m"}, {"content": "a"}, {"content": "b"},
        {"refusal": "n"}, {"refusal": "o"}, {"images": [{"image_url": {"url": url}}]},
        {"annotations": [{"type": "url_citation", "url_citation": {"url": "https://a.example", "title": "A"}}]},
    )  # fmt: skip
    assert message == {
        "role": "assistant", "content": "ab", "reasoning_content": "hm", "refusal": "no",
        "images": [{"type": "image_url", "image_url": {"url": url}}],
        "annotations": [{"type": "url_citation", "url_citation": {"url": "https://a.example", "title": "A"}}],
    }  # fmt: skip
    assert said({"refusal": "no"}) == {"role": "assistant", "content": None, "refusal": "no"}
    details = [{"type": "reasoning.text", "index": 0, "text": "hm", "signature": "s"}]
    assert said({"reasoning_details": details})["reasoning_details"] == details


def test_calls_that_all_have_index_0() -> None:
    calls = said(*(
        {"tool_calls": [{"index": 0, "id": f"c{n}", "function": {"name": f"f{n}", "arguments": "{}"}}]} for n in range(2)
    ))["tool_calls"]  # fmt: skip
    assert [(call["id"], call["function"]["name"]) for call in calls] == [("c0", "f0"), ("c1", "f1")]


def test_several_choices() -> None:
    made = whole([chunk({"content": "b"}, index=1), chunk({"content": "a"}), chunk({}, "stop", 1), chunk({}, "length")])
    assert [(c["index"], c["message"]["content"], c["finish_reason"]) for c in made["choices"]] == [
        (0, "a", "length"), (1, "b", "stop"),
    ]  # fmt: skip


@pytest.mark.parametrize("index", [10**9, -1, MAX_CHOICES])
def test_an_absurd_index_costs_nothing(index: int) -> None:
    made = whole([chunk({"content": "a"}), chunk({"content": "x"}, index=index)])
    assert [choice["message"]["content"] for choice in made["choices"]] == ["a"]
    call = {"index": 10**9, "id": "c", "function": {"name": "f", "arguments": ""}}
    assert len(said({"tool_calls": [call]})["tool_calls"]) == 1


def test_probabilities_are_put_together() -> None:
    first = {"choices": [{"index": 0, "delta": {"content": "a"}, "logprobs": {"content": [1], "refusal": None}}]}
    second = {"choices": [{"index": 0, "delta": {"content": "b"}, "logprobs": {"content": [2]}}]}
    assert whole([first, second])["choices"][0]["logprobs"] == {"content": [1, 2]}


def test_whether_an_answer_is_finished() -> None:
    answer = Whole()
    assert not answer.is_finished
    answer.add(chunk({"content": "a"}))
    assert not answer.is_finished
    answer.add(chunk({}, "stop"))
    assert answer.is_finished
    answer.add({"error": {"message": "broke"}})
    assert answer.error is not None


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from("choices delta message text content logprobs index usage tool_calls function error id".split()),
        inner, max_size=4),
    max_leaves=15))  # fmt: skip
def test_no_chunk_raises(value: Any) -> None:
    for made in (value, {"choices": value}, {"choices": [value]}, {"choices": [{"delta": value, "logprobs": value}]}):
        if isinstance(made, dict):
            whole([made])
            chunk_text(made)


def plain(text: str, index: int = 0, reason: str | None = None, logprobs: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "id": "i",
        "choices": [{"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}],
        **more,
    }


def test_plain_completions_have_their_own_probabilities() -> None:
    rewriter = Rewriter(normalise({"prompt": "x", "logprobs": 1}, "completion"))
    assert rewriter.is_needed
    for offset, text in ((0, "ab"), (2, "c")):
        token = {"token": text, "logprob": -1.0, "top_logprobs": [{"token": text, "logprob": -1.0}]}
        made = rewriter.feed(plain(text, logprobs={"content": [token]}))
        assert made is not None
        assert made["choices"][0]["logprobs"] == {
            "tokens": [text], "token_logprobs": [-1.0], "top_logprobs": [{text: -1.0}], "text_offset": [offset],
        }  # fmt: skip


def test_each_prompt_is_repeated_before_its_answers_and_usage_is_summed() -> None:
    rewriter = Rewriter(normalise({"prompt": ["p", "q"], "n": 2, "echo": True}, "completion"))
    sent = [rewriter.feed(plain("a", n)) for n in (3, 0, 1, 2)]
    assert [made["choices"][0]["text"] for made in sent if made] == ["qa", "pa", "pa", "qa"]
    for n in range(4):
        made = rewriter.feed(plain("", n, "stop", usage=usage_of(5 if n < 2 else 7, n, 1)))
        assert made is not None
        assert (made["choices"][0]["text"], "usage" in made) == ("", False)
    last = rewriter.end()
    assert last is not None
    assert last["usage"] == usage_of(12, 6, 4)
    assert last["choices"] == []


def test_what_needs_no_rewriting() -> None:
    assert not Rewriter(normalise({"prompt": ["x"], "n": 1}, "completion")).is_needed
    messages = [{"role": "user", "content": "x"}]
    assert not Rewriter(normalise({"messages": messages, "logprobs": True}, "chat")).is_needed
    assert Rewriter(normalise({"messages": messages, "n": 2}, "chat")).is_needed
