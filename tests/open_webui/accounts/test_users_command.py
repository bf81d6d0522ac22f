"""`oui-backend users`: the same services and checks as over HTTP, with or without a server beside it."""

import asyncio
import contextlib
import os
import pty
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from open_webui import __version__, administration
from open_webui.env import Settings
from open_webui.errors import BadRequest, Forbidden, NotFound, OuiError
from tests.faults.conftest import at_page
from tests.open_webui.chat.page import Page
from tests.support.live import Actor, Live
from tests.support.process import clean_environment, die_with_parent
from tests.support.server import Server

ANN, BOB = "ann@example.com", "bob@example.com"
SECRET = "a password of some length"


def secret() -> str:
    return SECRET


def nobody_asks() -> str:
    raise AssertionError("no password may be asked for")


async def add(settings: Settings, email: str, role: Any = None) -> str:
    return await administration.add_user(settings, email, "", role, secret)


async def signs_in(live: Live, email: str, password: str = SECRET) -> int:
    async with live.client() as client:
        form = {"email": email, "password": password}
        return (await client.post("/api/v1/auths/signin", json=form)).status_code


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("asks_first", [False, True])
async def test_a_server_that_runs_shows_that_sign_up_is_closed(
    settings: Settings, live: Live, asks_first: bool
) -> None:
    async def shown(client: httpx.AsyncClient) -> tuple[bool, bool]:
        said = (await client.get("/api/config")).json()
        return said.get("onboarding", False), said["features"]["enable_signup"]

    async with live.client() as client:
        assert await shown(client) == (True, True)
        await add(settings, ANN)
        token = (await client.post("/api/v1/auths/signin", json={"email": ANN, "password": SECRET})).json()["token"]
        if asks_first:
            assert await shown(client) == (False, False)
        client.headers["Authorization"] = f"Bearer {token}"
        assert await shown(client) == (False, False)
        assert (await client.get("/api/v1/auths/admin/config")).json()["ENABLE_SIGNUP"] is False


async def test_the_first_account_is_the_administrator_and_closes_sign_up(settings: Settings, live: Live) -> None:
    assert "admin" in await add(settings, " Ann@Example.com ", "user")
    assert await signs_in(live, ANN) == 200
    async with live.client() as client:
        form = {"name": "Eve", "email": "eve@example.com", "password": SECRET}
        assert (await client.post("/api/v1/auths/signup", json=form)).status_code == 403
    assert await add(settings, BOB) == f"Added {BOB} (user)."
    lines = await administration.list_users(settings)
    assert lines[0].split() == ["e-mail", "role", "last", "here", "name"]
    assert sorted((*line.split()[:2], line.split()[-1]) for line in lines[1:]) == [
        (ANN, "admin", "Ann"), (BOB, "user", "bob"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "email",
    [
        "nobody",
        "a@b",
        "x@example.com\x1b",
        "x\x9b2J@example.com",
        "\u202ex@example.com",
        "\udc80@example.com",
        f"{'a' * 300}@example.com",
    ],
)
async def test_a_bad_address_is_refused_before_a_password_is_asked_for(settings: Settings, email: str) -> None:
    with pytest.raises(OuiError):
        await administration.add_user(settings, email, "", None, nobody_asks)
    assert len(await administration.list_users(settings)) == 1


@pytest.mark.parametrize("password", ["", "x" * 2000, "half \udc80"])
async def test_a_bad_password_is_refused_and_not_repeated(settings: Settings, password: str) -> None:
    await add(settings, ANN)
    for refused in (
        administration.add_user(settings, BOB, "", None, lambda: password),
        administration.set_password(settings, ANN, lambda: password),
    ):
        with pytest.raises(BadRequest) as error:
            await refused
        assert not password or password not in error.value.detail
    assert len(await administration.list_users(settings)) == 2


async def test_an_address_is_taken_once(settings: Settings) -> None:
    await add(settings, ANN)
    with pytest.raises(BadRequest, match="exists already"):
        await add(settings, ANN.upper())


async def test_a_password_is_changed_and_the_old_one_is_over(settings: Settings, live: Live, admin: Actor) -> None:
    said = await administration.set_password(settings, f" {admin.email.upper()} ", secret)
    assert admin.email in said
    assert await signs_in(live, admin.email) == 200
    assert await signs_in(live, admin.email, "correct horse battery") == 400


async def test_who_is_unknown_is_told_before_a_password_is_asked_for(settings: Settings, admin: Actor) -> None:
    for refused in (
        administration.set_password(settings, BOB, nobody_asks),
        administration.set_role(settings, BOB, "user"),
        administration.delete_user(settings, BOB, lambda _: True),
    ):
        with pytest.raises(NotFound, match=rf"{BOB}.*users list"):
            await refused


async def test_the_last_administrator_stays_one(settings: Settings, admin: Actor, user: Actor) -> None:
    for role in ("user", "pending"):
        with pytest.raises(Forbidden, match="first administrator"):
            await administration.set_role(settings, admin.email, role)
    with pytest.raises(Forbidden, match="nobody can remove"):
        await administration.delete_user(settings, admin.email, lambda _: pytest.fail("asked"))
    assert (await admin.client.get("/api/v1/auths/")).json()["role"] == "admin"
    # Another administrator can be demoted and removed: one stays.
    assert await administration.set_role(settings, user.email, "admin") == f"{user.email} is admin now."
    assert await administration.set_role(settings, user.email, "pending") == f"{user.email} is pending now."


async def test_a_person_is_removed_with_their_chats(settings: Settings, admin: Actor, user: Actor) -> None:
    chat = {"chat": {"title": "Mine", "history": {"messages": {}, "currentId": None}}}
    made = (await user.client.post("/api/v1/chats/new", json=chat)).json()["id"]
    questions: list[str] = []
    assert "Nothing" in await administration.delete_user(settings, user.email, lambda q: bool(questions.append(q)))
    assert user.email in questions[0]
    assert await administration.delete_user(settings, user.email, lambda _: True) == f"Deleted {user.email}."
    assert user.email not in "\n".join(await administration.list_users(settings))
    assert (await admin.client.get(f"/api/v1/chats/{made}")).status_code in {401, 404}


async def test_names_cannot_steer_the_terminal(settings: Settings, live: Live, admin: Actor) -> None:
    form = {"name": "\x1b[2JEve\nroot", "profile_image_url": "/user.png"}
    assert (await admin.client.post("/api/v1/auths/update/profile", json=form)).status_code == 200
    listed = await administration.list_users(settings)
    assert len(listed) == 2
    assert "Eve" in listed[1]
    assert "\x1b" not in listed[1]


# The program itself


def command(server: Server, *arguments: str, given: str | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "open_webui.cli", *arguments],
        cwd=server.folder, env=clean_environment(server.environment), text=True, timeout=60, check=False,
        capture_output=True, preexec_fn=die_with_parent,
        **({"stdin": subprocess.DEVNULL} if given is None else {"input": given}),
    )  # fmt: skip


async def over(check: Callable[[], Any]) -> None:
    """Waits until the check holds; how soon it must: see `test_all_ends_within_five_seconds`."""
    end = time.monotonic() + 30
    while not await check():
        assert time.monotonic() < end, "it still goes on"
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("change", ["password", "delete"])
async def test_beside_a_server_sessions_and_sockets_end(server: Server, change: str) -> None:
    async with at_page(server, new=True):
        made = command(server, "users", "add", BOB, "--name", "Bob", given=f"{SECRET}\n")
        assert (made.returncode, made.stdout, made.stderr) == (0, f"Added {BOB} (user).\n", "")
        async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as http:
            reply = await http.post("/api/v1/auths/signin", json={"email": BOB, "password": SECRET})
            http.headers["Authorization"] = f"Bearer {reply.json()['token']}"
            http.cookies.clear()
            page = Page(http, reply.json()["token"])
            await page.connect()
            arguments = ["password", BOB] if change == "password" else ["delete", BOB, "--yes"]
            done = command(server, "users", *arguments, given="another one of these\n")
            assert done.returncode == 0, done.stderr

            async def refused() -> bool:
                return (await http.get("/api/v1/auths/")).status_code == 401

            async def closed() -> bool:
                return not page.socket.connected

            await over(refused)
            await over(closed)


def test_nothing_is_made_where_there_is_no_database(make_server: Callable[..., Server]) -> None:
    server = make_server()
    for arguments in (("list",), ("add", ANN), ("password", ANN), ("role", ANN, "user"), ("delete", ANN, "--yes")):
        done = command(server, "users", *arguments, given="x\n")
        assert done.returncode == 1
        assert done.stdout == ""
        assert re.fullmatch(
            r"oui-backend: There is no database at sqlite\S+ yet\. .*oui-backend migrate.*\n", done.stderr
        )
    assert list(server.folder.iterdir()) == []


def test_an_older_schema_is_not_touched(make_server: Callable[..., Server]) -> None:
    server = make_server()
    command(server, "migrate")
    path = Path(server.environment["DATA_DIR"]) / "webui.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE alembic_version SET version_num = '0005'")
        database.commit()
    done = command(server, "users", "list")
    assert done.returncode == 1
    assert "schema 0005" in done.stderr
    assert "oui-backend migrate" in done.stderr


def test_a_deletion_needs_a_word(make_server: Callable[..., Server]) -> None:
    server = make_server()
    command(server, "migrate")
    assert command(server, "users", "add", ANN, given=SECRET).returncode == 0
    assert command(server, "users", "add", BOB, given=SECRET).returncode == 0
    done = command(server, "users", "delete", BOB)
    assert (done.returncode, done.stdout) == (1, "")
    assert "--yes" in done.stderr
    assert BOB in command(server, "users", "list").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("users", "add", ANN, SECRET), "unexpected extra argument"),
        (("users", "password", ANN, "--password", SECRET), "No such option"),
        (("users", "role", ANN, "emperor"), "emperor"),
    ],
)
def test_a_password_is_no_argument(make_server: Callable[..., Server], arguments: tuple[str, ...], said: str) -> None:
    done = command(make_server(), *arguments)
    assert done.returncode == 2
    assert said in done.stderr


def at_terminal(server: Server, typed: list[str], *arguments: str) -> tuple[int, str]:
    """Runs a command on a terminal of its own, and types a line at each prompt."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "open_webui.cli", *arguments],
        cwd=server.folder, env=clean_environment(server.environment), start_new_session=True,
        stdin=follower, stdout=follower, stderr=follower,
    )  # fmt: skip
    os.close(follower)
    shown = b""
    try:
        while True:
            part = os.read(leader, 4096)
            shown += part
            # The line's end that follows a prompt is no prompt: what is typed too early, the next one throws away.
            if typed and shown.endswith((b"Password: ", b"The same again: ")):
                os.write(leader, typed.pop(0).encode() + b"\n")
    except OSError:  # the program has ended
        pass
    os.close(leader)
    return process.wait(timeout=30), shown.decode()


def test_at_a_terminal_the_password_is_typed_twice_and_not_shown(make_server: Callable[..., Server]) -> None:
    server = make_server()
    command(server, "migrate")
    status, shown = at_terminal(server, [SECRET, "something else"], "users", "add", ANN)
    assert status == 1
    assert "differ" in shown
    status, shown = at_terminal(server, [SECRET, SECRET], "users", "add", ANN)
    assert status == 0, shown
    assert f"Added {ANN} (admin)" in shown
    assert SECRET not in shown


def test_the_version(make_server: Callable[..., Server]) -> None:
    done = command(make_server(), "--version")
    assert (done.returncode, done.stdout) == (0, f"oui-backend {__version__}\n")
