"""A directory, and a server at which people sign in by it."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.support.live import Live
from tests.support.slapd import PASSWORD, Slapd

Serve = Callable[..., Awaitable[Live]]


@pytest.fixture(scope="session")
def slapd() -> Iterator[Slapd]:
    made = Slapd()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def database_kind() -> str:
    """The SQL of signing in is the subject of the tests of providers."""
    return "sqlite"


def variables(slapd: Slapd, **changed: str) -> dict[str, str]:
    """How a server is told of the directory, by its TLS port."""
    page = slapd.page()
    return {
        "ENABLE_LDAP": "true",
        "LDAP_SERVER_HOST": page["host"],
        "LDAP_SERVER_PORT": str(page["port"]),
        "LDAP_APP_DN": page["app_dn"],
        "LDAP_APP_PASSWORD": page["app_dn_password"],
        "LDAP_SEARCH_BASE": page["search_base"],
        "LDAP_SEARCH_FILTERS": page["search_filters"],
        "LDAP_CA_CERT_FILE": page["certificate_path"],
    } | changed


@pytest.fixture
def serve(make_live: Callable[..., Awaitable[Live]], slapd: Slapd, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Starts a server with these variables besides those of the directory."""

    async def start(**changed: str) -> Live:
        for name, value in variables(slapd, **changed).items():
            monkeypatch.setenv(name, value)
        return await make_live()

    return start


async def enter(live: Live, user: str, password: str = PASSWORD, token: str | None = None) -> httpx.Response:
    """What comes of signing in by the directory."""
    place = "/api/v1/auths/ldap" if token is None else "/api/v1/auths/ldap/link"
    async with live.client(token) as browser:
        return await browser.post(place, json={"user": user, "password": password})


def said(reply: httpx.Response) -> tuple[int, Any]:
    return reply.status_code, reply.json()["detail"]
