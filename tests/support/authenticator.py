"""An authenticator app, made by the library's own TOTP, and a clock that it shares with the server."""

import base64
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from open_webui.services.factors import fresh, proving, steps
from tests.support.live import PASSWORD, Actor

MFA = "/api/v1/auths/mfa"


class Clock:
    """The time as second factors see it."""

    def __init__(self) -> None:
        # At the beginning of a step, so that none ends amid a test.
        self._at = float(int(time.time()) // 30 * 30)

    def time(self) -> float:
        return self._at

    def forward(self, seconds: float = 30.0) -> None:
        self._at += seconds


def set_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Has the server's second factors look at a clock that a test moves."""
    clock = Clock()
    for module in (fresh, proving, steps):
        monkeypatch.setattr(module, "time", clock)
    return clock


class Authenticator:
    """The app of somebody who scanned a code."""

    def __init__(self, key: str, clock: Any = time) -> None:
        self.key = key
        self._clock = clock

    def code(self, later: float = 0) -> str:
        """What it shows now, or so many seconds later."""
        app = TOTP(base64.b32decode(self.key), 6, SHA1(), 30, enforce_key_length=False)
        return app.generate(int(self._clock.time() + later)).decode()

    def fresh(self) -> str:
        """A code that was not used yet: half a minute later."""
        self._clock.forward()
        return self.code()


def key_of(uri: str) -> str:
    """The secret in what a QR code says."""
    return parse_qs(urlsplit(uri).query)["secret"][0]


async def sign_in(client: httpx.AsyncClient, actor: Actor, password: str = PASSWORD) -> httpx.Response:
    return await client.post("/api/v1/auths/signin", json={"email": actor.email, "password": password})


async def answer(client: httpx.AsyncClient, path: str, challenge: dict[str, Any], **form: Any) -> httpx.Response:
    """A step of a sign-in: verify, enroll/start, enroll/confirm or recover."""
    return await client.post(f"{MFA}/{path}", json={"challenge_token": challenge["challenge_token"], **form})


async def enroll(
    client: httpx.AsyncClient, challenge: dict[str, Any], clock: Any
) -> tuple[Authenticator, dict[str, Any]]:
    """Sets an app up. What the last step answered: a session, and the recovery codes."""
    assert challenge["next_step"] == "enroll"
    setup = await answer(client, "enroll/start", challenge)
    assert setup.status_code == 200, setup.text
    app = Authenticator(setup.json()["manual_key"], clock)
    done = await answer(client, "enroll/confirm", challenge, code=app.code())
    assert done.status_code == 200, done.text
    return app, done.json()
