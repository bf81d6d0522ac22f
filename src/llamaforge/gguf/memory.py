"""How much memory a model will take."""

from __future__ import annotations

from typing import Final

from llamaforge.exceptions import ParameterError
from llamaforge.gguf import formats
from llamaforge.gguf.header import Header

# Types that keys and values can be stored in, by the names of llama.cpp's options.
CACHE_TYPES: Final = {
    kind.name.lower(): kind
    for kind in formats.TENSOR_TYPES.values()
    if kind.name in {"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "IQ4_NL", "Q5_0", "Q5_1"}
}
_ENGINE: Final = 48 * 1024 * 1024  # the engine itself, its vocabulary and its buffers for input
_FLOAT: Final = 4


def memory_needed(
    header: Header,
    n_ctx: int,
    n_parallel: int = 1,
    cache_type_k: str = "f16",
    cache_type_v: str = "f16",
    n_ubatch: int = 512,
) -> int:
    """An estimate in bytes, rather too much than too little: weights + keys and values + overhead.

    n_ctx: the tokens of one request. n_parallel: requests at once. n_ubatch: tokens computed at once.
    Keys and values are counted for every layer in full, although some architectures keep less of them (a sliding window).
    The overhead is 48 MiB and, for each token of a batch, floats for the logits, eight vectors of the model's width and
    attention scores of one layer.
    """
    for name in (cache_type_k, cache_type_v):
        if name not in CACHE_TYPES:
            raise ParameterError(f"There is no cache type '{name}'. Known: {', '.join(CACHE_TYPES)}.")
    width, layers = header.embedding_length or 0, header.layers or 0
    heads, kv_heads = header.heads or 0, header.kv_heads or 0
    per_head = width // heads if heads else 0
    tokens = n_ctx * max(1, n_parallel)
    cached = 0.0
    for name, length in (("key_length", cache_type_k), ("value_length", cache_type_v)):
        kind = CACHE_TYPES[length]
        numbers = kv_heads * (header.own_number(f"attention.{name}") or per_head)
        cached += tokens * layers * numbers * kind.size / kind.block
    batch = min(n_ubatch, n_ctx)
    scores = 0 if heads == 0 else heads * min(n_ctx, 4096)
    computing = batch * _FLOAT * ((header.vocabulary_size or 0) + 8 * width + scores)
    return header.tensor_bytes + round(cached) + computing + _ENGINE
