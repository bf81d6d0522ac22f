"""The small types: names, results, nodes and events."""

import pytest

from synthora import types
from synthora.types import CallBackEvent, Err, Node, NodeType, Ok, Result, TraceEvent

NAMES = {
    "NodeType": "agent model tool user system",
    "MessageRole": "user assistant system tool_response",
    "ModelBackendType": "openai_chat openai_completion azure_chat azure_completion anthropic gemini llamaforge scripted",
    "AgentType": "vanilla react rewoo cot tot reflection",
    "TaskState": "pending running completed failure skipped",
    "TriggerRuntime": "sync async",
    "AutomationBlockType": "code input condition loop",
}


@pytest.mark.parametrize("name", NAMES)
def test_names(name):
    members = getattr(types, name)
    assert [member.value for member in members] == NAMES[name].split()
    assert [member.name for member in members] == NAMES[name].upper().split()
    assert all(member == member.value for member in members)


def test_results():
    error = KeyError("x")
    good, bad = Ok(1), Err(error, "no x")
    assert isinstance(good, Result)
    assert (good.is_ok, good.is_err, bad.is_ok, bad.is_err) == (True, False, False, True)
    assert good.unwrap() == 1
    assert (bad.unwrap_err(), bad.unwrap_err_val()) == (error, "no x")
    for wrong in (good.unwrap_err, good.unwrap_err_val, bad.unwrap):
        with pytest.raises(RuntimeError):
            wrong()


def test_events():
    agent = Node(name="a", type=NodeType.AGENT)
    tool = Node(name="t", type="tool", ancestor=agent)
    event = TraceEvent.create(CallBackEvent.TOOL_END, {"x": 1}, [agent], tool, {"y": 2})
    told = event.to_dict()
    assert told["id"] == str(event.id)
    assert (told["event_type"], told["event_name"]) == ("on_tool_end", "on_tool_end")
    assert told["current"]["ancestor"]["name"] == "a"
    assert event.timestamp > 1_700_000_000
