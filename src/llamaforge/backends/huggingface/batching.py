"""Answers side by side: the library's continuous batching, with each answer's own sampling and an own way out for its tokens."""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessor,
    ContinuousBatchingLogitsProcessorList,
)
from transformers.generation.continuous_batching.continuous_api import OutputRouter
from transformers.generation.logits_process import LogitsProcessorList

from llamaforge.backends.huggingface.sampling import Sampler
from llamaforge.exceptions import GenerationError
from llamaforge.formats import completions

# Tokens in a page of the cache. Small pages keep the part of the cache that attention reads small: measured 1.3x the
# throughput of the library's 256 on a CPU.
_PAGE = 32
# Tokens computed in one step at most: prompts longer than that are read over several steps, between the others' tokens.
_STEP = 256
_LOOK_AFTER = 1.0


class Batch:
    """A loop in a thread of its own that computes the next tokens of many answers in one pass.

    The library's manager samples with one seed and one do_sample for all requests, and hands out results through one
    queue. Here it draws greedily, from scores in which each answer's own sampler has already chosen; and each answer
    has a queue of its own.
    """

    def __init__(self, model: Any, *, slots: int, tokens: int) -> None:
        """slots: answers computed at once; more wait their turn. tokens: what the cache holds for all of them together."""
        self._choices = _Choices()
        self._outputs = _Outputs()
        self._tokens = tokens
        config = ContinuousBatchingConfig(
            page_size=_PAGE,
            num_blocks=-(-tokens // _PAGE) + 1,
            max_batch_tokens=max(_STEP, slots),
            max_requests_per_batch=slots,
            max_blocks_per_request=0,
            allow_block_sharing=False,
            use_async_batching=False,
            use_cuda_graph=False,
            auto_switch_to_flash=False,
        )
        greedy = GenerationConfig(do_sample=False, eos_token_id=-1)
        manager = model.init_continuous_batching(generation_config=greedy, continuous_batching_config=config)
        manager.output_router = self._outputs
        manager.logit_processor = ContinuousBatchingLogitsProcessorList(LogitsProcessorList([self._choices]))
        manager.logit_processor.tensors_required = 1
        # Preparing the batch seeds torch's global generator, which belongs to others.
        with torch.random.fork_rng():
            manager.warmup()
        # A thread inherits its starter's being a daemon: nothing here may keep a program from ending.
        starter = threading.Thread(target=manager.start, daemon=True)
        starter.start()
        starter.join()
        self._manager = manager
        self.close = weakref.finalize(self, _stop, manager)

    @property
    def running(self) -> int:
        """How many answers are being written, or wait their turn."""
        return len(self._outputs)

    def room(self, prompt: Sequence[int]) -> int:
        """How many tokens of an answer to `prompt` fit into the cache, were it the only one; 0 or less for none."""
        return self._tokens - len(prompt)

    def run(self, prompt: Sequence[int], sampler: Sampler, limit: int, ends: Collection[int]) -> Iterator[int]:
        """The tokens of an answer; closing the iterator ends it. Raises GenerationError when the loop fails.

        limit: tokens at most. ends: the tokens after which an answer is over.
        """
        if limit < 1:
            return
        name = completions.new_id("run")
        tokens = self._outputs.open(name)
        if not sampler.plain:
            self._choices.samplers[name] = sampler
        finished = False
        try:
            accepted = self._manager.add_request(
                list(prompt), request_id=name, max_new_tokens=limit, streaming=True, eos_token_id=[*ends] or [-1]
            )
            if accepted is None:
                raise GenerationError("The model takes no more requests: it is being unloaded, or has failed.")
            sent = 0
            while not finished:
                output = self._next(tokens)
                if output.error is not None:
                    raise GenerationError(f"The model failed while it wrote an answer: {output.error}")
                finished = output.is_finished()
                if sampler.failure:
                    raise GenerationError(sampler.failure)
                fresh = output.generated_tokens[sent:]
                sent += len(fresh)
                yield from fresh
        finally:
            if not finished:
                self._manager.cancel_request(name)
            self._outputs.forget(name)
            self._choices.samplers.pop(name, None)

    def _next(self, tokens: queue.SimpleQueue[Any]) -> Any:
        """The next output of a request. The loop is looked after, so that nobody waits for one that has ended."""
        while True:
            alive = self._manager.is_running()
            try:
                return tokens.get(timeout=_LOOK_AFTER if alive else 0)
            except queue.Empty:
                if not alive:
                    raise GenerationError("The model was unloaded, or failed, while it wrote an answer.") from None


def _stop(manager: Any) -> None:
    manager.stop(block=True, hard_stop=True)


class _Choices(ContinuousBatchingLogitsProcessor):  # type: ignore[misc] # the library is not typed
    """Leaves, in the scores of each answer that has a sampler, only the token which that sampler draws."""

    supported_kwargs: dict[str, type] = {}  # noqa: RUF012 -- named by the library
    ignored_kwargs: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.samplers: dict[str, Sampler] = {}
        self._rows: list[Sampler | None] = []

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: Sequence[Any]) -> torch.Tensor:
        self._rows = [self.samplers.get(request.state.request_id) for request in requests_with_new_token]
        return torch.zeros(len(self._rows), dtype=torch.int32)

    def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:  # noqa: ARG002 -- ditto
        for row, sampler in enumerate(self._rows):
            if sampler is not None:
                token = sampler.choose(scores[row])
                scores[row] = float("-inf")
                scores[row, token] = 0.0
        return scores


class _Outputs(OutputRouter):  # type: ignore[misc] # the library is not typed
    """A queue for each request, where the library has one for all."""

    def __init__(self) -> None:
        super().__init__()
        self._queues: dict[str, queue.SimpleQueue[Any]] = {}

    def open(self, name: str) -> queue.SimpleQueue[Any]:
        return self._queues.setdefault(name, queue.SimpleQueue())

    def __len__(self) -> int:
        return len(self._queues)

    def forget(self, name: str) -> None:
        self._queues.pop(name, None)

    def deliver(self, output: Any) -> None:
        waiting = self._queues.get(output.request_id)
        if waiting is not None:
            waiting.put(output)

    def deliver_batch(self, outputs: Sequence[Any]) -> None:
        for output in outputs:
            self.deliver(output)
