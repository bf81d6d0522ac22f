"""What Entra and Okta send, as they write it, and what the recorded server was asked."""

from typing import Any

import pytest

from open_webui.models import identities
from tests.open_webui.scim.conftest import Directory, Serve, person, refusal
from tests.support.live import Actor, Live

SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
ENTRA: dict[str, Any] = {
    "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", ENTERPRISE],
    "externalId": "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef",
    "userName": "Ada@Example.com",
    "active": "True",
    "displayName": "Ada Lovelace",
    "title": "Countess",
    "emails": [
        {"type": "work", "value": "Ada@Example.com", "primary": True},
        {"type": "home", "value": "ada@home.example"},
    ],
    "name": {"formatted": "Ada Lovelace", "familyName": "Lovelace", "givenName": "Ada"},
    "meta": {"resourceType": "User"},
    ENTERPRISE: {"department": "Engines"},
    "roles": [],
}


async def test_entra_keeps_an_account(directory: Directory) -> None:
    asked = {"params": {"filter": 'userName eq "ada@example.com"'}}
    assert (await directory.ask("GET", "/Users", **asked)).json()["totalResults"] == 0
    made = (await directory.ask("POST", "/Users", ENTRA)).json()
    assert (made["userName"], made["active"], made["externalId"]) == ("Ada@Example.com", True, ENTRA["externalId"])
    assert made["name"] == ENTRA["name"]
    assert made["emails"] == ENTRA["emails"]
    assert (await directory.ask("GET", "/Users", **asked)).json()["Resources"][0]["id"] == made["id"]
    path = f"/Users/{made['id']}"
    reply = await directory.change(
        path,
        {"op": "Replace", "path": "displayName", "value": "Countess"},
        {"op": "Add", "path": "name.familyName", "value": "King"},
        {"op": "Replace", "path": 'emails[type eq "work"].value', "value": "countess@example.com"},
        {"op": "Add", "path": 'emails[type eq "other"].value', "value": "else@example.com"},
        {"op": "Add", "path": 'phoneNumbers[type eq "work"].value', "value": "1"},
        {"op": "Add", "path": f"{ENTERPRISE}:department", "value": "Mills"},
        {"op": "Replace", "path": "active", "value": "False"},
    )
    assert reply.status_code == 200, reply.text
    changed = reply.json()
    assert (changed["displayName"], changed["name"]["familyName"], changed["active"]) == ("Countess", "King", False)
    assert [one["value"] for one in changed["emails"]] == [
        "countess@example.com",
        "ada@home.example",
        "else@example.com",
    ]
    # Without a path, names may be paths; "active" is a text.
    reply = await directory.change(
        path, {"op": "Replace", "value": {"active": "True", "name.givenName": "A", 'emails[type eq "home"].value': "a@b.example"}}
    )  # fmt: skip
    again = reply.json()
    assert (again["active"], again["name"]["givenName"], again["emails"][1]["value"]) == (True, "A", "a@b.example")
    # Asked for the second time, nothing is lost.
    assert refusal(await directory.ask("POST", "/Users", ENTRA)) == (409, "uniqueness")
    assert (await directory.ask("GET", path)).json()["externalId"] == ENTRA["externalId"]
    assert (await directory.ask("DELETE", path)).status_code == 204
    assert refusal(await directory.ask("GET", path)) == (404, "")


async def test_entra_keeps_a_group(directory: Directory, admin: Actor) -> None:
    ada, bob = [await directory.make(name) for name in ("ada", "bob")]
    group = await directory.group("Engines", externalId="g-1")
    path = f"/Groups/{group['id']}"
    without = {"params": {"excludedAttributes": "members"}}
    reply = await directory.change(
        path, {"op": "Add", "path": "members", "value": [{"value": ada["id"]}, {"value": bob["id"]}]}
    )
    assert [one["value"] for one in reply.json()["members"]] == sorted(
        [ada["id"], bob["id"]], key=[one["value"] for one in reply.json()["members"]].index
    )
    assert len(reply.json()["members"]) == 2
    assert "members" not in (await directory.ask("GET", path, **without)).json()
    assert (await directory.ask("GET", f"/Users/{ada['id']}")).json()["groups"][0]["display"] == "Engines"
    reply = await directory.change(path, {"op": "Remove", "path": f'members[value eq "{ada["id"]}"]'}, **without)
    assert "members" not in reply.json()
    assert await directory.found("Users", f'groups[value eq "{group["id"]}"]') == ["bob@example.com"]
    assert await directory.found("Groups", f'id eq "{group["id"]}" and members[value eq "{bob["id"]}"]') == ["Engines"]
    reply = await directory.change(path, {"op": "Remove", "path": "members", "value": [{"value": bob["id"]}]})
    assert reply.json()["members"] == []
    reply = await directory.change(path, {"op": "Replace", "path": "displayName", "value": "Mills"})
    assert (reply.json()["displayName"], reply.json()["externalId"]) == ("Mills", "g-1")
    # The administrator's page has the same group.
    seen = (await admin.client.get("/api/v1/groups/")).json()
    assert [(one["name"], one["member_count"]) for one in seen] == [("Mills", 0)]
    assert (await directory.ask("DELETE", path)).status_code == 204
    assert refusal(await directory.ask("DELETE", path)) == (404, "")


@SQLITE
async def test_okta_keeps_accounts_and_groups(directory: Directory) -> None:
    body = person("ada") | {"externalId": "00u1", "password": "Chosen by Okta 1", "locale": "en-US", "groups": []}
    reply = await directory.ask("POST", "/Users", body)
    assert reply.status_code == 201, reply.text
    made = reply.json()
    assert reply.headers["location"] == made["meta"]["location"]
    assert reply.headers["etag"] == made["meta"]["version"]
    assert "password" not in made
    path = f"/Users/{made['id']}"
    # It sends all of an account to change it, and what it had read with it.
    whole = made | {"displayName": "Ada L", "name": {"givenName": "Ada", "familyName": "L"}}
    reply = await directory.ask("PUT", path, whole)
    assert (reply.json()["displayName"], reply.json()["id"]) == ("Ada L", made["id"])
    reply = await directory.change(path, {"op": "replace", "value": {"active": False}})
    assert reply.json()["active"] is False
    reply = await directory.ask("PUT", path, {**whole, "active": True})
    assert reply.json()["active"] is True
    group = await directory.group("Everyone", made["id"])
    path = f"/Groups/{group['id']}"
    reply = await directory.change(path, {"op": "replace", "value": {"id": group["id"], "displayName": "All"}})
    assert (reply.json()["displayName"], len(reply.json()["members"])) == ("All", 1)
    reply = await directory.change(path, {"op": "replace", "path": "members", "value": []})
    assert reply.json()["members"] == []
    reply = await directory.ask("PUT", path, {"displayName": "All", "members": [{"value": made["id"], "display": "x"}]})
    assert [one["value"] for one in reply.json()["members"]] == [made["id"]]
    reply = await directory.ask("GET", path, params={"attributes": "members.display,members.value"})
    assert reply.json() == {
        "schemas": group["schemas"],
        "id": group["id"],
        "members": [{"value": made["id"], "display": "Ada L"}],
    }
    listed = (await directory.ask("GET", "/Groups", params={"filter": 'displayName eq "all"'})).json()
    assert listed["Resources"][0]["members"][0]["value"] == made["id"]


async def test_filters_and_pages(directory: Directory) -> None:
    for name in ("ada", "bob", "cy_d", "dora"):
        await directory.make(name, externalId=f"X-{name}", active=name != "bob")
    wanted = {
        'userName eq "ADA@example.com"': ["ada"],
        'userName ne "ada@example.com" and userName sw "d"': ["dora"],
        'displayName co "O" and not (displayName ew "a")': ["bob", "admin one"],
        'externalId eq "X-ada" or externalId eq "x-bob"': ["ada"],
        'emails.value eq "dora@example.com"': ["dora"],
        'emails[type eq "work"].value eq "dora@example.com"': ["dora"],
        'emails[type eq "home"].value eq "dora@example.com"': [],
        'emails co "Y_D@"': ["cy_d"],
        'emails co "y%d@"': [],
        "externalId pr and active eq false": ["bob"],
        'active eq "False"': ["bob"],
        'urn:ietf:params:scim:schemas:core:2.0:User:userName eq "bob@example.com"': ["bob"],
        'meta.created gt "2020-01-01T00:00:00Z" and userName sw "b"': ["bob"],
        'meta.lastModified lt "2020-01-01T00:00:00Z"': [],
        "not (externalId pr)": ["admin one"],
    }
    for text, names in wanted.items():
        found = [one.partition("@")[0].replace(".", " ") for one in await directory.found("Users", text)]
        assert sorted(found) == sorted(names), text
    order = {"sortBy": "userName", "sortOrder": "descending", "count": "2", "attributes": "userName"}
    first = (await directory.ask("GET", "/Users", params=order)).json()
    assert [one["userName"][:3] for one in first["Resources"]] == ["dor", "cy_"]
    assert (first["totalResults"], first["itemsPerPage"], first["startIndex"]) == (5, 2, 1)
    assert first["Resources"][0].keys() == {"schemas", "id", "userName"}
    rest = (await directory.ask("GET", "/Users", params=order | {"startIndex": "3", "count": "200000"})).json()
    assert [one["userName"][:3] for one in rest["Resources"]] == ["bob", "adm", "ada"]
    none = (await directory.ask("GET", "/Users", params={"count": "0", "startIndex": "-7"})).json()
    assert (none["totalResults"], none["Resources"]) == (5, [])
    await directory.group("Dots")
    found = (await directory.ask("POST", "/.search", {"filter": 'displayName sw "do"', "count": 9})).json()
    assert [one["displayName"] for one in found["Resources"]] == ["Dora", "Dots"]


@SQLITE
async def test_versions(directory: Directory) -> None:
    made = await directory.make("ada")
    path, first = f"/Users/{made['id']}", made["meta"]["version"]
    assert first.startswith('W/"')
    reply = await directory.ask("GET", path, headers={"if-none-match": first})
    assert (reply.status_code, reply.content, reply.headers["etag"]) == (304, b"", first)
    reply = await directory.change(
        path, {"op": "replace", "path": "displayName", "value": "A"}, headers={"if-match": first}
    )
    second = reply.json()["meta"]["version"]
    assert second == reply.headers["etag"] != first
    late = {"headers": {"if-match": first}}
    assert refusal(await directory.change(path, {"op": "add", "path": "active", "value": False}, **late)) == (412, "")
    assert refusal(await directory.ask("PUT", path, person("ada"), **late)) == (412, "")
    assert refusal(await directory.ask("DELETE", path, **late)) == (412, "")
    # What changes nothing makes no version.
    same = await directory.change(
        path, {"op": "replace", "path": "displayName", "value": "A"}, headers={"if-match": "*"}
    )
    assert same.headers["etag"] == second
    group = await directory.group("G")
    at = f"/Groups/{group['id']}"
    joined = await directory.change(at, {"op": "add", "path": "members", "value": [{"value": made["id"]}]})
    left = await directory.change(at, {"op": "remove", "path": "members"})
    versions = {one["meta"]["version"] for one in (group, joined.json(), left.json())}
    assert len(versions) == 3
    assert refusal(await directory.ask("DELETE", at, headers={"if-match": group["meta"]["version"]})) == (412, "")


async def test_bulk(directory: Directory) -> None:
    renamed = {"Operations": [{"op": "replace", "value": {"displayName": "A"}}]}
    operations = [
        {
            "method": "post",
            "path": "/Groups",
            "bulkId": "g",
            "data": {"displayName": "G", "members": [{"value": "bulkId:u"}]},
        },
        {"method": "POST", "path": "/Users", "bulkId": "u", "data": person("ada")},
        {"method": "POST", "path": "/Users", "bulkId": "v", "data": person("ada")},
        {"method": "PATCH", "path": "/Users/bulkId:u", "data": renamed},
        {"method": "DELETE", "path": "/Users/none"},
        {
            "method": "POST",
            "path": "/Groups",
            "bulkId": "h",
            "data": {"displayName": "H", "members": [{"value": "bulkId:v"}]},
        },
    ]
    schemas = ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"]
    reply = await directory.ask("POST", "/Bulk", {"schemas": schemas, "Operations": operations})
    assert reply.status_code == 200, reply.text
    results = reply.json()["Operations"]
    assert [one["status"] for one in results] == ["201", "201", "409", "200", "404", "409"]
    assert results[2]["response"]["scimType"] == "uniqueness"
    assert await directory.found("Users", 'groups pr and displayName eq "A"') == ["ada@example.com"]
    few = [{"method": "DELETE", "path": "/Users/none"}] * 5
    reply = await directory.ask("POST", "/Bulk", {"Operations": few, "failOnErrors": 2})
    assert len(reply.json()["Operations"]) == 2


@SQLITE
async def test_an_external_id_is_who_signs_in(serve: Serve, make_actor: Any) -> None:
    live = await serve(scim_auth_provider="OIDC")
    directory, admin = await make_actor(live)
    made = await directory.make("ada", externalId="sub-1")
    path = f"/Users/{made['id']}"

    async def tied(subject: str) -> str | None:
        async with live.app.state.oui.database.read() as connection:
            found = await identities.find(connection, "oidc", subject)
        return None if found is None else found.user_id

    assert await tied("sub-1") == made["id"]
    assert refusal(await directory.ask("POST", "/Users", person("bob") | {"externalId": "sub-1"})) == (
        409,
        "uniqueness",
    )
    await directory.change(path, {"op": "replace", "path": "externalId", "value": "sub-2"})
    assert (await tied("sub-1"), await tied("sub-2")) == (None, made["id"])
    # The subject of somebody who signed in before is theirs.
    other = await directory.make("cy")
    async with live.app.state.oui.database.write() as unit:
        await identities.add(unit.connection, other["id"], "oidc", "sub-3", None)
    assert refusal(await directory.change(path, {"op": "add", "path": "externalId", "value": "sub-3"})) == (
        409,
        "uniqueness",
    )
    await directory.change(f"/Users/{other['id']}", {"op": "add", "path": "externalId", "value": "sub-3"})
    # An administrator's account isn't opened by a directory.
    form = {"role": "admin", "name": "Cy", "email": "cy@example.com", "profile_image_url": ""}
    assert (await admin.client.post(f"/api/v1/users/{other['id']}/update", json=form)).status_code == 200
    reply = await directory.change(f"/Users/{other['id']}", {"op": "replace", "path": "externalId", "value": "sub-4"})
    assert (reply.json()["externalId"], await tied("sub-4"), await tied("sub-3")) == ("sub-4", None, None)
    await directory.ask("DELETE", path)
    assert await tied("sub-2") is None


async def test_what_the_recorded_server_was_asked(live: Live, directory: Directory) -> None:
    config = (await directory.ask("GET", "/ServiceProviderConfig")).json()
    assert config["patch"] == {"supported": True}
    types = (await directory.ask("GET", "/ResourceTypes")).json()
    assert [one["id"] for one in types["Resources"]] == ["User", "Group"]
    for kind in ("ResourceTypes", "Schemas"):
        for one in (await directory.ask("GET", f"/{kind}")).json()["Resources"]:
            assert (await directory.ask("GET", f"/{kind}/{one['id']}")).json() == one
    made = await directory.make("scim1", externalId="ext1")
    assert made["meta"]["location"] == f"{live.url}/api/v1/scim/v2/Users/{made['id']}"
    assert made["photos"] == [{"value": "/user.png", "type": "photo", "primary": True}]
