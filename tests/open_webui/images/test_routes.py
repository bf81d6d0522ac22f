"""Pictures over HTTP: every engine, in the contract's shape and in OpenAI's, as files of the asker."""

import asyncio
import base64
import json
from typing import Any

import pytest
from openai import AsyncOpenAI

from open_webui.config.images import WIRE, WORKFLOW
from tests.open_webui.images.conftest import Set
from tests.support.engines import Engines, engines
from tests.support.live import Actor, Live, used
from tests.support.pictures import data_url, png

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
MADE = "/api/v1/images/generations"
PROMPT = {"prompt": "A cat"}


async def bytes_of(actor: Actor, reply: Any) -> list[bytes]:
    assert reply.status_code == 200, reply.text
    return [(await actor.client.get(one["url"])).content for one in reply.json()]


async def test_the_settings_are_saved_as_the_page_sends_them(live: Live, admin: Actor, user: Actor) -> None:
    config = (await admin.client.get("/api/v1/images/config")).json()
    assert list(config) == list(WIRE)
    assert config["COMFYUI_WORKFLOW"] == WORKFLOW
    posted = config | {
        "ENABLE_IMAGE_GENERATION": True, "IMAGE_STEPS": "30", "IMAGES_OPENAI_API_PARAMS": '{"quality": "low"}',
        "AUTOMATIC1111_PARAMS": "", "IMAGE_SIZE": None, "IMAGES_OPENAI_API_KEY": "sk-1",
        "AUTOMATIC1111_API_AUTH": {"username": "ann", "password": "x"},
        "COMFYUI_WORKFLOW_NODES": [{"type": "prompt", "key": "text", "node_ids": "6"}],
    }  # fmt: skip
    reply = await admin.client.post("/api/v1/images/config/update", json=posted)
    assert reply.status_code == 200, reply.text
    expected = posted | {
        "IMAGE_STEPS": 30, "IMAGES_OPENAI_API_PARAMS": {"quality": "low"}, "AUTOMATIC1111_PARAMS": {}, "IMAGE_SIZE": "",
        "AUTOMATIC1111_API_AUTH": "ann:x",
    }  # fmt: skip
    assert reply.json() == expected == (await admin.client.get("/api/v1/images/config")).json()
    assert (await user.client.get("/api/config")).json()["features"]["enable_image_generation"] is True
    assert (await user.client.get("/api/v1/images/config")).status_code == 401


NONE_OF_THEM = (
    ("IMAGE_STEPS", "many"), ("IMAGE_STEPS", 5_000), ("IMAGE_STEPS", True), ("IMAGE_SIZE", "large"),
    ("IMAGE_GENERATION_ENGINE", "crayons"), ("COMFYUI_WORKFLOW", "{}"), ("COMFYUI_WORKFLOW", "no"),
    ("COMFYUI_BASE_URL", "ftp://x"), ("COMFYUI_WORKFLOW_NODES", [1]), ("IMAGES_OPENAI_API_PARAMS", "no"),
    ("IMAGES_OPENAI_API_PARAMS", []), ("IMAGES_GEMINI_ENDPOINT_METHOD", "draw"), ("ENABLE_IMAGE_EDIT", "yes"),
    ("IMAGES_OPENAI_API_KEY", "x" * 20_000), ("IMAGE_GENERATION_MODEL", "a\ud800"),
)  # fmt: skip


async def test_a_setting_that_can_not_be_one_is_named(admin: Actor) -> None:
    for name, value in NONE_OF_THEM:
        reply = await admin.client.post("/api/v1/images/config/update", content=json.dumps({name: value}))
        assert reply.status_code in {400, 422}, (name, value, reply.text)


async def test_openai_makes_pictures_that_are_files_of_the_asker(
    live: Live, use: Set, engine: Engines, user: Actor, other: Actor
) -> None:
    engine.pictures = [png(1), png(2)]
    await use(image_generation__openai__params={"quality": "low"}, image_generation__model="dall-e-3")
    reply = await user.client.post(MADE, json=PROMPT | {"n": 2, "size": "1024x1024"})
    assert await bytes_of(user, reply) == engine.pictures
    (one, _) = reply.json()
    assert one == {
        "id": one["id"], "url": f"/api/v1/files/{one['id']}/content", "name": "generated-image.png",
        "content_type": "image/png",
    }  # fmt: skip
    assert engine.asked[0] == (
        "/images/generations",
        {
            "model": "dall-e-3",
            "prompt": "A cat",
            "n": 2,
            "size": "1024x1024",
            "response_format": "b64_json",
            "quality": "low",
        },
    )
    assert engine.headers[0]["Authorization"] == "Bearer k"
    assert (await other.client.get(one["url"])).status_code == 404
    gallery = (await user.client.get("/api/v1/images/made")).json()
    assert [(p["prompt"], p["model"], p["engine"]) for p in gallery] == [("A cat", "dall-e-3", "openai")] * 2
    assert (await other.client.get("/api/v1/images/made")).json() == []
    (row,) = await used(live, 1)
    assert (row.model_id, row.connection, row.status) == ("dall-e-3", "images:openai", 200)


async def test_pictures_at_addresses_come_of_the_engines_origin_or_a_public_one(
    live: Live, use: Set, engine: Engines, user: Actor
) -> None:
    await use()
    engine.as_urls = [f"{engine.url}/file.png", "/file.png", data_url(png(1))]
    reply = await user.client.post(MADE, json=PROMPT | {"n": 3})
    assert await bytes_of(user, reply) == [png(1)] * 3
    for url, said in (
        ("http://127.0.0.1:9/file.png", "is no public address"),
        (f"{engine.url}/away", "sends one elsewhere"),
        ("file:///etc/passwd", "is no address of the web"),
    ):
        engine.as_urls = [url]
        reply = await user.client.post(MADE, json=PROMPT)
        assert reply.status_code == 502
        assert said in reply.json()["detail"]


async def test_gemini(live: Live, use: Set, engine: Engines, user: Actor) -> None:
    await use("gemini")
    assert await bytes_of(user, await user.client.post(MADE, json=PROMPT)) == [png(1)]
    assert engine.asked[-1] == (
        "/models/imagen-4.0-generate-001:predict",
        {
            "instances": [{"prompt": "A cat"}],
            "parameters": {"sampleCount": 1, "outputOptions": {"mimeType": "image/png"}},
        },
    )
    assert engine.headers[-1]["x-goog-api-key"] == "k"
    reply = await user.client.post(MADE, json=PROMPT | {"model": "gemini-2.5-flash-image", "n": 2})
    assert len(reply.json()) == 2
    assert engine.paths()[-2:] == ["/models/gemini-2.5-flash-image:generateContent"] * 2
    body = PROMPT | {"image": reply.json()[0]["url"]}
    assert await bytes_of(user, await user.client.post("/api/v1/images/edit", json=body)) == [png(1)]
    parts = engine.asked[-1][1]["contents"][0]["parts"]
    assert base64.b64decode(parts[1]["inlineData"]["data"]) == png(1)


async def test_automatic1111(live: Live, use: Set, engine: Engines, user: Actor, admin: Actor) -> None:
    await use("automatic1111", image_generation__automatic1111__api_params={"cfg_scale": 3})
    body = PROMPT | {"model": "sd [abc]", "negative_prompt": "dogs", "steps": 4}
    assert await bytes_of(user, await user.client.post(MADE, json=body)) == [png(1)]
    assert engine.bodies("/sdapi/v1/txt2img") == [
        {
            "prompt": "A cat", "batch_size": 1, "width": 512, "height": 512, "steps": 4, "negative_prompt": "dogs",
            "override_settings": {"sd_model_checkpoint": "sd [abc]"}, "cfg_scale": 3,
        }
    ]  # fmt: skip
    assert engine.headers[0]["Authorization"] == f"Basic {base64.b64encode(b'ann:secret').decode()}"
    (made,) = (await user.client.get("/api/v1/images/made")).json()
    assert made["seed"] == 7
    await user.client.post("/api/v1/images/edit", json=PROMPT | {"image": data_url(png(3))})
    assert base64.b64decode(engine.bodies("/sdapi/v1/img2img")[0]["init_images"][0]) == png(3)
    assert (await admin.client.get("/api/v1/images/models")).json() == [{"id": "sd [abc]", "name": "sd"}]


async def test_comfyui(live: Live, use: Set, engine: Engines, user: Actor, admin: Actor) -> None:
    edit = {"1": {"class_type": "LoadImage", "inputs": {}}, "2": {"class_type": "CLIPTextEncode", "inputs": {}}}
    nodes = [{"type": "image", "node_ids": ["1"]}, {"type": "prompt", "key": "text", "node_ids": "2, 77"}]
    # As the official page saves what nobody has filled in.
    unset = [{"type": kind, "key": key, "node_ids": []} for kind, key in (("prompt", "text"), ("model", "ckpt_name"))]
    await use(
        "comfyui", images__edit__comfyui__workflow=json.dumps(edit), images__edit__comfyui__nodes=nodes,
        image_generation__comfyui__nodes=unset,
    )  # fmt: skip
    reply = await user.client.post(
        MADE, json=PROMPT | {"model": "two.safetensors", "size": "640x384", "steps": 9, "n": 2}
    )
    assert await bytes_of(user, reply) == [png(1)]
    filled = engine.bodies("/prompt")[0]["prompt"]
    assert filled["6"]["inputs"]["text"] == "A cat"
    assert filled["4"]["inputs"]["ckpt_name"] == "two.safetensors"
    assert filled["5"]["inputs"] == {"width": 640, "height": 384, "batch_size": 2}
    (made,) = (await user.client.get("/api/v1/images/made")).json()
    assert (filled["3"]["inputs"]["steps"], filled["3"]["inputs"]["seed"]) == (9, made["seed"])
    body = PROMPT | {"image": [reply.json()[0]["url"]]}
    assert await bytes_of(user, await user.client.post("/api/v1/images/edit", json=body)) == [png(1)]
    assert engine.bodies("/upload/image")[0][0] == ("image", png(1))
    filled = engine.bodies("/prompt")[1]["prompt"]
    assert (filled["1"]["inputs"], filled["2"]["inputs"]) == ({"image": "in.png"}, {"text": "A cat"})
    models = (await admin.client.get("/api/v1/images/models")).json()
    assert [one["id"] for one in models] == ["one.safetensors", "two.safetensors"]
    engine.fails = True
    reply = await user.client.post(MADE, json=PROMPT)
    assert (reply.status_code, reply.json()["detail"]) == (
        502,
        "ComfyUI could not make the picture: No such checkpoint.",
    )


async def test_the_openai_package(live: Live, use: Set, engine: Engines, user: Actor) -> None:
    await use()
    async with AsyncOpenAI(base_url=f"{live.url}/api/v1", api_key=user.token, max_retries=0) as client:
        made = await client.images.generate(model="gpt-image-1", prompt="A cat", quality="low", size="1024x1024")
        assert made.data is not None
        assert base64.b64decode(made.data[0].b64_json or "") == png(1)
        sent = {"model": "gpt-image-1", "prompt": "A cat", "n": 1, "size": "1024x1024", "quality": "low"}
        assert engine.asked[-1] == ("/images/generations", sent)
        made = await client.images.generate(prompt="A cat", response_format="url")
        assert made.data is not None
        url = made.data[0].url or ""
        assert url.startswith(live.url)
        assert (await user.client.get(url)).content == png(1)
        changed = await client.images.edit(
            image=[("a.png", png(4)), ("b.png", png(5))], mask=("m.png", png(6)), prompt="Hat"
        )
        assert changed.data is not None
        assert base64.b64decode(changed.data[0].b64_json or "") == png(1)
    path, form = engine.asked[-1]
    assert path == "/images/edits"
    assert [(name, value) for name, value in form if isinstance(value, bytes)] == [
        ("image[]", png(4)), ("image[]", png(5)), ("mask", png(6)),
    ]  # fmt: skip
    # Whoever sends the contract's form gets the contract's list, by whichever key.
    assert isinstance((await user.client.post(MADE, json=PROMPT)).json(), list)


async def test_what_engines_say_against_it_is_a_sentence(live: Live, use: Set, engine: Engines, user: Actor) -> None:
    await use()
    for status, body, expected, said in (
        (400, '{"error": {"message": "Not that."}}', 400, "The engine answered with status 400: Not that."),
        (401, "{}", 502, "The engine does not let this server in (status 401)."),
        (500, "oh", 502, "The engine answered with status 500."),
        (200, "no", 502, "The engine answered something that can't be understood."),
        (200, '{"data": []}', 502, "The engine answered without a picture."),
        (200, '{"data": [{"b64_json": "@"}]}', 502, "The engine sent a picture that can't be read."),
    ):
        engine.broken, engine.status = body, status
        reply = await user.client.post(MADE, json=PROMPT)
        assert (reply.status_code, reply.json()["detail"]) == (expected, said)
    assert (await user.client.get("/api/v1/images/made")).json() == []
    await use(image_generation__openai__api_base_url="http://127.0.0.1:9")
    assert "can't be reached" in (await user.client.post(MADE, json=PROMPT)).json()["detail"]
    engine.broken = None
    engine.hold = asyncio.Event()
    await use(images__timeout=1)
    assert (await user.client.post(MADE, json=PROMPT)).status_code == 504


async def test_who_may_and_what_is_refused(live: Live, use: Set, engine: Engines, user: Actor, other: Actor) -> None:
    assert (await user.client.post(MADE, json=PROMPT)).status_code == 403
    await use()
    edit = "/api/v1/images/edit"
    reply = await user.client.post(MADE, json=PROMPT)
    mine = reply.json()[0]
    for url, body, status in (
        (MADE, {}, 422), (MADE, {"prompt": ""}, 422), (MADE, PROMPT | {"n": 11}, 422), (MADE, PROMPT | {"size": "1x1"}, 400),
        (MADE, PROMPT | {"stream": True}, 400), (MADE, PROMPT | {"response_format": "svg"}, 400),
        (edit, PROMPT | {"image": "nonsense"}, 400), (edit, PROMPT | {"image": []}, 422),
        (edit, PROMPT | {"image": data_url(b"<svg/>", "image/svg+xml")}, 400),
        (edit, PROMPT | {"image": "http://127.0.0.1:9/x.png"}, 400),
    ):  # fmt: skip
        refused = await user.client.post(url, json=body)
        assert refused.status_code == status, (body, refused.text)
    for image in (mine["url"], mine["id"]):
        assert (await other.client.post(edit, json=PROMPT | {"image": image})).status_code == 404
    assert (await user.client.post("/api/v1/images/edits", json={})).status_code == 400
    no_prompt = await user.client.post("/api/v1/images/edits", files={"image": ("a.png", png(1))})
    assert no_prompt.status_code == 400


async def test_an_engine_is_looked_at_before_it_is_saved(admin: Actor, engine: Engines) -> None:
    for name in ("openai", "gemini", "automatic1111", "comfyui"):
        reply = await admin.client.post(
            "/api/v1/images/verify", json={"engine": name, "url": f"{engine.url}/", "key": "k"}
        )
        assert (reply.status_code, reply.json()) == (200, True)
    for form, status in (
        ({"engine": "openai", "url": "http://127.0.0.1:9"}, 502),
        ({"engine": "openai", "url": "no"}, 400),
        ({"engine": "crayons", "url": engine.url}, 400),
    ):
        assert (await admin.client.post("/api/v1/images/verify", json=form)).status_code == status
    assert engine.paths() == ["/models", "/models", "/sdapi/v1/options", "/object_info"]


async def test_a_picture_is_kept_when_its_asker_hangs_up(live: Live, use: Set, engine: Engines, user: Actor) -> None:
    await use()
    engine.hold = asyncio.Event()
    asking = asyncio.create_task(user.client.post(MADE, json=PROMPT))
    await engine.arrived.wait()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    engine.hold.set()
    (row,) = await used(live, 1)
    assert row.status == 200
    async with asyncio.timeout(30):
        while not (made := (await user.client.get("/api/v1/images/made")).json()):  # noqa: ASYNC110 - it is a row
            await asyncio.sleep(0.05)
    assert made[0]["prompt"] == "A cat"


async def test_no_redirect_is_followed_by_a_websocket_either(
    live: Live, use: Set, engine: Engines, user: Actor
) -> None:
    """The key of the engine would go along, and the server would knock at an address that nobody has set."""
    async with engines() as elsewhere:
        await use("comfyui")
        for address in (f"{elsewhere.url}/ws?clientId=x", "/ws?clientId=x"):
            engine.socket_at = address
            reply = await user.client.post(MADE, json=PROMPT)
            assert (reply.status_code, reply.json()["detail"]) == (502, "ComfyUI can't be reached (Redirected).")
        assert (elsewhere.sockets, elsewhere.asked, engine.bodies("/prompt")) == ({}, [], [])
        engine.socket_at = None
        assert await bytes_of(user, await user.client.post(MADE, json=PROMPT)) == [png(1)]
