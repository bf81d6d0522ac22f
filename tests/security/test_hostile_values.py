"""R11: how many values a body holds is known before it is decoded, whatever its strings look like."""

import json
import random
from typing import Any

import pytest

from open_webui.utils import values
from open_webui.utils.values import MAX_VALUES, too_many
from tests.support.live import Actor

TABLE = 'a,"b",\\,c\\\\",\n' * 20_000


@pytest.mark.parametrize(
    ("value", "many"),
    [
        ([1] * 100, False), ([1] * 102, True), ({str(n): n for n in range(102)}, True), ("," * 1_000, False), (TABLE, False),
        ([TABLE] * 3, False), ([TABLE, *[1] * 102], True), (["\\"] * 50, False), (['\\"'] * 102, True),
        ([['"', ",\\"]] * 60, True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("piece", [1, 2, 7, 4096])
async def test_commas_in_strings_do_not_count(
    monkeypatch: pytest.MonkeyPatch, value: Any, many: bool, piece: int
) -> None:
    # A long text in tiny pieces would only take long.
    monkeypatch.setattr(values, "SLICE", piece if len(str(value)) < 10_000 else 997 + piece)
    assert await too_many(json.dumps(value).encode(), 101) is many


async def test_any_text_in_any_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The count is that of a real reader, wherever the pieces are cut."""
    dice = random.Random(7)
    for _ in range(300):
        texts = ["".join(dice.choices('\\",x', k=dice.randrange(8))) for _ in range(dice.randrange(1, 9))]
        data = json.dumps(texts).encode()
        monkeypatch.setattr(values, "SLICE", dice.randrange(1, 12))
        assert await too_many(data, len(texts) - 1 or 1) is (len(texts) > 1), data
        assert await too_many(data, len(texts)) is False, data


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_too_many_are_refused_and_told(user: Actor) -> None:
    many = [1] * (MAX_VALUES + 2)
    for path, body, status in (
        ("/api/v1/users/user/settings/update", {"ui": {"x": many}}, 413),
        ("/api/chat/completions", {"model": "echo", "x": many}, 413),
        ("/api/v1/chats/new", {"chat": {"params": {"x": many}}}, 422),
        ("/api/v1/chats/new", {"chat": {"history": {"messages": {"m": {"role": "user", "x": many}}}}}, 422),
    ):
        reply = await user.client.post(path, json=body)
        assert reply.status_code == status, path
        assert f"{MAX_VALUES:,} values" in reply.text
    assert (await user.client.get("/api/v1/chats/")).json() == []
    table = {"chat": {"title": "t", "files": [{"file": {"data": {"content": "1,2,3\n" * 100_000}}}]}}
    assert (await user.client.post("/api/v1/chats/new", json=table)).status_code == 200
