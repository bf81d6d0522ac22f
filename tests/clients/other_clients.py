"""Run by test_serve.py in an environment of its own: litellm, langchain-openai and instructor against `llamaforge serve`.

The argument is the server's address. Each check that holds is a line on stdout.
"""

import os
import sys
from collections.abc import Callable
from typing import Literal

os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LANGSMITH_TRACING": "false", "OPENAI_API_KEY": "none"}

import instructor
import langchain_openai
import litellm
import openai
from pydantic import BaseModel

litellm.suppress_debug_info = True
URL = sys.argv[1]
HELLO = "Hello from the tiny test model."
PIECES = ["Hello", " from", " the", " tiny", " test", " model."]
ASK = [{"role": "user", "content": "hi"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "Weather", "description": "Of a city", "parameters": PARAMETERS}}


class Weather(BaseModel):
    """Of a city."""

    city: str


class Capital(BaseModel):
    """Of one country."""

    city: Literal["Berlin"]


def litellm_as_openais_client() -> None:
    asked = {"model": "openai/tiny", "api_base": f"{URL}/v1", "api_key": "none", "messages": ASK}
    assert litellm.completion(**asked).choices[0].message.content == HELLO
    chunks = list(litellm.completion(**asked, stream=True))
    assert [chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content] == PIECES
    call = litellm.completion(**asked | {"model": "openai/tool"}, tools=[WEATHER]).choices[0].message.tool_calls[0]
    assert (call.function.name, call.function.arguments) == ("Weather", '{"city": "Berlin"}')


def litellm_as_anthropics_client() -> None:
    asked = {"model": "anthropic/tiny", "api_base": URL, "api_key": "none", "messages": ASK, "max_tokens": 100}
    answer = litellm.completion(**asked)
    assert (answer.choices[0].message.content, answer.usage.completion_tokens) == (HELLO, 7)
    chunks = list(litellm.completion(**asked, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == HELLO
    call = litellm.completion(**asked | {"model": "anthropic/tool"}, tools=[WEATHER]).choices[0].message.tool_calls[0]
    assert (call.function.name, call.function.arguments) == ("Weather", '{"city": "Berlin"}')


def litellm_and_responses() -> None:
    answer = litellm.responses(model="openai/tiny", api_base=f"{URL}/v1", api_key="none", input="hi")
    assert answer.output[0].content[0].text == HELLO


def litellm_and_vectors() -> None:
    made = litellm.embedding(
        "openai/vectors", input=["a"], api_base=f"{URL}/v1", api_key="none", encoding_format="float"
    )
    assert len(made.data[0]["embedding"]) > 1


def litellm_and_errors() -> None:
    for model, base in (("openai/nobody", f"{URL}/v1"), ("anthropic/nobody", URL)):
        told = ""
        try:
            litellm.completion(model=model, api_base=base, api_key="none", messages=ASK)
        except litellm.NotFoundError as error:
            told = str(error)
        assert "does not exist" in told


def langchain_chats() -> None:
    model = langchain_openai.ChatOpenAI(model="tiny", base_url=f"{URL}/v1", api_key="none")
    assert model.invoke("hi").content == HELLO
    assert [piece.content for piece in model.stream("hi") if piece.content] == PIECES
    caller = langchain_openai.ChatOpenAI(model="tool", base_url=f"{URL}/v1", api_key="none").bind_tools([Weather])
    [call] = caller.invoke("weather?").tool_calls
    assert (call["name"], call["args"]) == ("Weather", {"city": "Berlin"})


def langchain_responds() -> None:
    model = langchain_openai.ChatOpenAI(model="tiny", base_url=f"{URL}/v1", api_key="none", use_responses_api=True)
    assert model.invoke("hi").text == HELLO
    assert "".join(piece.text for piece in model.stream("hi")) == HELLO


def langchain_has_its_shape() -> None:
    model = langchain_openai.ChatOpenAI(model="tool", base_url=f"{URL}/v1", api_key="none")
    assert model.with_structured_output(Weather, method="function_calling").invoke("weather?") == Weather(city="Berlin")


def instructor_has_its_shape() -> None:
    with openai.OpenAI(base_url=f"{URL}/v1", api_key="none") as plain:
        client = instructor.from_openai(plain, mode=instructor.Mode.TOOLS)
        found = client.chat.completions.create(model="tool", messages=ASK, response_model=Weather, max_retries=1)
        assert found.city
        client = instructor.from_openai(plain, mode=instructor.Mode.JSON_SCHEMA)
        found = client.chat.completions.create(model="tiny", messages=ASK, response_model=Capital, max_retries=1)
        assert found.city == "Berlin"


CHECKS: list[Callable[[], None]] = [
    litellm_as_openais_client, litellm_as_anthropics_client, litellm_and_responses, litellm_and_vectors, litellm_and_errors,
    langchain_chats, langchain_responds, langchain_has_its_shape, instructor_has_its_shape,
]  # fmt: skip

if __name__ == "__main__":
    for check in CHECKS:
        check()
        sys.stdout.write(f"{check.__name__}\n")
        sys.stdout.flush()
