"""Calls: a page, the server, and a service of OpenAI's Realtime protocol; who may not, what is passed on, and how they end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import msgspec
import pytest

from open_webui.services.audio import calls
from open_webui.services.terminals import watch
from tests.support.calls import SILENCE, SPEECH, called, dialled
from tests.support.live import Actor, Live, used
from tests.support.realtime_service import RealtimeService, realtime_service
from tests.support.speech_service import KEY

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
Dial = Callable[..., Awaitable[None]]


@pytest.fixture
async def service() -> AsyncIterator[RealtimeService]:
    async with realtime_service() as running:
        yield running


@pytest.fixture
async def switch_on(admin: Actor, service: RealtimeService) -> Dial:
    """Switches calls on, with other settings of them: `switch_on(PROVIDER="azure")`. The model 'fixed' is everybody's."""
    grant = {"principal_type": "user", "principal_id": "*", "permission": "read"}
    form = {"id": "fixed", "name": "fixed", "meta": {}, "params": {}, "access_grants": [grant]}
    assert (await admin.client.post("/api/v1/models/create", json=form)).status_code == 200

    async def change(**settings: Any) -> None:
        given = {"ENABLED": True, "OPENAI_API_BASE_URL": f"{service.url}/v1", "OPENAI_API_KEY": KEY} | settings
        body = {"tts": {}, "stt": {}, "realtime": given}
        reply = await admin.client.post("/api/v1/audio/config/update", json=body)
        assert reply.status_code == 200, reply.text

    return change


async def chat_of(actor: Actor) -> str:
    document = {"chat": {"title": "mine", "history": {"currentId": None, "messages": {}}}}
    return str((await actor.client.post("/api/v1/chats/new", json=document)).json()["id"])


async def test_a_wish_goes_to_the_chat_and_its_answer_is_spoken(
    live: Live, user: Actor, service: RealtimeService, switch_on: Dial
) -> None:
    await switch_on(INPUT_PARAMS={"noise_reduction": {"type": "near_field"}, "turn_detection": {"threshold": 0.7}})
    service.understands = ["What is the time?"]
    async with called(live, user.token, chat=await chat_of(user)) as call:
        assert call.heard == [
            {"type": "bridge.ready", "sample_rate": 24_000, "model": "gpt-realtime-2.1-mini", "voice": "marin"}
        ]
        await call.say("bridge.ping")
        await call.until("bridge.pong")
        await call.say("bridge.context", messages=[{"role": "user", "content": "Before"}, {"role": "system"}, 7])
        item = await call.speak()
        await call.say("bridge.respond", item_id=item)
        asked = (await call.until("response.output_item.done"))["item"]
        assert asked["name"] == "generate_chat_completion"
        assert (await call.until("response.done"))["response"]["metadata"] == {"input_item_id": item}
        await call.say("bridge.result", call_id=asked["call_id"], status="completed", answer="It is noon")
        await call.say("bridge.respond", call_id=asked["call_id"])
        assert (await call.until("response.output_audio_transcript.done"))["transcript"] == "It is noon"
        await call.until("response.done")
    await service.until_closed()
    kinds = [event["type"] for event in call.heard if "delta" not in event["type"]]
    assert kinds.index("input_audio_buffer.speech_started") < kinds.index("input_audio_buffer.speech_stopped")
    first, context = service.of("session.update")
    heard = first["session"]["audio"]["input"]
    assert heard["transcription"] == {"model": "gpt-transcribe"}
    assert heard["noise_reduction"] == {"type": "near_field"}
    assert heard["turn_detection"] == {
        "type": "server_vad", "threshold": 0.7, "create_response": False, "interrupt_response": False,
    }  # fmt: skip
    assert '[{"role":"user","content":"Before"}]' in context["session"]["instructions"]
    output = msgspec.json.decode(service.of("conversation.item.create")[0]["item"]["output"])
    assert output == {"status": "completed", "answer": "It is noon"}
    # Neither the key nor what the service was told reaches the page.
    assert service.headers[0]["authorization"] == f"Bearer {KEY}"
    assert user.token not in str(service.headers) + str(service.events)
    assert KEY not in str(call.heard)
    assert "secret of the service" not in str(call.heard)
    (row, *_) = await used(live, 1)
    assert (row.model_id, row.connection, row.kind, row.status) == (
        "gpt-realtime-2.1-mini", "audio:realtime", "api", 200,
    )  # fmt: skip
    assert (row.prompt_tokens, row.completion_tokens) == (60, 24)


async def test_who_speaks_into_an_answer_stops_it(
    live: Live, user: Actor, service: RealtimeService, switch_on: Dial
) -> None:
    await switch_on()
    service.delegates, service.words = False, asyncio.Semaphore(2)
    service.understands = ["Hello", "Stop"]
    async with called(live, user.token) as call:
        await call.say("bridge.respond", item_id=await call.speak())
        spoken = await call.until("response.output_audio.delta")
        # The rest of the answer waits: what stops it comes in the middle.
        await call.speak()
        await call.say("response.cancel", response_id=spoken["response_id"])
        place = {"item_id": spoken["item_id"], "content_index": 0}
        await call.say("conversation.item.truncate", **place, audio_end_ms=250)
        done = await call.until("response.done")
        assert done["response"] == {"id": spoken["response_id"], "status": "cancelled", "metadata": {}}
        assert (await service.until("conversation.item.truncate"))[0] | place == (
            service.of("conversation.item.truncate")[0]
        )
        # What comes too late is no reason to end a call.
        await call.say("response.cancel", response_id=spoken["response_id"])
        await call.say("conversation.item.truncate", **place, audio_end_ms=4_000_000)
        await call.say("input_audio_buffer.clear")
        await service.until("input_audio_buffer.clear")
        await call.say("bridge.status", status="approval")
        for _ in range(9):
            service.words.release()
        assert (await call.until("response.created"))["response"]["metadata"] == {"status": "approval"}


FIRST: list[tuple[Any, int, str]] = [
    ("[1]", calls.NOT_SIGNED_IN, "Sign in again."),
    ("{", calls.NOT_SIGNED_IN, "Sign in again."),
    ("[" * 3_000, calls.NOT_SIGNED_IN, "Sign in again."),
    ({"type": "auth", "token": "nonsense"}, calls.NOT_SIGNED_IN, "Sign in again."),
    ({"type": "auth", "token": 7}, calls.NOT_SIGNED_IN, "Sign in again."),
    ({"type": "auth", "token": "x" * 5_000}, calls.NOT_SIGNED_IN, "Sign in again."),
    ({"type": "bridge.ping", "token": "user"}, calls.NOT_SIGNED_IN, "Sign in again."),
    ({"type": "auth", "token": "pending"}, calls.NOT_SIGNED_IN, "Sign in again."),
    ({"type": "auth", "token": "key"}, calls.NOT_FOR_YOU, "not for API keys"),
    ({"type": "auth", "token": "user"}, 1008, "Choose a model"),
    ({"type": "auth", "token": "user", "model_id": 7}, 1008, "Choose a model"),
    ({"type": "auth", "token": "user", "model_id": "none"}, 1008, "Model not found"),
    ({"type": "auth", "token": "user", "model_id": "fixed", "chat_id": "none"}, calls.NOT_FOR_YOU, "no such chat"),
    ({"type": "auth", "token": "user", "model_id": "fixed", "chat_id": "a\x00b"}, calls.NOT_FOR_YOU, "no such chat"),
    ({"type": "auth", "token": "user", "model_id": "fixed", "chat_id": [1]}, calls.NOT_FOR_YOU, "no such chat"),
    ({"type": "auth", "token": "other", "model_id": "fixed", "chat_id": "mine"}, calls.NOT_FOR_YOU, "no such chat"),
]


async def test_who_may_not_is_told_why(
    live: Live, admin: Actor, user: Actor, other: Actor, pending: Actor, service: RealtimeService, switch_on: Dial
) -> None:
    await switch_on()
    await admin.client.post("/api/v1/auths/admin/config", json=(
        await admin.client.get("/api/v1/auths/admin/config")).json() | {"ENABLE_API_KEYS": True})  # fmt: skip
    made = await admin.client.post("/api/v1/auths/api_key")
    assert made.status_code == 200, made.text
    names = {"user": user.token, "other": other.token, "pending": pending.token, "key": made.json()["api_key"]}
    chat = await chat_of(user)
    for first, code, said in FIRST:
        async with dialled(live) as call:
            text = first
            if isinstance(first, dict):
                token = names.get(str(first.get("token")), first.get("token"))
                known = {"token": token} | ({"chat_id": chat} if first.get("chat_id") == "mine" else {})
                text = msgspec.json.encode(first | known).decode()
            await call.socket.send_str(text)
            ended = await call.ended()
            assert (ended[0], said in ended[1]) == (code, True), (text[:200], ended)
    assert service.headers == []


async def test_odd_handshakes(
    live: Live, user: Actor, service: RealtimeService, switch_on: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    await switch_on()
    with pytest.raises(aiohttp.WSServerHandshakeError):
        async with dialled(live, origin="https://evil.example"):
            pass
    for data, codes in ((b"x", {calls.NOT_SIGNED_IN}), (bytes(50_000), {1009})):
        async with dialled(live) as call:
            await call.socket.send_bytes(data)
            assert (await call.ended())[0] in codes
    # A cookie alone is nobody's.
    monkeypatch.setattr(calls, "SIGN_IN_SECONDS", 0.05)
    async with dialled(live, cookies={"token": user.token}) as call:
        assert await call.ended() == (calls.NOT_SIGNED_IN, "Sign in again.")
    assert service.headers == []


async def test_calls_are_for_whom_they_are_permitted_and_while_they_are_on(
    live: Live, admin: Actor, user: Actor, switch_on: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "SWEEP_SECONDS", 0.05)
    async with dialled(live) as call:
        await call.say("auth", token=user.token, model_id="fixed")
        assert await call.ended() == (calls.NOT_FOR_YOU, calls._OFF)
    await switch_on()
    permissions = (await admin.client.get("/api/v1/users/default/permissions")).json()
    permissions["chat"]["call"] = False
    async with called(live, user.token) as running:
        reply = await admin.client.post("/api/v1/users/default/permissions", json=permissions)
        assert reply.status_code == 200, reply.text
        assert await running.ended() == (calls.NOT_SIGNED_IN, calls.ENDED)
    async with dialled(live) as call:
        await call.say("auth", token=user.token, model_id="fixed")
        code, said = await call.ended()
        assert (code, "may not make calls" in said) == (calls.NOT_FOR_YOU, True)
    # Who administers may, as everything.
    async with called(live, admin.token) as running:
        await switch_on(ENABLED=False)
        assert await running.ended() == (calls.NOT_SIGNED_IN, calls.ENDED)


async def test_a_call_ends_with_the_right_to_it(
    live: Live, admin: Actor, user: Actor, other: Actor, service: RealtimeService, switch_on: Dial,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(watch, "SWEEP_SECONDS", 0.05)
    await switch_on()
    async with called(live, user.token) as signed_out, called(live, other.token) as pending:
        async with live.client(user.token) as client:
            await client.post("/api/v1/auths/signout")
        assert await signed_out.ended() == (calls.NOT_SIGNED_IN, calls.ENDED)
        form = {"role": "pending", "name": other.name, "email": other.email, "profile_image_url": ""}
        assert (await admin.client.post(f"/api/v1/users/{other.id}/update", json=form)).status_code == 200
        assert await pending.ended() == (calls.NOT_SIGNED_IN, calls.ENDED)
    await service.until_closed()


async def test_what_is_not_of_the_protocol_ends_it(
    live: Live, user: Actor, service: RealtimeService, switch_on: Dial
) -> None:
    await switch_on()
    for said in (
        {"type": "session.update", "session": {}},
        {"type": "response.create"},
        {"type": ["auth"]},
        {},
        {"type": "input_audio_buffer.append"},
        {"type": "input_audio_buffer.append", "audio": "%%%%"},
        {"type": "input_audio_buffer.append", "audio": "QQ=="},
        {"type": "input_audio_buffer.append", "audio": "QUFB" * 30_000},
        {"type": "response.cancel", "response_id": "x" * 300},
        {"type": "conversation.item.truncate", "item_id": "x", "content_index": 0, "audio_end_ms": -1},
        {"type": "conversation.item.truncate", "item_id": "x", "content_index": True, "audio_end_ms": 1},
        {"type": "bridge.respond", "item_id": "nobody said it"},
        {"type": "bridge.respond", "call_id": "nobody asked it"},
        {"type": "bridge.result", "call_id": "nobody asked it", "status": "completed", "answer": "x"},
    ):
        async with called(live, user.token) as call:
            await call.socket.send_json(said)
            code, sentence = await call.ended()
            assert (code, sentence[:8]) == (1008, "The page"), said
    async with called(live, user.token) as call:
        await call.socket.send_bytes(b"x")
        assert (await call.ended())[0] == 1008
    async with called(live, user.token) as call:
        await call.socket.send_str("x" * (calls.MAX_SAID + 1))
        assert (await call.ended())[0] == 1009
    await service.until_closed()
    assert {event["type"] for event in service.events} == {"session.update"}


LOST: list[tuple[str, str]] = [
    ("refusing", "The service of speech has a problem: no such voice, says ***"),
    ("deaf", "did not take the call in time"),
    ("closing", calls.LOST),
    ("error", "The service of speech has a problem: out of order, says ***"),
    ("huge", calls.LOST),
]


@pytest.mark.parametrize(("mood", "said"), LOST)
async def test_a_service_that_fails_ends_it_with_a_sentence(
    mood: str, said: str, live: Live, user: Actor, service: RealtimeService, switch_on: Dial,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(calls, "CONNECT_SECONDS", 1.0 if mood == "deaf" else 30.0)
    await switch_on()
    service.mood = mood
    async with dialled(live) as call:
        await call.say("auth", token=user.token, model_id="fixed")
        if mood not in {"refusing", "deaf"}:
            await call.until("bridge.ready")
            await call.sound(SPEECH + SILENCE)
        code, sentence = await call.ended()
    assert (code, said in sentence) == (calls.AWAY, True), sentence
    (row, *_) = await used(live, 1)
    assert row.status in {502, 504}


SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"OPENAI_API_KEY": "wrong"}, "did not take its key"),
    ({"OPENAI_API_BASE_URL": "http://127.0.0.1:9/v1"}, "can't be reached"),
    ({"OPENAI_API_BASE_URL": ""}, "has no address"),
    ({"OPENAI_API_BASE_URL": "http://[x/v1"}, "has no address"),
    ({"PROVIDER": "azure", "OPENAI_API_KEY": ""}, "Azure needs a key"),
    ({"AUTH_TYPE": "microsoft_entra_id"}, "Microsoft Entra ID"),
]


async def test_settings_that_can_not_work_are_named(
    live: Live, user: Actor, service: RealtimeService, switch_on: Dial
) -> None:
    for settings, said in SETTINGS:
        await switch_on(**{"PROVIDER": "openai", "AUTH_TYPE": "api_key"} | settings)
        async with dialled(live) as call:
            await call.say("auth", token=user.token, model_id="fixed")
            code, sentence = await call.ended()
            assert (code, said in sentence) == (calls.AWAY, True), (settings, sentence)
    # Azure's address, and the header in which it looks for a key.
    await switch_on(PROVIDER="azure", AUTH_TYPE="api_key", OPENAI_API_BASE_URL=service.url, MODEL="my model")
    async with called(live, user.token):
        pass
    assert service.paths[-1] == "/openai/v1/realtime?model=my%20model"
    assert service.headers[-1]["api-key"] == KEY
    assert "authorization" not in service.headers[-1]


async def test_there_are_only_so_many_and_only_for_so_long(
    live: Live, user: Actor, service: RealtimeService, switch_on: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    await switch_on()
    monkeypatch.setattr(calls, "MOST", 1)
    async with called(live, user.token), dialled(live) as second:
        await second.say("auth", token=user.token, model_id="fixed")
        assert await second.ended() == (calls.TOO_MANY, "You have 1 calls already, which is the most at once.")
    await service.until_closed()
    for limit, why in (("LONGEST", "was too long"), ("QUIET", "was quiet for too long"), ("SILENT", "lost its page")):
        with monkeypatch.context() as brief:
            brief.setattr(calls, limit, 0.1)
            async with dialled(live) as call:
                await call.say("auth", token=user.token, model_id="fixed")
                assert await call.ended() == (calls.OVER, f"The call {why}. Begin another one.")
    await service.until_closed()


async def test_a_page_that_takes_nothing_is_let_go(
    live: Live, user: Actor, service: RealtimeService, switch_on: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service's words wait meanwhile, in its own connection."""
    await switch_on()
    monkeypatch.setattr(calls, "SEND_SECONDS", 0.3)
    service.delegates, service.says, service.understands = False, "word " * 4_000, ["Tell me a story"]
    async with called(live, user.token) as call:
        await call.say("bridge.respond", item_id=await call.speak())
        # It reads nothing more, and still is there.
        await service.until_closed()
    (row, *_) = await used(live, 1)
    assert row.status == 408


async def test_an_unheard_sentence_is_told(live: Live, user: Actor, service: RealtimeService, switch_on: Dial) -> None:
    await switch_on()
    service.mood = "untold"
    async with called(live, user.token) as call:
        await call.sound(SPEECH + SILENCE)
        failed = await call.until("conversation.item.input_audio_transcription.failed")
        assert set(failed) == {"type", "item_id", "content_index"}
