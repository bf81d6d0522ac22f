"""JSON schemas as the engines hold them: what can't be held is refused by its keyword and place, never passed over.

Two engines hold answers: llguidance (of llama.cpp for prompts, of Transformers) and llama.cpp's own grammars (its chats).
The first knows far more; without a word, the second writes anything where it doesn't know a keyword.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final
from urllib.parse import unquote

from llamaforge.exceptions import MissingExtraError, ParameterError

Json = dict[str, Any]
MAX_DEPTH: Final = 64
MAX_SIZE: Final = 1_000_000  # characters of JSON
# What engines need for a schema grows with its parts, the counts of items and multiples; beyond twice this, one writes
# without any schema. The time for parts, each of which counts as 10, grows with their square: half a second here.
MAX_WEIGHT: Final = 20_000
# With what references lead to, so many objects within each other: engines' stacks end, and the process with them, at 1,000.
MAX_REACH: Final = 256
# Keywords that constrain an answer and that no engine holds.
_UNHELD: Final = frozenset(
    "not if then else contains minContains maxContains uniqueItems dependentRequired dependentSchemas dependencies"
    " propertyNames unevaluatedItems unevaluatedProperties $dynamicRef $recursiveRef".split()
)
_TYPES: Final = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
# What says nothing about an answer; $schema and $id would change how references and numbers are read.
_DROPPED: Final = frozenset({"$schema", "$id", "id", "$comment", "x-guidance"})
_BY_NAME: Final = ("properties", "patternProperties", "$defs", "definitions")
_LISTS: Final = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
_SINGLE: Final = ("items", "additionalItems", "additionalProperties")
# Free white space is where small models lose themselves.
_WHITE_SPACE: Final = {"whitespace_flexible": False, "key_separator": ": ", "item_separator": ", "}
# What llama.cpp's own grammars hold, each of which type of value; and what may stand beside it.
_PLAIN: Final[Mapping[str, str]] = {
    "properties": "object", "required": "object", "additionalProperties": "object", "items": "array", "minItems": "array",
    "maxItems": "array", "minLength": "string", "maxLength": "string", "minimum": "integer", "maximum": "integer",
}  # fmt: skip
_SAID: Final = frozenset("title description default examples deprecated readOnly writeOnly $defs definitions".split())
# Beyond this its time grows with the square of the size, and more. In characters of JSON, and as a bound of a length.
_LARGEST_PLAIN: Final = 5_000
_LONGEST_PLAIN: Final = 1_000
# Its whole numbers have 64 bits: beyond them it writes any number, or ends the process.
_LARGEST_BOUND: Final = 2**53
# As far as engines count, which read bounds as floats.
_INT64: Final = 2**63 - 1024
# A number with as many digits as that has.
_LONG: Final = 10**18
_BOUNDS: Final = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_PLAIN_REF: Final = re.compile(r"#/(\$defs|definitions)/([^/~%]+)")


def checked_schema(schema: object) -> Json:
    """The schema in the form in which engines hold it. Raises ParameterError, with the keyword and its place."""
    held = _held(schema, "#", 0)
    if not isinstance(held, dict):
        raise ParameterError("The JSON schema must be an object.")
    try:
        text = json.dumps(held)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"The JSON schema has a value that is no JSON: {error}") from None
    if len(text) > MAX_SIZE:
        raise ParameterError(f"The JSON schema is longer than {MAX_SIZE:,} characters.")
    if _weight(held) > MAX_WEIGHT:
        raise ParameterError(
            "The JSON schema is too large for an engine: it has too many parts, or its counts of items or multiples are too high."
        )
    _check_reach(held)
    if not is_plain(held):
        _compile(held)
    return held


def _weight(schema: Json) -> float:
    weight = 0.0
    waiting: list[Any] = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            weight += 10
            for name in ("minItems", "maxItems", "multipleOf"):
                if isinstance(bound := part.get(name), int | float):
                    # A multiple of 0.25 is one of 25 hundredths.
                    digits = len(repr(bound).partition(".")[2]) if isinstance(bound, float) else 0
                    weight += min(abs(bound), MAX_WEIGHT + 1) * 10.0**digits
        if isinstance(part, Mapping | list):
            waiting += part.values() if isinstance(part, Mapping) else part
    return weight


def _check_reach(schema: Json) -> None:
    """Raises ParameterError for references to nowhere, and for parts that lie too deep within each other through them."""
    depths: dict[str, int] = {}
    graph: dict[str, set[str]] = {}
    waiting = ["#"]
    while waiting:
        reference = waiting.pop()
        if reference not in depths:
            depths[reference], graph[reference] = _within(_target(schema, reference))
            waiting += graph[reference]
    reach = sum(depths.values())
    if reach > MAX_REACH:
        with contextlib.suppress(CycleError):
            longest: dict[str, int] = {}
            for reference in TopologicalSorter(graph).static_order():
                longest[reference] = depths[reference] + max(map(longest.__getitem__, graph[reference]), default=0)
            reach = longest["#"]
    if reach > MAX_REACH:
        raise ParameterError(f"The parts of the JSON schema lie more than {MAX_REACH} deep within each other.")


def _within(part: object) -> tuple[int, set[str]]:
    """How deep a part is, in objects, and the references in it."""
    deepest, references = 0, set()
    waiting = [(part, 1)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, Mapping):
            deepest = max(deepest, depth)
            if isinstance(reference := value.get("$ref"), str):
                references.add(reference)
            # What is defined counts where it is referred to.
            waiting += [(one, depth + 1) for name, one in value.items() if name not in ("$defs", "definitions")]
        elif isinstance(value, list | tuple):
            waiting += [(one, depth) for one in value]
    return deepest, references


def _target(schema: Json, reference: str) -> object:
    """What a reference within the schema leads to: a JSON pointer, as it stands in an address. Raises ParameterError."""
    found: Any = schema if reference.startswith("#") else None
    for escaped in unquote(reference).split("/")[1:]:
        name = escaped.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        else:
            found = found.get(name) if isinstance(found, Mapping) else None
    if found is None or (reference != "#" and not reference.startswith("#/")):
        raise ParameterError(f"The JSON schema can't be held: it refers to {reference[:200]!r}, which is not in it.")
    return found


def grammar(schema: Mapping[str, Any]) -> str:
    """The grammar by which llguidance holds a checked schema."""
    return f"%llguidance {{}}\nstart: {rule(schema)}"


def rule(schema: Mapping[str, Any]) -> str:
    """A checked schema as what a rule of llguidance's grammars can be."""
    return f"%json {json.dumps({'x-guidance': _WHITE_SPACE, **schema})}"


def _compile(schema: Mapping[str, Any]) -> None:
    """Raises ParameterError for what llguidance can't hold: an engine that fails at it goes on without any schema."""
    try:
        from llguidance import LLMatcher  # noqa: PLC0415 -- of an extra, and a tenth of a second
    except ImportError as error:
        raise MissingExtraError("llamacpp", "llguidance") from error
    failed, messages = LLMatcher.validate_grammar_with_warnings(grammar(schema))
    if failed:
        # Its message goes on with the grammar itself.
        reason = " ".join(messages[:1]).partition("\n   1 |")[0].rpartition("JSON schema: ")[2]
        raise ParameterError(f"The JSON schema can't be held: {' '.join(reason.split())[:500]}")


def bounded(part: Any, depth: int = 0) -> Any:
    """A schema of a tool without bounds that leave any 64-bit integer; llama.cpp's grammar of a tool ends at such numbers.

    Raises ParameterError for one that leaves none of its integers, and for too deep a schema.
    """
    if depth > MAX_REACH:
        raise ParameterError(f"The parts of a tool's parameters lie more than {MAX_REACH} deep within each other.")
    if isinstance(part, list | tuple):
        return [bounded(one, depth + 1) for one in part]
    if not isinstance(part, Mapping):
        return part
    kept = {}
    for name, value in part.items():
        is_bound = name in _BOUNDS and isinstance(value, int | float) and abs(value) >= _LARGEST_BOUND
        if not is_bound:
            kept[name] = bounded(value, depth + 1)
        elif ("inimum" in name) == (value > 0):
            raise ParameterError(f"'{name}' in a tool's parameters is beyond the numbers that an engine can hold.")
    return kept


def _held(schema: object, place: str, depth: int) -> Any:
    if isinstance(schema, bool):
        return schema
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        raise ParameterError(f"The JSON schema must be an object, nested at most {MAX_DEPTH} deep (at {place}).")
    held = {name: value for name, value in schema.items() if name not in _DROPPED}
    if held.get("uniqueItems") is False:
        del held["uniqueItems"]
    _check_keywords(held, place)
    if held.get("type") == "integer":
        _clamp(held)
    if "pattern" in held:
        held["pattern"] = _of_ascii(held["pattern"])
    if isinstance(held.get("items"), list):  # as older drafts say it
        held["prefixItems"] = held.pop("items")
        if "additionalItems" in held:
            held["items"] = held.pop("additionalItems")
    for name, key, part in list(_parts(held, place)):
        below = _held(part, f"{place}/{name}" if key is None else f"{place}/{name}/{key}", depth + 1)
        if key is None:
            held[name] = below
        else:
            held[name] = held[name].copy()
            held[name][key] = below
    return held


def _clamp(schema: Json) -> None:
    """Gives bounds of integers, in place, the 64 bits that engines count in: programs write the ends of these for "any"."""
    low, high = ([schema[name]] if isinstance(schema.get(name), int) else [] for name in ("minimum", "maximum"))
    open_below = not {"minimum", "exclusiveMinimum"} & schema.keys()
    open_above = not {"maximum", "exclusiveMaximum"} & schema.keys()
    if any(-(2**64) <= bound < -_INT64 for bound in low) or (open_below and any(-_INT64 <= n <= -_LONG for n in high)):
        schema["minimum"] = -_INT64
    if any(_INT64 < bound <= 2**64 for bound in high) or (open_above and any(_LONG <= n <= _INT64 for n in low)):
        schema["maximum"] = _INT64


def _check_keywords(schema: Json, place: str) -> None:
    for name in schema:
        if name in _UNHELD:
            raise ParameterError(
                f"No engine can hold an answer to '{name}' in a JSON schema (at {place}). Leave it out and check the answer."
            )
    kinds = schema.get("type", [])
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if not isinstance(kind, str) or kind not in _TYPES:
            raise ParameterError(f"The JSON schema has the unknown type {kind!r} (at {place}).")
    for name, form in (("enum", list), ("required", list), ("pattern", str), ("format", str), ("$ref", str)):
        if not isinstance(schema.get(name, form()), form):
            raise ParameterError(f"'{name}' in the JSON schema has the wrong type (at {place}).")


def _parts(schema: Mapping[str, Any], place: str) -> Iterator[tuple[str, Any, object]]:
    """The schemas within a schema, each with its keyword and, in a list or mapping, its key there."""
    kinds: tuple[tuple[tuple[str, ...], Any], ...] = ((_BY_NAME, Mapping), (_LISTS, list))
    for names, kind in kinds:
        for name in names:
            part = schema.get(name)
            if isinstance(part, kind):
                yield from ((name, key, part[key]) for key in (part if kind is Mapping else range(len(part))))
            elif part is not None and name != "items":
                raise ParameterError(f"'{name}' in the JSON schema has the wrong type (at {place}).")
    for name in _SINGLE:
        if name in schema and not isinstance(schema[name], list):
            yield name, None, schema[name]


def _of_ascii(pattern: str) -> str:
    r"""A pattern with JSON Schema's \d and \w in it, which mean ASCII, where engines mean all of Unicode."""
    inside = False
    out = []
    for piece in re.findall(r"\\.|[^\\]|\\$", pattern, re.DOTALL):
        inside = piece == "[" or (inside and piece != "]")
        ascii_class = {r"\d": "0-9", r"\w": "A-Za-z0-9_"}.get(piece)
        out.append(piece if ascii_class is None else ascii_class if inside else f"[{ascii_class}]")
    return "".join(out)


def is_plain(schema: Mapping[str, Any]) -> bool:
    """Whether llama.cpp's own grammar of a chat, which leaves room for a model's thoughts, holds a checked schema."""
    if schema.keys() <= _SAID or len(json.dumps(schema)) > _LARGEST_PLAIN:
        return False
    return _Plainness(schema).of(schema, frozenset())


class _Plainness:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._known: set[str] = set()

    def of(self, schema: Any, within: frozenset[str]) -> bool:
        """within: references that lead here, where another one would begin a circle."""
        if not isinstance(schema, Mapping):
            return False
        said = {name: value for name, value in schema.items() if name not in _SAID}
        if "$ref" in said:
            return len(said) == 1 and self._leads_to_plain(said["$ref"], within)
        if said.keys() == {"anyOf"}:
            return bool(said["anyOf"]) and all(self.of(one, within) for one in said["anyOf"])
        if not said or said.keys() == {"const"}:
            return True
        kind = said.pop("type", None)
        if "enum" in said:
            same = all(kind is None or (kind == "string" and isinstance(value, str)) for value in said["enum"])
            return len(said) == 1 and bool(said["enum"]) and same
        if not isinstance(kind, str) or any(_PLAIN.get(name) != kind for name in said):
            return False
        below = [said[name] for name in ("items", "additionalProperties") if name in said and said[name] is not True]
        below = [one for one in below if not (one is False and kind == "object")]
        return _are_bounds(said) and all(self.of(one, within) for one in (*said.get("properties", {}).values(), *below))

    def _leads_to_plain(self, reference: str, within: frozenset[str]) -> bool:
        found = _PLAIN_REF.fullmatch(reference)
        if found is None or reference in within:
            return False
        target = self._root.get(found[1], {}).get(found[2])
        if reference not in self._known and not self.of(target, within | {reference}):
            return False
        self._known.add(reference)
        return True


def _are_bounds(said: Mapping[str, Any]) -> bool:
    """Whether the lower bounds are whole numbers below the upper ones, and what is required is described."""
    for low, high in (("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems")):
        given = [said[name] for name in (low, high) if name in said]
        if not all(type(bound) is int and abs(bound) < _LARGEST_BOUND for bound in given) or given != sorted(given):
            return False
        if low != "minimum" and max(given, default=0) > _LONGEST_PLAIN:
            return False
    return all(name in said.get("properties", ()) for name in said.get("required", ()))
