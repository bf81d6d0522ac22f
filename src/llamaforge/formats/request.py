"""A request in OpenAI's words, checked once: the library, `serve` and the server's local models all come through here.

What is wrong with a request is told in a sentence before any engine sees it; what an engine gets has one form.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from llamaforge.exceptions import ParameterError, UnsupportedError
from llamaforge.formats.limits import check_limits
from llamaforge.formats.schema import bounded, checked_schema
from llamaforge.parameters import Parameter, checked, resolve, spellings

Json = dict[str, Any]
Kind = Literal["chat", "completion", "embeddings"]
Tokens = list[int]

TEXT: Final = frozenset({"text"})
MEDIA: Final = frozenset({"image_url", "input_audio", "video_url"})
# Fields of OpenAI's API about who asks, what it costs and where it is kept. They say nothing to a model.
IGNORED: Final = frozenset(
    "user metadata store service_tier safety_identifier prompt_cache_key prompt_cache_retention modalities best_of".split()
)
# Fields that say what is asked and in which form it is to be answered; all others are the model's parameters.
_OWN: Final = frozenset("model messages prompt input stream stream_options n echo suffix encoding_format".split())
_CONTENT: Final[Mapping[Kind, str]] = {"chat": "messages", "completion": "prompt", "embeddings": "input"}
_MOST_CHOICES: Final = 128


@dataclass(frozen=True, slots=True)
class Request:
    """What a client of an HTTP API asks.

    content: messages; prompts, each text or tokens; or texts to embed. parameters: the model's, as they were spelled,
    none of them None. packed: vectors are wanted as base64.
    """

    kind: Kind
    content: list[Any]
    parameters: Json = field(default_factory=dict)
    model: str | None = None
    stream: bool = False
    include_usage: bool = False
    n: int = 1
    echo: bool = False
    suffix: str | None = None
    packed: bool = False

    def body(self, parameters: Mapping[str, Any] | None = None) -> Json:
        """The request as a JSON object again. parameters: in the place of its own."""
        given: Json = dict(self.parameters if parameters is None else parameters)
        # One prompt is sent as such.
        one = self.kind != "chat" and len(self.content) == 1
        given[_CONTENT[self.kind]] = self.content[0] if one else self.content
        said: Json = {"model": self.model, "suffix": self.suffix}
        said |= {"stream": self.stream or None, "n": self.n if self.n > 1 else None}
        said["stream_options"] = {"include_usage": True} if self.stream and self.include_usage else None
        said["encoding_format"] = "base64" if self.packed else None
        return given | {name: value for name, value in said.items() if value is not None}


def normalise(fields: object, kind: Kind) -> Request:
    """A request from the fields of an HTTP body. Raises ParameterError, and UnsupportedError for what can't be had."""
    if not isinstance(fields, Mapping):
        raise ParameterError("The body must be an object.")
    name = _CONTENT[kind]
    content = fields.get(name)
    if content is None:
        raise ParameterError(f"'{name}' is missing.")
    check_limits(fields, name)
    said = {own: value for own in _OWN if (value := fields.get(own)) is not None}
    options = _typed("stream_options", said.get("stream_options", {}), Mapping, "an object")
    packing = said.get("encoding_format", "float")
    if packing not in ("float", "base64"):
        raise ParameterError("'encoding_format' must be 'float' or 'base64'.")
    echo = _typed("echo", said.get("echo", False), bool, "true or false")
    if echo and kind == "completion" and not (fields.get("logprobs") is None and _are_texts(content)):
        raise UnsupportedError("'echo' repeats a prompt that is text, without 'logprobs'.")
    n = checked(Parameter("n", "int", low=1, high=_MOST_CHOICES), "n", said.get("n", 1))
    return Request(
        kind=kind,
        content=_contents(kind, content),
        parameters={
            given: value
            for given, value in fields.items()
            if value is not None and given not in _OWN and given not in IGNORED
        },
        model=_typed("model", said.get("model"), str, "text", none=True),
        stream=_typed("stream", said.get("stream", False), bool, "true or false"),
        include_usage=_typed("include_usage", options.get("include_usage") or False, bool, "true or false"),
        n=n,
        echo=echo and kind == "completion",
        suffix=_typed("suffix", said.get("suffix"), str, "text", none=True) or None,
        packed=packing == "base64",
    )


def _contents(kind: Kind, content: Any) -> list[Any]:
    if kind == "chat":
        if not isinstance(content, list) or not all(isinstance(message, Mapping) for message in content):
            raise ParameterError("'messages' must be a list of objects with 'role' and 'content'.")
        return content
    name = _CONTENT[kind]
    many = content if isinstance(content, list) and not _is_tokens(content) else [content]
    if not many or not all(isinstance(one, str) or _is_tokens(one) for one in many):
        raise ParameterError(f"'{name}' must be text, or a list of texts or of tokens.")
    return many


def _are_texts(prompts: object) -> bool:
    return isinstance(prompts, str) or (isinstance(prompts, list) and all(isinstance(one, str) for one in prompts))


def _is_tokens(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(type(token) is int and token >= 0 for token in value)


def _typed(name: str, value: Any, kind: Any, words: str, *, none: bool = False) -> Any:
    if (none and value is None) or isinstance(value, kind):
        return value
    raise ParameterError(f"'{name}' must be {words}.")


def embedding(given: Mapping[str, Any] | None, known: Sequence[Parameter]) -> Json:
    """The parameters of vectors. Raises ParameterError; UnsupportedError for `dimensions` where they are the model's."""
    given = {name: value for name, value in (given or {}).items() if value is not None}
    if "dimensions" in given and "dimensions" not in spellings(known):
        raise UnsupportedError("The model's vectors have one length; 'dimensions' can't be had.")
    return resolve(given, known, "parameter of an embedding")


# ---- the shape of an answer


def shaped(values: Mapping[str, Any]) -> Json:
    """Parameters by their names with one way to ask for each thing, whichever way it was asked for.

    A `response_format` becomes a `json_schema`, one that the engines hold (see schema.py); a tool chosen by its name
    becomes the only tool, which has to be called once. Raises ParameterError.
    """
    given = dict(values)
    schema = _format_schema(given.pop("response_format", None))
    if schema is not None:
        if "json_schema" in given:
            raise ParameterError("'response_format' and 'json_schema' both shape the answer; give one of them.")
        given["json_schema"] = schema
    if "json_schema" in given:
        if "grammar" in given:
            raise ParameterError("'grammar' and a JSON schema both shape the answer; give one of them.")
        given["json_schema"] = checked_schema(given["json_schema"])
    return _with_tools(given)


def _format_schema(wanted: Any) -> Any:
    """The JSON schema that OpenAI's `response_format` asks for, None for plain text."""
    if wanted is None:
        return None
    kind = wanted.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return wanted.get("schema") or {"type": "object"}
    named = wanted.get("json_schema")
    if kind != "json_schema" or not isinstance(named, Mapping) or not isinstance(named.get("schema"), Mapping):
        raise ParameterError(
            "'response_format' must be of the type 'text', 'json_object', or 'json_schema' with a schema."
        )
    return named["schema"]


def _with_tools(given: Json) -> Json:
    tools = [_tool(tool) for tool in given.pop("tools", ())]
    choice = given.pop("tool_choice", None)
    if isinstance(choice, Mapping):
        # Engines know "auto", "none" and "required": a tool by name is required with no other to choose.
        tools, choice = [_tool_named(choice, tools)], "required"
        given["parallel_tool_calls"] = False
    elif choice is not None and choice not in ("auto", "none", "required"):
        raise ParameterError("'tool_choice' must be 'auto', 'none', 'required' or name a function.")
    if choice == "required" and not tools:
        raise ParameterError("'tool_choice' requires a tool, but 'tools' has none.")
    if tools:
        given["tools"] = tools
        if choice is not None:
            given["tool_choice"] = choice
    return given


def _tool(tool: Any) -> Json:
    function = tool.get("function") if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping) or not _is_name(function.get("name")):
        raise ParameterError("Each tool must be an object with 'type' and 'function', which has a 'name'.")
    if not isinstance(function.get("parameters") or {}, Mapping):
        raise ParameterError(f"The parameters of the tool '{function['name']}' must be a JSON schema.")
    if function.get("parameters"):
        function = {**function, "parameters": bounded(function["parameters"])}
    return {**tool, "type": "function", "function": function}


def _tool_named(choice: Mapping[str, Any], tools: Sequence[Json]) -> Json:
    function = choice.get("function")
    name = function.get("name") if isinstance(function, Mapping) else choice.get("name")
    for tool in tools:
        if tool["function"]["name"] == name:
            return tool
    raise ParameterError(f"'tool_choice' names the function {name!r}, which is not among the tools.")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value != ""


# ---- messages


def checked_messages(messages: object, accepts: Collection[str] = TEXT) -> list[Json]:
    """Messages in one form: content as text, or as a list of parts where these are not all text; calls with arguments.

    accepts: the types of parts that the model reads. A part of another type is refused, never left out: the answer would
    be about something else. Raises ParameterError for a message that is none, UnsupportedError for such a part.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes):
        raise ParameterError("The messages must be a list.")
    if not messages:
        raise ParameterError("There is no message to answer.")
    return [_message(message, accepts) for message in messages]


def _message(message: Any, accepts: Collection[str]) -> Json:
    if not isinstance(message, Mapping) or not _is_name(message.get("role")):
        raise ParameterError("Each message must be an object with 'role' and 'content'.")
    given = {name: value for name, value in message.items() if value is not None}
    for name in ("name", "tool_call_id"):
        _typed(name, given.get(name), str, "text", none=True)
    calls = _typed("tool_calls", given.pop("tool_calls", []), list | tuple, "a list")
    if calls:
        given["tool_calls"] = [_call(call) for call in calls]
    content = given.get("content")
    if isinstance(content, list | tuple):
        given["content"] = _joined([_part(part, accepts) for part in content])
    elif content is None:
        given["content"] = None if calls else ""
    elif not isinstance(content, str):
        raise ParameterError("The content of a message must be text, a list of parts, or null.")
    return given


def _joined(parts: list[Json]) -> str | list[Json]:
    """Parts that are all text as one text, one part a line."""
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts if part["text"])
    return parts


def _part(part: Any, accepts: Collection[str]) -> Json:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not isinstance(part, Mapping):
        raise ParameterError("Each part of a message's content must be an object.")
    kind = part.get("type", "text" if "text" in part else None)
    if kind == "refusal":
        kind, part = "text", {"text": part.get("refusal")}
    if not isinstance(kind, str) or kind not in TEXT | MEDIA | set(accepts):
        raise ParameterError(f"A message has a part of the unknown type {kind!r}.")
    if kind == "text":
        return {"type": "text", "text": _typed("text", part.get("text"), str, "text")}
    value = part.get(kind)
    if kind in {"image_url", "video_url"}:
        # An engine would fetch an address, or read a file, on behalf of whoever wrote the message.
        url = value.get("url") if isinstance(value, Mapping) else value
        if not (isinstance(url, str) and url.startswith("data:")):
            raise ParameterError("An image must be given as a data: URL.")
        value = {**value, "url": url} if isinstance(value, Mapping) else {"url": url}
    if kind not in accepts:
        what = {"image_url": "images", "input_audio": "sounds", "video_url": "videos"}[kind]
        raise UnsupportedError(
            f"This model takes no {what}. Leave them out, or ask a model that takes them (on llama.cpp: one that was "
            "loaded with its 'mmproj' file)."
        )
    return {**part, "type": kind, kind: _typed(kind, value, Mapping, "an object")}


def _call(call: Any) -> Json:
    """A call of an assistant's turn. One without arguments has none: some models, and some clients, write them so."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not _is_name(function.get("name")):
        raise ParameterError("Each call in 'tool_calls' must be an object with a 'function', which has a 'name'.")
    arguments = function.get("arguments")
    try:
        value = json.loads(arguments.strip() or "null") if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError):
        value = arguments
    if value is not None and not isinstance(value, Mapping):
        raise ParameterError(f"The arguments of the call of '{function['name']}' must be a JSON object.")
    try:
        text = arguments if isinstance(arguments, str) and value else json.dumps(value or {}, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ParameterError(
            f"The arguments of the call of '{function['name']}' have a value that is no JSON: {error}"
        ) from None
    return {**call, "type": "function", "function": {**function, "arguments": text}}
