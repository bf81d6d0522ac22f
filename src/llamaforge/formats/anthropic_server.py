"""Anthropic's Messages API as a server speaks it: its requests in OpenAI's shape, and events as its answers."""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from llamaforge.events.anthropic import ERROR_STATUSES, FINISH_REASONS
from llamaforge.events.parts import Part
from llamaforge.events.types import Done
from llamaforge.exceptions import ParameterError
from llamaforge.formats import rendering
from llamaforge.formats.completions import new_id
from llamaforge.formats.fields import Json, arguments_object
from llamaforge.formats.rendering import encode, sse


class _Base64(msgspec.Struct, tag_field="type", tag="base64"):
    data: str
    media_type: str


class _Plain(msgspec.Struct, tag_field="type", tag="text"):
    data: str


class _Url(msgspec.Struct, tag_field="type", tag="url"):
    url: str


class _Text(msgspec.Struct, tag_field="type", tag="text"):
    text: str


class _Image(msgspec.Struct, tag_field="type", tag="image"):
    source: _Base64 | _Url


class _Document(msgspec.Struct, tag_field="type", tag="document"):
    source: _Plain | _Base64 | _Url
    title: str | None = None


class _Thinking(msgspec.Struct, tag_field="type", tag="thinking"):
    thinking: str
    signature: str | None = None


class _RedactedThinking(msgspec.Struct, tag_field="type", tag="redacted_thinking"):
    data: str


class _ToolUse(msgspec.Struct, tag_field="type", tag="tool_use"):
    id: str
    name: str
    input: dict[str, Any]


class _ToolResult(msgspec.Struct, tag_field="type", tag="tool_result"):
    tool_use_id: str
    content: str | list[_Text | _Image | _Document] | None = None
    is_error: bool = False


_Asked = _Text | _Image | _Document
_Block = _Asked | _Thinking | _RedactedThinking | _ToolUse | _ToolResult


class _Message(msgspec.Struct):
    role: Literal["user", "assistant", "system"]
    content: str | list[_Block]


class _Tool(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1)]
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None


class _ToolChoice(msgspec.Struct):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool = False


class _Thought(msgspec.Struct):
    type: Literal["enabled", "disabled", "adaptive", "between_tools"]


class _Format(msgspec.Struct):
    type: Literal["json_schema"]
    schema: dict[str, Any]


class _OutputConfig(msgspec.Struct):
    effort: str | None = None
    format: _Format | None = None


class _Metadata(msgspec.Struct):
    user_id: str | None = None


class _Counted(msgspec.Struct):
    """What a request for a count of tokens and one for a message have in common."""

    model: str
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1, max_length=100_000)]
    system: str | list[_Text] | None = None
    tools: list[_Tool] | None = None
    tool_choice: _ToolChoice | None = None
    thinking: _Thought | None = None
    output_config: _OutputConfig | None = None
    mcp_servers: list[Any] | None = None


class _Request(_Counted, kw_only=True):
    max_tokens: Annotated[int, msgspec.Meta(ge=1)]
    metadata: _Metadata | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None


def decode_request(body: bytes | Mapping[str, Any], *, only_counted: bool = False) -> Json:
    """A request of `POST /v1/messages` as a chat request in OpenAI's shape.

    only_counted: it is one of `/v1/messages/count_tokens`, which has no limit. Pictures become data: URLs; fields that are
    not known, such as `cache_control`, say nothing here and are passed over. Raises ParameterError, which names the field,
    for what has another form and for what only Anthropic can do: its own tools, MCP servers, files and addresses.
    """
    kind: type[_Counted] = _Counted if only_counted else _Request
    try:
        given = msgspec.json.decode(body, type=kind) if isinstance(body, bytes) else msgspec.convert(body, kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ParameterError(f"The request can't be used: {error}") from None
    if given.mcp_servers:
        raise ParameterError("'mcp_servers' are not supported here.")
    messages: list[Json] = []
    if system := _joined(given.system):
        messages.append({"role": "system", "content": system})
    for message in given.messages:
        messages += _messages(message)
    out: Json = {"model": given.model, "messages": messages}
    if given.tools:
        out["tools"] = [_function(tool) for tool in given.tools]
        out |= _tool_choice(given.tool_choice)
    config = given.output_config
    if config is not None and config.format is not None:
        named = {"name": "answer", "schema": config.format.schema}
        out["response_format"] = {"type": "json_schema", "json_schema": named}
    is_silent = given.thinking is not None and given.thinking.type == "disabled"
    if effort := "none" if is_silent else config.effort if config is not None else None:
        out["reasoning_effort"] = effort
    if isinstance(given, _Request):
        out |= _limits(given)
    return out


def _limits(given: _Request) -> Json:
    out: Json = {"max_tokens": given.max_tokens}
    for name in ("temperature", "top_p", "top_k"):
        if (value := getattr(given, name)) is not None:
            out[name] = value
    if given.stop_sequences:
        out["stop"] = given.stop_sequences
    if given.metadata is not None and given.metadata.user_id:
        out["user"] = given.metadata.user_id
    if given.stream:
        out |= {"stream": True, "stream_options": {"include_usage": True}}
    return out


def _messages(message: _Message) -> Iterator[Json]:
    """A message as those that OpenAI's shape needs: each result of a tool is a message of its own, before what was said."""
    if isinstance(message.content, str):
        yield {"role": message.role, "content": message.content}
    elif message.role == "assistant":
        yield _assistant(message.content)
    elif message.role == "system":
        yield {"role": "system", "content": _joined(_said(message.content, "system"))}
    else:
        said: list[Json] = []
        for block in message.content:
            if isinstance(block, _ToolResult):
                parts = list(_parts([_Text(block.content)] if isinstance(block.content, str) else block.content or []))
                text = "\n".join(part["text"] for part in parts if part["type"] == "text")
                said += (part for part in parts if part["type"] != "text")
                text = f"Error: {text}" if block.is_error else text
                yield {"role": "tool", "tool_call_id": block.tool_use_id, "content": text}
            elif isinstance(block, _Asked):
                said += _parts([block])
            else:
                raise _misplaced(block, "user")
        if said:
            yield {"role": "user", "content": _plain(said)}


def _assistant(blocks: list[_Block]) -> Json:
    texts: list[_Text] = []
    thoughts: list[_Thinking | _RedactedThinking] = []
    calls: list[Json] = []
    for block in blocks:
        if isinstance(block, _Text):
            texts.append(block)
        elif isinstance(block, _Thinking | _RedactedThinking):
            thoughts.append(block)
        elif isinstance(block, _ToolUse):
            arguments = msgspec.json.encode(block.input).decode()
            function = {"name": block.name, "arguments": arguments}
            calls.append({"id": block.id, "type": "function", "function": function})
        else:
            raise _misplaced(block, "assistant")
    out: Json = {"role": "assistant", "content": "".join(text.text for text in texts) or (None if calls else "")}
    if thought := "".join(block.thinking for block in thoughts if isinstance(block, _Thinking)):
        out["reasoning_content"] = thought
    if calls:
        out["tool_calls"] = calls
    return out


def _said(blocks: Iterable[_Block], role: str) -> list[_Text]:
    texts = []
    for block in blocks:
        if not isinstance(block, _Text):
            raise _misplaced(block, role)
        texts.append(block)
    return texts


def _misplaced(block: _Block, role: str) -> ParameterError:
    return ParameterError(
        f"A message with the role '{role}' can't have a block of the type '{block.__struct_config__.tag}'."
    )


def _joined(texts: str | list[_Text] | None) -> str:
    return texts if isinstance(texts, str) else "\n\n".join(block.text for block in texts or ())


def _plain(parts: list[Json]) -> str | list[Json]:
    """Parts as one text where they are no more than that, which every model can read."""
    return parts if any(part["type"] != "text" for part in parts) else "\n\n".join(part["text"] for part in parts)


def _parts(blocks: Iterable[_Asked]) -> Iterator[Json]:
    for block in blocks:
        if isinstance(block, _Text):
            yield {"type": "text", "text": block.text}
        elif isinstance(block, _Image):
            yield {"type": "image_url", "image_url": {"url": _data_url(block.source)}}
        elif isinstance(block.source, _Plain):
            yield {"type": "text", "text": f"{block.title}\n{block.source.data}" if block.title else block.source.data}
        else:
            raise ParameterError(
                "A document must be given as text: this server reads no files and fetches no addresses."
            )


def _data_url(source: _Base64 | _Url) -> str:
    if isinstance(source, _Url):
        raise ParameterError("An image must be given in base64: this server fetches no addresses.")
    if not source.media_type.startswith("image/"):
        raise ParameterError("The 'media_type' of an image must begin with 'image/'.")
    try:
        binascii.a2b_base64(source.data, strict_mode=True)
    except ValueError:
        raise ParameterError("The 'data' of an image must be in base64.") from None
    return f"data:{source.media_type};base64,{source.data}"


def _function(tool: _Tool) -> Json:
    if tool.type not in {None, "custom"}:
        raise ParameterError(
            f"The tool '{tool.name}' of the type '{tool.type}' runs at Anthropic; it can't be used here."
        )
    if tool.input_schema is None:
        raise ParameterError(f"The tool '{tool.name}' has no 'input_schema'.")
    function: Json = {"name": tool.name, "parameters": tool.input_schema}
    function |= {} if tool.description is None else {"description": tool.description}
    return {"type": "function", "function": function | ({"strict": True} if tool.strict else {})}


def _tool_choice(choice: _ToolChoice | None) -> Json:
    if choice is None:
        return {}
    out: Json = {"parallel_tool_calls": False} if choice.disable_parallel_tool_use else {}
    if choice.type == "tool":
        if not choice.name:
            raise ParameterError("'tool_choice' of the type 'tool' must have a 'name'.")
        return {**out, "tool_choice": {"type": "function", "function": {"name": choice.name}}}
    return {**out, "tool_choice": "required" if choice.type == "any" else choice.type}


_STOP_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_ERROR_TYPES: Final = {status: kind for kind, status in ERROR_STATUSES.items()} | {503: "overloaded_error"}
_DELTAS: Final = {"reasoning": ("thinking_delta", "thinking"), "call": ("input_json_delta", "partial_json")}


def error_body(status: int, message: str) -> bytes:
    """An error as JSON, as a whole answer with this HTTP status."""
    return encode({"type": "error", "error": _error(status, message)})


def _error(status: int, message: str) -> Json:
    other = "invalid_request_error" if status < 500 else "api_error"
    return {"type": _ERROR_TYPES.get(status, other), "message": message}


class Renderer(rendering.Renderer):
    """Events as the stream of `POST /v1/messages`, or as a message."""

    def __init__(self, model: str) -> None:
        """See rendering.Renderer."""
        super().__init__(model)
        self._id = new_id("msg")

    def begin(self) -> bytes:
        """The first events. They have to name tokens before these are counted: `end` has the true numbers."""
        return sse("message_start", message=self._message([], None, None)) + sse("ping")

    def end(self) -> bytes:
        """The end of what is open, why it ended, and the tokens."""
        reason, sequence = self._stop()
        delta = {"stop_reason": reason, "stop_sequence": sequence}
        return self._close() + sse("message_delta", delta=delta, usage=self._counted()) + sse("message_stop")

    def whole(self) -> Json:
        """The message."""
        return self._message([self._block(part) for part in self._reducer.parts], *self._stop())

    def error(self, status: int, message: str) -> bytes:
        """See rendering.Renderer."""
        return sse("error", error=_error(status, message))

    def _message(self, content: list[Json], reason: str | None, sequence: str | None) -> Json:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": sequence,
            "usage": self._counted(),
        }

    def _stop(self) -> tuple[str, str | None]:
        done = self._done or Done("stop")
        details = done.details or {}
        reason = details.get("stop_reason")
        if reason not in FINISH_REASONS:
            reason = _STOP_REASONS.get(done.finish_reason, "end_turn")
        if reason == "end_turn" and self._reducer.calls:
            reason = "tool_use"
        return reason, details.get("stop_sequence")

    def _counted(self) -> Json:
        """Anthropic's input tokens are those that were not cached."""
        cached = self._usage.cached or 0
        return {
            "input_tokens": max(0, (self._usage.prompt or 0) - cached),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": cached,
            "output_tokens": self._usage.completion or 0,
        }

    def _begin_part(self, part: Part) -> bytes:
        return sse("content_block_start", index=self._place, content_block=self._block(part, is_new=True))

    def _go_on(self, part: Part, text: str) -> bytes:
        name, field = _DELTAS.get(part.kind, ("text_delta", "text"))
        return sse("content_block_delta", index=self._place, delta={"type": name, field: text})

    def _end_part(self, part: Part) -> bytes:
        stop = sse("content_block_stop", index=self._place)
        if not part.signature:
            return stop
        delta = {"type": "signature_delta", "signature": str(part.signature)}
        return sse("content_block_delta", index=self._place, delta=delta) + stop

    def _block(self, part: Part, *, is_new: bool = False) -> Json:
        """A part; at its beginning in a stream (is_new), it has neither text nor signature."""
        text = "" if is_new else part.text
        if part.kind == "reasoning":
            return {"type": "thinking", "thinking": text, "signature": "" if is_new else str(part.signature or "")}
        if part.kind == "call":
            name, arguments = part.name, arguments_object(text)
            return {"type": "tool_use", "id": self._call_id(part), "name": name, "input": arguments}
        return {"type": "text", "text": text}
