"""OpenAI's Responses API as a server speaks it: its requests as chat requests, and events as its answers."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from llamaforge.events.parts import Part
from llamaforge.exceptions import ParameterError
from llamaforge.formats import fields, rendering
from llamaforge.formats.fields import Json
from llamaforge.formats.rendering import sse


class _Part(msgspec.Struct):
    type: str
    text: str = ""
    refusal: str = ""
    image_url: str | None = None


class _Item(msgspec.Struct):
    """An item of the input, whatever its type: each has some of these."""

    type: str | None = None
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: str | list[_Part] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[_Part] | None = None
    summary: list[_Part] | None = None


class _Tool(msgspec.Struct):
    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Format(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class _Text(msgspec.Struct):
    format: _Format | None = None


class _Reasoning(msgspec.Struct):
    effort: str | None = None


class _Request(msgspec.Struct):
    input: str | Annotated[list[_Item], msgspec.Meta(max_length=100_000)]
    model: str | None = None
    instructions: str | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: _Text | None = None
    reasoning: _Reasoning | None = None
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    temperature: float | None = None
    top_p: float | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    stream: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    prompt: Any = None


# What needs a store of answers, which this server has not.
_STORED: Final = ("previous_response_id", "conversation", "prompt", "background")
_NAMES: Final = {
    "model": "model",
    "max_output_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "user": "user",
    "parallel_tool_calls": "parallel_tool_calls",
}


def decode_request(body: bytes | Mapping[str, Any]) -> Json:
    """A request of `POST /v1/responses` as a chat request in OpenAI's shape.

    Fields that are not known, such as `store` or `include`, say nothing here and are passed over. Raises ParameterError,
    which names the field, for what has another form and for what only OpenAI can do: answers that it has stored, its own
    tools, its files and addresses.
    """
    try:
        given = msgspec.json.decode(body, type=_Request) if isinstance(body, bytes) else msgspec.convert(body, _Request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ParameterError(f"The request can't be used: {error}") from None
    for name in _STORED:
        if getattr(given, name):
            raise ParameterError(
                f"'{name}' is not supported: no answer is stored here. Send the whole conversation as 'input'."
            )
    messages: list[Json] = [{"role": "system", "content": given.instructions}] if given.instructions else []
    if isinstance(given.input, str):
        messages.append({"role": "user", "content": given.input})
    else:
        messages += _messages(given.input)
    out: Json = {theirs: value for ours, theirs in _NAMES.items() if (value := getattr(given, ours)) is not None}
    out["messages"] = messages
    if given.tools:
        out["tools"] = [_function(tool) for tool in given.tools]
    if given.tool_choice is not None:
        kind, function = fields.tool_choice(given.tool_choice)
        out["tool_choice"] = kind if function is None else {"type": "function", "function": {"name": function}}
    if given.text is not None and given.text.format is not None and given.text.format.type != "text":
        out["response_format"] = _response_format(given.text.format)
    if given.reasoning is not None and given.reasoning.effort is not None:
        out["reasoning_effort"] = given.reasoning.effort
    if given.stream:
        out |= {"stream": True, "stream_options": {"include_usage": True}}
    return out


def _messages(items: list[_Item]) -> Iterator[Json]:
    """The items as messages: reasoning, text and calls that follow each other are one answer."""
    answer: Json | None = None
    pictures: list[Json] = []
    for item in items:
        kind = item.type or "message"
        is_answer = kind in {"reasoning", "function_call"} or (kind == "message" and item.role == "assistant")
        if answer is not None and not is_answer:
            yield answer
            answer = None
        if pictures and kind != "function_call_output":
            yield {"role": "user", "content": pictures}
            pictures = []
        if is_answer:
            answer = answer or {"role": "assistant", "content": None}
            _go_on(answer, item)
        elif kind == "function_call_output":
            if item.call_id is None or item.output is None:
                raise ParameterError(
                    "An item of the type 'function_call_output' must have a 'call_id' and an 'output'."
                )
            parts = list(_parts(item.output))
            # A tool's message has text only, so that what can be seen follows as the user's.
            pictures += (part for part in parts if part["type"] != "text")
            text = "\n".join(part["text"] for part in parts if part["type"] == "text")
            yield {"role": "tool", "tool_call_id": item.call_id, "content": text}
        elif kind == "message" and item.role is not None:
            parts = list(_parts(item.content))
            is_plain = all(part["type"] == "text" for part in parts)
            content = "\n".join(part["text"] for part in parts) if is_plain else parts
            yield {"role": "user" if item.role == "user" else "system", "content": content}
        elif kind == "message":
            raise ParameterError("A message has no 'role'.")
        else:
            raise ParameterError(f"An item of the type '{kind}' can't be used here.")
    if answer is not None:
        yield answer
    if pictures:
        yield {"role": "user", "content": pictures}


def _go_on(answer: Json, item: _Item) -> None:
    """Adds an item to the assistant's message."""
    if item.type == "function_call":
        if item.call_id is None or not item.name:
            raise ParameterError("An item of the type 'function_call' must have a 'call_id' and a 'name'.")
        function = {"name": item.name, "arguments": item.arguments or "{}"}
        answer.setdefault("tool_calls", []).append({"id": item.call_id, "type": "function", "function": function})
    elif item.type == "reasoning":
        said = item.content if isinstance(item.content, list) and item.content else item.summary or []
        if text := "".join(part.text for part in said):
            answer["reasoning_content"] = answer.get("reasoning_content", "") + text
    else:
        texts = (part.text or part.refusal for part in item.content or ()) if not isinstance(item.content, str) else ()
        answer["content"] = (answer["content"] or "") + (
            item.content if isinstance(item.content, str) else "".join(texts)
        )


def _parts(content: str | list[_Part] | None) -> Iterator[Json]:
    if isinstance(content, str):
        yield {"type": "text", "text": content}
        return
    for part in content or ():
        if part.type in {"input_text", "output_text", "text"}:
            yield {"type": "text", "text": part.text}
        elif part.type == "input_image" and (part.image_url or "").startswith("data:image/"):
            yield {"type": "image_url", "image_url": {"url": part.image_url}}
        elif part.type == "input_image":
            raise ParameterError(
                "An image must be given as a data: URL: this server fetches no files and no addresses."
            )
        else:
            raise ParameterError(f"A part of the type '{part.type}' can't be used here.")


def _function(tool: _Tool) -> Json:
    if tool.type != "function":
        raise ParameterError(f"A tool of the type '{tool.type}' runs at OpenAI; it can't be used here.")
    if not tool.name:
        raise ParameterError("A function among the tools has no 'name'.")
    optional = {"description": tool.description, "parameters": tool.parameters, "strict": tool.strict}
    return {"type": "function", "function": {"name": tool.name} | {k: v for k, v in optional.items() if v is not None}}


def _response_format(wanted: _Format) -> Json:
    if wanted.type == "json_object":
        return {"type": "json_object"}
    if wanted.schema is None:
        raise ParameterError("'text.format' of the type 'json_schema' must have a 'schema'.")
    named: Json = {"name": wanted.name or "answer", "schema": wanted.schema}
    return {"type": "json_schema", "json_schema": named | ({"strict": True} if wanted.strict else {})}


# What an answer says again of its request, and the value of what the request left out.
_ECHOED: Final[Mapping[str, Any]] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "reasoning": {"effort": None, "summary": None},
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "user": None,
}
_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
_CONTENT: Final = {
    "text": ("output_text", "text", "response.output_text"),
    "reasoning": ("reasoning_text", "text", "response.reasoning_text"),
    "refusal": ("refusal", "refusal", "response.refusal"),
}


class Renderer(rendering.Renderer):
    """Events as the stream of `POST /v1/responses`, or as a response. Each part is an item of the output."""

    def __init__(self, model: str, request: Mapping[str, Any]) -> None:
        """request: as it came, of which the answer says some fields again."""
        super().__init__(model)
        self._id = uuid.uuid4().hex
        self._created = int(time.time())
        self._echo = {name: usual if (v := request.get(name)) is None else v for name, usual in _ECHOED.items()}
        self._sent = 0

    def begin(self) -> bytes:
        """See rendering.Renderer."""
        response = self._response("in_progress", [])
        return self._sse("response.created", response=response) + self._sse("response.in_progress", response=response)

    def end(self) -> bytes:
        """See rendering.Renderer."""
        closed = self._close()
        response = self.whole()
        return closed + self._sse(f"response.{response['status']}", response=response)

    def whole(self) -> Json:
        """The response."""
        reason = self._cut_by()
        status = "incomplete" if reason else "completed"
        details = {"reason": reason} if reason else None
        return self._response(status, self._output(), incomplete_details=details, usage=self._counted())

    def _cut_by(self) -> str | None:
        """Why there would be more."""
        return _INCOMPLETE.get(self._done.finish_reason) if self._done else None

    def _output(self) -> list[Json]:
        return [self._item(place, part) for place, part in enumerate(self._reducer.parts)]

    def error(self, status: int, message: str) -> bytes:
        """See rendering.Renderer."""
        code = "rate_limit_exceeded" if status == 429 else "invalid_prompt" if status < 500 else "server_error"
        error = {"code": code, "message": message}
        failed = self._response("failed", self._output(), error=error, usage=self._counted())
        return self._sse("response.failed", response=failed)

    def _sse(self, kind: str, **values: Any) -> bytes:
        self._sent += 1
        return sse(kind, sequence_number=self._sent - 1, **values)

    def _response(self, status: str, output: list[Json], **values: Any) -> Json:
        return {
            "id": f"resp_{self._id}",
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "model": self._model,
            "output": output,
            "previous_response_id": None,
            "store": False,
            "truncation": "disabled",
            "usage": None,
            **self._echo,
            **values,
        }

    def _counted(self) -> Json:
        prompt, completion = self._usage.prompt or 0, self._usage.completion or 0
        return {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": self._usage.cached or 0, "cache_write_tokens": 0},
            "output_tokens": completion,
            "output_tokens_details": {"reasoning_tokens": self._usage.reasoning or 0},
            "total_tokens": prompt + completion,
        }

    def _item_id(self, place: int, part: Part) -> str:
        return f"{'fc' if part.kind == 'call' else 'rs' if part.kind == 'reasoning' else 'msg'}_{self._id}_{place}"

    def _item(self, place: int, part: Part, *, is_new: bool = False) -> Json:
        is_cut = part is self._reducer.parts[-1] and self._cut_by() is not None
        status = "in_progress" if is_new else "incomplete" if is_cut else "completed"
        item: Json = {"id": self._item_id(place, part), "status": status}
        if part.kind == "call":
            arguments = "" if is_new else part.text
            return {
                **item,
                "type": "function_call",
                "call_id": self._call_id(part),
                "name": part.name,
                "arguments": arguments,
            }
        content = [] if is_new else [_content(part, part.text)]
        if part.kind == "reasoning":
            return {**item, "type": "reasoning", "summary": [], "content": content}
        return {**item, "type": "message", "role": "assistant", "content": content}

    def _begin_part(self, part: Part) -> bytes:
        item = self._item(self._place, part, is_new=True)
        added = self._sse("response.output_item.added", output_index=self._place, item=item)
        if part.kind == "call":
            return added
        return added + self._sse("response.content_part.added", **self._where(part), part=_content(part, ""))

    def _go_on(self, part: Part, text: str) -> bytes:
        if part.kind == "call":
            return self._sse("response.function_call_arguments.delta", **self._where(part), delta=text)
        return self._sse(f"{_CONTENT[part.kind][2]}.delta", **self._where(part), **_logprobs(part), delta=text)

    def _end_part(self, part: Part) -> bytes:
        where = self._where(part)
        if part.kind == "call":
            done = self._sse("response.function_call_arguments.done", **where, name=part.name, arguments=part.text)
        else:
            _, field, prefix = _CONTENT[part.kind]
            done = self._sse(f"{prefix}.done", **where, **_logprobs(part), **{field: part.text})
            done += self._sse("response.content_part.done", **where, part=_content(part, part.text))
        item = self._item(self._place, part)
        return done + self._sse("response.output_item.done", output_index=self._place, item=item)

    def _where(self, part: Part) -> Json:
        where: Json = {"item_id": self._item_id(self._place, part), "output_index": self._place}
        return where if part.kind == "call" else {**where, "content_index": 0}


def _content(part: Part, text: str) -> Json:
    kind, field, _ = _CONTENT[part.kind]
    return {"type": kind, field: text, **({"annotations": []} if kind == "output_text" else {}), **_logprobs(part)}


def _logprobs(part: Part) -> Json:
    return {"logprobs": []} if part.kind == "text" else {}
