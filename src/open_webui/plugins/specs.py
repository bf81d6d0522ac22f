"""What a model is told of a tool: each public method of its class with what it takes, read from signatures and docstrings."""

import ast
import re
from collections.abc import Iterator
from typing import Any, Final

from open_webui.plugins.annotations import FieldParts, Module, build
from open_webui.plugins.valves import schema_of

_PARAM: Final = re.compile(r"^\s*:param\s+(?:[^\s:]+\s+)?(\w+)\s*:\s*(.*)$")
_OTHER: Final = re.compile(r"^\s*:(?:return|returns|rtype|raise|raises|type)\b")
MAX_METHODS: Final = 200
Function = ast.FunctionDef | ast.AsyncFunctionDef


def specs_of(entry: ast.ClassDef, module: Module) -> list[dict[str, Any]]:
    """The methods of a class in their order, as functions that a model may call."""
    found = {method.name: spec_of(method, module) for method in public_methods(entry)}
    return list(found.values())[:MAX_METHODS]


def public_methods(entry: ast.ClassDef) -> Iterator[Function]:
    for node in entry.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            decorators = {getattr(one, "id", getattr(one, "attr", "")) for one in node.decorator_list}
            if not decorators & {"property", "setter", "cached_property", "overload"}:
                yield node


def spec_of(method: Function, module: Module) -> dict[str, Any]:
    """One method: its name, the first part of its docstring, and its parameters as a JSON schema."""
    about, told = described(ast.get_docstring(method) or "")
    parts = {
        name: FieldParts(annotation, default, module)
        for name, annotation, default in parameters(method)
        if not name.startswith("_")
    }
    schema = plain(schema_of(build(method.name, parts, told)))
    schema.pop("description", None)
    return {"name": method.name, "description": about or method.name, "parameters": {"properties": {}} | schema}


def parameters(method: Function) -> Iterator[tuple[str, ast.expr | None, ast.expr | None]]:
    """Name, annotation and default of all but the first, which is the tool itself; those in stars are nobody's to give."""
    arguments = method.args
    placed = [*arguments.posonlyargs, *arguments.args]
    static = any(getattr(one, "id", "") == "staticmethod" for one in method.decorator_list)
    missing = len(placed) - len(arguments.defaults)
    defaults: list[ast.expr | None] = [*([None] * missing), *arguments.defaults]
    both = list(zip(placed, defaults, strict=True))[0 if static else 1 :]
    for argument, default in [*both, *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]:
        yield argument.arg, argument.annotation, default


def described(docstring: str) -> tuple[str, dict[str, str]]:
    """The text before the first field of a docstring, and what its `:param name:` lines say."""
    about: list[str] = []
    told: dict[str, str] = {}
    name: str | None = None
    begun = False
    for line in docstring.splitlines():
        parameter = _PARAM.match(line)
        if parameter is not None:
            begun, name = True, parameter[1]
            told[name] = parameter[2].strip()
        elif _OTHER.match(line) or not line.strip():
            begun, name = begun or bool(_OTHER.match(line)), None
            if not begun:
                about.append("")
        elif name is not None and line[:1].isspace():
            told[name] = f"{told[name]} {line.strip()}".strip()
        elif not begun:
            about.append(line.rstrip())
    return "\n".join(about).strip(), told


def plain(schema: Any, *, named: bool = False) -> Any:
    """A schema without the titles that pydantic makes of names. named: its keys are names of fields, which stay."""
    if isinstance(schema, list):
        return [plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: plain(value, named=key == "properties" and not named)
        for key, value in schema.items()
        if named or key != "title" or not isinstance(value, str)
    }
