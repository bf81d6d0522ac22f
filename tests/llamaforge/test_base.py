"""What a backend gets for nothing: a chat made of prompts, and streams that do not block the event loop."""

# ruff: noqa: ARG002 -- backends must take the arguments of the interface
import asyncio
import threading

import pytest

from llamaforge import ParameterError
from llamaforge.backends.base import BaseBackend, message_text, messages_to_prompt


class Counter(BaseBackend):
    """Streams numbers; `gate` holds each one back until the test lets it go."""

    def __init__(self, gate=None, fails_at=None):
        self.gate = gate
        self.fails_at = fails_at
        self.threads = []
        self.begun = threading.Event()
        self.closed = threading.Event()

    def load_model(self, model_path, parameters=None): ...

    def generate(self, prompt, parameters=None):
        return "".join(self.generate_stream(prompt, parameters))

    def generate_stream(self, prompt, parameters=None):
        try:
            for number in range((parameters or {}).get("count", 3)):
                self.threads.append(threading.current_thread())
                self.begun.set()
                if self.gate is not None:
                    self.gate.wait()
                if number == self.fails_at:
                    raise OSError("the engine died")
                yield str(number)
        finally:
            self.closed.set()

    def is_model_loaded(self):
        return True


HELLO = [{"role": "user", "content": "hello"}]


async def test_the_async_stream_gives_the_same_pieces_from_other_threads():
    backend = Counter()
    assert [chunk async for chunk in backend.achat_stream(HELLO, {"count": 4})] == ["0", "1", "2", "3"]
    assert threading.main_thread() not in backend.threads
    assert backend.closed.is_set()


async def test_an_empty_stream_ends():
    assert [chunk async for chunk in Counter().achat_stream(HELLO, {"count": 0})] == []


async def test_the_event_loop_goes_on_while_the_engine_works():
    gate = threading.Event()
    backend = Counter(gate)
    stream = backend.achat_stream(HELLO)
    first = asyncio.ensure_future(anext(stream))
    await asyncio.to_thread(backend.begun.wait, 10)
    assert not first.done()
    gate.set()
    assert await first == "0"
    await stream.aclose()
    assert backend.closed.is_set()


async def test_the_engines_error_arrives_after_what_it_had_said():
    stream = Counter(fails_at=2).achat_stream(HELLO)
    assert [await anext(stream), await anext(stream)] == ["0", "1"]
    with pytest.raises(OSError, match="the engine died"):
        await anext(stream)


async def test_bad_messages_are_refused():
    with pytest.raises(ParameterError):
        await anext(Counter().achat_stream("hello"))


async def test_cancelling_returns_at_once_and_the_engine_is_closed_when_it_next_can_be():
    gate = threading.Event()
    backend = Counter(gate)
    first = asyncio.ensure_future(anext(backend.achat_stream(HELLO)))
    await asyncio.to_thread(backend.begun.wait, 10)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert not backend.closed.is_set()
    gate.set()
    assert await asyncio.to_thread(backend.closed.wait, 10)
    assert len(backend.threads) == 1


class Pipe:
    """An engine's own iterator: it stops working only when it is told to."""

    def __init__(self, gate):
        self.gate = gate
        self.begun = threading.Event()
        self.closed = threading.Event()

    def __iter__(self):
        return self

    def __next__(self):
        self.begun.set()
        self.gate.wait()
        assert not self.closed.is_set()
        return "word"

    def close(self):
        self.closed.set()


async def test_leaving_the_stream_closes_the_engine(monkeypatch):
    gate = threading.Event()
    pipe = Pipe(gate)
    backend = Counter()
    monkeypatch.setattr(backend, "chat_stream", lambda *_: pipe)
    stream = backend.achat_stream(HELLO)
    gate.set()
    assert await anext(stream) == "word"
    await stream.aclose()
    assert pipe.closed.is_set()


async def test_cancelling_closes_an_engine_in_the_middle_of_a_piece_only_after_it(monkeypatch):
    gate = threading.Event()
    pipe = Pipe(gate)
    backend = Counter()
    monkeypatch.setattr(backend, "chat_stream", lambda *_: pipe)
    waiting = asyncio.ensure_future(anext(backend.achat_stream(HELLO)))
    await asyncio.to_thread(pipe.begun.wait, 10)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not pipe.closed.is_set()
    gate.set()
    assert await asyncio.to_thread(pipe.closed.wait, 10)


def test_the_prompt_names_who_speaks():
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Hi."}, "There."]},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "assistant", "content": "Hello."},
        {"role": "tool", "content": "12"},
        {"role": "stranger", "content": "And I?"},
    ]
    assert messages_to_prompt(messages) == (
        "System: Be kind.\nUser: Hi.\nThere.\nAssistant: Hello.\nTool: 12\nUser: And I?\nAssistant:"
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("plain", "plain"),
        (None, ""),
        ([], ""),
        ([{"type": "text", "text": "a"}, "b", {"type": "image_url"}, {"text": None}, 7, None], "a\nb"),
        (({"type": "text", "text": "a"},), "a"),
    ],
)
def test_the_words_of_a_message(content, text):
    assert message_text({"role": "user", "content": content}) == text


def test_a_message_without_content_has_no_words():
    assert message_text({"role": "user"}) == ""


@pytest.mark.parametrize("message", ["text", None, 3, ["role", "user"], {"content": 3}, {"content": {"text": "x"}}])
def test_what_is_no_message(message):
    with pytest.raises(ParameterError):
        message_text(message)


@pytest.mark.parametrize("messages", ["text", b"bytes", None, 3, {"role": "user"}, [], [None], ["text"], [{}]])
def test_what_are_no_messages(messages):
    with pytest.raises(ParameterError):
        messages_to_prompt(messages)
