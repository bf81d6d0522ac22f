"""The parameters of a generation, and how they become a request to the engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from llamaforge.backends.base import Message, as_messages
from llamaforge.exceptions import ParameterError, UnsupportedError
from llamaforge.formats.completions import Json, refuse_addresses
from llamaforge.parameters import SAMPLING, SHAPE, Parameter, resolve

GENERATION: Final = (
    *SAMPLING,
    *SHAPE,
    Parameter("do_sample", "bool"),
    Parameter("mirostat", "int", ("mirostat_mode",), low=0, high=2),
    Parameter("mirostat_tau", "float", low=0.0),
    Parameter("mirostat_eta", "float", low=0.0),
    Parameter("dry_multiplier", "float", low=0.0),
    Parameter("dry_base", "float", low=1.0),
    Parameter("dry_allowed_length", "int", low=0),
    Parameter("dry_penalty_last_n", "int", low=-1),
    Parameter("dry_sequence_breakers", "texts"),
    Parameter("xtc_probability", "float", low=0.0, high=1.0),
    Parameter("xtc_threshold", "float", low=0.0, high=1.0),
    Parameter("top_n_sigma", "float"),
    Parameter("dynatemp_range", "float", low=0.0),
    Parameter("dynatemp_exponent", "float"),
    Parameter("min_keep", "int", low=0),
    Parameter("samplers", "texts"),
    Parameter("logit_bias", "any"),
    Parameter("n_probs", "int", low=0, high=1000),
    Parameter("logprobs", "any"),
    Parameter("top_logprobs", "int", low=0, high=1000),
    Parameter("ignore_eos", "bool"),
    Parameter("cache_prompt", "bool"),
    Parameter("chat_template_kwargs", "object"),
)
_CHAT_ONLY: Final = ("tools", "tool_choice", "parallel_tool_calls", "chat_template_kwargs")
_SCHEMA_TYPES: Final = {"object", "array", "string", "number", "integer", "boolean", "null"}
# Free white space is where small models lose themselves; of a chat, the engine limits it by itself.
_WHITE_SPACE: Final = {"whitespace_flexible": False, "key_separator": ": ", "item_separator": ", "}
_MEDIA: Final = {"image_url", "input_audio", "video_url"}


def text_request(prompt: str, parameters: Mapping[str, Any] | None) -> Json:
    """A request for the continuation of `prompt`. Raises ParameterError."""
    if not isinstance(prompt, str):
        raise ParameterError("The prompt must be text.")
    request = _request(parameters)
    for name in _CHAT_ONLY:
        if name in request:
            raise ParameterError(f"'{name}' goes with messages, not with a plain prompt.")
    if isinstance(schema := request.get("json_schema"), Mapping):
        request["json_schema"] = {"x-guidance": _WHITE_SPACE, **schema}
    return {**request, "prompt": prompt}


def chat_request(messages: Sequence[Message], parameters: Mapping[str, Any] | None, *, media: bool) -> Json:
    """A request for the assistant's next turn.

    media: whether the model takes images and sounds. Raises ParameterError; UnsupportedError where there are any and it doesn't.
    """
    request = _request(parameters)
    choice = request.get("tool_choice")
    if isinstance(choice, Mapping):
        # The engine knows only "auto", "none" and "required": a tool by name is required with no other to choose.
        request["tools"] = [_tool_named(choice, request.get("tools", ()))]
        request["tool_choice"] = "required"
    elif choice is not None and choice not in {"auto", "none", "required"}:
        raise ParameterError("'tool_choice' must be 'auto', 'none', 'required' or name a function.")
    if request.get("tool_choice") == "required" and not request.get("tools"):
        raise ParameterError("'tool_choice' requires a tool, but 'tools' has none.")
    return {**request, "messages": [_message(message, media) for message in as_messages(messages)]}


def _request(parameters: Mapping[str, Any] | None) -> Json:
    values = resolve(parameters, GENERATION, "generation parameter")
    if values.get("max_tokens") == 0:
        raise ParameterError("'max_tokens' must be at least 1, or -1 for as many as fit.")
    if values.pop("do_sample", None) is False:
        values["temperature"] = 0.0
    if not values.get("tools", True):
        del values["tools"]
    format_schema = _format_schema(values.pop("response_format", None))
    if format_schema is not None:
        if "json_schema" in values:
            raise ParameterError("'response_format' and 'json_schema' both shape the answer; give one of them.")
        values["json_schema"] = format_schema
    if "json_schema" in values:
        if "grammar" in values:
            raise ParameterError("'grammar' and a JSON schema both shape the answer; give one of them.")
        _check_schema(values["json_schema"], values["json_schema"])
    return values


def _format_schema(wanted: Mapping[str, Any] | None) -> Any:
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


def _check_schema(schema: object, root: Any, depth: int = 0) -> None:
    """Refuses what the engine would pass over in silence, answering without any schema."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping) or depth > 64:
        raise ParameterError("The JSON schema must be an object, nested at most 64 deep.")
    kinds = schema.get("type", [])
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if not isinstance(kind, str) or kind not in _SCHEMA_TYPES:
            raise ParameterError(f"The JSON schema has the unknown type {kind!r}.")
    if "$ref" in schema:
        _check_reference(schema["$ref"], root)
    for part in _parts(schema):
        _check_schema(part, root, depth + 1)
    for name in ("enum", "required"):
        _part(schema, name, list)


def _check_reference(reference: object, root: Any) -> None:
    found = root
    for name in str(reference).removeprefix("#").split("/")[1:]:
        found = found.get(name) if isinstance(found, Mapping) else None
    if not isinstance(reference, str) or not reference.startswith("#") or found is None:
        raise ParameterError(f"The JSON schema refers to {reference!r}, which is not in it.")


def _parts(schema: Mapping[str, Any]) -> Iterator[object]:
    """The schemas within a schema."""
    for name in ("properties", "patternProperties", "$defs", "definitions"):
        yield from _part(schema, name, Mapping).values()
    for name in ("anyOf", "oneOf", "allOf", "prefixItems"):
        yield from _part(schema, name, list)
    for name in ("items", "additionalProperties"):
        if name in schema and not isinstance(schema[name], list):
            yield schema[name]


def _part(schema: Mapping[str, Any], name: str, kind: Any) -> Any:
    part = schema.get(name, kind() if kind is list else {})
    if not isinstance(part, kind):
        raise ParameterError(f"'{name}' in the JSON schema has the wrong type.")
    return part


def _tool_named(choice: Mapping[str, Any], tools: Sequence[Any]) -> Any:
    function = choice.get("function")
    name = function.get("name") if isinstance(function, Mapping) else choice.get("name")
    for tool in tools:
        if (
            isinstance(tool, Mapping)
            and isinstance(tool.get("function"), Mapping)
            and tool["function"].get("name") == name
        ):
            return tool
    raise ParameterError(f"'tool_choice' names the function {name!r}, which is not among the tools.")


def _message(message: object, media: bool) -> Json:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise ParameterError("Each message must be an object with 'role' and 'content'.")
    content = message.get("content")
    if isinstance(content, list | tuple):
        for part in content:
            _check_part(part, media)
        refuse_addresses(content)
    elif content is not None and not isinstance(content, str):
        raise ParameterError("The content of a message must be text, a list of parts, or null.")
    return dict(message)


def _check_part(part: object, media: bool) -> None:
    if not isinstance(part, Mapping):
        raise ParameterError("Each part of a message's content must be an object.")
    kind = part.get("type")
    if not isinstance(kind, str) or kind not in {"text", *_MEDIA}:
        raise ParameterError(f"A message has a part of the unknown type {kind!r}.")
    if kind == "text":
        return
    if not media:
        raise UnsupportedError("This model takes text only; it was loaded without an 'mmproj' file.")
