"""Requests to Anthropic's Messages API, made of chat requests in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from llamaforge.exceptions import ParameterError
from llamaforge.formats import fields
from llamaforge.formats.fields import Json

MAX_TOKENS: Final = 8_192
_TOOL_CHOICES: Final = {"auto": "auto", "required": "any", "none": "none", "function": "tool"}
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
    fields.refuse_missing(given, _MISSING, "Anthropic's API")
    system, messages = encode_messages(given.get("messages"))
    out: Json = {name: value for name, value in given.items() if name not in _TRANSLATED}
    out["messages"] = messages
    out["max_tokens"] = given.get("max_completion_tokens", given.get("max_tokens", max_tokens))
    if system:
        out["system"] = system
    if (stop := given.get("stop")) and "stop_sequences" not in out:
        out["stop_sequences"] = fields.texts(stop, "'stop'")
    if "user" in given and "metadata" not in out:
        out["metadata"] = {"user_id": given["user"]}
    if tools := given.get("tools"):
        out["tools"] = [_tool(tool, function) for tool, function in fields.functions(tools)]
        kind, name = fields.tool_choice(given.get("tool_choice"))
        choice: Json = {"type": _TOOL_CHOICES[kind], **({"name": name} if name else {})}
        if given.get("parallel_tool_calls") is False and kind != "none":
            choice["disable_parallel_tool_use"] = True
        if "tool_choice" in given or len(choice) > 1:
            out["tool_choice"] = choice
    out |= _thinking(given)
    return out


def encode_messages(messages: Any) -> tuple[list[Json], list[Json]]:
    """OpenAI's messages as the blocks of `system` and as `messages`, in which no two of one role follow each other."""
    makers: dict[str, fields.Maker] = {
        "system": _blocks, "user": _blocks, "assistant": _assistant, "tool": lambda message: [_tool_result(message)]
    }  # fmt: skip
    return fields.turns(messages, makers, names={"assistant": "assistant"}, content="content")


def _assistant(message: Mapping[str, Any]) -> Iterator[Json]:
    for block in fields.as_objects(message.get("thinking_blocks"), "'thinking_blocks'"):
        yield {name: value for name, value in block.items() if name != "index"}
    yield from _blocks(message)
    if refusal := message.get("refusal"):
        yield {"type": "text", "text": refusal}
    for call, name, arguments in fields.calls(message):
        yield {"type": "tool_use", "id": call.get("id"), "name": name, "input": arguments}


def _tool_result(message: Mapping[str, Any]) -> Json:
    block: Json = {"type": "tool_result", "tool_use_id": message.get("tool_call_id")}
    if content := list(_blocks(message)):
        block["content"] = content
    if message.get("is_error"):
        block["is_error"] = True
    return block


def _blocks(message: Mapping[str, Any]) -> Iterator[Json]:
    for part in fields.content_parts(message):
        kind = part["type"]
        if kind in {"input_audio", "video_url"}:
            raise ParameterError(f"Anthropic's API takes no {'sound' if kind == 'input_audio' else 'video'}.")
        if kind not in {"image_url", "file"}:
            yield {name: value for name, value in part.items() if name != "index"}
            continue
        block: Json = {
            "type": "image" if kind == "image_url" else "document",
            "source": _source(fields.address_in(part)),
        }
        yield {**block, "cache_control": part["cache_control"]} if "cache_control" in part else block


def _source(address: str) -> Json:
    """Where a picture or document is from: its bytes in a data: URL, or an address that Anthropic fetches."""
    if not address.startswith("data:"):
        return {"type": "url", "url": address}
    kind, data = fields.data_url(address)
    return {"type": "base64", "media_type": kind, "data": data}


def _tool(tool: Mapping[str, Any], function: Mapping[str, Any] | None) -> Json:
    """A function as a tool; a tool in Anthropic's own form as it is."""
    if function is None:
        return dict(tool)
    out: Json = {"name": function["name"], "input_schema": function.get("parameters") or {"type": "object"}}
    out |= {name: function[name] for name in ("description", "strict") if function.get(name)}
    return {**out, "cache_control": tool["cache_control"]} if "cache_control" in tool else out


def _thinking(given: Json) -> Json:
    """How much is thought about the answer, and the schema that it follows."""
    effort, schema = given.get("reasoning_effort"), fields.answer_schema(given.get("response_format"))
    if schema is not None and not schema:
        raise ParameterError("Anthropic's API has no JSON without a schema: give a 'json_schema' as 'response_format'.")
    config: Json = {}
    if effort is not None and effort != "none":
        config["effort"] = "low" if effort == "minimal" else effort
    if schema:
        config["format"] = {"type": "json_schema", "schema": schema}
    own = given.get("output_config")
    out: Json = {"output_config": {**config, **own} if isinstance(own, Mapping) else config} if config else {}
    return {"thinking": {"type": "disabled"}, **out} if effort == "none" and "thinking" not in given else out
