"""Handlers of both kinds in both kinds of runs, and those that fail or hang."""
# ruff: noqa: ARG002 -- the signatures are those of interfaces

import asyncio
import logging
import os
import subprocess
import sys
import threading

import pytest

from synthora.callbacks import (
    AsyncCallBackHandler,
    AsyncCallBackManager,
    BaseCallBackHandler,
    BaseCallBackManager,
    get_callback_manager,
    manager,
)
from synthora.messages import user
from synthora.models import Reply, ScriptedBackend
from synthora.types import CallBackEvent, Node, NodeType, Ok
from tests.synthora.support import EVENTS, AsyncListener, Listener

NODE = Node(name="n", type=NodeType.TOOL)
WHOLE = ["on_llm_start", "on_llm_end"]
STREAMED = ["on_llm_start", "on_llm_chunk", "on_llm_chunk", "on_llm_chunk", "on_llm_end"]


def backend(*handlers, **config):
    return ScriptedBackend(answers=["a b", "a b"], handlers=handlers, config=config)


def test_every_event_has_its_method():
    named = {event.value for event in CallBackEvent} - {"custom"}
    assert named == set(EVENTS)
    for handler in (BaseCallBackHandler, AsyncCallBackHandler):
        assert all(callable(vars(handler)[event]) for event in EVENTS)


@pytest.mark.parametrize("kind", [Listener, AsyncListener])
def test_in_a_sync_run(kind):
    handler = kind()
    backend(handler).run(user("x"))
    assert handler.names() == WHOLE
    list(backend(handler).run(user("x"), stream=True))
    assert handler.names() == WHOLE + STREAMED


@pytest.mark.parametrize("kind", [Listener, AsyncListener])
async def test_in_an_async_run(kind):
    handler = kind()
    await backend(handler).async_run(user("x"))
    assert handler.names() == WHOLE
    assert [m.chunk async for m in await backend(handler, stream=True).async_run(user("x"))] == ["a ", "b", None]
    assert handler.names() == WHOLE + STREAMED


async def test_async_handlers_of_a_sync_run_inside_a_running_loop():
    """The loop is blocked by the run; the handlers run on another, and in order."""
    handler = AsyncListener()
    made = backend(handler)
    made.run(user("x"))
    list(made.run(user("x"), stream=True))
    assert handler.names() == WHOLE + STREAMED


async def test_an_async_handler_that_runs_a_model_itself():
    class Nested(AsyncCallBackHandler):
        inner = AsyncListener()

        async def on_llm_end(self, *args, **kwargs):
            await asyncio.sleep(0)
            backend(self.inner).run(user("y"))

    backend(Nested()).run(user("x"))
    assert Nested.inner.names() == WHOLE


def test_async_handlers_of_threads_side_by_side():
    handler = AsyncListener()
    made = ScriptedBackend(answers=["a"], repeat=True, handlers=[handler])
    threads = [threading.Thread(target=made.run, args=(user("x"),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(handler.names()) == sorted(WHOLE * 8)


async def test_a_handler_that_waits_for_the_blocked_loop_is_given_up(monkeypatch, caplog):
    monkeypatch.setattr(manager, "HANDLER_SECONDS", 0.05)
    loop = asyncio.get_running_loop()

    class Stuck(AsyncCallBackHandler):
        async def on_llm_start(self, *args, **kwargs):
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop))

    after = Listener()
    assert backend(Stuck(), after).run(user("x")).content == "a b"
    assert after.names() == WHOLE
    assert "It was not done after 0.05 s" in caplog.text


class Raising(BaseCallBackHandler):
    def on_llm_start(self, *args, **kwargs):
        raise KeyError("sync")

    on_llm_chunk = on_llm_end = on_llm_start


class AsyncRaising(AsyncCallBackHandler):
    async def on_llm_start(self, *args, **kwargs):
        raise KeyError("async")

    on_llm_chunk = on_llm_end = on_llm_start


@pytest.mark.parametrize("kind", [Raising, AsyncRaising])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_handler_that_raises_is_logged_and_the_run_goes_on(kind, stream, caplog):
    others = Listener()
    made = backend(kind(), others)
    with caplog.at_level(logging.ERROR):
        answer = made.run(user("x"), stream=stream)
        if stream:
            assert [m.content for m in answer] == ["a ", "a b", "a b"]
        answer = await made.async_run(user("x"), stream=stream)
        if stream:
            assert [m.content async for m in answer] == ["a ", "a b", "a b"]
    assert others.names() == (STREAMED if stream else WHOLE) * 2
    assert caplog.text.count(f"The handler {kind.__name__} failed at on_llm_start") == 2


def test_errors_are_told_and_no_end():
    handler = Listener()
    made = ScriptedBackend(answers=[ValueError("no"), Reply("a b", error=OSError("cut"))], handlers=[handler])
    with pytest.raises(ValueError, match="no"):
        made.run(user("x"))
    with pytest.raises(OSError, match="cut"):
        list(made.run(user("x"), stream=True))
    assert handler.names() == ["on_llm_start", "on_llm_error", "on_llm_start", "on_llm_chunk", "on_llm_chunk",
                               "on_llm_error"]  # fmt: skip
    assert [type(what) for name, what, _ in handler.events if name == "on_llm_error"] == [ValueError, OSError]


async def test_cancelling_is_told():
    handler = AsyncListener()
    made = ScriptedBackend(answers=[Reply("a", delay=5)], handlers=[handler])
    task = asyncio.create_task(made.async_run(user("x")))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert handler.names() == ["on_llm_start", "on_llm_error"]


async def test_a_reader_who_leaves_ends_it():
    handler = Listener()
    made = ScriptedBackend(answers=["a b c", "a b c", "a b c"], handlers=[handler])
    stream = made.run(user("x"), stream=True)
    assert next(stream).content == "a "
    stream.close()
    assert handler.names() == ["on_llm_start", "on_llm_chunk", "on_llm_end"]
    assert handler.events[-1][1].content == "a "
    assert not handler.events[-1][1].is_complete
    made.run(user("x"), stream=True).close()  # before the first message
    assert handler.names()[3:] == ["on_llm_start", "on_llm_end"]
    stream = await made.async_run(user("x"), stream=True)
    await anext(stream)
    await stream.aclose()
    assert handler.names()[5:] == ["on_llm_start", "on_llm_chunk", "on_llm_end"]


def test_what_is_told():
    handler = Listener()
    made = ScriptedBackend(
        "m", ["hi"], Node(name="agent", type=NodeType.AGENT), {"temperature": 0.5}, "model", [handler]
    )
    made.run(user("x"), top_p=0.1)
    (_, _, start), (_, message, end) = handler.events
    assert (start["source"].name, start["source"].type, start["source"].ancestor.name) == (
        "model", NodeType.MODEL, "agent")  # fmt: skip
    assert start["messages"] == [{"role": "user", "content": "x", "name": "user"}]
    assert (start["temperature"], start["top_p"], start["model"]) == (0.5, 0.1, "m")
    assert message.content == "hi"
    assert end == start


async def test_managers():
    listener, other = Listener(), AsyncListener()
    assert type(get_callback_manager([listener])) is BaseCallBackManager
    assert type(get_callback_manager([listener, other])) is AsyncCallBackManager
    made = BaseCallBackManager([listener])
    made += other
    assert made.handlers == [listener, other]
    made -= listener
    made -= listener
    assert made.handlers == [other]
    assert made.remove(listener) is False
    assert made.remove(other) is True
    with pytest.raises(TypeError, match="is no handler"):
        made.add(print)
    made.add(listener)
    made.call(CallBackEvent.TOOL_END, NODE, Ok(1))
    await made.to_async().call(CallBackEvent.TOOL_START, NODE, 1, two=2)
    made.to_async().to_sync().call(CallBackEvent.CUSTOM, NODE)  # nobody has a method for it
    assert listener.names() == ["on_tool_end", "on_tool_start"]


def test_a_handler_added_later():
    made = ScriptedBackend(answers=["a"])
    handler = AsyncListener()
    made.add_handler(handler)
    made.run(user("x"))
    assert handler.names() == WHOLE
    with pytest.raises(TypeError):
        made.add_handler(print)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="of Unix")
def test_after_a_fork_handlers_are_told_at_once():
    """The parent's idle loop has no thread in the child: an event would take HANDLER_SECONDS, and be lost."""
    code = (
        "import os, time; from synthora.callbacks import AsyncCallBackHandler; from synthora.messages import user\n"
        "from synthora.models import ScriptedBackend\n"
        "class Says(AsyncCallBackHandler):\n"
        "    async def on_llm_start(self, *a, **k): print(os.getpid() == parent, flush=True)\n"
        "parent, backend = os.getpid(), ScriptedBackend(answers=['x'] * 2, handlers=[Says()])\n"
        "backend.run(user('hi'))\n"
        "if child := os.fork(): os.waitpid(child, 0)\n"
        "else: backend.run(user('hi')); os._exit(0)\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=15).stdout.split()
    assert said == ["True", "False"]
