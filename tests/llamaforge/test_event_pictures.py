"""The pictures of an answer, in the forms in which providers give them."""

import base64
from typing import Any

import pytest

from llamaforge.events import Image, Text
from llamaforge.events.openai import Decoder
from llamaforge.events.pictures import url_of
from open_webui.connections.ollama_wire import LineDecoder
from tests.support.pictures import png

DATA = base64.b64encode(png(1)).decode()
URL = f"data:image/png;base64,{DATA}"
ODD = "data:image/avif;base64,AAAA"


@pytest.mark.parametrize(
    "given",
    [
        URL, DATA, {"url": URL}, {"type": "image_url", "image_url": {"url": URL}}, {"image_url": URL}, {"b64_json": DATA},
        {"type": "image", "image": {"b64_json": DATA}}, {"inlineData": {"mimeType": "image/png", "data": DATA}},
        {"inline_data": {"mime_type": "image/png", "data": DATA}}, {"type": "image_generation_call", "result": DATA},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}},
        {"type": "output_image", "image_url": URL, "b64_json": None},
    ],
)  # fmt: skip
def test_a_picture_is_one_in_every_form(given: Any) -> None:
    assert url_of(given) == URL
    decoder = Decoder()
    assert decoder.read_delta({"images": [given]}) == [Image(URL)]
    assert decoder.lost == 0


@pytest.mark.parametrize(
    "given",
    [
        None, 7, "", "words", [], {}, {"url": None}, {"url": 7}, {"b64_json": "words"}, {"url": "javascript:alert(1)"},
        {"image_url": {"url": {"url": {"url": {"url": URL}}}}}, {"image_url": [URL]}, {"url": "file:///etc/passwd"},
        {"inlineData": {"mimeType": "text/html", "data": "PGI+"}}, {"data": "data:text/html;base64,PGI+"}, {"result": b"x"},
    ],
)  # fmt: skip
def test_what_is_no_picture_is_lost_and_counted(given: Any) -> None:
    decoder = Decoder()
    assert decoder.read_delta({"content": "Hi", "images": [given]}) == [Text("Hi")]
    assert decoder.lost == 1


def test_the_type_is_told_or_is_seen_in_the_bytes() -> None:
    assert url_of({"inlineData": {"mimeType": "image/avif", "data": "AAAA"}}) == ODD
    assert url_of("/9j/4AAQ") == "data:image/jpeg;base64,/9j/4AAQ"
    assert url_of("https://a.example/x.png") == "https://a.example/x.png"


def test_parts_of_content_are_pictures_where_they_say_so() -> None:
    gemini = {"inlineData": {"mimeType": "image/png", "data": DATA}}
    parts = [
        {"type": "text", "text": "See "}, {"type": "image", "image_url": URL}, gemini,
        {"type": "image_generation_call", "result": DATA}, {"text": "it"}, {"type": "file", "url": "https://a.example/x"},
        {"inlineData": "words"}, {"type": ["image"]},
    ]  # fmt: skip
    decoder = Decoder()
    events = decoder.read_delta({"content": parts})
    assert events == [Text("See "), Image(URL), Image(URL), Image(URL), Text("it")]
    assert decoder.lost == 3


@pytest.mark.parametrize(
    ("line", "events"),
    [
        (f'{{"message": {{"content": "", "images": ["{DATA}"]}}}}', [Image(URL)]),
        ('{"message": {"images": ["QQ=="]}}', [Image("data:image/png;base64,QQ==")]),
        ('{"message": {"images": ["/9j/4AAQ", {"url": "x"}]}}', [Image("data:image/jpeg;base64,/9j/4AAQ")]),
        (f'{{"response": "", "image": "{DATA}"}}', [Image(URL)]),
        ('{"response": "", "image": 7}', []),
    ],
)  # fmt: skip
def test_the_pictures_of_ollamas_lines(line: str, events: list[Any]) -> None:
    assert LineDecoder().feed(line.encode() + b"\n") == events
