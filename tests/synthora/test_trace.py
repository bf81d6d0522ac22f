"""Traces: spans by OpenTelemetry's own interface, and TraceEvents."""
# ruff: noqa: ARG002 -- the signatures are those of interfaces

import subprocess
import sys

import pytest
from opentelemetry import trace as otel
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags, Tracer

from synthora.messages import user
from synthora.models import OpenAIChatBackend, Reply, ScriptedBackend, TraceBackend
from synthora.types import CallBackEvent, Node, NodeType
from tests.synthora.test_wrappers import ask, ways


class Span(NonRecordingSpan):
    def __init__(self, name, kind, attributes):
        super().__init__(SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1)))
        self.name, self.kind, self.attributes = name, kind, dict(attributes)
        self.status, self.ended = None, 0

    def set_attribute(self, key, value):
        assert not self.ended
        self.attributes[key] = value

    def set_status(self, status, description=None):
        self.status = status

    def end(self, end_time=None):
        self.ended += 1


class Spans(Tracer):
    """A tracer of the API's interface that keeps its spans."""

    def __init__(self):
        self.spans = []

    def start_span(self, name, context=None, kind=SpanKind.INTERNAL, attributes=None, **more):
        self.spans.append(Span(name, kind, attributes))
        return self.spans[-1]

    def start_as_current_span(self, *args, **kwargs):
        raise NotImplementedError


@ways
async def test_a_span(openai, stream, asynchronous):
    tracer = Spans()
    config = {"temperature": 0.5, "max_tokens": 2, "stop": "x"}
    inner = OpenAIChatBackend("fixed", config=config)
    await ask(TraceBackend(inner, tracer=tracer), stream, asynchronous, top_p=0.9)
    (span,) = tracer.spans
    assert (span.name, span.kind, span.ended, span.status) == ("chat fixed", SpanKind.CLIENT, 1, None)
    assert span.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "fixed",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.max_tokens": 2,
        "gen_ai.request.stop_sequences": ["x"],
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.model": "fixed",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 2,
        "server.address": "127.0.0.1",
        "server.port": openai.port,
    }
    inner.close()


@ways
async def test_an_error(stream, asynchronous):
    tracer, events = Spans(), []
    traced = TraceBackend(ScriptedBackend(answers=[OSError("cut")]), events.append, tracer)
    with pytest.raises(OSError, match="cut"):
        await ask(traced, stream, asynchronous)
    (span,) = tracer.spans
    assert (span.attributes["error.type"], span.status.status_code, span.ended) == ("OSError", StatusCode.ERROR, 1)
    assert [event.event_type for event in events] == [CallBackEvent.LLM_START, CallBackEvent.LLM_ERROR]
    assert events[1].data == "OSError: cut"


def test_within_the_span():
    tracer = Spans()
    seen = []
    inner = ScriptedBackend(answers=[lambda _: seen.append(otel.get_current_span()) or "x"])
    TraceBackend(inner, tracer=tracer).run(user("x"))
    assert seen == tracer.spans
    assert otel.get_current_span() is not tracer.spans[0]


async def test_a_reader_who_leaves_ends_the_span():
    tracer = Spans()
    traced = TraceBackend(ScriptedBackend(answers=[Reply("a b")], repeat=True), tracer=tracer)
    traced.run(user("x"), stream=True).close()
    stream = await traced.async_run(user("x"), stream=True)
    await anext(stream)
    await stream.aclose()
    assert [span.ended for span in tracer.spans] == [1, 1]


def test_events():
    events = []
    agent = Node(name="agent", type=NodeType.AGENT)
    traced = TraceBackend(ScriptedBackend("m", ["hi"], agent, name="model"), record=events.append)
    traced.run(user("x"))
    start, end = events
    assert (start.event_name, start.stack, start.current.name) == ("on_llm_start", [agent], "model")
    assert start.data[0]["content"] == "x"
    assert end.data["content"] == "hi"
    assert end.metadata["seconds"] >= 0
    assert end.metadata["finish_reason"] == "stop"
    assert end.to_dict()["id"] == str(end.id)


def test_without_opentelemetry():
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from synthora.models import *; from synthora.messages import user\n"
        "traced = TraceBackend(ScriptedBackend(answers=['hi']))\n"
        "print(traced.tracer, traced.run(user('x')).content)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "None hi\n"
