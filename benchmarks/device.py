"""What the engines do on a GPU: loads, streams, answers side by side, memory. See device.sh, which starts it.

Of each engine one answer is streamed (tokens a second, time to the first), then 8 are written one after the other and 8 at
once by the same model, in turns; the ratio is that of their wall times. Memory is what torch holds on the device, or what
the process takes more than before where the engine tells nothing. llama.cpp uses a GPU only with a build that has one
(`xllamacpp` on the package index has none); which devices it sees stands in its row.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from llamaforge.backends.base import BaseBackend  # noqa: E402 - found through the path above
from tests.support import tiny_gguf, tiny_transformers  # noqa: E402

PROMPT = "The quick brown fox jumps over the lazy dog."
PARALLEL = 8
ROUNDS = 3
HEAD = (
    *("engine", "model", "device", "load s", "first token ms", "tokens/s"),
    *("8 serial tokens/s", "8 at once tokens/s", "ratio", "memory MB"),
)


def measured(backend: BaseBackend, path: Path, parameters: dict[str, Any], tokens: int, row: list[str]) -> list[str]:
    """The rest of a row: `row` has the engine, the model and the device."""
    before = _resident()
    began = time.perf_counter()
    backend.load_model(path, parameters)
    load = time.perf_counter() - began
    wish = {"max_tokens": tokens, "temperature": 0.0}

    def write(_: int = 0) -> int:
        return int(backend.completion(PROMPT, wish)["usage"]["completion_tokens"])

    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(write, range(PARALLEL)))  # warms up, and makes the batch
        began = time.perf_counter()
        stream = backend.generate_stream(PROMPT, wish)
        next(iter(stream))
        first = time.perf_counter() - began
        pieces = 1 + sum(1 for _ in stream)
        alone = pieces / (time.perf_counter() - began)
        serial, together = [], []
        for _ in range(ROUNDS):
            serial.append(_rate(lambda: sum(write() for _ in range(PARALLEL))))
            together.append(_rate(lambda: sum(pool.map(write, range(PARALLEL)))))
    memory = _on_device() or _resident() - before
    backend.unload()
    one, many = statistics.median(serial), statistics.median(together)
    figures = (f"{load:.1f}", f"{1000 * first:.0f}", f"{alone:.0f}", f"{one:.0f}", f"{many:.0f}")
    return [*row, *figures, f"{many / one:.1f}", f"{memory:.0f}"]


def _rate(work: Any) -> float:
    began = time.perf_counter()
    count: int = work()
    return count / (time.perf_counter() - began)


def _resident() -> float:
    """Megabytes of this process."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def _on_device() -> float:
    """Megabytes that torch holds on the GPU, 0 where it holds none."""
    torch = sys.modules.get("torch")
    return torch.cuda.memory_allocated() / 2**20 if torch is not None and torch.cuda.is_available() else 0.0


def transformers_rows(given: argparse.Namespace, device: str, work: Path) -> list[list[str]]:
    from llamaforge.backends.huggingface import HuggingFaceBackend

    folders = {"random 512 x 8": tiny_transformers.write_random(work / "folder")}
    if given.folder is not None:
        folders[given.folder.name] = given.folder
    parameters = {"device": device, "n_threads": given.threads, "max_batch": PARALLEL}
    return [
        measured(HuggingFaceBackend(), path, parameters, given.tokens, ["Transformers", name, device])
        for name, path in folders.items()
    ]


def llama_cpp_rows(given: argparse.Namespace, work: Path) -> list[list[str]]:
    import xllamacpp

    from llamaforge.backends.llama_cpp import LlamaCppBackend

    seen = [str(one.get("name", one)) for one in xllamacpp.get_device_info()]
    device = ", ".join(seen) or "cpu"
    files = {"random 512 x 8": tiny_gguf.write_random(work / "random.gguf")}
    if given.gguf is not None:
        files[given.gguf.stem] = given.gguf
    parameters = {"n_threads": given.threads, "n_parallel": PARALLEL, "n_ctx": 512}
    return [
        measured(LlamaCppBackend(), path, parameters, given.tokens, ["llama.cpp", name, device])
        for name, path in files.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="What the engines do on a GPU.")
    parser.add_argument("--dry-run", action="store_true", help="measure on the processor where there is no GPU")
    parser.add_argument("--folder", type=Path, help="a Transformers model to measure, too")
    parser.add_argument("--gguf", type=Path, help="a GGUF file to measure, too")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    missing = [name for name in ("torch", "transformers", "xllamacpp") if importlib.util.find_spec(name) is None]
    device = "cpu"
    if not {"torch", "transformers"} & {*missing}:
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cuda":
            print(f"GPU: {torch.cuda.get_device_name()}, torch {torch.__version__}")
    if device == "cpu" and not given.dry_run:
        print("There is no GPU here that torch can use: nothing was measured. --dry-run measures on the processor.")
        return
    for name in missing:
        print(f"{name} is not installed; its engine is left out.")
    rows = []
    with tempfile.TemporaryDirectory() as work:
        if not {"torch", "transformers"} & {*missing}:
            rows += transformers_rows(given, device, Path(work))
        if "xllamacpp" not in missing:
            rows += llama_cpp_rows(given, Path(work))
    for line in (HEAD, ["---"] * len(HEAD), *rows):
        print("| " + " | ".join(line) + " |")


if __name__ == "__main__":
    main()
