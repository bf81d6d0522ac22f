"""Notifications: targets are their owner's alone, addresses stay secret, and news reach them, at the second try as well."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from email import message_from_bytes
from email.policy import default
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from aiosmtpd.smtp import SMTP

from open_webui.env import Settings
from open_webui.errors import OuiError, TooManyRequests
from open_webui.internal import guarded_http
from open_webui.jobs.kinds import GiveUp
from open_webui.models import tables
from open_webui.services import mailer, notifications, webhook_calls
from open_webui.services.event_names import Happened
from tests.open_webui.chat.page import open_page
from tests.open_webui.plugins.test_tools import say
from tests.support import live as people
from tests.support.live import Actor, Live
from tests.support.receiver import Receiver, receiver

PLACE = "/api/v1/notifications"
BOTH = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)
FIELDS = [
    "id", "type", "enabled", "is_default", "events", "delivery", "config", "error", "created_at", "updated_at",
]  # fmt: skip
HOOK = {"type": "webhook", "config": {"url": "https://hooks.example.com/T/secret-word"}}


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """SQLite, where a test doesn't say which."""
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture
async def live(make_live: Callable[..., Awaitable[Live]], connections: None) -> Live:
    live = await make_live(bypass_model_access_control=True)
    await allow(live)
    return live


async def allow(live: Live, *, on: bool = True, permitted: bool = True) -> None:
    state = live.app.state.oui
    tree = state.config["user.permissions"]
    features = tree["features"] | {"webhooks": permitted}
    await state.save_config({notifications.SETTING: on, "user.permissions": tree | {"features": features}})


@pytest.fixture
async def hook(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receiver]:
    """An address on this machine that counts as public."""
    monkeypatch.setattr(webhook_calls, "_is_local", lambda _: False)
    monkeypatch.setattr(guarded_http, "_check", lambda _: None)
    async with receiver() as made:
        yield made


async def make(actor: Actor, **form: Any) -> dict[str, Any]:
    status, made = await say(actor, "POST", f"{PLACE}/targets", HOOK | form)
    assert status == 200, made
    target: dict[str, Any] = made
    return target


async def targets(actor: Actor) -> list[dict[str, Any]]:
    status, found = await say(actor, "GET", f"{PLACE}/targets")
    assert status == 200
    listed: list[dict[str, Any]] = found["targets"]
    return listed


async def principal(live: Live, actor: Actor) -> Any:
    return await live.app.state.oui.identifier.account(actor.id)


async def jobs(live: Live) -> list[Any]:
    async with live.app.state.oui.database.read() as connection:
        query = sa.select(tables.job).where(tables.job.c.kind == "send a notification")
        return list((await connection.execute(query)).all())


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(120):
        while not await true():  # noqa: ASYNC110 - rows tell nobody
            await asyncio.sleep(0.02)


@BOTH
async def test_the_life_of_a_target(live: Live, user: Actor) -> None:
    status, events = await say(user, "GET", f"{PLACE}/events")
    assert (status, [e["event"] for e in events["events"]]) == (
        200,
        [
            "chat.finished",
            "chat.failed",
            "calendar.reminder",
            "channel.mention",
            "automation.finished",
            "automation.failed",
        ],
    )
    made = await make(user, events=["chat.finished", "chat.finished"], delivery="always")
    assert list(made) == FIELDS
    assert (made["id"], made["is_default"], made["events"]) == ("webhook", True, ["chat.finished"])
    assert made["config"] == {"url_masked": "https://hooks.example.com/…"}
    second = await make(user, id="Second one")
    assert (second["id"], second["is_default"], second["delivery"], second["enabled"]) == (
        "Second one",
        False,
        "away",
        True,
    )
    assert [t["id"] for t in await targets(user)] == ["Second one", "webhook"]
    # What is left out stays, as the page's switch sends it.
    status, changed = await say(user, "PUT", f"{PLACE}/targets/webhook", {"enabled": False})
    assert (status, changed["enabled"], changed["events"]) == (200, False, ["chat.finished"])
    status, changed = await say(user, "PUT", f"{PLACE}/targets/Second one/default")
    assert (status, changed["is_default"]) == (200, True)
    assert [t["is_default"] for t in await targets(user)] == [True, False]
    assert await say(user, "DELETE", f"{PLACE}/targets/Second one") == (200, True)
    assert [t["is_default"] for t in await targets(user)] == [True]
    assert (await say(user, "DELETE", f"{PLACE}/targets/Second one"))[0] == 404
    for method, path in (("PUT", ""), ("PUT", "/default"), ("POST", "/test")):
        assert (await say(user, method, f"{PLACE}/targets/none{path}", {}))[0] == 400


async def test_addresses_stay_secret(live: Live, user: Actor, other: Actor) -> None:
    """They are encrypted for their owner, and nobody else sees that there is one."""
    await make(user, id="mine")
    for path in (f"{PLACE}/targets", "/api/v1/users/user/settings"):
        assert "secret-word" not in (await user.client.get(path)).text
    async with live.app.state.oui.database.read() as connection:
        (row,) = (await connection.execute(sa.select(tables.notification_target))).all()
    assert "secret-word" not in repr(row)
    assert live.app.state.oui.sealer.unseal(row.sealed, notifications.place(other.id)) is None
    assert await targets(other) == []
    for method, path in (("PUT", ""), ("PUT", "/default"), ("POST", "/test"), ("DELETE", "")):
        assert (await say(other, method, f"{PLACE}/targets/mine{path}", {"enabled": False}))[0] in {400, 404}
    # The same name may be anybody's.
    await make(other, id="mine")
    assert [t["enabled"] for t in await targets(user)] == [True]


@pytest.mark.parametrize(
    "form",
    [
        {}, {"type": "webhook"}, {"config": {}}, {"config": {"url": ""}}, {"config": {"url": 1}},
        *({"config": {"url": url}} for url in (
            "http://127.0.0.1:9118/hook", "http://localhost/x", "http://[::1]/x", "http://10.0.0.1/", "http://169.254.169.254/",
            "ftp://example.com/", "https://a:b@example.com/", "no address", "https://", "http://printer.local/",
        )),
        {"type": "pigeon"}, {"type": "email"}, HOOK | {"events": ["chat.completed"]}, HOOK | {"events": ["*"]},
    ],
)  # fmt: skip
async def test_bad_targets_are_refused(user: Actor, form: dict[str, Any]) -> None:
    status, said = await say(user, "POST", f"{PLACE}/targets", form)
    assert (status, isinstance(said["detail"], str)) == (400, True)
    assert await targets(user) == []


@pytest.mark.parametrize(
    "form",
    [
        {"id": "a/b"}, {"id": "x" * 101}, {"id": "a\nb"}, {"events": "all"}, {"events": ["x" * 101]},
        {"delivery": "never"}, {"enabled": "perhaps"}, {"config": "x"}, {"events": ["chat.finished"] * 301},
    ],
)  # fmt: skip
async def test_forms_that_are_none(user: Actor, form: dict[str, Any]) -> None:
    assert (await say(user, "POST", f"{PLACE}/targets", HOOK | form))[0] == 422


async def test_there_are_bounds(user: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    await make(user, id="one")
    assert (await say(user, "POST", f"{PLACE}/targets", HOOK | {"id": "one"}))[0] == 400
    monkeypatch.setattr(notifications, "MOST_TARGETS", 1)
    assert (await say(user, "POST", f"{PLACE}/targets", HOOK))[0] == 400


@BOTH
async def test_one_person_has_so_many_jobs(live: Live, user: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    state = live.app.state.oui
    caller = await principal(live, user)
    await make(user, events=["chat.finished"], delivery="always")
    monkeypatch.setattr(notifications, "MOST_JOBS", 1)
    message = notifications.Message(id="m", event="notify", title="t", text="x", path="", at=0)
    async with state.database.write() as unit:
        sending = notifications.Sending(user.id, "webhook", message)
        key = f"notification:{user.id}:0"
        await state.jobs.enqueue(unit, state.notifier.kind, sending, key=key, run_at=time.time() + 10_000)
    with pytest.raises(TooManyRequests, match="wait to be sent"):
        await state.notifier.send_to(caller, "", "t", "x")
    state.notifier.tell(caller, "chat.finished", "t", "x")
    await state.notifier.close()
    assert [job.key for job in await jobs(live)] == [key]


@BOTH
async def test_of_two_that_are_made_at_once_one_is_the_default(user: Actor) -> None:
    await asyncio.gather(*(make(user, id=name) for name in ("one", "two", "three")))
    assert [t["is_default"] for t in await targets(user)].count(True) == 1


async def test_who_may_have_them(live: Live, user: Actor, client: httpx.AsyncClient) -> None:
    """Nobody without the permission, and nobody where it is switched off."""
    doors = [("GET", "/events"), ("GET", "/targets"), ("POST", "/targets"), ("PUT", "/targets/x"), ("DELETE", "/targets/x"),
             ("PUT", "/targets/x/default"), ("POST", "/targets/x/test")]  # fmt: skip
    for method, path in doors:
        assert (await client.request(method, f"{PLACE}{path}", json={})).status_code == 401
    for off in ({"on": False}, {"permitted": False}):
        await allow(live, **off)
        for method, path in doors:
            body = None if method == "GET" else HOOK
            assert (await say(user, method, f"{PLACE}{path}", body))[0] == 403, (method, path, off)


@BOTH
async def test_an_answer_tells_that_it_is_there(live: Live, user: Actor, hook: Receiver) -> None:
    """Whoever has a page open is not told, unless they want to be; and by their own targets alone."""
    await make(user, id="always", events=["chat.finished"], delivery="always", config={"url": hook.url})
    await make(user, id="away", events=["chat.finished"], config={"url": hook.url + "&away"})
    await make(user, id="none", config={"url": hook.url})
    async with open_page(user.client, user.token) as page:
        chat_id = (await page.post(page.ask("fixed", "Hi")))["chat_id"]
        await page.idle(chat_id)
        ((headers, _, message),) = await hook.wait(1)
    assert headers["webhook-id"] == message["id"]
    assert "webhook-signature" not in headers
    assert (message["event"], message["subject"]) == ("chat.finished", {"type": "chat", "id": chat_id})
    assert message["title"].startswith("Answered: ")
    assert message["text"]
    assert message["content"]
    await until(lambda: _none(live))


async def _none(live: Live) -> bool:
    return not await jobs(live)


async def note(live: Live, actor: Actor, name: str = "chat.finished") -> None:
    state = live.app.state.oui
    state.note(Happened(name, {"type": "chat", "id": "gone"}), await principal(live, actor))


async def test_what_fails_is_sent_again(live: Live, user: Actor, admin: Actor, hook: Receiver) -> None:
    await make(user, events=["chat.finished"], config={"url": hook.url})
    hook.statuses = [500]
    await note(live, user)
    await hook.wait(1)

    async def waits() -> bool:
        return [job.state for job in await jobs(live)] == ["waiting"]

    await until(waits)
    (job,) = await jobs(live)
    assert "secret-word" not in job.payload
    assert (await say(admin, "POST", f"/api/v1/jobs/{job.id}/retry"))[0] == 200
    first, second = await hook.wait(2)
    # Who gets it twice can tell.
    assert first[2]["id"] == second[2]["id"]
    await until(lambda: _none(live))


async def test_what_fails_for_good_is_switched_off(
    live: Live, user: Actor, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "MOST_FAILURES", 2)
    await make(user, events=["chat.finished"], config={"url": hook.url})
    for number in (1, 2):
        # A redirect is not followed; it and a refusal are failures.
        hook.statuses = [410]
        await note(live, user)
        await hook.wait(number)

        async def told(number: int = number) -> bool:
            return (await targets(user))[0]["enabled"] is (number == 1) and (await targets(user))[0][
                "error"
            ] is not None

        await until(told)
    assert "410" in (await targets(user))[0]["error"]
    status, again = await say(user, "PUT", f"{PLACE}/targets/webhook", {"enabled": True})
    assert (status, again["enabled"], again["error"]) == (200, True, None)


async def test_what_changed_meanwhile_counts(live: Live, user: Actor, hook: Receiver) -> None:
    """A permission that was taken, before it is sent."""
    target = await make(user, events=["chat.finished"], config={"url": hook.url})
    state = live.app.state.oui
    caller = await principal(live, user)
    await allow(live, permitted=False)
    message = notifications.Message(id="m", event="chat.finished", title="t", text="x", path="/", at=1)
    async with state.database.write() as unit:
        await state.jobs.enqueue(unit, state.notifier.kind, notifications.Sending(caller.id, target["id"], message))
    await until(lambda: _none(live))
    assert hook.got == []


async def test_trying_out(live: Live, user: Actor, hook: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "TEST_SECONDS", 0)
    await make(user, config={"url": hook.url})
    assert await say(user, "POST", f"{PLACE}/targets/webhook/test") == (200, True)
    for status in (500, 302, 404):
        hook.statuses = [status]
        code, said = await say(user, "POST", f"{PLACE}/targets/webhook/test")
        assert (code, str(status) in said["detail"]) == (400, True)
    assert len(hook.got) == 4
    monkeypatch.setattr(notifications, "TEST_SECONDS", 60)
    assert (await say(user, "POST", f"{PLACE}/targets/webhook/test"))[0] == 429


async def test_a_name_that_leads_home_is_not_connected_to(
    live: Live, user: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a name leads is seen when it is connected to."""
    async with receiver() as home:
        monkeypatch.setattr(webhook_calls, "_is_local", lambda _: False)
        await make(user, config={"url": home.url.replace("127.0.0.1", "localhost")})
        code, said = await say(user, "POST", f"{PLACE}/targets/webhook/test")
        assert (code, "no public address" in said["detail"], home.got) == (400, True, [])


class Post:
    """Keeps letters."""

    def __init__(self) -> None:
        self.letters: list[Any] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.letters.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        return "250 OK"


async def test_a_letter(make_live: Callable[..., Awaitable[Live]]) -> None:
    """By a real SMTP server; to the account's own address, and to no other."""
    post = Post()
    # In this loop, on a port that is free: no other thread has to be up in time.
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(post), "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        live = await make_live(
            smtp_host="127.0.0.1", smtp_port=port, smtp_from="Server <server@example.com>", smtp_security="none"
        )
        await allow(live)
        admin = await people.sign_up(live, "Admin One")
        async with admin.client:
            form = {"type": "email", "config": {"email": "victim@example.com"}}
            assert (await say(admin, "POST", f"{PLACE}/targets", form))[0] == 400
            made = await make(admin, type="email", config={})
            assert made["config"] == {"url_masked": admin.email}
            assert await say(admin, "POST", f"{PLACE}/targets/email/test") == (200, True)
    finally:
        server.close()
    ((sender, to, content),) = post.letters
    assert (sender, to) == ("server@example.com", [admin.email])
    letter = message_from_bytes(content, policy=default)
    assert (letter["To"], letter["Subject"]) == (admin.email, "oui-backend: Test")
    assert "If you can read this" in letter.get_content()


async def test_no_header_of_anothers_making() -> None:
    settings = Settings(_env_file=None, smtp_host="h", smtp_from="server@example.com")
    made = mailer.letter(settings, "a@example.com", "Hi\r\nBcc: victim@example.com\r\n\r\nbody", "text\r\n.\r\n")
    head = made.as_bytes().partition(b"\r\n\r\n")[0].decode()
    assert "Bcc" not in {line.partition(":")[0] for line in head.splitlines()}
    for address in ("a@b.c\nBcc: x@y.z", "a@b.c, x@y.z", "<a@b.c>", "a", "", "a b@c.d", "x" * 65 + "@b.c"):
        with pytest.raises(GiveUp):
            mailer.letter(settings, address, "Hi", "text")
    with pytest.raises(GiveUp):
        await mailer.send(Settings(_env_file=None), "a@example.com", "Hi", "text")


async def test_in_the_page(live: Live, user: Actor) -> None:
    await make(user, type="page", config={}, events=["chat.finished"], delivery="always")
    async with open_page(user.client, user.token) as page:
        assert await say(user, "POST", f"{PLACE}/targets/page/test") == (200, True)
        await page.until(lambda seen: bool(seen.data("notification")))
        (shown,) = page.data("notification")
    assert shown["type"] == "success"
    assert shown["content"].startswith("Test")


async def test_many_at_once_are_bounded(live: Live, user: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    state = live.app.state.oui
    caller = await principal(live, user)
    monkeypatch.setattr(state.notifier, "_waiting", asyncio.Queue(1))
    for _ in range(3):
        state.notifier.tell(caller, "chat.finished", "t", "x")
    await until(lambda: _none(live))


async def told(live: Live, user_id: str) -> list[notifications.Message]:
    """What is put in for somebody; their targets' addresses don't answer."""
    state = live.app.state.oui
    found = [state.notifier.kind.read(row.payload) for row in await jobs(live) if row.kind == state.notifier.kind.name]
    return [sending.message for sending in found if sending.user_id == user_id]


@BOTH
async def test_whoever_is_mentioned_in_a_channel_is_told(
    live: Live, admin: Actor, user: Actor, other: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, who may read it, did not mute it, and is not looking; nobody else."""
    monkeypatch.setattr(webhook_calls, "send", _refused)
    await live.app.state.oui.save_config({"channels.enable": True})
    for person in (admin, user, other):
        await make(person, events=["channel.mention"])
    everybody = [{"principal_type": "user", "principal_id": user.id, "permission": p} for p in ("read", "write")]
    status, made = await say(admin, "POST", "/api/v1/channels/create", {"name": "general", "access_grants": everybody})
    assert status == 200, made
    path = f"/api/v1/channels/{made['id']}"
    names = " ".join(f"<@U:{who}|N>" for who in (user.id, user.id, other.id, admin.id, "nobody"))
    assert (await say(admin, "POST", f"{path}/messages/post", {"content": f"Look: {names}"}))[0] == 200
    (message,) = await told(live, user.id)
    assert (message.event, message.title) == ("channel.mention", f"{admin.name} mentioned you in general")
    assert message.text.startswith("Look: @N @N")
    assert message.path == f"/channels/{made['id']}"
    assert [await told(live, other.id), await told(live, admin.id)] == [[], []]
    # Who looks at a page, or muted the channel, is not told; nor by a change.
    text = {"content": f"<@U:{user.id}|N> again"}
    async with open_page(user.client, user.token):
        assert (await say(admin, "POST", f"{path}/messages/post", text))[0] == 200
    muted = await say(user, "POST", f"{path}/members/mute", {"is_channel_muted": True})
    assert muted[0] == 200, muted
    assert not live.app.state.oui.emitter.is_connected(user.id)
    assert (await say(admin, "POST", f"{path}/messages/post", text))[0] == 200
    assert len(await told(live, user.id)) == 1


async def _refused(*_: Any) -> None:
    raise OuiError("away", status=503)


async def test_whose_automation_has_run_is_told(
    live: Live, user: Actor, other: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_calls, "send", _refused)
    for person in (user, other):
        await make(person, events=["automation.finished", "automation.failed"])
    state = live.app.state.oui
    features = state.config["user.permissions"]["features"] | {"automations": True}
    await state.save_config({
        "automations.enable": True, "user.permissions": state.config["user.permissions"] | {"features": features},
    })  # fmt: skip
    for model in ("echo", "error400"):
        form = {"name": f"Ask {model}", "data": {"prompt": "Hi", "model_id": model, "rrule": "RRULE:FREQ=DAILY"}}
        status, made = await say(user, "POST", "/api/v1/automations/create", form)
        assert status == 200, made
        assert (await say(user, "POST", f"/api/v1/automations/{made['id']}/run"))[0] == 200

    async def both() -> bool:
        return len(await told(live, user.id)) == 2

    await until(both)
    found = {message.event: message for message in await told(live, user.id)}
    assert found["automation.finished"].title == "Done: Ask echo"
    assert found["automation.finished"].path.startswith("/c/")
    assert found["automation.failed"].title == "Failed: Ask error400"
    assert await told(live, other.id) == []
