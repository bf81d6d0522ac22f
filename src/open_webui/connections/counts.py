"""The counts of tokens: how a stream is asked for them, by whom that is refused, and where an answer tells them."""

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from open_webui.errors import ProviderError

# A provider that doesn't know a field refuses the request with one of these.
_REFUSALS: Final = frozenset({400, 422})
_FIELD: Final = "stream_options"
_FIELD_WORDS: Final = re.compile(r"stream_options|include_usage")
# What those say that don't say which field it is.
_UNNAMED_FIELD: Final = re.compile(
    r"\b(extra|unknown|unrecogni[sz]ed|additional|unexpected|unsupported)\b[^.]{0,40}\b"
    r"(field|parameter|propert(y|ie)|argument|input|key|option)s?\b",
    re.IGNORECASE,
)

_IN_EVERY_REQUEST: Final = frozenset({"model", "messages", "stream", _FIELD})
# Where FastAPI repeats what it was sent.
_REPEATED: Final = frozenset({"input", "ctx", "body"})


class _Groq(msgspec.Struct, frozen=True):
    usage: dict[str, Any] | None = None


class Told(msgspec.Struct, frozen=True):
    """The part of a chunk, of a completion, or of embeddings that is counted. x_groq: where Groq has the usage."""

    usage: dict[str, Any] | None = None
    x_groq: _Groq | None = None
    choices: msgspec.Raw = msgspec.Raw()
    prompt_eval_count: int | None = None


NO_CHOICES: Final = frozenset({b"", b"[]", b"null"})
_decode: Final = msgspec.json.Decoder(Told).decode
# What else a chunk holds stays as it came.
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_EMPTY_CHOICE: Final = msgspec.Raw(b'[{"index":0,"delta":{},"finish_reason":null}]')


def told_by(payload: bytes) -> Told | None:
    try:
        told = _decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if told.usage is None and told.x_groq is not None:
        return msgspec.structs.replace(told, usage=told.x_groq.usage)
    return told


def with_choice(payload: bytes) -> bytes:
    """A chunk that holds only counts, beside a choice that says nothing: many clients read the first choice of each chunk."""
    return msgspec.json.encode(_members(payload) | {"choices": _EMPTY_CHOICE})


def usage_of(body: bytes) -> dict[str, Any] | None:
    """The usage that a chunk, a whole answer or embeddings tell, Ollama's own embeddings among them."""
    told = told_by(body) if b'"usage"' in body or b'"prompt_eval_count"' in body else None
    if told is None or told.usage is not None:
        return None if told is None else told.usage
    return None if told.prompt_eval_count is None else {"prompt_tokens": told.prompt_eval_count}


def refuses_field(error: ProviderError, asking: dict[str, Any], *, was_taken: bool) -> bool:
    """Whether a provider refused a request for the field that asks for usage, and not for what its client sent.

    asking: the request. was_taken: the provider took the field before, so that it would name it.
    """
    if error.status not in _REFUSALS:
        return False
    said = list(_strings(error.body))
    if _FIELD_WORDS.search(" ".join([error.detail, *said])):
        return True
    names_another = _names_field(error.body) or any(
        re.search(rf"\b{re.escape(name)}\b", error.detail) for name in asking if name not in _IN_EVERY_REQUEST
    )
    return not was_taken and not names_another and _UNNAMED_FIELD.search(error.detail) is not None


def _strings(body: Any, depth: int = 6) -> Iterator[str]:
    """What an error's body says, without the parts of the request that it repeats."""
    if isinstance(body, str):
        yield body
    elif depth and isinstance(body, list | dict):
        for value in [body[k] for k in body if k not in _REPEATED] if isinstance(body, dict) else body:
            yield from _strings(value, depth - 1)


def _names_field(body: Any, depth: int = 6) -> bool:
    """Whether an error's body says in a member of its own which field it is about: OpenAI's `param`, FastAPI's `loc`."""
    if not depth or not isinstance(body, list | dict):
        return False
    if isinstance(body, dict) and any(body.get(name) for name in ("param", "loc")):
        return True
    return any(_names_field(value, depth - 1) for value in (body.values() if isinstance(body, dict) else body))


def asks_usage(payload: dict[str, Any]) -> bool:
    options = payload.get(_FIELD)
    return isinstance(options, dict) and options.get("include_usage") is True


def with_usage(payload: dict[str, Any]) -> dict[str, Any]:
    """The payload that asks for usage. What a client sends in the field's place and is none stays for its provider to refuse."""
    options = payload.get(_FIELD)
    if options is not None and not isinstance(options, dict):
        return payload
    return payload | {_FIELD: {**(options or {}), "include_usage": True}}


def without_usage(payload: dict[str, Any]) -> dict[str, Any]:
    """The payload as its client would send it to a provider that doesn't count."""
    options = payload.get(_FIELD)
    if not isinstance(options, dict):
        return payload
    kept = {name: value for name, value in options.items() if name != "include_usage"}
    rest = {name: value for name, value in payload.items() if name != _FIELD}
    return rest | {_FIELD: kept} if kept else rest
