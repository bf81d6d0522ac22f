"""What each kind of caller gets from every route about accounts, people and groups."""

import re
from typing import Any

import httpx
import pytest

from tests.support.live import Actor, Live

P, A = "/api/v1/", "/api/v1/auths/"
# method, path, body: statuses for nobody, somebody pending, a user (asking about another), an admin.
ROWS: list[tuple[str, str, Any, int, int, int, int]] = [
    ("GET", f"{A}", None, 401, 200, 200, 200),
    ("POST", f"{A}signup", {}, 422, 422, 422, 422),
    ("POST", f"{A}signin", {}, 422, 422, 422, 422),
    ("POST", f"{A}add", {}, 401, 401, 401, 422),
    ("POST", f"{A}update/profile", {}, 401, 401, 422, 422),
    ("POST", f"{A}update/timezone", {}, 401, 422, 422, 422),
    ("POST", f"{A}update/password", {}, 401, 422, 422, 422),
    ("GET", f"{A}api_key", None, 401, 404, 404, 404),
    ("POST", f"{A}api_key", None, 401, 403, 403, 403),
    ("DELETE", f"{A}api_key", None, 401, 200, 200, 200),
    ("GET", f"{A}mfa/status", None, 401, 200, 200, 200),
    ("POST", f"{A}mfa/challenge", None, 403, 403, 403, 403),
    ("POST", f"{A}mfa/enroll/start", {}, 422, 422, 422, 422),
    ("POST", f"{A}mfa/enroll/confirm", {}, 422, 422, 422, 422),
    ("POST", f"{A}mfa/verify", {}, 422, 422, 422, 422),
    ("POST", f"{A}mfa/recover", {}, 422, 422, 422, 422),
    ("POST", f"{A}mfa/replace", {}, 401, 422, 422, 422),
    ("POST", f"{A}mfa/recovery/codes", {}, 401, 422, 422, 422),
    ("POST", f"{A}mfa/passkey/start", {}, 422, 422, 422, 422),
    ("POST", f"{A}mfa/passkey/verify", {}, 422, 422, 422, 422),
    ("POST", f"{A}mfa/passkey/enroll", {}, 422, 422, 422, 422),
    ("GET", f"{A}passkeys", None, 401, 200, 200, 200),
    ("POST", f"{A}passkeys/register/start", None, 401, 400, 400, 400),
    ("POST", f"{A}passkeys/register", {}, 401, 422, 422, 422),
    ("POST", f"{A}passkeys/recovery/codes", None, 401, 403, 403, 403),
    ("POST", f"{A}passkeys/none", {"name": "x"}, 401, 404, 404, 404),
    ("DELETE", f"{A}passkeys/none", None, 401, 404, 404, 404),
    ("POST", f"{A}passkeys/signin/start", None, 400, 400, 400, 400),
    ("POST", f"{A}passkeys/signin/verify", {}, 422, 422, 422, 422),
    ("POST", f"{A}proof/start", None, 401, 200, 200, 200),
    ("POST", f"{A}proof", {}, 401, 422, 422, 422),
    ("GET", f"{A}admin/details", None, 401, 200, 200, 200),
    ("GET", f"{A}admin/config", None, 401, 401, 401, 200),
    ("POST", f"{A}admin/config", {}, 401, 401, 401, 422),
    ("GET", f"{A}admin/config/ldap", None, 401, 401, 401, 200),
    ("GET", f"{A}admin/config/ldap/server", None, 401, 401, 401, 200),
    ("POST", f"{A}admin/config/ldap", {}, 401, 401, 401, 200),
    ("POST", f"{A}admin/config/ldap/server", {}, 401, 401, 401, 422),
    ("POST", f"{A}ldap", {"user": "ann", "password": "x"}, 400, 400, 400, 400),
    ("POST", f"{A}ldap/link", {"user": "ann", "password": "x"}, 401, 400, 400, 400),
    ("GET", f"{A}admin/config/oauth", None, 401, 401, 401, 200),
    ("POST", f"{A}admin/config/oauth", {}, 401, 401, 401, 200),
    ("GET", f"{A}admin/sign-ins", None, 401, 401, 401, 200),
    ("POST", f"{A}admin/sign-ins/explain", {}, 401, 401, 401, 400),
    ("GET", f"{A}identities", None, 401, 200, 200, 200),
    ("POST", f"{A}identities/none/link", None, 401, 404, 404, 404),
    ("DELETE", f"{A}identities/none", None, 401, 404, 404, 404),
    ("GET", f"{A}keys", None, 401, 200, 200, 200),
    ("POST", f"{A}keys", {}, 401, 422, 422, 422),
    ("POST", f"{A}keys/none/rotate", {}, 401, 403, 403, 403),
    ("POST", f"{A}keys/none/budget", {"budget_id": None}, 401, 404, 404, 404),
    ("GET", f"{A}budgets", None, 401, 200, 200, 200),
    ("POST", f"{A}budgets", {}, 401, 422, 422, 422),
    ("POST", f"{A}budgets/server", {}, 401, 401, 401, 422),
    ("POST", f"{A}budgets/none", {"name": "x"}, 401, 404, 404, 404),
    ("DELETE", f"{A}budgets/none", None, 401, 404, 404, 404),
    ("POST", f"{A}budgets/accounts/nope", {"budget_id": None}, 401, 401, 401, 404),
    ("DELETE", f"{A}keys/none", None, 401, 404, 404, 404),
    ("GET", f"{A}service-accounts", None, 401, 401, 401, 200),
    ("POST", f"{A}service-accounts", {}, 401, 401, 401, 422),
    ("GET", f"{A}service-accounts/OTHER/keys", None, 401, 401, 401, 404),
    ("POST", f"{A}service-accounts/OTHER/keys", {}, 401, 401, 401, 422),
    ("GET", f"{P}role-sets", None, 401, 401, 401, 200),
    ("GET", f"{P}role-sets/own", None, 401, 401, 200, 200),
    ("POST", f"{P}role-sets", {}, 401, 401, 401, 422),
    ("POST", f"{P}role-sets/none", {}, 401, 401, 401, 422),
    ("DELETE", f"{P}role-sets/none", None, 401, 401, 401, 404),
    ("GET", f"{P}delegated/people", None, 401, 401, 401, 200),
    ("POST", f"{P}delegated/people/nope/hold", None, 401, 401, 401, 404),
    ("POST", f"{P}delegated/people/nope/activate", None, 401, 401, 401, 404),
    ("POST", f"{P}delegated/people/nope/factors/reset", None, 401, 401, 401, 404),
    ("POST", f"{P}delegated/groups/nope/people/nope", None, 401, 401, 401, 404),
    ("DELETE", f"{P}delegated/groups/nope/people/nope", None, 401, 401, 401, 404),
    ("GET", f"{P}groups/sharing", None, 401, 401, 401, 200),
    ("POST", f"{P}groups/id/nope/sharing", {"share_with": None}, 401, 401, 401, 404),
    ("GET", f"{A}sessions", None, 401, 200, 200, 200),
    ("DELETE", f"{A}sessions/none", None, 401, 404, 404, 404),
    ("DELETE", f"{A}oauth/sessions/none", None, 401, 401, 404, 404),
    ("GET", f"{P}users/", None, 401, 401, 401, 200),
    ("GET", f"{P}users/all", None, 401, 401, 401, 200),
    ("GET", f"{P}users/search", None, 401, 401, 200, 200),
    ("GET", f"{P}users/groups", None, 401, 401, 200, 200),
    ("GET", f"{P}users/permissions", None, 401, 401, 200, 200),
    ("GET", f"{P}users/default/permissions", None, 401, 401, 401, 200),
    ("POST", f"{P}users/default/permissions", {}, 401, 401, 401, 422),
    ("GET", f"{P}users/default/permissions/defaults", None, 401, 401, 401, 200),
    ("GET", f"{P}users/user/settings", None, 401, 401, 200, 200),
    ("POST", f"{P}users/user/settings/update", {}, 401, 401, 200, 200),
    ("GET", f"{P}users/user/status", None, 401, 401, 200, 200),
    ("POST", f"{P}users/user/status/update", {}, 401, 401, 200, 200),
    ("GET", f"{P}users/user/info", None, 401, 401, 200, 200),
    ("POST", f"{P}users/user/info/update", {}, 401, 401, 200, 200),
    ("GET", f"{P}users/user/variables", None, 401, 401, 200, 200),
    ("POST", f"{P}users/user/variables/update", {}, 401, 401, 200, 200),
    ("GET", f"{P}users/usage", None, 401, 401, 200, 200),
    ("GET", f"{P}users/user/export", None, 401, 401, 200, 200),
    ("GET", f"{P}users/OTHER", None, 401, 401, 401, 200),
    ("GET", f"{P}users/OTHER/info", None, 401, 401, 200, 200),
    ("GET", f"{P}users/OTHER/active", None, 401, 401, 200, 200),
    ("GET", f"{P}users/OTHER/groups", None, 401, 401, 401, 200),
    ("GET", f"{P}users/OTHER/oauth/sessions", None, 401, 401, 401, 400),
    ("GET", f"{P}users/OTHER/sessions", None, 401, 401, 401, 200),
    ("DELETE", f"{P}users/OTHER/sessions/none", None, 401, 401, 401, 404),
    ("GET", f"{P}users/OTHER/preview", None, 401, 401, 401, 200),
    ("GET", f"{P}users/OTHER/profile/image", None, 401, 401, 200, 200),
    ("POST", f"{P}users/OTHER/update", {"role": "user"}, 401, 401, 401, 200),
    ("POST", f"{P}users/OTHER/sessions/revoke", None, 401, 401, 401, 200),
    ("POST", f"{P}users/OTHER/mfa/reset", None, 401, 401, 401, 200),
    ("GET", f"{P}users/nope", None, 401, 401, 401, 400),
    ("GET", f"{P}users/nope/info", None, 401, 401, 400, 400),
    ("GET", f"{P}users/nope/active", None, 401, 401, 200, 200),
    ("GET", f"{P}users/nope/groups", None, 401, 401, 401, 200),
    ("GET", f"{P}users/nope/preview", None, 401, 401, 401, 404),
    ("GET", f"{P}users/nope/profile/image", None, 401, 401, 400, 400),
    ("POST", f"{P}users/nope/update", {}, 401, 401, 401, 400),
    ("POST", f"{P}users/nope/sessions/revoke", None, 401, 401, 401, 400),
    ("POST", f"{P}users/nope/mfa/reset", None, 401, 401, 401, 400),
    ("DELETE", f"{P}users/nope", None, 401, 401, 401, 200),
    ("GET", f"{P}groups/", None, 401, 401, 200, 200),
    ("POST", f"{P}groups/create", {}, 401, 401, 401, 422),
    ("GET", f"{P}groups/id/nope", None, 401, 401, 401, 404),
    ("GET", f"{P}groups/id/nope/info", None, 401, 401, 404, 404),
    ("GET", f"{P}groups/id/nope/export", None, 401, 401, 401, 404),
    ("GET", f"{P}groups/id/nope/members", None, 401, 401, 401, 404),
    ("GET", f"{P}groups/id/nope/preview", None, 401, 401, 401, 404),
    ("POST", f"{P}groups/id/nope/users", None, 401, 401, 401, 200),
    ("POST", f"{P}groups/id/nope/update", {}, 401, 401, 401, 422),
    ("POST", f"{P}groups/id/nope/users/add", {}, 401, 401, 401, 404),
    ("POST", f"{P}groups/id/nope/users/remove", {}, 401, 401, 401, 404),
    ("DELETE", f"{P}groups/id/nope/delete", None, 401, 401, 401, 404),
    ("DELETE", f"{P}users/OTHER", None, 401, 401, 401, 200),
]
ACTORS = ("nobody", "pending", "user", "admin")


@pytest.mark.parametrize("actor", ACTORS)
async def test_each_caller_gets_what_the_table_says(
    live: Live, client: httpx.AsyncClient, admin: Actor, user: Actor, other: Actor, pending: Actor, actor: str
) -> None:
    client = {"pending": pending.client, "user": user.client, "admin": admin.client}.get(actor, client)
    wrong = []
    for method, path, body, *statuses in ROWS:
        reply = await client.request(method, path.replace("OTHER", other.id), json=body)
        expected = statuses[ACTORS.index(actor)]
        if reply.status_code != expected:
            wrong.append(f"{method} {path}: {reply.status_code}, not {expected}: {reply.text[:200]}")
    assert wrong == []


def test_the_table_knows_every_route() -> None:
    from open_webui.routers import api_keys, auths, directories, groups, identities, own_sessions, users

    ours = (api_keys.router, own_sessions.router, own_sessions.users)
    declared = {
        (
            method,
            re.sub(
                r"\{(provider|identity_id|key_id|session_id)[^}]*\}",
                "none",
                route.path.replace("{user_id}", "OTHER").replace("{group_id}", "nope"),
            ),
        )  # type: ignore[attr-defined]
        for router in (
            auths.router,
            directories.router,
            identities.router,
            identities.users,
            *ours,
            users.router,
            groups.router,
        )
        for route in router.routes
        for method in route.methods  # type: ignore[attr-defined]
    }
    assert declared - {(row[0], row[1]) for row in ROWS} == {
        ("POST", "/api/v1/auths/signout"),
        ("DELETE", "/api/v1/auths/sessions"),
    }
