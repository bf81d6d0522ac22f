"""A VITS model of Transformers with random weights, 85 KB: it speaks noise, as long as its text is."""

import json
from pathlib import Path
from typing import Any

RATE = 16_000
_LETTERS = " abcdefghijklmnopqrstuvwxyz'-"


def write_model(folder: Path, *, speakers: int = 1, tokenizer: dict[str, Any] | None = None) -> Path:
    """The model's files. tokenizer: changes to tokenizer_config.json."""
    import torch
    from transformers import VitsConfig, VitsModel

    torch.manual_seed(1)
    config = VitsConfig(
        vocab_size=len(_LETTERS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, ffn_dim=16, flow_size=16,
        spectrogram_bins=9, upsample_initial_channel=16, upsample_rates=[8, 8], upsample_kernel_sizes=[16, 16],
        resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1]], prior_encoder_num_flows=1,
        prior_encoder_num_wavenet_layers=1, posterior_encoder_num_wavenet_layers=1, duration_predictor_num_flows=1,
        duration_predictor_filter_channels=16, depth_separable_num_layers=1, sampling_rate=RATE, num_speakers=speakers,
        speaker_embedding_size=4 if speakers > 1 else 0,
    )  # fmt: skip
    VitsModel(config).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({letter: n for n, letter in enumerate(_LETTERS)}))
    about = {"phonemize": False, "is_uroman": False, "normalize": True, "add_blank": True, "pad_token": " "}
    (folder / "tokenizer_config.json").write_text(json.dumps(about | {"unk_token": " "} | (tokenizer or {})))
    return folder
