"""What each emotion does to a real local model: `python benchmarks/affect.py` writes benchmarks/affect.md and affect.svg.

With `--model PATH` the table of another model (a GGUF file) is printed instead, and nothing is written; `--draws N` takes fewer
draws for each prompt, and no more answers than that.

The model is llama.cpp on a GGUF of random weights (dim 256, 2 layers, bytes as tokens): its distributions are wide, and no
training tells it what an emotion is, so that what changes comes from the sampling alone. Both rules are measured.

- entropy: of the next token in bits, after top_p and temperature in llama.cpp's order, computed from the probabilities that
  the engine tells; mean over the prompts. The repetition penalty is left out of it.
- surprise: the same as it really came: the mean of -log2 of the computed probability of the tokens that the engine drew. If
  it draws as it should, the two agree; what remains is chance. The repetition penalty is off there too.
- different: how many different tokens were drawn for a prompt, mean.
- tokens: mean length of answers, all settings applied, with a limit of 200 shaped by the state. The model ends at random.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from consciousness.emotions import EMOTIONS  # noqa: E402 - found through the path above
from consciousness.express import Rule, merged, shaped  # noqa: E402
from llamaforge.backends.llama_cpp import LlamaCppBackend  # noqa: E402
from tests.support.tiny_gguf import write_random  # noqa: E402

PROMPTS = (
    "The sea",
    "1 + 1 =",
    "Dear Ada,",
    "def f(x):",
    "Once upon a time",
    "No.",
    "What is love?",
    "In the beginning",
)
BASE = {"temperature": 0.8, "top_p": 0.9, "repetition_penalty": 1.05, "max_tokens": 200}
PLAIN = {"top_k": 0, "min_p": 0.0}  # of llama.cpp's other samplers none
DRAWS = 200
ANSWERS = 12
STEPS = 20
# The engine tells nothing of a byte that only begins a character, nor of the end. This one is a token as likely as any of them:
# the model's output for all that is no ASCII is 0.
_WITHHELD = 200
COLOURS = ("#e6a700", "#3b6fb5", "#c0392b", "#7d3c98", "#2e8b57", "#e2661a", "#5d6d7e", "#d4669b")


def asked(backend: LlamaCppBackend, prompt: str, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the engine says of one token: of the engine itself, since an answer in OpenAI's shape has no ids of tokens."""
    endpoint = backend.endpoint
    assert endpoint is not None
    body = json.dumps({"prompt": prompt, "n_predict": 1, **PLAIN, **settings}).encode()
    request = urllib.request.Request(
        f"{endpoint.url}/completion", body, {"Authorization": f"Bearer {endpoint.api_key}"}
    )
    with urllib.request.urlopen(request) as response:
        found: list[dict[str, Any]] = json.load(response).get("completion_probabilities") or []
        return found


def distribution(backend: LlamaCppBackend, prompt: str) -> dict[int, float]:
    """The model's own probabilities of the next token, by its id: those of the likeliest 300 tokens."""
    (token,) = asked(backend, prompt, {"n_probs": 300, "seed": 1})
    return {one["id"]: math.exp(one["logprob"]) for one in token["top_logprobs"]}


def weights(probabilities: Mapping[int, float], settings: Mapping[str, Any]) -> list[float]:
    """The weights of the tokens that are kept after top_p, then temperature: llama.cpp's order.

    Of tokens that are equally likely at the edge some are kept: which of them is of no account to the entropy.
    """
    kept: list[float] = []
    total = 0.0
    for probability in sorted(probabilities.values(), reverse=True):
        kept.append(probability ** (1.0 / settings["temperature"]))
        total += probability
        if total >= settings["top_p"]:
            break
    return kept


def entropy(kept: Sequence[float]) -> float:
    whole = sum(kept)
    return -sum(weight / whole * math.log2(weight / whole) for weight in kept)


def drawn(backend: LlamaCppBackend, prompt: str, settings: Mapping[str, Any], draws: int) -> list[int]:
    """Tokens that the engine draws next, each with another seed."""
    one = {"temperature": settings["temperature"], "top_p": settings["top_p"], "n_probs": 1}
    answers = (asked(backend, prompt, {**one, "seed": seed}) for seed in range(draws))
    return [answer[0]["id"] if answer else _WITHHELD for answer in answers]


def row(
    backend: LlamaCppBackend, name: str, settings: Mapping[str, Any], own: Sequence[Mapping[int, float]], draws: int
) -> str:
    expected = [weights(probabilities, settings) for probabilities in own]
    tokens = [drawn(backend, prompt, settings, draws) for prompt in PROMPTS]
    surprise = [
        math.log2(sum(kept)) - math.log2(probabilities[token]) / settings["temperature"]
        for kept, probabilities, found in zip(expected, own, tokens, strict=True)
        for token in found
        if token in probabilities
    ]
    lengths = [
        backend.completion("The sea", {**settings, **PLAIN, "seed": seed})["usage"]["completion_tokens"]
        for seed in range(min(ANSWERS, draws))
    ]
    shown = (settings["temperature"], settings["top_p"], settings["repetition_penalty"])
    return (
        f"| {name} | {shown[0]:.3f} | {shown[1]:.3f} | {shown[2]:.3f} | {statistics.mean(map(entropy, expected)):.2f} | "
        f"{statistics.mean(surprise):.2f} | {statistics.mean(len(set(found)) for found in tokens):.0f} | "
        f"{statistics.mean(lengths):.0f} |"
    )


def table(
    backend: LlamaCppBackend, rule: Rule, own: Sequence[Mapping[int, float]], states: Mapping[str, Any], draws: int
) -> list[str]:
    head = "| state | temperature | top_p | repetition | entropy, bits | surprise, bits | different | tokens |"
    rows = []
    for name, state in states.items():
        settings = {**BASE, **rule(BASE, state)}
        settings["max_new_tokens"] = settings.pop("max_new_tokens", settings.pop("max_tokens", None))
        settings = {key: value for key, value in settings.items() if key not in {"max_tokens", "top_k"}}
        rows.append(row(backend, name, settings, own, draws))
    return [head, "| --- " * 8 + "|", *rows]


def curves(own: Sequence[Mapping[int, float]]) -> dict[str, list[float]]:
    """Of each emotion the mean entropy at intensities from 0 to 1."""
    return {
        emotion: [
            statistics.mean(entropy(weights(p, {**BASE, **shaped(BASE, {emotion: step / STEPS})})) for p in own)
            for step in range(STEPS + 1)
        ]
        for emotion in EMOTIONS
    }


def plot(lines: Mapping[str, Sequence[float]]) -> str:
    """An SVG of the curves."""
    low = min(map(min, lines.values())) - 0.02
    high = max(map(max, lines.values())) + 0.02

    def place(step: int, bits: float) -> tuple[float, float]:
        return 70 + 430 * step / STEPS, 330 - 290 * (bits - low) / (high - low)

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 390" font-family="sans-serif" font-size="12">',
        '<rect width="640" height="390" fill="white"/>',
        '<text x="70" y="22" font-size="14">Entropy of the next token, by emotion and intensity</text>',
    ]
    for number in range(5):
        bits = low + (high - low) * number / 4
        _, y = place(0, bits)
        parts.append(f'<line x1="70" y1="{y:.1f}" x2="500" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="62" y="{y + 4:.1f}" text-anchor="end">{bits:.2f}</text>')
        x, _ = place(number * STEPS // 4, low)
        parts.append(f'<text x="{x:.1f}" y="350" text-anchor="middle">{number / 4:g}</text>')
    parts.append('<text x="285" y="375" text-anchor="middle">intensity</text>')
    parts.append('<text x="18" y="185" transform="rotate(-90 18 185)" text-anchor="middle">bits</text>')
    last = -math.inf
    for (emotion, bits), colour in sorted(zip(lines.items(), COLOURS, strict=True), key=lambda line: -line[0][1][-1]):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(step, value) for step, value in enumerate(bits)))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        last = max(place(STEPS, bits[-1])[1], last + 15)  # names must not lie on each other
        parts.append(f'<text x="508" y="{last + 4:.1f}" fill="{colour}">{emotion} {bits[-1]:.2f}</text>')
    return "\n".join([*parts, "</svg>", ""])


def measured(path: Path, draws: int) -> tuple[list[list[str]], dict[str, list[float]]]:
    """The tables of both rules, and the curves, of the model at `path`."""
    backend = LlamaCppBackend()
    backend.load_model(path, {"n_threads": 1})
    own = [distribution(backend, prompt) for prompt in PROMPTS]
    states = {"neutral": {}} | {emotion: {emotion: 1.0} for emotion in EMOTIONS}
    mixed = {"joy + excitement + calm": {"joy": 1.0, "excitement": 1.0, "calm": 1.0}}
    both = [table(backend, rule, own, {**states, **mixed}, draws) for rule in (shaped, merged)]
    lines = curves(own)
    backend.unload()
    return both, lines


def main() -> None:
    parser = argparse.ArgumentParser(description="What each emotion does to a local model.")
    parser.add_argument("--model", type=Path, help="a GGUF file to measure in the place of random weights")
    parser.add_argument("--draws", type=int, default=DRAWS, help="tokens drawn for each prompt and state")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        path = given.model or write_random(Path(place) / "random.gguf", dim=256, layers=2, heads=4)
        both, lines = measured(path, given.draws)
    figures = ["## Figures", "", "Through valence and arousal (`shaped`):", "", *both[0], "",
               "By the documented rule (`merged`):", "", *both[1], ""]  # fmt: skip
    print("\n".join(figures))
    if given.model is not None:
        return
    folder = Path(__file__).parent
    (folder / "affect.svg").write_text(plot(lines), encoding="utf-8")
    text = (folder / "affect.md").read_text(encoding="utf-8") if (folder / "affect.md").exists() else "## Figures\n"
    before = text.partition("## Figures\n")[0]
    (folder / "affect.md").write_text(before + "\n".join(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
