"""What the Transformers backend takes, and a generation's parameters as one value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llamaforge.exceptions import ParameterError, UnsupportedError
from llamaforge.parameters import SAMPLING, SHAPE, Parameter

LOAD: tuple[Parameter, ...] = (
    Parameter("device", "text"),
    Parameter("torch_dtype", "text", ("dtype",)),
    Parameter("trust_remote_code", "bool"),
    Parameter("allow_pickle", "bool"),
    Parameter("cache_dir", "any"),
    Parameter("revision", "text"),
    Parameter("local_files_only", "bool"),
    Parameter("attn_implementation", "text"),
    Parameter("n_ctx", "int", ("context_length", "max_length"), low=1),
    Parameter("n_threads", "int", low=1),
    Parameter("max_batch", "int", ("parallel", "n_parallel"), low=1, high=1024),
    Parameter("batch_tokens", "int", low=64),
    Parameter("lora", "any", ("lora_path", "adapter")),
)
GENERATION: tuple[Parameter, ...] = (
    *SAMPLING,
    *SHAPE,
    Parameter("do_sample", "bool"),
    Parameter("num_beams", "int", low=1, high=64),
    Parameter("no_repeat_ngram_size", "int", low=0),
    Parameter("min_new_tokens", "int", ("min_tokens",), low=0),
    Parameter("lora", "any"),
)
EMBEDDING: tuple[Parameter, ...] = (Parameter("normalize", "bool"),)


@dataclass(frozen=True, slots=True)
class Form:
    """What an answer must be. With a schema and tools it may be either.

    schema: a checked JSON schema. grammar: in llama.cpp's notation (GBNF). tools: OpenAI's, one of which is called.
    many: whether several calls may follow each other.
    """

    schema: Mapping[str, Any] | None = None
    grammar: str | None = None
    tools: Sequence[Mapping[str, Any]] = ()
    many: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """How one answer is drawn. A value of None is switched off.

    max_tokens: None for as many as the context holds. temperature: None draws the likeliest token each time.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    seed: int | None = None
    repeat_penalty: float | None = None
    repeat_last_n: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    no_repeat_ngram_size: int = 0
    min_new_tokens: int = 0
    num_beams: int = 1
    stop: tuple[str, ...] = ()


def settings(given: Mapping[str, Any], model: Mapping[str, Any]) -> Settings:
    """The settings of a call. given: its parameters, resolved. model: the defaults of the model's generation_config.json.

    Raises ParameterError and UnsupportedError.
    """
    refuse_adapters(given)
    values = {**model, **given}
    for name, off in (("typical_p", "1"), ("repeat_penalty", "1")):
        if values.get(name) == 0:
            raise ParameterError(f"'{name}' must be more than 0; {off} switches it off.")
    most = values.get("max_tokens", -1)
    seed = given.get("seed", -1)
    top_k = values.get("top_k", 0)
    beams = values.get("num_beams", 1)
    temperature = _temperature(given, values)
    if beams > 1 and temperature is not None:
        if given.get("num_beams", 1) > 1:
            raise UnsupportedError("A search with num_beams does not sample; give temperature 0 or do_sample false.")
        beams = 1
    if beams > 1 and (given.keys() & {"json_schema", "grammar"} or given.get("tool_choice") == "required"):
        if given.get("num_beams", 1) > 1:
            raise UnsupportedError("A search with num_beams can't be held to a schema, a grammar or a call of a tool.")
        beams = 1
    return Settings(
        max_tokens=None if most < 0 else most,
        temperature=temperature,
        top_k=top_k if top_k > 0 else None,
        top_p=_unless(values.get("top_p"), 1.0),
        min_p=_unless(values.get("min_p"), 0.0),
        typical_p=_unless(values.get("typical_p"), 1.0),
        seed=None if seed == -1 else seed,
        repeat_penalty=_unless(values.get("repeat_penalty"), 1.0),
        repeat_last_n=_unless(values.get("repeat_last_n"), -1),
        presence_penalty=values.get("presence_penalty", 0.0),
        frequency_penalty=values.get("frequency_penalty", 0.0),
        no_repeat_ngram_size=values.get("no_repeat_ngram_size", 0),
        min_new_tokens=values.get("min_new_tokens", 0),
        num_beams=beams,
        stop=tuple(values.get("stop", ())),
    )


def _temperature(given: Mapping[str, Any], values: Mapping[str, Any]) -> float | None:
    """The temperature, or None where the likeliest token is taken.

    Sampling is what the call says with do_sample; what it implies by any of the sampling's own parameters; and what the
    model's file says where the call says nothing.
    """
    samples = given.get("do_sample")
    if samples is None:
        implied = given.keys() & {"temperature", "top_p", "top_k", "min_p", "typical_p"}
        samples = bool(implied) or bool(values.get("do_sample"))
    temperature = values.get("temperature", 1.0)
    return float(temperature) if samples and temperature > 0 else None


def _unless(value: Any, off: float) -> Any:
    return None if value is None or value == off else value


def form_of(given: Mapping[str, Any], tools: Sequence[Mapping[str, Any]]) -> Form | None:
    """What the answer is held to. given: parameters in one form (see `shaped`). tools: those that the model is told of.

    Raises ParameterError.
    """
    schema, grammar = given.get("json_schema"), given.get("grammar")
    forced = given.get("tool_choice") == "required"
    if grammar is not None and tools:
        raise ParameterError("'grammar' and 'tools' both shape the answer; give one of them.")
    if schema is None and grammar is None and not forced:
        return None
    # A model that has to call a tool can't say that it has called enough of them.
    many = not forced and given.get("parallel_tool_calls") is not False
    return Form(None if forced else schema, grammar, tuple(tools), many)


def refuse_adapters(given: Mapping[str, Any]) -> None:
    """Raises UnsupportedError for LoRA adapters."""
    if "lora" in given:
        raise UnsupportedError(
            "The huggingface backend applies no LoRA adapters. Merge the adapter into the model, or use llama.cpp's 'lora'."
        )


def tools_of(given: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The tools that the model is told of."""
    return [] if given.get("tool_choice") == "none" else list(given.get("tools", ()))


def model_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults of a generation_config.json under the names used here, those that are given and make sense."""
    names = {
        "max_new_tokens": "max_tokens",
        "repetition_penalty": "repeat_penalty",
        **{
            name: name
            for name in (
                *("do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p"),
                *("no_repeat_ngram_size", "min_new_tokens"),
            )
        },
    }
    return {name: config[spelled] for spelled, name in names.items() if isinstance(config.get(spelled), int | float)}
