"""Attachments of the wire as values, and what is refused."""

from typing import Any

import pytest

from open_webui.chat.attached import MOST, parse
from open_webui.errors import BadRequest


def one(entry: dict[str, Any]) -> tuple[Any, ...]:
    (found,) = parse([entry])
    return found.kind, found.ids, found.text, found.whole


@pytest.mark.parametrize(
    ("entry", "read"),
    [
        ({"type": "file", "id": "f"}, ("file", ("f",), None, False)),
        ({"id": "f"}, ("file", ("f",), None, False)),
        ({"type": "file", "url": "f"}, ("file", ("f",), None, False)),
        ({"type": "file", "id": "f", "context": "full"}, ("file", ("f",), None, True)),
        ({"type": "collection", "id": "k"}, ("knowledge", ("k",), None, False)),
        ({"type": "doc", "collection_name": "file-f"}, ("file", ("f",), None, False)),
        ({"type": "file", "collection_names": ["mine", "mine too"]}, ("collection", ("mine", "mine too"), None, False)),
        ({"type": "text", "name": "n", "content": "words"}, ("text", (), "words", True)),
        (
            {"type": "text", "file": {"data": {"content": "words"}}, "collection_name": "c"},
            ("text", ("c",), "words", False),
        ),
        ({"type": "web_search", "collection_name": "web-search-1"}, ("text", ("web-search-1",), None, False)),
    ],
)
def test_what_an_entry_says(entry: dict[str, Any], read: tuple[Any, ...]) -> None:
    assert one(entry) == read


def test_pictures_are_the_models_own() -> None:
    assert parse([{"type": "image", "url": "data:"}, {"type": "file", "id": "p", "content_type": "image/png"}]) == []


def test_the_same_thing_is_read_once() -> None:
    assert len(parse([{"type": "file", "id": "f"}, {"type": "file", "id": "f", "name": "again"}])) == 1


def test_what_is_shown_has_no_text_in_it() -> None:
    entry = {
        "type": "text",
        "name": "n",
        "content": "long",
        "file": {"id": "f", "data": {"content": "long", "status": "completed"}},
    }
    (found,) = parse([entry])
    assert found.entry == {"type": "text", "name": "n", "file": {"id": "f", "data": {"status": "completed"}}}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"type": "file"}, "An attachment should name what it is by its 'id'."),
        ({"type": "file", "id": ""}, "An attachment should name what it is by its 'id'."),
        ({"type": "file", "id": 7}, "An attachment's ids should be texts of 1 to"),
        ({"type": "file", "id": "x" * 1000}, "An attachment's ids should be texts of 1 to"),
        ({"type": "file", "id": "a\x00b"}, "An attachment's ids should be texts of 1 to"),
        ({"type": "collection", "collection_names": [None]}, "An attachment's ids should be texts of 1 to"),
        ({"type": "note", "id": "n"}, "Notes are not part of this server yet."),
        ({"type": "hologram", "id": "n"}, "'hologram' is no kind of attachment that this server knows."),
        ({"type": ["file"], "id": "n"}, "The type of an attachment should be a text."),
    ],
)
def test_what_can_not_be_honoured_is_an_error(entry: dict[str, Any], said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse([entry])
    assert refused.value.detail.startswith(said)


def test_attachments_are_bounded() -> None:
    with pytest.raises(BadRequest):
        parse([{"id": str(n)} for n in range(MOST + 1)])
