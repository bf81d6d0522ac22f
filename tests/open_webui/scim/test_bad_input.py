"""What a directory, or whoever has its token, sends that can't be: refused with a word of the standard, within bounds."""

import contextlib
import time
from typing import Any

import httpx
import pytest

from open_webui.utils.scim_filters import FilterProblem, read_filter, read_path
from tests.open_webui.scim.conftest import BASE, Directory, refusal
from tests.support.live import Actor

SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
FILTERS = (
    "x", "userName", "userName eq", 'userName eq "', "userName eq bare", 'userName is "x"', '(userName eq "x"', "()",
    '"x" eq userName',
    'userName eq "x" and', 'and userName eq "x"', 'userName eq "x")', 'userName eq "x" userName eq "y"', "not",
    'not userName eq "x"',
    'nothing eq "x"', 'title eq "x"', 'name.familyName eq "x"', 'a.b.c eq "x"', "userName eq 1", "userName gt true",
    "active gt true",
    'active eq "maybe"', 'meta.created gt "yesterday"', "meta.created co 1", 'emails[type eq "work"]',
    'emails[value eq "x"', "emails[]",
    'emails[type eq "work"].display eq "x"', 'emails[type co "w"].value eq "x"', 'userName[value eq "x"]', 'groups co "x"',
    'emails gt "a"', 'emails eq "a\\nb"', 'userName eq "\\x"', 'userName eq "\\ud800"', 'password eq "x"',
    "(" * 200 + "id pr" + ")" * 200,
    " or ".join(["id pr"] * 51), 'id eq "' + "x" * 3_000 + '"', "[" * 500, "not (" * 300,
)  # fmt: skip
PATCHES: tuple[tuple[Any, str], ...] = (
    ({}, "invalidSyntax"), ({"Operations": []}, "invalidSyntax"), ({"Operations": {}}, "invalidSyntax"),
    ({"Operations": ["x"]}, "invalidSyntax"), ({"Operations": [{"op": "move", "path": "active"}]}, "invalidSyntax"),
    ({"op": "remove"}, "noTarget"), ({"op": "add", "path": "active"}, "invalidValue"), ({"op": "add",
    "value": "x"}, "invalidValue"),
    ({"op": "add", "path": 7, "value": "x"}, "invalidPath"), ({"op": "add", "path": "nothing", "value": "x"}, "invalidPath"),
    ({"op": "add", "path": "a..b", "value": "x"}, "invalidPath"), ({"op": "add", "path": "name.nothing",
    "value": "x"}, "invalidPath"),
    ({"op": "add", "path": "x" * 2_000, "value": "x"}, "invalidPath"), ({"op": "add", "path": "userName.x",
    "value": "x"}, "invalidPath"),
    ({"op": "replace", "path": "id", "value": "x"}, "mutability"), ({"op": "remove", "path": "id"}, "mutability"),
    ({"op": "replace", "path": "meta.version", "value": "x"}, "mutability"), ({"op": "add", "path": "groups",
    "value": []}, "mutability"),
    ({"op": "replace", "value": {"groups": [{"value": "x"}]}}, "mutability"), ({"op": "remove",
    "path": "photos"}, "mutability"),
    ({"op": "remove", "path": "userName"}, "mutability"), ({"op": "replace", "path": "displayName",
    "value": None}, "mutability"),
    ({"op": "replace", "path": "active", "value": "perhaps"}, "invalidValue"), ({"op": "replace", "path": "active",
    "value": 1}, "invalidValue"),
    ({"op": "replace", "path": "userName", "value": {"x": 1}}, "invalidValue"), ({"op": "replace", "path": "userName",
    "value": "x" * 2_000}, "invalidValue"),
    ({"op": "replace", "path": "displayName", "value": "a\nb"}, "invalidValue"), ({"op": "replace", "path": "emails",
    "value": "x"}, "invalidValue"),
    ({"op": "replace", "path": "emails", "value": [{"value": "no address"}]}, "invalidValue"),
    ({"op": "replace", "path": "emails", "value": [{"type": "work"}]}, "invalidValue"),
    ({"op": "add", "path": "emails", "value": [{"value": f"a{k}@b.example"} for k in range(11)]}, "invalidValue"),
    ({"op": "replace", "path": "emails", "value": [{"value": f"a{k}@b.example",
    "primary": True} for k in "12"]}, "invalidValue"),
    ({"op": "replace", "path": 'emails[type eq "none"]', "value": {"value": "a@b.example"}}, "noTarget"),
    ({"op": "replace", "path": 'emails[type co "none"].value', "value": "a@b.example"}, "noTarget"),
    ({"op": "replace", "path": "emails[type eq].value", "value": "x"}, "invalidFilter"),
    ({"op": "replace", "path": 'emails[type eq "work"].nothing', "value": "x"}, "invalidPath"),
    ({"op": "replace", "path": "name", "value": "Ada"}, "invalidValue"),
    ({"op": "replace", "path": "userName", "value": "bob@example.com"}, "uniqueness"),
    ({"op": "replace", "path": 'emails[type eq "work"].value', "value": "bob@example.com"}, "uniqueness"),
)  # fmt: skip
BODIES: tuple[Any, ...] = (
    {}, {"userName": ""}, {"userName": "ada"}, {"userName": 7}, {"userName": "a b"},
    {"userName": "x@y.example", "schemas": ["urn:x"]},
    {"userName": "x@y.example", "emails": {"value": 1}}, {"userName": "x@y.example", "emails": [[]]},
    {"userName": "x@y.example", "name": []}, {"userName": "x@y.example", "active": []},
    {"userName": "x@y.example", "password": ""},
    {"userName": "x@y.example", "password": "x" * 2_000}, {"userName": "x@y.example", "displayName": {"a": 1}},
    {"userName": "x" * 1_001 + "@y.example"}, {"userName": "x@y.example", "externalId": ["x"]},
)  # fmt: skip


@pytest.mark.parametrize("text", [*FILTERS, 'userName eq "\x00"', "é pr"])
def test_a_filter_that_can_not_be_read_takes_no_time(text: str) -> None:
    def seconds() -> float:
        begun = time.thread_time()
        for read in (read_filter, read_path):
            with contextlib.suppress(FilterProblem):
                read(text)
        return time.thread_time() - begun

    # The collector of garbage may come in one of them.
    assert min(seconds() for _ in range(3)) < 0.1


async def test_filters_that_are_refused(directory: Directory) -> None:
    for text in FILTERS:
        reply = await directory.ask("GET", "/Users", params={"filter": text})
        assert refusal(reply) == (400, "invalidFilter"), text
        assert refusal(await directory.ask("GET", "/Groups", params={"filter": text})) == (400, "invalidFilter"), text
    assert refusal(await directory.ask("POST", "/.search", {"filter": "x"})) == (400, "invalidFilter")
    assert await directory.found("Users", 'userName eq "\\u0000"') == []
    for name, value in (("startIndex", "x"), ("count", "1.5"), ("count", "9" * 30), ("startIndex", "١")):
        assert refusal(await directory.ask("GET", "/Users", params={name: value})) == (400, "invalidValue")
    for huge in ("999999999999999999", "-999999999999999999"):
        reply = await directory.ask("GET", "/Users", params={"startIndex": huge, "count": huge})
        assert reply.status_code == 200, reply.text
        assert len(reply.json()["Resources"]) <= 1
    many = ",".join(f"a{k}" for k in range(101))
    assert refusal(await directory.ask("GET", "/Users", params={"attributes": many})) == (400, "invalidValue")
    for body in ({"attributes": "x"}, {"filter": 1}, {"count": "x"}, {"excludedAttributes": [1]}):
        assert refusal(await directory.ask("POST", "/Users/.search", body))[0] == 400


async def test_changes_that_are_refused_change_nothing(directory: Directory) -> None:
    made = await directory.make("ada")
    await directory.make("bob")
    path = f"/Users/{made['id']}"
    fine = {"op": "replace", "path": "displayName", "value": "Changed"}
    for given, word in PATCHES:
        body = given if "Operations" in given or not given else {"Operations": [fine, given]}
        reply = await directory.ask("PATCH", path, body)
        assert refusal(reply) == (409 if word == "uniqueness" else 400, word), given
    assert (await directory.ask("GET", path)).json() == made
    bomb = {"Operations": [fine] * 201}
    assert refusal(await directory.ask("PATCH", path, bomb)) == (413, "tooMany")
    for body in BODIES:
        assert refusal(await directory.ask("POST", "/Users", body))[0] == 400, body
    for body in ({"emails": "x"}, {"userName": "bob@example.com"}):
        assert refusal(await directory.ask("PUT", path, body))[0] in {400, 409}, body
    assert (await directory.ask("GET", path)).json() == made


async def test_groups_that_are_refused(directory: Directory) -> None:
    ada, group = await directory.make("ada"), await directory.group("G", externalId="g")
    path = f"/Groups/{group['id']}"
    for body in ({}, {"displayName": ""},
        {"displayName": "H", "members": [{"value": "nobody"}]},
        {"displayName": "H", "members": [7]},
                 {"displayName": "H", "members": [{"value": ada["id"], "type": "Group"}]},
        {"displayName": "H", "schemas": "x"}):  # fmt: skip
        assert refusal(await directory.ask("POST", "/Groups", body))[0] == 400, body
    for body in ({"displayName": "G"}, {"displayName": "H", "externalId": "g"}):
        assert refusal(await directory.ask("POST", "/Groups", body)) == (409, "uniqueness")
    for operation, word in (
        ({"op": "add", "path": "members", "value": [{"value": group["id"]}]}, "invalidValue"),
        ({"op": "add", "path": 'members[value eq "x"]', "value": []}, "invalidFilter"),
        ({"op": "remove", "path": 'members[display eq "x"]'}, "invalidFilter"),
        ({"op": "replace", "path": "members.display", "value": "x"}, "mutability"),
        ({"op": "replace", "path": "meta", "value": {}}, "mutability"),
        ({"op": "replace", "path": "id", "value": "x"}, "mutability"),
        ({"op": "remove", "path": "displayName"}, "mutability"),
        ({"op": "replace", "path": "description", "value": "x"}, "invalidPath"),
    ):
        assert refusal(await directory.change(path, operation)) == (400, word), operation
    assert (await directory.ask("GET", path)).json()["members"] == []
    # To take somebody out who isn't in it is done already.
    assert (await directory.change(path, {"op": "remove", "path": 'members[value eq "x"]'})).status_code == 200


@SQLITE
async def test_requests_that_are_no_scim(directory: Directory, admin: Actor) -> None:
    async def send(content: bytes, kind: str = "application/scim+json", path: str = "/Users") -> httpx.Response:
        headers = {"content-type": kind}
        return await directory.client.post(BASE + path, content=content, headers=headers)

    for kind in ("text/plain", "application/xml", "multipart/form-data", "application/x-www-form-urlencoded"):
        assert refusal(await send(b"{}", kind)) == (415, "")
    for content in (b"", b"{", b"[]", b"7", b"\xff", b'{"a":' * 5_000, b'{"userName": "\\ud800"}'):
        assert refusal(await send(content)) == (400, "invalidSyntax"), content[:20]
    deep = b'{"x":' + b"[" * 500 + b"]" * 500 + b"}"
    assert refusal(await send(deep))[0] == 400
    assert refusal(await send(b"[" + b"1," * 700_000 + b"1]"))[0] == 413
    reply = await send(b'{"userName": "ada@example.com"}', "application/json; charset=utf-8")
    assert reply.status_code == 201
    for method, path in (
        ("GET", "/Nothing"),
        ("GET", "/Users/x/y"),
        ("POST", "/Nothing"),
        ("GET", "/Schemas/x"),
        ("GET", "/Me"),
    ):
        assert refusal(await directory.ask(method, path))[0] in {404, 405}, path
    assert refusal(await directory.ask("PUT", "/Users"))[0] == 405
    assert refusal(await directory.ask("GET", "/Schemas", params={"filter": "id pr"})) == (403, "")
    for path in ("/Users/" + "x" * 3_000, "/Groups/%00", "/Users/%2e%2e"):
        assert refusal(await directory.ask("GET", path))[0] == 404


@SQLITE
async def test_bulk_requests_that_are_refused(directory: Directory) -> None:
    fine = {"method": "DELETE", "path": "/Users/x"}
    for operation in (
        {}, 7, {"method": "GET", "path": "/Users"},
        {"method": "POST", "path": "/Users/x", "bulkId": "a", "data": {}},
        {"method": "POST", "path": "/Users", "data": {}}, {"method": "PUT", "path": "/Users/x"},
        {"method": "DELETE", "path": "/Users"},
        {"method": "POST", "path": "/Bulk", "bulkId": "a", "data": {}},
        {"method": "DELETE", "path": "/Users/x/../../y"},
        {"method": "POST", "path": "/Users", "bulkId": 7, "data": {}},
        {"method": "POST", "path": "/Users", "bulkId": "x" * 300, "data": {}},
    ):  # fmt: skip
        assert refusal(await directory.ask("POST", "/Bulk", {"Operations": [fine, operation]})) == (
            400,
            "invalidSyntax",
        )
    assert refusal(await directory.ask("POST", "/Bulk", {"Operations": [fine] * 201})) == (413, "tooMany")
    assert refusal(await directory.ask("POST", "/Bulk", {"Operations": [fine], "failOnErrors": 0})) == (
        400,
        "invalidValue",
    )
    # Two that wait for each other, and one that waits for itself.
    loop = [
        {
            "method": "POST",
            "path": "/Groups",
            "bulkId": a,
            "data": {"displayName": a, "members": [{"value": f"bulkId:{b}"}]},
        }
        for a, b in (("a", "b"), ("b", "a"), ("c", "c"))
    ]
    reply = await directory.ask("POST", "/Bulk", {"Operations": loop})
    assert [one["status"] for one in reply.json()["Operations"]] == ["409"] * 3
    assert await directory.found("Groups", "id pr") == []
