"""TraceEvent: one thing that happened in a run, to be stored or shown."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import BaseModel, Field

from synthora.types.enums import CallBackEvent
from synthora.types.node import Node


class TraceEvent(BaseModel):
    """timestamp: seconds since 1970. stack: the nodes from the root down to the caller of `current`."""

    id: uuid.UUID = Field(default_factory=uuid.uuid4)
    timestamp: float = Field(default_factory=time.time)
    event_type: CallBackEvent
    event_name: str | None = None
    data: Any = None
    stack: list[Node] = Field(default_factory=list)
    current: Node
    metadata: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def create(
        cls,
        type: CallBackEvent,  # noqa: A002 -- its published name
        data: Any,
        stack: Sequence[Node],
        current: Node,
        metadata: Mapping[str, Any] | None = None,
    ) -> Self:
        """An event of now."""
        return cls(
            event_type=type,
            event_name=type.value,
            data=data,
            stack=list(stack),
            current=current,
            metadata=dict(metadata or {}),
        )

    def to_dict(self) -> dict[str, Any]:
        """The event as plain values, its id as text."""
        return self.model_dump() | {"id": str(self.id)}
