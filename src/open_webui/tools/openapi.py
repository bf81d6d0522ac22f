"""A server's OpenAPI document (3.0 or 3.1, JSON), read into what a model may call: nothing of it is believed, all is bounded."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

# Of one document: bytes, operations, and values that its schemas may grow to once references are followed.
MAX_DOCUMENT: Final = 4 * 2**20
MAX_OPERATIONS: Final = 300
MAX_VALUES: Final = 100_000
# Characters of one operation's schema, as JSON, and of its description.
MAX_SCHEMA: Final = 64_000
MAX_TEXT: Final = 4_000
# Levels of a schema; what lies deeper may be anything.
MAX_DEPTH: Final = 20
METHODS: Final = ("get", "post", "put", "patch", "delete")
Where = Literal["path", "query", "header", "body"]
# The argument with the whole of a body that is no plain object, or whose members have the names of parameters.
BODY: Final = "body"
# Of no use to a model.
_NOISE: Final = frozenset(
    "example examples xml externalDocs discriminator readOnly writeOnly deprecated nullable $schema $id $defs".split()
)
# Headers that no model sets: how a request travels, and who asks.
TRAVEL: Final = frozenset(
    (
        "accept authorization connection content-length content-type cookie expect host keep-alive proxy-authorization te"
        " trailer transfer-encoding upgrade"
    ).split()
)
_JSON: Final = re.compile(r"application/(?:[\w.+-]+\+)?json")
_UNFIT: Final = re.compile(r"[^A-Za-z0-9_-]+")
Schema = dict[str, Any]


class BadDocument(Exception):
    """Why a document can't be used, as a sentence."""


class Parameter(msgspec.Struct, frozen=True):
    """Where one argument goes, and by which name. explode: a list is sent as several of that name."""

    where: Where
    name: str
    explode: bool = True


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation: the function that a model sees, and how its arguments become a request.

    parameters: by the argument's name. media: of the body, "" where it has none. whole_body: the body is one argument.
    """

    definition: dict[str, Any]
    method: str
    path: str
    parameters: dict[str, Parameter]
    media: str = ""
    whole_body: bool = False

    @property
    def name(self) -> str:
        return str(self.definition["name"])


def read(text: bytes | str) -> list[Operation]:
    """The operations of a document, in its order. Raises BadDocument."""
    if len(text) > MAX_DOCUMENT:
        raise BadDocument(f"The document is larger than {MAX_DOCUMENT:,} bytes.")
    return operations(document_of(text))


def document_of(text: bytes | str) -> dict[str, Any]:
    """A document as an object. Raises BadDocument."""
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise BadDocument("The document is no JSON. (YAML is not read; most servers have both.)") from None
    if not isinstance(document, dict) or not isinstance(document.get("paths"), dict):
        raise BadDocument("The document has no paths: it describes no OpenAPI server.")
    version = document.get("openapi")
    if not isinstance(version, str) or not version.startswith(("3.0", "3.1")):
        raise BadDocument("The document is of another version than OpenAPI 3.0 and 3.1.")
    return document


def operations(document: Mapping[str, Any]) -> list[Operation]:
    """The operations of a decoded document. What can't be read of them is left out; of two with one name the first counts."""
    reader = _Reader(document)
    found: dict[str, Operation] = {}
    for path, method, operation, shared in _each(reader, document):
        if len(found) == MAX_OPERATIONS:
            break
        made = _operation(reader, path, method, operation, shared)
        if made is not None:
            found.setdefault(made.name, made)
    return list(found.values())


def _each(reader: "_Reader", document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any], list[Any]]]:
    for path, given in document["paths"].items():
        item = reader.follow(given)
        if not path.startswith("/") or not isinstance(item, dict):
            continue
        shared = item.get("parameters")
        for method in METHODS:
            if isinstance(operation := item.get(method), dict):
                yield path, method, operation, shared if isinstance(shared, list) else []


def _operation(
    reader: "_Reader", path: str, method: str, operation: Mapping[str, Any], shared: list[Any]
) -> Operation | None:
    name = tool_name(str(operation.get("operationId") or f"{method}_{path}"))
    texts = [t for t in (operation.get("summary"), operation.get("description")) if isinstance(t, str) and t.strip()]
    own = operation.get("parameters")
    properties: dict[str, Schema] = {}
    required: list[str] = []
    places: dict[str, Parameter] = {}
    for parameter in reader.parameters([*shared, *(own if isinstance(own, list) else ())]):
        argument = parameter["name"]
        if argument in places:
            continue
        schema = reader.schema(_schema_of(parameter))
        if isinstance(text := parameter.get("description"), str) and "description" not in schema:
            schema["description"] = text[:MAX_TEXT]
        properties[argument] = schema
        places[argument] = Parameter(parameter["in"], argument, parameter.get("explode") is not False)
        if parameter.get("required") is True or parameter["in"] == "path":
            required.append(argument)
    media, whole = _add_body(reader, operation, properties, required, places)
    definition = {
        "name": name,
        "description": "\n\n".join(texts)[:MAX_TEXT] or f"{method.upper()} {path}",
        "parameters": {"type": "object", "properties": properties, "required": required},
    }
    if len(msgspec.json.encode(definition)) > MAX_SCHEMA:
        return None
    return Operation(definition=definition, method=method, path=path, parameters=places, media=media, whole_body=whole)


def _schema_of(parameter: Mapping[str, Any]) -> Any:
    """A parameter's schema, which stands in it or in its only content."""
    content = parameter.get("content")
    if isinstance(content, dict) and content:
        first = next(iter(content.values()))
        return first.get("schema") if isinstance(first, dict) else None
    return parameter.get("schema")


def _add_body(
    reader: "_Reader",
    operation: Mapping[str, Any],
    properties: dict[str, Schema],
    required: list[str],
    places: dict[str, Parameter],
) -> tuple[str, bool]:
    """Adds a body's arguments. Gives its media type, and whether it is one argument."""
    body = reader.follow(operation.get("requestBody"))
    content = body.get("content") if isinstance(body, dict) else None
    if not isinstance(content, dict):
        return "", False
    media = next((m for m in content if _JSON.fullmatch(m.partition(";")[0].strip().lower())), None)
    media = media or next((m for m in content if m.startswith(("application/x-www-form-urlencoded", "text/"))), None)
    if media is None or not isinstance(content[media], dict):
        return "", False
    schema = reader.schema(content[media].get("schema"))
    members = schema.get("properties")
    if isinstance(members, dict) and members and not members.keys() & places.keys():
        for name, member in members.items():
            properties[name] = member
            places[name] = Parameter("body", name)
        demanded = schema.get("required")
        required += [n for n in demanded if n in members] if isinstance(demanded, list) else []
        return media, False
    properties[BODY] = schema
    if body.get("required") is True:
        required.append(BODY)
    return media, True


def tool_name(text: str) -> str:
    """A name that every provider takes for a function."""
    return _UNFIT.sub("_", text).strip("_")[:64] or "call"


class _Reader:
    """Follows references inside one document, with an end to it."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._left = MAX_VALUES

    def follow(self, value: Any) -> Any:
        """What a value is or refers to; None for a reference to nothing, to itself, or out of the document."""
        seen: set[str] = set()
        while isinstance(value, dict) and isinstance(reference := value.get("$ref"), str):
            if reference in seen or not reference.startswith("#/"):
                return None
            seen.add(reference)
            value = self._at(reference)
        return value

    def _at(self, reference: str) -> Any:
        place: Any = self._document
        for part in reference[2:].split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            place = place.get(name) if isinstance(place, dict) else None
        return place

    def parameters(self, given: list[Any]) -> list[dict[str, Any]]:
        """Those that can be sent. An operation's own stand behind its path's, and count before them."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for entry in given[:200]:
            parameter = self.follow(entry)
            if not isinstance(parameter, dict):
                continue
            where, name = parameter.get("in"), parameter.get("name")
            if where not in ("path", "query", "header") or not isinstance(name, str) or not 0 < len(name) <= 200:
                continue
            if where != "header" or name.lower() not in TRAVEL:
                found[where, name] = parameter
        return list(found.values())

    def schema(self, value: Any, depth: int = 0, above: tuple[str, ...] = ()) -> Schema:
        """A JSON schema without references. Where one leads to itself, or too deep, anything is allowed."""
        self._left -= 1
        if isinstance(value, dict) and isinstance(reference := value.get("$ref"), str):
            if reference in above:
                return {}
            aside = {k: v for k, v in value.items() if k != "$ref"}
            target = self.follow(value)
            value = {**target, **aside} if isinstance(target, dict) else aside
            above = (*above, reference)
        if not isinstance(value, dict) or depth > MAX_DEPTH or self._left < 0:
            return {}
        out = {
            name: self._member(name, member, depth + 1, above)
            for name, member in value.items()
            if name not in _NOISE and not name.startswith("x-")
        }
        if value.get("nullable") is True and isinstance(out.get("type"), str):
            out["type"] = [out["type"], "null"]
        return out

    def _member(self, name: str, value: Any, depth: int, above: tuple[str, ...]) -> Any:
        if name in {"properties", "patternProperties", "dependentSchemas"} and isinstance(value, dict):
            return {key: self.schema(member, depth, above) for key, member in value.items()}
        if name in {"allOf", "anyOf", "oneOf", "prefixItems"} and isinstance(value, list):
            return [self.schema(member, depth, above) for member in value[:100]]
        if isinstance(value, dict) and name in {
            "items",
            "additionalProperties",
            "not",
            "if",
            "then",
            "else",
            "contains",
        }:
            return self.schema(value, depth, above)
        return value
