"""Search finds what people wrote, only theirs, and takes whatever is typed for words."""

from typing import Any

import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from open_webui.models import search
from open_webui.models.search import Query, parse
from tests.support.live import Actor, Live

CHATS = "/api/v1/chats"


async def put(actor: Actor, title: str, *texts: str, **more: Any) -> str:
    messages = {
        f"m{k}": {"id": f"m{k}", "parentId": f"m{k - 1}" if k else None, "role": "user", "content": text}
        for k, text in enumerate(texts)
    }
    form = {"chat": {"title": title, "history": {"messages": messages}}} | more
    reply = await actor.client.post(f"{CHATS}/new", json=form)
    assert reply.status_code == 200, reply.text
    chat: str = reply.json()["id"]
    return chat


async def find(actor: Actor, text: str, page: int = 1) -> list[dict[str, Any]]:
    reply = await actor.client.get(f"{CHATS}/search", params={"text": text, "page": page})
    assert reply.status_code == 200, (text, reply.text)
    rows: list[dict[str, Any]] = reply.json()
    return rows


async def titles(actor: Actor, text: str) -> set[str]:
    return {row["title"] for row in await find(actor, text)}


async def test_words_are_found_in_messages_and_titles(user: Actor, other: Actor) -> None:
    await put(user, "Animals", "What is a quokka?", "A small marsupial of Rottnest island.")
    await put(user, "Kitchen quokka", "How long do eggs boil?")
    await put(other, "Secret", "my quokka is called Ned")
    assert await titles(user, "quokka") == {"Animals", "Kitchen quokka"}
    assert await titles(user, "QUOK") == {"Animals", "Kitchen quokka"}
    assert await titles(user, "marsupial rottn") == {"Animals"}
    assert await titles(user, "marsupial eggs") == set()
    assert await titles(user, "zzzz") == set()
    assert await titles(user, "Ned") == set()
    assert await titles(user, user.id.replace("-", "")) == set()
    by_title = {row["title"]: row["snippet"] for row in await find(user, "quokka")}
    assert by_title == {"Animals": "What is a quokka?", "Kitchen quokka": None}


async def test_a_snippet_is_the_part_around_the_word(user: Actor) -> None:
    await put(user, "Long", "lorem ipsum " * 200 + "wombat " + "dolor sit " * 200)
    [row] = await find(user, "wombat")
    assert "wombat" in row["snippet"]
    assert len(row["snippet"]) < 200


async def test_scripts_without_blanks_are_found_inside(user: Actor, other: Actor) -> None:
    await put(user, "Nihongo", "私は東京に住んでいます。")
    await put(user, "Zhongwen", "今天天气很好，我们去公园吧。")
    await put(other, "Theirs", "東京タワー")
    assert await titles(user, "東京") == {"Nihongo"}
    assert await titles(user, "天气 公园") == {"Zhongwen"}
    assert await titles(user, "大阪") == set()
    assert (await find(user, "東京"))[0]["snippet"] == "私は東京に住んでいます。"


async def test_signs_and_emoji_are_found_where_they_stand(user: Actor) -> None:
    await put(user, "Cats", "Cats can climb. cheap")
    await put(user, "Templates", "C++ templates, and C# too")
    await put(user, "Party", "cake \U0001f382, why???")
    await put(user, "Music \U0001f3b5", "x")
    assert await titles(user, "\U0001f382") == {"Party"}
    assert await titles(user, "cake \U0001f382") == {"Party"}
    assert await titles(user, "\U0001f3b5") == {"Music \U0001f3b5"}
    assert await titles(user, "???") == {"Party"}
    assert await titles(user, "C++") == {"Templates"}
    assert await titles(user, "c# templ") == {"Templates"}
    assert await titles(user, "C--") == set()
    assert (await find(user, "C++"))[0]["snippet"] == "C++ templates, and C# too"


async def test_titles_are_found_without_their_accents(user: Actor, other: Actor) -> None:
    await put(user, "Café in İstanbul", "x")
    await put(user, "Straße nach Łódź", "x")
    await put(other, "Cafe", "x")
    for text in ("cafe", "CAFÉ", "istanbul", "İstanbul", "cafe ist"):
        assert await titles(user, text) == {"Café in İstanbul"}, text
    for text in ("straße", "nach"):
        assert await titles(user, text) == {"Straße nach Łódź"}, text
    assert await titles(user, "caf_") == set()


async def test_filters(user: Actor) -> None:
    first = await put(user, "One", "apple pie")
    second = await put(user, "Two", "apple tart")
    third = await put(user, "Three", "apple cake")
    client = user.client
    await client.post(f"{CHATS}/{first}/tags", json={"name": "My Science"})
    await client.post(f"{CHATS}/{second}/pin")
    await client.post(f"{CHATS}/{third}/archive")
    folder = (await client.post("/api/v1/folders/", json={"name": "Big Work"})).json()["id"]
    await client.post(f"{CHATS}/{first}/folder", json={"folder_id": folder})
    await client.post(f"{CHATS}/{first}/share", json={})
    assert await titles(user, "apple") == {"One", "Two"}
    assert await titles(user, "tag:my_science") == {"One"}
    assert await titles(user, "tag:my_science pie") == {"One"}
    assert await titles(user, "tag:my_science tart") == set()
    assert await titles(user, "tag:none") == {"Two"}
    assert await titles(user, "tag:sci") == set()
    assert await titles(user, "pinned:true") == {"Two"}
    assert await titles(user, "pinned:false apple") == {"One"}
    assert await titles(user, "archived:true") == {"Three"}
    assert await titles(user, "archived:true+x") == {"One", "Two"}
    assert await titles(user, "shared:true") == {"One"}
    assert await titles(user, "shared:false") == {"Two"}
    assert await titles(user, "folder:big_work apple") == {"One"}
    assert await titles(user, "folder:other") == set()


async def test_nothing_typed_is_syntax(user: Actor) -> None:
    await put(user, "One", "apple pie 100%_sure c:\\temp o'neill foo-bar user@example.com")
    hostile = [
        '"', '""', "'", "apple OR zebra", "NOT apple", "apple*", "*", "NEAR(apple pie)", "owner:x", "content : apple",
        "apple AND", "(", ")", "^apple", "-apple", "+", "{content owner}: apple", "\\", "\\'", "a'b", "a\\'b:*", ":*",
        "&", "|", "!", "<->", "apple & pie", "apple:A", "%", "_", "\x00", "\x00apple", "🦘", "tag:", "pinned:maybe",
        "apple " * 100, "x" * 2000, "';drop table chat;--", "\ud7ff", "\u200b", "1e999", "-0",
    ]  # fmt: skip
    for text in hostile:
        await find(user, text)
    for text in ("o'neill", "foo-bar", "c:\\temp", "user@example.com", "100%_sure", "apple\x00"):
        assert await titles(user, text) == {"One"}, text
    assert await titles(user, "apple OR zebra") == set()
    assert await titles(user, "100x_sure") == set()


async def test_pages(user: Actor) -> None:
    chats = [
        {"chat": {"title": f"t{k}", "history": {"messages": {"a": {"content": "kangaroo"}}}}, "updated_at": k}
        for k in range(125)
    ]
    assert (await user.client.post(f"{CHATS}/import", json={"chats": chats})).status_code == 200
    pages = [[row["title"] for row in await find(user, "kangaroo", page)] for page in (1, 2, 3, 4)]
    assert pages[0] + pages[1] + pages[2] == [f"t{k}" for k in reversed(range(125))]
    assert [len(page) for page in pages] == [60, 60, 5, 0]


async def test_the_index_follows_what_is_stored(user: Actor, live: Live) -> None:
    chat = await put(user, "One", "alpha", "beta")
    base = f"{CHATS}/{chat}/messages"
    await user.client.post(f"{base}/m1", json={"content": "gamma"})
    assert await titles(user, "beta") == set()
    assert await titles(user, "gamma") == {"One"}
    await user.client.delete(f"{base}/m1")
    assert await titles(user, "gamma") == set()
    waiting = {"id": "w", "parentId": "m0", "role": "assistant", "content": "delta", "done": False}
    kept = {"id": "m0", "parentId": None, "role": "user", "content": "alpha"}
    form = {"chat": {"history": {"messages": {"m0": kept, "w": waiting}}}}
    await user.client.post(f"{CHATS}/{chat}", json=form)
    assert await titles(user, "delta") == set()
    form["chat"]["history"]["messages"]["w"] = waiting | {"done": True}
    await user.client.post(f"{CHATS}/{chat}", json=form)
    assert await titles(user, "delta") == {"One"}
    await user.client.delete(f"{CHATS}/{chat}")
    await put(user, "Two", "epsilon")
    assert await titles(user, "alpha") == set()
    database = live.app.state.oui.database
    if database.is_sqlite:
        async with database.write() as unit:
            await unit.connection.execute(
                sa.text("INSERT INTO message_fts(message_fts, rank) VALUES ('integrity-check', 1)")
            )


async def test_the_one_search(user: Actor) -> None:
    chat = await put(user, "Zebra title", "a message about giraffes", "seed answer")
    by_title = (await user.client.get("/api/v1/search", params={"q": "Zebra"})).json()
    item = {
        "id": f"chat:{chat}", "kind": "chat", "title": "Zebra title", "context": "Personal chat",
        "snippet": "seed answer", "preview": "seed answer", "url": f"/c/{chat}", "shared": False, "pinned": False,
    }  # fmt: skip
    [found] = by_title["items"]
    assert {k: v for k, v in found.items() if k != "updated_at"} == item
    assert {k: v for k, v in by_title.items() if k != "items"} == {
        "has_more": False, "scopes": [], "kinds": ["chat", "message", "note"],
    }  # fmt: skip
    [found] = (await user.client.get("/api/v1/search", params={"q": "giraffes"})).json()["items"]
    assert found["url"] == f"/c/{chat}?message=m0"
    assert found["snippet"] == "a message about giraffes"
    assert [i["id"] for i in (await user.client.get("/api/v1/search")).json()["items"]] == [f"chat:{chat}"]
    assert (await user.client.get("/api/v1/search", params={"q": "zebra", "kind": "note"})).json()["items"] == []
    assert (await user.client.get("/api/v1/search", params={"kind": "thing"})).status_code == 422
    assert (await user.client.get("/api/v1/search", params={"q": "x" * 501})).status_code == 422


def test_filters_are_taken_out_of_the_text() -> None:
    assert parse("tag:Red pinned:TRUE hello folder:my_work tag:none wörld") == Query(
        words=("hello", "wörld"), tags=("red", "none"), folders=("my_work",), pinned=True
    )
    assert parse("nottag:x") == Query(words=("nottag:x",))
    assert parse("hello - world !").words == ("hello", "world")
    assert parse("hello \U0001f382").words == ("hello", "\U0001f382")
    assert parse("??? !").words == ("???", "!")


@given(st.text())
def test_any_text_is_parsed_within_bounds(text: str) -> None:
    query = parse(text)
    assert len(query.words) <= search.MAX_WORDS
    assert all(word and "\x00" not in word for word in query.words)


async def test_pages_are_those_of_the_whole_list_wherever_the_newest_chats_fill_them(
    user: Actor, other: Actor, live: Live
) -> None:
    """Chats of two people in between each other, some of one second, with a word in the title, a message, or nowhere."""
    expected = []
    for k in range(40):
        await put(other, f"Theirs {k}", "quokka")
        said = [["a quokka"], ["nothing"], ["one", "a quokka", "quokka again"], ["eggs"]][k % 4]
        chat = await put(user, "A quokka" if k % 8 == 3 else f"Mine {k}", *said)
        if k % 4 in {0, 2} or k % 8 == 3:
            expected.append((k // 3, chat, {0: "m0", 2: "m1"}.get(k % 4)))
        async with live.app.state.oui.database.write() as unit:
            changed = sa.text("UPDATE chat SET updated_at = :at WHERE id = :id")
            await unit.connection.execute(changed, {"at": 1_000 + k // 3, "id": chat})
    expected.sort(reverse=True)
    found = []
    async with live.app.state.oui.database.read() as connection:
        for page in range(1, 12):
            hits = await search.chats(connection, user.id, parse("quokka"), page=page, size=3)
            found += [(hit.row.id, hit.message_id) for hit in hits]
    assert found == [(chat, message) for _, chat, message in expected]
