"""Pictures as models are sent them: scaled, upright, without descriptions, each made once; and as they are where that fails."""

import asyncio
import base64
import hashlib
import io
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from open_webui.errors import BadRequest, Unavailable
from open_webui.images.checking import Checker
from open_webui.images.looking import Looks, look
from open_webui.services.images import sending
from open_webui.services.images.sending import Sending, Sent
from tests.open_webui.chat.page import Page, open_page
from tests.open_webui.images.test_looking import HOSTILE, drawn, told
from tests.support.live import Actor, Live, sign_up
from tests.support.pictures import data_url, png
from tests.support.upstream import Upstream

on_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


def lying(size: tuple[int, int]) -> bytes:
    """A photo that lies on its side, and says where it was taken."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "at home, with a secret"
    return drawn("JPEG", size, exif=exif)


def moving(kind: str) -> bytes:
    out = io.BytesIO()
    frames = [Image.new("RGB", (600, 400), color) for color in ("red", "blue")]
    frames[0].save(out, format=kind, save_all=True, append_images=frames[1:], duration=100)
    return out.getvalue()


def of_mode(mode: str, kind: str, size: tuple[int, int] = (600, 400)) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size).save(out, format=kind)
    return out.getvalue()


class Counting(Checker):
    """How often it was asked, and what goes wrong then."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.fails: Exception | None = None

    async def _ask(self, asked: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        self.asked += 1
        if self.fails is not None:
            raise self.fails
        return await super()._ask(asked, data)


@pytest.fixture
async def checker() -> AsyncIterator[Counting]:
    made = Counting()
    yield made
    await made.close()


@pytest.fixture
def deps() -> Any:
    sides: dict[str, int | None] = {"file.image_compression_width": None, "file.image_compression_height": None}
    return SimpleNamespace(config=sides, settings=SimpleNamespace(chat_picture_max_side=500))


@pytest.fixture
def sends(checker: Counting, deps: Any) -> Sending:
    return Sending(checker, deps)


@pytest.mark.parametrize(
    ("data", "looks"),
    [
        (lying((4_000, 2_000)), Looks("image/jpeg", 250, 500)),
        (of_mode("RGB", "PNG"), Looks("image/png", 500, 333)),
        (of_mode("RGBA", "WEBP"), Looks("image/png", 500, 333)),
        (of_mode("RGB", "WEBP"), Looks("image/jpeg", 500, 333)),
        (of_mode("P", "PNG"), Looks("image/png", 500, 333)),
        (of_mode("LA", "PNG"), Looks("image/png", 500, 333)),
        (of_mode("I;16", "PNG"), Looks("image/png", 500, 333)),
        (of_mode("1", "PNG", (501, 1)), Looks("image/png", 500, 1)),
        (of_mode("CMYK", "JPEG"), Looks("image/jpeg", 500, 333)),
        (moving("WEBP"), Looks("image/webp", 600, 400)),
        (lying((40, 20)), Looks("image/jpeg", 20, 40)),
        (told("PNG"), Looks("image/png", 40, 30)),
    ],
)
async def test_it_fits_is_upright_and_tells_nothing(sends: Sending, data: bytes, looks: Looks) -> None:
    sent = await sends.fitted(data, look(data).mime)
    assert look(sent.data) == looks
    assert sent.mime == looks.mime
    assert b"secret" not in sent.data
    assert not Image.open(io.BytesIO(sent.data)).getexif()


async def test_a_picture_without_losses_stays_one_while_it_is_light(sends: Sending, deps: Any) -> None:
    """A noisy one of 3 MB is a photo, whatever it is kept as."""
    deps.settings.chat_picture_max_side = 0
    data = png(3, 3_000_000)
    sent = await sends.fitted(data, "image/png")
    assert (sent.mime, len(sent.data) < len(data) // 2) == ("image/jpeg", True)
    assert (look(sent.data).width, look(sent.data).height) == (1_000, 1_000)


async def test_what_is_small_moves_or_can_not_be_read_is_sent_as_it_is(sends: Sending, checker: Counting) -> None:
    for data in (png(1), drawn("JPEG"), drawn("GIF", (900, 900)), moving("GIF")):
        assert await sends.fitted(data, look(data).mime) == Sent(look(data).mime, data)
    assert checker.asked == 0
    for data in HOSTILE.values():
        assert await sends.fitted(data, "image/png") == Sent("image/png", data)
    large = drawn("PNG", (900, 900))
    for error in (BadRequest("It can't be decoded."), Unavailable("There is no process.")):
        checker.fails = error
        sends = Sending(checker, sends._deps)
        assert await sends.fitted(large, "image/png") == Sent("image/png", large)


async def test_each_is_made_once_also_when_asked_for_at_once(sends: Sending, checker: Counting, deps: Any) -> None:
    data = drawn("PNG", (900, 900))
    first, second = await asyncio.gather(*(sends.fitted(data, "image/png") for _ in range(2)))
    assert (first, checker.asked) == (second, 1)

    async def unread() -> bytes:
        raise AssertionError("what is remembered is not read again")

    key = hashlib.sha256(data).hexdigest()
    assert await sends.found(key, "image/png", unread) == first
    deps.config["file.image_compression_width"] = 300
    assert look((await sends.fitted(data, "image/png")).data).width == 300
    deps.config["file.image_compression_height"] = 200
    sent = look((await sends.fitted(data, "image/png")).data)
    assert (sent.width, sent.height, checker.asked) == (200, 200, 3)


async def test_what_is_remembered_is_bounded_and_goes_with_time(
    sends: Sending, checker: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = drawn("PNG", (900, 900)), drawn("PNG", (901, 900))
    size = len((await sends.fitted(first, "image/png")).data)
    monkeypatch.setattr(sending, "MOST_BYTES", size)
    await sends.fitted(second, "image/png")
    await sends.fitted(first, "image/png")
    assert checker.asked == 3
    monkeypatch.setattr(sending, "MOST_BYTES", 100 * size)
    monkeypatch.setattr(sending, "KEPT_SECONDS", -1.0)
    await sends.fitted(second, "image/png")
    await sends.fitted(first, "image/png")
    assert checker.asked == 5


async def test_without_pillow_or_bounds_nothing_is_scaled(
    sends: Sending, deps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sends.scales
    deps.settings.chat_picture_max_side = 0
    assert not sends.scales
    deps.settings.chat_picture_max_side = 500
    monkeypatch.setattr(sending, "has_pillow", lambda: False)
    assert not sends.scales
    data = lying((4_000, 2_000))
    assert await sends.fitted(data, "image/jpeg") == Sent("image/jpeg", data)


async def ask(page: Page, model: str, urls: list[str], **more: Any) -> tuple[str, str]:
    body = page.ask(model, "What is this?", **more)
    body["user_message"]["files"] = [{"type": "image", "url": url} for url in urls]
    reply = await page.post(body)
    await page.idle(reply["chat_id"])
    return reply["chat_id"], body["id"]


def sent_to(upstream: Upstream) -> list[Looks]:
    """The pictures in the newest request for an answer."""
    found = []
    for message in upstream.chats[-1].body["messages"]:
        content = message["content"] if isinstance(message["content"], list) else ()
        urls = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
        found += [url.partition(",")[2] for url in urls] + message.get("images", [])
    return [look(base64.b64decode(one)) for one in found]


@on_sqlite
async def test_a_photo_in_a_chat_is_scaled_once_for_all_its_turns(live: Live, admin: Actor, upstream: Upstream) -> None:
    assert live.app.state.oui.settings.chat_picture_max_side == 2_048
    photo = data_url(lying((4_000, 3_000)), "image/jpeg")
    async with open_page(admin.client, admin.token) as page:
        chat_id, answer = await ask(page, "fixed", [photo])
        assert sent_to(upstream) == [Looks("image/jpeg", 1_536, 2_048)]
        checker = live.app.state.oui.pictures.checker
        await checker.close()
        await ask(page, "fixed", [], chat_id=chat_id, parent_id=answer)
        assert sent_to(upstream) == [Looks("image/jpeg", 1_536, 2_048)], "nothing could have made it anew"


@on_sqlite
async def test_a_temporary_chats_photo_is_scaled_by_the_settings_too(
    live: Live, admin: Actor, upstream: Upstream
) -> None:
    await live.app.state.oui.save_config({"file.image_compression_width": 100})
    photo = {"type": "image_url", "image_url": {"url": data_url(lying((400, 300)), "image/jpeg"), "detail": "low"}}
    async with open_page(admin.client, admin.token) as page:
        body = page.ask("fixed", "Hi", chat_id=f"temporary:{page.sid}")
        body["messages"] = [{"role": "user", "content": [photo]}]
        await page.post(body)
        await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion")))
    assert sent_to(upstream) == [Looks("image/jpeg", 100, 133)]
    assert upstream.chats[-1].body["messages"][-1]["content"][0]["image_url"]["detail"] == "low"


@on_sqlite
async def test_ollama_is_sent_the_same(make_live: Any, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENABLE_OLLAMA_API", "true")
    monkeypatch.setenv("OLLAMA_BASE_URLS", upstream.url)
    live = await make_live(bypass_model_access_control=True)
    admin = await sign_up(live, "Admin One")
    async with admin.client, open_page(admin.client, admin.token) as page:
        await ask(page, "fixed:latest", [data_url(drawn("PNG", (3_000, 3_000)))])
    assert sent_to(upstream) == [Looks("image/png", 2_048, 2_048)]


@on_sqlite
async def test_photos_that_only_fit_when_scaled_are_sent(make_live: Any, connections: None, upstream: Upstream) -> None:
    """The bound of all pictures together is one of what is sent."""
    live = await make_live(chat_history_max_picture_mb=0.5)
    admin = await sign_up(live, "Admin One")
    noisy = data_url(png(1, 3_000_000))
    await live.app.state.oui.save_config({"file.image_compression_width": 64})
    async with admin.client, open_page(admin.client, admin.token) as page:
        await ask(page, "fixed", [noisy])
    assert sent_to(upstream) == [Looks("image/png", 64, 64)]
