"""Lists are told to reload as often as a person can use it: at once while it is seldom, together when it is not."""

import pytest

from open_webui.events import ChatEvent
from open_webui.socket import reloads
from open_webui.socket.reloads import AT_ONCE, WINDOW_SECONDS, Reloads
from tests.open_webui.fake_clock import FakeClock

Sent = list[tuple[str, str]]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def sent() -> Sent:
    return []


@pytest.fixture
def told(sent: Sent, clock: FakeClock) -> Reloads:
    return Reloads(lambda user_id, event: sent.append((user_id, event.chat_id)), clock)


def changed(chat_id: str, folder_id: str | None = None) -> ChatEvent:
    return ChatEvent(chat_id, None, "chat:list", {"chat_id": chat_id, "folder_id": folder_id})


def test_what_is_seldom_is_told_at_once(told: Reloads, sent: Sent, clock: FakeClock) -> None:
    for n in range(100):
        told.tell("ann", changed(str(n)))
        assert sent[-1] == ("ann", str(n))
        clock.advance(WINDOW_SECONDS / AT_ONCE)


def test_of_a_flood_the_last_is_told_for_each_folder_and_none_is_kept_for_good(
    told: Reloads, sent: Sent, clock: FakeClock
) -> None:
    for n in range(200):
        told.tell("ann", changed(str(n), folder_id=("a", None)[n % 2]))
    assert sent == [("ann", str(n)) for n in range(AT_ONCE)]
    told.tell("bob", changed("his"))
    assert sent.pop() == ("bob", "his")
    clock.advance(WINDOW_SECONDS)
    assert sorted(sent[AT_ONCE:]) == [("ann", "198"), ("ann", "199")]
    told.tell("ann", changed("later"))
    assert sent[-1] == ("ann", "later")
    assert clock.waiting == 0


def test_a_steady_flood_is_told_at_a_steady_rate(told: Reloads, sent: Sent, clock: FakeClock) -> None:
    for n in range(1_000):
        told.tell("ann", changed(str(n)))
        clock.advance(0.005)
    clock.advance(WINDOW_SECONDS)
    assert len(sent) <= 11 * (AT_ONCE + 1)
    assert sent[-1] == ("ann", "999")


def test_only_what_says_that_lists_changed_is_joined() -> None:
    assert Reloads.concerns(changed("c"))
    read = {"chat_id": "c", "last_read_at": 1, "folder_unread_counts": {}}
    assert not Reloads.concerns(ChatEvent("c", None, "chat:list", read))
    assert not Reloads.concerns(ChatEvent("c", None, "chat:active", {"active": True, "folder_id": None}))
    assert not Reloads.concerns(ChatEvent("c", None, "chat:list"))


def test_people_who_are_seldom_told_leave_nothing_behind(
    told: Reloads, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reloads, "_MANY", 10)
    for n in range(100):
        told.tell(f"user{n}", changed("c"))
        clock.advance(WINDOW_SECONDS)
    assert len(told._windows) <= 11
