"""Pictures by their bytes: what is let in, and what is taken out of them, in the server and in the process with Pillow."""

import io
import struct
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from open_webui.errors import BadRequest
from open_webui.images import checking
from open_webui.images.checking import Checker
from open_webui.images.looking import BadPicture, Looks, bare, look
from tests.support.pictures import png


def drawn(kind: str, size: tuple[int, int] = (40, 30), **more: Any) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, "red").save(out, format=kind, **more)
    return out.getvalue()


def told(kind: str) -> bytes:
    """A picture that says where it was made."""
    exif = Image.Exif()
    exif[0x010E] = "at home, with a secret"
    more: dict[str, Any] = {"exif": exif}
    if kind == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_text("parameters", "secret prompt")
        more["pnginfo"] = info
    return drawn(kind, **more)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(width: int, height: int, data: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


HOSTILE = {
    "one by a milliard": png_of(1, 10**9),
    "a bomb": png_of(60_000, 60_000, zlib.compress(b"\0" * 10**6)),
    "a header of 4 GB": b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 2**32 - 1) + b"IHDR" + struct.pack(">II", 8, 8),
    "no pixels": png_of(0, 7),
    "an SVG": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    "a page": b"<html><script>alert(1)</script></html>",
    "nothing": b"",
    "half a PNG": png(1)[:2_000],
    "half a JPEG": drawn("JPEG", (400, 400))[:300],
    "a JPEG of ones": b"\xff\xd8" + b"\xff" * 5_000,
    "half a WebP": drawn("WEBP")[:40],
    "a RIFF that lies": b"RIFF" + struct.pack("<I", 2**32 - 1) + b"WEBPVP8X" + b"\xff" * 30,
    "garbage inside": png_of(8, 8, b"garbage"),
    "a GIF of nothing": b"GIF89a" + struct.pack("<HH", 16_000, 16_000),
}


@pytest.fixture
async def checker() -> AsyncIterator[Checker]:
    made = Checker()
    yield made
    await made.close()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_a_picture_says_how_large_it_is(kind: str) -> None:
    assert look(drawn(kind)) == Looks(f"image/{kind.lower()}", 40, 30)
    if kind == "WEBP":
        assert look(drawn(kind, lossless=True)) == look(told(kind)) == look(drawn(kind))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_descriptions_are_taken_out_and_the_pixels_stay(kind: str) -> None:
    data = told(kind)
    assert b"secret" in data
    clean = bare(data, look(data).mime)
    assert b"secret" not in clean
    with Image.open(io.BytesIO(clean)) as after, Image.open(io.BytesIO(data)) as before:
        assert after.tobytes() == before.tobytes()
        assert not after.getexif()


async def test_hostile_pictures_are_refused_and_the_next_one_is_checked(checker: Checker) -> None:
    for name, data in HOSTILE.items():
        with pytest.raises(BadRequest) as refused:
            await checker.check(data)
        assert refused.value.detail.startswith("The picture can't be used. "), name
    looks, data = await checker.check(told("PNG"))
    assert (looks.width, b"secret" in data) == (40, False)


async def test_without_pillow_headers_are_read(checker: Checker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "has_pillow", lambda: False)
    looks, data = await checker.check(told("JPEG"))
    assert (looks.mime, b"secret" in data) == ("image/jpeg", False)
    assert await checker.shrink(png(1)) is None
    with pytest.raises(BadRequest):
        await checker.check(HOSTILE["one by a milliard"])
    with pytest.raises(BadPicture):
        look(HOSTILE["an SVG"])


async def test_what_lies_on_its_side_is_set_up_and_made_small(checker: Checker) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    looks, _ = await checker.check(drawn("JPEG", exif=exif))
    assert (looks.width, looks.height) == (30, 40)
    small = await checker.shrink(drawn("PNG", (2_000, 1_000)))
    assert small is not None
    assert look(small) == Looks("image/webp", 320, 160)
