"""Entries of the wire made tool servers, and whom these are for."""

from typing import Any

import pytest

from open_webui.errors import BadRequest
from open_webui.principal import Principal
from open_webui.tools.servers import Server, parse, parse_all

ADMIN = Principal(id="root", role="admin", name="Root", email="root@example.com")
ANN = Principal(id="ann", role="user", name="Ann", email="ann@example.com", groups=frozenset({"g"}))
BOB = Principal(id="bob", role="user", name="Bob", email="bob@example.com")
NEW = Principal(id="new", role="pending", name="New", email="new@example.com")


def entry(**more: Any) -> dict[str, Any]:
    return {
        "url": "http://127.0.0.1:9/tools/",
        "path": "openapi.json",
        "auth_type": "none",
        "key": "",
        "config": {},
    } | more


def grant(kind: str, who: str) -> dict[str, Any]:
    return {"principal_type": kind, "principal_id": who, "permission": "read"}


def test_an_entry_becomes_a_server() -> None:
    server = parse(entry(info={"id": "a", "name": "A"}, headers='{"X-Key": "k"}', key=" k "), 3)
    assert (server.id, server.tool_id, server.url, server.name) == ("a", "server:a", "http://127.0.0.1:9/tools", "A")
    assert (server.headers, server.key, server.enabled) == ({"x-key": "k"}, "k", True)
    bare = parse(entry(type="mcp", config={"enable": False}), 3)
    assert (bare.id, bare.tool_id, bare.name, bare.enabled) == ("3", "server:mcp:3", "127.0.0.1", False)


@pytest.mark.parametrize(
    ("config", "who"),
    [
        ({}, []),
        ({"access_grants": []}, []),
        ({"access_grants": [grant("user", "*")]}, [ANN, BOB]),
        ({"access_grants": [grant("user", "ann")]}, [ANN]),
        ({"access_grants": [grant("group", "g")]}, [ANN]),
        ({"access_control": None}, [ANN, BOB]),
        ({"access_control": {}}, []),
        ({"access_control": {"read": {"group_ids": ["g"], "user_ids": []}}}, [ANN]),
        ({"access_control": {"write": {"user_ids": ["bob", 1]}}}, [BOB]),
        ({"access_control": "all"}, []),
        # What is newer counts.
        ({"access_grants": [], "access_control": None}, []),
    ],
)
def test_whom_it_is_for(config: dict[str, Any], who: list[Principal]) -> None:
    server = parse(entry(config=config), 0)
    assert [p for p in (ANN, BOB, NEW) if server.may_use(p)] == who
    assert server.may_use(ADMIN)


@pytest.mark.parametrize(
    ("functions", "offered"),
    [
        (None, "abc"),
        ("", "abc"),
        ("a, b", "ab"),
        (["c"], "c"),
        ("!a", "bc"),
        (["a", "b", "!b"], "a"),
        (["d"], ""),
        (7, "abc"),
    ],
)
def test_which_of_its_tools_are_offered(functions: Any, offered: str) -> None:
    server = parse(entry(config={"function_name_filter_list": functions}), 0)
    assert "".join(name for name in "abc" if server.offers(name)) == offered


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"url": ""}, "address"),
        ({"url": "file:///etc/passwd"}, "address"),
        ({"url": "http://a b"}, "address"),
        ({"url": "http://[::1"}, "address"),
        ({"url": "http://me:pw@host"}, "password in its address"),
        ({"type": "stdio"}, "type"),
        ({"type": 7}, "type"),
        ({"auth_type": "magic"}, "way to sign in"),
        ({"auth_type": "oauth_2.1"}, "MCP servers only"),
        ({"key": "a\nb"}, "key"),
        ({"key": "ключ"}, "key"),
        ({"headers": "{"}, "headers"),
        ({"headers": {"a b": "c"}}, "can't be sent"),
        ({"headers": {"Host": "evil"}}, "can't be sent"),
        ({"headers": {"X": "a\r\nb: c"}}, "can't be sent"),
        ({"headers": {"X": 1}}, "can't be sent"),
        ({"headers": [1]}, "headers"),
        ({"info": {"id": "a/b"}}, "needs an id"),
        ({"info": {"id": "x" * 65}}, "needs an id"),
        ({"spec_type": "json"}, "no document"),
        ({"config": {"access_grants": [1]}}, "grants"),
        ({"config": {"access_grants": [{"principal_type": "cat"}]}}, "grant"),
    ],
)
def test_what_is_wrong_is_said(more: dict[str, Any], says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        parse(entry(**more), 0)


def test_ids_are_for_one_server_of_a_kind() -> None:
    same = entry(info={"id": "a"})
    assert [s.tool_id for s in parse_all([same, same | {"type": "mcp"}])] == ["server:a", "server:mcp:a"]
    with pytest.raises(BadRequest, match="Two tool servers"):
        parse_all([same, same])
    with pytest.raises(BadRequest, match="object"):
        parse_all([1])


def test_a_server_is_a_value() -> None:
    assert parse(entry(), 0) == parse(entry(), 0)
    assert isinstance(parse(entry(), 0), Server)
