"""From a name to a model in memory: folders and the hub, and what is refused before anything of it runs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, StrictDataclassError
from safetensors import SafetensorError
from tokenizers import Tokenizer
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    GenerationConfig,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging as library_logging

from llamaforge import hub_cache
from llamaforge.exceptions import ModelLoadError
from llamaforge.model import expanded

# What the hub is waited for before it counts as out of reach, in seconds.
HUB_TIMEOUT = 10.0
# What the hub's client raises for connections, of whichever HTTP library it uses.
_HTTP_ERROR: type[BaseException] = HfHubHTTPError.__bases__[0]
_FILES = ["*.json", "*.jinja", "*.txt", "*.model", "*.safetensors"]
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
# The kinds of models whose pictures are read. Their answers are what the library's own loop writes; others keep a state in
# the model itself, or count places in the text in their own way.
SEEING = frozenset({"idefics3", "llava"})
_PROCESSORS = ("processor_config.json", "preprocessor_config.json")
# A tokenizer without a known length claims 1e30.
_LONGEST = 10**9
# What the libraries raise for files that they can't read or that don't fit together.
_FAULTS = (
    OSError,
    ValueError,
    RuntimeError,
    KeyError,
    TypeError,
    AttributeError,
    ImportError,
    MemoryError,
    ArithmeticError,
    SafetensorError,
    StrictDataclassError,
    UnpicklingError,
)


# The library sets torch's default precision for the whole process while it loads.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True, slots=True)
class Source:
    """Where the files of a model are, and what may be done with them."""

    folder: Path
    name: str
    trusts_code: bool = False
    allows_pickle: bool = False


@dataclass(frozen=True, slots=True)
class Model:
    """A model in memory with what belongs to it.

    context: its length in tokens, None where it has no limit. ends: tokens that end an answer. writes: whether it
    continues texts; one that doesn't makes embeddings only. processor: what lays out pictures, of a model that sees them.
    """

    network: Any
    tokenizer: Any
    bare_tokenizer: Tokenizer
    generation: Mapping[str, Any]
    context: int | None
    ends: frozenset[int]
    writes: bool
    processor: Any = None


def find(name: str, parameters: Mapping[str, Any]) -> Source:
    """The files of `name`: a folder on this machine, or a repository of the hub, which is downloaded unless it was before.

    Raises ModelLoadError.
    """
    trusts, pickle = bool(parameters.get("trust_remote_code")), bool(parameters.get("allow_pickle"))
    path = expanded(name)
    if path.is_dir():
        source = Source(path, name, trusts, pickle)
    elif path.exists():
        raise ModelLoadError(f"'{name}' is a file; the huggingface backend needs the folder of a Transformers model.")
    elif not hub_cache.is_name(name):
        raise ModelLoadError(
            f"There is no folder '{name}', and it is no name of a repository of the hub ('name' or 'owner/name') either."
        )
    else:
        source = Source(_download(name, parameters, trusts=trusts, pickle=pickle), name, trusts, pickle)
    _inspect(source)
    return source


def _download(name: str, parameters: Mapping[str, Any], *, trusts: bool, pickle: bool) -> Path:
    """The folder of a repository in the hub's cache. The hub is asked only for what is not there, or where
    `local_files_only` is False, for what it has that is newer.
    """
    patterns = [*_FILES, *(["*.py"] if trusts else []), *(_PICKLES if pickle else [])]
    revision, cache = parameters.get("revision"), parameters.get("cache_dir") or hub_cache.folder()
    present = hub_cache.find(name, cache, revision)
    weights = ("*.safetensors", *(_PICKLES if pickle else ()))
    if (
        parameters.get("local_files_only") is not False
        and present
        and hub_cache.is_whole(present, weights, code=trusts)
    ):
        return present
    local = bool(parameters.get("local_files_only"))
    reason = "only local files are allowed"
    try:
        if not local:
            reason = _unreachable(name, revision)
        folder = snapshot_download(
            name,
            revision=revision,
            cache_dir=cache,
            local_files_only=local or bool(reason),
            allow_patterns=patterns,
            etag_timeout=HUB_TIMEOUT,
        )
    except HfHubHTTPError as error:
        raise ModelLoadError(f"The hub does not give '{name}': {_reason(error)}") from error
    except HFValidationError as error:
        raise ModelLoadError(f"There is no folder '{name}', and it is no name of a repository of the hub.") from error
    except (OSError, _HTTP_ERROR) as error:
        raise ModelLoadError(
            f"There is no folder '{name}', and it has not been downloaded before: {reason or _reason(error)}."
        ) from error
    return Path(folder)


def _unreachable(name: str, revision: str | None) -> str:
    """Why the hub can't be reached, or "": asked first, since the download itself would wait for ever."""
    try:
        HfApi().model_info(name, revision=revision, timeout=HUB_TIMEOUT)
    except HfHubHTTPError:
        raise
    except (OSError, _HTTP_ERROR) as error:
        return f"the Hugging Face hub can't be reached (no network?): {_reason(error)}"
    return ""


def _inspect(source: Source) -> None:
    """Refuses what can't be loaded, or would run somebody else's code unasked. Raises ModelLoadError."""
    config = _read_config(source)
    if not source.trusts_code:
        tokenizer = source.folder / "tokenizer_config.json"
        settings = _read_json(tokenizer, source) if tokenizer.exists() else {}
        if config.get("auto_map") or settings.get("auto_map"):
            raise ModelLoadError(
                f"'{source.name}' brings code of its own, which would run on this machine. If you trust it, load it with "
                "trust_remote_code=True."
            )
    if config.get("is_encoder_decoder"):
        raise ModelLoadError(
            f"'{source.name}' is an encoder-decoder model; the huggingface backend runs decoders and encoders."
        )
    if any(source.folder.glob("*.safetensors")):
        return
    pickles = [path.name for pattern in _PICKLES for path in source.folder.glob(pattern)]
    if not pickles:
        raise ModelLoadError(f"'{source.name}' has no weights (no *.safetensors file).")
    if not source.allows_pickle:
        raise ModelLoadError(
            f"The weights of '{source.name}' are in pickle files ({pickles[0]}), which can run code while they are read. "
            "Use a model with *.safetensors files, or load it with allow_pickle=True if you trust where it comes from."
        )


def _read_config(source: Source) -> dict[str, Any]:
    path = source.folder / "config.json"
    if not path.exists():
        raise ModelLoadError(f"'{source.name}' is not a Transformers model: it has no config.json.")
    return _read_json(path, source)


def _read_json(path: Path, source: Source) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"The {path.name} of '{source.name}' can't be read: {error}") from error
    if not isinstance(value, dict):
        raise ModelLoadError(f"The {path.name} of '{source.name}' is not an object.")
    return value


def load(source: Source, parameters: Mapping[str, Any]) -> Model:
    """The model of `source` on its device. Raises ModelLoadError."""
    device = _device(parameters.get("device", "auto"))
    dtype = _dtype(parameters.get("torch_dtype", "auto"))
    shared = {"trust_remote_code": source.trusts_code, "local_files_only": True}
    try:
        with _ONE_AT_A_TIME, _quiet():
            config = AutoConfig.from_pretrained(source.folder, **shared)
            sees = config.model_type in SEEING and any((source.folder / name).exists() for name in _PROCESSORS)
            processor = AutoProcessor.from_pretrained(source.folder, **shared) if sees else None
            tokenizer = processor.tokenizer if processor else AutoTokenizer.from_pretrained(source.folder, **shared)
            writes = sees or _writes(config)
            family = AutoModelForImageTextToText if sees else AutoModelForCausalLM if writes else AutoModel
            network, report = family.from_pretrained(
                source.folder,
                config=config,
                dtype=dtype,
                attn_implementation=parameters.get("attn_implementation"),
                use_safetensors=None if source.allows_pickle else True,
                output_loading_info=True,
                **shared,
            )
            network = network.to(device).eval()
    except _FAULTS as error:
        raise ModelLoadError(f"'{source.name}' can't be loaded: {_reason(error)}") from error
    missing = sorted(report["missing_keys"])
    if missing and writes:
        raise ModelLoadError(
            f"'{source.name}' can't be loaded: {len(missing)} weights are missing, such as {missing[0]}."
        )
    bare = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(bare, Tokenizer):
        raise ModelLoadError(
            f"The tokenizer of '{source.name}' has no fast form (tokenizer.json), which streaming needs."
        )
    # A tokenizer whose file says to cut or fill up texts would be changed by its first use, under the hands of others.
    bare.no_truncation()
    bare.no_padding()
    generation = getattr(network, "generation_config", None) or GenerationConfig()
    return Model(
        network=network,
        tokenizer=tokenizer,
        bare_tokenizer=bare,
        generation=generation.to_dict(),
        context=_context(config, tokenizer, parameters.get("n_ctx")),
        ends=_ends(generation, config, tokenizer),
        writes=writes,
        processor=processor,
    )


def _reason(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's progress bars, which would go to the terminal of whoever loads."""
    shown = library_logging.is_progress_bar_enabled()
    library_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            library_logging.enable_progress_bar()


def _device(name: str) -> torch.device:
    usable = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, can in usable.items() if can)
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelLoadError(f"There is no device '{name}'. Known: auto, cpu, cuda, cuda:0, mps.") from error
    if not usable.get(device.type, True):
        raise ModelLoadError(
            f"The device '{name}' can't be used: this machine, or the torch installed, has no {device.type}."
        )
    return device


def _dtype(name: str) -> torch.dtype | str:
    if name == "auto":
        return name
    dtype = getattr(torch, name.removeprefix("torch."), None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ModelLoadError(f"There is no torch_dtype '{name}'. Known: auto, float32, bfloat16, float16.")
    return dtype


def _writes(config: Any) -> bool:
    """Whether the model continues texts, by what it was saved as; where it doesn't say, by what its type can be."""
    if "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {}):
        return True
    names = config.architectures or []
    can = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return can and (not names or any("CausalLM" in name or "LMHead" in name or "Conditional" in name for name in names))


def _context(config: Any, tokenizer: Any, wanted: int | None) -> int | None:
    lengths = (
        getattr(config.get_text_config(), "max_position_embeddings", None),
        tokenizer.model_max_length if tokenizer.model_max_length < _LONGEST else None,
        wanted,
    )
    return min((length for length in lengths if length), default=None)


def _ends(generation: Any, config: Any, tokenizer: Any) -> frozenset[int]:
    """Every token that ends an answer, wherever the model's files name it."""
    named = (generation.eos_token_id, getattr(config, "eos_token_id", None), tokenizer.eos_token_id)
    ends: set[int] = set()
    for value in named:
        ends.update(value if isinstance(value, list | tuple) else [] if value is None else [value])
    return frozenset(ends)
