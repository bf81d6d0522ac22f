"""Messages: constructors, OpenAI's wire in both directions, images, and what is none."""

import base64
import json
import subprocess
import sys

import pytest
from pydantic import ValidationError

from synthora.exceptions import ImageError, MessageError
from synthora.messages import BaseMessage, assistant, parse_image, system, tool_response, user
from synthora.types import Err, MessageRole, Node, NodeType, Ok

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PNG_URI = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}


def test_the_constructors():
    for message, role, author, kind in (
        (user("hi"), MessageRole.USER, "user", NodeType.USER),
        (system("hi"), MessageRole.SYSTEM, "system", NodeType.SYSTEM),
        (assistant("hi"), MessageRole.ASSISTANT, "assistant", NodeType.AGENT),
        (assistant("hi", name="Ada"), MessageRole.ASSISTANT, "Ada", NodeType.AGENT),
        (tool_response("hi", "call_1", name="add"), MessageRole.TOOL_RESPONSE, "add", NodeType.TOOL),
    ):
        assert (message.role, message.content, message.source) == (role, "hi", Node(name=author, type=kind))


def test_to_the_wire():
    assert user("hi").to_openai_message() == {"role": "user", "content": "hi", "name": "user"}
    assert assistant("hi", name="my | agent").to_openai_message()["name"] == "my___agent"
    assert assistant(tool_calls=[CALL]).to_openai_message() == {
        "role": "assistant",
        "content": None,
        "name": "assistant",
        "tool_calls": [CALL],
    }
    told = tool_response({"sum": 3}, "call_1").to_openai_message()
    assert told == {"role": "tool", "content": '{"sum": 3}', "tool_call_id": "call_1"}


@pytest.mark.parametrize(
    ("value", "text"), [("3", "3"), (3, "3"), (Ok([1]), "[1]"), (Err(KeyError("x"), "no x"), "no x"), (None, "None")]
)
def test_what_a_tool_returned_becomes_text(value, text):
    message = tool_response(value, "call_1")
    assert message.content == text
    assert message.tool_response is value


@pytest.mark.parametrize(
    "message",
    [
        user("hi"),
        user("look", images=[PNG_URI, "https://example.com/a.png"]),
        user(images=[PNG_URI]),
        system("be brief"),
        assistant("yes", name="Ada"),
        assistant(tool_calls=[CALL]),
        tool_response("3", "call_1"),
    ],
)
def test_there_and_back(message):
    wire = message.to_openai_message()
    assert json.loads(json.dumps(wire)) == wire
    back = BaseMessage.from_openai_message(wire)
    assert back.to_openai_message() == wire
    assert (back.role, back.content, back.images, back.id) == (
        message.role,
        message.content,
        message.images,
        message.id,
    )


def test_images():
    wire = user("look", images=["https://example.com/a.png"]).to_openai_message()
    assert wire["content"] == [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "auto"}},
    ]


def test_an_image_in_a_file(tmp_path):
    (tmp_path / "a.bin").write_bytes(PNG)  # its name does not count
    assert parse_image(tmp_path / "a.bin") == PNG_URI
    assert user("look", images=[str(tmp_path / "a.bin")]).images == [PNG_URI]


def test_images_that_are_none(tmp_path):
    (tmp_path / "a.png").write_text("no image")
    (tmp_path / "empty.png").write_bytes(b"")
    for bad in (
        tmp_path / "a.png",
        tmp_path / "empty.png",
        tmp_path,
        "https:///a.png",
        "data:text/plain;base64,aGk=",
        "data:image/png;base64,aGkgdGhlcmU=",
        "data:image/png;base64,!!!",
        "data:image/png",
    ):
        with pytest.raises(ImageError):
            user("look", images=[bad])
    with pytest.raises(FileNotFoundError, match="no image at"):
        user("look", images=["/no/such/file.png"])
    with pytest.raises(MessageError, match="list"):
        user("look", images=PNG_URI)


def test_mistakes_are_told():
    for make, words in (
        (lambda: BaseMessage.create_message("robot", content="hi"), "'robot' is no role"),
        (lambda: BaseMessage.create_message(MessageRole.USER), "needs a content"),
        (user, "needs a content"),
        (lambda: user(3), "must be text, not int"),
        (lambda: tool_response("3", ""), "needs the id"),
        (lambda: tool_response("3", None), "needs the id"),
        (lambda: BaseMessage.create_message(MessageRole.TOOL_RESPONSE, content="3"), "needs the id"),
        (lambda: BaseMessage.create_message(MessageRole.SYSTEM, content="x", images=[PNG_URI]), "can't have images"),
        (lambda: assistant(tool_calls=["add"]), "is no tool call"),
        (lambda: BaseMessage.from_openai_message({"role": "robot", "content": "x"}), "no role of a chat"),
        (lambda: BaseMessage.from_openai_message({"role": "user", "content": [{"type": "smell"}]}), "'smell'"),
        (lambda: BaseMessage.from_openai_message({"role": "tool", "content": "x"}), "needs the id"),
    ):
        with pytest.raises(MessageError, match=words):
            make()
    for fields in ({"role": "robot", "content": "x"}, {"content": "x"}, {"role": "user"}):
        with pytest.raises(ValidationError):
            BaseMessage(**fields)


def test_roles_have_what_they_may():
    message = BaseMessage.create_message("user", id="x", content=assistant("hi"), tool_calls=[CALL])
    assert (message.id, message.tool_calls, message.content) == (None, None, "hi")
    # As the published examples write it, without a source.
    assert BaseMessage(role=MessageRole.SYSTEM, content="x").source.name == "system"
    assert BaseMessage(role="assistant", content="").content == ""
    assert BaseMessage(role="assistant", tool_calls=[]).has_tool_calls is False


def test_messages_share_nothing():
    first, second = user("a"), user("b")
    first.metadata["x"] = 1
    first.source.name = "changed"
    assert second.metadata == {}
    assert user("c").source.name == second.source.name == "user"


def test_the_published_name_of_the_response():
    message = BaseMessage(role="assistant", content="x", origional_response={"id": 1})
    assert message.original_response == message.origional_response == {"id": 1}
    assert "original_response" not in message.model_dump()


def test_importing_costs_little():
    code = (
        "import time; t = time.process_time(); import synthora; print(time.process_time() - t);"
        "import synthora.models, synthora.callbacks, synthora.messages, synthora.configs, sys;"
        "print(sorted({'openai', 'httpx2', 'rich', 'yaml', 'opentelemetry', 'aiohttp', 'fastapi'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split("\n")
    assert float(told[0]) < 0.15
    assert told[1] == "[]"
