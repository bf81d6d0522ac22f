"""Tools: schemas from functions, calls matched with tools, and the loop over scripted answers and a forge's models."""

# ruff: noqa: ARG002 -- backends must take the arguments of the interface
import asyncio
import json
import threading
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from llamaforge import LlamaForge
from llamaforge.backends.base import BaseBackend
from llamaforge.exceptions import GenerationError, InvalidOutputError, LlamaForgeError, ParameterError, ToolError
from llamaforge.tools import Call, Request, Tool, ToolLoop, arun, arun_tools, bind, run, run_tools, shorten
from llamaforge.tools.library import ChatMessages


class Place(BaseModel):
    city: str
    country: str = "IT"


def weather(place: Place, days: Annotated[int, Field(ge=1, le=7)] = 1, unit: Literal["C", "F"] = "C") -> str:
    """The weather of the coming days.

    Args:
        place: where,
            with its country
        days (int): how many
        unit: of the temperature

    Returns:
        A sentence.

    """
    return f"{place.city}/{place.country} {days} {unit}"


def add(a: int, b: int = 2) -> int:
    """Adds.

    :param a: the first
    :param int b: the second
    """
    return a + b


# ---- schemas


def test_a_schema_comes_from_signature_and_docstring() -> None:
    tool = Tool.of(weather)
    assert (tool.name, tool.description) == ("weather", "The weather of the coming days.")
    properties = tool.parameters["properties"]
    assert tool.parameters["required"] == ["place"]
    assert properties["place"]["description"] == "where, with its country"
    assert properties["days"] == {
        "default": 1,
        "description": "how many",
        "maximum": 7,
        "minimum": 1,
        "type": "integer",
    }
    assert properties["unit"]["description"] == "of the temperature"
    assert properties["unit"]["enum"] == ["C", "F"]
    assert tool.parameters["$defs"]["Place"]["properties"]["country"]["default"] == "IT"
    assert tool.parameters["additionalProperties"] is False
    assert tool.definition["function"]["parameters"] == tool.parameters


def test_sphinx_docstrings_are_read_too() -> None:
    properties = Tool.of(add).parameters["properties"]
    assert (properties["a"]["description"], properties["b"]["description"]) == ("the first", "the second")
    assert Tool.of(add).description == "Adds."


def test_names_that_pydantic_keeps_for_itself_are_arguments_like_others() -> None:
    def odd(schema: str, model_config: int, json: bool = False, _hidden: str = "x") -> str:
        return f"{schema}{model_config}{json}{_hidden}"

    tool = Tool.of(odd)
    assert set(tool.parameters["properties"]) == {"schema", "model_config", "json", "_hidden"}
    assert tool.call(schema="s", model_config="3") == "s3Falsex"


def test_arguments_are_converted_and_defaults_stay_the_functions() -> None:
    tool = Tool.of(weather)
    assert tool.call(place={"city": "Rome"}, days="3") == "Rome/IT 3 C"
    marker = object()

    def keeps(value: Any = marker) -> bool:
        return value is marker

    assert Tool.of(keeps, name="k").call() is True


def test_methods_lambdas_partials_and_callable_objects_are_tools() -> None:
    class Counter:
        def __init__(self) -> None:
            self.n = 0

        def count(self, by: int) -> int:
            self.n += by
            return self.n

        def __call__(self, by: int) -> int:
            return self.count(by)

    counter = Counter()
    assert Tool.of(counter.count).call(by=2) == 2
    assert Tool.of(counter, name="counter").call(by=3) == 5
    assert Tool.of(lambda x: x, name="same").call(x=[1]) == [1]


def test_free_keywords_are_passed_on() -> None:
    def free(a: int, **more: Any) -> dict[str, Any]:
        return {"a": a, **more}

    tool = Tool.of(free)
    assert tool.parameters["additionalProperties"] is True
    assert tool.call(a=1, b=2) == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "place: Field required"),
        ({"place": "Rome"}, "place"),
        ({"place": {"city": "Rome"}, "days": 9}, "days: Input should be less than or equal to 7"),
        ({"place": {"city": "Rome"}, "unit": "K"}, "unit: Input should be 'C' or 'F'"),
        ({"place": {"city": "Rome"}, "where": "?"}, "where: Extra inputs are not permitted"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_their_place(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ToolError, match="don't fit") as caught:
        Tool.of(weather).call(**arguments)
    assert says in str(caught.value)


def test_what_can_not_be_a_tool_is_refused() -> None:
    def positional(a: int, /) -> int:
        return a

    def many(*a: int) -> int:
        return len(a)

    def no_schema(a: threading.Thread) -> None: ...

    def unknown(a: "NoSuchType") -> None: ...  # noqa: F821

    for function in (positional, many, no_schema, unknown, lambda: None, "text", 3):
        with pytest.raises(ParameterError):
            Tool.of(function)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="64 letters"):
        Tool.of(add, name="a b")


# ---- one step


@pytest.mark.parametrize("arguments", ["", "  ", "{}"])
def test_no_arguments_are_an_empty_object(arguments: str) -> None:
    assert bind(Call("1", "t", arguments), {"t": 1}).arguments == {}


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (Call("1", "u", "{}"), "There is no tool 'u'. There are: t."),
        (Call("1", "t", "{"), "not JSON"),
        (Call("1", "t", "[1]"), "a JSON object"),
        (Call("1", "t", "null"), "a JSON object"),
        (Call("1", "t", '{"a":"\ud800"}'), "not JSON"),
        (Call("1", "t", "[" * 100_000), "not JSON"),
    ],
)
def test_a_call_that_can_not_be_run_says_why(call: Call, says: str) -> None:
    with pytest.raises(ToolError, match=says.replace("[", r"\[")):
        bind(call, {"t": 1})
    assert issubclass(ToolError, LlamaForgeError)


def test_a_long_result_is_cut_with_a_sentence() -> None:
    assert shorten("abc", 3) == "abc"
    assert shorten("abcd", 3).startswith("abc\n[The rest of this result was left out")


# ---- the loop


def said(text: str = "", *calls: tuple[str, Any]) -> dict[str, Any]:
    """An assistant's message."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = [
            {"id": f"c{n}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
            for n, (name, arguments) in enumerate(calls)
        ]
    return message


class Script:
    """Answers in order; notes what it was asked."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)
        self.asked: list[Request[Any]] = []

    def __call__(self, request: Request[Any]) -> dict[str, Any]:
        self.asked.append(request)
        return self.answers.pop(0)

    async def later(self, request: Request[Any]) -> dict[str, Any]:
        return self(request)


def loop_of(*tools: Any, **options: Any) -> ToolLoop[dict[str, Any]]:
    return ToolLoop([{"role": "user", "content": "?"}], tools, ChatMessages(), **options)


def results(loop: ToolLoop[dict[str, Any]]) -> list[str]:
    return [message["content"] for message in loop.messages if message["role"] == "tool"]


def test_calls_are_run_and_their_results_go_back_in_order() -> None:
    script = Script(said("", ("add", {"a": 1}), ("add", {"a": 5, "b": 5})), said("12"))
    answer = run(loop_of(add), script)
    assert (answer.message["content"], answer.rounds) == ("12", 2)
    assert [m["role"] for m in answer.messages] == ["user", "assistant", "tool", "tool", "assistant"]
    assert [(m["tool_call_id"], m["content"]) for m in answer.messages[2:4]] == [("c0", "3"), ("c1", "10")]
    assert script.asked[0].tools == [Tool.of(add).definition]
    assert all(request.may_call for request in script.asked)


def test_a_call_without_an_id_gets_one_in_both_messages() -> None:
    call = said("", ("add", {"a": 1}))
    call["tool_calls"][0].update(id=None)
    answer = run(loop_of(add), Script(call, said("done")))
    assert answer.messages[1]["tool_calls"][0]["id"] == answer.messages[2]["tool_call_id"] != ""


def test_what_goes_wrong_is_a_result_that_the_model_can_answer_to() -> None:
    def broken() -> None:
        raise OSError("no disk")

    async def later() -> int:
        return 1

    script = Script(
        said("", ("broken", {}), ("add", {"a": "x"}), ("nothing", {}), ("later", {}), ("add", [1])), said("sorry")
    )
    loop = loop_of(broken, add, later)
    run(loop, script)
    assert [text[:24] for text in results(loop)] == [
        "The tool failed: OSError",
        "The arguments don't fit.",
        "There is no tool 'nothin",
        "This tool works only in ",
        "The arguments of this ca",
    ]


def test_calls_of_a_round_run_side_by_side_but_not_more_than_allowed() -> None:
    both, running, most = threading.Barrier(2, timeout=20), 0, 0
    lock = threading.Lock()

    def meet() -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        both.wait()
        with lock:
            running -= 1
        return "met"

    loop = loop_of(meet)
    run(loop, Script(said("", *[("meet", {})] * 4), said("ok")), at_once=2)
    assert (results(loop), most) == (["met"] * 4, 2)


def test_a_slow_tool_is_not_waited_for_longer_than_it_may_take() -> None:
    free = threading.Event()
    slow = Tool.of(lambda: free.wait(20), name="slow", seconds=0.05)
    try:
        loop = loop_of(slow)
        run(loop, Script(said("", ("slow", {})), said("ok")))
        assert results(loop) == ["The tool did not answer within 0.05 seconds."]
    finally:
        free.set()


def test_the_last_round_asks_without_calls_and_a_model_that_still_calls_is_stopped() -> None:
    calls = said("", ("add", {"a": 1}))
    script = Script(calls, dict(calls), said("enough"))
    assert run(loop_of(add, max_rounds=2), script).rounds == 3
    assert [request.may_call for request in script.asked] == [True, True, False]
    with pytest.raises(GenerationError, match="after 1 rounds"):
        run(loop_of(add, max_rounds=1), Script(dict(calls), dict(calls)))


def test_only_approved_calls_run() -> None:
    done: list[int] = []

    def act(n: int) -> str:
        done.append(n)
        return "acted"

    loop = loop_of(act)
    answers = {1: True, 2: False, 3: "Not on a Sunday."}
    run(
        loop,
        Script(said("", *[("act", {"n": n}) for n in (1, 2, 3)]), said("ok")),
        approve=lambda call: answers[call.arguments["n"]],
    )
    assert done == [1]
    assert results(loop) == ["acted", "The person did not allow this call.", "Not on a Sunday."]


def test_an_answer_that_does_not_fit_is_asked_for_again() -> None:
    script = Script(said("about forty"), said("42"))
    answer = run(loop_of(check=int), script)
    assert (answer.output, answer.rounds) == (42, 2)
    assert "invalid literal" in script.asked[1].messages[-1]["content"]
    with pytest.raises(InvalidOutputError, match="invalid literal") as caught:
        run(loop_of(check=int, retries=1), Script(said("a"), said("b")))
    assert caught.value.text == "b"


def test_a_refusal_is_an_answer_and_not_checked() -> None:
    refused = said("") | {"refusal": "No."}
    assert run(loop_of(check=int), Script(refused)).output is None


def test_who_looks_on_sees_every_call_before_and_after() -> None:
    seen: list[tuple[str, bool | None]] = []
    run(
        loop_of(add),
        Script(said("", ("add", {"a": 1})), said("", ("add", {"a": "x"})), said("ok")),
        observe=lambda call, result: seen.append((call.tool.name, None if result is None else result.failed)),
    )
    assert seen == [("add", None), ("add", False), ("add", None), ("add", True)]


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ParameterError, match="two tools"):
        loop_of(add, Tool.of(weather, name="add"))


# ---- without blocking


async def test_asynchronous_and_plain_tools_run_side_by_side() -> None:
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def waits() -> str:
        await asyncio.wait_for(begun.wait(), 20)
        return "later"

    def plain() -> str:
        loop.call_soon_threadsafe(begun.set)
        return "now"

    state = loop_of(waits, plain)
    answer = await arun(state, Script(said("", ("waits", {}), ("plain", {})), said("ok")).later)
    assert (results(state), answer.message["content"]) == (["later", "now"], "ok")


async def test_a_late_tool_and_a_timeout_of_its_own_are_told_apart() -> None:
    async def own() -> None:
        raise TimeoutError("the database")

    tools = (Tool.of(lambda: asyncio.sleep(20), name="late", seconds=0.05), Tool.of(own, seconds=20))
    state = loop_of(*tools)
    await arun(state, Script(said("", ("late", {}), ("own", {})), said("ok")).later)
    assert results(state)[0] == "The tool did not answer within 0.05 seconds."
    assert results(state)[1].startswith("The tool failed: TimeoutError: the database")


async def test_cancelling_ends_the_tools_that_run() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def waits() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    task = asyncio.create_task(arun(loop_of(waits), Script(said("", ("waits", {}))).later))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_approval_and_observation_may_be_asynchronous() -> None:
    seen = []

    async def approve(call: Any) -> bool:
        await asyncio.sleep(0)
        return call.arguments["a"] == 1

    async def observe(call: Any, result: Any) -> None:
        await asyncio.sleep(0)
        seen.append(result)

    state = loop_of(add)
    script = Script(said("", ("add", {"a": 1}), ("add", {"a": 2})), said("ok"))
    await arun(state, script.later, approve=approve, observe=observe)
    assert results(state) == ["3", "The person did not allow this call."]
    assert [result and result.text for result in seen] == [None, "3"]


async def test_a_blocking_tool_does_not_hold_the_loop() -> None:
    free, begun = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def blocks() -> bool:
        loop.call_soon_threadsafe(begun.set)
        return free.wait(20)

    state = loop_of(blocks)
    task = asyncio.create_task(arun(state, Script(said("", ("blocks", {})), said("ok")).later))
    await begun.wait()
    free.set()
    assert (await task).message["content"] == "ok"
    assert results(state) == ["true"]


# ---- over a forge


class Calling(BaseBackend):
    """Calls `add` once, then says what it was given."""

    def load_model(self, model_path, parameters=None): ...

    def generate(self, prompt, parameters=None):
        return ""

    def generate_stream(self, prompt, parameters=None):
        return iter(())

    def is_model_loaded(self):
        return True

    def chat_completion_stream(self, messages, parameters=None):
        head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        if messages[-1]["role"] == "tool":
            for piece in ("It is ", messages[-1]["content"]):
                yield {**head, "choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]}
            yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
            return
        assert parameters["tools"][0]["function"]["name"]
        name = parameters["tools"][0]["function"]["name"]
        for arguments in ('{"a"', ":40}"):
            call = {"index": 0, "id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}
            if arguments == ":40}":
                call = {"index": 0, "function": {"arguments": arguments}}
            yield {**head, "choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]}
        yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}


@pytest.fixture
def forge(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    from llamaforge import register_backend

    register_backend("calling", Calling)
    with LlamaForge(str(tmp_path / "config.json")) as made:
        made.add_model("m", "any", "calling")
        yield made


def test_a_forges_model_uses_functions(forge: LlamaForge) -> None:
    pieces: list[str] = []
    answer = run_tools(forge, [{"role": "user", "content": "40 + 2?"}], [add], model="m", on_text=pieces.append)
    assert answer.message["content"] == "It is 42" == "".join(pieces)


async def test_a_forges_model_uses_functions_without_blocking(forge: LlamaForge) -> None:
    async def plus(a: int) -> int:
        return a + 1

    answer = await arun_tools(forge, [{"role": "user", "content": "40 + 1?"}], [plus], model="m")
    assert answer.message["content"] == "It is 41"


def test_enabled_plugins_are_tools(forge: LlamaForge) -> None:
    forge.enable_plugin("calculator")
    answer = run_tools(forge, [{"role": "user", "content": "?"}], ["plugins"], model="m")
    # The script's arguments are not the calculator's: the model is told so.
    assert "calculator" in answer.message["content"]


# ---- what tools and observers raise


def drive(how: str, state: Any, script: Script, **given: Any) -> Any:
    """The loop run in one way or the other; a loop that hangs fails."""
    if how == "run":
        return run(state, script, **given)
    return asyncio.run(asyncio.wait_for(arun(state, script.later, **given), 20))


@pytest.mark.parametrize("calls", [1, 3])
@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("run", StopIteration),
        ("run", SystemExit),
        ("arun", StopIteration),
        ("arun", SystemExit),
        ("arun", asyncio.CancelledError),
    ],
)
def test_whatever_a_tool_raises_is_a_result(how: str, calls: int, error: type[BaseException]) -> None:
    def ends() -> None:
        raise error

    async def waits() -> None:
        raise error

    tool = waits if error is asyncio.CancelledError else ends
    state = loop_of(tool)
    drive(how, state, Script(said("", *[(tool.__name__, {})] * calls), said("done")))
    assert len(results(state)) == calls
    assert all(text.startswith("The tool failed: ") and error.__name__ in text for text in results(state))


@pytest.mark.parametrize("how", ["run", "arun"])
@pytest.mark.parametrize("calls", [1, 3])
def test_what_an_observer_raises_ends_the_loop_as_it_is(how: str, calls: int) -> None:
    def observe(_call: Any, _result: Any) -> None:
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        drive(how, loop_of(add), Script(said("", *[("add", {"a": 1})] * calls)), observe=observe, at_once=1)


@pytest.mark.parametrize("how", ["run", "arun"])
def test_an_observer_sees_that_a_tool_was_late_once(how: str) -> None:
    free, seen = threading.Event(), []
    slow = Tool.of(lambda: free.wait(20), name="slow", seconds=0.05)
    late = "The tool did not answer within 0.05 seconds."
    drive(how, loop_of(slow), Script(said("", ("slow", {})), said("ok")), observe=lambda _, result: seen.append(result))
    free.set()
    assert [result and result.text for result in seen] == [None, late]


@pytest.mark.parametrize("how", ["run", "arun"])
def test_calls_must_be_allowed_to_run(how: str) -> None:
    with pytest.raises(ParameterError, match="at_once"):
        drive(how, loop_of(add), Script(said("", ("add", {"a": 1}))), at_once=0)
