"""Which functions take part where: what lists of models show, and what is run in which order."""

from typing import Any

import pytest

from open_webui.connections import taking_part
from open_webui.connections.base import ModelEntry
from open_webui.connections.profiles import base_wire
from open_webui.models.functions import FunctionRow
from tests.open_webui.models.test_workspace import create as create_model
from tests.open_webui.models.test_workspace import form as model_form
from tests.open_webui.plugins.test_functions import FUNCTIONS, create, form
from tests.open_webui.plugins.test_tools import say
from tests.support.live import Actor

SWITCHED = (
    "class Filter:\n    def __init__(self):\n        self.toggle = True\n        self.icon = 'data:image/png,x'\n"
)
ACTION = "class Action:\n    async def action(self, body): ...\n"
SEVERAL = "class Action:\n    actions = [{'id': 'a', 'name': 'A', 'icon_url': 'i'}, {'id': 'b'}]\n"


def row(function_id: str, kind: str = "filter", **changes: Any) -> FunctionRow:
    values: dict[str, Any] = {
        "version_id": None, "id": function_id, "user_id": None, "type": kind, "name": function_id.title(), "meta": {},
        "members": {}, "priority": 0, "is_active": True, "is_global": False, "updated_at": 1, "created_at": 1,
    }  # fmt: skip
    return FunctionRow(**values | changes)


def test_filters_of_an_answer() -> None:
    rows = [
        row("all", is_global=True),
        row("named"),
        row("other"),
        row("off", is_global=True, is_active=False),
        row("switch", is_global=True, members={"toggle": True}),
        row("own", members={"toggle": True}),
        row("action", "action", is_global=True),
    ]
    meta = {"filterIds": ["named", "own", 3, {"id": "other"}]}
    assert [one.id for one in taking_part.filters_of(rows, meta)] == ["all", "named"]
    # What is chosen must be offered.
    chosen = ["switch", "own", "other", "nothing"]
    assert [one.id for one in taking_part.filters_of(rows, meta, chosen)] == ["all", "named", "switch", "own"]
    assert [one.id for one in taking_part.filters_of(rows, {}, chosen)] == ["all", "switch"]
    assert [one.id for one in taking_part.actions_of(rows, {})] == ["action"]
    assert taking_part.actions_of(rows, {"actionIds": "named"})[0].id == "action"


@pytest.mark.parametrize("broken", [None, "x", 3, {"a": 1}, [{"id": 3}], [None]])
def test_rows_that_somebody_broke(broken: Any) -> None:
    rows = [row("a", "action", is_global=True, members={"actions": broken, "icon": broken}, meta={"manifest": broken})]
    assert isinstance(taking_part.shown(rows, {"filterIds": broken, "actionIds": broken})["actions"], list)


def test_a_pipe_among_the_models() -> None:
    raw = {"pipe": {"type": "pipe"}, "has_user_valves": False}
    entry = ModelEntry(id="p.one", name="One", remote_id="one", connection="pipe:p", kind="pipe", created=7, raw=raw)
    assert base_wire(entry) == {
        "id": "p.one", "name": "One", "object": "model", "created": 7, "owned_by": "openai", "pipe": {"type": "pipe"},
        "has_user_valves": False,
    }  # fmt: skip


async def listed(actor: Actor, model_id: str) -> dict[str, Any]:
    models: list[dict[str, Any]] = (await say(actor, "GET", "/api/models"))[1]["data"]
    return next(one for one in models if one["id"] == model_id)


@pytest.mark.usefixtures("upstream")
async def test_lists_of_models(admin: Actor) -> None:
    await create(admin, "switched", SWITCHED)
    await create(admin, "act", ACTION)
    await create(admin, "several", SEVERAL, meta={"description": "many"})
    for function_id in ("switched", "act", "several"):
        await say(admin, "POST", f"{FUNCTIONS}/id/{function_id}/toggle")
    meta = {"filterIds": ["switched"], "actionIds": ["several"]}
    await create_model(admin, meta=meta)
    shown = await listed(admin, "my-model")
    assert shown["filters"] == [
        {"id": "switched", "name": "Mine", "description": "d", "icon": "data:image/png,x", "has_user_valves": False}
    ]
    assert [(one["id"], one["name"], one["icon"]) for one in shown["actions"]] == [
        ("several.a", "A", "i"), ("several.b", "Mine", None),
    ]  # fmt: skip
    assert (await listed(admin, "echo"))["actions"] == []
    await say(admin, "POST", f"{FUNCTIONS}/id/act/toggle/global")
    assert [one["id"] for one in (await listed(admin, "echo"))["actions"]] == ["act"]
    await say(admin, "POST", f"{FUNCTIONS}/id/act/update", form("act", ACTION, name="Renamed"))
    assert (await listed(admin, "echo"))["actions"][0]["name"] == "Renamed"
    await say(admin, "POST", f"{FUNCTIONS}/id/switched/toggle")
    assert (await listed(admin, "my-model"))["filters"] == []
    await say(admin, "DELETE", f"{FUNCTIONS}/id/act/delete")
    assert (await listed(admin, "echo"))["actions"] == []
    await say(admin, "POST", "/api/v1/models/model/update", model_form(meta={}))
    assert (await listed(admin, "my-model"))["actions"] == []


async def test_they_are_run_by_priority(admin: Actor, live: Any) -> None:
    text = "class Filter:\n    class Valves(BaseModel):\n        priority: int = {}\n"
    for function_id, priority in (("a", 2), ("b", 1), ("c", 2)):
        await create(admin, function_id, text.format(priority))
        for switch in ("toggle", "toggle/global"):
            await say(admin, "POST", f"{FUNCTIONS}/id/{function_id}/{switch}")
    catalogue = live.app.state.oui.catalogue
    assert [one.id for one in taking_part.filters_of(catalogue.functions, {})] == ["b", "a", "c"]
    await say(admin, "POST", f"{FUNCTIONS}/id/a/valves/update", {"priority": 0})
    assert [one.id for one in taking_part.filters_of(catalogue.functions, {})] == ["a", "b", "c"]
