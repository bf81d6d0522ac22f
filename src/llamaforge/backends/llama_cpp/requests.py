"""The parameters of a generation, and how they become a request to the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from llamaforge.backends.base import Message
from llamaforge.exceptions import ParameterError, UnsupportedError
from llamaforge.formats.completions import Json
from llamaforge.formats.request import MEDIA, TEXT, Request, checked_messages, shaped
from llamaforge.formats.schema import grammar, is_plain
from llamaforge.parameters import SAMPLING, SHAPE, Parameter, checked, resolve

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
    Parameter("lora", "any"),
)
# Of the engine's own HTTP server; a library's caller has no use for them.
OVER_HTTP: Final = (
    *GENERATION,
    Parameter("reasoning_effort", "text"),
    Parameter("reasoning_format", "text"),
    Parameter("thinking_budget_tokens", "int"),
    Parameter("timings_per_token", "bool"),
    Parameter("return_progress", "bool"),
    Parameter("return_tokens", "bool"),
    Parameter("post_sampling_probs", "bool"),
    Parameter("t_max_predict_ms", "int"),
    Parameter("n_keep", "int"),
    Parameter("continue_final_message", "any"),
    Parameter("add_generation_prompt", "bool"),
)
_REASONING_FORMATS: Final = ("none", "auto", "deepseek", "deepseek-legacy")
_LOGPROBS: Final = Parameter("logprobs", "int", low=0, high=1000)
_CHAT_ONLY: Final = ("tools", "tool_choice", "parallel_tool_calls", "chat_template_kwargs")


def text_request(prompt: object, parameters: Mapping[str, Any] | None, known: Sequence[Parameter] = GENERATION) -> Json:
    """A request for the continuation of `prompt`. Raises ParameterError."""
    if not isinstance(prompt, str):
        raise ParameterError("The prompt must be text.")
    return {**text_parameters(parameters, known), "prompt": prompt}


def text_parameters(parameters: Mapping[str, Any] | None, known: Sequence[Parameter]) -> Json:
    """What goes with a prompt. Raises ParameterError."""
    given = _parameters(parameters, known)
    for name in _CHAT_ONLY:
        if name in given:
            raise ParameterError(f"'{name}' goes with messages, not with a plain prompt.")
    if "json_schema" in given:
        given["grammar"] = grammar(given.pop("json_schema"))
    if "logprobs" in given:  # of OpenAI's plain completions, a number
        given["n_probs"] = int(checked(_LOGPROBS, "logprobs", given.pop("logprobs"))) or 1
    return given


def infill_prompt(request: Request) -> Json:
    """What is to be filled in, as the engine's endpoint for that takes it; it gives no other form than its own stream."""
    if request.n > 1 or len(request.content) > 1 or not isinstance(request.content[0], str):
        raise UnsupportedError("'suffix' goes with one prompt, which is text, and one answer to it.")
    return {"input_prefix": request.content[0], "input_suffix": request.suffix, "stream": True}


def chat_request(
    messages: Sequence[Message],
    parameters: Mapping[str, Any] | None,
    *,
    media: bool,
    known: Sequence[Parameter] = GENERATION,
) -> Json:
    """A request for the assistant's next turn.

    media: whether the model takes images and sounds. Raises ParameterError; UnsupportedError where there are any and it doesn't.
    """
    given = _parameters(parameters, known)
    schema = given.get("json_schema")
    if schema is not None and not is_plain(schema):
        if "tools" in given:
            raise ParameterError(
                "Beside tools, a JSON schema may have no more than types, enum, const, anyOf, properties, items, lengths and "
                "bounds of integers, and none that contains itself."
            )
        # The engine's own grammar would not hold it. This one leaves no room for thoughts.
        given["grammar"] = grammar(given.pop("json_schema"))
        given["reasoning_format"] = "none"
        given["chat_template_kwargs"] = {**given.get("chat_template_kwargs", {}), "enable_thinking": False}
    return {**given, "messages": checked_messages(messages, TEXT | MEDIA if media else TEXT)}


def _parameters(parameters: Mapping[str, Any] | None, known: Sequence[Parameter]) -> Json:
    given = shaped(resolve(parameters, known, "generation parameter"))
    if given.pop("do_sample", None) is False:
        given["temperature"] = 0.0
    if given.get("reasoning_format", "auto") not in _REASONING_FORMATS:
        raise ParameterError(f"'reasoning_format' must be one of {', '.join(_REASONING_FORMATS)}.")
    return given
