"""A picture model of random weights, 150 KB, as diffusers keeps one. It draws noise in colours; each seed its own."""

import json
import subprocess
import sys
from pathlib import Path

from tests.support.process import clean_environment


def write(folder: Path) -> Path:
    """Writes it in a process of its own: torch and diffusers are not to stay in that of the tests."""
    subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-m", "tests.support.tiny_diffusers", str(folder)],
        check=True,
        capture_output=True,
        env=clean_environment({"PYTHONPATH": ":".join(sys.path), "HF_HUB_OFFLINE": "1"}),
    )
    return folder


def _main(folder: Path) -> None:
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    torch.manual_seed(0)
    tokenizer, encoder = _texts(folder)
    unet = UNet2DConditionModel(
        sample_size=8, layers_per_block=1, block_out_channels=(4, 8), norm_num_groups=2, attention_head_dim=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=8,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(4, 4, 4, 4), norm_num_groups=2, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4, sample_size=64,
    )  # fmt: skip
    StableDiffusionPipeline(
        vae=vae, text_encoder=encoder, tokenizer=tokenizer, unet=unet, scheduler=DDIMScheduler(clip_sample=False),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip


def _texts(folder: Path) -> tuple[object, object]:
    """A tokenizer of characters, and what reads them."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    letters = [chr(number) for number in range(33, 127)]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    vocabulary.write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    merges.write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(vocabulary), str(merges), model_max_length=16)
    vocabulary.unlink()
    merges.unlink()
    end = len(tokens) - 1
    config = CLIPTextConfig(
        vocab_size=len(tokens), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        max_position_embeddings=16, bos_token_id=end - 1, eos_token_id=end, pad_token_id=end,
    )  # fmt: skip
    return tokenizer, CLIPTextModel(config)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
