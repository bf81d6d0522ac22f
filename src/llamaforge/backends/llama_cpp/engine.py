"""One loaded model and the requests that run on it."""

from __future__ import annotations

import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from queue import SimpleQueue
from types import ModuleType
from typing import Any, Final, Generic, TypeVar, cast

from llamaforge.backends.llama_cpp.loading import LoadOptions, engine_parameters
from llamaforge.exceptions import (
    ContextLengthError,
    GenerationError,
    LlamaForgeError,
    MissingExtraError,
    ModelLoadError,
    ModelNotLoadedError,
    ParameterError,
    UnsupportedError,
)
from llamaforge.formats.completions import Json
from llamaforge.gguf import Header, check_runnable

T = TypeVar("T")
Handler = Callable[[Any, Json, Callable[[Any], bool]], Any]  # xllamacpp's method for one kind of request
_LOOP_BEGINS: Final = 0.25  # seconds
_SECONDS: Final = 60.0  # for what the engine answers at once
_TOO_LONG: Final = re.compile(r"input \((\d+) tokens\) is too large to process\..*current batch size: (\d+)")
_GONE: Final = "The model was unloaded while it was answering."


def import_xllamacpp() -> ModuleType:
    """The library. Raises MissingExtraError."""
    try:
        import xllamacpp  # noqa: PLC0415 - an engine of an extra, loaded with the first model
    except ImportError as error:
        raise MissingExtraError("llamacpp", "xllamacpp") from error
    return cast("ModuleType", xllamacpp)


class Engine:
    """llama.cpp's server with one model. It answers any number of requests at once, as many of them together as it has slots."""

    def __init__(self, header: Header, options: LoadOptions, name: str) -> None:
        """Loads the model. Blocks, and the library holds Python's lock meanwhile. Raises ModelLoadError."""
        library = import_xllamacpp()
        check_runnable(header)
        self.api_key = secrets.token_urlsafe(32)
        self._slots = options.n_parallel
        self._lock = threading.Lock()
        self._calls: set[_Call] = set()
        try:
            self._server: Any = library.Server(
                engine_parameters(library, header, options, name=name, api_key=self.api_key)
            )
        except RuntimeError as error:
            raise ModelLoadError(
                f"llama.cpp could not load {header.path} (architecture {header.architecture}, {header.quantisation}). It may not "
                "know this kind of model, a load parameter may not fit it (a chat template, an adapter), or memory may be short; "
                "the load parameter 'verbose' shows what the engine says."
            ) from error
        self.url: str = self._server.listening_address
        self._try_out(header, embedding=options.embedding)

    def _try_out(self, header: Header, *, embedding: bool) -> None:
        """The first request: unloading a server whose loop of requests has not begun yet hangs for ever."""
        try:
            if embedding:
                list(self.vectors(["a"]))
            else:
                list(self.text_stream({"prompt": "a", "max_tokens": 1}, lambda _: True))
        except LlamaForgeError as error:
            # Refused before it reached that loop, which has no other sign of having begun.
            time.sleep(_LOOP_BEGINS)
            self.close()
            raise ModelLoadError(f"llama.cpp loaded {header.path}, but it can't answer: {error}") from error

    def text_stream(self, request: Json, pick: Callable[[Json], T | None]) -> Stream[T]:
        """What `pick` makes of the chunks of a plain completion, without those of which it makes None."""
        return self._stream("handle_completions", request, pick)

    def chat_stream(self, request: Json, pick: Callable[[Json], T | None]) -> Stream[T]:
        """What `pick` makes of the chunks of a chat completion, without those of which it makes None."""
        return self._stream("handle_chat_completions", request, pick)

    def vectors(self, texts: Sequence[str]) -> Iterator[list[float]]:
        """A vector for each text, computed as many together as there are slots.

        The library can't be stopped within a request: whoever closes the iterator, or the model, waits for these at most.
        """
        for start in range(0, len(texts), self._slots):
            yield from self._embed(texts[start : start + self._slots])

    def _embed(self, texts: Sequence[str]) -> list[list[float]]:
        call = self._begin()
        try:
            answer = call.server.handle_embeddings({"input": list(texts)})
        except (RuntimeError, ValueError) as error:
            raise GenerationError(f"llama.cpp could not embed the texts: {error}") from error
        finally:
            self.forget(call)
        if "error" in answer:
            raise error_of(answer["error"])
        return [item["embedding"] for item in sorted(answer["data"], key=lambda item: item["index"])]

    def ask(self, path: str, body: Json) -> Json:
        """What the engine's own HTTP server answers, for what the library has no method for. Raises as the streams do."""
        call = self._begin()
        try:
            connection = HTTPConnection(self.url.partition("//")[2], timeout=_SECONDS)
            with closing(connection):
                headers = {"Authorization": f"Bearer {self.api_key}", "Content-Type": "application/json"}
                connection.request("POST", path, json.dumps(body).encode(), headers)
                response = connection.getresponse()
                answer: Json = json.loads(response.read())
        except (OSError, HTTPException, ValueError) as error:
            raise GenerationError(f"llama.cpp did not answer: {error}") from error
        finally:
            self.forget(call)
        if "error" in answer:
            raise error_of(answer["error"])
        return answer

    def close(self) -> None:
        """End what runs, wait for it, and free the model."""
        with self._lock:
            server, self._server = self._server, None
            calls = list(self._calls)
        for call in calls:
            call.cancelled = call.unloaded = True
        for call in calls:
            call.done.wait()
        del server

    def forget(self, call: _Call) -> None:
        """The call is over: nothing of it holds the model any more."""
        with self._lock:
            call.server = None
            self._calls.discard(call)
        call.done.set()

    def _stream(self, handler: str, request: Json, pick: Callable[[Json], T | None]) -> Stream[T]:
        # The progress of a long prompt is asked for to be able to cancel within it.
        options = {"include_usage": True}
        request = {**request, "stream": True, "stream_options": options, "return_progress": True}
        return Stream(self._begin, self.forget, handler, request, pick)

    def _begin(self) -> _Call:
        with self._lock:
            if self._server is None:
                raise ModelNotLoadedError
            call = _Call(self._server)
            self._calls.add(call)
        return call


class _Call:
    """One request: the thread that runs it and the iterator that reads it share this, and nothing else."""

    __slots__ = ("cancelled", "done", "queue", "server", "unloaded")

    def __init__(self, server: Any) -> None:
        self.server = server
        self.cancelled = False
        self.unloaded = False
        self.queue: SimpleQueue[Any] = SimpleQueue()  # chunks, then None or an exception
        self.done = threading.Event()

    def run(self, handler: str, request: Json) -> BaseException | None:
        put = self.queue.put

        def receive(chunk: Any) -> bool:
            put(chunk)
            return self.cancelled

        try:
            getattr(self.server, handler)(request, receive)
        except (RuntimeError, ValueError, TypeError) as error:
            return error
        return None


class Stream(Iterator[T], Generic[T]):
    """The answer to one request, piece by piece. It begins with the first `next`, in a thread of its own.

    `close` (also by garbage collection) ends the generation and may be called from any thread, even while another waits in
    `next`, which then raises StopIteration.
    """

    def __init__(
        self,
        begin: Callable[[], _Call],
        forget: Callable[[_Call], None],
        handler: str,
        request: Json,
        pick: Callable[[Json], T | None],
    ) -> None:
        self._begin, self._forget = begin, forget
        self._handler, self._request = handler, request
        self._pick = pick
        self._call: _Call | None = None
        self._closed = False
        self._last: Json = {}

    def __next__(self) -> T:
        if self._closed:
            raise StopIteration
        call = self._call or self._start()
        get, pick = call.queue.get, self._pick
        while True:
            chunk = get()
            if self._closed:
                raise StopIteration
            if chunk.__class__ is not dict or "error" in chunk:
                self._end(chunk)
            if "prompt_progress" in chunk:
                continue
            self._last = chunk
            picked = pick(chunk)
            if picked is not None:
                return picked

    def close(self) -> None:
        """End the generation with its present token, or the present batch of its prompt. Does not wait for that."""
        self._closed = True
        call = self._call
        if call is not None:
            call.cancelled = True
            call.queue.put(None)  # whoever waits in `next` wakes up

    cancel = close

    def __del__(self) -> None:
        if self._call is not None:
            self._call.cancelled = True

    def _start(self) -> _Call:
        call = self._call = self._begin()
        # Not a method of this object, which is to be collected when nobody reads it any more.
        threading.Thread(
            target=_run, args=(call, self._forget, self._handler, self._request), name="llama.cpp request", daemon=True
        ).start()
        return call

    def _end(self, chunk: Any) -> None:
        """Raises what the last thing out of the queue means."""
        self._closed = True
        call = cast("_Call", self._call)
        if isinstance(chunk, dict):
            raise error_of(chunk["error"])
        if isinstance(chunk, ValueError):
            raise ParameterError(f"llama.cpp refused the request: {chunk}") from chunk
        if chunk is not None:
            raise GenerationError(f"llama.cpp failed: {chunk}") from chunk
        if call.unloaded:
            raise ModelNotLoadedError(_GONE)
        # The library passes over what went wrong in it in silence.
        if "usage" not in self._last:
            raise GenerationError("llama.cpp stopped before its answer was finished.")
        raise StopIteration


def _run(call: _Call, forget: Callable[[_Call], None], handler: str, request: Json) -> None:
    failure = call.run(handler, request)
    forget(call)
    call.queue.put(failure)


def error_of(error: Json) -> LlamaForgeError:
    """The exception for an error of the engine."""
    message, kind = str(error.get("message", error)), error.get("type")
    if kind == "exceed_context_size_error":
        prompt, context = error.get("n_prompt_tokens"), error.get("n_ctx")
        return ContextLengthError(
            f"The prompt has {prompt} tokens, more than the context of {context}.",
            prompt_tokens=prompt,
            context_tokens=context,
        )
    too_long = _TOO_LONG.match(message)  # of a text to embed
    if too_long is not None:
        length, context = map(int, too_long.groups())
        return ContextLengthError(
            f"The text has {length} tokens, more than the context of {context}.",
            prompt_tokens=length,
            context_tokens=context,
        )
    if kind == "not_supported_error":
        return UnsupportedError(message)
    if kind == "invalid_request_error":
        return ParameterError(f"llama.cpp refused the request: {message}")
    return GenerationError(f"llama.cpp failed: {message}")
