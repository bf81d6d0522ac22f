"""The small types that everything else is made of."""

from synthora.types.enums import (
    AgentType,
    AutomationBlockType,
    CallBackEvent,
    MessageRole,
    ModelBackendType,
    NodeType,
    TaskState,
    TriggerRuntime,
)
from synthora.types.event import TraceEvent
from synthora.types.node import Node
from synthora.types.result import Err, Ok, Result

__all__ = [
    "AgentType",
    "AutomationBlockType",
    "CallBackEvent",
    "Err",
    "MessageRole",
    "ModelBackendType",
    "Node",
    "NodeType",
    "Ok",
    "Result",
    "TaskState",
    "TraceEvent",
    "TriggerRuntime",
]
