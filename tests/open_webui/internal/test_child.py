"""A child process: its answers, refusals, crashes, limits, and its end."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator

import pytest

from open_webui.errors import Unavailable
from open_webui.internal.child import process as module
from open_webui.internal.child.process import Child, Refused

MODULE = "tests.open_webui.internal.child_for_tests"


@pytest.fixture
async def child() -> AsyncIterator[Child]:
    made = Child(MODULE, "The helper", idle_seconds=30)
    yield made
    await made.close()


async def ask(child: Child, request: str, timeout: float = 20, *, first: bool = False) -> str:
    return (await child.call(request.encode(), timeout=timeout, first=first)).decode()


async def gone(pid: int) -> None:
    for _ in range(500):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{pid} is still there")


async def test_it_answers_refuses_and_goes_on(child: Child) -> None:
    assert child.pid is None
    assert await ask(child, "echo hällo") == "hällo"
    pid = child.pid
    with pytest.raises(Refused, match="Not this one"):
        await ask(child, "refuse Not this one.")
    assert await ask(child, "print noise on stdout") == "noise on stdout"
    big = "x" * 3_000_000
    assert await ask(child, f"echo {big}") == big
    assert child.pid == pid


async def test_a_crash_is_a_sentence_and_is_not_repeated(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.3)
    pid = int(await ask(child, "pid"))
    waiting = asyncio.gather(ask(child, "die now"), ask(child, "echo after"), return_exceptions=True)
    died, after = await waiting
    assert isinstance(died, Unavailable)
    assert str(died) == "The helper has crashed."
    assert isinstance(after, Unavailable)
    assert "started again in a moment" in str(after)
    await gone(pid)
    await asyncio.sleep(0.35)
    assert int(await ask(child, "pid")) != pid


async def test_what_takes_too_long_is_ended(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.0)
    pid = int(await ask(child, "pid"))
    with pytest.raises(Unavailable, match=r"The helper took longer than 0\.2 seconds"):
        await ask(child, "sleep 60", timeout=0.2)
    await gone(pid)
    assert await ask(child, "echo again") == "again"


async def test_who_leaves_gets_nobody_elses_answer(child: Child) -> None:
    await ask(child, "echo started")
    left = asyncio.create_task(ask(child, "sleep 0.2"))
    never_begun = asyncio.create_task(ask(child, "die if this is asked"))
    await asyncio.sleep(0.05)
    left.cancel()
    never_begun.cancel()
    assert await ask(child, "echo mine") == "mine"


async def test_those_that_go_first_do(child: Child) -> None:
    await ask(child, "echo started")
    order: list[str] = []

    async def noted(word: str, *, first: bool = False) -> None:
        order.append(await ask(child, f"echo {word}", first=first))

    busy = asyncio.create_task(ask(child, "sleep 0.1"))
    await asyncio.sleep(0.02)
    await asyncio.gather(noted("a"), noted("b"), noted("query", first=True))
    await busy
    assert order == ["query", "a", "b"]


async def test_it_ends_when_idle_and_starts_again() -> None:
    child = Child(MODULE, "The helper", idle_seconds=0.1)
    try:
        pid = int(await ask(child, "pid"))
        await gone(pid)
        assert child.pid is None
        assert int(await ask(child, "pid")) != pid
    finally:
        await child.close()


async def test_closing_refuses_those_that_wait() -> None:
    child = Child(MODULE, "The helper", idle_seconds=30)
    await ask(child, "echo started")
    pid = child.pid
    assert pid is not None
    asked = [asyncio.create_task(ask(child, "sleep 30")), asyncio.create_task(ask(child, "echo never"))]
    await asyncio.sleep(0.05)
    await child.close()
    for task in asked:
        with pytest.raises(Unavailable, match="is being stopped"):
            await task
    with pytest.raises(Unavailable, match="is being stopped"):
        await ask(child, "echo late")
    await gone(pid)


async def test_it_gets_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("WEBUI_SECRET_KEY", "secret")
    child = Child(MODULE, "The helper", idle_seconds=30, environment={"OMP_NUM_THREADS": "1"})
    try:
        names = set((await ask(child, "environment")).splitlines())
    finally:
        await child.close()
    assert names & {"OPENAI_API_KEY", "WEBUI_SECRET_KEY"} == set()
    assert {"PATH", "OMP_NUM_THREADS", "PYTHONPATH"} <= names


async def test_it_dies_with_its_parent() -> None:
    """Whatever kills the parent closes the pipe."""
    code = (
        "import asyncio, sys; from open_webui.internal.child.process import Child\n"
        "async def main():\n"
        f"    child = Child({MODULE!r}, 'It', idle_seconds=30)\n"
        "    print((await child.call(b'pid', timeout=20)).decode(), flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    import sys

    path = os.pathsep.join(entry or "." for entry in sys.path)
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, env=os.environ | {"PYTHONPATH": path}
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()
    with contextlib.suppress(ProcessLookupError):
        await gone(pid)


async def test_one_that_can_t_be_started_says_so() -> None:
    child = Child("open_webui.no_such_module", "The helper", idle_seconds=1)
    began = time.monotonic()
    with pytest.raises(Unavailable, match="The helper has crashed"):
        await ask(child, "echo")
    assert time.monotonic() - began < 15
    await child.close()
