"""Ollama's requests: what each kind of provider is sent of them, and what comes back as lines."""

import base64
from typing import Any

import msgspec
import pytest

from open_webui.chat.ollama import Lines
from open_webui.chat.ollama_request import adapted, parse_chat, parse_generate, says_nothing
from open_webui.connections.base import Kind, ModelEntry
from open_webui.connections.ollama_wire import LineDecoder, chat_request, generate_request
from open_webui.errors import BadRequest

ASKED = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
CALLS: list[dict[str, Any]] = [
    {"role": "user", "content": "Weather?"},
    {
        "role": "assistant",
        "content": "",
        "thinking": "Two cities.",
        "tool_calls": [
            {"function": {"name": "weather", "arguments": {"city": "Oslo"}}},
            {"function": {"name": "clock", "arguments": '{"tz":"CET"}'}},
            {"function": {"name": "weather", "arguments": {"city": "Rome"}}},
        ],
    },
    {"role": "tool", "content": "5 C", "tool_name": "weather"},
    {"role": "tool", "content": "15 C", "tool_name": "weather"},
    {"role": "tool", "content": "noon", "tool_name": "clock"},
]


def entry(kind: Kind, *, returns_reasoning: bool = False) -> ModelEntry:
    return ModelEntry(id="m", name="m", remote_id="m", connection="c", kind=kind, returns_reasoning=returns_reasoning)


def sent(body: dict[str, Any], kind: Kind, **more: Any) -> dict[str, Any]:
    return adapted(parse_chat(ASKED | body).payload, entry(kind, **more))


def test_results_carry_the_ids_of_their_calls() -> None:
    messages = sent({"messages": CALLS}, "openai")["messages"]
    ids = {call["function"]["arguments"]: call["id"] for call in messages[1]["tool_calls"]}
    assert len(set(ids.values())) == 3
    assert [m["tool_call_id"] for m in messages[2:]] == [
        ids['{"city":"Oslo"}'], ids['{"city":"Rome"}'], ids['{"tz":"CET"}'],
    ]  # fmt: skip
    again = sent({"messages": CALLS + CALLS[1:]}, "openai")["messages"]
    assert len({call["id"] for m in again for call in m.get("tool_calls", ())}) == 6
    assert [m["tool_call_id"] for m in again[6:]] != [m["tool_call_id"] for m in messages[2:]]


@pytest.mark.parametrize(
    ("result", "wanted"),
    [
        ({"tool_call_id": "b"}, "b"),
        ({"tool_call_id": "z", "tool_name": "clock"}, "b"),
        ({"name": "clock"}, "b"),
        ({}, "a"),
        ({"tool_name": "other"}, "a"),
        ({"tool_call_id": "z"}, "z"),
    ],
)
def test_a_result_finds_its_call(result: dict[str, Any], wanted: str) -> None:
    calls = [{"id": i, "function": {"name": name}} for i, name in (("a", "weather"), ("b", "clock"))]
    messages = [{"role": "assistant", "tool_calls": calls}, {"role": "tool", "content": "x", **result}]
    assert sent({"messages": messages}, "openai")["messages"][1]["tool_call_id"] == wanted


def test_thinking_goes_to_those_who_want_it() -> None:
    for kind, more, wants in (
        ("openai", {}, False),
        ("openai", {"returns_reasoning": True}, True),
        ("ollama", {}, True),
    ):
        message = sent({"messages": CALLS}, kind, **more)["messages"][1]  # type: ignore[arg-type]
        assert message.get("reasoning_content") == ("Two cities." if wants else None)
    to_ollama = chat_request(sent({"messages": CALLS}, "ollama"), "m")["messages"]
    assert to_ollama[1]["thinking"] == "Two cities."
    assert [m.get("tool_name") for m in to_ollama[2:]] == ["weather", "weather", "clock"]


OPTIONS = {
    "temperature": 0.5,
    "num_predict": 9,
    "num_ctx": 8192,
    "top_k": 20,
    "typical_p": 0.7,
    "unheard_of": 1,
    "seed": None,
}


def test_options_go_to_those_who_know_them() -> None:
    body = {"options": OPTIONS, "keep_alive": "5m", "think": "max", "format": "json", "truncate": False}
    openai = sent(body, "openai")
    assert {k: v for k, v in openai.items() if k not in {"model", "messages", "stream"}} == {
        "temperature": 0.5, "max_tokens": 9, "reasoning_effort": "high", "response_format": {"type": "json_object"},
    }  # fmt: skip
    ollama = chat_request(sent(body, "ollama"), "remote")
    assert ollama["options"] == {name: value for name, value in OPTIONS.items() if value is not None}
    assert (ollama["keep_alive"], ollama["think"], ollama["format"], ollama["truncate"]) == ("5m", "max", "json", False)
    local = sent(body, "local")
    assert (local["max_tokens"], local["top_k"], local["format"]) == (9, 20, "json")


@pytest.mark.parametrize("think", [True, False, "none", 7])
def test_a_switch_for_thinking_has_no_word_at_openai(think: Any) -> None:
    assert "reasoning_effort" not in sent({"think": think}, "openai")


@pytest.mark.parametrize(
    ("data", "kind"),
    [(b"\xff\xd8\xff\xe0" + bytes(60), "jpeg"), (b"\x89PNG\r\n\x1a\n" + bytes(60), "png"), (b"GIF89a" + bytes(60), "gif"),
     (b"RIFF\x24\x00\x00\x00WEBPVP8 " + bytes(60), "webp"), (b"what is it", "png")],
)  # fmt: skip
def test_a_picture_is_called_what_it_is(data: bytes, kind: str) -> None:
    image = base64.b64encode(data).decode()
    [message] = sent(
        {"messages": [{"role": "user", "content": "see", "images": [image, f"data:x,{image}"]}]}, "openai"
    )["messages"]
    assert [part["image_url"]["url"] for part in message["content"][1:]] == [
        f"data:image/{kind};base64,{image}",
        f"data:x,{image}",
    ]


def test_a_text_that_goes_on_is_passed_to_ollama_with_all_it_has() -> None:
    body = {
        "model": "m", "prompt": "def f(", "suffix": "return x", "raw": True, "template": "{{.Prompt}}", "context": [1],
        "images": ["AAAA"], "system": "S", "options": {"typical_p": 0.7}, "format": {"type": "object"}, "keep_alive": 0,
    }  # fmt: skip
    payload = adapted(parse_generate(body).payload, entry("ollama"))
    assert generate_request(payload, "remote") == {**body, "model": "remote", "stream": True}


def test_elsewhere_it_is_a_question() -> None:
    body = {"model": "m", "prompt": "Hi", "system": "S", "raw": True, "context": [1], "options": {"num_predict": 3}}
    for kind in ("openai", "local"):
        payload = adapted(parse_generate(body).payload, entry(kind))  # type: ignore[arg-type]
        assert payload == {
            "model": "m", "stream": True, "max_tokens": 3,
            "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Hi"}],
        }  # fmt: skip
        with pytest.raises(BadRequest, match="suffix"):
            adapted(parse_generate(body | {"suffix": "x"}).payload, entry(kind))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "body", [{"prompt": 7}, {"suffix": ["x"]}, {"system": {}, "prompt": "x", "options": 7}, {"options": "x"}]
)
def test_a_request_that_can_not_be_used_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        parse_generate({"model": "m", **body})


def test_what_says_nothing() -> None:
    assert says_nothing(parse_generate({"model": "m", "keep_alive": 0}))
    assert says_nothing(parse_chat({"model": "m", "messages": []}))
    assert not says_nothing(parse_generate({"model": "m", "images": ["AAAA"]}))
    assert not says_nothing(parse_chat(ASKED))


def lines_of(raw: list[dict[str, Any]], *, generate: bool) -> list[dict[str, Any]]:
    """What a client gets of what an Ollama server says."""
    decoder, lines = LineDecoder(), Lines("m", generate=generate)
    events = [e for line in raw for e in decoder.feed(msgspec.json.encode(line) + b"\n")]
    return [msgspec.json.decode(line) for line in (lines.feed(events) + lines.end()).splitlines()]


def test_ollamas_own_counts_and_durations_come_back() -> None:
    durations = {"total_duration": 5, "load_duration": 3, "prompt_eval_duration": 1, "eval_duration": 2}
    counts = {"prompt_eval_count": 11, "eval_count": 20, **durations}
    said = {"response": "x", "thinking": "hm", "logprobs": [{"token": "x", "logprob": -1}], "done": False}
    got = lines_of([said, {"response": "", "done": True, "context": [1, 2], **counts}], generate=True)
    assert [line.get("thinking") for line in got[:-1]] == ["hm", None]
    assert got[-2]["logprobs"] == said["logprobs"]
    assert got[-1] | counts == got[-1]
    assert got[-1]["context"] == [1, 2]


@pytest.mark.parametrize("reason", ["load", "unload"])
def test_a_model_that_is_loaded_or_let_go_says_so(reason: str) -> None:
    [line] = lines_of([{"response": "", "done": True, "done_reason": reason}], generate=True)
    assert (line["response"], line["done_reason"]) == ("", reason)
    [line] = lines_of(
        [{"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": reason}], generate=False
    )
    assert (line["message"]["content"], line["done_reason"]) == ("", reason)


@pytest.mark.parametrize(("given", "sent"), [(-1, None), (-2, None), (0, None), (5, 5), ("5", "5")])
def test_no_limit_is_no_limit_for_others(given: Any, sent: Any) -> None:
    asked = parse_chat(ASKED | {"options": {"num_predict": given}}).payload
    other = ModelEntry(id="m", name="m", remote_id="m", connection="openai:0", kind="openai")
    assert adapted(asked, other).get("max_tokens") == sent
