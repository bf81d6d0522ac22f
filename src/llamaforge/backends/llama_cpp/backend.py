"""The backend "llama.cpp"."""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from llamaforge.backends.base import (
    COUNT_PATH,
    DETOKENIZE_PATH,
    PATHS,
    TOKENIZE_PATH,
    BackendInfo,
    BaseBackend,
    Content,
    Endpoint,
    Message,
    ModelPath,
    Parameters,
    Tools,
    checked_text,
    checked_texts,
    checked_tokens,
)
from llamaforge.backends.llama_cpp.adapters import adapter_scales, with_adapters
from llamaforge.backends.llama_cpp.engine import Engine, import_xllamacpp
from llamaforge.backends.llama_cpp.loading import LOAD, LoadOptions, load_options
from llamaforge.backends.llama_cpp.requests import (
    GENERATION,
    OVER_HTTP,
    chat_request,
    infill_prompt,
    text_parameters,
    text_request,
)
from llamaforge.exceptions import ModelNotLoadedError, ParameterError, UnsupportedError
from llamaforge.formats.completions import Json, Rewriter, new_id, whole
from llamaforge.formats.request import Request, embedding
from llamaforge.gguf import Header, check_runnable, memory_needed, read_header
from llamaforge.memory.devices import RAM, cuda_device
from llamaforge.parameters import spellings
from llamaforge.threads import in_thread

_KNOWN: Final = spellings(OVER_HTTP)
_NO_VECTORS: Final = "The model was not loaded for embeddings; load it with 'embedding': true."


class LlamaCppBackend(BaseBackend):
    """Runs a GGUF model with llama.cpp in this process.

    Several threads may use one object: as many requests as the load parameter `n_parallel` says are computed together,
    more of them wait. Each may use `n_ctx` tokens.
    """

    load_parameters = LOAD
    generation_parameters = GENERATION

    def __init__(self) -> None:
        self._loading = threading.Lock()
        self._model: _Model | None = None

    # ---- the model

    def load_model(self, model_path: ModelPath, parameters: Parameters | None = None) -> None:
        """Load the GGUF file at `model_path` (the first of a split model) in the place of any other.

        A file or parameters that can't be used leave the present model as it is. Raises ModelLoadError, ParameterError.
        """
        import_xllamacpp()
        header = read_header(model_path)
        check_runnable(header)
        options = load_options(parameters, header)
        with self._loading:
            self._drop()
            engine = Engine(header, options, options.others.get("model_alias") or Path(header.path).stem)
            # Threads of the engine must not outlive the interpreter.
            self._model = _Model(engine, header, options, weakref.finalize(self, engine.close))

    @classmethod
    def memory_device(cls, parameters: Parameters) -> str:
        """The main GPU where layers are put on it by name and there is one."""
        return cuda_device(f"cuda:{parameters.get('main_gpu') or 0}") if parameters.get("n_gpu_layers") else RAM

    def is_model_loaded(self) -> bool:
        return self._model is not None

    def unload(self) -> None:
        """Free the model. Generations that run end with ModelNotLoadedError."""
        with self._loading:
            self._drop()

    def _drop(self) -> None:
        model, self._model = self._model, None
        if model is not None:
            model.close()

    @property
    def has_chat_template(self) -> bool:
        """Whether its file has a chat template, or one was given with the load."""
        model = self._model
        return model is not None and bool(model.header.chat_template or model.options.others.get("chat_template"))

    @property
    def endpoint(self) -> Endpoint | None:
        """The engine's own HTTP server on the loopback address."""
        model = self._model
        return None if model is None else Endpoint(model.engine.url, model.engine.api_key)

    @classmethod
    def alive_path(cls) -> str:
        """Answered by the loop that computes, between two of its steps; the engine's other answers about itself are not."""
        return "/lora-adapters"

    def info(self) -> BackendInfo:
        """The header of the model and how it was loaded; `memory_needed` is the estimate in bytes."""
        model = self._model
        said = "GGUF models on llama.cpp, in this process"
        if model is None:
            return BackendInfo("llama.cpp", loaded=False, description=said)
        header, options = model.header, model.options
        details = {
            **header.summary(),
            "has_chat_template": self.has_chat_template,
            "path": str(header.path),
            "n_ctx": options.n_ctx,
            "n_parallel": options.n_parallel,
            "n_threads": options.n_threads,
            "embedding": options.embedding,
            "images": model.media,
            "memory_needed": memory_needed(
                header, options.n_ctx, options.n_parallel, options.cache_type_k, options.cache_type_v, options.n_ubatch
            ),
        }
        return BackendInfo("llama.cpp", loaded=True, model=model.name, description=said, details=details)

    # ---- text

    def generate(self, prompt: str, parameters: Parameters | None = None) -> str:
        return "".join(self.generate_stream(prompt, parameters))

    def generate_stream(self, prompt: str, parameters: Parameters | None = None) -> Iterator[str]:
        model = self._loaded()
        return model.engine.text_stream(model.text_request(prompt, parameters), _text)

    def completion(self, prompt: str, parameters: Parameters | None = None) -> Json:
        return whole(self.completion_stream(prompt, parameters))

    def completion_stream(self, prompt: str, parameters: Parameters | None = None) -> Iterator[Json]:
        request, name = self._loaded().text_request(prompt, parameters), {"id": new_id("cmpl")}
        shape = Rewriter(Request("completion", [prompt], dict(parameters or {}))).choice
        return self._loaded().engine.text_stream(
            request, lambda chunk: chunk | name | {"choices": [shape(choice) for choice in chunk["choices"]]}
        )

    # ---- chat

    def chat(self, messages: Sequence[Message], parameters: Parameters | None = None) -> str:
        return "".join(self.chat_stream(messages, parameters))

    def chat_stream(self, messages: Sequence[Message], parameters: Parameters | None = None) -> Iterator[str]:
        model = self._loaded()
        return model.engine.chat_stream(model.chat_request(messages, parameters), _content)

    def chat_completion(self, messages: Sequence[Message], parameters: Parameters | None = None) -> Json:
        return whole(self.chat_completion_stream(messages, parameters))

    def chat_completion_stream(
        self, messages: Sequence[Message], parameters: Parameters | None = None
    ) -> Iterator[Json]:
        model = self._loaded()
        return model.engine.chat_stream(model.chat_request(messages, parameters), _itself)

    # ---- vectors

    def embed(self, texts: Sequence[str], parameters: Parameters | None = None) -> list[list[float]]:
        """A vector of length 1 for each text; the model must have been loaded with `embedding`."""
        return list(self._vectors(texts, parameters))

    async def aembed(self, texts: Sequence[str], parameters: Parameters | None = None) -> list[list[float]]:
        """`embed` in a thread; cancelling ends it with the texts that are computed at present."""
        return [vector async for vector in in_thread(lambda: self._vectors(texts, parameters))]

    def _vectors(self, texts: Sequence[str], parameters: Parameters | None) -> Iterator[list[float]]:
        embedding(parameters, ())
        model = self._loaded()
        if not model.options.embedding:
            raise UnsupportedError(_NO_VECTORS)
        return model.engine.vectors(checked_texts(texts))

    # ---- tokens

    def count_tokens(self, content: Content, tools: Tools = ()) -> int:
        """As many as an answer to it counts for its prompt. Raises UnsupportedError for messages with pictures."""
        engine = self._loaded().engine
        if isinstance(content, str):
            return len(engine.ask(TOKENIZE_PATH, {"content": content, "add_special": True})["tokens"])
        body = chat_request(content, {"tools": list(tools)} if tools else None, media=False)
        count: int = engine.ask(COUNT_PATH, body)["input_tokens"]
        return count

    def tokenize(self, text: str) -> list[int]:
        tokens: list[int] = self._loaded().engine.ask(TOKENIZE_PATH, {"content": checked_text(text)})["tokens"]
        return tokens

    def detokenize(self, tokens: Sequence[int]) -> str:
        model, size = self._loaded(), self._loaded().header.vocabulary_size
        numbers = checked_tokens(tokens)
        if size is not None and any(number >= size for number in numbers):
            raise ParameterError(f"The model has only {size} tokens.")
        text: str = model.engine.ask(DETOKENIZE_PATH, {"tokens": numbers})["content"]
        return text

    # ---- over HTTP

    @classmethod
    def http_request(cls, request: Request, load: Parameters) -> tuple[str, Json]:
        """See BaseBackend: the engine's own server checks little of what it is asked, and says little of what it ignores."""
        if request.kind == "embeddings":
            embedding(request.parameters, ())
            if not load.get("embedding"):
                raise UnsupportedError(_NO_VECTORS)
            return PATHS["embeddings"], request.body({})
        # As its clients expect, what the engine does not know is passed over.
        given = {name: value for name, value in request.parameters.items() if name in _KNOWN}
        if request.kind == "chat":
            body = chat_request(request.content, given, media="mmproj" in load, known=OVER_HTTP)
        else:
            body = text_parameters(given, OVER_HTTP)
        body = with_adapters(body, adapter_scales(load.get("lora", {})))
        if request.kind == "completion" and request.suffix is not None:
            return "/infill", body | infill_prompt(request)
        return PATHS[request.kind], {**request.body({}), **body}

    @classmethod
    def check_calls_tools(cls, path: str, load: Parameters) -> None:
        """See BaseBackend. The template is read once from each file."""
        template = load.get("chat_template")
        if template is None:
            found = Path(path).stat() if Path(path).is_file() else None
            template = "" if found is None else _template_of(path, found.st_mtime_ns, found.st_size)
        _check_knows_tools(template)

    @classmethod
    def rerank_path(cls, load: Parameters) -> str | None:
        """The engine's own, of a model that was loaded to rank."""
        return "/v1/rerank" if load.get("embedding") and load.get("pooling_type") == "rank" else None

    def _loaded(self) -> _Model:
        if self._model is None:
            raise ModelNotLoadedError
        return self._model

    def _model_name(self) -> str:
        return self._loaded().name


class _Model:
    """A loaded model with what it was loaded from. close: frees it, once, also when the interpreter ends."""

    def __init__(self, engine: Engine, header: Header, options: LoadOptions, close: weakref.finalize[..., Any]) -> None:
        self.engine = engine
        self.header = header
        self.options = options
        self.close = close
        self.name = header.path.stem
        self.media = "mmproj" in options.others

    def text_request(self, prompt: str, parameters: Parameters | None) -> Json:
        return with_adapters(text_request(prompt, parameters), self.options.lora)

    def chat_request(self, messages: Sequence[Message], parameters: Parameters | None) -> Json:
        request = chat_request(messages, parameters, media=self.media)
        if request.get("tool_choice") == "required":
            _check_knows_tools(self.options.others.get("chat_template") or self.header.chat_template or "")
        return with_adapters(request, self.options.lora)


@functools.lru_cache(maxsize=64)
def _template_of(path: str, _changed: int, _size: int) -> str:
    return read_header(path).chat_template or ""


def _check_knows_tools(template: str) -> None:
    """Without a word about tools in the template the engine passes them over, and the demand for a call as well."""
    if "tools" not in template:
        raise UnsupportedError(
            "The chat template of this model knows no tools, so that a call can't be demanded of it. Ask with"
            " 'tool_choice': 'auto', or use a model whose template knows them."
        )


def _text(chunk: Json) -> str | None:
    return chunk["choices"][0]["text"] or None


def _content(chunk: Json) -> str | None:
    choices = chunk["choices"]
    return (choices[0]["delta"].get("content") or None) if choices else None


def _itself(chunk: Json) -> Json:
    return chunk
