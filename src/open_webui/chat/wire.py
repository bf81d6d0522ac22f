"""The OpenAI chunk as we read it: typed, tolerant of what is missing, blind to what we don't use."""

from typing import Any

import msgspec


class FunctionPart(msgspec.Struct, frozen=True):
    name: str | None = None
    arguments: str | None = None


class ToolCallPart(msgspec.Struct, frozen=True):
    index: int | None = None
    id: str | None = None
    function: FunctionPart | None = None


class Delta(msgspec.Struct, frozen=True):
    """What a chunk adds. Reasoning has three names on the wires of today's providers."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    thinking: str | None = None
    tool_calls: list[ToolCallPart] | None = None


class Choice(msgspec.Struct, frozen=True):
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None
    index: int | None = None


class Chunk(msgspec.Struct, frozen=True):
    """One chat.completion.chunk (or a whole chat.completion, whose choices have messages)."""

    choices: list[Choice] | None = None
    usage: dict[str, Any] | None = None


_chunk = msgspec.json.Decoder(Chunk)


def decode(payload: bytes) -> Chunk | None:
    """The chunk of a JSON text; None when its known fields have types that we don't expect (R19: it is dropped)."""
    try:
        return _chunk.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def page_usage(usage: dict[str, Any]) -> dict[str, Any]:
    """Usage with the names of both wires, as the page shows it."""
    out = dict(usage)
    for ours, theirs in (("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens")):
        if ours not in out and isinstance(out.get(theirs), int):
            out[ours] = out[theirs]
        elif theirs not in out and isinstance(out.get(ours), int):
            out[theirs] = out[ours]
    return out
