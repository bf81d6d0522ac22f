"""The backend for Transformers models: messages and parameters on one side, tokens on the other."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from llamaforge.backends.base import (
    BackendInfo,
    BaseBackend,
    Content,
    Message,
    ModelPath,
    Parameters,
    Tools,
    checked_text,
    checked_texts,
    checked_tokens,
    messages_to_prompt,
)
from llamaforge.backends.huggingface import options, tool_calls
from llamaforge.backends.huggingface.answer import Answer
from llamaforge.exceptions import MissingExtraError, ModelNotLoadedError, ParameterError, UnsupportedError
from llamaforge.formats import completions
from llamaforge.formats.request import TEXT, checked_messages, embedding, shaped
from llamaforge.memory.devices import cuda_device
from llamaforge.parameters import Parameter, resolve
from llamaforge.threads import in_thread

if TYPE_CHECKING:
    from llamaforge.backends.huggingface.engine import Engine


class HuggingFaceBackend(BaseBackend):
    """Runs a Transformers model in this process: a folder, or a repository of the hub: "gpt2", "owner/name".

    Load parameters: device ("auto", "cpu", "cuda", "mps"), torch_dtype ("auto", "bfloat16", …), trust_remote_code (False),
    allow_pickle (False: only safetensors are read), cache_dir, revision, local_files_only, attn_implementation, n_ctx (a
    shorter context than the model's), n_threads (of torch, for the whole process), max_batch (answers computed side by
    side, 8) and batch_tokens (what they may hold together in the cache).

    Answers go on to the end of the context unless max_tokens says otherwise. Temperature 0 takes the likeliest token; a
    temperature, or another parameter of sampling, samples; without any the model's generation_config.json decides. A seed
    gives the same answer again. Safe from any thread. Answers can be held to a JSON schema, a grammar or a call of a tool.
    """

    load_parameters: ClassVar[tuple[Parameter, ...] | None] = options.LOAD
    generation_parameters: ClassVar[tuple[Parameter, ...] | None] = options.GENERATION

    def __init__(self) -> None:
        super().__init__()
        self._engine: Engine | None = None
        self._path: str | None = None
        self._loading = threading.Lock()

    # ---- the model

    def load_model(self, model_path: ModelPath, parameters: Parameters | None = None) -> None:
        """Load it, in place of one loaded before, which stays where the new one fails.

        Raises ModelLoadError (MissingExtraError without transformers and torch) and ParameterError.
        """
        given = resolve(parameters, options.LOAD, "load parameter")
        options.refuse_adapters(given)
        path = os.fspath(model_path)
        if not path.strip():
            raise ParameterError("The path of the model is empty.")
        try:
            from llamaforge.backends.huggingface.engine import Engine  # noqa: PLC0415 -- the engine is an extra
        except ImportError as error:
            raise MissingExtraError("transformers", "transformers") from error
        with self._loading:
            engine = Engine(path, given)
            before, self._engine, self._path = self._engine, engine, path
        _release(before)

    @classmethod
    def memory_device(cls, parameters: Parameters) -> str:
        """The device of the load parameter, or the first GPU where it is left to the engine and there is one."""
        return cuda_device(parameters.get("device") or "auto")

    def is_model_loaded(self) -> bool:
        """Whether a model is in memory."""
        return self._engine is not None

    def unload(self) -> None:
        """Free the model's memory. Answers that are being written end with a GenerationError."""
        with self._loading:
            engine, self._engine, self._path = self._engine, None, None
        _release(engine)

    def info(self) -> BackendInfo:
        """The model's architecture, context, precision and place."""
        engine = self._engine
        if engine is None:
            return BackendInfo(name="huggingface", loaded=False, description="Transformers models on torch")
        details = engine.details()
        return BackendInfo("huggingface", True, self._path, "Transformers models on torch", details)

    @property
    def has_chat_template(self) -> bool:
        """Whether its tokenizer has a chat template."""
        return self._engine is not None and self._engine.has_template

    # ---- answers

    def generate(self, prompt: str, parameters: Parameters | None = None) -> str:
        """The continuation of `prompt`."""
        return self._from_text(prompt, parameters, whole=True).text()

    def generate_stream(self, prompt: str, parameters: Parameters | None = None) -> Iterator[str]:
        """The continuation of `prompt`, a piece with each token. Mistakes in the arguments are raised by this call."""
        return self._from_text(prompt, parameters).pieces()

    def chat(self, messages: Sequence[Message], parameters: Parameters | None = None) -> str:
        """The assistant's next turn as it was written: a tool call stands in it as text."""
        return self._from_messages(messages, parameters, whole=True).text()

    def chat_stream(self, messages: Sequence[Message], parameters: Parameters | None = None) -> Iterator[str]:
        """`chat`, a piece with each token."""
        return self._from_messages(messages, parameters).pieces()

    def completion(self, prompt: str, parameters: Parameters | None = None) -> dict[str, Any]:
        """`generate` as an OpenAI completion."""
        return completions.whole(self._from_text(prompt, parameters, whole=True).text_chunks(self._model_name()))

    def completion_stream(self, prompt: str, parameters: Parameters | None = None) -> Iterator[dict[str, Any]]:
        """`generate_stream` as the chunks of an OpenAI completion; the last one has the usage."""
        return self._from_text(prompt, parameters).text_chunks(self._model_name())

    def chat_completion(self, messages: Sequence[Message], parameters: Parameters | None = None) -> dict[str, Any]:
        """`chat` as an OpenAI chat completion, with its tool calls."""
        return completions.whole(self._from_messages(messages, parameters, whole=True).chat_chunks(self._model_name()))

    def chat_completion_stream(
        self, messages: Sequence[Message], parameters: Parameters | None = None
    ) -> Iterator[dict[str, Any]]:
        """`chat_stream` as the chunks of an OpenAI chat completion; the last one has the usage."""
        return self._from_messages(messages, parameters).chat_chunks(self._model_name())

    def embed(self, texts: Sequence[str], parameters: Parameters | None = None) -> list[list[float]]:
        """For each text the mean of the last layer's states over its tokens, scaled to length 1 unless normalize is False.

        Raises ContextLengthError for a text longer than the context.
        """
        return list(self._vectors(texts, parameters))

    async def aembed(self, texts: Sequence[str], parameters: Parameters | None = None) -> list[list[float]]:
        """`embed` in a thread; cancelling ends it with the text that is computed at present."""
        return [vector async for vector in in_thread(lambda: self._vectors(texts, parameters))]

    def _vectors(self, texts: Sequence[str], parameters: Parameters | None) -> Iterator[list[float]]:
        engine = self._loaded()
        normalize = embedding(parameters, options.EMBEDDING).get("normalize", True)
        return (engine.embed(text, normalize=normalize) for text in checked_texts(texts))

    def count_tokens(self, content: Content, tools: Tools = ()) -> int:
        """As many as an answer to it counts for its prompt."""
        engine = self._loaded()
        if isinstance(content, str):
            return len(engine.encode(content)) if content else 0
        given = shaped({"tools": list(tools)} if tools else {})
        return len(_prompt_of(engine, content, options.tools_of(given)))

    def tokenize(self, text: str) -> list[int]:
        """The tokens of `text` by itself."""
        tokens: list[int] = self._loaded().model.bare_tokenizer.encode(checked_text(text), add_special_tokens=False).ids
        return tokens

    def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`, special ones included."""
        tokenizer, numbers = self._loaded().model.bare_tokenizer, checked_tokens(tokens)
        size = tokenizer.get_vocab_size(with_added_tokens=True)
        if any(number >= size for number in numbers):
            raise ParameterError(f"The model has only {size} tokens.")
        text: str = tokenizer.decode(numbers, skip_special_tokens=False)
        return text

    def _loaded(self) -> Engine:
        engine = self._engine
        if engine is None:
            raise ModelNotLoadedError
        return engine

    def _from_text(self, prompt: str, parameters: Parameters | None, *, whole: bool = False) -> Answer:
        engine = self._loaded()
        given = shaped(resolve(parameters, options.GENERATION))
        if not isinstance(prompt, str):
            raise ParameterError("The prompt must be text.")
        if options.tools_of(given):
            raise UnsupportedError("Tools belong to a chat: give messages instead of a prompt.")
        tokens = engine.encode(prompt)
        settings, form = _settings(engine, given, whole=whole), options.form_of(given, ())
        return Answer(engine, tokens, settings, form=form, continues=True)

    def _from_messages(
        self, messages: Sequence[Message], parameters: Parameters | None, *, whole: bool = False
    ) -> Answer:
        engine = self._loaded()
        given = shaped(resolve(parameters, options.GENERATION))
        tools = options.tools_of(given)
        prompt = _prompt_of(engine, messages, tools)
        settings, form = _settings(engine, given, whole=whole), options.form_of(given, tools)
        single = given.get("parallel_tool_calls") is False
        return Answer(engine, prompt, settings, form=form, reads_calls=bool(tools), single_call=single)


def _prompt_of(engine: Engine, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> list[int]:
    """The tokens of a chat: by the model's template, or as a script.

    Raises ParameterError; UnsupportedError for pictures that the model can't see, and for tools without a template.
    """
    messages = checked_messages(messages, {"text", "image_url"} if engine.sees and engine.has_template else TEXT)
    if engine.has_template:
        return engine.encode_chat([_plain(message) for message in messages], tools)
    if tools:
        raise UnsupportedError("The model has no chat template, so that it can't be told of tools.")
    return engine.encode(messages_to_prompt(messages))


def _settings(engine: Engine, given: Mapping[str, Any], *, whole: bool) -> options.Settings:
    if not engine.model.writes:
        raise UnsupportedError("The model makes embeddings; it does not write.")
    settings = options.settings(given, options.model_defaults(engine.model.generation))
    if settings.num_beams > 1 and not whole:
        raise UnsupportedError("A search with num_beams has no stream: its answer is known only at the end.")
    return settings


def _plain(message: Message) -> dict[str, Any]:
    """A message as chat templates know them: its content as text, the arguments of its tool calls as an object."""
    plain = {**message, "content": message["content"] or ""}
    if plain.get("tool_calls"):
        plain["tool_calls"] = [tool_calls.for_template(call) for call in plain["tool_calls"]]
    return plain


def _release(engine: Engine | None) -> None:
    if engine is not None:
        engine.close()
        del engine
        gc.collect()
