"""MCP sessions in their process: against the protocol's own test server, and programs of this machine."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from open_webui.errors import Unavailable
from open_webui.tools.mcp import process as process_module
from open_webui.tools.mcp import sessions as sessions_module
from open_webui.tools.mcp.frames import Ask, Progress, Target
from open_webui.tools.mcp.process import Process, Refused
from open_webui.tools.mcp.sessions import Key, Sessions, Way
from open_webui.tools.openapi_calls import ServerAway
from tests.support.mcp_server import Everything, open_everything

pytestmark = pytest.mark.xdist_group("mcp")
ROOT = Path(__file__).resolve().parents[3]
ANN: Key = ("ann", "server")
BOB: Key = ("bob", "server")


@pytest.fixture(scope="module")
def everything() -> Iterator[Everything]:
    with open_everything() as server:
        yield server


@pytest.fixture
async def sessions(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sessions]:
    # A machine that is busy takes its time to start processes.
    monkeypatch.setattr(sessions_module, "OPENING", 50.0)
    made = Sessions()
    yield made
    await made.close()


class Hears:
    """Notes what is said of a call, and answers what is asked."""

    def __init__(self, answer: Any = None) -> None:
        self.steps: list[Progress] = []
        self.questions: list[Ask] = []
        self._answer = answer

    async def progressed(self, progress: Progress) -> None:
        self.steps.append(progress)

    async def asked(self, ask: Ask) -> Any:
        self.questions.append(ask)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def way(target: Target) -> Way:
    async def give() -> Target:
        return target

    return give


def program(*arguments: str, **env: str) -> Way:
    target = Target(transport="stdio", command=sys.executable, args=list(arguments), env=env, cwd=str(ROOT))
    return way(target)


CHANGING = program("-m", "tests.support.mcp_programs")


def at(server: Everything) -> Way:
    return way(Target(url=server.url, transport="sse" if server.url.endswith("/sse") else "http"))


async def until(holds: Callable[..., Awaitable[bool]], *arguments: Any) -> None:
    """Looks until it does: what another process does makes no sign here."""
    async with asyncio.timeout(30):
        while not await holds(*arguments):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def text(result: dict[str, Any]) -> str:
    return "\n".join(block.get("text", "") for block in result["content"])


async def test_a_session_is_opened_once_and_used_again(sessions: Sessions, everything: Everything) -> None:
    both = await asyncio.gather(*(sessions.listing(ANN, at(everything)) for _ in range(5)))
    assert {listing.name for listing in both} == {"mcp-servers/everything"}
    for number in range(5):
        result = await sessions.call(ANN, at(everything), "echo", {"message": f"hi {number}"}, Hears())
        assert text(result) == f"Echo: hi {number}"
    assert len(sessions) == 1
    await sessions.call(BOB, at(everything), "echo", {"message": "hi"}, Hears())
    assert len(sessions) == 2


async def test_calls_run_at_once_and_say_how_far_they_are(sessions: Sessions, everything: Everything) -> None:
    hears = Hears()
    slow = asyncio.create_task(
        sessions.call(ANN, at(everything), "trigger-long-running-operation", {"duration": 5, "steps": 4}, hears)
    )
    quick = await sessions.call(ANN, at(everything), "get-sum", {"a": 2, "b": 3}, Hears())
    assert "5" in text(quick)
    assert not slow.done()
    assert "completed" in text(await slow)
    assert [(step.progress, step.total) for step in hears.steps] == [(n, 4) for n in (1, 2, 3, 4)]


async def test_a_server_asks_the_person(sessions: Sessions, everything: Everything) -> None:
    hears = Hears({"action": "accept", "content": {"name": "Ann", "check": True}})
    result = await sessions.call(ANN, at(everything), "trigger-elicitation-request", {}, hears)
    assert "Name: Ann" in text(result)
    (question,) = hears.questions
    assert (question.kind, question.params["requestedSchema"]["type"]) == ("elicit", "object")
    declined = await sessions.call(ANN, at(everything), "trigger-elicitation-request", {}, Hears({"action": "decline"}))
    assert "declined" in text(declined)


async def test_a_call_that_is_left_while_it_asks_leaves_nothing_behind(
    sessions: Sessions, everything: Everything
) -> None:
    class Silent(Hears):
        async def asked(self, ask: Ask) -> Any:
            self.questions.append(ask)
            await asyncio.Event().wait()

    silent = Silent()

    async def is_asked() -> bool:
        return bool(silent.questions)

    call = asyncio.create_task(sessions.call(ANN, at(everything), "trigger-elicitation-request", {}, silent))
    await until(is_asked)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    hears = Hears({"action": "decline"})
    assert "declined" in text(await sessions.call(ANN, at(everything), "trigger-elicitation-request", {}, hears))
    assert len(hears.questions) == 1


async def test_a_server_asks_a_model(sessions: Sessions, everything: Everything) -> None:
    said = {"role": "assistant", "content": {"type": "text", "text": "forty-two"}, "model": "m"}
    hears = Hears(said)
    arguments = {"prompt": "Everything?", "maxTokens": 10}
    assert "forty-two" in text(await sessions.call(ANN, at(everything), "trigger-sampling-request", arguments, hears))
    assert hears.questions[0].params["maxTokens"] == 10
    # An answer that is none, and a no.
    for answer in (Unavailable("Nobody is there."), {"what": 1}, None):
        hears = Hears(answer)
        result = await sessions.call(ANN, at(everything), "trigger-sampling-request", arguments, hears)
        assert result["isError"]


async def test_a_server_that_was_started_again_gets_a_new_session(sessions: Sessions) -> None:
    with open_everything() as server:
        assert text(await sessions.call(ANN, at(server), "echo", {"message": "a"}, Hears())) == "Echo: a"
        server.stop()
        server.start()
        assert text(await sessions.call(ANN, at(server), "echo", {"message": "b"}, Hears())) == "Echo: b"
        assert len(sessions) == 1
        server.stop()
        for _ in range(2):
            with pytest.raises(ServerAway, match="can't be reached"):
                await sessions.call(ANN, at(server), "echo", {"message": "c"}, Hears())


async def test_the_older_stream_of_events_is_spoken_too(sessions: Sessions) -> None:
    with open_everything("sse") as server:
        assert text(await sessions.call(ANN, at(server), "echo", {"message": "a"}, Hears())) == "Echo: a"


async def test_a_program_of_this_machine(sessions: Sessions) -> None:
    clock = program("-m", "mcp_server_time", "--local-timezone", "UTC")
    listing = await sessions.listing(("", "time"), clock)
    assert {tool["name"] for tool in listing.tools} == {"get_current_time", "convert_time"}
    result = await sessions.call(("", "time"), clock, "get_current_time", {"timezone": "Europe/Paris"}, Hears())
    assert "Europe/Paris" in text(result)


async def test_a_list_that_changes_is_read_anew(sessions: Sessions) -> None:
    listing = await sessions.listing(ANN, CHANGING)
    assert "dance" not in {tool["name"] for tool in listing.tools}
    await sessions.call(ANN, CHANGING, "learn", {"name": "dance"}, Hears())

    async def knows() -> bool:
        return "dance" in {tool["name"] for tool in (await sessions.listing(ANN, CHANGING)).tools}

    await until(knows)
    assert "dance" in text(await sessions.call(ANN, CHANGING, "dance", {}, Hears()))


async def test_cancelling_a_call_tells_the_server(sessions: Sessions, tmp_path: Path) -> None:
    file = tmp_path / "told"
    await sessions.listing(ANN, CHANGING)
    call = asyncio.create_task(sessions.call(ANN, CHANGING, "wait", {"seconds": 60, "file": str(file)}, Hears()))

    async def says(word: str) -> bool:
        return file.exists() and file.read_text() == word

    await until(says, "waiting")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(says, "cancelled")
    # The session goes on.
    assert text(await sessions.call(ANN, CHANGING, "count", {}, Hears())).startswith("1 in")


async def test_a_program_that_crashes_fails_its_call_and_is_started_again(sessions: Sessions) -> None:
    first = text(await sessions.call(ANN, CHANGING, "count", {}, Hears()))
    with pytest.raises(Refused) as failed:
        await sessions.call(ANN, CHANGING, "crash", {}, Hears())
    # Nobody knows what it had done by then: the call is not made again.
    assert failed.value.trouble == "lost"
    again = text(await sessions.call(ANN, CHANGING, "count", {}, Hears()))
    assert again.startswith("1 in")
    assert again != first


async def test_the_process_crashes_and_comes_back(
    sessions: Sessions, everything: Everything, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "_FIRST_PAUSE", 0.0)
    await sessions.listing(ANN, at(everything))
    pid = sessions.pid
    assert pid is not None
    slow = asyncio.create_task(
        sessions.call(ANN, at(everything), "trigger-long-running-operation", {"duration": 30, "steps": 3}, Hears())
    )
    await sessions.call(ANN, at(everything), "echo", {"message": "both are there"}, Hears())
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(Refused, match="has crashed"):
        await slow
    assert len(sessions) == 0
    assert text(await sessions.call(ANN, at(everything), "echo", {"message": "x"}, Hears())) == "Echo: x"
    assert sessions.pid != pid


async def test_what_nobody_uses_ends(monkeypatch: pytest.MonkeyPatch, everything: Everything) -> None:
    monkeypatch.setattr(sessions_module, "OPENING", 50.0)
    sessions = Sessions(idle=0.2)
    try:
        await sessions.listing(ANN, at(everything))
        pid = sessions.pid
        assert pid is not None

        async def over() -> bool:
            return not len(sessions) and sessions.pid is None

        await until(over)
        # And is opened again.
        assert text(await sessions.call(ANN, at(everything), "echo", {"message": "x"}, Hears())) == "Echo: x"
    finally:
        await sessions.close()


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (Target(url="http://127.0.0.1:9/mcp"), "can't be reached"),
        (Target(transport="stdio", command="/no/such/program"), "not there"),
        (Target(transport="stdio", command=sys.executable, args=["-c", "print('no MCP')"]), "."),
        (Target(transport="stdio", command=sys.executable, args=["-c", "raise SystemExit(1)"]), "."),
    ],
)
async def test_what_can_not_be_opened_is_said_and_not_tried_at_once_again(
    sessions: Sessions, target: Target, says: str
) -> None:
    tried = []

    async def again() -> Target:
        tried.append(1)
        return target

    for _ in range(3):
        with pytest.raises(ServerAway, match=says):
            await sessions.listing(ANN, again)
    assert len(tried) == 1


async def test_without_the_library_a_sentence_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no_library.py").write_text("import sys\nsys.path[:] = []\nimport mcp.client\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    process = Process(lambda *_: None, lambda *_: None, "no_library")
    sessions = Sessions(process=process)
    with pytest.raises(ServerAway, match=r"not installed.*mcp"):
        await sessions.listing(ANN, CHANGING)
    await sessions.close()


async def test_a_call_that_is_too_large_is_refused(sessions: Sessions) -> None:
    await sessions.listing(ANN, CHANGING)
    with pytest.raises(Unavailable, match="larger"):
        await sessions.call(ANN, CHANGING, "count", {"x": "x" * 34_000_000}, Hears())
    assert text(await sessions.call(ANN, CHANGING, "count", {}, Hears())).startswith("1 in")
