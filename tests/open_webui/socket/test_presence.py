"""Who looks at what: the indexes agree with a plain list of facts, whatever happens in whatever order."""

import random

from open_webui.principal import Principal
from open_webui.socket.presence import Presence, SocketSession

USERS = ("ann", "bob")
SIDS = tuple("abcdef")
CHATS = ("x", "y", "z")


def session(sid: str, user_id: str) -> SocketSession:
    return SocketSession(sid, "token", Principal(id=user_id, role="user", name=user_id, email=f"{user_id}@example.com"))


def expected(owner: dict[str, str], looks: set[tuple[str, str]], user: str, chat: str, asker: str) -> set[str]:
    found = set()
    for sid, owned_by in owner.items():
        chats = {c for s, c in looks if s == sid}
        if owned_by == user and (not chats or chat in chats or sid == asker):
            found.add(sid)
    return found


def test_tabs_showing_a_chat_under_any_history() -> None:
    for seed in range(40):
        rng = random.Random(seed)
        presence = Presence()
        owner: dict[str, str] = {}
        looks: set[tuple[str, str]] = set()
        for _ in range(60):
            sid, user, chat = rng.choice(SIDS), rng.choice(USERS), rng.choice(CHATS)
            match rng.choice(["add", "remove", "join", "join", "leave"]):
                case "add":
                    if owner.get(sid, user) != user:
                        looks = {(s, c) for s, c in looks if s != sid}
                    owner[sid] = user
                    presence.add(session(sid, user))
                case "remove":
                    owner.pop(sid, None)
                    looks = {(s, c) for s, c in looks if s != sid}
                    presence.remove(sid)
                case "join":
                    looks |= {(sid, chat)} if sid in owner else set()
                    presence.join(chat, sid)
                case _:
                    looks.discard((sid, chat))
                    presence.leave(chat, sid)
            for who in USERS:
                assert presence.sids_of(who) == {s for s, u in owner.items() if u == who}
                for c in CHATS:
                    for asker in ("", sid):
                        assert presence.tabs_showing(who, c, asker) == expected(owner, looks, who, c, asker)
            for c in CHATS:
                assert presence.watchers_of(c) == {s for s, at in looks if at == c}
                assert set(presence.watching(c, {"ann"})) == {s for s, at in looks if at == c and owner[s] != "ann"}
                assert [p["id"] for p in presence.people_in(c)] == sorted({owner[s] for s, at in looks if at == c})


def test_nothing_is_left_of_a_socket_that_went() -> None:
    presence = Presence()
    presence.add(session("a", "ann"))
    presence.join("x", "a")
    presence.remove("a")
    presence.join("x", "a")
    assert (presence.watchers_by_chat(), set(presence.user_ids()), presence.chats_of("a")) == ({}, set(), [])
    assert presence.tabs_showing("ann", "x", "a") == set()
