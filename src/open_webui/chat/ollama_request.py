"""Ollama's requests as ours, and what of them a model's provider is sent."""

import base64
import binascii
from typing import Any, Final

import msgspec

from open_webui.chat.request import ApiRequest, text_field, texts_field
from open_webui.connections.base import ModelEntry
from open_webui.errors import BadRequest
from open_webui.utils.pictures import sniff

# Ollama's option on the left, the field of OpenAI's API on the right.
OPTIONS: Final = {
    "temperature": "temperature",
    "top_p": "top_p",
    "num_predict": "max_tokens",
    "stop": "stop",
    "seed": "seed",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}
# What of a request goes on beside its messages and options, for those who know it.
_CHAT_FIELDS: Final = ("tools", "think", "keep_alive", "format", "logprobs", "top_logprobs", "truncate", "shift")
GENERATE_FIELDS: Final = (
    "prompt", "suffix", "images", "system", "template", "context", "raw", *_CHAT_FIELDS[1:],
)  # fmt: skip
_EFFORTS: Final = {"low": "low", "medium": "medium", "high": "high", "max": "high"}
_MAX_PROMPT: Final = 10_000_000
# So much of a picture says what it is.
_HEAD: Final = 64


def parse_chat(body: dict[str, Any]) -> ApiRequest:
    """An Ollama chat request as ours. Raises BadRequest naming what can't be used."""
    messages = body.get("messages")
    if messages is not None and (not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages)):
        raise BadRequest("'messages' should be a list of objects.")
    return _request(body, {"messages": _Conversation().messages(messages or [])}, _CHAT_FIELDS)


def parse_generate(body: dict[str, Any]) -> ApiRequest:
    """An Ollama generate request as ours, its fields as they came. Raises BadRequest."""
    for name, limit in (
        ("prompt", _MAX_PROMPT),
        ("suffix", _MAX_PROMPT),
        ("system", _MAX_PROMPT),
        ("template", _MAX_PROMPT),
    ):
        if body.get(name):
            text_field(body, name, limit=limit)
    return _request(body, {"prompt": body.get("prompt") or ""}, GENERATE_FIELDS)


def says_nothing(request: ApiRequest) -> bool:
    """Whether the request only loads a model or lets it go."""
    payload = request.payload
    return not (payload.get("messages") or payload.get("prompt") or payload.get("images"))


def _request(body: dict[str, Any], said: dict[str, Any], names: tuple[str, ...]) -> ApiRequest:
    model = str(text_field(body, "model", required=True))
    # Ollama streams unless told otherwise.
    stream = body.get("stream") is not False
    options = body.get("options") or {}
    if not isinstance(options, dict):
        raise BadRequest("'options' should be an object.")
    payload = {name: body[name] for name in names if body.get(name) is not None} | said
    payload |= {"model": model, "stream": stream}
    if options := {str(name): value for name, value in options.items() if value is not None}:
        payload["options"] = options
    tool_ids = texts_field(body, "tool_ids")
    return ApiRequest(model=model, stream=stream, payload=payload, wire="ollama", tool_ids=tool_ids)


def adapted(payload: dict[str, Any], entry: ModelEntry) -> dict[str, Any]:
    """The payload for a model's provider: all of it for Ollama, for others what OpenAI's API has a place for.

    Raises BadRequest for a text in whose middle something is to be written, which only Ollama is asked for.
    """
    if entry.kind == "ollama":
        return payload
    out = {name: payload[name] for name in payload if name not in GENERATE_FIELDS and name != "options"}
    options = payload.get("options") or {}
    if entry.kind == "local":
        # What is said, and by which model, is no option.
        out = {OPTIONS.get(name, name): value for name, value in options.items()} | out
        out |= {name: payload[name] for name in ("think", "format", "logprobs", "top_logprobs") if name in payload}
    else:
        # Ollama has -1 for as many as there may be, which others take for a mistake.
        options = {name: value for name, value in options.items() if name != "num_predict" or _is_limit(value)}
        out |= {OPTIONS[name]: value for name, value in options.items() if name in OPTIONS}
        if (effort := _EFFORTS.get(str(payload.get("think")))) is not None:
            out["reasoning_effort"] = effort
        if (form := _response_format(payload.get("format"))) is not None:
            out["response_format"] = form
    if "prompt" in payload:
        out["messages"] = _as_chat(payload)
    elif not entry.returns_reasoning:
        out["messages"] = [{k: v for k, v in m.items() if k != "reasoning_content"} for m in payload["messages"]]
    return out


def picture_parts(images: Any) -> list[dict[str, Any]]:
    """Pictures of a prompt as parts of a message. Raises BadRequest for what is no picture."""
    if not isinstance(images, list):
        return []
    return [{"type": "image_url", "image_url": {"url": _address(one)}} for one in images if isinstance(one, str)]


def _is_limit(value: Any) -> bool:
    return not isinstance(value, int | float) or value > 0


def _as_chat(payload: dict[str, Any]) -> list[dict[str, Any]]:
    if payload.get("suffix"):
        raise BadRequest("This model can't write into the middle of a text: 'suffix' is for models of Ollama.")
    question = _Conversation().message({"role": "user", "content": payload["prompt"], "images": payload.get("images")})
    system = payload.get("system")
    return ([{"role": "system", "content": system}] if system else []) + [question]


def _response_format(form: Any) -> dict[str, Any] | None:
    if form == "json":
        return {"type": "json_object"}
    if isinstance(form, dict):
        return {"type": "json_schema", "json_schema": {"name": "answer", "schema": form}}
    return None


class _Conversation:
    """Ollama's messages as OpenAI's: calls get ids, and their results the ids of the calls that they answer."""

    def __init__(self) -> None:
        self._count = 0
        # The calls without a result: name and id.
        self._pending: list[tuple[str, str]] = []

    def messages(self, given: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [self.message(message) for message in given]

    def message(self, message: dict[str, Any]) -> dict[str, Any]:
        content, images = message.get("content") or "", message.get("images")
        out: dict[str, Any] = {"role": message.get("role", "user"), "content": content}
        if isinstance(images, list) and images and isinstance(content, str):
            pictures = picture_parts(images)
            out["content"] = [{"type": "text", "text": content}, *pictures]
        if isinstance(message.get("thinking"), str) and message["thinking"]:
            out["reasoning_content"] = message["thinking"]
        calls = message.get("tool_calls")
        if isinstance(calls, list) and calls:
            self._pending = []
            out["tool_calls"] = [self._call(call) for call in calls if isinstance(call, dict)]
        if message.get("role") == "tool":
            out["tool_call_id"] = self._answered(message)
        return out

    def _call(self, call: dict[str, Any]) -> dict[str, Any]:
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        name, arguments = str(function.get("name", "")), function.get("arguments")
        if not isinstance(arguments, str):
            arguments = msgspec.json.encode(arguments or {}).decode()
        call_id = str(call.get("id") or f"call_{self._count}")
        self._count += 1
        self._pending.append((name, call_id))
        return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}

    def _answered(self, message: dict[str, Any]) -> str:
        """The id of the call that a result answers: the one it names, the next of its tool, or the next of all."""
        given, name = message.get("tool_call_id"), message.get("tool_name") or message.get("name")
        found = next(
            (pending for pending in self._pending if pending[1] == given),
            next((pending for pending in self._pending if pending[0] == name), None),
        ) or (self._pending[0] if self._pending and not given else None)
        if found is None:
            return str(given or name or "call_0")
        self._pending.remove(found)
        return found[1]


def _address(image: str) -> str:
    """Ollama's pictures are bare base64; what they are is seen by their bytes."""
    if image.startswith("data:"):
        return image
    try:
        kind = sniff(base64.b64decode(image[:_HEAD]))
    except (binascii.Error, ValueError):
        kind = None
    return f"data:{kind or 'image/png'};base64,{image}"
