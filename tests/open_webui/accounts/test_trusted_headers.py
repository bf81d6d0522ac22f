"""Who a proxy says it is: believed of listed proxies alone. A real nginx stands before the server in the last test."""

import shutil
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from open_webui.access.trusted_headers import FROM_PROXY, NOBODY, Said, lists_proxies, said, trusted_headers
from open_webui.env import Settings, load
from open_webui.errors import StartupError
from open_webui.models import groups
from open_webui.services.trusted_headers import BY_PROXY, NOT_NAMED
from tests.support.live import PASSWORD, Live
from tests.support.process import die_with_parent, free_port

HEADERS = {
    "webui_auth_trusted_email_header": "X-Auth-Email",
    "webui_auth_trusted_name_header": "X-Auth-Name",
    "webui_auth_trusted_groups_header": "X-Auth-Groups",
    "webui_auth_trusted_role_header": "X-Auth-Role",
}
Make = Callable[..., Awaitable[Live]]
PAGE = (Path(__file__).resolve().parents[3] / "docs" / "sign_in.md").read_text(encoding="utf-8")
# What the page sends where the server says that a proxy signs people in.
EMPTY = {"email": "", "password": ""}


@pytest.fixture
def database_kind() -> str:
    """The SQL of signing in is the subject of the tests of providers."""
    return "sqlite"


async def enter(live: Live, email: str, **more: str) -> httpx.Response:
    headers = {"x-auth-email": email} | {f"x-auth-{name}": value for name, value in more.items()}
    async with live.client() as browser:
        return await browser.post("/api/v1/auths/signin", json=EMPTY, headers=headers)


async def who(client: httpx.AsyncClient, **headers: str) -> Any:
    reply = await client.get("/api/v1/auths/", headers={f"x-auth-{name}": value for name, value in headers.items()})
    return reply.json()["email"] if reply.status_code == 200 else reply.status_code


async def features(client: httpx.AsyncClient) -> Any:
    return (await client.get("/api/config")).json()["features"]


def scope(*headers: tuple[str, str], from_proxy: bool = True) -> dict[str, Any]:
    return {FROM_PROXY: from_proxy, "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers]}


class TestWhatIsBelieved:
    @pytest.mark.parametrize(
        ("listed", "is_listed"),
        [("", False), (" , ", False), ("*", False), ("10.0.0.1,*", False), ("nginx", False), ("10.0.0.1", True),
         ("10.0.0.0/8, ::1", True)],
    )  # fmt: skip
    def test_proxies_that_are_named(self, listed: str, is_listed: bool) -> None:
        settings = Settings(forwarded_allow_ips=listed, **HEADERS)
        assert lists_proxies(listed) is is_listed
        assert (trusted_headers(settings) is not None) is is_listed
        assert trusted_headers(Settings(forwarded_allow_ips=listed)) is None

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ([("x-auth-email", " Ann@Example.org ")], Said("ann@example.org")),
            ([("x-auth-email", "ann@example.org"), ("x-auth-name", "Ann"), ("x-auth-role", "Admin"), ("x-auth-groups", "a,b")],
             Said("ann@example.org", "Ann", "a,b", "admin")),
            # What a client wrote beside the proxy's own.
            ([("x-auth-email", "ann@example.org"), ("x-auth-email", "root@example.org")], NOBODY),
            ([("x-auth-email", "ann@example.org"), ("x-auth-role", "user"), ("x-auth-role", "admin")], Said("ann@example.org")),
            ([("x-auth-email", "")], NOBODY), ([("x-auth-email", "(null)")], NOBODY), ([], NOBODY),
            ([("x-auth-email", "a" * 400 + "@example.org")], NOBODY), ([("x-auth-email", "a@b.c\x07")], NOBODY),
            ([("x_auth_email", "ann@example.org")], NOBODY), ([("x-auth-name", "Ann")], NOBODY),
            ([("x-auth-email", "ann@example.org"), ("x-auth-name", "n" * 5_000)], Said("ann@example.org")),
        ],
    )  # fmt: skip
    def test_what_they_say(self, given: list[tuple[str, str]], expected: Said) -> None:
        trusted = trusted_headers(Settings(forwarded_allow_ips="10.0.0.1", **HEADERS))
        assert trusted is not None
        assert said(trusted, scope(*given)) == expected
        assert said(trusted, scope(*given, from_proxy=False)) is None
        assert said(trusted, {"headers": scope(*given)["headers"]}) is None

    @pytest.mark.parametrize(
        ("name", "value"),
        [("WEBUI_AUTH_TRUSTED_EMAIL_HEADER", "X Email"), ("WEBUI_AUTH_TRUSTED_ROLE_HEADER", "X-Rôle"),
         ("WEBUI_AUTH_SIGNOUT_REDIRECT_URL", "javascript:alert(1)"), ("WEBUI_AUTH_SIGNOUT_REDIRECT_URL", "//evil.example")],
    )  # fmt: skip
    def test_what_can_not_be_is_told_at_the_start(self, name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(name, value)
        with pytest.raises(StartupError, match=name):
            load()


@pytest.mark.parametrize("listed", ["", "*", "10.9.8.7"])
async def test_nobody_else_is_believed(make_live: Make, listed: str, caplog: pytest.LogCaptureFixture) -> None:
    """Without a list, with all of the world on it, and from somewhere that isn't on it: whoever connects says nothing."""
    live = await make_live(forwarded_allow_ips=listed, **HEADERS)
    on = listed == "10.9.8.7"
    assert ("has no effect: no proxy is named" in caplog.text) is not on
    async with live.client() as client:
        shown = await features(client)
        assert (shown["auth_trusted_header"], shown["enable_login_form"]) == (on, True)
        reply = await enter(live, "root@example.org")
        assert reply.status_code == 400
        assert (reply.json()["detail"] == NOT_NAMED) is on
        form = {"name": "Ann", "email": "ann@example.org", "password": PASSWORD}
        made = await client.post("/api/v1/auths/signup", json=form)
        if on:
            assert (made.status_code, made.json()["detail"]) == (403, BY_PROXY)
            return
        # Another person in a header that isn't believed ends nothing.
        assert await who(client, email="root@example.org") == "ann@example.org"


async def test_people_come_and_change(make_live: Make) -> None:
    live = await make_live(
        forwarded_allow_ips="127.0.0.1", webui_auth_signout_redirect_url="https://sso.example.org/out", **HEADERS
    )
    first = (await enter(live, "Root@example.org", name="Root")).json()
    assert (first["role"], first["name"], first["email"]) == ("admin", "Root", "root@example.org")
    assert live.app.state.oui.tokens.verify(first["token"]).auth_method == "trusted_header"
    async with live.client() as browser:
        assert (await features(browser))["auth_trusted_header"] is True
        headers = {"x-auth-email": "ann@example.org"}
        reply = await browser.post("/api/v1/auths/signin", json=EMPTY, headers=headers)
        ann = reply.json()
        assert (ann["role"], ann["name"]) == ("pending", "ann")
        assert await who(browser, email="ann@example.org") == "ann@example.org"
        # The proxy leaves it out of some requests: the session goes on.
        assert await who(browser) == "ann@example.org"
        # What the form has counts for nothing.
        form = {"email": "root@example.org", "password": "x"}
        assert (await browser.post("/api/v1/auths/signin", json=form, headers=headers)).json()["id"] == ann["id"]
        assert (await browser.post("/api/v1/auths/signin", json=form)).json()["detail"] == NOT_NAMED
        token = browser.cookies["token"]
        # Somebody else: the session is over, also for her who comes back with it.
        assert await who(browser, email="bob@example.org") == 401
        browser.cookies.set("token", token)
        assert await who(browser, email="ann@example.org") == 401
        assert await who(browser) == 401
        bob = await browser.post("/api/v1/auths/signin", json=EMPTY, headers={"x-auth-email": "bob@example.org"})
        assert bob.json()["email"] == "bob@example.org"
        out = await browser.post("/api/v1/auths/signout")
        assert out.json() == {"status": True, "redirect_url": "https://sso.example.org/out"}
    # The account has another address by now; the proxy's name for her finds it all the same, and ends nothing.
    async with live.client(first["token"]) as root:
        form = {"name": "Ann", "email": "ann@elsewhere.org", "role": "user", "profile_image_url": "/user.png"}
        assert (await root.post(f"/api/v1/users/{ann['id']}/update", json=form)).status_code == 200
        again = (await enter(live, "ann@example.org")).json()
        assert (again["id"], again["email"]) == (ann["id"], "ann@elsewhere.org")
        async with live.client(again["token"]) as client:
            assert await who(client, email="ann@example.org") == "ann@elsewhere.org"


async def test_roles_and_groups_are_as_the_proxy_says(make_live: Make) -> None:
    live = await make_live(forwarded_allow_ips="127.0.0.1", **HEADERS)
    root = (await enter(live, "root@example.org", role="user")).json()
    assert root["role"] == "admin", "nobody demotes the first one"
    async with live.client(root["token"]) as client:
        for name in ("staff", "old"):
            made = await client.post("/api/v1/groups/create", json={"name": name, "description": ""})
            assert made.status_code == 200

    async def member_of(user_id: str) -> list[str]:
        async with live.app.state.oui.database.read() as connection:
            return [group.name for group in await groups.of_user(connection, user_id)]

    ann = (await enter(live, "ann@example.org", role="user", groups="staff, nowhere")).json()
    assert (ann["role"], await member_of(ann["id"])) == ("user", ["staff"])
    assert (await enter(live, "ann@example.org", role="admin", groups="old")).json()["role"] == "admin"
    assert await member_of(ann["id"]) == ["old"]
    refused = await enter(live, "ann@example.org", role="owner")
    assert (refused.status_code, "none of this server's" in refused.text) == (403, True)
    assert (await enter(live, "ann@example.org", role="pending")).json()["role"] == "pending"
    assert await member_of(ann["id"]) == [], "a header that isn't there names none"


async def test_accounts_that_were_there_are_found_by_address(make_live: Make, live: Live) -> None:
    """Also the administrator's: with a proxy before the server nobody comes in but by its word."""
    async with live.client() as client:
        form = {"name": "Root", "email": "root@example.org", "password": PASSWORD}
        before = (await client.post("/api/v1/auths/signup", json=form)).json()
    behind = await make_live(forwarded_allow_ips="127.0.0.1", **HEADERS)
    after = (await enter(behind, "root@example.org")).json()
    assert (after["id"], after["role"]) == (before["id"], "admin")
    async with behind.client(before["token"]) as client:
        assert await who(client, email="root@example.org") == "root@example.org"
        assert await who(client, email="someone@example.org") == 401


def _start(command: list[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command, preexec_fn=die_with_parent)


async def test_behind_a_real_nginx(make_live: Make, tmp_path: Path) -> None:
    """With the configuration of docs/sign_in.md, but for who asks: a query stands for the single sign-on before it."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    given = PAGE.partition("```nginx\n")[2].partition("```")[0]
    live = await make_live(forwarded_allow_ips="127.0.0.1", **HEADERS)
    port = free_port()
    for old, new in (
        ("$sso_email", "$arg_email"), ("$sso_name", "$arg_name"), ("$sso_groups", "$arg_groups"), ("$sso_role", "$arg_role"),
        ("http://127.0.0.1:8080", live.url),
    ):  # fmt: skip
        assert old in given, f"the page has no {old}"
        given = given.replace(old, new)
    places = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    around = f"user root;daemon off;worker_processes 1;pid {tmp_path}/pid;error_log stderr;events {{}}\n"
    server = f"server {{ listen 127.0.0.1:{port};\n{given}\n}}"
    (tmp_path / "nginx.conf").write_text(f"{around}http {{ access_log off;{places}\n{server} }}")
    process = _start([program, "-p", str(tmp_path), "-e", "stderr", "-c", str(tmp_path / "nginx.conf")])
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as browser:
            deadline = time.monotonic() + 20
            while True:
                try:
                    assert (await features(browser))["auth_trusted_header"] is True
                    break
                except httpx.TransportError:
                    assert time.monotonic() < deadline
            # Whatever a client writes into the headers, nginx puts its own in their place.
            forged = {"x-auth-email": "root@example.org", "x-auth-role": "admin", "x-auth-groups": "staff"}
            reply = await browser.post("/api/v1/auths/signin", json=EMPTY, headers=forged)
            assert (reply.status_code, reply.json()["detail"]) == (400, NOT_NAMED)
            for who_asks, role in (("root@example.org", "admin"), ("ann@example.org", "user")):
                place = f"/api/v1/auths/signin?email={who_asks}&name=Somebody&role=user"
                found = (await browser.post(place, json=EMPTY, headers=forged)).json()
                assert (found["email"], found["role"], found["name"]) == (who_asks, role, "Somebody")
            assert (await browser.get("/api/v1/auths/?email=root@example.org")).status_code == 401
    finally:
        process.terminate()
        process.wait(10)
