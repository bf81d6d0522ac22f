"""From a name to a loaded backend: finding the model, telling its parameters apart, estimating its memory."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamaforge import gguf, hub_cache
from llamaforge.backends import get_backend
from llamaforge.backends.base import BaseBackend, full_class
from llamaforge.exceptions import LlamaForgeError, ModelLoadError, ParameterError, UnsupportedError
from llamaforge.formats.request import Kind, Request, normalise
from llamaforge.memory.devices import Memory
from llamaforge.model import Model, expanded, is_hub_name, is_local_path
from llamaforge.parameters import resolve, spellings, unknown

_OF_OPENAI = re.compile(r"(gpt-|chatgpt-|o[1-9](-|$)|text-embedding-)")
_LATER_PART = re.compile(r"-(?!00001)\d{5}-of-\d{5}\.gguf$", re.IGNORECASE)
_WEIGHT_FILES = (".gguf", ".safetensors", ".bin", ".pt", ".pth")
Json = dict[str, Any]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model is to be loaded. `load`: for load_model. `defaults`: of generations. `canonical`: names by spelling."""

    cls: type[BaseBackend]
    path: str
    load: Json
    defaults: Json
    canonical: Mapping[str, str]


# ---- which model


def find_unlisted(name: str, models_dir: Path) -> Model | None:
    """A model that no configuration names.

    A file or folder, here or in `models_dir`; one of the hub that lies in its cache, by its name there, "gpt2" as well as
    "owner/name"; one of the hub that is to be downloaded, which needs an owner; or a known name.
    """
    here = expanded(name)
    for path in (here, models_dir / name, models_dir / f"{name}.gguf"):
        model = _model_at(name, path)
        if model is not None:
            return model
    if name == "eliza":
        return Model(name, name, {"backend": "eliza"})
    cached = None if is_local_path(name) else _cached(name)
    if cached is not None:
        return cached
    if is_hub_name(name) and not is_local_path(name):
        return Model(name, name, {"backend": "huggingface"})
    if _OF_OPENAI.match(name):
        return Model(name, name, {"backend": "openai"})
    return None


def is_here(name: str, models_dir: Path) -> bool:
    """Whether a model that no configuration names is on this machine: nothing has to be downloaded or asked for."""
    model = find_unlisted(name, models_dir)
    return model is not None and (model.backend == "eliza" or model.is_local() or _cached(name) is not None)


def models_in(folder: Path) -> list[str]:
    """The names of GGUF files and Transformers folders that lie directly in `folder`."""
    try:
        paths = sorted(folder.iterdir())
    except OSError:  # not there, or not ours to read
        return []
    return [path.name for path in paths if not _LATER_PART.search(path.name) and _model_at(path.name, path) is not None]


def _model_at(name: str, path: Path) -> Model | None:
    """The model that a file or folder is, told by its ending or by what lies in it."""
    try:
        if path.is_file() and path.suffix.lower() == ".gguf":
            return Model(name, path, {"backend": "llama.cpp"})
        if (path / "config.json").is_file():
            return Model(name, path, {"backend": "huggingface"})
        files = [file for file in path.glob("*.gguf") if not _LATER_PART.search(file.name)] if path.is_dir() else []
    except OSError:  # a name too long for a file, or a folder that is not ours to read
        return None
    return Model(name, files[0], {"backend": "llama.cpp"}) if len(files) == 1 else None


def _cached(name: str) -> Model | None:
    """The model of that name in the hub's cache. A Transformers model keeps its name as path: its backend knows revisions."""
    snapshot = hub_cache.find(name)
    model = None if snapshot is None else _model_at(name, snapshot)
    return Model(name, name, {"backend": "huggingface"}) if model and model.backend == "huggingface" else model


# ---- with what


def plan(model: Model, layers: Sequence[Mapping[str, Any]]) -> Plan:
    """How to load `model` with the parameters of `layers`, the later over the earlier.

    Parameters go where the backend's class names them: to the load, or to the defaults of generations. A class that
    names none gets all of them at its load. Raises BackendNotFoundError, and ParameterError for what it doesn't know.
    """
    cls = full_class(get_backend(model.backend))
    if model.path is None:
        raise ModelLoadError(f"The model '{model.name}' has no path.")
    loads, generates = cls.load_parameters, cls.generation_parameters
    of_load, of_generation = spellings(loads or ()), spellings(generates or ())
    canonical = {spelling: known.name for spelling, known in (of_load | of_generation).items()}
    given: Json = {}
    for layer in layers:
        given = overlay(given, as_mapping(layer), canonical)
    load, defaults = {}, {}
    for name, value in given.items():
        if name in of_generation:
            defaults[name] = value
        if name in of_load or (loads is None and name not in of_generation):
            load[name] = value
        elif loads is not None and generates is None:
            defaults[name] = value
        elif name not in of_generation:
            raise ParameterError(unknown(name, canonical, f"parameter of the backend '{model.backend}' called"))
    load = load if loads is None else resolve(load, loads)
    defaults = defaults if generates is None else resolve(defaults, generates)
    path = str(expanded(model.path)) if model.path.startswith("~") else model.path
    return Plan(cls, path, load, defaults, {s: known.name for s, known in of_generation.items()})


def as_mapping(parameters: object) -> Mapping[str, Any]:
    """`parameters`, none being an empty mapping. Raises ParameterError for what is no mapping."""
    if parameters is None:
        return {}
    if isinstance(parameters, Mapping):
        return parameters
    raise ParameterError("The parameters must be a mapping of names to values.")


def overlay(lower: Mapping[str, Any], upper: Mapping[str, Any], canonical: Mapping[str, str]) -> Json:
    """`upper` over `lower`, where two spellings of one parameter are one and None leaves what is below.

    Without known spellings, names are compared as they are and None is a value like any other.
    """
    if not canonical:
        return {**lower, **upper}
    given = {name: value for name, value in upper.items() if value is not None}
    named = {canonical.get(name, name) for name in given}
    return {name: value for name, value in lower.items() if canonical.get(name, name) not in named} | given


def http_request(plan: Plan, fields: Mapping[str, Any], kind: Kind) -> tuple[Request, str, Json]:
    """A client's request over the model's defaults, and the path and body with which the model's process is asked.

    Raises ParameterError, UnsupportedError.
    """
    defaults = {} if kind == "embeddings" else plan.defaults
    request = normalise(overlay(defaults, fields, plan.canonical) if defaults else fields, kind)
    if request.parameters.get("tool_choice") == "required":
        plan.cls.check_calls_tools(plan.path, plan.load)
    elif passes_tools_over(plan, request.parameters):
        log.warning("The chat template of '%s' knows no tools: those of a request are passed over.", plan.path)
    return request, *plan.cls.http_request(request, plan.load)


def passes_tools_over(plan: Plan, fields: Mapping[str, Any]) -> bool:
    """Whether a request offers tools that the model is not told of, since its chat template knows none."""
    if not fields.get("tools") or fields.get("tool_choice") == "none":
        return False
    try:
        plan.cls.check_calls_tools(plan.path, plan.load)
    except UnsupportedError:
        return True
    return False


def start(name: str, plan: Plan) -> BaseBackend:
    """A backend with its model. Raises ModelNotFoundError, ParameterError and, for all else, ModelLoadError."""
    try:
        backend = plan.cls()
        backend.load_model(plan.path, plan.load)
    except LlamaForgeError:
        raise
    except Exception as error:  # a backend is anybody's code
        raise ModelLoadError(f"The model '{name}' could not be loaded: {str(error) or type(error).__name__}") from error
    return backend


# ---- how large


def memory_by_device(cls: type[BaseBackend], path: str, parameters: Mapping[str, Any]) -> Memory:
    """`memory_needed` on the device where the backend puts a model with these load parameters."""
    return {cls.memory_device(parameters): memory_needed(path, parameters)}


def memory_needed(path: str, parameters: Mapping[str, Any]) -> int:
    """About how many bytes of memory the model takes; 0 for one that is not on this machine.

    For a GGUF file its weights, the context that `parameters` ask for and the engine's buffers; else the size of its files.
    """
    place = expanded(path)
    try:
        if not place.exists():
            place = hub_cache.find(path, parameters.get("cache_dir"), parameters.get("revision")) or place
        if place.is_dir():
            files = [file for file in place.rglob("*") if file.suffix.lower() in _WEIGHT_FILES]
        else:
            files = [place] if place.is_file() else []
        size = sum(file.stat().st_size for file in files)
    except OSError:  # the backend tells what is wrong with it
        return 0
    if size and place.suffix.lower() == ".gguf":
        return _memory_of_gguf(place, parameters) or size
    return size


def _memory_of_gguf(file: Path, parameters: Mapping[str, Any]) -> int:
    """The estimate by the header, or 0 where the file or the parameters are not as they should be."""
    from llamaforge.backends.llama_cpp.loading import DEFAULT_CONTEXT  # noqa: PLC0415 -- the backend's own module

    try:
        header = gguf.read_header(file)
        longest = header.context_length or DEFAULT_CONTEXT
        wanted = parameters.get("n_ctx")
        context = min(longest, DEFAULT_CONTEXT) if wanted is None else int(wanted) or longest
        caches = {name: parameters[name] for name in ("cache_type_k", "cache_type_v") if name in parameters}
        return gguf.memory_needed(header, context, int(parameters.get("n_parallel") or 1), **caches)
    except (ModelLoadError, ValueError, TypeError):  # the backend tells what is wrong with it
        return 0
