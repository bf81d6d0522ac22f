"""Counts of tokens as providers tell them, and as they are stored."""

from typing import Any

import pytest

from open_webui.models.usages import tokens


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (None, (None, None, None, None)),
        ({}, (None, None, None, None)),
        ({"prompt_tokens": 7, "completion_tokens": 20, "total_tokens": 27}, (7, 20, None, None)),
        (
            {
                "prompt_tokens": 70, "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
                "completion_tokens": 20, "completion_tokens_details": {"reasoning_tokens": 12},
            },
            (70, 20, 64, 12),
        ),
        (
            {
                "input_tokens": 70, "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": 20, "output_tokens_details": {"reasoning_tokens": 0},
            },
            (70, 20, 0, 0),
        ),
        ({"input_tokens": 5, "output_tokens": 6, "cache_read_input_tokens": 3}, (5, 6, 3, None)),
        ({"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 8}, (9, 1, 8, None)),
        ({"prompt_tokens": -1, "completion_tokens": 2**31}, (None, None, None, None)),
        ({"prompt_tokens": True, "completion_tokens": "20"}, (None, None, None, None)),
        ({"prompt_tokens": 7.0, "prompt_tokens_details": [1]}, (None, None, None, None)),
        ({"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": None}}, (1, None, None, None)),
    ],
)  # fmt: skip
def test_counts(usage: dict[str, Any] | None, counts: tuple[int | None, ...]) -> None:
    found = tokens(usage)
    names = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")
    assert tuple(found[name] for name in names) == counts
