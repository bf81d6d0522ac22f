"""Bodies and parameters for every operation: from the OpenAPI document, by hand where raw bodies are taken."""

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from open_webui.access.policy import Policy
from open_webui.printing import declared

Json = Any
SAY = [{"role": "user", "content": "hi", "id": "m", "files": [{"id": "f", "type": "file"}]}]
# A page's turn, with every field that names something.
TURN: dict[str, Any] = {
    "model": "echo", "stream": True, "session_id": "s", "chat_id": None, "id": "a-1", "parent_id": None,
    "message_ids": [{"model_id": "echo", "message_id": "a-1", "modelIdx": 0}], "params": {}, "features": {},
    "user_message": {"id": "q-1", "parentId": None, "childrenIds": ["a-1"], "role": "user", "content": "hi",
                     "user_id": "u", "files": [{"id": "f", "type": "file"}]},
    "folder_id": None, "files": [{"id": "f", "type": "file", "collection_id": "c"}], "tool_ids": ["t"], "skill_ids": ["k"],
    "filter_ids": ["p"], "terminal_id": "t", "background_tasks": {"title_generation": False},
    "variables": {"{{USER_ID}}": "u"}, "chat_variables": {}, "model_item": {"id": "echo", "base_model_id": "b", "user_id": "u"},
    "parent_message": {"id": "p", "parentId": None}, "assistant_message_id": None,
}  # fmt: skip
CALL: dict[str, Any] = {"model": "echo", "messages": SAY, "stream": False, "metadata": {"user_id": "u", "chat_id": "c"}}
DOCUMENT: dict[str, Any] = {
    "id": "d", "title": "t", "models": ["echo"], "params": {}, "files": [{"id": "f"}], "originalChatId": "o",
    "branchPointMessageId": "m", "user_id": "u", "folder_id": "f", "share_id": "s",
    "history": {"currentId": "m", "messages": {
        "m": {"id": "m", "parentId": None, "childrenIds": ["n"], "role": "user", "content": "hi", "chat_id": "c",
              "user_id": "u", "model_id": "echo", "files": [{"id": "f"}]},
        "n": {"id": "n", "parentId": "m", "childrenIds": [], "role": "assistant", "content": "ho"}}},
}  # fmt: skip
CHAT = {"chat": DOCUMENT, "folder_id": None, "variables": {}, "id": "c", "user_id": "u", "share_id": "s"}
IMPORTED = CHAT | {"meta": {"tags": ["t"]}, "pinned": False, "archived": False, "current_message_id": "m"}
_COMPLETIONS = {
    f"/{path}": [CALL] for path in ("ollama/v1/chat/completions/{url_idx}", "ollama/v1/chat/completions",
                                    "openai/chat/completions")
} | {f"/api/{v}chat/completions": [CALL, TURN] for v in ("", "v1/")}  # fmt: skip
_OLLAMA = {
    f"/ollama/api/{kind}{at}": [CALL | {"prompt": "hi", "context": [1]}]
    for kind in ("chat", "generate")
    for at in ("", "/{url_idx}")
}
_ANYTHING = {
    "id": "i",
    "user_id": "u",
    "chat_id": "c",
    "model_id": "m",
    "nested": {"folder_id": "f", "group_ids": ["g"]},
}
# What the document calls an object and no more, or says nothing of.
BY_HAND: dict[str, list[Json]] = {
    "/api/chat/completed": [CALL | {"chat_id": "c", "session_id": "s", "id": "a"}],
    "/api/chat/actions/{action_id}": [CALL | {"chat_id": "c", "session_id": "s", "id": "a"}],
    "/api/v1/tasks/moa/completions": [{"model": "echo", "prompt": "hi", "responses": ["a"], "chat_id": "c"}],
    "/api/v1/tasks/{kind}/completions": [CALL | {"prompt": "hi", "chat_id": "c", "message_id": "m"}],
    "/api/v1/chats/new": [CHAT],
    "/api/v1/chats/import": [{"chats": [IMPORTED, IMPORTED]}],
    "/api/v1/chats/{id}": [CHAT],
    "/api/v1/chats/{id}/params": [_ANYTHING],
    "/api/v1/affect/chats/{id}": [{"enabled": True, "persona": {"name": "warm"}, "state": {"joy": 1}}],
    "/api/v1/users/user/settings/update": [_ANYTHING | {"ui": {"models": ["m"]}}],
    "/api/v1/users/user/info/update": [_ANYTHING],
    **{f"/{path}": [CALL | {"input": "hi"}] for path in ("api/embeddings", "api/v1/embeddings", "openai/embeddings")},
    **{f"/api/{path}": [CALL | {"max_tokens": 9}] for path in ("v1/messages", "message")},
    **_COMPLETIONS,
    **_OLLAMA,
}


@dataclass(frozen=True, slots=True)
class Operation:
    """A route as its document describes it. bodies: acceptable ones, as far as the document says what is acceptable."""

    method: str
    path: str
    policy: Policy
    function: str
    bodies: list[Json] = field(default_factory=list)
    query: dict[str, Json] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def parameters(self) -> list[str]:
        return re.findall(r"\{([^}]*)\}", self.path)

    def same(self, other: "Operation") -> bool:
        mine = (self.method, self.function, self.bodies, self.query)
        return mine == (other.method, other.function, other.bodies, other.query)

    def address(self, values: dict[str, str]) -> str:
        return re.sub(r"\{([^}]*)\}", lambda found: values[found[1]], self.path)


def operations(app: FastAPI) -> list[Operation]:
    """Every route of the document with its policy."""
    described = app.openapi()
    schemas = described.get("components", {}).get("schemas", {})
    policies = {(d.kind, re.sub(r":\w+\}", "}", d.path)): d.policy for d in declared(app)}
    functions = {
        (method, re.sub(r":\w+\}", "}", route.path)): f"{route.endpoint.__module__}.{route.endpoint.__qualname__}"
        for route in app.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    out = []
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            policy = policies[method.upper(), path]
            assert policy is not None
            bodies = BY_HAND.get(path, []) if method in {"post", "patch", "put"} else []
            content = operation.get("requestBody", {}).get("content", {})
            if not bodies and content:
                bodies = [example(next(iter(content.values()))["schema"], schemas)]
            query = {
                p["name"]: example(p["schema"], schemas) for p in operation.get("parameters", ()) if p["in"] == "query"
            }
            function = functions[method.upper(), path]
            out.append(Operation(method.upper(), path, policy, function, bodies, query))
    return out


def example(schema: dict[str, Any], schemas: dict[str, Any], name: str = "", depth: int = 0) -> Json:  # noqa: PLR0911 - one a type
    """A value that the schema accepts, with every optional field in it."""
    if "$ref" in schema:
        return example(schemas[schema["$ref"].rpartition("/")[2]], schemas, name, depth + 1)
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            kinds = [kind for kind in schema[choice] if kind.get("type") != "null"]
            return example(kinds[0], schemas, name, depth)
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    if depth > 6:
        return None
    match schema.get("type"):
        case "object":
            inner = {k: example(s, schemas, k, depth + 1) for k, s in schema.get("properties", {}).items()}
            return inner or dict(_ANYTHING)
        case "array":
            return [example(schema.get("items", {}), schemas, name, depth + 1)]
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return False
        case "string":
            return _text(schema, name)
        case _:
            return dict(_ANYTHING)


def _text(schema: dict[str, Any], name: str) -> str:
    pattern = schema.get("pattern", "")
    if "approve" in pattern:
        return "approve"
    if "continue" in pattern:
        return "continue"
    if "url" in name.lower():
        return "http://127.0.0.1:9"
    return "somebody@example.com" if "email" in name else "x" * max(1, schema.get("minLength", 1))


Place = tuple[Any, ...]


def places(value: Json, at: Place = ()) -> Iterator[Place]:
    """Every field of a body, at any depth."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*at, key)
        yield from places(inner, (*at, key))


def replaced(value: Json, at: Place, new: Json) -> Json:
    """The body with another value at one place."""
    out = copy.deepcopy(value)
    target = out
    for key in at[:-1]:
        target = target[key]
    target[at[-1]] = new
    return out


def with_ids(value: Json, wanted: str, key: str = "") -> Json:
    """The body with an id in every field whose name says that it takes one; lists have it second."""
    named = "id" in key.lower()
    if isinstance(value, dict):
        return {k: with_ids(v, wanted, str(k)) for k, v in value.items()}
    if isinstance(value, list):
        if named and all(isinstance(v, str) for v in value):
            return [*value, wanted]
        return [with_ids(v, wanted, key) for v in value]
    return wanted if named and isinstance(value, str | None) else value
