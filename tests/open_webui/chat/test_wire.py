"""Usage as it passes by: what has an unexpected form is passed over, and never raises."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from open_webui.chat.wire import page_usage
from open_webui.connections.counts import usage_of

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "delta", "message", "content", "tool_calls", "function", "usage", "index", "id"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(values)
def test_no_json_value_raises(value: Any) -> None:
    usage_of(json.dumps(value).encode())


@given(st.binary(max_size=60))
def test_no_bytes_raise(raw: bytes) -> None:
    usage_of(b'"usage"' + raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b'{"choices": "none"}',
        b'{"choices": [1]}',
        b'{"choices": [{"delta": {"content": {"a": 1}}}]}',
        b'{"choices": [{"delta": {"tool_calls": {"0": 1}}}]}',
        b'{"choices": [{"delta": {"content": "\xff"}}]}',
        b'{"choices": [{"delta": {"content": "\\ud800"}}]}',
        b'{"usage": [1]}',
        b'{"usage": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
        b'{"ignored": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    ],
)
def test_no_usage_is_found_in_what_is_no_chunk(raw: bytes) -> None:
    assert usage_of(b'{"usage": 1, "x": ' + raw + b"}") is None


def test_usage_has_the_names_of_both_wires() -> None:
    assert page_usage({"prompt_tokens": 1, "completion_tokens": 2}) == {
        "prompt_tokens": 1, "completion_tokens": 2, "input_tokens": 1, "output_tokens": 2,
    }  # fmt: skip
    assert page_usage({"input_tokens": 1, "output_tokens": "many"}) == {
        "input_tokens": 1, "output_tokens": "many", "prompt_tokens": 1,
    }  # fmt: skip
