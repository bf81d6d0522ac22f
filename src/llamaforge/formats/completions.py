"""OpenAI's shapes of answers, which every backend speaks beside plain text: chunks, whole answers, usage."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import Any, Final

import msgspec

from llamaforge.events.openai import Decoder
from llamaforge.events.parts import Growing, Part, Reducer, summed
from llamaforge.events.types import Error, Event, Notice, Usage
from llamaforge.formats.request import Request

Json = dict[str, Any]
# More choices than this are no answer; a provider may number them as it likes.
MAX_CHOICES: Final = 4096
# Of a chunk, what is not said of the whole answer.
_NO_HEAD: Final = frozenset({"choices", "usage", "prompt_progress"})


def new_id(prefix: str) -> str:
    """A fresh id such as "chatcmpl-…"."""
    return f"{prefix}-{uuid.uuid4().hex}"


def head(model: str, *, chat: bool) -> Json:
    """What all chunks of one answer begin with."""
    kind, prefix = ("chat.completion.chunk", "chatcmpl") if chat else ("text_completion", "cmpl")
    return {"id": new_id(prefix), "object": kind, "created": int(time.time()), "model": model}


def chat_chunks(
    pieces: Iterable[str | Json],
    model: str,
    *,
    reason: str | Callable[[], str] = "stop",
    usage: Json | Callable[[], Json] | None = None,
) -> Generator[Json, None, None]:
    """Pieces of an answer as the chunks of a chat completion, the last one with its finish reason and usage.

    pieces: texts, or deltas such as a call of a tool. reason, usage: called at the end where they are functions.
    """
    same = head(model, chat=True)
    first: Json = {"role": "assistant"}
    with closing(_generator(pieces)) as source:
        for piece in source:
            delta = {"content": piece} if isinstance(piece, str) else piece
            yield {**same, "choices": [{"index": 0, "delta": {**first, **delta}, "finish_reason": None}]}
            first = {}
    yield _last(same, {"index": 0, "delta": first}, reason, usage)


def text_chunks(
    pieces: Iterable[str],
    model: str,
    *,
    reason: str | Callable[[], str] = "stop",
    usage: Json | Callable[[], Json] | None = None,
) -> Generator[Json, None, None]:
    """The same as the chunks of a plain completion."""
    same = head(model, chat=False)
    with closing(_generator(pieces)) as source:
        for piece in source:
            yield {**same, "choices": [{"index": 0, "text": piece, "logprobs": None, "finish_reason": None}]}
    yield _last(same, {"index": 0, "text": "", "logprobs": None}, reason, usage)


def _generator(pieces: Iterable[Any]) -> Generator[Any, None, None]:
    try:
        yield from pieces
    finally:
        close = getattr(pieces, "close", None)
        if close is not None:
            close()


def _last(same: Json, choice: Json, reason: str | Callable[[], str], usage: Json | Callable[[], Json] | None) -> Json:
    last = {**same, "choices": [{**choice, "finish_reason": reason() if callable(reason) else reason}]}
    return last if usage is None else {**last, "usage": usage() if callable(usage) else usage}


def chat_completion(text: str, model: str, *, reason: str = "stop", usage: Json | None = None) -> Json:
    """A whole answer as a chat completion."""
    return whole(chat_chunks([text], model, reason=reason, usage=usage))


def text_completion(text: str, model: str, *, reason: str = "stop", usage: Json | None = None) -> Json:
    """A whole continuation as a plain completion."""
    return whole(text_chunks([text], model, reason=reason, usage=usage))


def chunk_text(chunk: Json) -> str:
    """The text that one chunk of either kind adds."""
    for choice in choices_of(chunk):
        delta = choice.get("delta")
        text = delta.get("content") if isinstance(delta, dict) else choice.get("text")
        if isinstance(text, list):  # of parts, as Mistral's models that think have them
            text = "".join(
                part["text"] for part in text if isinstance(part, dict) and isinstance(part.get("text"), str)
            )
        if isinstance(text, str):
            return text
    return ""


def choices_of(chunk: Json) -> list[Json]:
    """Its choices; providers write none as null, too."""
    choices = chunk.get("choices")
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


def usage_of(prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> Json:
    """Usage as OpenAI's API reports it, in tokens."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
    }


def split_usage(chunk: Json, *, wanted: bool) -> Iterator[Json]:
    """A chunk as OpenAI streams it: usage in a last chunk of its own, without choices, and only for who asked for it."""
    if "usage" not in chunk:
        yield chunk
        return
    usage = chunk["usage"]
    if chunk.get("choices"):
        yield {name: value for name, value in chunk.items() if name != "usage"}
    if wanted and usage is not None:
        yield {**chunk, "choices": [], "usage": usage}


# ---- whole answers


def whole(chunks: Iterable[Json]) -> Json:
    """The whole answer that the chunks of a completion or chat completion amount to."""
    answer = Whole()
    for chunk in chunks:
        answer.add(chunk)
    return answer.value()


class Whole:
    """Puts the chunks of one answer together, of any number of choices.

    error: the error that came within it, after which nothing counts.
    """

    def __init__(self) -> None:
        self._decoder = Decoder()
        self._head: Json = {}
        self._usage: Json | None = None
        self._choices: dict[int, Reducer[Part]] = {}
        self._logprobs: dict[int, Json] = {}
        self._is_chat = False
        self._latest: bytes | None = None
        self.error: Error | None = None

    def read(self, payload: bytes) -> None:
        """Takes a chunk as JSON: what events don't tell is taken of the first that has a choice and the last one."""
        if not self._choices:
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                self.add(msgspec.json.decode(payload, type=Json))
            return
        if payload.startswith(b"{"):
            self._latest = payload
        self._take(self._decoder.decode(payload))

    def add(self, chunk: Json) -> None:
        """Takes a chunk, or a whole answer as one."""
        self._add_head(chunk)
        for choice in choices_of(chunk):
            self._note(choice)
        self._take(self._decoder.read(chunk))

    def _add_head(self, chunk: Json) -> None:
        self._head |= {name: value for name, value in chunk.items() if name not in _NO_HEAD}

    def _take(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Usage):
                self._usage = event.raw
            elif isinstance(event, Error):
                self.error = event
            elif not isinstance(event, Notice) and (reducer := self._reducer(event.choice)) is not None:
                reducer.add(event)

    @property
    def is_finished(self) -> bool:
        """Whether each choice has come to its end."""
        return bool(self._choices) and all(reducer.finish_reason for reducer in self._choices.values())

    def value(self) -> Json:
        """The answer."""
        self._reducer(0)
        if self._latest is not None:
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                self._add_head(msgspec.json.decode(self._latest, type=Json))
        made = {**self._head, "choices": [self._choice(index) for index in sorted(self._choices)]}
        if self._is_chat:
            made["object"] = "chat.completion"
        return made if self._usage is None else {**made, "usage": self._usage}

    def _reducer(self, index: int) -> Reducer[Part] | None:
        if index not in self._choices:
            if not 0 <= index < MAX_CHOICES:
                return None
            self._choices[index] = Reducer(lambda kind: Part(kind, Growing()))
        return self._choices[index]

    def _note(self, choice: Json) -> None:
        """What events don't tell: of which kind a choice is, and its tokens' probabilities."""
        self._is_chat = self._is_chat or "delta" in choice or "message" in choice
        index, given = choice.get("index") or 0, choice.get("logprobs")
        if isinstance(index, int) and self._reducer(index) is not None and isinstance(given, dict):
            known = self._logprobs.setdefault(index, {})
            for name, tokens in given.items():
                if isinstance(tokens, list):
                    known.setdefault(name, []).extend(tokens)

    def _choice(self, index: int) -> Json:
        reducer = self._choices[index]
        said = message_of(reducer) if self._is_chat else text_of(reducer, "text")
        made = {"message" if self._is_chat else "text": said, "logprobs": self._logprobs.get(index)}
        return {"index": index, **made, "finish_reason": reducer.finish_reason}


def text_of(reducer: Reducer[Part], kind: str) -> str:
    """All text of one kind in an answer."""
    return "".join(part.text for part in reducer.parts if part.kind == kind)


def message_of(reducer: Reducer[Part]) -> Json:
    """An answer as OpenAI's message of the assistant."""
    text, thoughts, refusal = (text_of(reducer, kind) for kind in ("text", "reasoning", "refusal"))
    message: Json = {"role": "assistant", "content": text if text or not (reducer.calls or refusal) else None}
    if thoughts:
        message["reasoning_content"] = thoughts
    for part in reducer.parts:
        for name, objects in (part.details.value() if part.details else {}).items():
            message[name] = [*message.get(name, ()), *objects]
    if refusal:
        message["refusal"] = refusal
    if reducer.calls:
        message["tool_calls"] = [
            {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.text}}
            for call in reducer.calls
        ]
    if reducer.images:
        message["images"] = [{"type": "image_url", "image_url": {"url": image.url}} for image in reducer.images]
    if reducer.sources:
        message["annotations"] = [
            {"type": "url_citation", "url_citation": {"url": source.url, "title": source.title}}
            for source in reducer.sources
        ]
    return message


# ---- what engines leave to do


class Rewriter:
    """The chunks of an engine as OpenAI's API has them where engines don't.

    Plain completions have their own shape of probabilities, may repeat the prompt (`echo`), and may have been filled in
    (`suffix`); the usage of several choices is one.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._lengths: dict[int, int] = {}
        self._usages: list[Json] = []
        self._head = head(request.model or "", chat=False)

    @property
    def is_needed(self) -> bool:
        """Whether chunks have to be rewritten at all."""
        request = self._request
        many = request.n > 1 or (request.kind == "completion" and len(request.content) > 1)
        plain = request.kind == "completion" and ("logprobs" in request.parameters or request.suffix is not None)
        return many or plain or request.echo

    def feed(self, chunk: Json) -> Json | None:
        """The chunk as it is sent on, None for one that says nothing else than usage."""
        if "choices" not in chunk:
            if "stop" not in chunk:
                return chunk  # an error
            chunk = self._filled_in(chunk)
        if isinstance(usage := chunk.get("usage"), dict):
            self._usages.append(usage)
            chunk = {name: value for name, value in chunk.items() if name != "usage"}
        if not chunk["choices"]:
            self._head = chunk
            return None
        self._head = {name: value for name, value in chunk.items() if name != "choices"}
        if self._request.kind == "completion":
            chunk = {**chunk, "choices": [self.choice(choice) for choice in chunk["choices"]]}
        return chunk

    def end(self) -> Json | None:
        """The last chunk, with the usage of all choices: each prompt counts once, and each answer."""
        if not self._usages:
            return None
        total = self._usages[0]
        for usage in self._usages[1:]:
            total = summed(total, usage)
        prompt = total.get("prompt_tokens", 0) // self._request.n
        return {**self._head, "choices": [], "usage": {**total, **usage_of(prompt, total.get("completion_tokens", 0))}
                | {"prompt_tokens_details": total.get("prompt_tokens_details")}}  # fmt: skip

    def choice(self, choice: Json) -> Json:
        """A choice of a plain completion."""
        index, text = choice["index"], choice["text"]
        if self._request.echo and index not in self._lengths:
            text = self._request.content[index // self._request.n] + text
            choice = {**choice, "text": text}
        begun = self._lengths.get(index, 0)
        self._lengths[index] = begun + len(text)
        tokens = (choice.get("logprobs") or {}).get("content") if "logprobs" in self._request.parameters else None
        return choice if tokens is None else {**choice, "logprobs": _plain_logprobs(tokens, begun)}

    def _filled_in(self, chunk: Json) -> Json:
        """A chunk of the engine's own endpoint for filling in."""
        logprobs = {"content": chunk["completion_probabilities"]} if chunk.get("completion_probabilities") else None
        reason = None
        if chunk["stop"]:
            reason = "length" if chunk.get("stop_type") == "limit" else "stop"
        choice = {"index": chunk["index"], "text": chunk["content"], "logprobs": logprobs, "finish_reason": reason}
        made = {**self._head, "choices": [choice]}
        if reason is None:
            return made
        return {**made, "usage": usage_of(chunk["tokens_evaluated"], chunk["tokens_predicted"])}


def _plain_logprobs(tokens: list[Json], begun: int) -> Json:
    """Tokens with their probabilities in the shape of plain completions. begun: where in the text they begin."""
    made: Json = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    for token in tokens:
        made["tokens"].append(token["token"])
        made["token_logprobs"].append(token["logprob"])
        made["top_logprobs"].append({other["token"]: other["logprob"] for other in token.get("top_logprobs") or ()})
        made["text_offset"].append(begun)
        begun += len(token["token"])
    return made
