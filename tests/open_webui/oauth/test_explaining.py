"""Why a sign-in went as it did: what is kept of each, and what would come of pasted claims."""

import pytest

from open_webui.models import sign_ins
from tests.support.fake_oidc import FakeProvider, make, problem, sign_in
from tests.support.live import Actor, Live

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
LIST, EXPLAIN = "/api/v1/auths/admin/sign-ins", "/api/v1/auths/admin/sign-ins/explain"


async def test_what_is_kept_and_what_is_not(
    live: Live, admin: Actor, user: Actor, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = await make(live, provider, sub="eva", secret_note="hidden", groups=["a"])
    provider.person = {"sub": "mal", "email": user.email}
    assert problem(await sign_in(browser))
    refused, allowed = (await admin.client.get(LIST)).json()
    assert (allowed["allowed"], allowed["provider"], allowed["reason"]) == (True, "oidc", "")
    assert (refused["allowed"], refused["user_id"]) == (False, user.id)
    assert "already" in refused["reason"]
    assert {"rule": "DEFAULT_USER_ROLE", "outcome": "the role is pending"} in allowed["steps"]
    assert allowed["claims"]["groups"] == ["a"]
    text = str([refused, allowed])
    for secret in ("hidden", "nonce", "access-", "again", "eyJ", "sid-eva"):
        assert secret not in text, secret
    assert (await admin.client.get(LIST, params={"before": refused["n"]})).json() == [allowed]
    # Only so many are kept.
    monkeypatch.setattr(sign_ins, "KEPT", 3)
    for _ in range(4):
        await sign_in(browser)
    assert len((await admin.client.get(LIST)).json()) == 3
    for path in (LIST, EXPLAIN):
        assert (await user.client.request("GET" if path == LIST else "POST", path, json={})).status_code == 401
    # They go with the account that they are about.
    assert (await admin.client.delete(f"/api/v1/users/{user.id}")).json() is True
    assert all(one["user_id"] != user.id for one in (await admin.client.get(LIST)).json())
    await browser.aclose()


async def test_claims_are_judged_as_a_sign_in_would_be(
    live: Live, admin: Actor, user: Actor, provider: FakeProvider
) -> None:
    async def explained(**form: object) -> tuple[int, dict[str, object]]:
        reply = await admin.client.post(EXPLAIN, json=form)
        return reply.status_code, reply.json()

    status, said = await explained(provider="oidc", claims={"sub": "1", "email": user.email, "email_verified": True})
    assert (status, said["allowed"], said["user_id"]) == (200, False, user.id)
    await admin.client.post("/api/v1/auths/admin/config/oauth", json={"OAUTH_MERGE_ACCOUNTS_BY_EMAIL": True})
    status, said = await explained(provider="oidc", claims={"sub": "1", "email": user.email, "email_verified": True})
    assert (said["action"], said["role"]) == ("merge", "user")
    # Nothing came of it.
    assert (await admin.client.get(LIST)).json() == []
    browser = await make(live, provider, sub="eva")
    number = (await admin.client.get(LIST)).json()[0]["n"]
    status, said = await explained(attempt=number)
    assert (said["action"], said["provider"], said["email"]) == ("sign_in", "oidc", "eva@example.com")
    wrong = (
        {}, {"claims": {}, "attempt": number, "provider": "oidc"}, {"provider": "nope", "claims": {}}, {"attempt": 10**6},
        {"attempt": -1}, {"provider": "oidc", "claims": []},
    )  # fmt: skip
    for form in wrong:
        assert (await explained(**form))[0] in {400, 404, 422}, form
    status, said = await explained(provider="oidc", claims={"sub": {"a": 1}, "email": ["x"], "groups": {"a": [[]]}})
    assert (status, said["action"]) == (200, "refuse")
    await browser.aclose()


async def test_settings(live: Live, admin: Actor, user: Actor) -> None:
    place = "/api/v1/auths/admin/config/oauth"
    shown = (await admin.client.get(place)).json()
    assert shown["OAUTH_ALLOWED_ROLES"] == "user,admin"
    assert shown["ENABLE_OAUTH_PERSISTENT_CONFIG"] is True
    changed = await admin.client.post(
        place, json={"OAUTH_ALLOWED_DOMAINS": " a.example, b.example,", "OAUTH_TIMEOUT": 7}
    )
    assert (changed.json()["OAUTH_ALLOWED_DOMAINS"], changed.json()["OAUTH_TIMEOUT"]) == ("a.example,b.example", "7")
    # A page sends all of it back.
    assert (await admin.client.post(place, json=changed.json())).json() == changed.json()
    bad = {
        "OAUTH_CODE_CHALLENGE_METHOD": "plain", "OAUTH_TOKEN_ENDPOINT_AUTH_METHOD": "x", "OAUTH_TIMEOUT": "soon",
        "OPENID_PROVIDER_URL": "file:///etc", "OPENID_REDIRECT_URI": "x", "OAUTH_BLOCKED_GROUPS": "[1]",
    }  # fmt: skip
    for name, value in bad.items():
        reply = await admin.client.post(place, json={name: value})
        assert (reply.status_code, name in reply.json()["detail"]) == (400, True), name
    assert "environment" in (await admin.client.post(place, json={"OAUTH_CLIENT_ID": "other"})).json()["detail"]
    assert (await user.client.get(place)).status_code == 401
    assert (await user.client.post(place, json={})).status_code == 401
