"""A conversation on a terminal, or on any two streams of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llamaforge.forge import LlamaForge


class ChatInterface:
    """A conversation with one model."""

    def __init__(self, forge: LlamaForge, model: str | None = None, system_prompt: str | None = None) -> None:
        self.forge = forge
        self.model = model
        self.system_prompt = system_prompt
