"""/openapi.json: a valid document that leaves nothing out, and what the server really answers is what it says."""

import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final, NoReturn

import httpx
import jsonschema_rs
import openapi_spec_validator
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Match

from open_webui.access.policy import policy_of
from open_webui.env import Settings
from open_webui.main import create_app
from open_webui.openapi import JSON, SCIM_JSON, TAGS, described, document, operation_id
from open_webui.printing import Declared, declared
from tests.security import matrix
from tests.security.matrix import Case, World
from tests.security.matrix_doors import DOORS
from tests.support.live import Live
from tests.support.upstream import Upstream

BAD: Final = {"messages": "no list"}
SAY: Final = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}
ASK: Final = SAY | {"prompt": "hi", "input": "x", "responses": ["a", "b"]}
TOOL_SERVER = {
    "url": "http://localhost", "path": "", "auth_type": "none", "key": "", "config": {}, "spec_type": "json",
    "spec": {"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": {}},
}  # fmt: skip
NO_SUMMARIES: Final = {"ENABLE_CONTEXT_COMPACTION": False, "CONTEXT_COMPACTION_PROMPT_TEMPLATE": ""}
NAMED: Final = {"model": "fixed", "source": "fixed", "destination": "other"}
PERSON: Final = {"name": "New One", "email": "new.one@example.com", "password": "correct horse battery"}
BANNER: Final = {"id": "b", "type": "info", "content": "Hello", "dismissible": True, "timestamp": 1}
# Calls that tests/security/matrix_doors.py doesn't know, since nobody's things are in them: operations that need more than
# their address, with a body. "=" stands for what a GET of the same address, or of the one given, answers.
CALLS: Final[list[tuple[str, str, Any]]] = [
    ("POST", "/api/chat/completions", SAY | {"stream": False}),
    ("POST", "/api/chat/completions", SAY | {"stream": True}),
    ("POST", "/api/chat/completions", {"messages": BAD}),
    ("POST", "/openai/chat/completions", SAY | {"stream": True}),
    ("POST", "/ollama/v1/chat/completions", SAY),
    ("POST", "/ollama/v1/chat/completions/0", SAY | {"model": "oll.fixed:latest"}),
    *(("POST", f"/ollama/v1/{wire}", ASK | {"model": "oll.fixed:latest"}) for wire in ("completions", "messages", "responses")),
    ("POST", "/ollama/v1/completions/0", {"model": "oll.fixed:latest", "prompt": "hi", "stream": True}),
    ("POST", "/ollama/v1/messages/0", SAY | {"model": "oll.fixed:latest", "stream": True}),
    ("POST", "/ollama/v1/responses/0", {"model": "oll.fixed:latest", "input": "hi", "stream": True}),
    ("POST", "/api/v1/messages", SAY | {"max_tokens": 9}),
    ("POST", "/api/message", SAY | {"max_tokens": 9, "stream": True}),
    ("POST", "/api/v1/messages", SAY),
    ("POST", "/api/v1/messages/count_tokens", SAY),
    ("POST", "/api/message/count_tokens", SAY),
    ("GET", "/api/v1/utils/gravatar?email=a@b.co", None),
    ("POST", "/api/v1/models/sync", {"models": []}),
    ("POST", "/ollama/api/chat", SAY | {"stream": False}),
    ("POST", "/ollama/api/chat", SAY),
    ("POST", "/ollama/api/generate", {"model": "echo", "prompt": "hi"}),
    ("POST", "/api/models/unload", {"model": "oll.fixed:latest"}),
    ("POST", "/ollama/api/unload", {"model": "oll.fixed:latest"}),
    ("POST", "/api/v1/auths/signup", {"name": "x"}),
    ("POST", "/api/v1/auths/signup", PERSON),
    ("POST", "/api/v1/auths/signin", PERSON),
    ("POST", "/api/v1/auths/signin", PERSON | {"password": "wrong"}),
    ("POST", "/api/v1/auths/update/profile", {"name": "Admin One", "profile_image_url": ""}),
    ("POST", "/api/v1/auths/update/timezone", {"timezone": "Europe/Paris"}),
    ("POST", "/api/v1/auths/proof/start", None),
    ("POST", "/api/v1/auths/admin/config", "="),
    ("POST", "/api/v1/auths/admin/config/oauth", "="),
    ("POST", "/api/v1/auths/admin/config/ldap", {"enable_ldap": False}),
    ("POST", "/api/v1/auths/admin/config/ldap/server", "="),
    ("POST", "/api/v1/users/default/permissions", "="),
    ("POST", "/api/v1/users/user/settings/update", {"ui": {"theme": "dark"}}),
    ("POST", "/api/v1/users/user/info/update", {"a": 1}),
    ("POST", "/api/v1/users/user/variables/update", {"variables": {"city": "Rome"}}),
    ("POST", "/api/v1/users/user/status/update", {"status_message": "away"}),
    ("POST", "/api/v1/chats/config", NO_SUMMARIES),
    ("POST", "/api/v1/configs/import", {"config": {}}),
    ("POST", "/api/v1/configs/connections", "="),
    ("POST", "/api/v1/configs/models", "="),
    ("POST", "/api/v1/configs/banners", {"banners": [BANNER]}),
    ("POST", "/api/v1/configs/suggestions", {"suggestions": [{"title": ["a", "b"], "content": "c"}]}),
    ("POST", "/api/v1/configs/interface/visibility", {"visibility": {"a": True}}),
    ("POST", "/api/v1/configs/tool_servers", "="),
    ("POST", "/api/v1/configs/tool_servers/verify", TOOL_SERVER),
    ("POST", "/api/v1/retrieval/config/update", "=/api/v1/retrieval/config"),
    ("POST", "/api/v1/retrieval/embedding/update", "=/api/v1/retrieval/embedding"),
    ("POST", "/api/v1/images/config/update", "=/api/v1/images/config"),
    ("POST", "/api/v1/configs/terminal_servers", "="),
    ("POST", "/api/v1/configs/code_execution", "="),
    ("POST", "/api/v1/configs/subagents", "="),
    ("POST", "/api/v1/audio/config/update", "=/api/v1/audio/config"),
    ("POST", "/api/v1/audio/speech", {"input": "Hi"}),
    ("POST", "/openai/audio/speech", {"input": "Hi"}),
    ("POST", "/api/v1/tasks/config/update", "=/api/v1/tasks/config"),
    ("POST", "/openai/config/update", "=/openai/config"),
    ("POST", "/ollama/config/update", "=/ollama/config"),
    ("POST", "/openai/verify", {"url": "$openai", "key": ""}),
    ("POST", "/api/v1/evaluations/config", "="),
    ("GET", "/api/v1/analytics/messages?model_id=echo", None),
    ("GET", "/api/v1/analytics/daily?compare=true&start_date=1794580894&end_date=1794667294", None),
    ("DELETE", "/api/v1/evaluations/feedbacks/all", None),
    ("POST", "/ollama/verify", {"url": "$ollama"}),
    ("POST", "/api/v1/retrieval/process/text", {"name": "n", "content": "Some words."}),
    ("POST", "/api/v1/knowledge/reindex", None),
    ("POST", "/api/v1/knowledge/metadata/reindex", None),
    ("POST", "/api/v1/memories/reindex", None),
    ("GET", "/api/v1/notifications/events", None),
    ("POST", "/api/events/webhooks", {"url": "https://example.com/hook", "enabled": False}),
    ("POST", "/api/v1/retrieval/reset/db", None),
    ("POST", "/api/v1/retrieval/reset/uploads", None),
    ("POST", "/api/v1/plugins/check", {"content": "class Pipe: ..."}),
    ("GET", "/api/v1/plugins/events", None),
    ("GET", "/api/v1/mcp/prompts", None),
    ("GET", "/api/v1/mcp/resources", None),
    ("POST", "/api/v1/utils/code/format", {"code": "x = 1"}),
    ("POST", "/api/v1/utils/code/execute", {"code": "1"}),
    ("POST", "/api/v1/auths/api_key", None),
    ("GET", "/api/v1/auths/api_key", None),
    ("DELETE", "/api/v1/auths/api_key", None),
    ("GET", "/api/v1/auths/keys", None),
    ("POST", "/api/v1/auths/keys", {"name": "a program", "scopes": ["notes"]}),
    ("GET", "/api/v1/auths/service-accounts", None),
    ("POST", "/api/v1/auths/budgets", {"name": "Small", "requests_a_day": 5}),
    ("POST", "/api/v1/auths/budgets/server", {"name": "Large"}),
    ("GET", "/api/v1/auths/budgets", None),
    ("POST", "/api/v1/role-sets", {"name": "Readers", "rights": ["audit.read"]}),
    ("POST", "/api/v1/auths/service-accounts", {"name": "Nightly"}),
    ("GET", "/api/v1/auths/sessions", None),
    ("POST", "/api/tasks/stop/nothing", None),
    *((("DELETE" if name in {"delete", "push"} else "POST"), f"/ollama/api/{name}{place}", NAMED)
      for name in ("pull", "create", "push", "copy", "delete") for place in ("", "/0")),
    ("HEAD", "/ollama/", None),
    ("DELETE", "/api/v1/models/delete/all", None),
    ("POST", "/api/v1/auths/update/password", {"password": "correct horse battery", "new_password": "a better horse"}),
    ("POST", "/api/v1/auths/signout", None),
]  # fmt: skip
# Objects whose fields are not the server's to say, with the reason.
FREE: Final = {
    **dict.fromkeys(
        (
            "GET /api/v1/pipelines/{pipeline_id}/valves",
            "GET /api/v1/pipelines/{pipeline_id}/valves/spec",
            "POST /api/v1/pipelines/{pipeline_id}/valves/update",
            "POST /api/v1/pipelines/add",
            "POST /api/v1/pipelines/upload",
            "DELETE /api/v1/pipelines/delete",
        ),
        "what a pipelines server answers is its own",
    ),
    "GET /api/v1/channels/{id}/messages/{message_id}/data": "what is with a message is what its page put there",
    **dict.fromkeys(
        (f"POST /api/v1/configs/terminal_servers/{door}" for door in ("verify", "policy", "lifecycle", "refresh")),
        "what a terminal server answers is its own",
    ),
    "POST /api/v1/configs/tool_servers/verify": "the server's own document",
    **dict.fromkeys(
        (
            f"POST /ollama/v1/{wire}{at}"
            for wire in ("completions", "messages", "responses")
            for at in ("", "/{url_idx}")
        ),
        "what an Ollama server answers in these forms is its own",
    ),
    "GET /api/changelog": "there is nothing in it",
    "POST /api/chat/completed": "what was sent comes back",
    "POST /api/chat/actions/{action_id}": "what an action answers is the plugin's",
    "PATCH /api/v1/chats/{id}/params": "parameters are the provider's",
    "POST /api/v1/users/user/info/update": "what a page keeps is its own",
    "GET /api/v1/users/user/info": "what a page keeps is its own",
    "GET /api/v1/configs/export": "a file for this server's import: every setting by its key",
    "POST /api/v1/configs/import": "the same",
    "GET /api/v1/configs/namespace/{namespace}": "the same, in part",
    **dict.fromkeys(
        (
            f"{verb} /api/v1/{kind}/id/{{id}}/valves{rest}"
            for kind in ("tools", "functions")
            for verb, rest in (
                ("GET", ""),
                ("GET", "/spec"),
                ("POST", "/update"),
                ("GET", "/user"),
                ("GET", "/user/spec"),
                ("POST", "/user/update"),
            )
        ),
        "what can be set of a plugin is the plugin's",
    ),
}
# By what people and their programs are known.
PEOPLES: Final = {"bearer", "key"}
# Operations of which no success was seen here, with the reason.
UNSEEN: Final = {
    **dict.fromkeys(
        (
            *(f"{method} /api/v1/auths/budgets/{{budget_id}}" for method in ("POST", "DELETE")),
            "POST /api/v1/auths/budgets/accounts/{user_id}",
        ),
        "their ids are not known here: tests/open_webui/accounts/test_budgets.py knows them",
    ),
    **dict.fromkeys(
        (
            *(f"{method} /api/v1/role-sets/{{role_set_id}}" for method in ("POST", "DELETE")),
            *(f"{method} /api/v1/delegated/groups/{{group_id}}/people/{{user_id}}" for method in ("POST", "DELETE")),
            *(f"POST /api/v1/delegated/people/{{user_id}}/{act}" for act in ("hold", "activate", "factors/reset")),
        ),
        "there is no role set here: tests/open_webui/accounts/test_role_sets.py has some",
    ),
    **dict.fromkeys(
        (
            *(
                f"{verb} /api/v1/scim/v2/{kind}{at}"
                for kind, name in (("Users", "user_id"), ("Groups", "group_id"))
                for verb, at in (
                    ("GET", ""),
                    ("POST", ""),
                    ("POST", "/.search"),
                    *((verb, f"/{{{name}}}") for verb in ("GET", "PUT", "PATCH", "DELETE")),
                )
            ),
            *(f"GET /api/v1/scim/v2/{kind}{at}" for kind in ("ResourceTypes", "Schemas") for at in ("", "/{name}")),
            "GET /api/v1/scim/v2/ServiceProviderConfig",
            "POST /api/v1/scim/v2/.search",
            "POST /api/v1/scim/v2/Bulk",
        ),
        "there is no directory here: tests/open_webui/scim has one",
    ),
    **dict.fromkeys(
        (
            *(
                f"{verb} /api/v1/terminals/{{server_id}}/{of_chat}{{path}}"
                for verb in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
                for of_chat in ("", "chats/{chat_id}/")
            ),
            *(f"POST /api/v1/configs/terminal_servers/{door}" for door in ("verify", "policy", "lifecycle", "refresh")),
        ),
        "there is no terminal server here: tests/open_webui/terminals has one",
    ),
    "POST /api/v1/audio/transcriptions": "nothing listens here: tests/open_webui/audio has what does",
    **dict.fromkeys(
        (
            *(f"GET /api/v1/pipelines/{door}" for door in ("", "{pipeline_id}/valves", "{pipeline_id}/valves/spec")),
            *(f"POST /api/v1/pipelines/{door}" for door in ("add", "upload", "{pipeline_id}/valves/update")),
            "DELETE /api/v1/pipelines/delete",
        ),
        "there is no pipelines server here: tests/open_webui/connections/test_pipelines.py has one",
    ),
    **dict.fromkeys(
        (
            "POST /api/v1/configs/oauth/clients/register",
            "GET /oauth/clients/{client_id}/authorize",
            "GET /oauth/clients/{client_id}/callback",
        ),
        "there is no server to sign in at here: tests/open_webui/tools/test_sign_in.py has one",
    ),
    **dict.fromkeys(
        (
            "GET /oauth/{provider}/login",
            "GET /oauth/{provider}/callback",
            "POST /oauth/backchannel-logout",
            "POST /api/v1/auths/oauth/{provider}/token/exchange",
            "POST /api/v1/auths/identities/{provider}/link",
            "POST /api/v1/auths/admin/sign-ins/explain",
            "DELETE /api/v1/auths/oauth/sessions/{provider}",
            "GET /api/v1/users/{user_id}/oauth/sessions",
        ),
        "there is no provider to sign in by here: tests/open_webui/oauth has one",
    ),
    **dict.fromkeys(
        (
            "GET /api/v1/auths/service-accounts/{user_id}/keys",
            "POST /api/v1/auths/service-accounts/{user_id}/keys",
        ),
        "their ids are not known here: tests/security/test_keys_with_limits.py knows them",
    ),
    **dict.fromkeys(
        (
            *(
                f"POST /api/v1/auths/mfa/{step}"
                for step in ("challenge", "enroll/start", "enroll/confirm", "verify", "recover")
            ),
            *(f"POST /api/v1/auths/mfa/{change}" for change in ("replace", "recovery/codes")),
            *(f"POST /api/v1/auths/mfa/passkey/{step}" for step in ("start", "verify", "enroll")),
            *(
                f"POST /api/v1/auths/passkeys/{what}"
                for what in ("register/start", "register", "recovery/codes", "{passkey_id}")
            ),
            *(f"POST /api/v1/auths/passkeys/signin/{step}" for step in ("start", "verify")),
            "DELETE /api/v1/auths/passkeys/{passkey_id}",
            "POST /api/v1/auths/proof",
        ),
        "nobody is asked for a second factor here: tests/open_webui/factors",
    ),
    "GET /api/v1/users/{user_id}/sessions": "nobody's id is known here: tests/security/test_own_sessions.py knows one",
    **dict.fromkeys(
        (
            "DELETE /api/v1/auths/sessions",
            "DELETE /api/v1/users/{user_id}/sessions/{session_id}",
        ),
        "they end what asks here: tests/security/test_own_sessions.py ends others",
    ),
    **dict.fromkeys(
        ("POST /api/v1/auths/ldap", "POST /api/v1/auths/ldap/link"),
        "there is no directory here: tests/open_webui/ldap has one",
    ),
    **dict.fromkeys(
        (f"POST /api/v1/{kind}/load/url" for kind in ("tools", "functions")),
        "there is no web here: tests/open_webui/plugins/test_fetch.py has one",
    ),
    **dict.fromkeys(
        (f"POST /api/v1/images/{door}" for door in ("generations", "edit", "edits", "verify")),
        "there is no engine of pictures here: tests/open_webui/images plays some",
    ),
    "POST /api/v1/skills/load/url": "there is no web here: tests/open_webui/skills/test_packages.py has one",
    **dict.fromkeys(
        (f"POST /api/v1/retrieval/process/{door}" for door in ("url", "web", "youtube", "web/search")),
        "there is no web here: tests/open_webui/retrieval/test_web_routes.py has one",
    ),
    **dict.fromkeys(
        (
            *(f"{verb} /api/v1/knowledge/external/connections/{{id}}" for verb in ("GET", "PATCH", "DELETE")),
            *(
                f"POST /api/v1/knowledge/external/connections{rest}"
                for rest in ("", "/{id}/test", "/{id}/retrieve-test")
            ),
            *(
                f"POST /api/v1/knowledge/external/{door}"
                for door in ("knowledge/create", "source/create", "source/test")
            ),
            "PATCH /api/v1/knowledge/external/source/{id}",
        ),
        "there is no service of vectors here: tests/open_webui/knowledge/test_external.py has one",
    ),
    **dict.fromkeys(
        (f"POST /api/v1/mcp/{door}" for door in ("prompts/get", "complete", "resources/attach")),
        "there is no MCP server here: tests/open_webui/tools/test_mcp_offers.py has one",
    ),
    **dict.fromkeys(
        (f"{verb} /api/events/webhooks/{{webhook_id}}" for verb in ("PUT", "DELETE")),
        "its id is not known here: tests/open_webui/notifications/test_event_webhooks.py knows one",
    ),
    "POST /api/v1/channels/webhooks/{webhook_id}/{token}": (
        "its token is not known here: tests/open_webui/channels/test_webhooks.py knows one"
    ),
    **dict.fromkeys(
        (
            "POST /api/v1/apps/manifest/preview",
            "DELETE /api/v1/apps/{app_id}",
            *(f"POST /api/v1/apps/{{app_id}}/{door}" for door in ("connect", "interactions")),
        ),
        "no app answers here: tests/open_webui/apps has one",
    ),
    "POST /mcp": "it is off here: tests/open_webui/tools/test_mcp_endpoint.py has it on",
    "POST /api/v1/chats/{id}/messages/{message_id}/resolve": "no call of a tool waits for anybody here",
    "POST /api/v1/llamaforge/models/{name}/cancel": "nothing is going on that could be stopped",
    "POST /api/v1/llamaforge/models/{name}/download": "no model of this test comes from elsewhere",
    "POST /api/v1/llamaforge/models/{name}/load": "the file of the one model here is broken",
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    return create_app(Settings(_env_file=None, env="test", data_dir=tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def described_as(app: FastAPI) -> dict[str, Any]:
    return json.loads(json.dumps(document(app)))


def operations(found: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_it_is_valid(described_as: dict[str, Any]) -> None:
    assert described_as["openapi"].startswith("3.1.")
    openapi_spec_validator.validate(described_as)


def test_every_operation_says_all_there_is_to_say(described_as: dict[str, Any]) -> None:
    wrong = [
        (name, key)
        for name, operation in operations(described_as)
        for key in ("summary", "description", "operationId", "security", "tags", "responses")
        if key not in operation or (not operation[key] and key != "security")
    ]
    assert wrong == []
    summaries = {name: operation["summary"] for name, operation in operations(described_as)}
    assert {n: s for n, s in summaries.items() if not re.fullmatch(r"[A-Z`][^\n]{3,150}", s) or s.endswith(".")} == {}
    ids = Counter(operation["operationId"] for _, operation in operations(described_as))
    assert [name for name, count in ids.items() if count > 1] == []
    used = [operation["tags"] for _, operation in operations(described_as)]
    assert all(len(tags) == 1 for tags in used)
    assert {tag for tags in used for tag in tags} == TAGS.keys()


def test_every_reply_has_a_form(described_as: dict[str, Any]) -> None:
    """A schema that says something, or a media type; operations that answer refusals only say no success."""
    silent, free = [], set()
    for name, operation in operations(described_as):
        success = operation["responses"].get("200")
        if success is None:
            assert "default" in operation["responses"], name
        elif not name.startswith("HEAD "):
            content = success.get("content", {})
            schema = (content.get(JSON) or content.get(SCIM_JSON) or {}).get("schema", {"type": "media"})
            if not content or not schema:
                silent.append(name)
            elif says_nothing(schema):
                free.add(name)
    assert silent == []
    assert free == FREE.keys()


def says_nothing(schema: dict[str, Any]) -> bool:
    """Whether it says no more than that something is an object or a list."""
    if "anyOf" in schema:
        return any(says_nothing(part) for part in schema["anyOf"])
    return schema in ({"type": "object"}, {"type": "array"}, {"type": "array", "items": {}})


def test_every_body_that_is_read_is_described(app: FastAPI, described_as: dict[str, Any]) -> None:
    takes = {"json_object", "read_body", "_ollama", "_passed"}
    wrong = []
    for route, method in described(app):
        function = getattr(route.endpoint, "__wrapped__", route.endpoint)
        reads = route.body_field is not None or takes & set(function.__code__.co_names)
        if reads and "requestBody" not in described_as["paths"][route.path_format][method.lower()]:
            wrong.append(f"{method} {route.path}")
    assert wrong == []


def test_who_may_call_is_what_the_policy_says(app: FastAPI, described_as: dict[str, Any]) -> None:
    levels = Counter()
    for route, method in described(app):
        policy = policy_of(route.endpoint)
        operation = described_as["paths"][route.path_format][method.lower()]
        security = operation["security"]
        assert policy is not None
        levels[policy.level] += 1
        assert (security == []) is (policy.level == "public"), route.path
        assert ({} in security) is (policy.level == "optional"), route.path
        assert ("For administrators." in operation["description"]) is (policy.level == "admin"), route.path
        named = {scheme for requirement in security for scheme in requirement}
        keys = {"public": set(), "scim": {"directory"}}.get(
            policy.level, {"bearer"} if policy.session_only else PEOPLES
        )
        assert named == keys
        assert policy.permission is None or f"`{policy.permission}`" in operation["description"]
    assert all(levels[level] for level in ("public", "optional", "scim", "pending", "user", "admin"))


def test_the_name_of_an_operation_is_its_address() -> None:
    assert operation_id("GET", "/api/v1/chats/{id}/tags") == "get_api_v1_chats_id_tags"


class Checked:
    """Replies, compared with what is said of their operations. An object has no fields but those that are named."""

    def __init__(self, app: FastAPI, described_as: dict[str, Any]) -> None:
        self._routes = [route for route in app.routes if isinstance(route, APIRoute)]
        self._document = described_as
        self._components = closed(described_as["components"])
        self._validators: dict[str, jsonschema_rs.Draft202012Validator] = {}
        self.seen: set[str] = set()
        self.refused: dict[str, str] = {}
        self.wrong: dict[str, str] = {}

    async def listen(self, reply: httpx.Response) -> None:
        """Hears what a client gets."""
        await reply.aread()
        self.take(reply.request.method, reply.request.url.path, reply)

    def take(self, method: str, path: str, reply: httpx.Response) -> None:
        scope = {"type": "http", "method": method, "path": path, "headers": []}
        route = next((r for r in self._routes if r.matches(scope)[0] is Match.FULL), None)
        assert route is not None
        if not route.include_in_schema:
            return
        name = f"{method} {route.path_format}"
        responses = self._document["paths"][route.path_format][method.lower()]["responses"]
        status = str(reply.status_code)
        said = responses.get(status) or responses["default"]
        if status == "200" and status not in responses:
            self._note(name, reply, "answers though it is said to refuse only")
            return
        self.refused[name] = f"{status} {reply.text[:200]}"
        if reply.is_success or (reply.is_redirect and status in responses):
            self.seen.add(name)
        content = (said if "$ref" not in said else self._resolved(said["$ref"])).get("content", {})
        kind = reply.headers.get("content-type", "").partition(";")[0]
        fits = [k for k in content if k in {kind, "*/*"} or (k.endswith("/*") and kind.startswith(k[:-1]))]
        if (reply.content or content) and not fits and method != "HEAD" and reply.status_code not in {302, 304}:
            self._note(name, reply, f"is {kind or 'nothing'}, not {sorted(content)}")
        elif fits in ([JSON], [SCIM_JSON]):
            schema = content[kind]["schema"]
            key = json.dumps(schema)
            if key not in self._validators:
                whole = {**closed(schema), "components": self._components}
                self._validators[key] = jsonschema_rs.Draft202012Validator(whole)
            for error in self._validators[key].iter_errors(reply.json()):
                self._note(name, reply, f"{error.instance_path}: {error.message[:300]}")

    def _resolved(self, ref: str) -> Any:
        return self._document["components"]["responses"][ref.rpartition("/")[2]]

    def _note(self, name: str, reply: httpx.Response, problem: str) -> None:
        self.wrong.setdefault(f"{name} {reply.status_code}", problem)


def closed(schema: Any) -> Any:
    """The schema, whose objects have no other properties than those that are named."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: closed(value) for key, value in schema.items()}
    is_object = isinstance(out.get("properties"), dict) and out.get("type") == "object"
    return out | ({"additionalProperties": False} if is_object and "additionalProperties" not in out else {})


@pytest.fixture
async def world(live: Live, upstream: Upstream) -> AsyncIterator[World]:
    made = await matrix.make_world(live, upstream)
    yield made
    await matrix.close(made)


async def play(world: World, upstream: Upstream) -> None:
    """One call at least of every operation, as somebody who may, and of many as somebody who may not."""
    doors = [(d, case) for d in declared(world.live.app) for case in DOORS.get(f"{d.kind} {d.path}", ())]
    for door, case in sorted(doors, key=lambda door: (door[1].turn, door[0].kind != "GET")):
        assert door.policy is not None
        for role in ("stranger", "owner", "admin"):
            if case.turn == 1 and role != "stranger":
                await world.furnish(door.policy.resource)
            await world.call(door, case, role)
    client = world.admin.client
    await world.live.app.state.oui.save_config({"ui.enable_signup": True})
    await client.get(f"/api/v1/users/{world.stranger.id}/profile/image")
    for route, method in described(world.live.app):
        refuses = route.endpoint.__wrapped__.__annotations__["return"] is NoReturn
        if (refuses or method == "GET") and f"{method} {route.path}" not in DOORS:
            path = world.address(Declared(route.path, method), Case())
            if path != "/api/v1/auths/api_key":
                await client.request(method, path)
            await world.stranger.client.request(method, path)
    for method, path, body in CALLS:
        if isinstance(body, str):
            body = (await client.get(body[1:] or path)).json()  # noqa: PLW2901
        elif isinstance(body, dict):
            places = {"$openai": upstream.openai_url, "$ollama": upstream.url}
            body = {k: places.get(v, v) if isinstance(v, str) else v for k, v in body.items()}  # noqa: PLW2901
        await client.request(method, path, **({} if body is None else {"json": body}))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_replies_are_what_is_said(world: World, upstream: Upstream) -> None:
    app = world.live.app
    found = json.loads(json.dumps(document(app)))
    checked = Checked(app, found)
    for actor in (world.admin, world.owner, world.stranger):
        actor.client.event_hooks = {"response": [checked.listen]}
    await play(world, upstream)
    assert checked.wrong == {}, "\n".join(f"{name}: {problem}" for name, problem in checked.wrong.items())
    silent = {name for name, operation in operations(found) if "200" in operation["responses"]} - checked.seen
    assert silent == UNSEEN.keys(), {name: checked.refused.get(name) for name in silent ^ UNSEEN.keys()}
