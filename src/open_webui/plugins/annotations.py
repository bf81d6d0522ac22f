"""Types as a text writes them, made into types that pydantic knows. What is not known is anything: it is never run."""

import ast
import datetime as dt
import types
import typing
import uuid
from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.errors import PydanticSchemaGenerationError
from pydantic.fields import FieldInfo
from pydantic_core import SchemaError

from open_webui.plugins.constants import Scope, Unknown, assigned, names_in, value_of

_DEEPEST: Final = 8
_MOST_FIELDS: Final = 300
_PLAIN: Final[dict[str, Any]] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "bytes": str,
    "None": None,
    "Any": Any,
    "object": Any,
    "dict": dict[str, Any],
    "Dict": dict[str, Any],
    "Mapping": dict[str, Any],
    "list": list[Any],
    "List": list[Any],
    "Sequence": list[Any],
    "Iterable": list[Any],
    "tuple": list[Any],
    "Tuple": list[Any],
    "set": list[Any],
    "Set": list[Any],
    "frozenset": list[Any],
    "datetime": dt.datetime,
    "date": dt.date,
    "time": dt.time,
    "timedelta": dt.timedelta,
    "UUID": uuid.UUID,
    "EmailStr": str,
    "SecretStr": str,
    "HttpUrl": str,
    "AnyUrl": str,
    "Path": str,
    "Decimal": float,
    "PositiveInt": int,
    "NonNegativeInt": int,
    "PositiveFloat": float,
    "NonNegativeFloat": float,
}
_LISTS: Final = frozenset({"list", "List", "Sequence", "Iterable", "set", "Set", "frozenset", "Collection"})
_MAPS: Final = frozenset({"dict", "Dict", "Mapping", "MutableMapping", "defaultdict"})
# What of `Field(...)` means something in a form.
_BOUNDS: Final = frozenset(
    {"ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern", "max_digits", "decimal_places"}
)
_TELLING: Final = frozenset({"title", "description", "examples", "json_schema_extra"})
_WRAPPERS: Final = frozenset({"Final", "ClassVar", "Required", "NotRequired", "ReadOnly"})
_NOT_A_FIELD: Final = frozenset({"ClassVar"})
# Raised where constraints don't fit their type.
REFUSALS: Final = (PydanticSchemaGenerationError, SchemaError, TypeError, ValueError, NameError)
UNSET: Final = object()


class Module:
    """What a module's own text says of the names in its annotations. classes: by their names. made: types of those."""

    def __init__(self, body: list[ast.stmt]) -> None:
        self.made: dict[ast.ClassDef, Any] = {}
        self.classes = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
        # Members of an Enum are named with it.
        members = {
            f"{name}.{member}": value
            for name, node in self.classes.items()
            for member, value in names_in(node.body).items()
        }
        self.scope: Scope = members | names_in(body, members)
        self.aliases = {name: value for name, value in map(assigned, body) if name is not None and value is not None}

    def inside(self, node: ast.ClassDef) -> "Module":
        """The same with what a class adds."""
        inner = Module([])
        inner.made = self.made
        own = Module(node.body)
        inner.scope = names_in(node.body, {**self.scope, **own.scope})
        inner.classes = self.classes | own.classes
        inner.aliases = self.aliases
        return inner


def type_of(node: ast.expr | None, module: Module, depth: int = 0) -> Any:
    """The type that an annotation means."""
    if node is None or depth > _DEEPEST:
        return Any
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Constant(value=str(text)):
            return _quoted(text, module, depth)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return _named(name, module, depth)
        case ast.BinOp(op=ast.BitOr()):
            return _union([type_of(node.left, module, depth + 1), type_of(node.right, module, depth + 1)])
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name)):
            parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            return _subscripted(name, parts, module, depth)
    return Any


def _quoted(text: str, module: Module, depth: int) -> Any:
    try:
        return type_of(ast.parse(text.strip()[:1_000], mode="eval").body, module, depth + 1)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return Any


def _named(name: str, module: Module, depth: int) -> Any:
    if name in module.classes:
        return _class(module.classes[name], module, depth)
    if name in module.aliases and name not in _PLAIN:
        alias = module.aliases[name]
        return type_of(alias, module, depth + 1) if isinstance(alias, ast.Subscript | ast.BinOp | ast.Name) else Any
    return _PLAIN.get(name, Any)


def _class(node: ast.ClassDef, module: Module, depth: int) -> Any:
    """A class of the module. One that is in itself is any object there."""
    if node not in module.made:
        module.made[node] = dict[str, Any]
        module.made[node] = _class_type(node, module, depth)
    return module.made[node]


def _class_type(node: ast.ClassDef, module: Module, depth: int) -> Any:
    """The values of an Enum, the fields of a model."""
    bases = {base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in node.bases}
    if bases & {"Enum", "StrEnum", "IntEnum"}:
        values = [v for v in names_in(node.body).values() if isinstance(v, str | int)]
        return Literal[tuple(values)] if values else Any
    if bases & {"BaseModel", "TypedDict"} or bases & module.classes.keys():
        return model_of(node, module, depth + 1)
    return Any


def _subscripted(name: str, parts: list[ast.expr], module: Module, depth: int) -> Any:
    def inner(place: int) -> Any:
        return type_of(parts[place], module, depth + 1) if place < len(parts) else Any

    if name == "Literal":
        return _literal(parts, module)
    if name == "Optional":
        return _union([inner(0), None])
    if name == "Union":
        return _union([inner(place) for place in range(len(parts))])
    if name == "Annotated":
        told = field_of(parts[1:], module.scope)
        return typing.Annotated[inner(0), told] if told is not None else inner(0)
    if name in _LISTS:
        return types.GenericAlias(list, (inner(0),))
    if name in _MAPS:
        return types.GenericAlias(dict, (str, inner(1)))
    if name in {"tuple", "Tuple"}:
        same = len(parts) == 2 and isinstance(parts[1], ast.Constant) and parts[1].value is Ellipsis
        return types.GenericAlias(list, (inner(0) if same else Any,))
    return inner(0) if name in _WRAPPERS else Any


def _union(kinds: list[Any]) -> Any:
    return typing.Union[tuple(kinds)]  # noqa: UP007 - made of what a text says


def _literal(parts: list[ast.expr], module: Module) -> Any:
    try:
        values = tuple(value_of(part, module.scope) for part in parts)
    except Unknown:
        return str
    plain = tuple(v for v in values if isinstance(v, str | int | bool | None))
    return Literal[plain] if plain else Any


def field_of(marks: list[ast.expr], scope: Scope) -> Any:
    """What the marks of an `Annotated` say, a `Field(...)` or a text that describes it; None where it is neither."""
    for mark in marks:
        if is_field(mark) and isinstance(mark, ast.Call):
            return Field(**told(mark, scope))
        if isinstance(mark, ast.Constant) and isinstance(mark.value, str):
            return Field(description=mark.value)
    return None


def is_field(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Call) and (
        (isinstance(node.func, ast.Name) and node.func.id == "Field")
        or (isinstance(node.func, ast.Attribute) and node.func.attr == "Field")
    )


def told(call: ast.Call, scope: Scope, *, bounds: bool = True) -> dict[str, Any]:
    """What a `Field(...)` says beside its default. bounds: with what values it allows."""
    out: dict[str, Any] = {}
    for keyword in call.keywords:
        if keyword.arg in _TELLING or (bounds and keyword.arg in _BOUNDS):
            try:
                out[str(keyword.arg)] = value_of(keyword.value, scope)
            except Unknown:
                continue
    return {name: value for name, value in out.items() if _fits(name, value)}


def _fits(name: str, value: Any) -> bool:
    """Whether a value is of the type that pydantic takes for it; others end the making of a model."""
    if name in {"title", "description", "pattern"}:
        return isinstance(value, str)
    if name == "json_schema_extra":
        return isinstance(value, dict)
    return isinstance(value, list) if name == "examples" else isinstance(value, int | float)


def default_of(node: ast.expr | None, scope: Scope) -> Any:
    """The default that a field states; Ellipsis where it must be given, UNSET where it is worked out later."""
    if node is None:
        return ...
    if not is_field(node):
        return _stated(node, scope)
    assert isinstance(node, ast.Call)
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    if node.args or "default" in given:
        return _stated(node.args[0] if node.args else given["default"], scope)
    factory = given.get("default_factory")
    if factory is None:
        return ...
    match factory:
        case ast.Name():
            return _stated(ast.Call(func=factory, args=[], keywords=[]), scope)
        case ast.Lambda(body=body):
            return _stated(body, scope)
    return UNSET


def _stated(node: ast.expr, scope: Scope) -> Any:
    if isinstance(node, ast.Constant) and node.value is Ellipsis:
        return ...
    try:
        return value_of(node, scope)
    except Unknown:
        return UNSET


def model_of(node: ast.ClassDef, module: Module, depth: int = 0) -> type[BaseModel]:
    """A class with fields, as a model of pydantic: those of the classes of the module that it builds upon, and its own."""
    return build(node.name, fields_of(node, module, depth))


def fields_of(node: ast.ClassDef, module: Module, depth: int = 0) -> dict[str, "FieldParts"]:
    """The fields of a class by their names."""
    out: dict[str, FieldParts] = {}
    if depth > _DEEPEST:
        return out
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in module.classes and module.classes[base.id] is not node:
            out |= fields_of(module.classes[base.id], module, depth + 1)
    scope = module.inside(node)
    for statement in node.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        name = statement.target.id
        if name.startswith("_") or name == "model_config" or _is_shared(statement.annotation):
            continue
        if len(out) < _MOST_FIELDS:
            out[name] = FieldParts(statement.annotation, statement.value, scope, depth)
    return out


def _is_shared(node: ast.expr) -> bool:
    named = node.value if isinstance(node, ast.Subscript) else node
    return getattr(named, "id", getattr(named, "attr", "")) in _NOT_A_FIELD


class FieldParts:
    """One field as it is written: its annotation, and what stands after the equals sign."""

    def __init__(self, annotation: ast.expr | None, value: ast.expr | None, module: Module, depth: int = 0) -> None:
        self._annotation, self._value, self._module, self._depth = annotation, value, module, depth

    def made(self, *, bounds: bool = True, typed: bool = True, description: str | None = None) -> tuple[Any, Any]:
        """Type and field for `create_model`. bounds: with what it allows. description: where it has none of its own."""
        scope = self._module.scope
        kind = type_of(self._annotation, self._module, self._depth) if typed else Any
        default = default_of(self._value, scope)
        if self._annotation is None and typed:
            kind = _kind_of(default)
        said = (
            told(self._value, scope, bounds=bounds)
            if isinstance(self._value, ast.Call) and is_field(self._value)
            else {}
        )
        if description and "description" not in said and not _describes(kind):
            said["description"] = description
        if default is UNSET:
            return kind, Field(default_factory=lambda: None, **said)
        return kind, Field(default, **said)


def _kind_of(default: Any) -> Any:
    """The type of what has no annotation, by its default."""
    return type(default) if isinstance(default, str | bool | int | float) else Any


def _describes(kind: Any) -> bool:
    marks = getattr(kind, "__metadata__", ())
    return any(isinstance(mark, FieldInfo) and mark.description for mark in marks)


def build(name: str, parts: Mapping[str, FieldParts], descriptions: Mapping[str, str] | None = None) -> type[BaseModel]:
    """A model of some fields. One whose bounds don't fit its type has none; one whose type can't be used takes anything."""
    fields: dict[str, Any] = {}
    for field, written in parts.items():
        told_ = (descriptions or {}).get(field)
        for options in ({}, {"bounds": False}, {"bounds": False, "typed": False}):
            try:
                made = written.made(description=told_, **options)
                _model("Probe", {field: made}).model_json_schema()
            except REFUSALS:
                continue
            fields[field] = made
            break
    return _model(name, fields)


def _model(name: str, fields: dict[str, Any]) -> type[BaseModel]:
    config = ConfigDict(protected_namespaces=(), arbitrary_types_allowed=True)
    return create_model(name, __config__=config, **fields)
