"""Node: a place in the tree of who called whom."""

from __future__ import annotations

from pydantic import BaseModel

from synthora.types.enums import NodeType


class Node(BaseModel):
    """An agent, model, tool, user or system by its name, and the node that called it."""

    name: str
    type: NodeType
    ancestor: Node | None = None
