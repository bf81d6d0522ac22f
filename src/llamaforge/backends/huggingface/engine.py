"""A model in memory at work: tokens of answers, one alone or many side by side, and vectors of texts."""

from __future__ import annotations

import inspect
import logging
import os
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from copy import deepcopy
from itertools import chain
from typing import Any

import torch
from jinja2 import TemplateError

from llamaforge.backends.huggingface.batching import Batch
from llamaforge.backends.huggingface.constraint import Mask, Vocabulary
from llamaforge.backends.huggingface.loading import Model, find, load
from llamaforge.backends.huggingface.options import Form, Settings
from llamaforge.backends.huggingface.pictures import with_pictures
from llamaforge.backends.huggingface.prefix import Prefix
from llamaforge.backends.huggingface.sampling import Sampler
from llamaforge.backends.huggingface.tool_calls import CLOSE, OPEN
from llamaforge.exceptions import ContextLengthError, GenerationError, ParameterError

log = logging.getLogger(__name__)

_SLOTS = 8
# What the cache of a batch takes at most where nobody sizes it, in bytes; on a GPU it is half of what is free.
_CACHE_BYTES = 2**30
# A batch is trusted once it has written this many tokens as the plain loop does.
_TRIAL = 4
# Attention that works on the batch's paged cache without being switched for the whole model.
_BATCHING_ATTENTION = ("sdpa", "flash_attention_2", "flash_attention_3")


class Prompt(list[int]):
    """The tokens of a prompt, with what is read beside them: the tensors of its pictures."""

    def __init__(self, tokens: Sequence[int], beside: Mapping[str, Any] | None = None) -> None:
        super().__init__(tokens)
        self.beside = beside or {}


class Engine:
    """A loaded model. Safe from any thread: one answer runs in its caller's thread, others meanwhile in a batch."""

    def __init__(self, path: str, parameters: Mapping[str, Any]) -> None:
        """parameters: those of `options.LOAD`, resolved. Raises ModelLoadError."""
        # For the whole process: torch has one pool of threads.
        torch.set_num_threads(parameters.get("n_threads") or max(1, (os.cpu_count() or 2) - 1))
        self.model: Model = load(find(path, parameters), parameters)
        self.slots: int = parameters.get("max_batch", _SLOTS)
        self._batch_tokens: int | None = parameters.get("batch_tokens")
        self._alone = threading.Lock()
        self._prefix = Prefix()  # belongs to whoever holds the lock
        self._batch_lock = threading.Lock()
        self._batch: Batch | None = None
        self._batches = (
            self.slots > 1 and self.model.writes and not self.model.processor and _can_batch(self.model.network)
        )
        self._keeps = {"logits_to_keep": 1} if _takes(self.model.network, "logits_to_keep") else {}
        # The library calls the cache `cache` since 5.24; before, and in code that a model brings, it has its older name.
        self._cache_name = "cache" if _takes(self.model.network, "cache") else "past_key_values"
        self._vocabulary_lock = threading.Lock()
        self._vocabulary: Vocabulary | None = None
        self._closed = False
        self.sees = self.model.processor is not None
        self._layout = self.model.processor or self.model.tokenizer
        self.has_template = bool(getattr(self._layout, "chat_template", None))
        self.hidden = _hidden(self.model.tokenizer)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        device: torch.device = self.model.network.device
        return device

    def details(self) -> dict[str, object]:
        """What the model is, for whoever asks."""
        network = self.model.network
        return {
            "architecture": type(network).__name__,
            "context_tokens": self.model.context,
            "parameters": network.num_parameters(),
            "torch_dtype": str(network.dtype).removeprefix("torch."),
            "device": str(self.device),
            "writes": self.model.writes,
            "images": self.sees,
            "has_chat_template": self.has_template,
            "max_batch": self.slots if self._batches else 1,
        }

    def encode(self, text: str) -> list[int]:
        """The tokens of a prompt. Raises ParameterError where it has none."""
        tokens: list[int] = self.model.tokenizer(text)["input_ids"]
        if not tokens:
            raise ParameterError("The prompt is empty.")
        return tokens

    def encode_chat(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> Prompt:
        """The tokens of a chat in the form of the model's own template. Raises ParameterError for what that refuses."""
        options = {"return_tensors": "pt"} if self.sees else {}
        messages = with_pictures(messages) if self.sees else list(messages)
        try:
            chat = self._layout.apply_chat_template(
                messages,
                tools=list(tools) or None,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                **options,
            )
        except (TemplateError, TypeError, ValueError, IndexError, RuntimeError, StopIteration) as error:
            raise ParameterError(f"The model's chat template can't lay out these messages: {error}") from error
        tokens = chat["input_ids"]
        if not self.sees:
            return Prompt(tokens)
        beside = {name: value for name, value in chat.items() if name not in {"input_ids", "attention_mask"}}
        return Prompt(tokens[0].tolist(), {name: self._placed(value) for name, value in beside.items()})

    def _placed(self, value: Any) -> Any:
        """A tensor on the model's device, numbers of a picture in its precision."""
        if not isinstance(value, torch.Tensor):
            return value
        return value.to(self.device, self.model.network.dtype if value.is_floating_point() else None)

    def embed(self, text: str, *, normalize: bool) -> list[float]:
        """The vector of a text. Raises ContextLengthError for one longer than the context."""
        tokens = self.encode(text)
        context = self.model.context
        if context is not None and len(tokens) > context:
            raise ContextLengthError(
                f"The text has {len(tokens)} tokens, and the context of the model holds {context}.",
                prompt_tokens=len(tokens),
                context_tokens=context,
            )
        return self._vector(tokens, normalize=normalize)

    def room(self, prompt: Sequence[int]) -> int | None:
        """How many tokens may follow `prompt`, None for any number. Raises ContextLengthError where none may."""
        context = self.model.context
        if context is None:
            return None
        if len(prompt) >= context:
            raise ContextLengthError(
                f"The prompt has {len(prompt)} tokens, and the context of the model holds {context}, the answer included.",
                prompt_tokens=len(prompt),
                context_tokens=context,
            )
        return context - len(prompt)

    def mask(self, form: Form) -> Mask:
        """What holds one answer to `form`. Raises ParameterError where it can't be held, UnsupportedError for this model."""
        with self._vocabulary_lock:
            if self._vocabulary is None:
                self._vocabulary = Vocabulary(self.model.bare_tokenizer, self.model.ends)
        return self._vocabulary.mask(form)

    def tokens(
        self,
        prompt: Sequence[int],
        settings: Settings,
        limit: int,
        cached: Callable[[int], None],
        mask: Mask | None = None,
    ) -> Iterator[int]:
        """The tokens of an answer, its end token included; closing the iterator ends it. Raises GenerationError.

        The first who comes runs a loop of his own, which costs the least for one answer. Others share the passes of a
        batch, and the first joins them with his next token. cached: is told how many tokens of the prompt had been read
        before. mask: see `mask`.
        """
        sampler = Sampler(settings, prompt, self.model.ends, self.device, mask)
        if isinstance(prompt, Prompt) and prompt.beside:
            yield from self._loop(prompt, sampler, limit, beside=prompt.beside)
            return
        written: list[int] = []
        if not self._shares(prompt, limit) and self._alone.acquire(blocking=False):
            try:
                cache, known = self._prefix.take(prompt)
                cached(known)
                with closing(self._loop(prompt, sampler, limit, cache, known, keeps=True)) as loop:
                    for token in loop:
                        written.append(token)
                        yield token
                        if self._shares([*prompt, *written], limit - len(written)):
                            break
            finally:
                self._alone.release()
        if len(written) == limit or (written and written[-1] in self.model.ends):
            return
        batch = self._shared()
        if batch is not None:
            read, more = [*prompt, *written], limit - len(written)
            for token in batch.run(read, sampler, min(more, batch.room(read)), self.model.ends):
                written.append(token)
                yield token
        # What is too long for the batch goes on alone, with the same sampler.
        if len(written) < limit and not (written and written[-1] in self.model.ends):
            yield from self._loop([*prompt, *written], sampler, limit - len(written))

    def _shares(self, prompt: Sequence[int], limit: int) -> bool:
        """Whether a batch writes answers at present, and has room for one more: in its passes one costs the least."""
        batch = self._batch
        return batch is not None and 0 < batch.running < self.slots and batch.room(prompt) >= limit > 0

    def beams(self, prompt: Sequence[int], settings: Settings, limit: int) -> list[int]:
        """The likeliest whole answer that a search with `num_beams` finds. Blocks until it is found."""
        inputs = torch.tensor([prompt], device=self.device)
        with torch.inference_mode(), _failures():
            output = self.model.network.generate(
                input_ids=inputs,
                attention_mask=torch.ones_like(inputs),
                num_beams=settings.num_beams,
                do_sample=False,
                max_new_tokens=limit,
                max_length=None,
                min_new_tokens=settings.min_new_tokens or None,
                repetition_penalty=settings.repeat_penalty or 1.0,
                no_repeat_ngram_size=settings.no_repeat_ngram_size,
                pad_token_id=min(self.model.ends, default=0),
                temperature=None,
                top_k=None,
                top_p=None,
                **(prompt.beside if isinstance(prompt, Prompt) else {}),
            )
        found: list[int] = output[0, len(prompt) :].tolist()
        return found

    def _vector(self, tokens: Sequence[int], *, normalize: bool) -> list[float]:
        """The mean of the last layer's states, of length 1 where `normalize`."""
        network = self.model.network
        network = getattr(network, "base_model", network) if self.model.writes else network
        inputs = torch.tensor([tokens], device=self.device)
        with torch.inference_mode(), _failures():
            states = network(input_ids=inputs, attention_mask=torch.ones_like(inputs)).last_hidden_state
            mean = states[0].float().mean(dim=0)
            if normalize:
                mean = torch.nn.functional.normalize(mean, dim=0)
        vector: list[float] = mean.tolist()
        return vector

    def close(self) -> None:
        """End what runs and let go of the memory. What still runs gets a GenerationError with its next token."""
        self._closed = True
        with self._batch_lock:
            self._batches = False
            batch, self._batch = self._batch, None
        if batch is not None:
            batch.close()

    def _loop(
        self,
        prompt: Sequence[int],
        sampler: Sampler,
        limit: int,
        cache: Any = None,
        known: int = 0,
        *,
        keeps: bool = False,
        beside: Mapping[str, Any] | None = None,
    ) -> Generator[int, None, None]:
        """One pass a token. cache: holds the first `known` tokens of the prompt. keeps: it is kept for the next prompt.

        beside: what is read with the prompt, such as its pictures.
        """
        network, device, ends = self.model.network, self.device, self.model.ends
        sequence = list(prompt)
        whole = False  # a cache that a pass has left half written is good for nothing
        try:
            for _ in range(limit):
                if self._closed:
                    raise GenerationError("The model was unloaded while it wrote an answer.")
                whole = False
                with torch.inference_mode(), _failures():
                    inputs = torch.tensor([sequence[known:]], device=device)
                    more = {**self._keeps, **(beside or {})} if known == 0 else self._keeps
                    output = network(input_ids=inputs, use_cache=True, **{self._cache_name: cache}, **more)
                    token = sampler.choose(output.logits[0, -1])
                if sampler.failure:
                    raise GenerationError(sampler.failure)
                # A cache of a kind that is not handed on: the whole text is read again for each token.
                cache = output.get(self._cache_name)
                whole = cache is not None
                known = len(sequence) if whole else 0
                sequence.append(token)
                yield token
                if token in ends:
                    return
        finally:
            if keeps and whole:
                self._prefix.keep(sequence, cache)

    def _shared(self) -> Batch | None:
        """The batch, made when it is first needed; None where the model can't be run in one."""
        with self._batch_lock:
            if self._batch is None and self._batches:
                self._batch = self._try_batch()
                self._batches = self._batch is not None
            return self._batch

    def _try_batch(self) -> Batch | None:
        """A batch that has shown that it writes what the plain loop writes."""
        prompt = [min(self.model.ends, default=0) or 1] * 2
        settings = Settings()
        try:
            batch = Batch(_twin(self.model.network), slots=self.slots, tokens=self._cache_tokens())
            alone = list(self._loop(prompt, Sampler(settings, prompt, (), self.device), _TRIAL))
            shared = list(batch.run(prompt, Sampler(settings, prompt, (), self.device), _TRIAL, self.model.ends))
        except (GenerationError, RuntimeError, ValueError, TypeError, AttributeError, KeyError, MemoryError) as error:
            log.warning("The model can't be run in a batch, answers share the processor instead: %s", error)
            return None
        if alone == shared:
            return batch
        log.warning("In a batch the model writes something else; answers share the processor instead.")
        batch.close()
        return None

    def _cache_tokens(self) -> int:
        """How many tokens the cache of the batch holds: every slot's whole context, as far as memory is set aside."""
        if self._batch_tokens is not None:
            return self._batch_tokens
        config = self.model.network.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        a_token = 2 * config.num_hidden_layers * heads * width * self.model.network.dtype.itemsize
        free = torch.cuda.mem_get_info(self.device)[0] // 2 if self.device.type == "cuda" else _CACHE_BYTES
        affordable = max(free // a_token, 64)
        wanted: int = self.slots * (self.model.context or affordable)
        return min(int(affordable), wanted)


@contextmanager
def _failures() -> Iterator[None]:
    """What torch raises, lack of memory included, as a GenerationError."""
    try:
        yield
    except (RuntimeError, ValueError, IndexError, TypeError, MemoryError) as error:
        raise GenerationError(f"The model failed while it wrote an answer: {error}") from error


def _twin(network: Any) -> Any:
    """The same weights under modules and a configuration of their own.

    The library writes into a model's configuration for the length of a pass (`is_causal`): beside a pass of a batch, another
    thread's would be computed as if each token saw those after it.
    """
    weights = {id(tensor): tensor for tensor in chain(network.parameters(), network.buffers())}
    return deepcopy(network, weights)


def _can_batch(network: Any) -> bool:
    attention = getattr(network.config, "_attn_implementation", None)
    return hasattr(network, "init_continuous_batching") and attention in _BATCHING_ATTENTION


def _takes(network: Any, name: str) -> bool:
    return name in inspect.signature(network.forward).parameters


def _hidden(tokenizer: Any) -> frozenset[int]:
    """The special tokens, which are no text; but for the marks of a tool call, which some models count among them."""
    added = tokenizer.added_tokens_decoder
    special = {number for number, token in added.items() if token.special and str(token) not in {OPEN, CLOSE}}
    return frozenset(special)
