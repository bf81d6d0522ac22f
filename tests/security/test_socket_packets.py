"""Sockets take what pages send, and end for whatever else comes: small before sign-in, bounded after, never a traceback."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from open_webui.models import accounts
from open_webui.socket import incoming
from open_webui.socket.incoming import Incoming, Rate, RefusedPacket
from tests.support.live import PASSWORD, Actor, Live, sign_up
from tests.support.raw_socket import RawSocket, frame
from tests.support.turns import slowness, watched_turns

KB = 1024


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def port(live: Live) -> int:
    return urlsplit(live.url).port or 0


async def signed_in(live: Live, actor: Actor) -> RawSocket:
    socket = await RawSocket.open(port(live))
    await socket.sign_in(actor.token)
    return socket


RESERVED = sorted(incoming.RESERVED)
MALFORMED: dict[str, bytes] = {
    "nothing": frame(b""),
    "no packet": frame(b"hello"),
    "a kind of packet that there is not": frame(b"9"),
    "an upgrade": frame(b"5"),
    "a ping of a client": frame(b"2probe"),
    "a message without a kind": frame(b"4"),
    "JSON where a kind should be": frame(b'4{"a":1}'),
    "binary in base64": frame(b"bAAAA"),
    "binary": frame(b"\x00\x01", 2),
    "text that is not UTF-8": frame(b'42["\xff\xfe"]'),
    "an event without a name": frame(b"42"),
    "an event whose name is a list": frame(b"42[[]]"),
    "an event that is an object": frame(b'42{"a":1}'),
    "an event that is not closed": frame(b'42["heartbeat",{}'),
    "an event of another namespace": frame(b'42/x,["heartbeat",{}]'),
    "an event with attachments": frame(b'451-["heartbeat",{"_placeholder":true,"num":0}]'),
    "an event with a billion attachments": frame(b'45999999999-["heartbeat"]'),
    "an acknowledgement with attachments": frame(b'461-0["x",{"_placeholder":true,"num":0}]'),
    "an acknowledgement of nothing": frame(b"43"),
    "an acknowledgement that is an object": frame(b'431{"a":1}'),
    "an acknowledgement with a long number": frame(b"43" + b"1" * 200 + b"[]"),
    "an error": frame(b'44{"message":"x"}'),
    "a connect that is a list": frame(b"40[]"),
    "a connect that is not JSON": frame(b"40{"),
    "a number that is no number": frame(b'42["heartbeat",1e]'),
    "brackets without end": frame(b'42["heartbeat",' + b"[" * 3_000),
    "brackets that close": frame(b'42["heartbeat",' + b"[" * 1_000 + b"]" * 1_000 + b"]"),
    "a message in 100 pieces": frame(b"4", last=False) + frame(b"", 0, last=False) * 100,
    "300 pings a moment": frame(b"", 9) * (incoming.BURST + 10),
    "300 pongs a moment": frame(b"", 10) * (incoming.BURST + 10),
    "300 events a moment": frame(b'42["heartbeat",{}]') * (incoming.BURST + 10),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_what_no_page_sends_ends_the_socket(
    live: Live, admin: Actor, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with await signed_in(live, admin) as socket:
        caplog.clear()
        with caplog.at_level(logging.DEBUG):
            await socket.send(MALFORMED[name])
            await socket.heard_until_over()
            await asyncio.sleep(0.02)
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING or r.exc_info] == []


@pytest.mark.parametrize("name", RESERVED)
@pytest.mark.parametrize("arguments", [[], [{}, {"token": "x"}]])
async def test_reserved_names_are_refused(live: Live, admin: Actor, name: str, arguments: list[Any]) -> None:
    escaped = "".join(f"\\u{ord(c):04x}" for c in name)
    for text in (json.dumps([name, *arguments]), json.dumps(["", *arguments]).replace('""', f'"{escaped}"', 1)):
        async with await signed_in(live, admin) as socket:
            await socket.say(f"42{text}")
            await socket.heard_until_over()


async def sign_out(_live: Live, _admin: Actor, user: Actor) -> None:
    assert (await user.client.post("/api/v1/auths/signout")).status_code == 200


async def change_password(_live: Live, _admin: Actor, user: Actor) -> None:
    form = {"password": PASSWORD, "new_password": "another " + PASSWORD}
    assert (await user.client.post("/api/v1/auths/update/password", json=form)).status_code == 200


async def delete(_live: Live, admin: Actor, user: Actor) -> None:
    assert (await admin.client.delete(f"/api/v1/users/{user.id}")).status_code == 200


async def sign_out_elsewhere(live: Live, _admin: Actor, user: Actor) -> None:
    state = live.app.state.oui
    claims = state.tokens.verify(user.token)
    async with state.database.write() as unit:
        await accounts.revoke(unit.connection, claims.jti, claims.exp)


@pytest.mark.parametrize("end", [sign_out, change_password, delete, sign_out_elsewhere])
@pytest.mark.parametrize("before", ["disconnect", "connect", None])
async def test_a_socket_ends_with_its_session_whatever_it_sent(
    live: Live, admin: Actor, user: Actor, end: Callable[..., Awaitable[None]], before: str | None
) -> None:
    """R7, R22: with its right the socket is over, and hears nothing of what comes then.

    How soon: see `test_all_ends_within_five_seconds`.
    """
    async with await signed_in(live, user) as socket:
        if before is not None:
            await socket.say(f'42["{before}"]')
        await end(live, admin, user)
        heard = await socket.heard_until_over()
    assert not [text for text in heard if text.startswith("42") and "access:updated" not in text]


@pytest.mark.parametrize("token", [None, "bad"])
async def test_before_sign_in_a_packet_is_small(live: Live, token: str | None) -> None:
    async with await RawSocket.open(port(live)) as socket:
        await socket.sign_in(token)
        await socket.say('42["unknown","' + "x" * 3 * KB + '"]')
        assert await socket.ask("user-join", {"auth": {"token": "x" * 3 * KB}}) == []
        await socket.say('42["unknown","' + "x" * 5 * KB + '"]')
        await socket.heard_until_over()


@pytest.mark.parametrize(
    "flood",
    [
        frame(b"4" * 16 * 2**20),
        frame(b"", length=16 * 2**20) + b"4" * 64 * KB,
        frame(b"4" * 2 * KB, last=False) + frame(b"4" * 2 * KB, 0, last=False) * 10,
        frame(b"", 9, length=2**20) + b"4" * 64 * KB,
    ],
    ids=["a whole frame", "a frame that is not finished", "pieces", "a ping"],
)
@pytest.mark.parametrize("entered", [False, True])
async def test_nobody_fills_the_memory(live: Live, flood: bytes, entered: bool) -> None:
    async with await RawSocket.open(port(live)) as socket:
        if entered:
            await socket.sign_in(None)
        sending = asyncio.create_task(socket.send(flood))
        await socket.heard_until_over()
        await sending


async def test_after_sign_in_a_packet_may_be_larger_up_to_the_setting(
    make_live: Callable[..., Awaitable[Live]], connections: None
) -> None:
    live = await make_live(websocket_max_message_kb=64)
    actor = await sign_up(live, "Admin One")
    async with actor.client, await signed_in(live, actor) as socket:
        assert await socket.ask("usage", {"model": "x" * 60 * KB}) == []
        pieces = f'4277["usage",{{"model":"{"x" * 50 * KB}"}}]'.encode()
        await socket.send(frame(pieces[: 10 * KB], last=False), frame(pieces[10 * KB :], 0))
        assert await socket.text() == "4377[]"
        await socket.say('42["usage",{"model":"' + "x" * 65 * KB + '"}]')
        await socket.heard_until_over()


async def test_the_loop_turns_on_while_sockets_send_what_they_may_not(live: Live, admin: Actor) -> None:
    """The CPU time of the longest turn: what /health would wait for."""
    floods = [
        frame(b'42["x",' + b"[]," * 16_000 + b"[]]"),
        frame(b'42["usage",' + b"[]," * 40_000 + b"[]]"),
        frame(b"", 9) * 50_000,
        frame(b"4", last=False) + frame(b"", 0, last=False) * 50_000,
        frame(b"", length=100 * KB) * 50_000,
    ]
    slow = slowness()
    async with asyncio.timeout(120):
        with watched_turns() as turns:
            for flood in floods:
                for entered in (False, True):
                    async with await RawSocket.open(port(live)) as socket:
                        if entered:
                            await socket.sign_in(admin.token)
                        sending = asyncio.create_task(socket.send(flood))
                        if flood is not floods[0] or not entered:
                            await socket.heard_until_over(60)
                        await sending
    assert turns.longest < 0.05 * max(slow, slowness()), turns


class TestCheck:
    check = staticmethod(Incoming({"heartbeat", "usage"}).check)

    @pytest.mark.parametrize(
        "text",
        ["1", "3", "40", '40{"token":"x"}', "41", '42["heartbeat"]', '42["heartbeat",{}]', '4212["usage",{"model":"m"}]',
         '4212[ "usage" , {"model":"\\ud83d\\ude00"}]', "437[]", '4312[{"a":[1,2,{"b":null}]},"x"]'],
    )  # fmt: skip
    async def test_passes_what_pages_send(self, text: str) -> None:
        assert await self.check(text) == text

    @pytest.mark.parametrize(
        ("text", "passed"),
        [('42["other",{"x":1}]', '42["unknown"]'), ('425["other",[', '425["unknown"]'), ('42[""]', '42["unknown"]')],
    )
    async def test_unknown_events_lose_their_arguments_undecoded(self, text: str, passed: str) -> None:
        assert await self.check(text) == passed

    @pytest.mark.parametrize("n", [9_999, 10_001])
    async def test_counts_values_before_it_decodes(self, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
        text = '42["usage"' + ",1" * n + "]"
        if n < incoming.MAX_VALUES:
            assert await self.check(text) == text
            return
        decoded: list[str] = []
        decode = incoming._decoded
        monkeypatch.setattr(incoming, "_decoded", lambda text: (decoded.append(text), decode(text))[1])
        with pytest.raises(RefusedPacket, match="too many values"):
            await self.check(text)
        assert decoded == ['"usage"']

    @pytest.mark.parametrize(("depth", "good"), [(20, True), (40, False), (5_000, False)])
    async def test_bounds_depth(self, depth: int, good: bool) -> None:
        text = '42["usage",' + "[" * depth + "]" * depth + "]"
        if good:
            assert await self.check(text) == text
        else:
            with pytest.raises(RefusedPacket):
                await self.check(text)


def test_a_rate_fills_again(monkeypatch: pytest.MonkeyPatch) -> None:
    at = [0.0]
    monkeypatch.setattr(incoming.time, "monotonic", lambda: at[0])
    rate = Rate(burst=3, a_second=2)
    assert [rate.spend() for _ in range(4)] == [True, True, True, False]
    at[0] = 1.0
    assert [rate.spend() for _ in range(2)] == [True, False]


class TestLongPolling:
    @pytest.fixture
    async def live(self, make_live: Callable[..., Awaitable[Live]]) -> Live:
        return await make_live(enable_websocket_support=False)

    async def test_is_held_to_the_same(self, live: Live, admin: Actor, caplog: pytest.LogCaptureFixture) -> None:
        bodies: list[tuple[Any, bool]] = [
            (b'42["heartbeat",{}]\x1e42["usage",{"model":"m"}]', True), (b'42["disconnect"]', False), (b"bAAAA", False),
            (b"d=42", False), (b"\xff", False), (b'42["usage","' + b"x" * 129 * KB + b'"]', False), (b"42[[]]", False),
            (b"\x1e".join([b'42["heartbeat",{}]'] * 17), False),
        ]  # fmt: skip
        for body, good in bodies:
            async with live.client() as http:
                sid = await self.entered(http, admin.token)
                reply = await http.post(f"{POLL}&sid={sid}", content=body)
                assert (reply.status_code == 200) is good, body[:50]
                if not good:
                    assert (await http.post(f"{POLL}&sid={sid}", content=b"3")).status_code == 400
        assert [r.getMessage() for r in caplog.records if r.exc_info] == []

    async def test_before_sign_in_a_packet_is_small(self, live: Live) -> None:
        async with live.client() as http:
            sid = await self.entered(http, "bad")
            reply = await http.post(f"{POLL}&sid={sid}", content=b'42["usage","' + b"x" * 5 * KB + b'"]')
            assert reply.status_code == 400

    @staticmethod
    async def entered(http: httpx.AsyncClient, token: str) -> str:
        sid = json.loads((await http.get(POLL)).text[1:])["sid"]
        reply = await http.post(f"{POLL}&sid={sid}", content=f'40{{"token":"{token}"}}'.encode())
        assert reply.status_code == 200
        assert (await http.get(f"{POLL}&sid={sid}")).text.startswith("40{")
        return str(sid)


POLL = "/ws/socket.io/?EIO=4&transport=polling"
