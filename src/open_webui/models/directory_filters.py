"""Filters of a directory (SCIM) as conditions of SQL. What no column answers is refused: nothing is read in vain."""

import string
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from open_webui.models.base import clean
from open_webui.models.repository import Condition
from open_webui.utils.scim_filters import Both, Comparison, Filter, FilterProblem, Not, Operator, Within, wanted_of

Text = sa.ColumnElement[Any]
_OF_ANY: Final = frozenset({"eq", "ne", "co", "sw", "ew"})
_OF_KIND: Final = frozenset({"eq", "ne", "sw"})
# Makes a condition of an operator and a value. Raises FilterProblem.
Answer = Callable[[Operator, Any], Condition]
# The same of those values of an attribute that fulfil a filter about their parts.
Inside = Callable[[Filter], Condition]
_SMALL: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def condition(wanted: Filter, answers: Mapping[tuple[str, ...], Answer], inside: Mapping[str, Inside]) -> Condition:
    """Raises FilterProblem for an attribute that isn't among the answers."""
    if isinstance(wanted, Both):
        parts = [condition(part, answers, inside) for part in wanted.parts]
        return sa.and_(*parts) if wanted.word == "and" else sa.or_(*parts)
    if isinstance(wanted, Not):
        return sa.not_(condition(wanted.of, answers, inside))
    if isinstance(wanted, Within):
        if wanted.attribute not in inside:
            raise FilterProblem(f"'{wanted.attribute}' can't be filtered by parts of its values here.")
        return inside[wanted.attribute](wanted.of)
    answer = answers.get(wanted.path)
    if answer is None:
        raise FilterProblem(f"'{'.'.join(wanted.path)}' can't be filtered by here.")
    return answer(wanted.operator, wanted.value)


def text(column: Text, *, exact: bool = False) -> Answer:
    """A text, in any case unless it is `exact`. One that isn't there is like an empty one."""

    def answer(operator: Operator, value: Any) -> Condition:
        own: Text = sa.func.coalesce(column, "")
        if operator == "pr":
            return own != ""
        if not isinstance(value, str):
            raise FilterProblem("This attribute is compared with a text in quotation marks.")
        if exact:
            return _compare(own, operator, clean(value))
        # SQLite knows the case of ASCII letters only.
        spelled = {clean(value).lower(), clean(value).translate(_SMALL)}
        either = [_compare(sa.func.lower(own), operator, spelling) for spelling in sorted(spelled)]
        return sa.and_(*either) if operator == "ne" else sa.or_(*either)

    return answer


def _compare(own: Text, operator: Operator, value: Any) -> Condition:
    made: dict[str, Callable[[], Condition]] = {
        "eq": lambda: own == value,
        "ne": lambda: own != value,
        "co": lambda: own.contains(value, autoescape=True),
        "sw": lambda: own.startswith(value, autoescape=True),
        "ew": lambda: own.endswith(value, autoescape=True),
        "gt": lambda: own > value,
        "ge": lambda: own >= value,
        "lt": lambda: own < value,
        "le": lambda: own <= value,
    }
    return made[operator]()


def flag(column: Condition) -> Answer:
    def answer(operator: Operator, value: Any) -> Condition:
        if operator == "pr":
            return sa.true()
        if isinstance(value, str) and value.lower() in {"true", "false"}:
            # Entra writes "True".
            value = value.lower() == "true"
        if not isinstance(value, bool) or operator not in {"eq", "ne"}:
            raise FilterProblem("This attribute is true or false, and equals one of them or not.")
        return column if value is (operator == "eq") else sa.not_(column)

    return answer


def seconds(column: Text) -> Answer:
    """A time, which stands in the filter as a text."""

    def answer(operator: Operator, value: Any) -> Condition:
        if operator == "pr":
            return sa.true()
        try:
            at = datetime.fromisoformat(value).timestamp() if isinstance(value, str) else None
        except (ValueError, OverflowError):
            at = None
        if at is None or operator in {"co", "sw", "ew"}:
            raise FilterProblem('This attribute is a time, such as "2026-05-13T04:42:34Z".')
        return _compare(column, operator, at)

    return answer


def member(exists: Callable[[Text], Condition], column: Text) -> Answer:
    """Whether something is a member of something else, by an id."""

    def answer(operator: Operator, value: Any) -> Condition:
        if operator == "pr":
            return exists(sa.true())
        if operator != "eq" or not isinstance(value, str):
            raise FilterProblem("Members are filtered by 'eq' and an id only.")
        return exists(column == clean(value))

    return answer


def by_value(answer: Answer) -> Inside:
    """Brackets in which an id stands: `members[value eq "..."]`."""

    def inside(wanted: Filter) -> Condition:
        if not isinstance(wanted, Comparison) or wanted.path != ("value",):
            raise FilterProblem("Between these brackets is a comparison with 'value'.")
        return answer(wanted.operator, wanted.value)

    return inside


def addresses(main: Text, main_kind: Text, values: Text, kinds: Text) -> tuple[Answer, Inside]:
    """Addresses: the main one, and others (`directory_user.email_values`, `email_kinds`). By any, and by those of one kind."""

    def found(operator: Operator, value: Any, kind: str | None) -> Condition:
        if operator == "pr":
            return main != ""
        if not isinstance(value, str):
            raise FilterProblem("An address is compared with a text in quotation marks.")
        value = clean(value).lower()
        if "\n" in value or "\t" in value or operator not in (_OF_ANY if kind is None else _OF_KIND):
            raise FilterProblem("Addresses are compared by eq, ne, co, sw and ew; those of one kind by eq, ne and sw.")
        plain: Operator = "eq" if operator == "ne" else operator
        own = text(main)(plain, value)
        before, behind = (
            "" if plain in {"co", "ew"} else f"\n{kind}\t" if kind else "\n",
            "" if plain in {"co", "sw"} else "\n",
        )
        pattern = f"%{_escaped(before + value + behind)}%"
        others = sa.func.coalesce(values if kind is None else kinds, "").like(pattern, escape="/")
        either = sa.or_(own if kind is None else sa.and_(own, main_kind == kind), others)
        return sa.not_(either) if operator == "ne" else either

    def inside(wanted: Filter) -> Condition:
        """`[value ...]`, and `[type eq "work" and value eq "..."]`, which is how `emails[type eq "work"].value eq` is read."""
        parts = wanted.parts if isinstance(wanted, Both) and wanted.word == "and" else (wanted,)
        value = [one for one in parts if isinstance(one, Comparison) and one.path == ("value",)]
        others = [one for one in parts if not (isinstance(one, Comparison) and one.path == ("value",))]
        said = [wanted_of(one) for one in others]
        kinds = [one.get("type") for one in said if one is not None and one.keys() == {"type"}]
        if len(value) != 1 or len(kinds) != len(others) or len(kinds) > 1:
            raise FilterProblem("Between these brackets are one comparison with 'value', and 'type eq' at most.")
        return found(value[0].operator, value[0].value, str(kinds[0]).lower() if kinds else None)

    return (lambda operator, value: found(operator, value, None)), inside


def _escaped(value: str) -> str:
    return value.replace("/", "//").replace("%", "/%").replace("_", "/_")
