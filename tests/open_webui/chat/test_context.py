"""The stages between stored messages and a provider's request."""

from typing import Any

import pytest

from open_webui.chat.context import prepare
from open_webui.chat.context.history import provider_message
from open_webui.chat.turn import Turn
from open_webui.connections.base import Entry, Target
from tests.open_webui.chat.conftest import Mute, make_turn

ASKED = {"role": "user", "content": "Hi"}


def sent(**changes: Any) -> list[dict[str, Any]]:
    return list(prepare(make_turn(**changes)).messages)


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
    assert provider_message(raw) == message


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
    message = provider_message(ASKED | {"files": files})
    assert message is not None
    assert message["content"] == [
        {"type": "text", "text": "Hi"},
        {"type": "image_url", "image_url": {"url": picture}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]
    assert provider_message(ASKED | {"files": "x"}) == ASKED


def test_system_prompts_are_one_message_with_their_variables() -> None:
    messages = sent(
        history=(ASKED,),
        system=("I am {{USER_NAME}}'s.", " ", "Of {{FOLDER}}."),
        variables={"{{USER_NAME}}": "{{FOLDER}}"},
    )
    assert messages == [{"role": "system", "content": "I am {{FOLDER}}'s.\n\nOf {{FOLDER}}."}, ASKED]


def test_the_conversations_own_system_message_is_joined() -> None:
    own = {"role": "system", "content": "Own."}
    assert sent(history=(own, ASKED), system=("First.",)) == [{"role": "system", "content": "First.\n\nOwn."}, ASKED]
    assert sent(history=(own, ASKED)) == [own, ASKED]


def test_a_window_begins_with_a_question() -> None:
    old = {"role": "assistant", "content": "lost its question"}
    system = {"role": "system", "content": "S"}
    assert sent(history=(old, ASKED), truncated=True) == [ASKED]
    assert sent(history=(old, ASKED), truncated=True, system=("S",)) == [system, ASKED]
    assert sent(history=(old, ASKED)) == [old, ASKED]
    assert sent(history=(old,), truncated=True) == [old]


def test_fields_later_layers_win() -> None:
    entry = Entry(id="m", name="M", remote_id="m", connection="mute", kind="openai")
    target = Target(model_id="m", entry=entry, connection=Mute(), params={"temperature": 1, "seed": 1})  # type: ignore[arg-type]
    turn: Turn = make_turn(
        target=target, params={"temperature": 2, "top_p": 1}, fields={"top_p": 0.5, "logit_bias": {}}
    )
    assert prepare(turn).fields == {"temperature": 2, "seed": 1, "top_p": 0.5, "logit_bias": {}}
