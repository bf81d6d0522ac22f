"""The stages between stored messages and a provider's request."""

from typing import Any

import pytest

from open_webui.chat.context import prepare
from open_webui.chat.context.history import NOT_CARRIED_OUT, history, provider_messages
from open_webui.chat.turn import Draft, Turn
from open_webui.connections.base import ModelEntry, Target
from tests.open_webui.chat.conftest import Mute, Noted, make_turn

ASKED = {"role": "user", "content": "Hi"}


async def sent(**changes: Any) -> list[dict[str, Any]]:
    return list((await prepare(make_turn(**changes), Noted())).messages)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (ASKED | {"id": "q", "timestamp": 1, "models": ["m"]}, ASKED),
        ({"role": "assistant", "content": "Yes", "output": []}, {"role": "assistant", "content": "Yes"}),
        ({"role": "assistant", "content": ""}, None),
        ({"role": "assistant"}, None),
        (
            {"role": "assistant", "output": [{"type": "reasoning", "content": [{"text": "hm"}]}, 7,
             {"type": "message", "content": [{"text": "Ye"}, {"text": "s"}, {"text": 3}, "x"]}, {"type": "message"}]},
            {"role": "assistant", "content": "Yes"},
        ),
        ({"role": "system", "content": "S"}, {"role": "system", "content": "S"}),
        ({"role": "tool", "content": "4", "tool_call_id": "c", "name": 7}, {"role": "tool", "content": "4", "tool_call_id": "c"}),
        ({"role": "user"}, {"role": "user", "content": ""}),
        ({"role": "villain", "content": "x"}, None),
        ({"role": ["user"], "content": "x"}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_messages_for_a_provider(raw: dict[str, Any], message: dict[str, Any] | None) -> None:
    assert provider_messages(raw) == ([] if message is None else [message])


def test_pictures_become_parts_and_other_addresses_do_not() -> None:
    picture = "data:image/png;base64,AAAA"
    files = [
        {"type": "image", "url": picture},
        {"type": "file", "content_type": "image/png", "url": "https://example.com/a.png"},
        {"type": "image", "url": "file:///etc/passwd"},
        {"type": "image", "url": "some-file-id"},
        {"type": "image"},
        {"type": "file", "content_type": 7, "url": picture},
        "nonsense",
    ]
    (message,) = provider_messages(ASKED | {"files": files})
    assert message["content"] == [
        {"type": "text", "text": "Hi"},
        {"type": "image_url", "image_url": {"url": picture}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]
    assert provider_messages(ASKED | {"files": "x"}) == [ASKED]


async def test_questions_without_an_answer_between_them_are_one_message() -> None:
    failed = {"role": "assistant", "content": "", "error": {"content": "overloaded"}}
    picture = {"role": "user", "content": "this", "files": [{"type": "image", "url": "data:image/png;base64,AAAA"}]}
    [message] = await sent(history=(ASKED, failed, {"role": "user", "content": "Hello?"}))
    assert message == {"role": "user", "content": "Hi\n\nHello?"}
    turn = make_turn(history=(ASKED, failed, picture, failed, {"role": "user", "content": ""}))
    [message] = (await history(turn, Draft(), Noted())).messages
    assert [part["type"] for part in message["content"]] == ["text", "text", "image_url"]
    answered = {"role": "assistant", "content": "Yes"}
    roles = [m["role"] for m in await sent(history=(ASKED, answered, ASKED))]
    assert roles == ["user", "assistant", "user"]


async def test_system_prompts_are_one_message_with_their_variables() -> None:
    messages = await sent(
        history=(ASKED,),
        folder_prompt="I am {{USER_NAME}}'s.",
        params={"system": "Of {{FOLDER}}."},
        variables={"{{USER_NAME}}": "{{FOLDER}}"},
    )
    assert messages == [{"role": "system", "content": "I am {{FOLDER}}'s.\n\nOf {{FOLDER}}."}, ASKED]


async def test_the_conversations_own_system_message_is_joined() -> None:
    own = {"role": "system", "content": "Own."}
    assert await sent(history=(own, ASKED), folder_prompt="First.") == [
        {"role": "system", "content": "First.\n\nOwn."},
        ASKED,
    ]
    assert await sent(history=(own, ASKED)) == [own, ASKED]


async def test_a_window_begins_with_a_question() -> None:
    old = {"role": "assistant", "content": "lost its question"}
    system = {"role": "system", "content": "S"}
    assert await sent(history=(old, ASKED), truncated=True) == [ASKED]
    assert await sent(history=(old, ASKED), truncated=True, folder_prompt="S") == [system, ASKED]
    assert await sent(history=(old, ASKED)) == [old, ASKED]
    assert await sent(history=(old,), truncated=True) == [old]


async def test_fields_later_layers_win() -> None:
    entry = ModelEntry(id="m", name="M", remote_id="m", connection="mute", kind="openai")
    target = Target(model_id="m", entry=entry, connection=Mute(), params={"temperature": 1, "seed": 1})  # type: ignore[arg-type]
    turn: Turn = make_turn(
        target=target, params={"temperature": 2, "top_p": 1}, fields={"top_p": 0.5, "logit_bias": {}}
    )
    assert (await prepare(turn, Noted())).fields == {"temperature": 2, "seed": 1, "top_p": 0.5, "logit_bias": {}}


def item(kind: str, text: str = "", **more: Any) -> dict[str, Any]:
    return {"type": kind, "content": [{"type": "output_text", "text": text}]} | more


def called(call_id: str, name: str, arguments: str = "{}") -> dict[str, Any]:
    return {"type": "function_call", "id": call_id, "call_id": call_id, "name": name, "arguments": arguments}


def resulted(call_id: str, text: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": [{"type": "input_text", "text": text}]}


def tool_call(call_id: str, name: str, arguments: str = "{}") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


class TestToolCallsInTheHistory:
    OUTPUT = (
        item("reasoning", "I need both."), item("message", "Looking. "),
        called("c1", "weather", '{"city":"Rome"}'), called("c2", "time"),
        resulted("c2", "noon"), resulted("c1", "sunny"),
        item("reasoning", "Good."), item("message", "Sunny at noon."),
    )  # fmt: skip

    def messages(self, *output: Any, content: str | None = None, reasoning: bool = False) -> list[dict[str, Any]]:
        said = "".join(p["text"] for i in output if i.get("type") == "message" for p in i["content"])
        raw = {"role": "assistant", "content": said if content is None else content, "output": list(output)}
        return provider_messages(raw, reasoning=reasoning)

    def test_calls_and_their_results_go_back_in_the_order_of_the_calls(self) -> None:
        assert self.messages(*self.OUTPUT) == [
            {"role": "assistant", "content": "Looking. ",
             "tool_calls": [tool_call("c1", "weather", '{"city":"Rome"}'), tool_call("c2", "time")]},
            {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
            {"role": "tool", "tool_call_id": "c2", "content": "noon"},
            {"role": "assistant", "content": "Sunny at noon."},
        ]  # fmt: skip

    def test_thinking_goes_back_where_the_provider_wants_it(self) -> None:
        messages = self.messages(*self.OUTPUT, reasoning=True)
        assert [m.get("reasoning_content") for m in messages] == ["I need both.", None, None, "Good."]

    def test_a_call_without_a_result_gets_one(self) -> None:
        assert self.messages(called("c1", "weather"), called("c2", "time"), resulted("c2", "noon"))[1:] == [
            {"role": "tool", "tool_call_id": "c1", "content": NOT_CARRIED_OUT},
            {"role": "tool", "tool_call_id": "c2", "content": "noon"},
        ]

    def test_several_rounds_stay_several(self) -> None:
        messages = self.messages(called("a", "x"), resulted("a", "1"), called("a", "x"), resulted("a", "2"))
        assert [m["role"] for m in messages] == ["assistant", "tool", "assistant", "tool"]
        assert [m["content"] for m in messages] == ["", "1", "", "2"]

    def test_a_text_that_a_person_changed_counts(self) -> None:
        assert self.messages(*self.OUTPUT, content="Rain.")[-1] == {"role": "assistant", "content": "Rain."}
        assert self.messages(*self.OUTPUT, content="Rain.")[0]["content"] == ""
        assert self.messages(item("message", "Yes"), content="No") == [{"role": "assistant", "content": "No"}]

    @pytest.mark.parametrize(
        "broken",
        [{"type": "function_call"}, called("", "x"), {"type": "function_call", "call_id": 7, "name": "x"}, resulted("c9", "?"),
         {"type": ["function_call"]}, {"type": "function_call_output", "call_id": ["c1"], "output": 7}, {}, {"type": "other"}],
    )  # fmt: skip
    def test_what_a_store_broke_is_left_out(self, broken: dict[str, Any]) -> None:
        assert self.messages(broken, item("message", "Yes")) == [{"role": "assistant", "content": "Yes"}]

    def test_arguments_that_are_none_become_an_empty_object(self) -> None:
        for arguments in ("", "  ", None, 7):
            (message, _) = self.messages(called("c", "x") | {"arguments": arguments})
            assert message["tool_calls"] == [tool_call("c", "x")]

    async def test_the_connection_decides_about_thinking(self) -> None:
        entry = ModelEntry(id="m", name="M", remote_id="m", connection="mute", kind="openai", returns_reasoning=True)
        target = Target(model_id="m", entry=entry, connection=Mute())  # type: ignore[arg-type]
        raw = {"role": "assistant", "content": "Yes", "output": [item("reasoning", "hm"), item("message", "Yes")]}
        assert (await sent(history=(raw,), target=target))[0]["reasoning_content"] == "hm"
        assert "reasoning_content" not in (await sent(history=(raw,)))[0]
