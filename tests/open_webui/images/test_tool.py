"""Models that have pictures made and changed by the built-in tools."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.open_webui.images.conftest import Set
from tests.open_webui.tools.talking import outputs, say
from tests.support.engines import Engines
from tests.support.live import Actor, Live
from tests.support.pictures import png
from tests.support.script import ToolCall
from tests.support.upstream import Upstream

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
ON = {"image_generation": True}


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]], connections: None, monkeypatch: pytest.MonkeyPatch) -> Live:
    monkeypatch.delenv("ENABLE_BUILTIN_TOOLS")
    return await make_live(bypass_model_access_control=True)


def call(name: str, **arguments: Any) -> ToolCall:
    return ToolCall(name, (json.dumps(arguments),), "c1")


async def asked(actor: Actor, upstream: Upstream, *calls: ToolCall, **fields: Any) -> dict[str, Any]:
    return await say(actor, upstream, *calls, tool_ids=(), **({"features": ON} | fields))


def offered(upstream: Upstream) -> set[str]:
    names = {tool["function"]["name"] for tool in upstream.chats[-1].body.get("tools", ())}
    return names & {"generate_image", "edit_image"}


async def test_a_model_makes_and_changes_a_picture(
    live: Live, use: Set, engine: Engines, user: Actor, upstream: Upstream
) -> None:
    await use()
    message = await asked(user, upstream, call("generate_image", prompt="A cat", size="640x640"))
    assert offered(upstream) == {"generate_image", "edit_image"}
    told = json.loads(outputs(message)[0])
    (entry,) = message["files"]
    assert [one["url"] for one in told["images"]] == [entry["url"]]
    assert engine.bodies("/images/generations") == [
        {"model": "dall-e-2", "prompt": "A cat", "n": 1, "size": "640x640", "response_format": "b64_json"}
    ]
    message = await asked(user, upstream, call("edit_image", prompt="A hat", image_urls=[entry["url"]]))
    assert len(message["files"]) == 1
    assert engine.bodies("/images/edits")[0][-1] == ("image", png(1))
    for arguments, said in (
        ({"prompt": "x", "size": "huge"}, "The size should be like 512x512"),
        ({"prompt": " "}, "'prompt' should be a text."),
    ):
        message = await asked(user, upstream, call("generate_image", **arguments))
        assert outputs(message)[0].startswith(said)
    assert outputs(await asked(user, upstream, call("edit_image", prompt="x")))[0] == "There is no picture to change."


async def test_it_is_offered_where_it_was_switched_on(
    live: Live, use: Set, admin: Actor, user: Actor, upstream: Upstream
) -> None:
    await use()
    await asked(user, upstream, features={})
    assert not offered(upstream)
    for meta in {"capabilities": {"image_generation": False}}, {"builtinTools": {"image_generation": False}}:
        body = {"id": "plain", "base_model_id": "rounds", "name": "Plain", "meta": meta, "params": {}}
        route = "create" if "capabilities" in meta else "model/update"
        assert (await admin.client.post(f"/api/v1/models/{route}", json=body)).status_code == 200
        await asked(admin, upstream, model="plain", features=ON if "capabilities" in meta else {})
        assert not offered(upstream)
    await use(images__edit__enable=False)
    await asked(user, upstream)
    assert offered(upstream) == {"generate_image"}
