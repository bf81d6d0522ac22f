"""A server on which everybody must have a second factor, and a clock that tests move."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.authenticator import Authenticator, Clock, enroll, set_clock, sign_in
from tests.support.live import Actor, Live


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return set_clock(monkeypatch)


async def switch_on(live: Live, **settings: Any) -> None:
    """Second factors for everybody, unless the settings say otherwise."""
    await live.app.state.oui.save_config({"auth.mfa.enable": True} | {f"auth.mfa.{k}": v for k, v in settings.items()})


@pytest.fixture
async def browser(live: Live) -> AsyncIterator[httpx.AsyncClient]:
    """Nobody yet; it keeps cookies."""
    async with live.client() as client:
        yield client


class Person:
    """Somebody who has set an app up: the app, the recovery codes, and a client with their session."""

    def __init__(self, actor: Actor, app: Authenticator, codes: list[str], client: httpx.AsyncClient) -> None:
        self.actor = actor
        self.app = app
        self.codes = codes
        self.client = client


@pytest.fixture
async def person(live: Live, user: Actor, clock: Clock) -> AsyncIterator[Person]:
    await switch_on(live)
    async with contextlib.AsyncExitStack() as stack:
        nobody = await stack.enter_async_context(live.client())
        app, done = await enroll(nobody, (await sign_in(nobody, user)).json(), clock)
        client = await stack.enter_async_context(live.client(done["token"]))
        yield Person(user, app, done["recovery_codes"], client)
