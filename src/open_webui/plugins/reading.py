"""Reads a plugin's text: what kind it is, what its class says of itself, its forms, its tools, what it needs. Runs none of it."""

import ast
import warnings
from typing import Any, Final

from open_webui.plugins import lint, specs, valves
from open_webui.plugins.annotations import Module
from open_webui.plugins.constants import Unknown, names_in, value_of
from open_webui.plugins.frontmatter import frontmatter
from open_webui.plugins.text import CLASSES, MAX_CONTENT, Kind, Members, PluginText, Unreadable, Which

NO_CLASS: Final = (
    "It has no class Tools, Pipe, Filter, Action or Event at its top level: one of them is what a plugin is."
)
TWO_CLASSES: Final = "It has more than one of the classes {}: a plugin is one thing."
PIPELINE: Final = (
    "This is a pipeline, which a pipelines server runs. A plugin has a class Tools, Pipe, Filter, Action or Event."
)
TOO_LONG: Final = f"It has more than {MAX_CONTENT:,} characters."
NOT_PYTHON: Final = "It is not valid Python: {} (line {})."
TOO_DEEP: Final = "It is nested too deeply to be read."


class Text:
    """A text that is a plugin. entry: its class."""

    def __init__(self, content: str) -> None:
        """Raises Unreadable."""
        self.tree = parsed(content)
        self.kind, self.entry = _entry(self.tree)
        self.module = Module(self.tree.body)

    def model(self, which: Which) -> Any:
        """See `valves.valves_model`."""
        return valves.valves_model(self.entry, self.module, which)


def parsed(content: str) -> ast.Module:
    """Raises Unreadable for what is no Python."""
    if len(content) > MAX_CONTENT:
        raise Unreadable(TOO_LONG)
    try:
        with warnings.catch_warnings(action="ignore"):
            return ast.parse(content)
    except SyntaxError as error:
        raise Unreadable(NOT_PYTHON.format(error.msg, error.lineno or 0)) from None
    except (MemoryError, RecursionError):
        raise Unreadable(TOO_DEEP) from None
    except ValueError as error:
        raise Unreadable(NOT_PYTHON.format(error, 0)) from None


def read(content: str) -> PluginText:
    """All that is to be known of a plugin before it runs. Raises Unreadable."""
    try:
        text = Text(content)
        manifest = frontmatter(text.tree)
        forms = {which: text.model(which) for which in ("Valves", "UserValves")}
        schemas = {which: None if model is None else valves.schema_of(model) for which, model in forms.items()}
        return PluginText(
            kind=text.kind,
            manifest=manifest,
            members=_members(text, schemas),
            specs=tuple(specs.specs_of(text.entry, text.module)) if text.kind == "tool" else (),
            valves=schemas["Valves"],
            user_valves=schemas["UserValves"],
            findings=tuple(lint.findings(text.tree, manifest)),
        )
    except RecursionError:
        raise Unreadable(TOO_DEEP) from None


def check(content: str, which: Which, values: dict[str, Any]) -> dict[str, Any]:
    """Values for a form, as the plugin will have them. Raises Unreadable for what doesn't fit, and without a form."""
    model = Text(content).model(which)
    if model is None:
        raise Unreadable(f"The plugin has no class {which}: nothing can be set of it.")
    return valves.checked(model, values)


def _entry(tree: ast.Module) -> tuple[Kind, ast.ClassDef]:
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    found = [name for name in CLASSES if name in classes]
    if not found:
        raise Unreadable(PIPELINE if "Pipeline" in classes else NO_CLASS)
    if len(found) > 1:
        raise Unreadable(TWO_CLASSES.format(", ".join(found)))
    return CLASSES[found[0]], classes[found[0]]


def _members(text: Text, schemas: dict[str, dict[str, Any] | None]) -> Members:
    said = names_in(text.entry.body, {}) | _set_by_init(text)
    defaults = ((schemas["Valves"] or {}).get("properties", {})).get("priority", {})
    priority = defaults.get("default", 0)
    return Members(
        methods=tuple(method.name for method in specs.public_methods(text.entry)),
        toggle=said.get("toggle") is True,
        name=_text(said.get("name")),
        icon=_text(said.get("icon")),
        actions=_actions(said.get("actions")),
        priority=priority if isinstance(priority, int) and abs(priority) < 2**31 else 0,
        file_handler=text.module.scope.get("file_handler") is True or said.get("file_handler") is True,
        has_valves=schemas["Valves"] is not None,
        has_user_valves=schemas["UserValves"] is not None,
    )


def _set_by_init(text: Text) -> dict[str, Any]:
    """What `__init__` gives to members outright."""
    found: dict[str, Any] = {}
    for method in text.entry.body:
        if not isinstance(method, ast.FunctionDef) or method.name != "__init__":
            continue
        for statement in method.body:
            target, value = _own(statement)
            if target is not None:
                try:
                    found[target] = value_of(value, text.module.scope)
                except Unknown:
                    found.pop(target, None)
    return found


def _own(statement: ast.stmt) -> tuple[str | None, ast.expr | None]:
    """The member of `self` that a statement gives a value to, and that."""
    target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
    if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self":
        return target.attr, getattr(statement, "value", None)
    return None, None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _actions(value: Any) -> tuple[dict[str, str], ...]:
    """The buttons of an action that has several."""
    out = []
    for one in value if isinstance(value, list) else ():
        if isinstance(one, dict) and isinstance(one.get("id"), str):
            named = {key: one[key] for key in ("id", "name", "icon", "icon_url") if isinstance(one.get(key), str)}
            icon = named.pop("icon_url", named.get("icon", ""))
            out.append(named | {"icon": icon})
    return tuple(out[:50])
