"""The synthora backend over the server's connections: what it asks, answers, raises and notes."""

import asyncio
import copy
import subprocess
import sys
from typing import Any

import pytest
import sqlalchemy as sa

from open_webui.chat.backend import Asking, ConnectionBackend
from open_webui.connections.base import Target
from open_webui.errors import ProviderError
from open_webui.models import tables
from open_webui.principal import Principal
from synthora.callbacks import BaseCallBackHandler
from synthora.messages import system, user
from tests.support.live import Actor, Live
from tests.support.script import fixed_text
from tests.support.upstream import Upstream

ASK = [system("Be brief."), user("Hi")]


class Heard(BaseCallBackHandler):
    def __init__(self) -> None:
        self.events: list[str] = []

    def on_llm_start(self, *_: Any, **__: Any) -> None:
        self.events.append("start")

    def on_llm_chunk(self, *_: Any, **__: Any) -> None:
        self.events.append("chunk")

    def on_llm_end(self, *_: Any, **__: Any) -> None:
        self.events.append("end")

    def on_llm_error(self, _source: Any, e: BaseException, *_: Any, **__: Any) -> None:
        self.events.append(type(e).__name__)


@pytest.fixture
def heard() -> Heard:
    return Heard()


ANN = Principal(id="ann", role="admin", name="Ann", email="ann@example.com")


def asking(live: Live, model: str, *rest: Any, who: Principal = ANN) -> ConnectionBackend:
    found: Target | None = live.app.state.oui.catalogue.find(model)
    assert found is not None
    return ConnectionBackend.default(live.app.state.oui.gate, who, found, *rest)


async def test_a_whole_answer(live: Live, upstream: Upstream, heard: Heard) -> None:
    await live.app.state.oui.catalogue.wait_for_lists()
    backend = asking(live, "fixed", {"temperature": 0.5}, [heard])
    answer = await backend.async_run(ASK, max_tokens=20, top_p=None)
    assert answer.content == fixed_text()
    assert answer.metadata["usage"].completion_tokens == 20
    assert answer.original_response.startswith(b"{")
    assert heard.events == ["start", "end"]
    body = upstream.chats[-1].body
    assert body == {
        "stream": False, "model": "fixed", "temperature": 0.5, "max_tokens": 20,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
    }  # fmt: skip


async def test_a_stream(live: Live, heard: Heard) -> None:
    await live.app.state.oui.catalogue.wait_for_lists()
    backend = asking(live, "fixed", None, [heard])
    pieces = [piece async for piece in await backend.async_run(ASK, stream=True)]
    assert "".join(piece.chunk or "" for piece in pieces) == pieces[-1].content == fixed_text()
    assert pieces[-1].metadata["usage"].completion_tokens == 20
    assert heard.events == ["start", *["chunk"] * len(pieces), "end"]


async def test_a_stream_that_nobody_reads_is_closed(live: Live, upstream: Upstream) -> None:
    await live.app.state.oui.catalogue.wait_for_lists()
    stream = await asking(live, "stall").async_run(ASK, stream=True)
    await stream.aclose()
    await upstream.wait_for_async(lambda u: u.chats[-1].disconnected)


async def test_from_another_thread(live: Live) -> None:
    await live.app.state.oui.catalogue.wait_for_lists()
    backend = copy.deepcopy(asking(live, "fixed"))
    assert (await asyncio.to_thread(backend.run, ASK)).content == fixed_text()
    pieces = await asyncio.to_thread(lambda: list(backend.run(ASK, stream=True)))
    assert pieces[-1].content == fixed_text()
    with pytest.raises(RuntimeError, match="async_run"):
        backend.run(ASK)


@pytest.mark.parametrize(
    ("model", "status", "streamed"),
    [
        ("error429", 429, False),
        ("error500", 500, True),
        ("html502", 502, False),
        ("drop", 502, True),
        ("drop", 502, False),
    ],
)
async def test_a_providers_error_is_raised_and_told(
    live: Live, heard: Heard, model: str, status: int, streamed: bool
) -> None:
    await live.app.state.oui.catalogue.wait_for_lists()
    backend = asking(live, model, None, [heard])

    async def run() -> None:
        answer = await backend.async_run(ASK, stream=streamed)
        if streamed:
            async for _ in answer:
                pass

    with pytest.raises(ProviderError) as raised:
        await run()
    assert raised.value.status == status
    assert heard.events[-1] == "ProviderError"


async def test_only_what_was_not_processed_is_tried_again(live: Live, upstream: Upstream) -> None:
    await live.app.state.oui.catalogue.wait_for_lists()
    for model, tries in (("error503", 3), ("error429", 3), ("error500", 1), ("error400", 1)):
        upstream.received.clear()
        backend = Asking(asking(live, model), attempts=3, delay=0)
        with pytest.raises(ProviderError):
            await backend.async_run(ASK)
        assert len(upstream.chats) == tries


@pytest.mark.parametrize("answer", [b"no json", b"\xff", b"[" * 100_000])
async def test_an_answer_that_makes_no_sense(live: Live, answer: bytes) -> None:
    await live.app.state.oui.catalogue.wait_for_lists()
    with pytest.raises(ProviderError, match="could not be understood"):
        asking(live, "fixed")._message(answer)


@pytest.mark.parametrize(
    "answer",
    [
        b"{}", b'{"id": 7}', b'{"choices": []}', b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": {"tool_calls": ["y"]}}]}',
    ],
)  # fmt: skip
async def test_an_answer_that_says_nothing(live: Live, answer: bytes) -> None:
    await live.app.state.oui.catalogue.wait_for_lists()
    message = asking(live, "fixed")._message(answer)
    assert (message.content, message.original_response) == ("", answer)


async def test_every_request_is_accounted_for(live: Live, admin: Actor) -> None:
    state = live.app.state.oui
    await state.catalogue.wait_for_lists()
    who = Principal(id=admin.id, role="admin", name=admin.name, email=admin.email)

    def counted(model: str) -> ConnectionBackend:
        return asking(live, model, who=who)

    await counted("fixed").async_run(ASK)
    async for _ in await counted("echo").async_run(ASK, stream=True):
        pass
    with pytest.raises(ProviderError):
        await Asking(counted("error503"), attempts=2, delay=0).async_run(ASK)
    task = asyncio.create_task(counted("stall").async_run(ASK))
    await asyncio.sleep(0.2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    rows: list[Any] = []
    t = tables.usage
    async with asyncio.timeout(30):
        while len(rows) < 5:
            await asyncio.sleep(0.05)
            async with state.database.read() as connection:
                query = sa.select(t.c.model_id, t.c.kind, t.c.status, t.c.completion_tokens)
                rows = sorted(tuple(row) for row in await connection.execute(query))
    assert rows == [
        ("echo", "task", 200, 20), ("error503", "task", 503, None), ("error503", "task", 503, None),
        ("fixed", "task", 200, 20), ("stall", "task", 499, None),
    ]  # fmt: skip


def test_the_server_starts_without_it() -> None:
    """Nor is OpenAI's library, or a lexicon of moods, needed for a start."""
    code = (
        "import sys, open_webui.main; "
        "print([m for m in ('synthora', 'openai', 'vaderSentiment', 'open_webui.chat.backend') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": "src"}
    )
    assert done.stdout.strip() == "[]"
