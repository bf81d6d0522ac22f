"""Moods of conversations: what a provider is asked, what is shown and stored, and what the API takes."""

import asyncio
import sys
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

import pytest

from consciousness.affect import AffectState, after_message, decayed, persona_named
from consciousness.appraisal import LexiconAppraiser
from consciousness.express import expression
from open_webui.chat.context import prepare
from open_webui.connections.base import ModelEntry, Target
from open_webui.services import affect
from tests.open_webui.chat.conftest import Mute, Noted, make_turn
from tests.open_webui.chat.page import Page, open_page
from tests.support.live import Actor, Live
from tests.support.upstream import Upstream

GLAD = "I am so happy!!!"
PLAIN = "The meeting is on the second floor."
START = 1_800_000_000.0
LEXICON = LexiconAppraiser()


class Clock:
    """The time as a test wants it."""

    def __init__(self) -> None:
        self.at = START

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(affect, "moment", clock)
    return clock


@pytest.fixture
async def page(live: Live, admin: Actor) -> AsyncIterator[Page]:
    async with open_page(admin.client, admin.token) as opened:
        yield opened


async def asked(page: Page, text: str, **fields: Any) -> tuple[str, str]:
    """A question, answered: the chat's id and the answer's."""
    body = page.ask("fixed", text, **fields)
    chat_id = (await page.post(body))["chat_id"]
    await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", body["id"])))
    return chat_id, body["id"]


async def begun(page: Page, **chosen: Any) -> dict[str, Any]:
    """A chat with moods in which nothing was said, as fields for `asked`."""
    reply = await page.http.post("/api/v1/chats/new", json={"chat": {"title": "t"}})
    chat_id = reply.json()["id"]
    await put(page, chat_id, **{"enabled": True} | chosen)
    return {"chat_id": chat_id}


async def put(page: Page, chat_id: str, **given: Any) -> dict[str, Any]:
    reply = await page.http.put(f"/api/v1/affect/chats/{chat_id}", json=given)
    assert reply.status_code == 200, reply.text
    shown: dict[str, Any] = reply.json()
    return shown


async def get(page: Page, chat_id: str) -> dict[str, Any]:
    reply = await page.http.get(f"/api/v1/affect/chats/{chat_id}")
    assert reply.status_code == 200, reply.text
    shown: dict[str, Any] = reply.json()
    return shown


def payload(upstream: Upstream) -> dict[str, Any]:
    body: dict[str, Any] = upstream.chats[-1].body
    return body


def moods(page: Page, message_id: str) -> list[str]:
    return [s["description"] for s in page.data("status", message_id) if s.get("action") == "affect"]


def felt(text: str, before: AffectState, at: float, persona: str = "neutral") -> AffectState:
    return after_message(before, LEXICON.read(text).emotions, at, persona_named(persona))


class TestATurn:
    async def test_off_changes_nothing(self, page: Page, upstream: Upstream) -> None:
        chat_id, message_id = await asked(page, GLAD)
        body = payload(upstream)
        assert body["messages"] == [{"role": "user", "content": GLAD}]
        assert {"temperature", "top_p"}.isdisjoint(body)
        stored = await page.message(chat_id, message_id)
        assert "affect" not in stored["meta"]
        assert "statusHistory" not in stored
        assert moods(page, message_id) == []

    @pytest.mark.usefixtures("clock")
    async def test_a_glad_message_warms_the_answer(self, page: Page, upstream: Upstream) -> None:
        chat = await begun(page)
        chat_id, message_id = await asked(page, GLAD, **chat)
        state = felt(GLAD, AffectState({}, START), START)
        change = expression(state.emotions)
        body = payload(upstream)
        assert body["temperature"] == round(1.0 + change.temperature, 4) > 1.0
        # Nothing is above 1.
        assert body["top_p"] == 1.0
        assert {"repeat_penalty", "repetition_penalty", "max_tokens", "max_new_tokens"}.isdisjoint(body)
        assert body["messages"][0] == {"role": "system", "content": change.style}
        said = f"Mood: {affect.in_words(state.emotions)}"
        assert moods(page, message_id) == [said]
        stored = await page.message(chat_id, message_id)
        assert stored["meta"]["affect"] == {"emotions": affect.rounded(state.emotions), "at": START}
        assert [s["description"] for s in stored["statusHistory"]] == [said]
        shown = await get(page, chat_id)
        assert shown["state"] == affect.rounded(state.emotions)
        assert f"Mood: {shown['mood']}" == said

    async def test_a_neutral_mood_changes_nothing(self, page: Page, upstream: Upstream) -> None:
        _, message_id = await asked(page, PLAIN, **await begun(page))
        body = payload(upstream)
        assert body["messages"] == [{"role": "user", "content": PLAIN}]
        assert {"temperature", "top_p"}.isdisjoint(body)
        assert moods(page, message_id) == ["Mood: neutral"]

    async def test_what_a_person_chose_stays(self, page: Page, upstream: Upstream) -> None:
        chat = await begun(page, state={"excitement": 1})
        await asked(page, PLAIN, **chat, params={"temperature": 0.2, "system": "Be brief."}, top_p=0.5)
        body = payload(upstream)
        assert (body["temperature"], body["top_p"]) == (0.2, 0.5)
        assert body["messages"][0]["content"].startswith("Be brief.\n\nLet the tone of your answer be ")
        await page.http.patch(f"/api/v1/chats/{chat['chat_id']}/params", json={"temperature": 0.3})
        await asked(page, PLAIN, **chat)
        assert payload(upstream)["temperature"] == 0.3

    async def test_it_fades_between_two_turns(self, page: Page, upstream: Upstream, clock: Clock) -> None:
        chat = await begun(page, persona="calm")
        _, first = await asked(page, GLAD, **chat)
        before = felt(GLAD, AffectState(persona_named("calm").baseline, START), START, "calm")
        clock.at += 600
        assert (await get(page, chat["chat_id"]))["state"] == pytest.approx(
            affect.rounded(decayed(before, clock.at, persona_named("calm")).emotions), abs=2e-4
        )
        _, second = await asked(page, PLAIN, **chat, parent_id=first)
        meta = (await page.message(chat["chat_id"], second))["meta"]["affect"]
        after = felt(PLAIN, before, clock.at, "calm")
        assert meta["at"] == START + 600
        assert meta["emotions"] == pytest.approx(affect.rounded(after.emotions), abs=2e-4)
        assert meta["emotions"]["joy"] == pytest.approx(before.emotions["joy"] / 2, abs=2e-4)
        assert meta["emotions"]["calm"] == pytest.approx(0.4, abs=2e-4)
        assert payload(upstream)["temperature"] == pytest.approx(1 + expression(after.emotions).temperature, abs=2e-4)

    @pytest.mark.usefixtures("clock")
    async def test_an_answer_given_anew_does_not_hear_the_question_twice(self, page: Page) -> None:
        chat = await begun(page)
        body = page.ask("fixed", GLAD, **chat)
        await page.post(body)
        await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", body["id"])))
        _, again = await asked(page, GLAD, **chat, parent_id=body["user_message"]["id"], user_message=None)
        # The first answer's end is no sign of this one's.
        page.events.clear()
        _, over = await asked(
            page, GLAD, **chat, parent_id=body["user_message"]["id"], user_message=None,
            id=body["id"], message_ids=[{"model_id": "fixed", "message_id": body["id"], "modelIdx": 0}],
        )  # fmt: skip
        assert over == body["id"]
        found = [(await page.message(chat["chat_id"], i))["meta"]["affect"] for i in (body["id"], again)]
        assert found[0] == found[1]
        # In the place of the first one, its status is there once.
        assert len((await page.message(chat["chat_id"], over))["statusHistory"]) == 1

    async def test_a_continued_answer_keeps_its_mood(self, page: Page, upstream: Upstream, clock: Clock) -> None:
        chat = await begun(page)
        chat_id, message_id = await asked(page, GLAD, **chat)
        first = (await page.message(chat_id, message_id))["meta"]["affect"]
        asked_first = payload(upstream)
        clock.at += 3600
        body = page.ask("fixed", "", **chat, user_message=..., assistant_message_id=message_id, id=message_id)
        body["message_ids"] = [{"model_id": "fixed", "message_id": message_id, "modelIdx": 0}]
        page.events.clear()
        await page.post(body)
        await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", message_id)))
        assert (await page.message(chat_id, message_id))["meta"]["affect"] == first
        assert payload(upstream)["temperature"] == pytest.approx(asked_first["temperature"], abs=1e-4)
        assert payload(upstream)["messages"][0] == asked_first["messages"][0]

    @pytest.mark.usefixtures("clock")
    async def test_branches_have_moods_of_their_own(self, page: Page) -> None:
        chat = await begun(page)
        _, glad = await asked(page, GLAD, **chat)
        _, plain = await asked(page, PLAIN, **chat)
        assert (await page.message(chat["chat_id"], plain))["meta"]["affect"]["emotions"] == {}
        _, after = await asked(page, PLAIN, **chat, parent_id=glad)
        assert (await page.message(chat["chat_id"], after))["meta"]["affect"]["emotions"]["joy"] > 0.1

    @pytest.mark.usefixtures("clock")
    async def test_many_models_at_once_hear_it_once_each(self, page: Page) -> None:
        chat = await begun(page)
        ids = [{"model_id": m, "message_id": f"a-{m}", "modelIdx": n} for n, m in enumerate(("fixed", "echo"))]
        await page.post(page.ask("fixed", GLAD, **chat, message_ids=ids, id=...))
        for entry in ids:
            await page.until(lambda p, e=entry: any(d.get("done") for d in p.data("chat:completion", e["message_id"])))
        stored = [(await page.message(chat["chat_id"], e["message_id"]))["meta"]["affect"] for e in ids]
        assert stored[0] == stored[1]

    async def test_a_long_message_is_answered(self, page: Page, upstream: Upstream) -> None:
        await asked(page, (GLAD + " ") * 20_000, **await begun(page))
        assert payload(upstream)["temperature"] > 1

    async def test_without_the_lexicon_it_goes_on_and_says_so_once(
        self, page: Page, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "vaderSentiment", None)
        monkeypatch.setitem(sys.modules, "vaderSentiment.vaderSentiment", None)
        import_module("open_webui.chat.context.affect")._lexicon.cache_clear()
        chat = await begun(page, state={"excitement": 1})
        _, first = await asked(page, GLAD, **chat)
        _, second = await asked(page, GLAD, **chat, parent_id=first)
        assert "vaderSentiment is not installed" in moods(page, first)[0]
        assert [text.startswith("Mood: ") for text in moods(page, first)] == [False, True]
        assert [text.startswith("Mood: ") for text in moods(page, second)] == [True]
        assert payload(upstream)["temperature"] > 1

    async def test_an_answer_that_fails_keeps_its_mood(self, page: Page) -> None:
        chat = await begun(page)
        body = page.ask("error500", GLAD, **chat)
        await page.post(body)
        await page.until(lambda p: bool(p.data("chat:message:error", body["id"])))
        stored = await page.message(chat["chat_id"], body["id"])
        assert stored["error"]
        assert stored["meta"]["affect"]["emotions"]["joy"] > 0


class TestAModelsSwitch:
    async def make(self, page: Page, meta: Any, **params: Any) -> int:
        form = {"id": "moody", "base_model_id": "fixed", "name": "Moody", "meta": {"affect": meta}, "params": params}
        return (await page.http.post("/api/v1/models/create", json=form)).status_code

    async def test_its_chats_have_moods_until_one_says_no(self, page: Page, upstream: Upstream) -> None:
        assert await self.make(page, {"enabled": True, "persona": "enthusiastic"}, temperature=0.5) == 200
        body = page.ask("moody", GLAD)
        chat_id = (await page.post(body))["chat_id"]
        await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", body["id"])))
        assert 0.5 < payload(upstream)["temperature"] < 1
        shown = await get(page, chat_id)
        assert (shown["enabled"], shown["active"], shown["persona"]["name"]) == (None, True, "enthusiastic")
        assert (await put(page, chat_id, enabled=False))["active"] is False
        second = page.ask("moody", GLAD, chat_id=chat_id, parent_id=body["id"])
        await page.post(second)
        await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", second["id"])))
        assert payload(upstream)["temperature"] == 0.5
        assert moods(page, second["id"]) == []

    async def test_wording_only(self, page: Page, upstream: Upstream) -> None:
        assert await self.make(page, {"enabled": True, "sampling": False}) == 200
        body = page.ask("moody", GLAD)
        await page.post(body)
        await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", body["id"])))
        assert {"temperature", "top_p"}.isdisjoint(payload(upstream))
        assert payload(upstream)["messages"][0]["role"] == "system"

    async def test_a_temporary_chat_has_one_too(self, page: Page, upstream: Upstream) -> None:
        assert await self.make(page, {"enabled": True}) == 200
        body = page.ask("moody", GLAD, chat_id="temporary:1", messages=[{"role": "user", "content": GLAD}])
        await page.post(body)
        await page.until(lambda p: any(d.get("done") for d in p.data("chat:completion", body["id"])))
        assert payload(upstream)["temperature"] > 1

    @pytest.mark.parametrize(
        "wrong", [7, True, "on", {"enabled": 1}, {"persona": "grumpy"}, {"state": {}}, {"mood": 1}]
    )
    async def test_what_can_not_be_used_is_refused(self, page: Page, wrong: Any) -> None:
        assert await self.make(page, wrong) == 400


class TestTheApi:
    async def test_what_is_set_is_there_and_null_forgets_it(self, page: Page, clock: Clock) -> None:
        chat_id = (await begun(page))["chat_id"]
        persona = {"name": "warm", "baseline": {"love": 0.5}, "half_life": 60, "gain": 1}
        shown = await put(page, chat_id, persona=persona, state={"joy": 0.8})
        assert shown == await get(page, chat_id)
        assert (shown["enabled"], shown["persona"]) == (True, persona)
        assert shown["state"] == {"joy": 0.8}
        clock.at += 60
        assert (await get(page, chat_id))["state"] == {"joy": 0.4, "love": 0.25}
        shown = await put(page, chat_id, state=None, enabled=None)
        assert (shown["enabled"], shown["active"], shown["state"]) == (None, False, {"love": 0.5})
        assert (await put(page, chat_id, persona=None))["persona"]["name"] == "neutral"
        assert "affect" not in (await page.stored(chat_id))["meta"]

    async def test_other_tabs_hear_of_it(self, page: Page, admin: Actor) -> None:
        async with open_page(admin.client, admin.token) as other:
            shown = await put(page, (await begun(page))["chat_id"], state={"calm": 1})
            await other.until(lambda p: shown in p.data("chat:affect"))

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"state": {"joy": 1.5}}, "'joy'"), ({"state": {"joy": -0.1}}, "'joy'"), ({"state": {"joy": True}}, "'joy'"),
            ({"state": {"joy": "much"}}, "'joy'"), ({"state": {"joi": 0.5}}, "joy"), ({"state": [1]}, "mapping"),
            ({"state": {"joy": 10**400}}, "'joy'"), ({"state": {"joy": None}}, "'joy'"), ({"state": 1}, "mapping"),
            ({"enabled": "yes"}, "'enabled'"), ({"enabled": 1}, "'enabled'"), ({"persona": "grumpy"}, "grumpy"),
            ({"persona": {"baseline": {"joy": 2}}}, "'joy'"), ({"persona": {"baseline": {"x": 0}}}, "x"),
            ({"persona": {"half_life": 0}}, "half-life"), ({"persona": {"half_life": 10**400}}, "half-life"),
            ({"persona": {"gain": 2}}, "gain"), ({"persona": {"gain": None}}, "gain"), ({"persona": {"name": 7}}, "name"),
            ({"persona": {"baseline": None}}, "mapping"), ({"persona": {"reaction": {}}}, "baseline"),
            ({"persona": 7}, "persona"), ({"mood": {}}, "'mood'"), ({}, "Nothing"), ({"sampling": False}, "'sampling'"),
        ],
    )  # fmt: skip
    @pytest.mark.usefixtures("clock")
    async def test_bad_input_changes_nothing(self, page: Page, wrong: Any, said: str) -> None:
        chat_id = (await begun(page, persona="warm", state={"joy": 0.5}))["chat_id"]
        before = await get(page, chat_id)
        reply = await page.http.put(
            f"/api/v1/affect/chats/{chat_id}", json={"enabled": False} | wrong if wrong else wrong
        )
        assert reply.status_code == 400
        assert said in reply.json()["detail"]
        assert await get(page, chat_id) == before

    @pytest.mark.parametrize("body", [b'{"state": {"joy": NaN}}', b'{"state": {"joy": 1e999}}', b"[]", b"", b"7"])
    async def test_no_json_no_change(self, page: Page, body: bytes) -> None:
        chat_id = (await begun(page))["chat_id"]
        reply = await page.http.put(f"/api/v1/affect/chats/{chat_id}", content=body)
        assert reply.status_code == (400 if body else 422)
        assert (await get(page, chat_id))["enabled"] is True

    async def test_changes_at_once_are_all_kept(self, page: Page) -> None:
        chat_id = (await begun(page, enabled=False))["chat_id"]
        changes: list[dict[str, Any]] = [{"enabled": True}, {"persona": "warm"}, {"state": {"love": 1}}] * 3
        await asyncio.gather(*(put(page, chat_id, **change) for change in changes))
        shown = await get(page, chat_id)
        assert (shown["enabled"], shown["persona"]["name"]) == (True, "warm")
        assert shown["state"]["love"] > 0.9

    async def test_an_unknown_chat(self, page: Page) -> None:
        assert (await page.http.get("/api/v1/affect/chats/nowhere")).status_code == 404
        assert (await page.http.put("/api/v1/affect/chats/nowhere", json={"enabled": True})).status_code == 404

    @pytest.mark.usefixtures("clock")
    async def test_copies_and_exports_take_it_along(self, page: Page) -> None:
        chat = await begun(page, persona="warm")
        chat_id, _ = await asked(page, GLAD, **chat)
        shown = await get(page, chat_id)
        for how in ("clone", "fork"):
            copy = (await page.http.post(f"/api/v1/chats/{chat_id}/{how}", json={})).json()["id"]
            assert await get(page, copy) == shown | {"chat_id": copy}
        await page.http.post("/api/v1/chats/import", json={"chats": [await page.stored(chat_id)]})
        newest = [c["id"] for c in (await page.http.get("/api/v1/chats/")).json() if c["id"] != chat_id]
        states = [(await get(page, i)) for i in newest]
        assert [s["persona"]["name"] for s in states] == ["warm"] * 3
        assert [s["state"] for s in states] == [shown["state"]] * 3

    async def test_what_an_import_broke_counts_for_nothing(self, page: Page) -> None:
        body = {"chat": {"title": "t"}, "meta": {"affect": {"enabled": "yes", "state": 7}}}
        await page.http.post("/api/v1/chats/import", json={"chats": [body]})
        chat_id = (await page.http.get("/api/v1/chats/")).json()[0]["id"]
        assert (await get(page, chat_id))["enabled"] is None
        assert (await put(page, chat_id, persona="warm"))["persona"]["name"] == "warm"

    async def test_a_page_that_saves_its_document_leaves_it(self, page: Page) -> None:
        chat_id = (await begun(page, persona="warm"))["chat_id"]
        document = (await page.stored(chat_id))["chat"]
        await put(page, chat_id, persona="calm")
        await page.http.post(f"/api/v1/chats/{chat_id}", json={"chat": document})
        assert (await get(page, chat_id))["persona"]["name"] == "calm"


def chosen(emotions: dict[str, float]) -> affect.Chosen:
    """A conversation that feels this, and whose question changes nothing."""
    return affect.Chosen(enabled=True, state=AffectState(emotions, START))


@pytest.mark.usefixtures("clock")
class TestTheStage:
    async def sent(self, kind: str, emotions: dict[str, float], own: dict[str, Any], **changes: Any) -> dict[str, Any]:
        entry = ModelEntry(id="m", name="M", remote_id="m", connection="mute", kind=kind)  # type: ignore[arg-type]
        target = Target(model_id="m", entry=entry, connection=Mute(), params=own)  # type: ignore[arg-type]
        return (
            await prepare(make_turn(target=target, affect=chosen(emotions), question="", **changes), Noted())
        ).fields

    async def test_the_models_own_parameters_are_moved(self) -> None:
        fields = await self.sent("ollama", {"joy": 1}, {"temperature": 0.5, "num_predict": 100, "repeat_penalty": 1.2})
        change = expression({"joy": 1})
        assert fields == {
            "temperature": round(0.5 + change.temperature, 4), "top_p": round(0.9 + change.top_p, 4),
            "num_predict": round(100 * change.length), "repeat_penalty": round(1.2 + change.repetition_penalty, 4),
        }  # fmt: skip

    @pytest.mark.parametrize("kind", ["openai", "ollama", "local"])
    async def test_a_greedy_model_stays_greedy(self, kind: str) -> None:
        fields = await self.sent(kind, {"excitement": 1}, {"temperature": 0})
        assert fields["temperature"] == 0
        assert "top_p" not in fields

    async def test_a_length_that_a_person_chose_stays(self) -> None:
        fields = await self.sent("openai", {"joy": 1}, {"max_tokens": 100}, params={"max_tokens": 7})
        assert fields["max_tokens"] == 7
        fields = await self.sent("openai", {"joy": 1}, {"max_completion_tokens": 100}, fields={"top_p": 0.3})
        assert fields["max_completion_tokens"] > 100
        assert fields["top_p"] == 0.3

    @pytest.mark.parametrize("own", [{"temperature": -1}, {"top_p": 7}, {"max_tokens": 0}])
    async def test_parameters_that_make_no_sense_are_left_to_the_provider(self, own: dict[str, Any]) -> None:
        assert await self.sent("openai", {"joy": 1}, own) == own

    async def test_a_parameter_that_is_no_number_is_replaced_by_nothing(self) -> None:
        fields = await self.sent("openai", {"joy": 1}, {"temperature": "hot", "max_tokens": True})
        assert fields["max_tokens"] is True

    async def test_the_sentence_stands_behind_the_system_prompt(self) -> None:
        ask = {"role": "user", "content": "Hi"}
        style = expression({"calm": 1}).style

        async def sent(**changes: Any) -> list[dict[str, Any]]:
            turn = make_turn(affect=chosen({"calm": 1}), question="", **changes)
            return list((await prepare(turn, Noted())).messages)

        assert await sent(folder_prompt="S", history=(ask,)) == [{"role": "system", "content": f"S\n\n{style}"}, ask]
        assert await sent(history=(ask,)) == [{"role": "system", "content": style}, ask]
        parts = {"role": "system", "content": [{"type": "text", "text": "S"}]}
        assert await sent(history=(parts, ask)) == [{"role": "system", "content": style}, parts, ask]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({}, "neutral"), ({"joy": 0.1}, "neutral"), ({"joy": 0.2}, "a little joyful"),
        ({"calm": 0.5, "joy": 0.3, "love": 0.2}, "calm, a little joyful"), ({"anger": 1.0, "fear": 0.5}, "very angry, afraid"),
    ],
)  # fmt: skip
def test_words(state: dict[str, float], words: str) -> None:
    assert affect.in_words(state) == words


@pytest.mark.parametrize(
    "stored",
    [7, {"emotions": {"joy": 2}}, {"emotions": 7, "at": 1}, {"emotions": {}, "at": "now"}, {"at": 10**400}, []],
)
def test_what_a_page_made_up_counts_for_nothing(stored: Any) -> None:
    assert affect.felt_in({"role": "assistant", "meta": {"affect": stored}}) is None
    assert affect.felt_in({"role": "assistant", "meta": stored}) is None
