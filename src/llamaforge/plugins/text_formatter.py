"""A prompt trimmed, put into a template and wrapped as a chat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from llamaforge.exceptions import ParameterError
from llamaforge.parameters import Parameter
from llamaforge.plugins.base import PreprocessingPlugin


class TextFormatter(PreprocessingPlugin):
    """Trims, fills the template, wraps as a chat and adds the system text, in this order.

    Settings: trim_whitespace (True), template (text with `{text}`), format_as_chat (False), chat_format ("llama2",
    "chatml" or "alpaca"), add_system_instruction (False), system_instruction.
    Beginning-of-text tokens are left to the engine, which adds its model's own.
    """

    name = "text_formatter"
    description = "Trims a prompt, puts it into a template and wraps it in a chat format."
    settings: ClassVar[tuple[Parameter, ...] | None] = (
        Parameter("trim_whitespace", "bool"),
        Parameter("template", "text"),
        Parameter("format_as_chat", "bool"),
        Parameter("chat_format", "text"),
        Parameter("add_system_instruction", "bool"),
        Parameter("system_instruction", "text"),
    )
    defaults: ClassVar[Mapping[str, Any]] = {
        "trim_whitespace": True,
        "template": None,
        "format_as_chat": False,
        "chat_format": "llama2",
        "add_system_instruction": False,
        "system_instruction": "You are a helpful assistant.",
    }

    def configure(self, config: Mapping[str, Any]) -> None:
        """Raises ParameterError, also for a template without `{text}` and a chat format that is not known."""
        before = self.config
        super().configure(config)
        template, chat_format = self.config["template"], self.config["chat_format"]
        mistake = None
        if template is not None and "{text}" not in template:
            mistake = "'template' must contain {text}, where the prompt goes."
        elif chat_format not in _CHAT_FORMATS:
            mistake = f"'chat_format' must be one of {', '.join(_CHAT_FORMATS)}, not '{chat_format}'."
        if mistake:
            self.config = before
            raise ParameterError(mistake)

    def process(self, text: str) -> str:
        """`text` as the settings say."""
        config = self.config
        if config["trim_whitespace"]:
            text = text.strip()
        if config["template"] is not None:
            text = config["template"].replace("{text}", text)
        system = config["system_instruction"] if config["add_system_instruction"] else ""
        if config["format_as_chat"]:
            return _CHAT_FORMATS[config["chat_format"]](text, system)
        return f"{system}\n\n{text}" if system else text


def _llama2(text: str, system: str) -> str:
    inside = f"<<SYS>>\n{system}\n<</SYS>>\n\n{text}" if system else text
    return f"[INST] {inside} [/INST]"


def _chatml(text: str, system: str) -> str:
    turns = [("system", system)] if system else []
    turns.append(("user", text))
    blocks = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns)
    return f"{blocks}<|im_start|>assistant\n"


def _alpaca(text: str, system: str) -> str:
    head = f"{system}\n\n" if system else ""
    return f"{head}### Instruction:\n{text}\n\n### Response:\n"


_CHAT_FORMATS = {"llama2": _llama2, "chatml": _chatml, "alpaca": _alpaca}
