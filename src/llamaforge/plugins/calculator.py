"""Arithmetic from text, on Python's own parser with a short list of what is allowed."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from llamaforge.exceptions import ParameterError
from llamaforge.plugins.base import ToolPlugin

Number = int | float

MAX_LENGTH = 500
"""The longest expression, in characters."""

MAX_DEPTH = 60
"""The deepest nesting of an expression."""

MAX_BITS = 4096
"""The largest whole number that a result may be, in bits (some 1200 digits)."""

_PREFIX = re.compile(r"\s*(?:please\s+)?(?:calculate|compute|evaluate|what\s+is)\b[\s:]*", re.IGNORECASE)


class CalculationError(ParameterError):
    """The expression can't be calculated."""


class Calculator(ToolPlugin):
    """Evaluates + - * / // % ^ ** and parentheses, functions such as sqrt and sin, and the constants pi, e and tau."""

    name = "calculator"
    description = "Calculates an arithmetic expression such as 'sqrt(144) + 2^10'."
    parameters: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "properties": {
            "expression": {"type": "string", "description": "The expression, for example (2 + 3) * sqrt(16)."}
        },
        "required": ["expression"],
        "additionalProperties": False,
    }

    def process(self, expression: str) -> Number:
        """The value; a whole one as int. Raises CalculationError with a sentence that says what is wrong."""
        return calculate(expression)


def calculate(expression: str) -> Number:
    """The value of `expression`, optionally after the word "calculate". `^` is power. Raises CalculationError."""
    if not isinstance(expression, str):
        raise CalculationError("The expression must be text.")
    source = _PREFIX.sub("", expression, count=1).strip().rstrip("=?").strip()
    if not source:
        raise CalculationError("There is nothing to calculate.")
    if len(source) > MAX_LENGTH:
        raise CalculationError(f"The expression is longer than {MAX_LENGTH} characters.")
    try:
        value = _Evaluation().value(_parse(source))
    except ZeroDivisionError:
        raise CalculationError("Division by zero.") from None
    except OverflowError:
        raise CalculationError("The result is too large.") from None
    return _tidy(value)


def _parse(source: str) -> ast.expr:
    text = source.replace("^", "**").replace("×", "*").replace("÷", "/").replace("−", "-")
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise CalculationError(f"'{source}' is not an arithmetic expression.") from None


def _tidy(value: Number) -> Number:
    if isinstance(value, int):
        return value
    if math.isnan(value):
        raise CalculationError("The result is not a number.")
    if math.isinf(value):
        raise CalculationError("The result is too large.")
    return int(value) if value.is_integer() and abs(value) < 2**63 else value


class _Evaluation:
    """Walks an expression; every value on the way stays a bounded number."""

    def __init__(self) -> None:
        self._depth = 0

    def value(self, node: ast.expr) -> Number:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise CalculationError("The expression is nested too deeply.")
        try:
            return _bounded(self._value(node))
        finally:
            self._depth -= 1

    def _value(self, node: ast.expr) -> Number:
        match node:
            case ast.Constant(value=bool()):
                raise CalculationError(f"{node.value!r} is not a number.")
            case ast.Constant(value=int() | float() as value):
                return value
            case ast.Name(id=name):
                return _constant(name)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self.value(operand)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self.value(operand)
            case ast.BinOp(left=left, op=kind, right=right) if type(kind) in _OPERATORS:
                return _OPERATORS[type(kind)](self.value(left), self.value(right))
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return _call(name, [self.value(argument) for argument in arguments])
            case _:
                raise CalculationError(f"'{_shown(node)}' is not arithmetic that the calculator knows.")


def _shown(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 40 else text[:40] + "…"


def _bounded(value: Number) -> Number:
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise OverflowError
    return value


def _power(base: Number, exponent: Number) -> Number:
    # The size is known before the work is done: 9**9**9 has 370 million digits.
    if isinstance(base, int) and isinstance(exponent, int):
        if exponent < 0:
            base = float(base)
        elif (abs(base).bit_length() - 1) * exponent > MAX_BITS:
            raise OverflowError
    result = base**exponent
    if isinstance(result, complex):
        raise CalculationError("The root of a negative number is not real.")
    return result


def _rounded(value: Number, digits: Number = 0) -> Number:
    if digits != int(digits) or not -30 <= digits <= 30:
        raise CalculationError("round takes a whole number of digits from -30 to 30.")
    return round(value, int(digits))


def _factorial(value: Number) -> int:
    if value != int(value) or not 0 <= value <= 400:
        raise CalculationError("factorial takes a whole number from 0 to 400.")
    return math.factorial(int(value))


def _constant(name: str) -> float:
    if name.lower() in _CONSTANTS:
        return _CONSTANTS[name.lower()]
    if name in _FUNCTIONS:
        raise CalculationError(f"'{name}' needs its argument in parentheses: {name}(2).")
    raise CalculationError(f"'{name}' is not a number, constant or function that the calculator knows.")


def _call(name: str, arguments: list[Number]) -> Number:
    known = _FUNCTIONS.get(name.lower())
    if known is None:
        raise CalculationError(f"There is no function '{name}'. Known: {', '.join(sorted(_FUNCTIONS))}.")
    function, fewest, most = known
    if not fewest <= len(arguments) <= most:
        wanted = str(fewest) if fewest == most else f"{fewest} to {most}"
        raise CalculationError(f"{name} takes {wanted} argument{'s' if most > 1 else ''}, not {len(arguments)}.")
    try:
        result: Number = function(*arguments)
    except CalculationError:
        raise
    except (ValueError, TypeError):
        shown = ", ".join(f"{argument:g}" for argument in arguments)
        raise CalculationError(f"{name}({shown}) is not defined.") from None
    return result


_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_CONSTANTS = {"pi": math.pi, "π": math.pi, "e": math.e, "tau": math.tau}
# Each with the fewest and the most arguments that it takes.
_FUNCTIONS: dict[str, tuple[Callable[..., Number], int, int]] = {
    "sqrt": (math.sqrt, 1, 1),
    "cbrt": (math.cbrt, 1, 1),
    "abs": (abs, 1, 1),
    "round": (_rounded, 1, 2),
    "floor": (math.floor, 1, 1),
    "ceil": (math.ceil, 1, 1),
    "exp": (math.exp, 1, 1),
    "log": (math.log, 1, 2),
    "ln": (math.log, 1, 1),
    "log2": (math.log2, 1, 1),
    "log10": (math.log10, 1, 1),
    "sin": (math.sin, 1, 1),
    "cos": (math.cos, 1, 1),
    "tan": (math.tan, 1, 1),
    "asin": (math.asin, 1, 1),
    "acos": (math.acos, 1, 1),
    "atan": (math.atan, 1, 1),
    "atan2": (math.atan2, 2, 2),
    "sinh": (math.sinh, 1, 1),
    "cosh": (math.cosh, 1, 1),
    "tanh": (math.tanh, 1, 1),
    "degrees": (math.degrees, 1, 1),
    "radians": (math.radians, 1, 1),
    "hypot": (math.hypot, 2, 2),
    "factorial": (_factorial, 1, 1),
    "pow": (_power, 2, 2),
    "min": (min, 2, 20),
    "max": (max, 2, 20),
}
