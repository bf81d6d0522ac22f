"""Values that a text states outright: literals, and names that the module or the class gives to them. Nothing is run."""

import ast
from collections.abc import Iterable, Mapping
from typing import Any, Final

_DEEPEST: Final = 50


class Unknown(Exception):
    """It is worked out when the plugin runs."""


Scope = Mapping[str, Any]
_EMPTY: Final[dict[str, type]] = {"list": list, "dict": dict, "set": list, "str": str, "tuple": list}


def value_of(node: ast.expr | None, scope: Scope, depth: int = 0) -> Any:  # noqa: PLR0911 - one a kind
    """The value of an expression, as JSON can have it. Raises Unknown."""
    if node is None or depth > _DEEPEST:
        raise Unknown
    match node:
        case ast.Constant(value=str() | int() | float() | bool() | None):
            return node.value
        case ast.Name(id=name) if name in scope:
            return scope[name]
        case ast.Attribute(value=ast.Name(id=owner), attr=name) if f"{owner}.{name}" in scope:
            return scope[f"{owner}.{name}"]
        case ast.Attribute(value=inner, attr="value"):
            return value_of(inner, scope, depth + 1)
        case ast.List() | ast.Tuple() | ast.Set():
            return [value_of(one, scope, depth + 1) for one in node.elts]
        case ast.Dict():
            return {
                str(value_of(key, scope, depth + 1)): value_of(value, scope, depth + 1)
                for key, value in zip(node.keys, node.values, strict=True)
            }
        case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
            return _signed(node, scope, depth)
        case ast.BinOp(op=ast.Add()):
            return _joined(node, scope, depth)
        case ast.Call(func=ast.Name(id=name), args=[], keywords=[]) if name in _EMPTY:
            return _EMPTY[name]()
    raise Unknown


def _signed(node: ast.UnaryOp, scope: Scope, depth: int) -> Any:
    number = value_of(node.operand, scope, depth + 1)
    if isinstance(number, int | float) and not isinstance(number, bool):
        return -number if isinstance(node.op, ast.USub) else number
    raise Unknown


def _joined(node: ast.BinOp, scope: Scope, depth: int) -> str:
    left, right = (value_of(side, scope, depth + 1) for side in (node.left, node.right))
    if isinstance(left, str) and isinstance(right, str) and len(left) + len(right) < 100_000:
        return left + right
    raise Unknown


def names_in(body: Iterable[ast.stmt], scope: Scope | None = None) -> dict[str, Any]:
    """The names that a body gives to values which it states outright, over those of an outer scope."""
    found = dict(scope or {})
    for statement in body:
        target, value = assigned(statement)
        if target is None:
            continue
        try:
            found[target] = value_of(value, found)
        except Unknown:
            found.pop(target, None)
    return found


def assigned(statement: ast.stmt) -> tuple[str | None, ast.expr | None]:
    """The one name that a statement gives a value to, and that; None where it does something else."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return name, value
        case ast.AnnAssign(target=ast.Name(id=name), value=value) if value is not None:
            return name, value
    return None, None
