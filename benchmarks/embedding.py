"""Embedding throughput of the local engine, over that of a bare onnxruntime loop: texts a second, by turns in one run.

    python benchmarks/embedding.py [--texts 256] [--rounds 3]

The bare loop has the same ONNX model, the same number of threads and the same tokens, and embeds 32 texts at a time in the
order in which they come, each batch padded to its longest; it is what a script would do. The engine is asked as the server
asks it: through its child process, with vectors as bytes. The texts are of the documentation, 200 to 1,000 characters.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import numpy as np  # noqa: E402 - found beside this folder
import onnxruntime  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

from open_webui.env import Settings  # noqa: E402
from open_webui.retrieval.onnx.graph import encoder  # noqa: E402
from open_webui.retrieval.onnx.runner import Runner  # noqa: E402
from tests.support import real_embedder  # noqa: E402


def texts_of(count: int) -> list[str]:
    whole = " ".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").rglob("*.md")))
    starts = itertools.cycle(range(0, len(whole) - 1_000, 997))
    return [whole[at : at + 200 + at * 7_919 % 801] for at, _ in zip(starts, range(count), strict=False)]


class Bare:
    def __init__(self, folder: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder.resolve()))
        config = json.loads((folder / "config.json").read_text())
        model = encoder(folder, config, folder / "model.safetensors")
        self.session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(256)
        self.tokenizer.enable_padding()

    def embed(self, texts: list[str]) -> Any:
        found = []
        for at in range(0, len(texts), 32):
            batch = self.tokenizer.encode_batch(texts[at : at + 32])
            ids = np.array([one.ids for one in batch])
            mask = np.array([one.attention_mask for one in batch])
            hidden = self.session.run(None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": ids * 0})[0]
            pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
            found.append(pooled / np.linalg.norm(pooled, axis=1, keepdims=True))
        return np.concatenate(found).astype(np.float32)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    folder, texts = real_embedder.folder(), texts_of(given.texts)
    with tempfile.TemporaryDirectory() as data:
        runner = Runner(Settings(env="test", data_dir=Path(data)))
        bare = Bare(folder, runner.threads)
        expected, found = bare.embed(texts[:8]), await runner.embed(folder, texts[:8])
        assert np.allclose(np.frombuffer(b"".join(found), "<f4").reshape(8, -1), expected, atol=1e-4)
        rates: dict[str, list[float]] = {"bare": [], "engine": []}
        for _ in range(given.rounds):
            began = time.perf_counter()
            bare.embed(texts)
            rates["bare"].append(len(texts) / (time.perf_counter() - began))
            began = time.perf_counter()
            await runner.embed(folder, texts)
            rates["engine"].append(len(texts) / (time.perf_counter() - began))
        await runner.close()
    loop, engine = (statistics.median(rates[name]) for name in ("bare", "engine"))
    print(f"bare loop  {loop:7.1f} texts/s   ({runner.threads} threads)")
    print(f"engine     {engine:7.1f} texts/s   {engine / loop:.2f} x the loop")


if __name__ == "__main__":
    asyncio.run(main())
