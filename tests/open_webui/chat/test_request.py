"""The door: every field with every wrong type is a clear 400, never a failure further in."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from open_webui.chat.request import (
    MAX_ANSWERS,
    PAGE_FIELDS,
    Ask,
    is_page_request,
    parse_api_request,
    parse_page_request,
)
from open_webui.errors import BadRequest

WRONG: tuple[Any, ...] = (7, 1.5, True, "text", ["a"], [{"a": 1}], {"a": 1}, [[]], "x" * 300)


def body(**fields: Any) -> dict[str, Any]:
    question = {"id": "q", "parentId": None, "role": "user", "content": "Hi", "timestamp": 1}
    return {"model": "m", "session_id": "s", "id": "a", "user_message": question} | fields


def test_a_page_request_is_read() -> None:
    request = parse_page_request(
        body(
            chat_id="c",
            parent_id="p",
            temperature=0.5,
            message_ids=[{"model_id": "m", "message_id": "a", "modelIdx": 0}, {"model_id": "n", "message_id": "b"}],
            variables={"{{USER_NAME}}": "Ann", "{{BAD}}": 3},
            background_tasks={"title_generation": True, "tags_generation": "yes"},
            features={"web_search": False},
        )
    )
    assert request.asks == (Ask("m", "a", 0), Ask("n", "b", 0))
    assert request.fields == {"temperature": 0.5}
    assert request.variables == {"{{USER_NAME}}": "Ann"}
    assert (request.tasks.title, request.tasks.tags, request.tasks.follow_ups) == (True, False, False)
    assert request.stream
    assert not request.is_temporary
    assert not parse_page_request(body(stream=False)).stream


@pytest.mark.parametrize(
    ("field", "good"),
    [
        ("model", (str,)),
        ("session_id", (str,)),
        ("id", (str,)),
        ("chat_id", (str,)),
        ("parent_id", (str,)),
        ("assistant_message_id", ()),
        ("folder_id", (str,)),
        ("user_message", ()),
        ("message_ids", ()),
        ("messages", ()),
        ("params", (dict,)),
        ("variables", (dict,)),
        ("chat_variables", (dict,)),
        ("background_tasks", (dict,)),
        ("files", ()),
    ],
)
def test_wrong_types_are_refused_by_name(field: str, good: tuple[type, ...]) -> None:
    for value in WRONG:
        if good and isinstance(value, good) and value != "x" * 300:
            continue
        if isinstance(value, list) and value and isinstance(value[0], dict) and field in {"messages", "files"}:
            continue
        if field == "id" and value == "q":
            continue
        with pytest.raises(BadRequest) as refused:
            parse_page_request(body(**{field: value}))
        assert len(refused.value.detail) < 200


@pytest.mark.parametrize(
    "entry",
    [
        {"message_id": "a"},
        {"model_id": "m"},
        {"model_id": "m", "message_id": 1},
        {"model_id": "", "message_id": "a"},
        {"model_id": "m", "message_id": "a", "modelIdx": "0"},
        {"model_id": "m", "message_id": "a", "modelIdx": True},
        {"model_id": "m", "message_id": "a", "modelIdx": -1},
        {"model_id": "m", "message_id": "a", "modelIdx": 10**30},
    ],
)
def test_entries_of_message_ids_are_checked(entry: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        parse_page_request(body(message_ids=[entry]))


def test_answers_have_ids_of_their_own_and_are_few() -> None:
    same = {"model_id": "m", "message_id": "a"}
    with pytest.raises(BadRequest, match="id of its own"):
        parse_page_request(body(message_ids=[same, same]))
    with pytest.raises(BadRequest, match="At most"):
        parse_page_request(body(message_ids=[same | {"message_id": str(n)} for n in range(MAX_ANSWERS + 1)]))
    with pytest.raises(BadRequest, match="same id"):
        parse_page_request(body(id="q"))


@pytest.mark.parametrize(
    "change",
    [
        {"id": 3},
        {"id": ""},
        {"id": "x" * 300},
        {"role": "assistant"},
        {"role": None},
        {"content": 7},
        {"content": None},
        {"content": {"a": 1}},
    ],
)
def test_the_question_is_checked(change: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        parse_page_request(body(user_message={"id": "q", "role": "user", "content": "Hi"} | change))


def test_a_question_nested_without_end_is_refused() -> None:
    deep: Any = "x"
    for _ in range(200):
        deep = [deep]
    with pytest.raises(BadRequest, match="nested"):
        parse_page_request(body(user_message={"id": "q", "content": "Hi", "x": deep}))


def test_nul_goes_from_the_question() -> None:
    message = {"id": "q", "content": "a\x00b", "na\x00me": ["\x00"]}
    assert parse_page_request(body(user_message=message)).user_message == {
        "id": "q", "content": "ab", "name": [""], "role": "user",
    }  # fmt: skip


def test_continuing_names_one_answer() -> None:
    assert parse_page_request(body(assistant_message_id="a", user_message=None)).continued
    with pytest.raises(BadRequest):
        parse_page_request(body(assistant_message_id="b"))
    two = [{"model_id": "m", "message_id": "a"}, {"model_id": "m", "message_id": "b"}]
    with pytest.raises(BadRequest):
        parse_page_request(body(assistant_message_id="a", message_ids=two))


@pytest.mark.parametrize(
    ("given_body", "page"),
    [
        ({}, False),
        ({"session_id": "s"}, False),
        ({"id": "a"}, False),
        ({"session_id": "s", "id": "a"}, True),
        ({"session_id": "s", "message_ids": [{}]}, True),
        ({"session_id": "", "id": "a"}, False),
        ({"session_id": 7, "id": 8}, True),
    ],
)
def test_who_is_a_page(given_body: dict[str, Any], page: bool) -> None:
    assert is_page_request(given_body) is page


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(PAGE_FIELDS | {"model", "messages", "stream", "temperature"})), values))
def test_anything_is_read_or_refused(fields: dict[str, Any]) -> None:
    for parse in (parse_page_request, parse_api_request):
        for given_body in (fields, body() | fields):
            with contextlib.suppress(BadRequest):
                parse(given_body)


class TestApi:
    def test_every_field_of_a_provider_passes(self) -> None:
        fields = {"temperature": 1, "tools": [{}], "reasoning": {"effort": "low"}, "unheard_of": [1]}
        request = parse_api_request({"model": "m", "messages": [{"role": "user"}]} | fields)
        assert request.payload == {"model": "m", "messages": [{"role": "user"}], "stream": False} | fields

    def test_fields_for_this_server_stay(self) -> None:
        request = parse_api_request({"model": "m", "chat_id": "c", "features": {}, "stream": True})
        assert request.payload == {"model": "m", "stream": True}
        assert request.stream

    @pytest.mark.parametrize(
        "wrong",
        [{}, {"model": None}, {"model": 3}, {"model": ""}, {"model": "m", "messages": "hi"},
         {"model": "m", "messages": ["hi"]}, {"model": "m", "stream": "yes"}, {"model": "m", "stream": 1}],
    )  # fmt: skip
    def test_wrong_types_are_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(BadRequest):
            parse_api_request(wrong)
