"""The pages about documents and embedding: what they show, what they store, what they refuse."""

import re
from typing import Any

import pytest

from open_webui.config import BY_KEY
from open_webui.schemas.retrieval import DOCUMENTS, EMBEDDING, ENGINES, WEB
from tests.support.live import Actor

CONFIG = "/api/v1/retrieval/config"
UPDATE = "/api/v1/retrieval/config/update"
EMBED = "/api/v1/retrieval/embedding"


def test_every_setting_stands_on_a_page() -> None:
    shown = {*DOCUMENTS.values(), *WEB.values(), *EMBEDDING.values()}.union(*(e.values() for e in ENGINES.values()))
    declared = {key for key in BY_KEY if key.startswith(("rag.", "web.", "file."))}
    assert shown == declared


def test_whatever_opens_a_service_is_a_secret() -> None:
    """By its name, of all settings: one that is not marked would be shown by commands and in the audit record."""
    opens = re.compile(r"[._](?:keys?|tokens?|password|secret|sk)$")
    open_ones = [key for key, one in BY_KEY.items() if one.type in {str, list, dict} and opens.search(key)]
    assert len(open_ones) > 30
    assert [key for key in open_ones if not BY_KEY[key].secret] == []


async def test_the_page_shows_what_holds_and_keeps_what_is_changed(admin: Actor) -> None:
    shown = (await admin.client.get(CONFIG)).json()
    assert shown["status"] is True
    assert (shown["TOP_K"], shown["CHUNK_SIZE"], shown["FILE_MAX_SIZE"]) == (3, 1000, None)
    assert shown["web"]["WEB_SEARCH_ENGINE"] == ""
    changed = await admin.client.post(
        UPDATE, json={"TOP_K": 4, "TIKA_SERVER_VERSION": 2, "web": {"TAVILY_API_KEY": "k"}}
    )
    assert changed.status_code == 200
    again = (await admin.client.get(CONFIG)).json()
    assert again == changed.json()
    assert again == shown | {"TOP_K": 4, "TIKA_SERVER_VERSION": "2", "web": shown["web"] | {"TAVILY_API_KEY": "k"}}


async def test_a_null_stays_and_an_emptied_limit_is_none(admin: Actor) -> None:
    await admin.client.post(UPDATE, json={"FILE_MAX_SIZE": 5, "TOP_K": 7})
    assert (await admin.client.get("/api/config")).json()["file"]["max_size"] == 5
    after = (await admin.client.post(UPDATE, json={"TOP_K": None, "FILE_MAX_SIZE": ""})).json()
    assert (after["TOP_K"], after["FILE_MAX_SIZE"]) == (7, None)


async def test_numbers_may_come_as_the_texts_of_a_forms_fields(admin: Actor) -> None:
    """The official page posts so what is in its fields of text, and an empty one for no limit."""
    fields = {
        "FILE_IMAGE_COMPRESSION_WIDTH": "640",
        "FILE_IMAGE_COMPRESSION_HEIGHT": "",
        "RELEVANCE_THRESHOLD": " 0.5 ",
    }
    posted = fields | {"TOP_K": "", "web": {"PLAYWRIGHT_TIMEOUT": "12000"}}
    after = (await admin.client.post(UPDATE, json=posted)).json()
    assert [after[name] for name in fields] == [640, None, 0.5]
    assert (after["TOP_K"], after["web"]["PLAYWRIGHT_TIMEOUT"]) == (3, 12000)


@pytest.mark.parametrize(
    ("posted", "said"),
    [
        ({"TOP_K": "1.5"}, "TOP_K should be a whole number."),
        ({"TOP_K": "9" * 5000}, "TOP_K should be a whole number."),
        ({"FILE_IMAGE_COMPRESSION_WIDTH": "-1"}, "FILE_IMAGE_COMPRESSION_WIDTH should not be negative."),
        ({"TOP_K": "\u0663"}, "TOP_K should be a whole number."),
        ({"TOP_K": "many"}, "TOP_K should be a whole number."),
        ({"TOP_K": 0}, "TOP_K should be between 1 and 1000."),
        ({"RELEVANCE_THRESHOLD": 2}, "RELEVANCE_THRESHOLD should be between 0 and 1."),
        ({"CHUNK_SIZE": 100}, "CHUNK_OVERLAP should be smaller than CHUNK_SIZE."),
        ({"FILE_MAX_SIZE": -1}, "FILE_MAX_SIZE should not be negative."),
        ({"TEXT_SPLITTER": "spaghetti"}, "TEXT_SPLITTER should be one of '', 'character', 'token'."),
        ({"web": []}, "'web' should be an object."),
        ({"web": {"ENABLE_WEB_SEARCH": "yes"}}, "ENABLE_WEB_SEARCH should be true or false."),
        ({"DOCLING_PARAMS": []}, "DOCLING_PARAMS should be an object."),
        ({"RAG_TEMPLATE": "x" * 100_001}, "RAG_TEMPLATE is too long: at most 100000 characters."),
    ],
)
async def test_what_can_not_be_a_value_is_refused_and_nothing_stored(
    admin: Actor, posted: dict[str, Any], said: str
) -> None:
    before = (await admin.client.get(CONFIG)).json()
    refused = await admin.client.post(UPDATE, json={"CHUNK_MIN_SIZE_TARGET": 5} | posted)
    assert (refused.status_code, refused.json()["detail"]) == (422, said)
    assert (await admin.client.get(CONFIG)).json() == before


async def test_embedding_has_an_object_for_each_engine(admin: Actor) -> None:
    shown = (await admin.client.get(EMBED)).json()
    assert shown["openai_config"] == {"url": "https://api.openai.com/v1", "key": ""}
    form = {"RAG_EMBEDDING_ENGINE": "openai", "RAG_EMBEDDING_MODEL": "m", "openai_config": {"key": "k"}}
    after = (await admin.client.post(f"{EMBED}/update", json=form)).json()
    assert after == shown | form | {"openai_config": {"url": "https://api.openai.com/v1", "key": "k"}}
    bad = await admin.client.post(f"{EMBED}/update", json=form | {"RAG_EMBEDDING_ENGINE": "guess"})
    assert bad.status_code == 422


async def test_plain_people_see_neither(user: Actor) -> None:
    for path in (CONFIG, EMBED):
        assert (await user.client.get(path)).status_code == 401
