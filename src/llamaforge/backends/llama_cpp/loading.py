"""The parameters of a load, and how they become the engine's."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final

from llamaforge.backends.llama_cpp.adapters import adapter_scales, check_adapters
from llamaforge.exceptions import ModelLoadError, ParameterError
from llamaforge.gguf import CACHE_TYPES, Header, read_header
from llamaforge.parameters import Parameter, resolve

_log = logging.getLogger(__name__)
DEFAULT_CONTEXT: Final = 4096
DEFAULT_BATCH: Final = 512  # tokens of a prompt between two looks at whether the request was cancelled
_PROMPT_CACHE_MIB: Final = 512
_ALL_LAYERS: Final = 9999

LOAD: Final = (
    Parameter("n_ctx", "int", ("context_length", "num_ctx", "ctx_size"), low=0),
    Parameter("n_parallel", "int", ("num_parallel", "parallel"), low=1, high=256),
    Parameter("n_gpu_layers", "int", ("num_gpu", "gpu_layers"), low=-1),
    Parameter("n_batch", "int", ("num_batch", "batch_size"), low=1),
    Parameter("n_ubatch", "int", ("ubatch_size",), low=1),
    Parameter("n_threads", "int", ("num_thread", "num_threads", "threads"), low=1),
    Parameter("f16_kv", "bool"),
    Parameter("cache_type_k", "text", ("type_k",)),
    Parameter("cache_type_v", "text", ("type_v",)),
    Parameter("cache_ram", "int", ("cache_ram_mib",), low=0),
    Parameter("embedding", "bool", ("embeddings",)),
    Parameter("pooling_type", "text", ("pooling",)),
    Parameter("mmproj", "text", ("clip_model_path",)),
    Parameter("chat_template", "text"),
    Parameter("rope_freq_base", "float", low=0.0),
    Parameter("rope_freq_scale", "float", low=0.0),
    Parameter("rope_scaling", "text", ("rope_scaling_type",)),
    Parameter("yarn_orig_ctx", "int", low=0),
    Parameter("yarn_ext_factor", "float"),
    Parameter("yarn_attn_factor", "float"),
    Parameter("yarn_beta_fast", "float"),
    Parameter("yarn_beta_slow", "float"),
    Parameter("flash_attn", "any"),
    Parameter("seed", "int"),
    Parameter("use_mmap", "bool"),
    Parameter("use_mlock", "bool"),
    Parameter("lora", "any", ("lora_path",)),
    Parameter("main_gpu", "int", low=0),
    Parameter("model_alias", "text", ("alias",)),
    Parameter("verbose", "bool"),
)
_AS_THEY_ARE: Final = (
    "rope_freq_base", "rope_freq_scale", "yarn_orig_ctx", "yarn_ext_factor", "yarn_attn_factor", "yarn_beta_fast",
    "yarn_beta_slow", "main_gpu",
)  # fmt: skip
_POOLING: Final = ("none", "mean", "cls", "last", "rank")
_ROPE_SCALING: Final = ("none", "linear", "yarn", "longrope")
_FLASH: Final = {True: "ENABLED", "on": "ENABLED", False: "DISABLED", "off": "DISABLED", "auto": "AUTO"}


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """The parameters of a load with their defaults filled in.

    n_ctx: tokens that one request may use, prompt and answer. n_parallel: requests computed at once, each with its own n_ctx.
    cache_ram: MiB kept of prompts that left their slot. lora: files with the scales that they have where a request names none.
    """

    n_ctx: int
    n_parallel: int
    n_threads: int
    n_batch: int
    n_ubatch: int
    cache_type_k: str
    cache_type_v: str
    cache_ram: int
    embedding: bool
    pooling_type: str | None
    flash_attn: str
    lora: Mapping[str, float]
    others: Mapping[str, Any] = field(default_factory=dict)


def load_options(given: Mapping[str, Any] | None, header: Header) -> LoadOptions:
    """What the user gave, checked, with what the model and the machine suggest.

    Raises ParameterError, and ModelLoadError for a file that goes with the model and can't be used.
    """
    values = resolve(given, LOAD, "load parameter")
    longest = header.context_length or DEFAULT_CONTEXT
    n_ctx = _context(values.pop("n_ctx", min(longest, DEFAULT_CONTEXT)), longest)
    embedding = values.pop("embedding", False)
    # An embedding is computed in one go, so that a batch must hold the longest text.
    n_batch = max(values.pop("n_batch", DEFAULT_BATCH), n_ctx if embedding else 1)
    key_type, value_type = _cache_types(values)
    flash = _flash(values.pop("flash_attn", "auto"))
    if flash == "DISABLED" and value_type not in {"f32", "f16", "bf16"}:
        raise ParameterError(f"'cache_type_v' can be '{value_type}' only with 'flash_attn'.")
    pooling = values.pop("pooling_type", None)
    _one_of("pooling_type", pooling, _POOLING)
    _one_of("rope_scaling", values.get("rope_scaling"), _ROPE_SCALING)
    if "mmproj" in values and read_header(values["mmproj"]).architecture != "clip":
        raise ModelLoadError(f"{values['mmproj']} is not the vision part of a model.")
    lora = adapter_scales(values.pop("lora", {}))
    check_adapters(lora)
    if embedding and pooling is None and header.own_number("pooling_type") is None:
        pooling = "mean"
    return LoadOptions(
        n_ctx=n_ctx,
        n_parallel=values.pop("n_parallel", 1),
        n_threads=_threads(values.pop("n_threads", None)),
        n_batch=n_batch,
        n_ubatch=n_batch if embedding else min(n_batch, values.pop("n_ubatch", DEFAULT_BATCH)),
        cache_type_k=key_type,
        cache_type_v=value_type,
        cache_ram=values.pop("cache_ram", _PROMPT_CACHE_MIB),
        embedding=embedding,
        pooling_type=pooling,
        flash_attn=flash,
        lora=lora,
        others=values,
    )


def engine_parameters(engine: ModuleType, header: Header, options: LoadOptions, *, name: str, api_key: str) -> Any:
    """The CommonParams of xllamacpp. name: what the engine calls the model. api_key: what its HTTP server asks for."""
    values = options.others
    made = engine.CommonParams()
    made.model.path = os.fspath(header.path)
    made.model_alias = {name}
    made.api_keys = [api_key]
    made.ui = made.endpoint_slots = False
    made.verbosity = 3 if values.get("verbose") else -1
    made.n_parallel = options.n_parallel
    made.n_ctx = options.n_ctx * options.n_parallel  # the engine divides it among the slots
    made.n_batch, made.n_ubatch = options.n_batch, options.n_ubatch
    made.cpuparams.n_threads = made.cpuparams_batch.n_threads = options.n_threads
    made.cache_type_k = getattr(engine.ggml_type, f"GGML_TYPE_{options.cache_type_k.upper()}")
    made.cache_type_v = getattr(engine.ggml_type, f"GGML_TYPE_{options.cache_type_v.upper()}")
    made.cache_ram_mib = options.cache_ram
    flash = engine.llama_flash_attn_type
    made.flash_attn_type = getattr(flash, f"LLAMA_FLASH_ATTN_TYPE_{options.flash_attn}")
    made.embedding = options.embedding
    if options.pooling_type is not None:
        pooling = engine.llama_pooling_type
        made.pooling_type = getattr(pooling, f"LLAMA_POOLING_TYPE_{options.pooling_type.upper()}")
    made.lora_adapters = [engine.CommonAdapterLoraInfo(path, scale) for path, scale in options.lora.items()]
    layers = values.get("n_gpu_layers")
    made.fit_params = layers is None  # the engine chooses how many layers the GPU holds, unless it is told
    if layers is not None:
        made.n_gpu_layers = _ALL_LAYERS if layers == -1 else layers
    made.load_mode = _load_mode(engine, values)
    _set_others(engine, made, values)
    return made


def _set_others(engine: ModuleType, made: Any, values: Mapping[str, Any]) -> None:
    for name in _AS_THEY_ARE:
        if name in values:
            setattr(made, name, values[name])
    if "rope_scaling" in values:
        scaling = engine.llama_rope_scaling_type
        made.rope_scaling_type = getattr(scaling, f"LLAMA_ROPE_SCALING_TYPE_{values['rope_scaling'].upper()}")
    if "chat_template" in values:
        made.chat_template = values["chat_template"]
    if "mmproj" in values:
        made.mmproj.path = values["mmproj"]
    if "seed" in values:
        made.sampling.seed = values["seed"] & 0xFFFFFFFF


def _load_mode(engine: ModuleType, values: Mapping[str, Any]) -> Any:
    lock = "MLOCK" if values.get("use_mlock") else ""
    mapped = values.get("use_mmap")
    if mapped is None and not lock:
        return engine.llama_load_mode.LLAMA_LOAD_MODE_AUTO
    mode = "_".join(word for word in ("" if mapped is False else "MMAP", lock) if word)
    return getattr(engine.llama_load_mode, f"LLAMA_LOAD_MODE_{mode or 'NONE'}")


def _context(wanted: int, longest: int) -> int:
    """As the engine has it: in steps of 256 tokens, and never beyond what the model was trained for."""
    if wanted > longest:
        _log.warning("n_ctx %d is more than the model's context of %d tokens, which is used instead", wanted, longest)
    return min(-(-(wanted or longest) // 256) * 256, longest)


def _threads(wanted: int | None) -> int:
    """One core stays free: threads that wait for each other on a busy machine are many times slower than fewer of them."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    most = max(1, cores - 1)
    return most if wanted is None else min(wanted, most)


def _cache_types(values: dict[str, Any]) -> tuple[str, str]:
    usual = "f16" if values.pop("f16_kv", True) else "f32"
    types = values.pop("cache_type_k", usual), values.pop("cache_type_v", usual)
    for name, kind in zip(("cache_type_k", "cache_type_v"), types, strict=True):
        _one_of(name, kind, tuple(CACHE_TYPES))
    return types


def _flash(wanted: object) -> str:
    found = _FLASH.get(wanted) if isinstance(wanted, bool | str) else None
    if found is None:
        raise ParameterError("'flash_attn' must be true, false or 'auto'.")
    return found


def _one_of(name: str, value: str | None, choices: Sequence[str]) -> None:
    if value is not None and value not in choices:
        raise ParameterError(f"'{name}' must be one of: {', '.join(choices)}.")
