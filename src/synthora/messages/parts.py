"""The parts of a message: tool calls and usage, with the attributes that the openai SDK's own have."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from synthora.exceptions import MessageError


class FunctionCall(BaseModel):
    """arguments: JSON as the model wrote it; it may be anything, so check it before you use it."""

    name: str = ""
    arguments: str = ""

    @field_validator("name", "arguments", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        """Providers send null for what they leave out, and some send the arguments decoded."""
        if value is None:
            return ""
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")) if isinstance(value, dict) else value


class ToolCall(BaseModel):
    """A call that the model asks for. index: its place in a stream, where it came in one."""

    model_config = ConfigDict(from_attributes=True, extra="allow")

    id: str = ""
    type: str = "function"
    function: FunctionCall = Field(default_factory=FunctionCall)
    index: int | None = Field(default=None, exclude=True)

    @field_validator("id", "type", "function", mode="before")
    @classmethod
    def _absent(cls, value: Any, info: Any) -> Any:
        """Providers send null for what they leave out."""
        return cls.model_fields[info.field_name].get_default(call_default_factory=True) if value is None else value

    def to_openai(self) -> dict[str, Any]:
        """As it stands in a request."""
        call = self.model_dump()
        if self.type != "function":
            del call["function"]
        return call


class TokenDetails(BaseModel):
    """What a count is made of, where the provider tells."""

    model_config = ConfigDict(extra="allow")

    cached_tokens: int = 0
    reasoning_tokens: int = 0

    @field_validator("*", mode="before")
    @classmethod
    def _absent(cls, value: Any) -> Any:
        return 0 if value is None else value


class Usage(BaseModel):
    """Tokens of a request and its answer. What a provider says besides is kept."""

    model_config = ConfigDict(extra="allow")

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_tokens_details: TokenDetails | None = None
    completion_tokens_details: TokenDetails | None = None

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        counts = {name: value for name, value in given.items() if value is not None}
        counts.setdefault("total_tokens", counts.get("prompt_tokens", 0) + counts.get("completion_tokens", 0))
        return counts

    @property
    def cached_tokens(self) -> int:
        """Of the prompt's tokens, those that the provider had cached."""
        return 0 if self.prompt_tokens_details is None else self.prompt_tokens_details.cached_tokens

    @classmethod
    def of(cls, given: Any) -> Usage | None:
        """Usage from a dictionary or the SDK's object, None for nothing or for what can't be read."""
        if given is None or isinstance(given, cls):
            return given
        try:
            return cls.model_validate(given if isinstance(given, dict) else given.model_dump(warnings=False))
        except (ValidationError, TypeError, AttributeError):
            return None


def as_tool_call(given: Any) -> ToolCall:
    """A tool call from a dictionary or the SDK's object. Raises MessageError."""
    if isinstance(given, ToolCall):
        return given
    try:
        return ToolCall.model_validate(given if isinstance(given, dict) else given.model_dump(warnings=False))
    except (ValidationError, AttributeError) as error:
        raise MessageError(
            f"{given!r} is no tool call: it needs an id and a function with name and arguments."
        ) from error
