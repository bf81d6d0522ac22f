"""The loop: ask a model, run what it calls, ask it again with the results, until it answers.

ToolLoop holds the state and does no I/O; `run` and `arun` drive it over any way of asking.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

from llamaforge import threads
from llamaforge.exceptions import GenerationError, InvalidOutputError, ParameterError, ToolError
from llamaforge.tools.step import BoundCall, CallLike, bind, shorten
from llamaforge.tools.tool import Tool, as_text

Json = dict[str, Any]
M = TypeVar("M")
T = TypeVar("T")
# Calls of one round that run at the same time; the others wait for one of them.
AT_ONCE: Final = 8
_LONGEST_REASON: Final = 500
_NOT_ALLOWED: Final = "The person did not allow this call."


class MessageFormat(Protocol[M]):
    """What the loop must know of messages: of OpenAI's dictionaries, or of synthora's objects."""

    def calls(self, message: M) -> Sequence[CallLike]:
        """The tools that an answer calls, in order."""
        ...

    def text(self, message: M) -> str | None:
        """The text of an answer that is to be checked; None of one that is not, such as a refusal."""
        ...

    def result(self, call: CallLike, result: Result) -> M:
        """The message that gives the model the result of a call."""
        ...

    def correction(self, text: str) -> M:
        """The message that tells the model what is wrong with its answer."""
        ...


@dataclass(frozen=True, slots=True)
class Result:
    """What a call gave. text: for the model. value: what the tool returned. failed: it did not work."""

    text: str
    value: Any = None
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Request(Generic[M]):
    """What the model is asked next. tools: OpenAI's definitions. may_call: False in the last round."""

    messages: list[M]
    tools: list[Json]
    may_call: bool


@dataclass(frozen=True, slots=True)
class Answer(Generic[M]):
    """The end of a loop. message: the answer. messages: all of the conversation. output: what the answer's check made of it.

    rounds: how often the model was asked.
    """

    message: M
    messages: list[M]
    output: Any
    rounds: int


Bound = BoundCall[Tool]
# Whether a call may run: True, False, or a sentence for the model that says why not.
Approve = Callable[[Bound], bool | str]
AApprove = Callable[[Bound], bool | str | Awaitable[bool | str]]
# Called before a call runs (with None) and after it. What it raises ends the loop.
Observe = Callable[[Bound, Result | None], object]


class ToolLoop(Generic[M]):
    """A conversation that goes on until the model calls nothing more and its answer passes the check."""

    def __init__(
        self,
        messages: Iterable[M],
        tools: Iterable[Tool | Callable[..., Any]],
        message_format: MessageFormat[M],
        *,
        max_rounds: int = 16,
        check: Callable[[str], Any] | None = None,
        retries: int = 2,
    ) -> None:
        """max_rounds: how often called tools are run. check: makes the output of the answer's text; its ValueError says
        what is wrong with it, and the model is asked again, `retries` times at most.

        Raises ParameterError for two tools of one name and for a function that can't be a tool.
        """
        self.messages = list(messages)
        self.tools = _by_name(tools)
        self.answer: Answer[M] | None = None
        self._format = message_format
        self._max_rounds = max_rounds
        self._check = check
        self._retries = retries
        self._rounds = 0
        self._called = 0

    def request(self) -> Request[M]:
        """What to ask now."""
        definitions = [tool.definition for tool in self.tools.values()]
        return Request(list(self.messages), definitions, self._called < self._max_rounds)

    def take(self, message: M) -> Sequence[CallLike]:
        """Takes the model's answer; the calls to run now. Without any, either `answer` is there or it is asked again.

        Raises GenerationError when the model goes on calling after the last round, InvalidOutputError.
        """
        self._rounds += 1
        self.messages.append(message)
        calls = self._format.calls(message)
        if calls:
            if self._called >= self._max_rounds:
                raise GenerationError(f"The model went on calling tools after {self._max_rounds} rounds of calls.")
            self._called += 1
            return calls
        output = None
        if self._check is not None and (text := self._format.text(message)) is not None:
            try:
                output = self._check(text)
            except ValueError as error:
                self._correct(error, text)
                return ()
        self.answer = Answer(message, self.messages, output, self._rounds)
        return ()

    def give(self, call: CallLike, result: Result) -> None:
        """Takes the result of a call; each of a round's calls gets one, in their order."""
        self.messages.append(self._format.result(call, result))

    def _correct(self, error: ValueError, text: str) -> None:
        problem = str(error)[:_LONGEST_REASON]
        if self._retries <= 0:
            raise InvalidOutputError(f"The answer is not what was asked for: {problem}", text) from error
        self._retries -= 1
        self.messages.append(
            self._format.correction(
                f"This answer can't be used: {problem}\nAnswer again, with nothing but the corrected answer."
            )
        )


def run(
    loop: ToolLoop[M],
    ask: Callable[[Request[M]], M],
    *,
    approve: Approve | None = None,
    observe: Observe | None = None,
    at_once: int = AT_ONCE,
) -> Answer[M]:
    """Drives a loop to its answer; asynchronous tools are refused. The calls of a round run in threads, `at_once` of them.

    approve: asked for each call before any of its round runs. observe: called before (with None) and after each call.
    Raises what `ask`, `approve` and `observe` raise, GenerationError, InvalidOutputError, and ParameterError for `at_once`
    below 1. What goes wrong in a tool is a result that says so.
    """
    _checked(at_once)
    while loop.answer is None:
        calls = [_prepared(call, loop.tools) for call in loop.take(ask(loop.request()))]
        ready = [call if isinstance(call, Failed) else _allowed(call, approve and approve(call)) for call in calls]
        for call, result in zip(ready, _run_all(ready, observe, at_once), strict=True):
            loop.give(call.call, result)
    return loop.answer


async def arun(
    loop: ToolLoop[M],
    ask: Callable[[Request[M]], Awaitable[M]],
    *,
    approve: AApprove | None = None,
    observe: Observe | None = None,
    at_once: int = AT_ONCE,
) -> Answer[M]:
    """`run` without blocking the event loop. Plain functions run in threads, asynchronous ones as tasks, which end when
    this is cancelled. `approve` and `observe` may be asynchronous.
    """
    free = asyncio.Semaphore(_checked(at_once))

    async def limited(call: Bound | Failed) -> Result:
        async with free:
            return await _arun_one(call, observe)

    while loop.answer is None:
        ready: list[Bound | Failed] = []
        for asked in loop.take(await ask(loop.request())):
            call = _prepared(asked, loop.tools)
            if not isinstance(call, Failed):
                said = approve and approve(call)
                call = _allowed(call, await said if inspect.isawaitable(said) else said)
            ready.append(call)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(limited(call)) for call in ready]
        except BaseExceptionGroup as errors:  # of `observe`: the first is raised as it is
            raise errors.exceptions[0] from None
        for call, task in zip(ready, tasks, strict=True):
            loop.give(call.call, task.result())
    return loop.answer


@dataclass(frozen=True, slots=True)
class Failed:
    """A call that does not run, and what the model is told instead."""

    call: CallLike
    reason: str


def _by_name(tools: Iterable[Tool | Callable[..., Any]]) -> dict[str, Tool]:
    found: dict[str, Tool] = {}
    for tool in map(Tool.of, tools):
        if tool.name in found:
            raise ParameterError(f"There are two tools of the name '{tool.name}'.")
        found[tool.name] = tool
    return found


def _prepared(call: CallLike, tools: Mapping[str, Tool]) -> Bound | Failed:
    try:
        return bind(call, tools)
    except ToolError as error:
        return Failed(call, str(error))


def _allowed(call: Bound, said: bool | str | None) -> Bound | Failed:
    """said: what `approve` answered, None where nobody is asked."""
    if said is None or said is True:
        return call
    return Failed(call.call, said if isinstance(said, str) and said else _NOT_ALLOWED)


def _run_all(calls: Sequence[Bound | Failed], observe: Observe | None, at_once: int) -> list[Result]:
    if len(calls) == 1:
        return [_run_one(calls[0], observe)]
    waiting = iter(enumerate(calls))
    results: dict[int, Result] = {}
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                place, call = next(waiting, (None, None))
            if place is None or call is None or any(worker.done() and worker.exception() for worker in workers):
                return
            results[place] = _run_one(call, observe)

    workers: list[Future[None]] = []
    workers += [_thread(work) for _ in range(min(at_once, len(calls)))]
    wait(workers)
    for worker in workers:
        worker.result()
    return [results[place] for place in range(len(calls))]


def _run_one(call: Bound | Failed, observe: Observe | None) -> Result:
    """The result. Raises only what `observe` does."""
    if isinstance(call, Failed):
        return Result(call.reason, failed=True)
    if observe is not None:
        observe(call, None)
    result = _run_in_time(call)
    if observe is not None:
        observe(call, result)
    return result


def _run_in_time(call: Bound) -> Result:
    """The result, or that there is none in time; the function itself can't be ended and goes on in its thread."""
    if call.tool.seconds is None:
        return _result_of(call)
    found = _thread(lambda: _result_of(call))
    wait([found], call.tool.seconds)
    return found.result() if found.done() else _late(call)


def _result_of(call: Bound) -> Result:
    try:
        value = call.tool.call(**call.arguments)
        if inspect.isawaitable(value):
            if inspect.iscoroutine(value):
                value.close()
            return Result("This tool works only in asynchronous use.", failed=True)
        return Result(shorten(as_text(value)), value)
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- a tool is other people's code; it fails for the model
        return _broken(error)


async def _arun_one(call: Bound | Failed, observe: Observe | None) -> Result:
    if isinstance(call, Failed):
        return Result(call.reason, failed=True)
    await _tell(observe, call, None)
    try:
        async with asyncio.timeout(call.tool.seconds) as limit:
            value = await threads.call(lambda: call.tool.call(**call.arguments))
            if inspect.isawaitable(value):
                value = await value
        result = Result(shorten(as_text(value)), value)
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- as above
        late = isinstance(error, TimeoutError) and limit.expired()
        result = _late(call) if late else _broken(error)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        result = _broken(error)  # nobody has cancelled this: what the tool itself waited for was cancelled
    await _tell(observe, call, result)
    return result


async def _tell(observe: Observe | None, call: Bound, result: Result | None) -> None:
    if observe is not None and inspect.isawaitable(said := observe(call, result)):
        await said


def _late(call: Bound) -> Result:
    return Result(f"The tool did not answer within {call.tool.seconds:g} seconds.", failed=True)


def _broken(error: BaseException) -> Result:
    if isinstance(error, ToolError):
        return Result(str(error), error, failed=True)
    return Result(f"The tool failed: {type(error).__name__}: {str(error)[:_LONGEST_REASON]}", error, failed=True)


def _thread(work: Callable[[], T]) -> Future[T]:
    """What `work` returns or raises, run in a thread that keeps no process alive, in the caller's context."""
    context = contextvars.copy_context()
    future: Future[T] = Future()

    def call() -> None:
        try:
            future.set_result(context.run(work))
        except BaseException as error:  # noqa: BLE001 -- it is raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=call, daemon=True, name="llamaforge tool").start()
    return future


def _checked(at_once: int) -> int:
    if at_once < 1:
        raise ParameterError("'at_once' must be 1 or more.")
    return at_once
