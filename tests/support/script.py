"""The parts a provider can play, as pure scripts: a model id and a request become the events of an answer.

| model id            | what it does |
|---------------------|---|
| `echo`              | says the last user message back, word by word (or what `Upstream.answer_when` set) |
| `fixed`             | `max_tokens` words (default 20) of a fixed text |
| `slow`              | as `fixed`, 20 ms between words |
| `gated`             | as `fixed`, one word each time the test calls `Upstream.release()`; at once if not streamed |
| `stall`             | 10 words, then silence until the client goes |
| `drop`              | 10 words, then the connection is cut in the middle of the body |
| `cut`               | 10 words, then a proper end of the body without finish_reason, usage or `[DONE]` |
| `garbage`           | as `fixed`, with lines that are no JSON, no object or no SSE between the words |
| `hugeline`          | as `fixed`, one line of 20 MB in the middle |
| `instream`          | 10 words, then an error object inside the stream |
| `reasoning`         | thoughts as `reasoning_content`, then the answer |
| `tools`             | calls the first offered tool (`lookup` if none); answers with words once it has a result |
| `parallel`          | two calls at once, all of whose pieces say index 0 |
| `parts`             | content as a list of thinking and text, a source, a picture, a refusal, and a field of the wrong kind |
| `poster`            | a picture of 8,000 characters |
| `bracket`           | says `<` and no more |
| `endless`           | 60,000 letters at a time, until the client goes |
| `rounds`            | what `Upstream.rounds` says, a list of events for each time it is asked in one turn |
| `empty`             | ends without a word |
| `mute`              | as `fixed`, without usage |
| `error400` ... `529` | answers that status with a JSON error; `error429` adds `Retry-After: 7` |
| `html502`           | answers 502 with a page of HTML, as a reverse proxy does |

Any other id is unknown: 404. An Ollama name may carry a tag (`echo:latest`).
"""

import itertools
import json
import random
import struct
import zlib
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

WORDS: Final = (
    "the quick brown fox jumps over the lazy dog and then it writes a paragraph about streaming "
    "servers that never drop a token on their way to the reader"
).split()
ERRORS: Final = {400: "bad request", 401: "invalid api key", 403: "not for you", 429: "slow down",
                 500: "upstream exploded", 503: "overloaded", 529: "overloaded, too"}  # fmt: skip
MODELS: Final = (
    "echo", "fixed", "slow", "gated", "stall", "drop", "cut", "garbage", "hugeline", "instream", "reasoning", "tools",
    "rounds", "parallel", "parts", "poster", "bracket", "endless", "empty", "mute",
    *(f"error{status}" for status in ERRORS), "html502",
)  # fmt: skip


def _picture(side: int) -> str:
    """A data: URL of a PNG of noise, with three bytes for each of its pixels."""
    noise = random.Random(side)
    rows = b"".join(b"\x00" + noise.randbytes(3 * side) for _ in range(side))
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return "data:image/png;base64," + b64encode(data).decode()


# Long enough to be a file.
PICTURE: Final = _picture(24)
PARALLEL: Final = tuple(
    {"tool_calls": [{"index": 0, "id": id_, "function": {"name": name, "arguments": arguments}}]}
    for id_, name, arguments in (
        ("call_a", "weather", '{"city"'), ("call_a", None, ':"Rome"}'), ("call_b", "time", '{"tz":"CET"}'),
    )
)  # fmt: skip
PARTS: Final = (
    {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]},
    {"content": [{"type": "text", "text": "See the fox"}], "tool_calls": 7},
    {"annotations": [{"type": "url_citation", "url_citation": {"url": "https://fox.example/", "title": "Foxes"}}]},
    {"images": [{"type": "image_url", "image_url": {"url": PICTURE}}]},
    {"images": [{"type": "image_url", "image_url": {"url": PICTURE}}]},
    {"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "!" * 2_000}}]},
    {"refusal": " but not more."},
)
POSTER: Final = ({"content": "Look: "}, {"images": [{"image_url": {"url": _picture(48)}}]})
HUGE_LINE_BYTES: Final = 20_000_000
WORDS_BEFORE_TROUBLE: Final = 10
SLOW_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """`arguments` in the pieces in which they are streamed."""

    name: str
    arguments: tuple[str, ...]
    id: str = "call_1"


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes that go out as they are, in no protocol's form."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


@dataclass(frozen=True, slots=True)
class Gate:
    """Waits for one `release()`."""


@dataclass(frozen=True, slots=True)
class Stall:
    """Silence until the client goes."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Cuts the connection."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Ends the body, and says no more."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error object inside a stream."""

    message: str


@dataclass(frozen=True, slots=True)
class Finish:
    reason: str = "stop"
    usage: Mapping[str, int] | None = field(default_factory=lambda: {"prompt_tokens": 7, "completion_tokens": 20})


Event = Text | Reasoning | ToolCall | Raw | Wait | Gate | Stall | Drop | Cut | Failure | Finish


# A provider does not write without end, whatever it is asked for.
MOST_WORDS: Final = 100_000


def play(model: str, body: Mapping[str, Any], answer: str | None = None) -> Iterator[Event]:
    """The events of the answer of `model` to this request body. `answer` replaces the text of the plain parts."""
    count = min(int(body.get("max_tokens") or body.get("max_completion_tokens") or 20), MOST_WORDS)
    words = _split(answer) if answer is not None else ["<"] if model == "bracket" else fixed_words(count)
    usage = {"prompt_tokens": 7, "completion_tokens": len(words), "total_tokens": 7 + len(words)}
    match model:
        case "echo":
            yield from map(Text, words if answer is not None else _split(last_user_text(body)))
        case "slow" | "gated" | "garbage":
            yield from _interleaved(model, words)
        case "hugeline":
            yield from map(Text, words[: len(words) // 2])
            yield Raw(b"data: " + b"x" * HUGE_LINE_BYTES + b"\n\n")
            yield from map(Text, words[len(words) // 2 :])
        case "reasoning":
            yield from map(Reasoning, ("First ", "I ", "think."))
            yield from map(Text, words)
        case "tools":
            yield from _call_a_tool(body, words)
            return
        case "parallel":
            yield from map(_delta, PARALLEL)
            yield Finish("tool_calls")
            return
        case "parts" | "poster":
            yield from map(_delta, PARTS if model == "parts" else POSTER)
        case "endless":
            yield from itertools.cycle((Text("y" * 60_000), Wait(0.001)))
        case "empty":
            pass
        case "stall" | "drop" | "cut" | "instream":
            yield from map(Text, words[:WORDS_BEFORE_TROUBLE])
            yield {"stall": Stall(), "drop": Drop(), "cut": Cut(), "instream": Failure("the model fell over")}[model]
            return
        case _:
            yield from map(Text, words)
    yield Finish("stop", None if model == "mute" else usage)


def _delta(delta: Mapping[str, Any]) -> Raw:
    chunk = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    return Raw(b"data: " + json.dumps(chunk).encode() + b"\n\n")


def rounds_before(body: Mapping[str, Any]) -> int:
    """How often the model has called tools, or written code that was run, since the last question."""
    count = 0
    for message in reversed(body.get("messages") or []):
        if str(message.get("content")).startswith("This came of your code:"):
            count += 1
            continue
        if message.get("role") == "user":
            break
        count += bool(message.get("tool_calls"))
    return count


def _interleaved(model: str, words: list[str]) -> Iterator[Event]:
    for word, junk in zip(words, _junk(), strict=False):
        if model == "gated":
            yield Gate()
        yield Text(word)
        if model == "slow":
            yield Wait(SLOW_SECONDS)
        elif model == "garbage":
            yield Raw(junk)


def fixed_words(count: int) -> list[str]:
    return [WORDS[i % len(WORDS)] + " " for i in range(count)]


def fixed_text(count: int = 20) -> str:
    """What `fixed` and its like answer, whole."""
    return "".join(fixed_words(count))


def last_user_text(body: Mapping[str, Any]) -> str:
    """The text of the last user message; the prompt of a plain completion."""
    for message in reversed(body.get("messages") or []):
        if message.get("role") == "user":
            return text_of(message)
    return str(body.get("prompt") or "")


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a message, of whatever parts it is made."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content if part.get("type") == "text")


def _split(text: str) -> list[str]:
    """Pieces that end after each space, so that joined they are the text again."""
    return [piece for piece in text.replace(" ", " \0").split("\0") if piece]


def _junk() -> Iterator[bytes]:
    while True:
        yield b"data: {not json\n\n"
        yield b"data: [1, 2]\n\n"
        yield b": a comment\n\n"
        yield b"event: nothing\ndata: \n\n"
        yield b'data: {"choices": "none"}\n\n'
        yield b"\xff\xfe no text at all\n\n"


def _call_a_tool(body: Mapping[str, Any], words: list[str]) -> Iterator[Event]:
    last = (body.get("messages") or [{}])[-1]
    if last.get("role") == "tool":
        yield Text(f"The tool says {last.get('content')}. ")
        yield from map(Text, words)
        yield Finish("stop")
        return
    offered = body.get("tools") or []
    name = offered[0]["function"]["name"] if offered else "lookup"
    yield ToolCall(name, ('{"que', 'ry": ', json.dumps("foxes") + "}"))
    yield Finish("tool_calls")
