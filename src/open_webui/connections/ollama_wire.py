"""Ollama's chat wire without I/O: OpenAI's request into its own, its lines into events."""

import uuid
from typing import Any, Final

import msgspec

from llamaforge.events import Done, Event, Image, Reasoning, Text, ToolCall, Usage, pictures
from llamaforge.events.lenient import convert
from llamaforge.events.openai import UNREADABLE, Decoder, is_broken, message_of, usage_event
from llamaforge.events.repair import Repair
from open_webui.connections.chunks import TOO_LONG
from open_webui.constants import MAX_PROVIDER_LINE
from open_webui.errors import BadRequest, ProviderError

_encode: Final = msgspec.json.encode
# Under these names on both wires, but in `options` on Ollama's.
_OPTIONS: Final = frozenset(
    (
        "temperature top_p top_k min_p typical_p seed frequency_penalty presence_penalty repeat_penalty repeat_last_n tfs_z"
        " num_ctx num_predict num_keep num_batch num_thread num_gpu main_gpu numa penalize_newline draft_num_predict"
        " mirostat mirostat_eta mirostat_tau use_mmap use_mlock"
    ).split()
)
_PASSED: Final = ("tools", "keep_alive", "logprobs", "top_logprobs", "truncate", "shift")
_GENERATE: Final = ("prompt", "suffix", "images", "system", "template", "context", "raw")
_EFFORTS: Final = ("low", "medium", "high", "max")


def chat_request(payload: dict[str, Any], model: str) -> dict[str, Any]:
    """Ollama's request for an OpenAI one. Raises BadRequest for what Ollama can't take."""
    messages = payload.get("messages")
    if not isinstance(messages, list):
        raise BadRequest("'messages' should be a list.")
    return {"model": model, "messages": _messages(messages)} | _beside(payload)


def generate_request(payload: dict[str, Any], model: str) -> dict[str, Any]:
    """The request that goes on with a text, of a payload that has one instead of messages."""
    said = {name: payload[name] for name in _GENERATE if payload.get(name) is not None}
    return {"model": model} | said | _beside(payload)


def _beside(payload: dict[str, Any]) -> dict[str, Any]:
    """What both requests have beside what is said."""
    out: dict[str, Any] = {"stream": payload.get("stream") is True}
    if options := _options(payload):
        out["options"] = options
    for name in _PASSED:
        if payload.get(name) is not None:
            out[name] = payload[name]
    if (form := _format(payload)) is not None:
        out["format"] = form
    if (think := _think(payload)) is not None:
        out["think"] = think
    return out


def _options(payload: dict[str, Any]) -> dict[str, Any]:
    given = payload.get("options")
    out = dict(given) if isinstance(given, dict) else {}
    out |= {name: payload[name] for name in _OPTIONS if payload.get(name) is not None}
    limit = payload.get("max_completion_tokens") or payload.get("max_tokens")
    if limit is not None and "num_predict" not in out:
        out["num_predict"] = limit
    stop = payload.get("stop")
    if stop:
        out["stop"] = [stop] if isinstance(stop, str) else stop
    return out


def _format(payload: dict[str, Any]) -> Any:
    if payload.get("format"):
        return payload["format"]
    wanted = payload.get("response_format")
    if not isinstance(wanted, dict):
        return None
    if wanted.get("type") == "json_object":
        return "json"
    schema = wanted.get("json_schema")
    return schema.get("schema") if wanted.get("type") == "json_schema" and isinstance(schema, dict) else None


def _think(payload: dict[str, Any]) -> bool | str | None:
    think = payload.get("think")
    if isinstance(think, bool) or think in _EFFORTS:
        return think
    effort = payload.get("reasoning_effort")
    if effort == "none":
        return False
    return effort if effort in _EFFORTS else None


def _messages(messages: list[Any]) -> list[dict[str, Any]]:
    names: dict[str, str] = {}
    out = []
    for message in messages:
        if not isinstance(message, dict):
            raise BadRequest("Each message should be an object.")
        role = message.get("role")
        text, images = _content(message.get("content"))
        turned: dict[str, Any] = {"role": "system" if role == "developer" else role, "content": text}
        if images:
            turned["images"] = images
        if isinstance(message.get("reasoning_content"), str):
            turned["thinking"] = message["reasoning_content"]
        if calls := _calls(message.get("tool_calls"), names):
            turned["tool_calls"] = calls
        if role == "tool" and (name := message.get("name") or names.get(str(message.get("tool_call_id")))):
            turned["tool_name"] = name
        out.append(turned)
    return out


def _content(content: Any) -> tuple[str, list[str]]:
    """The text and the pictures (base64) of a message."""
    if content is None or isinstance(content, str):
        return content or "", []
    if not isinstance(content, list):
        raise BadRequest("A message's content should be a text or a list of parts.")
    texts, images = [], []
    for part in content:
        if not isinstance(part, dict):
            continue
        if isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif part.get("type") == "image_url":
            images.append(_image(part.get("image_url")))
    return "\n".join(texts), images


def _image(given: Any) -> str:
    url = given.get("url") if isinstance(given, dict) else given
    if not isinstance(url, str):
        raise BadRequest("A picture should be given as an address.")
    head, comma, body = url.partition(",")
    if url.startswith("data:") and comma and head.endswith(";base64"):
        return body
    raise BadRequest("Ollama takes pictures as base64 data: addresses only, not from the web.")


def _calls(calls: Any, names: dict[str, str]) -> list[dict[str, Any]]:
    out = []
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            continue
        name, arguments = str(function.get("name", "")), function.get("arguments")
        names[str(call.get("id"))] = name
        if isinstance(arguments, str):
            try:
                arguments = msgspec.json.decode(arguments)
            except (msgspec.DecodeError, RecursionError):
                arguments = {}
        out.append({"function": {"name": name, "arguments": arguments if isinstance(arguments, dict) else {}}})
    return out


class _Function(msgspec.Struct):
    name: str = ""
    arguments: dict[str, Any] | list[Any] | str | None = None


class _Call(msgspec.Struct):
    function: _Function | None = None
    id: str | None = None


class _Said(msgspec.Struct):
    content: str | list[Any] | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None
    images: list[Any] | None = None


class _Line(msgspec.Struct):
    """A line of a chat, or with `response` of a text that goes on. image: what a model that makes pictures has made."""

    message: _Said | None = None
    response: str | None = None
    thinking: str | None = None
    image: str | None = None
    context: list[int] | None = None
    logprobs: list[Any] | None = None
    done: bool = False
    done_reason: str | None = None
    error: Any = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_duration: int | None = None
    eval_duration: int | None = None


_decode: Final = msgspec.json.Decoder(_Line).decode
_DURATIONS: Final = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")


class LineReader:
    """Lines out of bytes, however they are split. too_long: one was longer than the limit; nothing after it is read."""

    def __init__(self, limit: int = MAX_PROVIDER_LINE) -> None:
        self.too_long = False
        self._limit = limit
        self._open: list[bytes] = []
        self._size = 0

    def feed(self, read: bytes) -> list[bytes]:
        first, *rest = read.split(b"\n")
        self._open.append(first)
        self._size += len(first)
        lines: list[bytes] = []
        if rest and self._size <= self._limit:
            last = rest.pop()
            lines = [b"".join(self._open), *rest]
            self._open, self._size = [last], len(last)
        self.too_long = self._size > self._limit
        return lines

    def close(self) -> list[bytes]:
        line = b"".join(self._open)
        self._open = []
        return [line] if line and not self.too_long else []


class LineDecoder:
    """The bytes of one answer as events.

    done: Ollama said that it is over. error: it told of an error; nothing after it counts. dropped: how many values,
    lines among them, had a form that can't be used. strays: how many of these were whole lines; unreadable: how many
    began as one.
    """

    def __init__(self) -> None:
        self.done = False
        self.error: ProviderError | None = None
        self.dropped = 0
        self.strays = self.unreadable = 0
        self._lines = LineReader()
        self._calls = 0
        self._repair = Repair()

    def feed(self, read: bytes) -> list[Event]:
        """The events of the lines that these bytes complete; at the end of the body no bytes."""
        events = self._decode(self._lines.feed(read) if read else self._lines.close())
        if self._lines.too_long and self.error is None:
            self.error = ProviderError(TOO_LONG)
        return events

    def _decode(self, lines: list[bytes]) -> list[Event]:
        out: list[Event] = []
        for text in lines:
            if self.done or self.error is not None:
                break
            if not text.strip():
                continue
            line = self._line(text)
            if line is None:
                self.dropped += 1
                self.strays += 1
            elif line.error:
                message = message_of(line.error) or "it gave no reason"
                self.error = ProviderError(
                    f"Ollama reported an error: {message[:2_000]}", body={"error": {"message": message}}
                )
            else:
                self._events(line, out)
        return out

    def _line(self, text: bytes) -> _Line | None:
        """The line in one typed step; field by field where one of them has an unexpected kind."""
        try:
            if self._repair.holds:
                value = self._repair.read(text)
            else:
                return _decode(text)
        except msgspec.ValidationError:
            value = msgspec.json.decode(text)
        except UNREADABLE:
            value = self._repair.read(text)
            self.unreadable += value is None and is_broken(text)
        if not isinstance(value, dict):
            return None
        line, lost = convert(value, _Line)
        self.dropped += lost
        return line

    def _events(self, line: _Line, out: list[Event]) -> None:
        said = line.message or _Said(line.response, line.thinking)
        if said.thinking:
            out.append(Reasoning(said.thinking))
        if isinstance(said.content, list):
            # Parts, as a server of OpenAI's form has them.
            parts = Decoder()
            out += parts.read_delta({"content": said.content})
            self.dropped += parts.lost
        elif said.content:
            out.append(Text(said.content, details={"logprobs": line.logprobs} if line.logprobs else None))
        for call in said.tool_calls or ():
            self._call(call, out)
        given = [*(said.images or ()), *((line.image,) if line.image else ())]
        urls = [_picture(one) if isinstance(one, str) else pictures.url_of(one) for one in given]
        out += [Image(url) for url in urls if url is not None]
        self.dropped += urls.count(None)
        if line.done:
            self.done = True
            reason = "tool_calls" if self._calls else ("length" if line.done_reason == "length" else "stop")
            out.append(Done(reason, details=_details(line)))
            if (usage := _usage(line)) is not None:
                out.append(usage)

    def _call(self, call: _Call, out: list[Event]) -> None:
        """A line's calls are whole; they have no numbers, and often no ids."""
        if call.function is None:
            return
        given = call.function.arguments or {}
        arguments = given if isinstance(given, str) else _encode(given).decode()
        out.append(ToolCall(self._calls, call.id or f"call_{uuid.uuid4().hex}", call.function.name, arguments))
        self._calls += 1


def _picture(text: str) -> str | None:
    """A picture of Ollama's as a data: URL: base64, of which no type is told."""
    return pictures.url_of(text) or pictures.of_base64(text, "image/png")


def _details(line: _Line) -> dict[str, Any] | None:
    """What Ollama says of the end that OpenAI's API has no word for."""
    found: dict[str, Any] = {} if line.context is None else {"context": line.context}
    if line.done_reason in {"load", "unload"}:
        found["done_reason"] = line.done_reason
    return found or None


def _usage(line: _Line) -> Usage | None:
    if line.prompt_eval_count is None and line.eval_count is None:
        return None
    asked, said = line.prompt_eval_count or 0, line.eval_count or 0
    raw: dict[str, Any] = {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}
    raw |= {name: value for name in _DURATIONS if (value := getattr(line, name)) is not None}
    return usage_event(raw)
