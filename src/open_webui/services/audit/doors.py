"""Which routes and events are recorded, and what they are called: by their policies, but for a few that stand here."""

import functools
from collections.abc import Collection
from typing import Final

import msgspec

from open_webui.access.policy import Policy

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# Acts that change nothing that is kept: what they ask of models is in the figures of use.
_USES: Final = frozenset({"use", "search", "list"})
_BY_METHOD: Final = {"DELETE": "delete"}

# Requests that are no reads, and change nothing: they check, look, calculate or pass on.
NO_ACTS: Final = frozenset(
    """
    POST /api/v1/apps/manifest/preview
    POST /api/v1/auths/admin/sign-ins/explain
    POST /api/v1/auths/mfa/passkey/start
    POST /api/v1/auths/passkeys/register/start
    POST /api/v1/auths/passkeys/signin/start
    POST /api/v1/auths/proof/start
    POST /api/v1/auths/update/timezone
    POST /api/v1/channels/{id}/members/active
    POST /api/v1/configs/terminal_servers/policy
    POST /api/v1/configs/terminal_servers/refresh
    POST /api/v1/configs/terminal_servers/verify
    POST /api/v1/configs/tool_servers/verify
    POST /api/v1/functions/load/url
    POST /api/v1/groups/id/{group_id}/users
    POST /api/v1/knowledge/external/connections/{id}/retrieve-test
    POST /api/v1/knowledge/external/connections/{id}/test
    POST /api/v1/knowledge/external/source/test
    POST /api/v1/mcp/complete
    POST /api/v1/mcp/prompts/get
    POST /api/v1/plugins/check
    POST /api/v1/retrieval/process/text
    POST /api/v1/retrieval/process/url
    POST /api/v1/retrieval/process/web
    POST /api/v1/retrieval/process/web/search
    POST /api/v1/retrieval/process/youtube
    POST /api/v1/scim/v2/.search
    POST /api/v1/scim/v2/Groups/.search
    POST /api/v1/scim/v2/Users/.search
    POST /api/v1/skills/import/preview
    POST /api/v1/skills/load/url
    POST /api/v1/tools/load/url
    POST /api/v1/utils/code/format
    POST /mcp
    DELETE /mcp
    POST /ollama/verify
    POST /openai/verify
    POST /openai/{path:path}
    """.strip()
    .replace("    ", "")
    .splitlines()
)
# What people keep of their own look of the page, many times a day. What others see of them is recorded.
NO_ACTS_OF_ONES_OWN: Final = frozenset(
    """
    POST /api/v1/users/user/info/update
    POST /api/v1/users/user/settings/update
    POST /api/v1/users/user/status/update
    """.strip()
    .replace("    ", "")
    .splitlines()
)
# Reads that are recorded whoever makes them, by what they are.
READS: Final = {
    "GET /api/v1/audit/export": "export",
    "GET /api/v1/auths/api_key": "reveal",
    "GET /api/v1/chats/all": "export",
    "GET /api/v1/chats/all/archived": "export",
    "GET /api/v1/chats/all/db": "export",
    "GET /api/v1/configs/export": "export",
    "GET /api/v1/evaluations/feedbacks/all/export": "export",
    "GET /api/v1/functions/export": "export",
    "GET /api/v1/groups/id/{group_id}/export": "export",
    "GET /api/v1/knowledge/{id}/export": "export",
    "GET /api/v1/models/export": "export",
    "GET /api/v1/skills/export": "export",
    "GET /api/v1/tools/export": "export",
    "GET /api/v1/users/user/export": "export",
    "GET /api/v1/utils/db/download": "export",
    # What administrators configure has keys in it, which the page shows.
    "GET /api/v1/configs/terminal_servers": "reveal",
    "GET /api/v1/configs/tool_servers": "reveal",
    "GET /ollama/config": "reveal",
    "GET /openai/config": "reveal",
}
# Where somebody signs in: who it is, is known at the end only. A refusal of a POST here is an attempt.
SIGN_INS: Final = {
    "POST /api/v1/auths/signin": "sign-in",
    "POST /api/v1/auths/ldap": "sign-in",
    "POST /api/v1/auths/oauth/{provider}/token/exchange": "sign-in",
    "GET /oauth/{provider}/callback": "sign-in",
    "GET /oauth/{provider}/login/callback": "sign-in",
    "POST /api/v1/auths/mfa/verify": "sign-in",
    "POST /api/v1/auths/mfa/enroll/confirm": "sign-in",
    "POST /api/v1/auths/mfa/recover": "sign-in",
    "POST /api/v1/auths/mfa/passkey/verify": "sign-in",
    "POST /api/v1/auths/mfa/passkey/enroll": "sign-in",
    "POST /api/v1/auths/passkeys/signin/verify": "sign-in",
    "POST /api/v1/auths/signup": "sign-up",
    "POST /api/v1/auths/signout": "sign-out",
}


class Door(msgspec.Struct, frozen=True, kw_only=True):
    """What the record knows of a route or event before anybody comes through.

    what: method and path, or the event. area: the tag of the route, where its policy names no resource. is_act: it is
    recorded; is_late: at its end only. is_guarded: so is a refusal. via: the way,
    where there is one only. is_sign_in: a refusal is an attempt.
    """

    what: str
    action: str
    resource: str = ""
    area: str = ""
    via: str = ""
    is_act: bool
    is_late: bool = False
    is_guarded: bool
    is_sign_in: bool = False


def door_of(policy: Policy, method: str, path: str, area: str) -> Door:
    """The door that a route is."""
    what = f"{method} {path}"
    sign_in = SIGN_INS.get(what)
    is_read = method in SAFE
    action = sign_in or READS.get(what) or policy.action or ("read" if is_read else _BY_METHOD.get(method, "write"))
    is_act = what in READS or (
        not is_read and policy.action not in _USES and what not in NO_ACTS and what not in NO_ACTS_OF_ONES_OWN
    )
    return Door(
        what=what,
        action=action,
        resource=policy.resource or "",
        area=area,
        via="scim" if policy.level == "scim" else "",
        is_act=is_act or sign_in is not None,
        is_late=sign_in is not None,
        is_guarded=is_act or policy.level in {"admin", "scim"},
        is_sign_in=sign_in is not None and not is_read,
    )


def doors_of(policy: Policy, methods: Collection[str], path: str, area: str) -> dict[str, Door]:
    """The doors of a route, by method."""
    return {method: door_of(policy, method, path, area) for method in methods}


@functools.cache
def event_door(policy: Policy, name: str) -> Door:
    """The door that a socket event is: what its policy calls a write is one."""
    is_act = policy.action in {"write", "create", "delete", "share"}
    return Door(
        what=f"event {name}",
        action=policy.action or "read",
        resource=policy.resource or "",
        is_act=is_act,
        is_guarded=False,
    )
