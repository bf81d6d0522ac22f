"""Plugins are loaded and called: what they are told, what they answer, what goes wrong."""

import asyncio
import contextlib
import os
from typing import Any

import pytest

from open_webui.errors import BadRequest, Unavailable
from open_webui.plugins import worker
from open_webui.plugins.host import Call, PluginFailed, PluginHost, PluginLost
from tests.support.plugins import function, make_host, tool, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
ADDER = tool(
    '''
    def add(self, a: int, b: int = 2, __user__: dict | None = None) -> str:
        """
        Adds two numbers.

        :param a: the first
        """
        return str(a + b)

    def _own(self): ...
    '''
)


async def test_a_tool_tells_models_what_it_offers(host: PluginHost) -> None:
    loaded = await host.load(ADDER)
    assert loaded.kind == "tool"
    assert list(loaded.members) == ["add"]
    assert loaded.members["add"].wants == ("__user__",)
    assert loaded.specs == [
        {
            "name": "add",
            "description": "Adds two numbers.",
            "parameters": {
                "type": "object",
                "properties": {
                    "a": {"type": "integer", "description": "the first"},
                    "b": {"type": "integer", "default": 2},
                },
                "required": ["a"],
            },
        }
    ]


async def test_a_tool_is_called(host: PluginHost) -> None:
    assert await host.call(ADDER, "add", {"a": 1}) == "3"
    assert await host.call(ADDER, "add", {"a": 1, "b": 5, "unknown": 1}) == "6"


async def test_functions_that_are_not_offered_are_not_called(host: PluginHost) -> None:
    for name in ("_own", "__init__", "nothing"):
        with pytest.raises(PluginFailed, match="has no function"):
            await host.call(ADDER, name, {})


async def test_what_it_raises_is_a_sentence_with_its_lines(host: PluginHost) -> None:
    source = tool("def fail(self):\n    raise ValueError('No such city.')")
    with pytest.raises(PluginFailed, match=r"^No such city\.$") as failed:
        await host.call(source, "fail", {})
    assert failed.value.kind == "ValueError"
    assert failed.value.trace == "line 5, in fail: raise ValueError('No such city.')"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("x = 1", "There is no class named"),
        ("class Tools:\n  def x(:", r"invalid syntax \(line 2\)"),
        ("import nothing_of_the_kind", "No module named 'nothing_of_the_kind'"),
        ("class Tools:\n  def __init__(self): raise RuntimeError('not today')", "not today"),
        ("raise SystemExit", "It raised SystemExit"),
    ],
)
async def test_what_is_no_plugin_is_refused_with_a_sentence(host: PluginHost, content: str, sentence: str) -> None:
    with pytest.raises(PluginFailed, match=sentence):
        await host.load(function(content))
    # It is not in the way of the next version.
    assert (await host.load(function("class Pipe:\n  def pipe(self): ..."))).kind == "pipe"


async def test_a_call_is_told_of_its_context(host: PluginHost) -> None:
    source = tool(
        """
        class UserValves(BaseModel):
            city: str = "Bonn"
        def __init__(self):
            self.valves = None
        def tell(self, __user__, __metadata__, __model__=None, __chat_id__=None, __request__=None):
            return [__user__["name"], __user__["valves"].city, __metadata__["x"], __model__["id"], __chat_id__,
                    __request__.headers.get("User-Agent")]
        """,
        head="from pydantic import BaseModel",
    )
    context = {
        "user": {"name": "Ann"},
        "user_valves": {"city": "Cologne"},
        "metadata": {"x": 1},
        "model": {"id": "m"},
        "chat_id": "c",
        "request": {"headers": {"user-agent": "u"}},
    }
    assert await host.call(source, "tell", {}, context=context) == ["Ann", "Cologne", 1, "m", "c", "u"]


async def test_what_a_model_gives_is_never_taken_for_the_context(host: PluginHost) -> None:
    source = tool("def who(self, __user__=None):\n    return __user__")
    assert await host.call(source, "who", {"__user__": {"name": "root"}}, context={"user": {"name": "Ann"}}) == {
        "name": "Ann"
    }


async def test_the_metadata_stays_one_dictionary(host: PluginHost) -> None:
    source = function(
        """
        class Filter:
            def inlet(self, body, __metadata__):
                __metadata__["seen"] = True
                return body
            def outlet(self, body, __metadata__):
                return {"seen": __metadata__["seen"]}
        """
    )
    metadata: dict[str, Any] = {"chat_id": "c"}
    context = {"metadata": metadata}
    await host.call(source, "inlet", {"body": {}}, context=context)
    assert metadata == {"chat_id": "c", "seen": True}
    assert await host.call(source, "outlet", {"body": {}}, context=context) == {"seen": True}


async def test_valves_reach_it_when_they_change(host: PluginHost) -> None:
    text = """
        from pydantic import BaseModel
        class Filter:
            class Valves(BaseModel):
                priority: int = 0
            def __init__(self):
                self.valves, self.told = self.Valves(), 0
            async def on_valves_updated(self):
                self.told += 1
            def inlet(self, body):
                return [self.valves.priority, self.told]
        """
    assert (await host.load(function(text))).valves is not None
    assert await host.call(function(text), "inlet", {"body": {}}) == [0, 0]
    assert await host.call(function(text, valves={"priority": 3}), "inlet", {"body": {}}) == [3, 1]
    assert await host.call(function(text, valves={"priority": 3}), "inlet", {"body": {}}) == [3, 1]
    with pytest.raises(PluginFailed, match="priority"):
        await host.call(function(text, valves={"priority": "high"}), "inlet", {"body": {}})


async def test_events_and_questions_are_answered(host: PluginHost) -> None:
    source = tool(
        """
        async def ask(self, __event_emitter__, __event_call__):
            await __event_emitter__({"type": "status", "data": {"done": False}})
            return await __event_call__({"type": "input", "data": {}})
        """
    )
    asked = []

    async def answer(call: Call, name: str, arguments: dict[str, Any]) -> Any:
        asked.append((call.plugin, call.method, call.context["user"], name, arguments["event"]["type"]))
        return "Bonn" if name == "event_call" else None

    assert await host.call(source, "ask", {}, context={"user": "Ann"}, answer=answer) == "Bonn"
    assert asked == [("t", "ask", "Ann", "event", "status"), ("t", "ask", "Ann", "event_call", "input")]


async def test_a_refused_question_is_raised_inside(host: PluginHost) -> None:
    source = tool("async def ask(self, __event_call__):\n    return await __event_call__({})")

    async def answer(call: Call, name: str, arguments: dict[str, Any]) -> Any:
        raise BadRequest("Nobody looks at the chat.")

    with pytest.raises(PluginFailed, match="Nobody looks at the chat"):
        await host.call(source, "ask", {}, answer=answer)


@pytest.mark.parametrize("head", ["def", "async def"])
async def test_a_generator_is_streamed(host: PluginHost, head: str) -> None:
    source = function(f"class Pipe:\n  {head} pipe(self, body):\n    for n in range(300): yield n")
    assert [part async for part in host.stream(source, "pipe", {"body": {}})] == list(range(300))
    assert await host.call(source, "pipe", {"body": {}}) == list(range(300))


async def test_a_streaming_response_is_streamed(host: PluginHost) -> None:
    source = function(
        """
        from fastapi.responses import StreamingResponse
        class Pipe:
            async def pipe(self, body):
                async def parts():
                    yield "a"
                    yield "b"
                return StreamingResponse(parts())
        """
    )
    assert [part async for part in host.stream(source, "pipe", {"body": {}})] == ["a", "b"]


async def test_one_value_is_a_stream_of_one(host: PluginHost) -> None:
    source = function("class Pipe:\n  def pipe(self, body): return 'whole'")
    assert [part async for part in host.stream(source, "pipe", {"body": {}})] == ["whole"]


async def test_what_a_stream_raises_comes_after_its_parts(host: PluginHost) -> None:
    source = function("class Pipe:\n  def pipe(self, body):\n    yield 1\n    raise ValueError('cut')")
    parts = host.stream(source, "pipe", {"body": {}})
    assert await anext(parts) == 1
    with pytest.raises(PluginFailed, match="cut"):
        await anext(parts)


async def test_a_stream_that_is_left_is_stopped(host: PluginHost) -> None:
    source = function(
        """
        class Pipe:
            closed = 0
            async def pipe(self, body):
                if body:
                    yield Pipe.closed
                    return
                try:
                    while True: yield 1
                finally: Pipe.closed += 1
        """
    )
    async with contextlib.aclosing(host.stream(source, "pipe", {"body": {}})) as parts:
        assert await anext(parts) == 1

    async def is_closed() -> bool:
        return bool(await host.call(source, "pipe", {"body": {"x": 1}}) == [1])

    await until(is_closed)


async def test_chunks_are_filtered_in_batches(host: PluginHost) -> None:
    source = function(
        """
        class Filter:
            def stream(self, event, __metadata__=None):
                event["seen"] = __metadata__["n"]
                return event
        """
    )
    context = {"metadata": {"n": 7}}
    for _ in range(3):
        events = await host.batch(source, "stream", [{"event": {"i": i}} for i in range(4)], context=context)
        assert events == [{"i": i, "seen": 7} for i in range(4)]
    assert await host.batch(source, "stream", [], context=context) == []


async def test_responses_and_models_come_as_json(host: PluginHost) -> None:
    source = tool(
        """
        def page(self):
            return HTMLResponse("<p>", headers={"Content-Disposition": "inline"}), Point(x=1), {1, }, b"a"
        """,
        head="""
        from fastapi.responses import HTMLResponse
        from pydantic import BaseModel
        class Point(BaseModel):
            x: int
        """,
    )
    response, *others = await host.call(source, "page", {})
    assert response["$response"]["body"] == "<p>"
    assert response["$response"]["headers"]["content-disposition"] == "inline"
    assert others == [{"x": 1}, [1], {"$bytes": "YQ=="}]


async def test_another_text_is_another_plugin_and_calls_in_the_old_one_end_well(host: PluginHost) -> None:
    old = tool("async def name(self, __event_call__):\n    return [await __event_call__({}), 'old']")
    new = tool("def name(self):\n    return 'new'")
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def answer(call: Call, name: str, arguments: dict[str, Any]) -> Any:
        asked.set()
        await go_on.wait()
        return 1

    running = asyncio.create_task(host.call(old, "name", {}, answer=answer))
    await asked.wait()
    assert await host.call(new, "name", {}) == "new"
    go_on.set()
    assert await running == [1, "old"]


async def test_calls_run_side_by_side(host: PluginHost) -> None:
    source = tool(
        """
        async def meet(self):
            await self.barrier.wait()
            return 1
        def wait(self):
            time.sleep(0.01)
            return 2
        def __init__(self):
            self.barrier = asyncio.Barrier(3)
        """
    )
    calls = [host.call(source, "meet", {}) for _ in range(3)] + [host.call(source, "wait", {}) for _ in range(3)]
    assert await asyncio.gather(*calls) == [1, 1, 1, 2, 2, 2]


async def test_a_stopped_call_is_stopped_inside(host: PluginHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "GRACE", 30.0)
    source = tool(
        """
        stopped = 0
        async def wait(self, __event_emitter__):
            try:
                await __event_emitter__({})
                await asyncio.Event().wait()
            finally:
                Tools.stopped += 1
        def spin(self):
            try:
                while True: time.time()
            finally:
                Tools.stopped += 1
        def asked(self):
            return Tools.stopped
        """
    )
    begun = asyncio.Event()

    async def answer(call: Call, name: str, arguments: dict[str, Any]) -> Any:
        begun.set()

    call = asyncio.create_task(host.call(source, "wait", {}, answer=answer))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    with pytest.raises(PluginLost, match=r"took longer than 1 seconds"):
        await host.call(source, "spin", {}, seconds=1)
    # Both in the process that is still there.
    assert await host.call(source, "asked", {}) == 2


async def test_a_person_who_is_asked_does_not_use_up_the_calls_time(host: PluginHost) -> None:
    source = tool("async def ask(self, __event_call__):\n    return await __event_call__({})")

    async def answer(call: Call, name: str, arguments: dict[str, Any]) -> Any:
        await asyncio.sleep(5)
        return "yes"

    assert await host.call(source, "ask", {}, answer=answer, seconds=3) == "yes"


async def test_an_idle_process_ends_and_comes_again() -> None:
    host = make_host(plugin_idle_seconds=0.01)
    source = tool("def pid(self):\n    return os.getpid()")
    first = await host.call(source, "pid", {})

    async def is_gone() -> bool:
        return first not in host.processes()

    await until(is_gone)
    assert await host.call(source, "pid", {}) != first
    await host.close()


@pytest.mark.parametrize("switch", [{"enable_plugins": False}, {"safe_mode": True}, {"enable_tools": False}])
async def test_what_is_switched_off_is_not_run(switch: dict[str, bool]) -> None:
    host = make_host(**switch)
    with pytest.raises(Unavailable, match="no tool is run"):
        await host.call(ADDER, "add", {"a": 1})
    await host.close()


async def test_nothing_is_started_before_the_first_call_and_nothing_is_left_after_the_end() -> None:
    host = make_host()
    assert host.processes() == []
    await host.call(ADDER, "add", {"a": 1})
    assert len(host.processes()) == 2
    pids = host.processes()
    await host.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_a_quick_filter_that_hangs_all_at_once_is_ended(host: PluginHost) -> None:
    """One that was always quick is called where all calls of its process are taken."""
    source = function(
        """
        import time
        class Filter:
            def stream(self, event):
                if event["text"] == "hang":
                    time.sleep(600)
                return {"text": event["text"].upper()}
        """,
        name="quick",
    )
    for _ in range(8):
        assert await host.batch(source, "stream", [{"event": {"text": "a"}}]) == [{"text": "A"}]
    with pytest.raises(PluginLost, match="longer than"):
        await host.batch(source, "stream", [{"event": {"text": "hang"}}], seconds=0.2)
    assert await host.batch(source, "stream", [{"event": {"text": "b"}}]) == [{"text": "B"}]


async def test_a_quick_filter_may_run_a_loop_of_its_own(host: PluginHost) -> None:
    source = function(
        """
        import asyncio
        async def upper(text):
            await asyncio.sleep(0)
            return text.upper()
        class Filter:
            def stream(self, event):
                return {"text": asyncio.run(upper(event["text"]))}
        """,
        name="nested",
    )
    for _ in range(8):
        assert await host.batch(source, "stream", [{"event": {"text": "a"}}] * 2) == [{"text": "A"}] * 2
