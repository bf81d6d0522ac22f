"""Requests to Anthropic's Messages API, made of requests in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from llamaforge.exceptions import ParameterError

Json = dict[str, Any]
MAX_TOKENS: Final = 8_192
# Under this name stand the arguments of a call that the model wrote and that are no JSON object.
INVALID_JSON: Final = "INVALID_JSON"
_TOOL_CHOICES: Final = {"auto": "auto", "required": "any", "none": "none"}
_CHOICES: Final = "'tool_choice' must be 'auto', 'none', 'required' or name a function."
# What the API has under another name or in another shape; anything else is handed on as it is.
_TRANSLATED: Final = frozenset(
    "messages max_tokens max_completion_tokens stop tools tool_choice parallel_tool_calls user response_format "
    "reasoning_effort stream_options".split()
)
# OpenAI's parameters that would be lost, with the values that ask for nothing.
_MISSING: Final[Mapping[str, tuple[Any, ...]]] = {
    "n": (1,),
    "seed": (),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "modalities": (["text"],),
    "audio": (),
}


def encode_request(request: Mapping[str, Any], *, max_tokens: int = MAX_TOKENS) -> Json:
    """A chat request in OpenAI's shape as one for `POST /v1/messages`.

    max_tokens: where the request has no limit, which the API demands. Parameters that OpenAI does not know, such as
    `thinking` or `top_k`, are handed on as they are.

    Beside OpenAI's, a message's content may have Anthropic's own blocks as parts (`thinking`, `tool_use`, `document`, ...).
    An assistant's message may have `thinking_blocks`, as events.anthropic gives them, and a tool's `is_error`. Raises
    ParameterError for a form of message that is not known and for parameters that the API does not have.
    """
    given = {name: value for name, value in request.items() if value is not None}
    for name, idle in _MISSING.items():
        if name in given and given.pop(name) not in idle:
            raise ParameterError(f"Anthropic's API has no '{name}'.")
    system, messages = encode_messages(given.get("messages", ()))
    out: Json = {name: value for name, value in given.items() if name not in _TRANSLATED}
    out["messages"] = messages
    out["max_tokens"] = given.get("max_completion_tokens", given.get("max_tokens", max_tokens))
    if system:
        out["system"] = system
    if (stop := given.get("stop")) and "stop_sequences" not in out:
        out["stop_sequences"] = [stop] if isinstance(stop, str) else as_list(stop, "'stop'")
    if "user" in given and "metadata" not in out:
        out["metadata"] = {"user_id": given["user"]}
    if tools := given.get("tools"):
        out["tools"] = [_tool(tool) for tool in as_list(tools, "'tools'")]
        if choice := _tool_choice(given.get("tool_choice"), given.get("parallel_tool_calls")):
            out["tool_choice"] = choice
    if given.get("reasoning_effort") == "none":
        out.setdefault("thinking", {"type": "disabled"})
    if config := _output_config(given.get("response_format"), given.get("reasoning_effort")):
        out["output_config"] = {**config, **out.get("output_config", {})}
    return out


def encode_messages(messages: Any) -> tuple[list[Json], list[Json]]:
    """OpenAI's messages as the blocks of `system` and as `messages`, in which no two of one role follow each other."""
    system: list[Json] = []
    out: list[Json] = []
    for message in as_list(messages, "'messages'"):
        if not isinstance(message, Mapping):
            raise ParameterError("Each message must be an object with 'role' and 'content'.")
        role = str(message.get("role"))
        if role in {"system", "developer"}:
            system += _blocks(message.get("content"))
            continue
        if role == "user":
            blocks = list(_blocks(message.get("content")))
        elif role == "assistant":
            blocks = list(_assistant(message))
        elif role == "tool":
            blocks = [_tool_result(message)]
        else:
            raise ParameterError(f"A message has the unknown role {role!r}.")
        name = "assistant" if role == "assistant" else "user"
        if out and out[-1]["role"] == name:
            out[-1]["content"] += blocks
        elif blocks:
            out.append({"role": name, "content": blocks})
    return system, out


def as_list(value: Any, what: str) -> list[Any]:
    """A list of any kind; nothing where there is None. Raises ParameterError that names `what`."""
    if value is not None and (not isinstance(value, Sequence) or isinstance(value, str | bytes)):
        raise ParameterError(f"{what} must be a list.")
    return list(value or ())


def _assistant(message: Mapping[str, Any]) -> Iterator[Json]:
    for block in as_list(message.get("thinking_blocks"), "'thinking_blocks'"):
        if not isinstance(block, Mapping):
            raise ParameterError("Each of 'thinking_blocks' must be an object.")
        yield {name: value for name, value in block.items() if name != "index"}
    yield from _blocks(message.get("content"))
    if refusal := message.get("refusal"):
        yield {"type": "text", "text": refusal}
    for call in as_list(message.get("tool_calls"), "'tool_calls'"):
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping):
            raise ParameterError("Each of 'tool_calls' must be an object with a 'function'.")
        name, arguments = function.get("name"), arguments_object(function.get("arguments"))
        yield {"type": "tool_use", "id": call.get("id"), "name": name, "input": arguments}


def _tool_result(message: Mapping[str, Any]) -> Json:
    block: Json = {"type": "tool_result", "tool_use_id": message.get("tool_call_id")}
    if content := list(_blocks(message.get("content"))):
        block["content"] = content
    if message.get("is_error"):
        block["is_error"] = True
    return block


def arguments_object(arguments: Any) -> Json:
    """A call's arguments as an object. Those that are no JSON object, which happens to models, stand in one as text."""
    if isinstance(arguments, Mapping):
        return dict(arguments)
    if not arguments:
        return {}
    try:
        found = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, TypeError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {INVALID_JSON: str(arguments)}


def _blocks(content: Any) -> Iterator[Json]:
    """The blocks of a message's content; empty texts, which the API refuses, are left out."""
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    for part in as_list(content, "The content of a message"):
        if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
            raise ParameterError("Each part of a message's content must be an object with a 'type'.")
        kind = part["type"]
        if kind == "image_url":
            address = part.get("image_url")
            yield _block(part, "image", _source(address.get("url") if isinstance(address, Mapping) else address))
        elif kind == "file":
            file = part.get("file")
            yield _block(part, "document", _source(file.get("file_data") if isinstance(file, Mapping) else None))
        elif kind in {"input_audio", "video_url"}:
            raise ParameterError(f"Anthropic's API takes no {'sound' if kind == 'input_audio' else 'video'}.")
        elif kind != "text" or part.get("text"):
            yield {name: value for name, value in part.items() if name != "index"}


def _block(part: Mapping[str, Any], kind: str, source: Json) -> Json:
    block = {"type": kind, "source": source}
    return {**block, "cache_control": part["cache_control"]} if "cache_control" in part else block


def _source(address: Any) -> Json:
    """Where a picture or document is from: its bytes in a data: URL, or an address that Anthropic fetches."""
    if isinstance(address, str) and address.startswith("data:"):
        return base64_source(address)
    if isinstance(address, str) and address.startswith(("https://", "http://")):
        return {"type": "url", "url": address}
    raise ParameterError("A picture or file must be given as a data: URL or as an http(s) address.")


def base64_source(url: str) -> Json:
    """The media type and the base64 text of a data: URL. Raises ParameterError."""
    head, comma, data = url.removeprefix("data:").partition(",")
    kind, *others = head.split(";")
    if not comma or not kind or "base64" not in others:
        raise ParameterError("A data: URL must say its media type and be in base64.")
    return {"type": "base64", "media_type": kind, "data": data}


def _tool(tool: Any) -> Json:
    """A function as a tool; a tool in Anthropic's own form as it is."""
    if not isinstance(tool, Mapping):
        raise ParameterError("Each of 'tools' must be an object.")
    if tool.get("type", "function") != "function" or "function" not in tool:
        return dict(tool)
    function = tool["function"]
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise ParameterError("A tool's 'function' must be an object with a 'name'.")
    out: Json = {"name": function["name"], "input_schema": function.get("parameters") or {"type": "object"}}
    out |= {name: function[name] for name in ("description", "strict") if function.get(name)}
    return out | {name: tool[name] for name in ("cache_control",) if name in tool}


def _tool_choice(choice: Any, parallel: Any) -> Json | None:
    out: Json
    if choice is None or isinstance(choice, str):
        kind = _TOOL_CHOICES.get(choice or "auto")
        if kind is None:
            raise ParameterError(_CHOICES)
        out = {"type": kind}
    elif isinstance(choice, Mapping):
        function = choice.get("function", choice)
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(name, str):
            raise ParameterError(_CHOICES)
        out = {"type": "tool", "name": name}
    else:
        raise ParameterError(_CHOICES)
    if parallel is False and out["type"] != "none":
        out["disable_parallel_tool_use"] = True
    return None if choice is None and len(out) == 1 else out


def _output_config(shape: Any, effort: Any) -> Json:
    out: Json = {}
    if effort is not None and effort != "none":
        out["effort"] = "low" if effort == "minimal" else effort
    kind = shape.get("type") if isinstance(shape, Mapping) else None
    if isinstance(shape, Mapping) and kind == "json_schema":
        named = shape.get("json_schema")
        if not isinstance(named, Mapping) or not isinstance(named.get("schema"), Mapping):
            raise ParameterError("'response_format' of the type 'json_schema' must have a schema.")
        out["format"] = {"type": "json_schema", "schema": named["schema"]}
    elif shape is not None and kind != "text":
        raise ParameterError("Anthropic's API shapes answers by a 'json_schema' only.")
    return out
