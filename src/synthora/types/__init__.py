"""The small types that everything else is made of."""

from synthora.types.enums import CallBackEvent, MessageRole, ModelBackendType, NodeType
from synthora.types.event import TraceEvent
from synthora.types.node import Node
from synthora.types.result import Err, Ok, Result

__all__ = [
    "CallBackEvent",
    "Err",
    "MessageRole",
    "ModelBackendType",
    "Node",
    "NodeType",
    "Ok",
    "Result",
    "TraceEvent",
]
