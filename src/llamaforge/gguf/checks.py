"""What a header must say for llama.cpp to run the model.

The engine ends the whole process on what is refused here, or refuses it without a reason; each rule was found by giving
it changed headers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from llamaforge.exceptions import ModelLoadError
from llamaforge.gguf.header import Header
from llamaforge.gguf.parse import Tensor

_MAX_LAYERS: Final = 512
_MAX_WIDTH: Final = 1 << 20
_MAX_CONTEXT: Final = (1 << 31) - 1
_ROPE_SCALINGS: Final = ("none", "linear", "yarn", "longrope")
_NOT_WEIGHTS: Final = frozenset({"I8", "I16", "I32", "I64", "F64", "Q8_1", "Q8_K"})


def check_runnable(header: Header) -> None:
    """Raises ModelLoadError with the first reason why the engine could not run the model."""
    for problem in _problems(header):
        raise ModelLoadError(f"{header.path} {problem}.")


def _problems(header: Header) -> Iterator[str]:
    """Ends of sentences that begin with the name of the file."""
    if not header.architecture:
        yield "does not say its architecture"
    if header.architecture == "clip":
        yield "is the vision part of another model; load that one and give this file as 'mmproj'"
    if not header.tensors:
        yield "has no tensors"
    yield from _numbers(header)
    yield from _vocabulary(header)
    for tensor in header.tensors:
        if not _computable(tensor):
            yield f"has the tensor {tensor.name!r} of the type {tensor.type.name}, with which the engine can't compute"


def _numbers(header: Header) -> Iterator[str]:
    for name, most in (
        ("block_count", _MAX_LAYERS),
        ("embedding_length", _MAX_WIDTH),
        ("context_length", _MAX_CONTEXT),
    ):
        value = header.own_number(name)
        if value is None or not 0 < value <= most:
            yield f"says {name} = {value}; a number from 1 to {most} is needed"
    experts, used = header.own_number("expert_count") or 0, header.own_number("expert_used_count") or 0
    if used > experts or (experts and not used):
        yield f"uses {used} of {experts} experts"
    if (header.own_number("nextn_predict_layers") or 0) >= (header.layers or 0):
        yield "has no layers beside those that predict ahead"
    scaling = header.metadata.get(f"{header.architecture}.rope.scaling.type", "none")
    if scaling not in _ROPE_SCALINGS:
        yield f"scales positions in the unknown way {str(scaling)[:80]!r}"
    for key, value in header.metadata.items():
        if isinstance(value, float) and (not math.isfinite(value) or (key.endswith("epsilon") and value < 0)):
            yield f"says {key[:80]} = {value}"


def _vocabulary(header: Header) -> Iterator[str]:
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if not tokens or header.tokenizer in {None, "no_vocab", "none"}:
        yield "has no vocabulary"
    if getattr(tokens, "repeated", None) or (isinstance(tokens, list) and _repeated(tokens)):
        yield "has a token twice in its vocabulary"


def _repeated(tokens: list[object]) -> bool:
    named = [token for token in tokens if token != ""]
    return len(set(named)) < len(named)


def _computable(tensor: Tensor) -> bool:
    if tensor.type.name in _NOT_WEIGHTS:
        return False
    return len(tensor.shape) > 1 or tensor.type.name == "F32"
