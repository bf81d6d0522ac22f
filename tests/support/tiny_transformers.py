"""Small Transformers folders that really load: one that says given texts, one of random weights for measuring.

The idea is that of `tests.support.tiny_gguf`: a Llama whose attention and feed-forward are zero is a table of the next
token, so that its greedy answer is known to the letter. Writing one needs neither torch nor transformers.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from tests.support.tiny_gguf import HELLO, TEMPLATE, _encode, split

Weights = NDArray[np.float32]

_CONTROL = ("<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>")
_MARKS = ("<tool_call>", "</tool_call>")
_ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())


def write_model(
    folder: Path,
    *,
    says: str | Mapping[str, str] = HELLO,
    pieces: Sequence[bytes] | None = None,
    context: int = 512,
    endless: bool = False,
    template: str | None = TEMPLATE,
    config: Mapping[str, Any] | None = None,
) -> Path:
    r"""A model of about 1 MB that answers with `says`, one token a word, and ends (or begins anew where `endless`).

    says: one text for every prompt, or a text for each last character of a prompt ("" for all others; a chat's prompt
    ends in "\n"). No two texts may share a piece. pieces: the tokens of the one answer, of two bytes or more, which may
    split a character. A prompt has one token for each byte. config: changes to the config.json.
    """
    texts = {"": says} if isinstance(says, str) else dict(says)
    chains = {start: [_token(piece) for piece in pieces or split(text)] for start, text in texts.items()}
    spoken = [token for chain in chains.values() for token in chain]
    if len(set(spoken)) < len(spoken):
        raise ValueError("Every piece may be said only once.")
    tokens = [*_ALPHABET, *(token for token in spoken if token not in _MARKS)]
    tokenizer = _tokenizer(tokens)
    ids = tokenizer.get_vocab(with_added_tokens=True)
    size = len(ids)
    width = -(-size // 16) * 16
    head = np.zeros((size, width), np.float32)
    default = chains.get("", next(iter(chains.values())))
    follows = dict.fromkeys(ids, default[0])
    for start, chain in chains.items():
        if start:
            follows[_token(start.encode())] = chain[0]
        follows |= dict(zip(chain, [*chain[1:], chain[0] if endless else "<|im_end|>"], strict=True))
    for token, following in follows.items():
        head[ids[following], ids[token]] = 2.0  # times sqrt(width), by the norm of a one-hot vector
    embedding = np.zeros((size, width), np.float32)
    embedding[np.arange(size), np.arange(size)] = 1.0
    weights = {name: np.zeros(shape, np.float32) for name, shape in _shapes(width, 16).items()}
    settings = _config(size, width, layers=1, heads=width // 16, ffn=16, context=context) | dict(config or {})
    return _write(folder, tokenizer, settings, template, embedding, head, [weights])


def write_random(
    folder: Path,
    *,
    dim: int = 512,
    layers: int = 8,
    heads: int = 8,
    context: int = 4096,
    seed: int = 0,
    template: str | None = TEMPLATE,
) -> Path:
    """A model of random weights and a byte vocabulary, wide enough for its computing to count.

    It writes ASCII characters without end.
    """
    rng = np.random.default_rng(seed)

    def random(*shape: int) -> Weights:
        return (rng.standard_normal(shape) * shape[-1] ** -0.5).astype(np.float32)

    tokenizer = _tokenizer(_ALPHABET)
    ids = tokenizer.get_vocab(with_added_tokens=True)
    head = random(len(ids), dim)
    head[[number for token, number in ids.items() if len(token) > 1 or not 32 < ord(token) < 127]] = 0.0
    blocks = [{name: random(*shape) for name, shape in _shapes(dim, 2 * dim).items()} for _ in range(layers)]
    settings = _config(len(ids), dim, layers=layers, heads=heads, ffn=2 * dim, context=context)
    return _write(folder, tokenizer, settings, template, random(len(ids), dim), head, blocks)


def _token(piece: bytes) -> str:
    """The name of `piece` in a byte-level vocabulary; a mark is its own."""
    if piece.decode(errors="replace") in _MARKS:
        return piece.decode()
    return _encode(piece)


def _tokenizer(tokens: Sequence[str]) -> Tokenizer:
    """Without merges: a text becomes its bytes and marks, and the longer tokens are only ever written by the model."""
    tokenizer = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in _CONTROL])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in _MARKS])
    return tokenizer


def _shapes(width: int, ffn: int) -> dict[str, tuple[int, int]]:
    """The matrices of a layer, rows first."""
    attention = {f"self_attn.{name}_proj": (width, width) for name in "qkvo"}
    return {**attention, "mlp.gate_proj": (ffn, width), "mlp.up_proj": (ffn, width), "mlp.down_proj": (width, ffn)}


def _config(size: int, width: int, *, layers: int, heads: int, ffn: int, context: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": size,
        "hidden_size": width,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "max_position_embeddings": context,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "tie_word_embeddings": False,
        "dtype": "float32",
    }


def _write(
    folder: Path,
    tokenizer: Tokenizer,
    config: Mapping[str, Any],
    template: str | None,
    embedding: Weights,
    head: Weights,
    layers: Sequence[Mapping[str, Weights]],
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    bos, eos = (tokenizer.token_to_id(token) for token in ("<|bos|>", "<|im_end|>"))
    specials = {"bos_token_id": bos, "eos_token_id": eos, "pad_token_id": eos}
    _write_json(folder / "config.json", {**specials, **config})
    _write_json(folder / "generation_config.json", specials)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "<|bos|>", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **names}
    if template is not None:
        settings["chat_template"] = template
    _write_json(folder / "tokenizer_config.json", settings)
    width = embedding.shape[1]
    weights = {"model.embed_tokens.weight": embedding, "lm_head.weight": head}
    weights["model.norm.weight"] = np.ones(width, np.float32)
    for number, matrices in enumerate(layers):
        for name, matrix in matrices.items():
            weights[f"model.layers.{number}.{name}.weight"] = matrix
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"model.layers.{number}.{name}.weight"] = np.ones(width, np.float32)
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})
    return folder


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def write_seeing(folder: Path, kind: str = "llava") -> Path:
    """A tiny model of random weights that reads pictures; of the kinds "llava" and "idefics3". Needs transformers and Pillow."""
    import torch
    from transformers import AutoTokenizer

    write_model(folder, context=4096)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for path in folder.iterdir():
        path.unlink()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network, processor = {"llava": _llava, "idefics3": _idefics3}[kind](tokenizer)
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


# Parts of a message laid out one after the other, a picture as its mark.
_SEEING_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for part in message.content %}{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _text_config(tokenizer: Any) -> dict[str, Any]:
    sizes = dict(hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)  # noqa: C408
    return {
        **sizes,
        "model_type": "llama",
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 4096,
        "initializer_range": 1.0,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.eos_token_id,
    }


def _llava(tokenizer: Any) -> tuple[Any, Any]:
    from transformers import CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8,
        initializer_range=1.0, initializer_factor=20.0,
    )  # fmt: skip
    image = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaConfig(vision_config=vision, text_config=_text_config(tokenizer), image_token_id=image)
    pictures = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor = LlavaProcessor(
        pictures, tokenizer, patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=_SEEING_TEMPLATE,
    )  # fmt: skip
    return LlavaForConditionalGeneration(config), processor


def _idefics3(tokenizer: Any) -> tuple[Any, Any]:
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    pictures = Idefics3ImageProcessorPil(size={"longest_edge": 32}, max_image_size={"longest_edge": 32})
    processor = Idefics3Processor(pictures, tokenizer, image_seq_len=4, chat_template=_SEEING_TEMPLATE)
    vision = {
        "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32,
        "patch_size": 8, "initializer_range": 1.0,
    }  # fmt: skip
    image = tokenizer.convert_tokens_to_ids("<image>")
    config = Idefics3Config(
        vision_config=vision, text_config=_text_config(tokenizer), image_token_id=image, scale_factor=2
    )
    return Idefics3ForConditionalGeneration(config), processor
