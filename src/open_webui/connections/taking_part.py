"""Which functions take part in the answers of a model, and how lists of models show them: filters in order, actions, pipes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from open_webui.models.functions import FunctionRow

Wire = dict[str, Any]


def named(meta: Mapping[str, Any], key: str) -> frozenset[str]:
    """The ids that a model's settings name."""
    ids = meta.get(key)
    return frozenset(one for one in ids if isinstance(one, str)) if isinstance(ids, list) else frozenset()


def filters_of(
    functions: Iterable[FunctionRow], meta: Mapping[str, Any], chosen: Iterable[str] = ()
) -> list[FunctionRow]:
    """The filters of an answer in the order in which they are run: those for all models and those that the model names.

    chosen: which of those that have a switch are on in the page.
    """
    on = frozenset(chosen)
    return [one for one in _for_model(functions, "filter", meta, "filterIds") if not has_switch(one) or one.id in on]


def actions_of(functions: Iterable[FunctionRow], meta: Mapping[str, Any]) -> list[FunctionRow]:
    """The actions that are offered below a model's answers."""
    return _for_model(functions, "action", meta, "actionIds")


def _for_model(functions: Iterable[FunctionRow], kind: str, meta: Mapping[str, Any], key: str) -> list[FunctionRow]:
    ids = named(meta, key)
    return [one for one in functions if one.type == kind and one.is_active and (one.is_global or one.id in ids)]


def has_switch(function: FunctionRow) -> bool:
    """Whether people switch a filter on for each question."""
    return function.members.get("toggle") is True


def shown(functions: Sequence[FunctionRow], meta: Mapping[str, Any]) -> Wire:
    """What a list says of a model: its actions, and the filters that have a switch."""
    filters = [one for one in _for_model(functions, "filter", meta, "filterIds") if has_switch(one)]
    actions = [button for one in actions_of(functions, meta) for button in _buttons(one)]
    return {"actions": actions, "filters": [_item(one) for one in filters]}


def _item(function: FunctionRow) -> Wire:
    return {
        "id": function.id,
        "name": function.name,
        "description": function.meta.get("description"),
        "icon": _icon(function),
        "has_user_valves": function.members.get("has_user_valves") is True,
    }


def _icon(function: FunctionRow) -> str | None:
    manifest = function.meta.get("manifest")
    icon = function.members.get("icon") or (manifest.get("icon_url") if isinstance(manifest, dict) else None)
    return icon if isinstance(icon, str) else None


def _buttons(function: FunctionRow) -> list[Wire]:
    """An action is one button, or several: each with an id of its own after the action's."""
    several = function.members.get("actions")
    if not isinstance(several, list | tuple) or not several:
        return [_item(function)]
    return [
        _item(function)
        | {
            "id": f"{function.id}.{one.get('id')}",
            "name": one.get("name") or function.name,
            "icon": one.get("icon") or _icon(function),
        }
        for one in several
        if isinstance(one, dict)
    ]
