"""LoRA adapters: loaded with a model, chosen and scaled by each request."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llamaforge.exceptions import ModelLoadError, ParameterError
from llamaforge.formats.completions import Json
from llamaforge.gguf import read_header


def adapter_scales(given: object) -> dict[str, float]:
    """Paths of adapters with their scales, from a path, a list of paths, or a mapping. Raises ParameterError."""
    if isinstance(given, str | os.PathLike):
        given = [given]
    if isinstance(given, Sequence):
        given = dict.fromkeys(given, 1.0)
    if not isinstance(given, Mapping) or not all(isinstance(path, str | os.PathLike) for path in given):
        raise ParameterError("'lora' must be a path, a list of paths, or a mapping of paths to scales.")
    return {os.fspath(path): _scale(path, scale) for path, scale in given.items()}


def check_adapters(paths: Mapping[str, float]) -> None:
    """Raises ModelLoadError for a file that is no adapter."""
    for path in paths:
        if read_header(path).metadata.get("general.type") != "adapter":
            raise ModelLoadError(f"{path} is not a LoRA adapter.")


def with_adapters(request: Json, loaded: Mapping[str, float]) -> Json:
    """`request` with its `lora` as the engine has it. loaded: the adapters of the load, in their order.

    A request names adapters by their paths, or by the names of their files with or without the ending; those that it does
    not name are off for it. Raises ParameterError for one that was not loaded.
    """
    if "lora" not in request:
        return request
    places = {name: place for place, path in enumerate(loaded) for name in (Path(path).stem, Path(path).name, path)}
    scales = [0.0] * len(loaded)
    for name, scale in _chosen(request["lora"]).items():
        place = places.get(name) if isinstance(name, str) else name
        if type(place) is not int or not 0 <= place < len(loaded):
            known = ", ".join(Path(path).stem for path in loaded) or "none; load the model with 'lora'"
            raise ParameterError(f"There is no adapter {name!r} in memory. Loaded: {known}.")
        scales[place] = _scale(name, scale)
    return {**request, "lora": [{"id": place, "scale": scale} for place, scale in enumerate(scales)]}


def _chosen(given: Any) -> dict[Any, Any]:
    """Names, or the engine's numbers, of adapters with scales."""
    if isinstance(given, str | os.PathLike):
        given = [given]
    if isinstance(given, Mapping):
        return {os.fspath(name): scale for name, scale in given.items()}
    if isinstance(given, Sequence) and all(isinstance(one, str | os.PathLike) for one in given):
        return {os.fspath(name): 1.0 for name in given}
    if isinstance(given, Sequence) and all(isinstance(one, Mapping) for one in given):
        return {one.get("id"): one.get("scale", 1.0) for one in given}
    raise ParameterError("'lora' must be the name of an adapter, a list of names, or a mapping of names to scales.")


def _scale(name: object, scale: object) -> float:
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not math.isfinite(scale):
        raise ParameterError(f"The scale of the adapter '{name}' must be a number.")
    return float(scale)
