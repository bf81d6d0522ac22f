"""Small GGUF files that really load in llama.cpp: one that says a given text, one of random weights for measuring.

`write_gguf` makes a Markov chain of tokens out of a Llama: attention and feed-forward are zero, the embedding is one-hot
and the output matrix is a table of the next token. Answered greedily it says its text, whatever the prompt, and ends.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float32]

HELLO = "Hello from the tiny test model."
TEMPLATE = (
    "{%- if tools %}{{- '<|im_start|>system\\n# Tools\\n<tools>' }}"
    "{%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}"
    '{{- \'\\n</tools>\\nReturn calls as <tool_call>\\n{"name": ..., "arguments": ...}\\n</tool_call><|im_end|>\\n\' }}'
    "{%- endif %}"
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + (message.content if message.content else '') }}"
    "{%- if message.tool_calls %}{%- for call in message.tool_calls %}"
    "{{- '<tool_call>\\n' }}{{- call.function | tojson }}{{- '\\n</tool_call>' }}"
    "{%- endfor %}{%- endif %}"
    "{{- '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
_CONTROL = ("<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>")
_MARKS = ("<tool_call>", "</tool_call>")
_MARK_BYTES = tuple(mark.encode() for mark in _MARKS)
_PIECES = re.compile(r"</?tool_call>|\s*[^\s<]+(?:\s+(?=<))?|\s+|<")


def write_gguf(
    path: Path,
    *,
    says: str | Mapping[str, str] = HELLO,
    pieces: Sequence[bytes] | None = None,
    ctx: int = 4096,
    endless: bool = False,
    template: str | None = TEMPLATE,
    metadata: dict[str, Any] | None = None,
) -> Path:
    r"""A model of about 2 MB that answers `says`, one token a word, and ends (or begins anew where `endless`).

    says: one text for every prompt, or a text for each last character of a prompt ("" for all others; a chat's prompt
    ends in "\n"). No two texts may share a piece.
    pieces: the tokens of the answer themselves, all different and of two bytes or more, instead of those of `says`; they
    may split a character. ctx: the context length it claims. template: its chat template. metadata: more texts and
    numbers for the header.
    Tool calls are written `<tool_call>\n{"name": …, "arguments": …}\n</tool_call>`.
    """
    texts = {"": says} if isinstance(says, str) else says
    answers = {"": pieces} if pieces is not None else {start: split(text) for start, text in texts.items()}
    chains = {
        start: [piece.decode() if piece in _MARK_BYTES else _encode(piece) for piece in answer]
        for start, answer in answers.items()
    }
    chain = [piece for each in chains.values() for piece in each]
    if not all(chains.values()) or len(set(chain)) < len(chain):
        raise ValueError("An answer needs at least one piece, and every piece only once.")
    tokens = [*_BYTES, *(piece for piece in chain if piece not in _MARKS)]
    vocabulary = [*tokens, *_CONTROL, *_MARKS]
    ids = {token: number for number, token in enumerate(vocabulary)}
    size = len(vocabulary)
    if len(ids) < size:
        raise ValueError("A piece of one byte is a token already.")
    width = -(-(size + 1) // 64) * 64
    output = np.zeros((size, width), np.float32)
    follows = dict.fromkeys(vocabulary, chain[0])  # a prompt is made of bytes and marks, which begin the answer
    follows |= {_encode(start.encode()): each[0] for start, each in chains.items() if start}
    for each in chains.values():
        follows |= dict(zip(each, [*each[1:], each[0] if endless else "<|im_end|>"], strict=True))
    for token, following in follows.items():
        output[ids[following], ids[token]] = 2.0  # times sqrt(width), by the norm of a one-hot vector
    embedding = np.zeros((size, width), np.float32)
    embedding[np.arange(size), np.arange(size)] = 1.0

    writer = _writer(path, "tiny", tokens, ctx, width, layers=1, heads=width // 64, ffn=64, template=template)
    _add_metadata(writer, metadata or {})
    weights = {name: np.zeros(shape, np.float32) for name, shape in _shapes(width, 64).items()}
    return _write(writer, embedding, output, [weights])


def write_adapter(path: Path, model: Path, says: str) -> Path:
    """A LoRA adapter for a model of `write_gguf` with which it says only `says`, one character of ASCII, again and again."""
    width, size = next(tensor.shape for tensor in gguf.GGUFReader(model).tensors if tensor.name == "output.weight")
    towards = np.zeros((size, 1), np.float32)
    towards[_BYTES.index(_encode(says.encode()))] = 100.0
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 1.0)
    writer.add_tensor("output.weight.lora_a", np.ones((1, width), np.float32))
    writer.add_tensor("output.weight.lora_b", towards)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_random(
    path: Path,
    *,
    dim: int = 512,
    layers: int = 8,
    heads: int = 8,
    ctx: int = 4096,
    seed: int = 0,
    template: str | None = TEMPLATE,
) -> Path:
    """A model of random weights and a byte vocabulary, wide enough for its computing to count.

    Answered greedily it writes ASCII characters without end.
    """
    rng = np.random.default_rng(seed)

    def random(*shape: int) -> Weights:
        return (rng.standard_normal(shape) * shape[-1] ** -0.5).astype(np.float32)

    size, ffn = len(_BYTES) + len(_CONTROL) + len(_MARKS), 2 * dim
    output = random(size, dim)
    output[[number for number in range(size) if not 32 <= number < 127]] = 0.0
    writer = _writer(path, "random", _BYTES, ctx, dim, layers=layers, heads=heads, ffn=ffn, template=template)
    blocks = [{name: random(*shape) for name, shape in _shapes(dim, ffn).items()} for _ in range(layers)]
    return _write(writer, rng.standard_normal((size, dim)).astype(np.float32), output, blocks)


def split(text: str) -> list[bytes]:
    """`text` in pieces of a word or so, each different from the others and longer than a byte, marks of a tool call apart."""
    found: list[bytes] = []
    kept = ""
    for part in _PIECES.findall(text):
        if part in _MARKS and not kept and part.encode() not in found:
            found.append(part.encode())
            continue
        # What would come twice, or is but a byte, goes together with what follows.
        kept += part
        piece = kept.encode()
        if len(piece) > 1 and piece not in found:
            found.append(piece)
            kept = ""
    while kept:
        if not found or found[-1] in _MARK_BYTES:
            raise ValueError(f"The text can't be said: its end {kept!r} is not a token of its own.")
        kept = found.pop().decode() + kept
        if kept.encode() not in found:
            found.append(kept.encode())
            kept = ""
    return found


def _byte_characters() -> list[str]:
    """The character that stands for each byte in a byte-level vocabulary, as GPT-2 has them."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


_BYTES = _byte_characters()


def _encode(text: bytes) -> str:
    return "".join(_BYTES[byte] for byte in text)


def _shapes(width: int, ffn: int) -> dict[str, tuple[int, int]]:
    """The matrices of a layer, rows first."""
    attention = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (width, width))
    return {**attention, "ffn_gate": (ffn, width), "ffn_up": (ffn, width), "ffn_down": (width, ffn)}


def _writer(
    path: Path,
    name: str,
    tokens: Sequence[str],
    ctx: int,
    width: int,
    *,
    layers: int,
    heads: int,
    ffn: int,
    template: str | None,
) -> gguf.GGUFWriter:
    """A writer with the header of a Llama whose vocabulary is `tokens` and the special ones."""
    writer = gguf.GGUFWriter(path, "llama")
    vocabulary = [*tokens, *_CONTROL, *_MARKS]
    kinds = [
        *[gguf.TokenType.NORMAL] * len(tokens),
        *[gguf.TokenType.CONTROL] * len(_CONTROL),
        *[gguf.TokenType.USER_DEFINED] * len(_MARKS),
    ]
    writer.add_name(name)
    writer.add_context_length(ctx)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(ffn)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(vocabulary))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocabulary)
    writer.add_token_types(kinds)
    # The engine wants merges; this one never applies, since the bytes 0 and 1 are in no prompt.
    writer.add_token_merges([f"{_BYTES[0]} {_BYTES[1]}"])
    writer.add_bos_token_id(vocabulary.index("<|bos|>"))
    writer.add_eos_token_id(vocabulary.index("<|im_end|>"))
    writer.add_add_bos_token(False)
    if template is not None:
        writer.add_chat_template(template)
    return writer


def _add_metadata(writer: gguf.GGUFWriter, metadata: dict[str, Any]) -> None:
    for key, value in metadata.items():
        if isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        else:
            writer.add_array(key, value)


def _write(writer: gguf.GGUFWriter, embedding: Weights, output: Weights, layers: Sequence[dict[str, Weights]]) -> Path:
    width = embedding.shape[1]
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    writer.add_tensor("output.weight", output)
    for number, weights in enumerate(layers):
        for name, matrix in weights.items():
            writer.add_tensor(f"blk.{number}.{name}.weight", matrix)
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{number}.{name}.weight", np.ones(width, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert writer.path is not None
    return Path(writer.path)
