"""Message trees: any input is checked or refused, and what is kept is a forest."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from open_webui.utils import tree

IDS = st.sampled_from("abcdefgh")
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


def is_forest(parents: dict[str, str | None]) -> bool:
    for start in parents:
        node: str | None = start
        for _ in range(len(parents) + 1):
            if node is None:
                break
            if node not in parents:
                return False
            node = parents[node]
        else:
            return False
    return True


@given(st.dictionaries(IDS, st.none() | IDS | st.just("unknown")))
def test_repair_makes_a_forest_and_touches_nothing_sound(parents: dict[str, str | None]) -> None:
    repaired = tree.repair(parents)
    assert list(repaired) == list(parents)
    assert is_forest(repaired)
    assert all(repaired[i] in {None, p} for i, p in parents.items())
    if is_forest(parents):
        assert repaired == parents
    assert tree.repair(repaired) == repaired


def test_the_first_of_a_cycle_becomes_its_root() -> None:
    assert tree.repair({"a": "c", "b": "a", "c": "b"}) == {"a": None, "b": "a", "c": "b"}
    assert tree.repair({"x": "y", "y": "z", "z": "y"}) == {"x": "y", "y": None, "z": "y"}
    assert tree.repair({"a": "a"}) == {"a": None}


def test_a_long_branch_and_a_long_cycle_are_quick_and_do_not_recurse() -> None:
    chain: dict[str, str | None] = {str(k): str(k - 1) if k else None for k in range(50_000)}
    assert tree.repair(chain) == chain
    ring = chain | {"0": "49999"}
    assert tree.repair(ring) == chain


@given(st.dictionaries(IDS, st.none() | IDS))
def test_children_are_all_that_have_the_parent(parents: dict[str, str | None]) -> None:
    children = tree.children_of(parents)
    assert sorted(c for cs in children.values() for c in cs) == sorted(
        i for i, p in parents.items() if p is not None and p in parents
    )


def wire(**more: Any) -> dict[str, Any]:
    return {"parentId": None, "childrenIds": [], "role": "user", "content": "x"} | more


def apart(message: Any, key: str = "m") -> tree.Fields:
    return tree.take_apart(key, message, max_id=255)


@given(JSON)
def test_any_json_is_a_message_or_refused(value: Any) -> None:
    try:
        fields = apart(value)
    except tree.BadTree:
        return
    assert isinstance(value, dict)
    assert fields.id == "m"


@given(st.dictionaries(st.sampled_from(["parentId", "childrenIds", "role", "content", "done", "model", "x"]), JSON))
def test_any_fields_are_taken_or_refused(message: dict[str, Any]) -> None:
    try:
        fields = apart(message)
    except tree.BadTree:
        return
    assert fields.content is None or isinstance(fields.content, str)
    assert fields.parent is None or isinstance(fields.parent, str)


@pytest.mark.parametrize(
    "bad",
    [
        None, 1, "x", [], wire(parentId=1), wire(childrenIds="a"), wire(childrenIds=[1]), wire(role=""),
        wire(role="x" * 33), wire(role=1), wire(content=1), wire(content={}), wire(done=1), wire(done="true"),
    ],
)  # fmt: skip
def test_wrong_types_are_refused(bad: Any) -> None:
    with pytest.raises(tree.BadTree):
        apart(bad)


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_ids_have_a_length(key: str) -> None:
    with pytest.raises(tree.BadTree):
        apart(wire(), key)


def test_parts_keep_their_shape_and_their_text_is_searched() -> None:
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "/f"}}, "odd", None]
    fields = apart(wire(content=parts))
    assert fields.content == "look"
    assert fields.body["content"] == parts


def test_who_wrote_a_message_is_not_the_clients_to_say() -> None:
    assert apart(wire(user_id="somebody", user={"id": "somebody"})).body == {}


def test_depth_is_bounded() -> None:
    value: Any = 1
    for _ in range(tree.MAX_DEPTH):
        value = [value]
    tree.check_depth(value, ())
    with pytest.raises(tree.BadTree):
        tree.check_depth([value], ())
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(tree.BadTree):
        tree.check_depth(deep, ())


def test_brothers_come_in_the_order_in_which_their_parent_names_them() -> None:
    fields = [
        apart(wire(childrenIds=["c", "b"]), "a"),
        apart(wire(parentId="a"), "b"),
        apart(wire(parentId="a"), "c"),
    ]
    assert [f.id for f in tree.in_order(fields)] == ["a", "c", "b"]


@given(st.lists(st.tuples(IDS, st.lists(IDS, max_size=5)), unique_by=lambda pair: pair[0]))
def test_ordering_loses_nothing(given_: list[tuple[str, list[str]]]) -> None:
    fields = [apart(wire(childrenIds=children), i) for i, children in given_]
    assert sorted(f.id for f in tree.in_order(fields)) == sorted(f.id for f in fields)


def test_a_message_without_a_parent_field_is_where_somebody_names_it() -> None:
    orphan = {"role": "assistant", "content": "x"}
    fields = [apart(wire(childrenIds=["b", "c"]), "a"), apart(orphan, "b"), apart(orphan | {"parentId": None}, "c")]
    assert tree.parents_of(fields) == {"a": None, "b": "a", "c": None}


def test_a_plain_list_becomes_a_branch() -> None:
    history = tree.linear([{"id": "x", "content": "a"}, {"content": "b"}, {"id": "x", "content": "c"}])
    assert [(i, m["parentId"]) for i, m in history.items()] == [("x", None), ("m1", "x"), ("m2", "m1")]
    with pytest.raises(tree.BadTree):
        tree.linear(["text"])
