"""Pictures made on this machine: a tiny model of random weights, what is refused of one, and that the process dies at worst."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio

from open_webui.errors import ProviderError
from open_webui.images import local
from open_webui.images.diffusion import folders
from open_webui.images.local import Local, Worker
from open_webui.images.looking import look
from open_webui.images.port import Given, Made, Order
from tests.support import tiny_diffusers
from tests.support.hub_cache import COMMIT
from tests.support.live import Actor, Live, used
from tests.support.pictures import png

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("diffusers"),
    pytest.mark.timeout(600),
]
PICKLED = "pickled files"
OWN_CODE = "code of its own"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_diffusers.write(tmp_path_factory.mktemp("models") / "tiny")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker() -> AsyncIterator[Worker]:
    made = Worker(300.0)
    yield made
    await made.close()


class Config(dict[str, Any]):
    def locked_by(self, _key: str) -> None:
        return None


def engine(worker: Worker, models: Path, seconds: float = 300.0, **settings: Any) -> Local:
    config: Any = Config({"image_generation.model": "tiny", "images.edit.model": ""} | settings)
    found: Any = SimpleNamespace(data_dir=models.parent, local_models_trust_admins=False)
    return Local(config, found, lambda: worker, seconds)


@pytest.fixture
def home(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """DATA_DIR/models with the model in it."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    shutil.copytree(tiny, tmp_path / "models" / "tiny")
    return tmp_path / "models"


class Told(list[float]):
    """Hears how far it is."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.began = asyncio.Event(), asyncio.Event()

    def __call__(self, done: float | None, _note: str | None) -> None:
        self.asked.set()
        if done is not None:
            self.append(done)
            self.began.set()


def order(**given: Any) -> Order:
    return Order(**({"prompt": "A cat", "width": 64, "height": 48, "steps": 3, "seed": 1} | given))


async def drawn(worker: Worker, home: Path, **given: Any) -> list[Made]:
    return await engine(worker, home).make(order(**given), Told())


async def test_the_same_seed_is_the_same_picture(worker: Worker, home: Path) -> None:
    (first,) = await drawn(worker, home)
    assert (first.seed, look(first.data).width, look(first.data).height) == (1, 64, 48)
    two = await drawn(worker, home, count=2)
    assert [one.seed for one in two] == [1, 2]
    assert two[0].data == first.data != two[1].data
    (other,) = await drawn(worker, home, seed=2)
    assert other.data == two[1].data
    (unlike,) = await drawn(worker, home, negative_prompt="dogs", guidance=12.5)
    assert unlike.data != first.data
    (any_seed,) = await drawn(worker, home, seed=None)
    assert any_seed.seed is not None


async def test_sizes_fit_the_model(worker: Worker, home: Path) -> None:
    for asked, made in (((33, 90), (32, 80)), ((None, None), (64, 64)), ((16, 16), (16, 16))):
        (picture,) = await drawn(worker, home, width=asked[0], height=asked[1], steps=1)
        looks = look(picture.data)
        assert (looks.width, looks.height) == made
    with pytest.raises(ProviderError, match="at most 2048 pixels") as raised:
        await drawn(worker, home, width=4096)
    assert raised.value.status == 400


async def test_each_step_is_told(worker: Worker, home: Path) -> None:
    told = Told()
    await engine(worker, home).make(order(steps=4, count=2), told)
    assert told == [0, 0.125, 0.25, 0.375, 0.5, 0.5, 0.5, 0.625, 0.75, 0.875, 1, 1]


async def test_a_picture_is_changed(worker: Worker, home: Path) -> None:
    (first,) = await drawn(worker, home)
    given = (Given(first.data, "image/png"),)
    (changed,) = await drawn(worker, home, images=given, width=None, height=None)
    (again,) = await drawn(worker, home, images=given, width=None, height=None)
    looks = look(changed.data)
    assert (looks.width, looks.height) == (64, 48)
    assert changed.data == again.data != first.data
    with pytest.raises(ProviderError, match="could not make the picture"):
        await drawn(worker, home, images=(Given(b"\x89PNG\r\n\x1a\n", "image/png"),))
    for refused in ({"images": given * 2}, {"images": given, "mask": given[0]}):
        with pytest.raises(ProviderError) as raised:
            await drawn(worker, home, **refused)
        assert raised.value.status == 400
    assert worker.pid is not None


async def test_who_cancels_stops_it_within_a_step(worker: Worker, home: Path) -> None:
    await drawn(worker, home, steps=1)
    pid, told = worker.pid, Told()
    work = asyncio.create_task(engine(worker, home).make(order(steps=1_000, count=10), told), name="drawing")
    await told.began.wait()
    work.cancel()
    await asyncio.wait({work})
    assert work.cancelled()
    # The model stays loaded, and the next picture is not that one's.
    assert worker.pid == pid
    (first,) = await drawn(worker, home)
    assert first.seed == 1


async def test_a_step_that_does_not_end_costs_the_process(
    worker: Worker, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_STOP_SECONDS", 0.1)
    for end, seconds in (("cancelled", 300.0), ("too late", 0.5)):
        await drawn(worker, home, steps=1)
        pid, told = worker.pid, Told()
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        work = asyncio.create_task(engine(worker, home, seconds).make(order(), told), name="stuck")
        await told.asked.wait()
        if end == "cancelled":
            work.cancel()
            await asyncio.wait({work})
            assert work.cancelled()
        else:
            with pytest.raises(ProviderError, match=r"not made within 0\.5 seconds") as raised:
                await work
            assert raised.value.status == 504
        assert worker.pid is None
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_a_process_that_is_killed_is_a_sentence_and_the_next_picture_is_made(worker: Worker, home: Path) -> None:
    await drawn(worker, home, steps=1)
    pid, told = worker.pid, Told()
    assert pid is not None
    work = asyncio.create_task(engine(worker, home).make(order(steps=1_000, count=10), told), name="killed")
    await told.began.wait()
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ProviderError, match="has crashed"):
        await work
    (first,) = await drawn(worker, home)
    assert (first.seed, worker.pid == pid) == (1, False)


async def test_one_order_waits_for_another(worker: Worker, home: Path) -> None:
    both = await asyncio.gather(drawn(worker, home, seed=1), drawn(worker, home, seed=2))
    assert [one.seed for (one,) in both] == [1, 2]
    assert both[0][0].data != both[1][0].data


def _index(folder: Path, **changed: Any) -> None:
    path = folder / folders.INDEX
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def _pickled(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.rename(path.with_suffix(".bin"))


def _names_code(folder: Path) -> None:
    path = folder / "text_encoder" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": {"AutoModel": "evil.Evil"}}))


def _rewritten(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "pickled weights": (_pickled, PICKLED),
    "a pipeline of its own": (lambda folder: _index(folder, _class_name=["evil", "Evil"]), "pipeline of its own"),
    "a pipeline at a path": (lambda folder: _index(folder, _class_name="../evil"), "pipeline of its own"),
    "a part of another library": (lambda folder: _index(folder, unet=["os.path", "join"]), "not used here"),
    "a part of the standard library": (lambda folder: _index(folder, unet=["subprocess", "Popen"]), "not used here"),
    "what diffusers imports": (lambda folder: _index(folder, unet=["TYPE_CHECKING", "x"]), "not used here"),
    "a part elsewhere": (lambda folder: _index(folder, **{"../unet": ["diffusers", "UNet2DModel"]}), "not used here"),
    "code beside a part": (_rewritten("unet/diffusers.py", b"raise SystemExit"), OWN_CODE),
    "code beside all": (_rewritten("pipeline.py", b"raise SystemExit"), OWN_CODE),
    "code that a part names": (_names_code, OWN_CODE),
    "an index that is none": (_rewritten("model_index.json", b"[1"), "'model_index.json' can't be read"),
    "an index that is a list": (_rewritten("model_index.json", b"[]"), "'model_index.json' can't be read"),
    "no weights": (lambda folder: shutil.rmtree(folder / "unet"), "can't be loaded"),
    "damaged weights": (_rewritten("unet/diffusion_pytorch_model.safetensors", b"\xff" * 99), "can't be loaded"),
    "half a description": (_rewritten("unet/config.json", b"{"), "can't be read|can't be loaded"),
    "a class that there is not": (lambda folder: _index(folder, unet=["diffusers", "NoSuch"]), "can't be loaded"),
    "a pipeline that there is not": (lambda folder: _index(folder, _class_name="NoSuchPipeline"), "can't be loaded"),
    "a pipeline of sound": (lambda folder: _index(folder, _class_name="AudioLDMPipeline"), "can't be loaded"),
}  # fmt: skip


async def test_a_model_that_is_broken_or_brings_code_is_a_sentence(worker: Worker, home: Path) -> None:
    for number, (name, (spoil, said)) in enumerate(BAD.items()):
        folder = home / f"bad{number}"
        shutil.copytree(home / "tiny", folder)
        spoil(folder)
        with pytest.raises(ProviderError, match=said) as raised:
            await drawn(worker, home, model=folder.name)
        assert raised.value.detail.endswith("."), name
        assert str(home) not in raised.value.detail, name
    assert len(await drawn(worker, home)) == 1


async def test_models_are_found_by_their_names_in_two_places(
    worker: Worker, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(home / "tiny", home / "owner" / "mine")
    repository = tmp_path / "hub" / "models--ann--cached"
    shutil.copytree(home / "tiny", repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    (home / "other").mkdir()
    shutil.copytree(home / "tiny", tmp_path / "outside")
    found = [one.id for one in await engine(worker, home).models()]
    assert found == ["ann/cached", "owner/mine", "tiny"]
    for name in ("owner/mine", "ann/cached"):
        assert len(await drawn(worker, home, model=name, steps=1)) == 1
    outside = str(tmp_path / "outside")
    for name in ("nothing", "other", "../outside", outside, "x" * 5_000, "a\0b", "."):
        with pytest.raises(ProviderError, match="is not on this machine"):
            await drawn(worker, home, model=name)
    with pytest.raises(ProviderError, match="No model for pictures is chosen"):
        await engine(worker, home, **{"image_generation.model": ""}).make(order(), Told())
    # What the operator has fixed may lie anywhere; what somebody orders may not.
    monkeypatch.setattr(Config, "locked_by", lambda _self, _key: "IMAGE_GENERATION_MODEL")
    await engine(worker, home, **{"image_generation.model": outside}).check()
    with pytest.raises(ProviderError, match="is not on this machine"):
        await drawn(worker, home, model=outside)
    monkeypatch.setattr(local, "has_extra", lambda: False)
    with pytest.raises(ProviderError, match=r"extra 'diffusers'.*Install it with"):
        await engine(worker, home).check()


async def test_weights_of_16_bits_are_found_by_their_names(worker: Worker, home: Path) -> None:
    (first,) = await drawn(worker, home)
    for path in sorted((home / "tiny").glob("*/*.safetensors")):
        path.rename(path.with_suffix(".fp16.safetensors"))
        assert folders.checked(home / "tiny").variant == "fp16"
    shutil.copytree(home / "tiny", home / "half")
    assert [one.data for one in await drawn(worker, home, model="half")] == [first.data]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no limit can be set")
async def test_a_picture_that_does_not_fit_into_memory_is_a_sentence(home: Path) -> None:
    worker = Worker(300.0, module="tests.support.poor_diffusion")
    try:
        with pytest.raises(ProviderError, match="too little memory"):
            await drawn(worker, home, width=2048, height=2048, steps=1)
        pid = worker.pid
        assert len(await drawn(worker, home, steps=1)) == 1
        assert worker.pid == pid
    finally:
        await worker.close()


async def test_an_idle_process_ends(home: Path) -> None:
    worker = Worker(2.0)
    try:
        assert len(await drawn(worker, home, steps=1)) == 1
        async with asyncio.timeout(60):
            while worker.pid is not None:  # noqa: ASYNC110 - nothing tells it
                await asyncio.sleep(0.05)
        assert len(await drawn(worker, home, steps=1)) == 1
    finally:
        await worker.close()


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.asyncio(loop_scope="function")
async def test_the_whole_way(home: Path, live: Live, admin: Actor, user: Actor, other: Actor) -> None:
    settings = live.app.state.oui.settings
    shutil.copytree(home / "tiny", settings.data_dir / "models" / "tiny", dirs_exist_ok=True)
    config = {
        "ENABLE_IMAGE_GENERATION": True, "IMAGE_GENERATION_ENGINE": "diffusers", "IMAGE_GENERATION_MODEL": "tiny",
        "ENABLE_IMAGE_EDIT": True, "IMAGE_EDIT_ENGINE": "diffusers", "IMAGE_STEPS": 2, "IMAGE_SIZE": "64x64",
    }  # fmt: skip
    assert (await admin.client.post("/api/v1/images/config/update", json=config)).status_code == 200
    assert (await admin.client.get("/api/v1/images/models")).json() == [{"id": "tiny", "name": "tiny"}]
    form = {"engine": "diffusers", "url": ""}
    assert (await admin.client.post("/api/v1/images/verify", json=form)).json() is True
    asked = {"prompt": "A cat", "seed": 5, "guidance_scale": 3, "n": 2, "size": "64x32"}
    reply = await user.client.post("/api/v1/images/generations", json=asked, timeout=300)
    assert reply.status_code == 200, reply.text
    data = [(await user.client.get(one["url"])).content for one in reply.json()]
    assert [(look(one).width, look(one).height) for one in data] == [(64, 32)] * 2
    assert (await other.client.get(reply.json()[0]["url"])).status_code == 404
    made = (await user.client.get("/api/v1/images/made")).json()
    assert {(one["seed"], one["model"], one["engine"]) for one in made} == {
        (5, "tiny", "diffusers"),
        (6, "tiny", "diffusers"),
    }
    (row,) = await used(live, 1)
    assert (row.model_id, row.connection, row.status) == ("tiny", "images:diffusers", 200)
    edit = {"prompt": "A hat", "image": reply.json()[0]["url"]}
    changed = await user.client.post("/api/v1/images/edit", json=edit, timeout=300)
    assert changed.status_code == 200, changed.text
    for wrong in (
        {"seed": -1},
        {"seed": True},
        {"seed": "x"},
        {"seed": 2**32},
        {"guidance_scale": "x"},
        {"guidance_scale": 101},
    ):
        refused = await user.client.post("/api/v1/images/generations", json=asked | wrong)
        assert refused.status_code == 400, wrong
    refused = await user.client.post("/api/v1/images/generations", json=asked | {"model": "../tiny"})
    assert (refused.status_code, "is not on this machine" in refused.json()["detail"]) == (502, True)
    assert png(1) not in data
