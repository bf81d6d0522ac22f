"""Signing in by a directory: a real OpenLDAP, with TLS, StartTLS and groups in groups."""

import json
from pathlib import Path
from typing import Any

import pytest

from open_webui.config import Config
from open_webui.models import groups, identities, users
from open_webui.services import ldap as service
from open_webui.services.attempts import PER_ACCOUNT
from tests.open_webui.ldap.conftest import Serve, enter, said, variables
from tests.support.live import Live, sign_up
from tests.support.slapd import BASE, GROUPS, PASSWORD, PEOPLE, Slapd

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "sign_in.md").read_text(encoding="utf-8")
OWN = "/api/v1/auths/identities"


async def groups_of(live: Live, user_id: str) -> list[str]:
    async with live.app.state.oui.database.read() as connection:
        return sorted(group.name for group in await groups.of_user(connection, user_id))


async def test_the_first_one_is_the_administrator_and_later_ones_wait(serve: Serve, slapd: Slapd) -> None:
    live = await serve()
    async with live.client() as browser:
        features = (await browser.get("/api/config")).json()["features"]
        assert (features["enable_ldap"], features["enable_login_form"]) == (True, True)
    first = await enter(live, "ann")
    assert first.status_code == 200, first.text
    reply = first.json()
    assert (reply["role"], reply["email"], reply["name"]) == ("admin", "ann@example.org", "Ann Lee")
    assert "httponly" in first.headers["set-cookie"].lower()
    assert live.app.state.oui.tokens.verify(reply["token"]).auth_method == "ldap"
    async with live.client(reply["token"]) as ann:
        mine = (await ann.get(OWN)).json()
        assert [(one["provider"], one["label"], one["removable"]) for one in mine] == [("ldap", "LDAP Server", False)]
        assert "only way in" in (await ann.delete(f"{OWN}/{mine[0]['id']}")).text
        noted = (await ann.get("/api/v1/auths/admin/sign-ins")).json()
        assert (noted[0]["provider"], noted[0]["allowed"]) == ("ldap", True)
        assert PASSWORD not in str(noted)
        asked = {"attempt": noted[0]["n"]}
        explained = (await ann.post("/api/v1/auths/admin/sign-ins/explain", json=asked)).json()
        assert (explained["provider"], explained["action"], explained["allowed"]) == ("ldap", "sign_in", True)
        assert (await ann.post("/api/v1/auths/signup", json={})).status_code == 422
    async with live.app.state.oui.database.read() as connection:
        (identity,) = await identities.of_user(connection, reply["id"])
    assert len(identity.subject) == 36, "what the directory calls her for ever (entryUUID), not her name or address"
    later = (await enter(live, "CID")).json()
    assert (later["role"], later["email"] in {"cid@example.org", "cid@example.com"}) == ("pending", True)
    again = (await enter(live, " cid ")).json()
    assert again["id"] == later["id"]


async def test_who_came_by_the_directory_and_who_was_refused_stand_in_the_audit_record(serve: Serve) -> None:
    live = await serve()
    token = (await enter(live, "ann")).json()["token"]
    assert said(await enter(live, "cid", "wrong")) == (400, service.WRONG)
    async with live.client(token) as ann:
        reply = await ann.get("/api/v1/audit/entries?action=sign-in")
    told = [(one["what"], one["email"], one["outcome"]) for one in reply.json()["items"]]
    assert told == [("POST /api/v1/auths/ldap", "", "refused"), ("POST /api/v1/auths/ldap", "ann@example.org", "done")]
    assert PASSWORD not in reply.text


async def test_the_example_of_the_page_works(serve: Serve, slapd: Slapd) -> None:
    example = PAGE.partition("## LDAP and Active Directory")[2].partition("```sh\n")[2].partition("```")[0]
    given = dict(line.split("=", 1) for line in example.splitlines())
    here = {
        "LDAP_SERVER_HOST": "127.0.0.1",
        "LDAP_SERVER_PORT": str(slapd.tls_port),
        "LDAP_CA_CERT_FILE": str(slapd.ca),
    }
    assert here.keys() <= given.keys()
    live = await serve(**given | here)
    ann = (await enter(live, "ann")).json()
    assert await groups_of(live, ann["id"]) == ["everybody", "staff", "west, sales"]
    assert sorted(given.keys() - variables(slapd).keys()) == [
        "ENABLE_LDAP_GROUP_CREATION", "ENABLE_LDAP_GROUP_MANAGEMENT", "LDAP_SERVER_LABEL"
    ]  # fmt: skip


async def test_nobody_learns_who_is_there(serve: Serve) -> None:
    live = await serve()
    wrong = said(await enter(live, "ann", "wrong"))
    assert wrong == (400, service.WRONG)
    for user, password in (
        ("nobody", "wrong"), ("nobody", PASSWORD), ("ann", ""), ("", ""), ("", PASSWORD), ("ann", "\x00"), ("ann\x00", PASSWORD),
        # One name of two people.
        ("dup", PASSWORD),
        # Injection: every character is part of the name.
        ("*", PASSWORD), ("an*", PASSWORD), ("*)(uid=*", PASSWORD), ("ann)(objectClass=*", PASSWORD),
        ("x)(|(uid=ann", PASSWORD), ("ann\\2a", PASSWORD), (f"uid=ann,{PEOPLE}", PASSWORD), ("\N{COLLISION SYMBOL}" * 254, "x"),
    ):  # fmt: skip
        assert said(await enter(live, user, password)) == wrong, user
    assert (await enter(live, "a" * 500)).status_code == 422
    async with live.client() as client:
        half = b'{"user": "\\ud800", "password": "\\ud800"}'
        headers = {"content-type": "application/json"}
        assert (await client.post("/api/v1/auths/ldap", content=half, headers=headers)).status_code in {400, 422}
    assert (await enter(live, "ann", "p" * 5_000)).status_code == 422
    async with live.app.state.oui.database.read() as connection:
        assert not await users.any_exists(connection)


async def test_tries_are_counted(serve: Serve) -> None:
    live = await serve()
    # Spellings that the directory takes for the same.
    names = ("ann", "Ann", " ann", "\uff41nn", "an\u00adn")
    statuses = [(await enter(live, names[n % len(names)], "wrong")).status_code for n in range(PER_ACCOUNT + 1)]
    assert statuses == [400] * PER_ACCOUNT + [429]
    assert (await enter(live, "ann")).status_code == 429, "also the right one"


async def test_addresses(serve: Serve) -> None:
    """Missing, unusable, doubled, and another account's."""
    live = await serve()
    admin = await sign_up(live, "Admin One")
    assert "gives no e-mail address" in (await enter(live, "bob")).json()["detail"]
    assert "gives no e-mail address" in (await enter(live, "odd")).json()["detail"]
    ann = (await enter(live, "ann")).json()
    reply = await enter(live, "eve")
    assert (reply.status_code, "an account with this address already" in reply.text) == (403, True)
    # The directory calls somebody as before, whatever becomes of the address here.
    form = {"name": "Ann", "email": "ann@elsewhere.org", "role": "user", "profile_image_url": "/user.png"}
    assert (await admin.client.post(f"/api/v1/users/{ann['id']}/update", json=form)).status_code == 200
    again = (await enter(live, "ann")).json()
    assert (again["id"], again["email"]) == (ann["id"], "ann@elsewhere.org")
    await admin.client.aclose()


async def test_addresses_made_of_names(serve: Serve) -> None:
    live = await serve(LDAP_DEFAULT_EMAIL_DOMAIN="corp.example.org")
    assert (await enter(live, "BOB")).json()["email"] == "bob@corp.example.org"


async def test_accounts_are_joined_where_an_admin_allows_it_or_by_their_owner(serve: Serve) -> None:
    live = await serve()
    admin = await sign_up(live, "Admin One")
    async with live.client() as client:
        form = {"name": "Ann", "email": "ann@example.org", "password": "correct horse battery", "role": "user"}
        made = (await admin.client.post("/api/v1/auths/add", json=form)).json()
        assert "an account with this address already" in (await enter(live, "ann")).text
        # A signed-in person proves to be that one; somebody else can't have it then.
        assert (await enter(live, "ann", "wrong", token=made["token"])).status_code == 400
        assert (await enter(live, "ann", token=made["token"])).json() is True
        assert "another account" in (await enter(live, "ann", token=admin.token)).text
        assert (await enter(live, "ann")).json()["id"] == made["id"]
        assert (
            await client.post("/api/v1/auths/ldap/link", json={"user": "ann", "password": PASSWORD})
        ).status_code == 401
        other = form | {"name": "Cid", "email": "cid@example.org"}
        cid = (await admin.client.post("/api/v1/auths/add", json=other)).json()
        also = form | {"name": "Cid", "email": "cid@example.com"}
        also_cid = (await admin.client.post("/api/v1/auths/add", json=also)).json()
        await admin.client.post("/api/v1/auths/admin/config/oauth", json={"OAUTH_MERGE_ACCOUNTS_BY_EMAIL": True})
        assert (await enter(live, "cid")).json()["id"] in {cid["id"], also_cid["id"]}
    await admin.client.aclose()


async def test_groups_follow_the_directory(serve: Serve) -> None:
    """Those in each other too, in a circle; what an admin keeps by hand stays."""
    live = await serve(
        ENABLE_LDAP_GROUP_MANAGEMENT="true", ENABLE_LDAP_GROUP_CREATION="true", OAUTH_BLOCKED_GROUPS='["local*"]'
    )
    admin = await sign_up(live, "Admin One")
    ann = (await enter(live, "ann")).json()
    assert await groups_of(live, ann["id"]) == ["everybody", "staff", "west, sales"]
    for name in ("local", "old"):
        made = (await admin.client.post("/api/v1/groups/create", json={"name": name, "description": ""})).json()
        form = {"user_ids": [ann["id"]]}
        assert (await admin.client.post(f"/api/v1/groups/id/{made['id']}/users/add", json=form)).status_code == 200
    assert (await enter(live, "ann")).status_code == 200
    assert await groups_of(live, ann["id"]) == ["everybody", "local", "staff", "west, sales"]
    await admin.client.aclose()


@pytest.mark.parametrize(
    ("nested", "found"), [("true", ["everybody", "staff", "west, sales"]), ("false", ["staff", "west, sales"])]
)
async def test_groups_that_name_their_members(serve: Serve, nested: str, found: list[str]) -> None:
    live = await serve(
        ENABLE_LDAP_GROUP_MANAGEMENT="true", ENABLE_LDAP_GROUP_CREATION="true", LDAP_GROUP_SEARCH_BASE=GROUPS,
        LDAP_GROUP_SEARCH_FILTER="(objectClass=groupOfNames)", LDAP_NESTED_GROUPS=nested,
    )  # fmt: skip
    ann = (await enter(live, "ann")).json()
    assert await groups_of(live, ann["id"]) == found


async def test_start_tls_filters_and_several_directories(serve: Serve, slapd: Slapd) -> None:
    """The first directory that has a person decides. One that is away keeps nobody of another one from signing in."""
    more: list[dict[str, Any]] = [
        slapd.page(id="away", port=slapd.elsewhere),
        slapd.page(
            id="guests", port=slapd.port, security="starttls", search_filters="(employeeType=guest)",
            enable_group_management=True, enable_group_creation=True, group_search_base=GROUPS,
        ),
    ]  # fmt: skip
    live = await serve(LDAP_SEARCH_BASE=f"ou=other,{BASE}", LDAP_SERVERS=json.dumps(more), LDAP_SECURITY="tls")
    cid = await enter(live, "cid")
    assert cid.status_code == 200, cid.text
    assert await groups_of(live, cid.json()["id"]) == ["guests"]
    async with live.client(cid.json()["token"]) as client:
        assert (await client.get(OWN)).json()[0]["provider"] == "ldap:guests"
    # In the first one: its password, though the third one would not let her in at all.
    assert (await enter(live, "dup")).json()["email"] == "dup2@example.org"
    assert said(await enter(live, "dup", "wrong")) == (400, service.WRONG)
    # Who is in none may be in the one that is away.
    assert said(await enter(live, "ann")) == (503, service.AWAY)


async def test_it_is_off_and_empty_until_somebody_sets_it_up(live: Live, slapd: Slapd) -> None:
    admin = await sign_up(live, "Admin One")
    switch, page = "/api/v1/auths/admin/config/ldap", "/api/v1/auths/admin/config/ldap/server"
    assert said(await enter(live, "ann")) == (400, "LDAP authentication is not enabled")
    assert (await admin.client.post(switch, json={"enable_ldap": True})).json() == {"ENABLE_LDAP": True}
    assert said(await enter(live, "ann")) == (503, service.NONE)
    before = (await admin.client.get(page)).json()
    assert (before["host"], before["port"], before["use_tls"]) == ("localhost", 389, True)
    for changed, why in (
        ({"search_filters": "(uid=*"}, "bracket is missing"), ({"attribute_for_username": "uid)(x"}, "is no attribute"),
        ({"app_dn_password": ""}, "has no password"), ({"host": "a/b@c"}, "is no host"),
        ({"search_filters": "(&)"}, "no filters in it"), ({"attribute_for_username": ""}, "what people are called"),
    ):  # fmt: skip
        reply = await admin.client.post(page, json=slapd.page(**changed))
        assert (reply.status_code, why in reply.text) == (400, True), reply.text
    assert (await admin.client.post(page, json={"label": "x"})).status_code == 422
    assert (await admin.client.get(page)).json() == before
    saved = (await admin.client.post(page, json=slapd.page(certificate_path=None, port=None))).json()
    assert (saved["certificate_path"], saved["port"]) == ("", None)
    assert (await admin.client.post(page, json=slapd.page())).status_code == 200
    assert (await enter(live, "ann")).json()["role"] == "pending"
    await admin.client.aclose()


def test_a_list_that_can_not_be_is_told_at_the_start(slapd: Slapd) -> None:
    for text in ("{", "{}", '[{"host": "x"}]', '[{"id": "a", "host": "x", "search_base": "y", "pasword": "z"}]',
                 '[{"host": "x", "search_base": "y"}]', '[{"id": "A b", "host": "x", "search_base": "y"}]'):  # fmt: skip
        with pytest.raises(Exception, match="LDAP_SERVERS"):
            Config(variables(slapd, LDAP_SERVERS=text))
