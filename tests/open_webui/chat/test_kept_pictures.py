"""Whether an answer that ends may hold a picture is found out without writing it down."""

from typing import Any

import pytest

from open_webui.chat import kept_pictures
from open_webui.chat.assemble import Answer
from open_webui.chat.delivery.sender import AnswerSender
from open_webui.chat.kept_pictures import has_pictures_to_keep, with_kept_pictures
from open_webui.chat.running import RunningAnswer
from open_webui.events import Audience
from open_webui.internal.load import Load
from tests.open_webui.chat.conftest import Notes, make_turn

URL = "data:image/png;base64,QQ=="
TEXT = "Words: as they come, a colon here; a word like metadata there."


class Files:
    """PictureReader: what it was handed to be kept."""

    def __init__(self) -> None:
        self.handed: list[Any] = []

    async def keep(self, value: Any) -> Any:
        self.handed.append(value)
        return value


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
async def running(files: Files) -> RunningAnswer:
    turn = make_turn(task_id="t", chat_id="c", message_id="m", row=1, body={})
    sender = AnswerSender(Notes(), Load(), Audience(frozenset({"ann"})), "c", "m")
    store: Any = None
    pictures: Any = files
    return RunningAnswer(turn=turn, answer=Answer(lambda: 0.0), sender=sender, store=store, body={}, pictures=pictures)


@pytest.mark.parametrize(
    ("content", "body", "handed"),
    [
        (TEXT, {}, False),
        (TEXT, {"output": [{"content": [{"text": TEXT}]}], "usage": {"n": 1}, "data": None, "x": [True, 1.5]}, False),
        ("", {"data": ":"}, False),
        (f"![]({URL})", {}, True),
        (TEXT, {"output": [{"content": [{"text": TEXT}, {"image_url": URL}]}]}, True),
        (TEXT, {"files": ({"url": URL},)}, True),
        (TEXT, {URL: 1}, True),
    ],
)
async def test_only_what_may_be_a_picture_is_looked_at_closely(
    running: RunningAnswer, files: Files, content: str, body: dict[str, Any], handed: bool
) -> None:
    assert has_pictures_to_keep(running, content, body) is handed
    assert await with_kept_pictures(running, content, body) == (content, body)
    assert files.handed == [{"content": content, "body": body}]


async def test_a_text_is_not_written_down_for_it(running: RunningAnswer) -> None:
    assert not hasattr(kept_pictures, "msgspec"), "an end of megabytes would be encoded twice, in the journal's round"
    body: dict[str, Any] = {"deep": TEXT}
    for _ in range(10_000):
        body = {"deep": [body]}
    assert not has_pictures_to_keep(running, TEXT, body)
