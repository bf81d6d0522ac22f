"""The choice of the next token, with a random generator for each answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import cast

import torch
from transformers.generation.logits_process import (
    LogitsProcessor,
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from llamaforge.backends.huggingface.constraint import Mask
from llamaforge.backends.huggingface.options import Settings


class Sampler:
    """Draws the tokens of one answer. Not for several threads at once.

    The order is that of Transformers: penalties, what a mask leaves, temperature, top-k, top-p, min-p, typical.
    """

    def __init__(
        self,
        settings: Settings,
        prompt: Sequence[int],
        ends: Collection[int],
        device: torch.device,
        mask: Mask | None = None,
    ) -> None:
        """prompt: its tokens, which penalties count too. ends: the tokens that `min_new_tokens` forbids at first.

        mask: what holds the answer to a form.
        """
        self._settings = settings
        self._mask = mask
        self._history = list(prompt)
        self._prompt_length = len(prompt)
        self._ends = sorted(ends)
        self._counts: Counter[int] = Counter()
        self._repetition = _repetition(settings)
        self._ngrams = (
            NoRepeatNGramLogitsProcessor(settings.no_repeat_ngram_size) if settings.no_repeat_ngram_size else None
        )
        self._warpers = _warpers(settings)
        self._random: torch.Generator | None = None
        if settings.temperature is not None:
            self._random = torch.Generator(device=device)
            if settings.seed is None:
                self._random.seed()
            else:
                self._random.manual_seed(settings.seed % 2**63)
        # The likeliest token of the bare logits: no history is needed, and a batch may draw it by itself.
        self.plain = self._random is None and not (
            mask
            or self._repetition
            or self._ngrams
            or settings.presence_penalty
            or settings.frequency_penalty
            or settings.min_new_tokens
        )

    @property
    def failure(self) -> str:
        """Why the tokens drawn are good for nothing: the answer can't be held to its form any more. "" where it is."""
        return self._mask.failure if self._mask else ""

    def choose(self, logits: torch.Tensor) -> int:
        """The next token. logits: of shape [vocabulary]."""
        if self.plain:
            return int(logits.argmax())
        scores = self._penalized(logits.float().clone())
        if self._mask is not None:
            scores = self._masked(scores, logits)
        scores = scores[None]
        if self._random is None:
            token = int(scores.argmax())
        else:
            for warper in self._warpers:
                scores = warper(None, scores)
            token = int(torch.multinomial(scores.softmax(-1)[0], 1, generator=self._random))
        self._history.append(token)
        self._counts[token] += 1
        if self._mask is not None:
            self._mask.take(token)
        return token

    def _masked(self, scores: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        mask = cast("Mask", self._mask)
        forbidden = ~mask.allowed(scores)
        held = scores.masked_fill(forbidden, float("-inf"))
        # Where a penalty forbids all that the form allows, the form wins.
        return held if mask.failure or held.isfinite().any() else logits.float().masked_fill(forbidden, float("-inf"))

    def _penalized(self, scores: torch.Tensor) -> torch.Tensor:
        settings = self._settings
        if self._repetition is not None and settings.repeat_last_n != 0:
            seen = self._history[-settings.repeat_last_n :] if settings.repeat_last_n else self._history
            if seen:
                scores = self._repetition(self._tensor(seen, scores), scores[None])[0]
        if self._counts and (settings.presence_penalty or settings.frequency_penalty):
            tokens = torch.tensor(list(self._counts), device=scores.device)
            counts = torch.tensor(list(self._counts.values()), dtype=scores.dtype, device=scores.device)
            scores[tokens] -= settings.presence_penalty + settings.frequency_penalty * counts
        if self._ngrams is not None:
            scores = self._ngrams(self._tensor(self._history, scores), scores[None])[0]
        if len(self._history) - self._prompt_length < settings.min_new_tokens:
            scores[self._ends] = float("-inf")
        return scores

    @staticmethod
    def _tensor(tokens: Sequence[int], like: torch.Tensor) -> torch.Tensor:
        return torch.tensor([tokens], device=like.device)


def _repetition(settings: Settings) -> LogitsProcessor | None:
    penalty = settings.repeat_penalty
    return None if penalty is None else RepetitionPenaltyLogitsProcessor(penalty)


def _warpers(settings: Settings) -> list[LogitsProcessor]:
    warpers: list[LogitsProcessor] = []
    if settings.temperature is not None and settings.temperature != 1.0:
        warpers.append(TemperatureLogitsWarper(settings.temperature))
    if settings.top_k is not None:
        warpers.append(TopKLogitsWarper(settings.top_k))
    if settings.top_p is not None:
        warpers.append(TopPLogitsWarper(settings.top_p))
    if settings.min_p is not None:
        warpers.append(MinPLogitsWarper(settings.min_p))
    if settings.typical_p is not None:
        warpers.append(TypicalLogitsWarper(settings.typical_p))
    return warpers
