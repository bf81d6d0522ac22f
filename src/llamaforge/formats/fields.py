"""What is read of a chat request in OpenAI's shape to write it in another API's; each raises ParameterError for other forms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from llamaforge.exceptions import ParameterError

Json = dict[str, Any]
Maker = Callable[[Mapping[str, Any]], Iterable[Json]]
# Under this name stand the arguments of a call that the model wrote and that are no JSON object.
INVALID_JSON: Final = "INVALID_JSON"


def as_list(value: Any, what: str) -> list[Any]:
    """A list of any kind; nothing where there is None."""
    if value is not None and (not isinstance(value, Sequence) or isinstance(value, str | bytes)):
        raise ParameterError(f"{what} must be a list.")
    return list(value or ())


def as_objects(value: Any, what: str) -> list[Mapping[str, Any]]:
    """A list of objects."""
    found = as_list(value, what)
    if not all(isinstance(item, Mapping) for item in found):
        raise ParameterError(f"{what} must be a list of objects.")
    return found


def refuse_missing(given: Json, missing: Mapping[str, tuple[Any, ...]], api: str) -> None:
    """Takes out parameters that an API does not have, each with the values that ask for nothing."""
    for name, idle in missing.items():
        if name in given and given.pop(name) not in idle:
            raise ParameterError(f"{api} has no '{name}'.")


def turns(
    messages: Any, makers: Mapping[str, Maker], *, names: Mapping[str, str], content: str
) -> tuple[list[Json], list[Json]]:
    """OpenAI's messages as what the system says and as turns, in which no two of one role follow each other.

    makers: what a message of each role becomes. names: of roles in turns; any other is "user". content: the field of a
    turn for it.
    """
    system: list[Json] = []
    out: list[Json] = []
    for message in as_objects(messages, "'messages'"):
        role = str(message.get("role"))
        maker = makers.get("system" if role == "developer" else role)
        if maker is None:
            raise ParameterError(f"A message has the unknown role {role!r}.")
        parts = list(maker(message))
        name = names.get(role, "user")
        if role in {"system", "developer"}:
            system += parts
        elif out and out[-1]["role"] == name:
            out[-1][content] += parts
        elif parts:
            out.append({"role": name, content: parts})
    return system, out


def texts(value: Any, what: str) -> list[Any]:
    """One text, or a list of them."""
    return [value] if isinstance(value, str) else as_list(value, what)


def content_parts(message: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The parts of a message's content; a text that is empty, which APIs refuse, is left out."""
    content = message.get("content")
    parts: Any = [{"type": "text", "text": content}] if isinstance(content, str) else content
    for part in as_objects(parts, "The content of a message, unless it is text,"):
        if not isinstance(part.get("type"), str):
            raise ParameterError("Each part of a message's content must be an object with a 'type'.")
        if part["type"] != "text" or part.get("text"):
            yield part


def calls(message: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str, Json]]:
    """The calls of a message, each with its function's name and arguments.

    Arguments that are no JSON object, which models write at times, stand in one as text.
    """
    for call in as_objects(message.get("tool_calls"), "'tool_calls'"):
        function = call.get("function")
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise ParameterError("Each of 'tool_calls' must be an object with a 'function' that has a 'name'.")
        yield call, function["name"], arguments_object(function.get("arguments"))


def arguments_object(arguments: Any) -> Json:
    """The arguments of a call as an object."""
    if isinstance(arguments, Mapping):
        return dict(arguments)
    if not arguments:
        return {}
    try:
        found = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, TypeError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {INVALID_JSON: str(arguments)}


def functions(tools: Any) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any] | None]]:
    """Each tool with its function, None of a tool in the other API's own form."""
    for tool in as_objects(tools, "'tools'"):
        if "function" not in tool:
            yield tool, None
            continue
        function = tool["function"]
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise ParameterError("A tool's 'function' must be an object with a 'name'.")
        yield tool, function


def tool_choice(choice: Any) -> tuple[str, str | None]:
    """What may be called: "auto", "none" or "required"; or "function" with its name."""
    if choice is None or (isinstance(choice, str) and choice in {"auto", "none", "required"}):
        return choice or "auto", None
    function = choice.get("function", choice) if isinstance(choice, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str):
        raise ParameterError("'tool_choice' must be 'auto', 'none', 'required' or name a function.")
    return "function", name


def answer_schema(shape: Any) -> Mapping[str, Any] | None:
    """The JSON schema in `response_format`: {} for any JSON, None for text."""
    kind = shape.get("type") if isinstance(shape, Mapping) else None
    if shape is None or kind == "text":
        return None
    if kind == "json_object":
        return {}
    named = shape.get("json_schema") if kind == "json_schema" else None
    schema = named.get("schema") if isinstance(named, Mapping) else None
    if not isinstance(schema, Mapping):
        raise ParameterError(
            "'response_format' must be of the type 'text', 'json_object', or 'json_schema' with a schema."
        )
    return schema


def address_in(part: Mapping[str, Any]) -> str:
    """The data: URL, or http(s) address, of a part with a picture, a sound, a video or a file."""
    if part["type"] not in {"image_url", "input_audio", "video_url", "file"}:
        raise ParameterError(f"A message has a part of the unknown type {part['type']!r}.")
    value = part.get(part["type"])
    if part["type"] == "input_audio" and isinstance(value, Mapping):
        return f"data:audio/{value.get('format')};base64,{value.get('data')}"
    address = value.get("url", value.get("file_data")) if isinstance(value, Mapping) else value
    if not isinstance(address, str) or not address.startswith(("data:", "https://", "http://")):
        raise ParameterError("A picture or file must be given as a data: URL or as an http(s) address.")
    return address


def data_url(url: str) -> tuple[str, str]:
    """The media type and the base64 text of a data: URL."""
    head, comma, data = url.removeprefix("data:").partition(",")
    kind, *others = head.split(";")
    if not comma or not kind or "base64" not in others:
        raise ParameterError("A data: URL must say its media type and be in base64.")
    return kind, data
