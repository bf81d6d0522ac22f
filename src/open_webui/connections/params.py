"""From the page's and a profile's parameters to the fields of a provider's request."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from open_webui.errors import BadRequest

# OpenAI's own; a provider that does not know one says so.
_PLAIN: Final = frozenset(
    (
        "temperature top_p max_tokens max_completion_tokens frequency_penalty presence_penalty seed reasoning_effort"
        " logit_bias response_format verbosity n logprobs top_logprobs parallel_tool_calls tool_choice tools"
        " top_k min_p repeat_penalty"
    ).split()
)
# Ollama's, sent on as they are to connections that understand them.
_OLLAMA: Final = frozenset(
    (
        "num_ctx num_predict num_keep num_batch num_thread num_gpu mirostat mirostat_eta mirostat_tau repeat_last_n tfs_z"
        " use_mmap use_mlock think format keep_alive"
    ).split()
)
# What a person chooses of how a model answers; what it may call, and in which form it has to answer, is not among them.
PARAMETERS: Final = (_PLAIN | _OLLAMA | {"stop", "options"}) - {
    "tools", "tool_choice", "parallel_tool_calls", "response_format", "format", "keep_alive",
}  # fmt: skip


def merge(kind: str, *layers: dict[str, Any]) -> dict[str, Any]:
    """The provider's fields from layers of parameters, later ones win; null means not set.

    kind: the connection's kind. `custom_params` of a layer are passed on under their own names. Raises BadRequest for
    a stop list or a bias of tokens that is none.
    """
    out: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            if value is None or value == "":
                continue
            if name in _PLAIN or (name in _OLLAMA and kind in {"ollama", "local"}):
                read = _TYPED.get(name)
                out[name] = value if read is None else read(value)
            elif name == "stop":
                out["stop"] = _stop(value)
        custom = layer.get("custom_params")
        if isinstance(custom, dict):
            out |= {k: _typed(v) for k, v in custom.items() if k not in {"model", "messages", "stream"}}
    return out


def _typed(value: Any) -> Any:
    """A value that a person typed: JSON where it is any (true, 0.5, an object), else the text."""
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value.encode())
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return value


def _logit_bias(value: Any) -> Any:
    """Tokens with their bias, which the page's settings give as one text: "5432:100, 413:-100".

    Raises BadRequest for a text that is none.
    """
    if not isinstance(value, str):
        return value
    if isinstance(typed := _typed(value), dict):
        return typed
    try:
        pairs = [part.split(":") for part in value.split(",") if part.strip()]
        return {str(int(token)): max(-100, min(100, int(bias))) for token, bias in pairs}
    except ValueError:
        raise BadRequest("'logit_bias' should be tokens with their bias, such as '5432:100, 413:-100'.") from None


def _number(value: Any) -> Any:
    """A number that was typed as a text; what is none stays: a duration with its unit, or what the provider refuses."""
    typed = _typed(value)
    return typed if isinstance(typed, int | float) and not isinstance(typed, bool) else value


_NUMBERS: Final = frozenset(
    (
        "temperature top_p max_tokens max_completion_tokens frequency_penalty presence_penalty seed n top_logprobs top_k min_p"
        " repeat_penalty num_ctx num_predict num_keep num_batch num_thread num_gpu mirostat mirostat_eta mirostat_tau"
        " repeat_last_n tfs_z keep_alive"
    ).split()
)
# What a settings form gives as text although it is none.
_TYPED: Final[dict[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(_NUMBERS, _number),
    "logit_bias": _logit_bias,
    "format": _typed,
    "response_format": _typed,
    "think": _typed,
}


def _stop(value: Any) -> list[str]:
    """A list of stop texts; the page's settings give them as one text, separated by commas, with escapes."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")]
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value) or len(value) > 64:
        raise BadRequest("'stop' should be a list of texts.")
    return [part.replace("\\n", "\n").replace("\\t", "\t") for part in value if part]


def with_system(system: str, messages: Sequence[Any]) -> list[Any]:
    """The messages with a system prompt in front, joined to one that is there already."""
    if messages and isinstance(messages[0], dict) and messages[0].get("role") == "system":
        own = messages[0].get("content")
        if isinstance(own, str):
            return [{**messages[0], "content": f"{system}\n\n{own}"}, *messages[1:]]
    return [{"role": "system", "content": system}, *messages]


def behind_system(text: str, messages: Sequence[Any]) -> list[Any]:
    """The messages with a text behind the system prompt, or as the system prompt where there is none."""
    first = messages[0] if messages else None
    if isinstance(first, dict) and first.get("role") == "system" and isinstance(first.get("content"), str):
        return [{**first, "content": f"{first['content']}\n\n{text}"}, *messages[1:]]
    return with_system(text, messages)
