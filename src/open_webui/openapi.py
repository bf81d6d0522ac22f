"""What the HTTP interface looks like, as an OpenAPI document: made from the routes, their policies, and the types that their
functions name. Loaded when somebody asks for it.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from types import UnionType
from typing import Any, Final, NoReturn, get_args

import msgspec
from fastapi import FastAPI, Response
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from open_webui.access.policy import Policy, policy_of
from open_webui.schemas import bodies
from open_webui.schemas.replies.errors import Refusal
from open_webui.schemas.replies.scim import ScimRefusal
from open_webui.schemas.replies.shape import Media, Shape

REF: Final = "#/components/schemas/{name}"
ABOUT: Final = """\
Sign in at `POST /api/v1/auths/signin`, or make an API key at `POST /api/v1/auths/api_key` where the administrator lets
people have one. Either goes into the header `Authorization: Bearer ...`, which is what "Authorize" asks for; a session's
cookie does as well. Refusals have one form, `Refusal`. What comes over the socket is described in
`docs/architecture/real_time_layer.md`.
"""
TAGS: Final = {
    "server": "Whether it is there, and what a page must know before anything else.",
    "completions": "Answers of models, on the wires of OpenAI and Ollama.",
    "model-list": "The models that can be chosen.",
    "chats": "Chats: lists, documents, messages, tags, sharing, exports and imports.",
    "answers": "Answers that are being written, and a page's side questions.",
    "auths": "Sessions, one's own account, API keys.",
    "users": "Accounts, and what they hold.",
    "groups": "Groups of people, and what their members may do.",
    "scim": "A directory's way to accounts and groups (SCIM 2.0), with a token of its own.",
    "folders": "Folders of chats.",
    "files": "Files that belong to chats.",
    "retrieval": "How files and pages of the web are read, and found by questions.",
    "images": "Pictures that engines make and change.",
    "search": "Search in everything that one may read.",
    "models": "Models that people make of others.",
    "tools": "Tools: Python that models may call.",
    "skills": "Skills: instructions with files that models read when they need them.",
    "channels": "Channels: where people, and models that they ask, write to each other.",
    "audit": "The audit record: who did what, when and from where.",
    "apps": "Apps: outside programs that are invited into channels, are told what is said there, and answer.",
    "prompts": "Prompts: texts that are called by a command.",
    "calendars": "Calendars, and what stands in them.",
    "automations": "Automations: prompts that are asked at their time.",
    "memories": "Memories: what people want models to know of them.",
    "notes": "Notes: texts that people write, alone or together.",
    "functions": "Functions: Python that takes part in answers, as models, filters, actions and events.",
    "plugins": "Help with writing tools and functions.",
    "notifications": "Where people want to be told that something has happened.",
    "event-webhooks": "Addresses that are told what happens on the server.",
    "utils": "Small helps for pages, and the database as a file.",
    "configs": "Settings that an administrator changes while the server runs.",
    "tasks": "Settings of what happens after an answer.",
    "affect": "Moods of chats.",
    "evaluations": "Ratings of answers, the leaderboard of models, and the arena.",
    "analytics": "What all people did with models, for administrators.",
    "knowledge": "Knowledge bases: files that are searched together.",
    "llamaforge": "Models of this machine.",
    "mcp": "This server as an MCP server, for clients such as desktop programs and editors.",
    "mcp servers": "Prompts and resources of the MCP servers that one may use.",
    "jobs": "Work in the background: listed, cancelled, retried.",
    "ollama": "Ollama servers, and their API.",
    "openai": "Connections that speak OpenAI's API.",
    "pipelines": "Pipelines servers, which filter answers and offer models.",
    "terminals": "Terminal servers: machines that models and people work on.",
    "audio": "Speech: texts spoken, and recordings written down.",
}
SCHEMES: Final = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A session's token, or an API key (`sk-...`)."},
    "directory": {"type": "http", "scheme": "bearer", "description": "The token of a directory (`SCIM_TOKEN`)."},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key (`sk-...`)."},
}
# The refusals that are foreseen: their names among the components, and what they say.
REFUSALS: Final = {
    "400": ("BadRequest", "The request can't be understood, or this can't be done."),
    "401": ("NotAllowed", "Nobody is signed in, or whoever is may not do this."),
    "403": ("Forbidden", "Not with this credential, or not from here."),
    "404": ("NotFound", "There is no such thing, or it is not the caller's to see."),
    "413": ("TooLarge", "The request is larger than the server accepts."),
    "422": ("Invalid", "The request has another form than this one; `detail` says where."),
    "default": ("Refused", "Any other refusal, or a failure of the server."),
}
# Where a model's provider may refuse, what it says is passed on as it is.
PASSED: Final = "OrProviders"
PROVIDERS: Final = {"type": "object", "description": "What a model's provider answered."}
# A directory is answered, and refused, as SCIM has it.
DIRECTORYS: Final = "ToDirectory"
JSON: Final = "application/json"
SCIM_JSON: Final = "application/scim+json"
LEVELS: Final = {
    "public": "For everybody.",
    "optional": "For everybody; who is signed in may see more.",
    "scim": "For the directory, which has a token of its own.",
    "pending": "For everybody who has an account, let in or not.",
    "user": "For people who are signed in.",
    "admin": "For administrators.",
}
_Operation = dict[str, Any]


class Declared(msgspec.Struct, frozen=True):
    """What a route's function says.

    replies: the types that JSON of its may have. body: the type of JSON that is read by hand, None where none is. fails: it
    answers refusals only.
    """

    replies: tuple[Any, ...]
    body: Any
    media: tuple[Media, ...]
    fails: bool


def declared(function: Callable[..., Any]) -> Declared:
    """What the annotations of a route's function say."""
    plain = inspect.unwrap(function)
    names = {"bodies": bodies, **inspect.getclosurevars(plain).nonlocals}
    signature = inspect.signature(plain, locals=names, eval_str=True)
    request = signature.parameters.get("request")
    return Declared(
        replies=_replies(signature.return_annotation),
        body=None if request is None else next(_marks(request.annotation, Shape), Shape(None)).of,
        media=tuple(_marks(signature.return_annotation, Media)),
        fails=signature.return_annotation is NoReturn,
    )


def reply_types(function: Callable[..., Any]) -> tuple[Any, ...]:
    """The types of JSON of which one is what a route's function replies, as it declares them.

    None for a reply that is no JSON, or any.
    """
    return declared(function).replies


def _marks(annotation: Any, kind: type[Any]) -> Iterator[Any]:
    return (mark for mark in getattr(annotation, "__metadata__", ()) if isinstance(mark, kind))


def _replies(annotation: Any) -> tuple[Any, ...]:
    if shapes := [shape.of for shape in _marks(annotation, Shape)]:
        return tuple(shapes)
    choices = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    no_json = any(_is_response(choice) for choice in choices) or hasattr(annotation, "__metadata__")
    return () if no_json or annotation in {Any, None, NoReturn, inspect.Signature.empty} else (annotation,)


def _is_response(kind: Any) -> bool:
    return inspect.isclass(kind) and issubclass(kind, Response)


def described(app: FastAPI) -> Iterator[tuple[APIRoute, str]]:
    """Each operation of the document: its route and its method."""
    for route in app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in sorted(route.methods or ()):
                yield route, method


def operation_id(method: str, path: str) -> str:
    """The name of an operation. An address is kept for ever, the name of a function is not."""
    return "_".join([method.lower(), *re.findall(r"[A-Za-z0-9]+", path)])


def document(app: FastAPI) -> dict[str, Any]:
    """The document of an application's routes."""
    tags = [{"name": name, "description": text} for name, text in TAGS.items()]
    out = get_openapi(title=app.title, version=app.version, description=ABOUT, routes=app.routes, tags=tags)
    schemas = out.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    says = {route.endpoint: declared(route.endpoint) for route, _ in described(app)}
    types = {t for said in says.values() for t in (*said.replies, said.body) if t is not None} | {Refusal, ScimRefusal}
    found = _schemas(types, schemas)
    schemas |= found.pop(None)
    forms = {
        "": (JSON, found[Refusal]),
        PASSED: (JSON, {"anyOf": [found[Refusal], PROVIDERS]}),
        DIRECTORYS: (SCIM_JSON, found[ScimRefusal]),
    }
    out["components"] |= {
        "securitySchemes": SCHEMES,
        "responses": {
            f"{name}{kind}": {"description": text, "content": {media: {"schema": schema}}}
            for name, text in REFUSALS.values()
            for kind, (media, schema) in forms.items()
        },
    }
    for route, method in described(app):
        operation = out["paths"][route.path_format][method.lower()]
        _complete(operation, route, method, says[route.endpoint], found)
    return out


def _schemas(types: set[Any], taken: dict[str, Any]) -> dict[Any, Any]:
    """The schema of each type, and under None those that they refer to, with names that are not taken."""
    listed = list(types)
    schemas, parts = msgspec.json.schema_components(listed, ref_template=REF)
    names = {name: _short(name, taken) for name in parts}
    text = msgspec.json.encode([schemas, {names[name]: part for name, part in parts.items()}]).decode()
    for name, new in names.items():
        text = text.replace(f'"{REF.format(name=name)}"', f'"{REF.format(name=new)}"')
    schemas, parts = msgspec.json.decode(text)
    return {None: parts} | dict(zip(listed, schemas, strict=True))


def _short(name: str, taken: dict[str, Any]) -> str:
    """The name of a type: its own, with its module's before it where two types share it."""
    short = "".join(part[:1].upper() + part[1:] for part in name.split(".")[-2:]) if "." in name else name
    return f"{short}Reply" if short in taken else short


def _complete(operation: _Operation, route: APIRoute, method: str, said: Declared, schemas: dict[Any, Any]) -> None:
    """Says in an operation who may call it, what it takes and what it answers."""
    policy = policy_of(route.endpoint)
    assert policy is not None, "a PolicyRoute has one"
    summary, rest = _sentences(route.description)
    operation |= {
        "operationId": operation_id(method, route.path_format),
        "summary": summary,
        "description": "\n\n".join(part for part in (rest, _who(policy)) if part),
        "security": _security(policy),
    }
    named = {parameter["name"] for parameter in operation.get("parameters", ())}
    if unread := [name for name in re.findall(r"{(\w+)}", route.path_format) if name not in named]:
        operation.setdefault("parameters", []).extend(
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in unread
        )
    if said.body is not None:
        operation["requestBody"] = {"required": True, "content": {_json(operation): {"schema": schemas[said.body]}}}
    operation["responses"] = _responses(operation, route, method, said, schemas, policy)


def _json(operation: _Operation) -> str:
    """The media type of an operation's JSON."""
    return SCIM_JSON if "scim" in operation["tags"] else JSON


def _sentences(text: str) -> tuple[str, str]:
    """The first sentence without its full stop, and the rest."""
    first, _, rest = re.sub(r"(?<=\.)\s+", "\n", text, count=1).partition("\n")
    return first.removesuffix("."), rest.strip()


def _who(policy: Policy) -> str:
    """Who may call it, in words."""
    needs = f" Needs the permission `{policy.permission}`." if policy.permission else ""
    return LEVELS[policy.level] + needs + (" An API key is refused." if policy.session_only else "")


def _security(policy: Policy) -> list[dict[str, list[str]]]:
    if policy.level == "public":
        return []
    if policy.level == "scim":
        return [{"directory": []}]
    schemes: list[dict[str, list[str]]] = [
        {name: []} for name in SCHEMES if name == "bearer" or (name == "key" and not policy.session_only)
    ]
    return [{}, *schemes] if policy.level == "optional" else schemes


def _responses(
    operation: _Operation, route: APIRoute, method: str, said: Declared, schemas: dict[Any, Any], policy: Policy
) -> dict[str, Any]:
    out: dict[str, Any] = {}
    content: dict[str, Any] = {media.type: {} for media in said.media}
    if said.replies:
        found = [schemas[reply] for reply in said.replies]
        content[_json(operation)] = {"schema": found[0] if len(found) == 1 else {"anyOf": found}}
    if method == "HEAD":
        content = {}
    if not said.fails:
        out["200"] = {"description": "Done."} | ({"content": content} if content else {})
    out |= {str(status): {"description": "There is nothing to send."} for media in said.media for status in media.also}
    has_body = "requestBody" in operation
    asks = has_body or bool(operation.get("parameters"))
    known = policy.level not in {"public", "optional"}
    applies = {
        "400": asks, "401": known, "403": known, "404": "{" in route.path, "413": has_body, "422": asks, "default": True,
    }  # fmt: skip
    kind = PASSED if policy.action == "use" or set(operation["tags"]) & {"ollama", "openai"} else ""
    kind = DIRECTORYS if _json(operation) == SCIM_JSON else kind
    return out | {
        status: {"$ref": f"#/components/responses/{REFUSALS[status][0]}{kind}"}
        for status, wanted in applies.items()
        if wanted
    }
