"""Base64 in slices: the same as at once, and what is not valid is refused wherever it stands."""

import base64
import random

import pytest

from open_webui.utils.base64s import from_base64, in_turn, to_base64

SLICE = 64 * 1024
BYTES = SLICE // 4 * 3


async def test_both_ways_are_the_librarys() -> None:
    for size in (0, 1, 2, 3, BYTES - 1, BYTES, BYTES + 1, 3 * BYTES + 5):
        data = random.Random(size).randbytes(size)
        text = base64.b64encode(data).decode()
        assert await in_turn(to_base64, data) == text, size
        assert await in_turn(from_base64, text) == data, size


def test_what_is_not_valid_is_refused_wherever_it_stands() -> None:
    good = base64.b64encode(bytes(3 * BYTES)).decode()
    for at in (0, SLICE - 2, SLICE, 2 * SLICE + 1, len(good) - 1):
        for odd in ("=", "!", " ", "é"):
            if (at, odd) != (len(good) - 1, "="):
                with pytest.raises(ValueError, match=r"."):
                    from_base64(good[:at] + odd + good[at + 1 :])
    for text in ("A", "AAA", good[:-1], good[: SLICE - 2] + "==" + good[SLICE:], good + "A"):
        with pytest.raises(ValueError, match=r"."):
            from_base64(text)
