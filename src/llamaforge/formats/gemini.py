"""Requests to Gemini's `generateContent`, made of chat requests in OpenAI's shape."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from llamaforge.exceptions import ParameterError
from llamaforge.formats import fields
from llamaforge.formats.fields import Json

_MODES: Final = {"auto": "AUTO", "none": "NONE", "required": "ANY", "function": "ANY"}
# OpenAI's parameters under Gemini's names.
_CONFIG: Final[Mapping[str, str]] = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "max_tokens": "maxOutputTokens",
    "max_completion_tokens": "maxOutputTokens",
    "n": "candidateCount",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "logprobs": "responseLogprobs",
    "top_logprobs": "logprobs",
}
# What stands elsewhere than at the top, or says nothing to a model.
_TRANSLATED: Final = frozenset(
    "model messages tools tool_choice stop response_format reasoning_effort stream stream_options user metadata store "
    "generationConfig parallel_tool_calls".split()
)
_MISSING: Final[Mapping[str, tuple[Any, ...]]] = {"logit_bias": ({},), "parallel_tool_calls": (True,), "audio": ()}


def encode_request(request: Mapping[str, Any]) -> Json:
    """A chat request in OpenAI's shape as the body of one to `models/MODEL:generateContent`, or `:streamGenerateContent`.

    Parameters that OpenAI does not know, such as `safetySettings`, are handed on as they are; `generationConfig` is laid
    over what is made of the others. Schemas go as JSON schemas (`responseJsonSchema`). A call of a tool, or a part with
    text, has its `thought_signature` in `extra_content["google"]`, as in Google's own API of OpenAI's shape. Raises
    ParameterError for a form of message that is not known and for parameters that the API does not have.
    """
    given = {name: value for name, value in request.items() if value is not None}
    fields.refuse_missing(given, _MISSING, "Gemini's API")
    system, contents = encode_messages(given.get("messages"))
    taken = _TRANSLATED | _CONFIG.keys()
    out: Json = {name: value for name, value in given.items() if name not in taken}
    out["contents"] = contents
    if system:
        out["systemInstruction"] = {"parts": system}
    if tools := given.get("tools"):
        out["tools"] = _tools(tools)
        kind, name = fields.tool_choice(given.get("tool_choice"))
        calling: Json = {"mode": _MODES[kind], **({"allowedFunctionNames": [name]} if name else {})}
        if "tool_choice" in given:
            out["toolConfig"] = {"functionCallingConfig": calling}
    if config := _config(given):
        out["generationConfig"] = config
    return out


def encode_messages(messages: Any) -> tuple[list[Json], list[Json]]:
    """OpenAI's messages as the parts of `systemInstruction` and as `contents`, in which no two of one role follow."""
    called: dict[Any, str] = {}
    makers: dict[str, fields.Maker] = {
        "system": _parts, "user": _parts, "assistant": lambda message: [*_parts(message), *_calls(message, called)],
        "tool": lambda message: _result(message, called),
    }  # fmt: skip
    return fields.turns(messages, makers, names={"assistant": "model"}, content="parts")


def _parts(message: Mapping[str, Any]) -> Iterator[Json]:
    for part in fields.content_parts(message):
        if part["type"] == "text":
            yield {"text": part["text"], **_signature(part)}
            continue
        address = fields.address_in(part)
        if address.startswith("data:"):
            kind, data = fields.data_url(address)
            yield {"inlineData": {"mimeType": kind, "data": data}}
        else:
            guessed = mimetypes.guess_type(address)[0]
            yield {"fileData": {"fileUri": address, **({"mimeType": guessed} if guessed else {})}}


def _calls(message: Mapping[str, Any], names: dict[Any, str]) -> Iterator[Json]:
    """Calls of a message. names: gets the function's name by each call's id, which only the call's result has."""
    for call, name, arguments in fields.calls(message):
        names[str(call.get("id"))] = name
        out: Json = {
            "functionCall": {"name": name, "args": arguments, **({"id": call["id"]} if call.get("id") else {})}
        }
        yield {**out, **_signature(call)}


def _signature(given: Mapping[str, Any]) -> Json:
    """What Google signed in a text or call that it wants back."""
    extra = given.get("extra_content")
    google = extra.get("google") if isinstance(extra, Mapping) else None
    signature = google.get("thought_signature") if isinstance(google, Mapping) else None
    return {"thoughtSignature": signature} if signature else {}


def _result(message: Mapping[str, Any], names: Mapping[Any, str]) -> list[Json]:
    """The result of a call. Gemini wants an object: a text that is none stands in one; pictures follow on their own."""
    parts = list(_parts(message))
    text = "\n".join(part["text"] for part in parts if "text" in part)
    call = message.get("tool_call_id")
    name = names.get(str(call)) or message.get("name")
    if not isinstance(name, str):
        raise ParameterError(f"The result of a tool belongs to no call before it ({call!r}), and has no 'name'.")
    try:
        response = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        response = text
    if message.get("is_error"):
        response = {"error": response}
    elif not isinstance(response, dict):
        response = {"output": response}
    answered = {"name": name, "response": response, **({"id": call} if call else {})}
    return [{"functionResponse": answered}, *(part for part in parts if "text" not in part)]


def _tools(tools: Any) -> list[Json]:
    """All functions as one tool; tools in Gemini's own form, such as {"googleSearch": {}}, as they are."""
    declared: list[Json] = []
    out: list[Json] = []
    for tool, function in fields.functions(tools):
        if function is None:
            out.append(dict(tool))
            continue
        declaration = {name: function[name] for name in ("name", "description") if function.get(name)}
        if function.get("parameters"):
            declaration["parametersJsonSchema"] = function["parameters"]
        declared.append(declaration)
    return [{"functionDeclarations": declared}, *out] if declared else out


def _config(given: Json) -> Json:
    out = {theirs: given[ours] for ours, theirs in _CONFIG.items() if ours in given}
    if stop := given.get("stop"):
        out["stopSequences"] = fields.texts(stop, "'stop'")
    schema = fields.answer_schema(given.get("response_format"))
    if schema is not None:
        out["responseMimeType"] = "application/json"
        if schema:
            out["responseJsonSchema"] = schema
    effort = given.get("reasoning_effort")
    if effort == "none":
        out["thinkingConfig"] = {"thinkingBudget": 0}
    elif isinstance(effort, str):
        out["thinkingConfig"] = {"thinkingLevel": effort.upper(), "includeThoughts": True}
    own = given.get("generationConfig")
    return {**out, **own} if isinstance(own, Mapping) else out
