"""What the rules make of claims: a pure function, asked here without any server."""

from typing import Any

import msgspec
import pytest

from open_webui.access.oauth.providers import Provider, providers
from open_webui.access.oauth.read_claims import digest, overflows, shown, texts_at, value_at
from open_webui.access.oauth.rules import Facts, Rules, Verdict, blocked, evaluate, rules
from open_webui.config import Config

ANN = {"sub": "1", "email": "Ann@Example.com", "email_verified": True, "name": "Ann"}


def judged(
    claims: dict[str, Any] | None = None, facts: dict[str, Any] | None = None, of: str = "oidc", **variables: str
) -> Verdict:
    given = {"ENABLE_OAUTH_SIGNUP": "true"} | variables
    provider = Provider(id=of, label=of, client_id="c", client_secret="s", scope="", anybody=of == "microsoft")
    return evaluate(rules(Config(given)), provider, ANN | (claims or {}), Facts(**(facts or {})))


@pytest.mark.parametrize(
    ("way", "found"),
    [
        ("roles", ["admin", "staff"]),
        ("realm_access.roles", ["boss"]),
        ("resource_access.oui.roles", ["a", "b"]),
        ("https://x.example/roles", ["dotted"]),
        ("text", ["a", "b c"]),
        ("zitadel", ["admin", "user"]),
        ("number", []),
        ("absent.way", []),
        ("roles.deeper", []),
        ("", []),
    ],
)  # fmt: skip
def test_texts_are_found_in_whatever_shape_they_come(way: str, found: list[str]) -> None:
    claims = {
        "roles": ["admin", 7, None, "staff", "x" * 300], "realm_access": {"roles": ["boss"]},
        "resource_access": {"oui": {"roles": "a,b"}}, "https://x.example/roles": ["dotted"], "text": " a , b c,",
        "zitadel": {"admin": {"1": "x"}, "user": {}}, "number": 5,
    }  # fmt: skip
    assert texts_at(claims, way) == found


def test_much_is_cut() -> None:
    assert len(texts_at({"g": [f"g{n}" for n in range(100_000)]}, "g")) == 500
    assert value_at({"a": {"b": {}}}, "a.b." + "c." * 100_000) is None
    claims: dict[str, Any] = {"deep": {}}
    at = claims["deep"]
    for _ in range(500):
        at["deep"] = {}
        at = at["deep"]
    assert len(msgspec.json.encode(shown(claims | {"long": "x" * 10**6, "many": ["y" * 1_000] * 10_000}))) < 100_000


def test_what_is_kept_for_admins_has_no_secrets() -> None:
    claims = {
        "sub": "1", "nonce": "N", "at_hash": "H", "sid": "S", "access_token": "T", "client_secret": "C", "apiKey": "K",
        "x": {"refresh_token": "R", "fine": 1}, "jwt": "eyJhbGciOi.J9.x", "nul": "a\x00b",
    }  # fmt: skip
    assert shown(claims) == {"sub": "1", "x": {"fine": 1}, "jwt": "…", "nul": "ab"}
    assert digest(claims) == digest(claims | {"nonce": "other", "iat": 5})
    assert digest(claims) != digest(claims | {"sub": "2"})


@pytest.mark.parametrize(
    ("variables", "claims", "role", "refused"),
    [
        ({}, {}, "pending", ""),
        ({"DEFAULT_USER_ROLE": "user"}, {}, "user", ""),
        ({"ENABLE_OAUTH_ROLE_MANAGEMENT": "true"}, {"roles": ["user"]}, "user", ""),
        ({"ENABLE_OAUTH_ROLE_MANAGEMENT": "true"}, {"roles": ["user", "admin"]}, "admin", ""),
        ({"ENABLE_OAUTH_ROLE_MANAGEMENT": "true"}, {"roles": "admin"}, "admin", ""),
        ({"ENABLE_OAUTH_ROLE_MANAGEMENT": "true"}, {"roles": ["guest"]}, None, "None of your roles"),
        ({"ENABLE_OAUTH_ROLE_MANAGEMENT": "true"}, {}, None, "None of your roles"),
        ({"ENABLE_OAUTH_ROLE_MANAGEMENT": "true", "OAUTH_ALLOWED_ROLES": "*"}, {}, "user", ""),
        (
            {
                "ENABLE_OAUTH_ROLE_MANAGEMENT": "true", "OAUTH_ROLES_CLAIM": "realm_access.roles",
                "OAUTH_ADMIN_ROLES": "boss, root",
            },
            {"realm_access": {"roles": ["root"]}}, "admin", "",
        ),
    ],
)  # fmt: skip
def test_roles_of_who_has_no_account_yet(
    variables: dict[str, str], claims: Any, role: str | None, refused: str
) -> None:
    verdict = judged(claims, **variables)
    assert (verdict.role, verdict.action) == (role, "refuse" if refused else "sign_up")
    assert verdict.reason.startswith(refused)
    assert all(step.outcome for step in verdict.steps)


def test_nobody_demotes_the_first_administrator_and_the_first_is_one() -> None:
    maps = {"ENABLE_OAUTH_ROLE_MANAGEMENT": "true"}
    linked = {"account": "linked", "role": "admin"}
    assert judged({"roles": ["user"]}, linked, **maps).role == "user"
    assert judged({"roles": ["user"]}, linked | {"is_primary": True}, **maps).role is None
    assert judged({"roles": ["user"]}, {"is_first": True}, **maps).role == "admin"
    assert judged({"roles": ["guest"]}, {"is_first": True}, **maps).action == "refuse"
    assert judged({}, linked).role is None


@pytest.mark.parametrize(
    ("claims", "of", "facts", "action"),
    [
        ({}, "oidc", {}, "merge"),
        ({"email_verified": "true"}, "oidc", {}, "merge"),
        ({"email_verified": False}, "oidc", {}, "refuse"),
        ({"email_verified": None}, "oidc", {}, "refuse"),
        ({"email_verified": "maybe"}, "oidc", {}, "refuse"),
        # Whoever has a tenant of Microsoft's writes any address into it.
        ({}, "microsoft", {}, "refuse"),
        ({"xms_edov": True}, "microsoft", {}, "merge"),
        ({}, "oidc", {"is_active": False}, "refuse"),
        ({}, "oidc", {"role": "admin"}, "refuse"),
        ({}, "oidc", {"is_primary": True, "role": "admin"}, "refuse"),
    ],
)
def test_accounts_are_joined_by_verified_addresses_only(claims: Any, of: str, facts: Any, action: str) -> None:
    found = {"account": "by_email", "role": "user"} | facts
    assert judged(claims, found, of, OAUTH_MERGE_ACCOUNTS_BY_EMAIL="true").action == action
    assert judged(claims, found, of).action == "refuse"


@pytest.mark.parametrize(
    ("claims", "of", "let_in"),
    [
        ({}, "oidc", True),
        ({"email": "ann@EXAMPLE.com"}, "oidc", True),
        ({"email": "ann@sub.example.com"}, "oidc", False),
        ({"email": "ann@example.com.evil.net"}, "oidc", False),
        ({"email_verified": False}, "oidc", False),
        ({"email_verified": None}, "oidc", True),
        ({}, "microsoft", False),
        ({"xms_edov": 1}, "microsoft", True),
        ({}, "google", False),
        ({"hd": "example.com"}, "google", True),
        ({"hd": "other.com"}, "google", False),
    ],
)
def test_domains(claims: Any, of: str, let_in: bool) -> None:
    given = {"OAUTH_ALLOWED_DOMAINS": "other.org, @example.com"}
    assert (judged(claims, None, of, **given).action == "sign_up") is let_in
    assert (judged(claims, {"account": "linked"}, of, **given).action == "sign_in") is let_in
    # Who is let in already adds what they like.
    assert judged(claims, {"linking": True}, of, **given).action == "link"


@pytest.mark.parametrize(
    "email", [None, "", "x", "a@b", 5, ["a@example.com"], "a@example.com\u202e", f"{'a' * 400}@example.com"]
)
def test_an_account_needs_an_address(email: Any) -> None:
    assert "no e-mail" in judged({"email": email}).reason
    assert judged({"email": email}, {"account": "linked"}).action == "sign_in"


@pytest.mark.parametrize("subject", [None, "", 5.5, True, ["1"], "x" * 300, "a\x00b", "a\nb"])
def test_whoever_is_nobody_is_refused(subject: Any) -> None:
    assert judged({"sub": subject}).action == "refuse"
    assert judged({"sub": subject, "employee": 12}, OAUTH_SUB_CLAIM="employee").subject == "12"


def test_names_are_texts_of_one_line() -> None:
    assert judged({"name": "A\nn\x00n "}).name == "Ann"
    assert judged({"name": 5}).name == "ann"
    assert len(judged({"name": "x" * 10_000}).name) <= 200
    assert judged({"nick": "Nick"}, OAUTH_USERNAME_CLAIM="nick").name == "Nick"


def test_groups() -> None:
    maps = {"ENABLE_OAUTH_GROUP_MANAGEMENT": "true"}
    facts = {
        "account": "linked", "groups": frozenset({"a", "b", "staff-x", "own"}), "member_of": frozenset({"b", "staff-x"}),
    }  # fmt: skip
    assert judged({"groups": ["a"]}, facts).join == []
    found = judged({"groups": ["a", "new", "a"]}, facts, **maps)
    assert (found.join, found.leave, found.make) == (["a"], ["b", "staff-x"], [])
    assert any("not here, and not made: new" in step.outcome for step in found.steps)
    found = judged({"groups": "a,new"}, facts, **maps, ENABLE_OAUTH_GROUP_CREATION="true")
    assert (found.join, found.make) == (["a", "new"], ["new"])
    found = judged({"groups": ["a", "staff-y"]}, facts, **maps, OAUTH_BLOCKED_GROUPS='["staff-*"]')
    assert (found.join, found.leave) == (["a"], ["b"])
    # There are none where providers leave the claim out, but not where they say that it is elsewhere.
    assert judged({}, facts, **maps).leave == ["b", "staff-x"]
    for elsewhere in ({"_claim_names": {"groups": "src1"}}, {"hasgroups": True}):
        assert overflows(elsewhere, "groups")
        assert judged(elsewhere, facts, **maps).leave == []


def test_patterns_take_no_time_whatever_they_are() -> None:
    maps = {"ENABLE_OAUTH_GROUP_MANAGEMENT": "true", "OAUTH_BLOCKED_GROUPS": '["' + "*a" * 40 + '*b"]'}
    judged({"groups": ["a" * 200] * 500}, {"account": "linked"}, **maps)
    assert blocked("x, y-*") == ("x", "y-*")
    assert blocked("[1, null]") == blocked("5") == blocked("") == ()


def test_which_providers_there_are() -> None:
    one = {"GOOGLE_CLIENT_ID": "g", "GOOGLE_CLIENT_SECRET": "s", "GITHUB_CLIENT_ID": "h", "GITHUB_CLIENT_SECRET": "s"}
    more = {
        "OPENID_PROVIDER_URL": "https://i.example/",
        "OAUTH_CLIENT_ID": "c",
        "FEISHU_CLIENT_ID": "f",
        "MICROSOFT_CLIENT_ID": "m",
    }
    found = providers(Config(one | more | {"MICROSOFT_CLIENT_SECRET": "s", "OAUTH_TIMEOUT": "7"}))
    assert list(found) == ["google", "microsoft", "github", "oidc"]
    assert found["oidc"].discovery == "https://i.example/.well-known/openid-configuration"
    assert found["microsoft"].discovery.startswith("https://login.microsoftonline.com/common/v2.0/.well-known/")
    assert found["microsoft"].anybody
    assert found["google"].seconds == 7
    assert "client_secret" not in str(list(found))
    assert providers(Config(one | {"ENABLE_OAUTH": "false"})) == {}
    assert isinstance(rules(Config({})), Rules)
