"""The room: deltas that wait are joined, in order, and a page that comes late can tell what it knows already."""

import asyncio
from typing import Any

from open_webui.chat.assemble import Answer
from open_webui.chat.delivery.room import AT_ONCE, INTERVAL, SLOWEST, Load, Room
from open_webui.chat.wire import Choice, Chunk, Delta
from open_webui.events import Audience
from tests.open_webui.chat.conftest import Notes


def room_of(notes: Notes, load: Load | None = None, people: frozenset[str] = frozenset({"ann"})) -> Room:
    return Room(notes, load or Load(), Audience(people), "c", "a")


def says(answer: Answer, room: Room, text: str) -> None:
    room.add(answer.feed(Chunk([Choice(delta=Delta(content=text))])), answer.version)


def answer() -> Answer:
    return Answer(lambda: 0.0)


def deltas(notes: Notes, who: str = "ann") -> list[tuple[str, int]]:
    return [(data["delta"], data["sequence_number"]) for kind, data in notes.told(who) if kind == "response:completion"]


async def test_what_waits_is_joined_into_one_frame(notes: Notes) -> None:
    room, made = room_of(notes), answer()
    for word in ("a ", "b ", "c"):
        says(made, room, word)
    await room.flush()
    assert deltas(notes) == [("a b c", made.version)]
    room.close()


async def test_the_first_words_go_out_by_themselves_and_later_ones_wait_their_turn(notes: Notes) -> None:
    room, made = room_of(notes), answer()
    says(made, room, "a")
    await notes.until(2)
    began = asyncio.get_running_loop().time()
    says(made, room, "b")
    says(made, room, "c")
    await notes.until(4)  # each frame goes to the owner and to who watches
    assert asyncio.get_running_loop().time() - began > INTERVAL / 2
    assert [text for text, _ in deltas(notes)] == ["a", "bc"]
    room.close()


async def test_a_cut_keeps_later_words_out_of_a_frame_that_was_counted(notes: Notes) -> None:
    """Whoever reads the answer at a version drops the frames up to it and takes the others: nothing twice, no gap."""
    room, made = room_of(notes), answer()
    says(made, room, "a")
    says(made, room, "b")
    reached, known = room.cut(), made.text
    assert reached == made.version
    says(made, room, "c")
    await room.flush()
    assert known + "".join(text for text, number in deltas(notes) if number > reached) == made.text
    assert [text for text, _ in deltas(notes)] == ["ab", "c"]
    assert room.cut() == made.version
    room.close()


async def test_numbers_only_grow_and_order_is_kept(notes: Notes) -> None:
    room, made = room_of(notes), answer()
    for n in range(50):
        says(made, room, f"{n} ")
        if n % 7 == 0:
            room.cut()
        if n % 11 == 0:
            await asyncio.gather(room.flush(), room.flush())
    await room.ordered("chat:completion", {"done": True})
    numbers = [number for _, number in deltas(notes)]
    assert numbers == sorted(set(numbers))
    assert "".join(text for text, _ in deltas(notes)) == made.text
    assert notes.told("ann")[-1] == ("chat:completion", {"done": True})
    room.close()


async def test_everybody_concerned_is_told_once(notes: Notes) -> None:
    room = room_of(notes, people=frozenset({"ann", "bob"}))
    await room.event("status", {"done": True})
    assert sorted(who for who, _ in notes.sent) == ["ann", "bob", "watcher"]
    assert {(e.chat_id, e.message_id) for _, e in notes.sent} == {("c", "a")}
    room.close()


async def test_many_rooms_slow_each_other_down(notes: Notes) -> None:
    load = Load()
    rooms = [room_of(notes, load) for _ in range(AT_ONCE * 2)]
    assert load.interval == INTERVAL * 2
    rooms += [room_of(notes, load) for _ in range(1_000)]
    assert load.interval == SLOWEST
    for room in rooms:
        room.close()
    assert (load.rooms, load.interval) == (0, INTERVAL)


async def test_a_closed_room_sends_nothing_later(notes: Notes) -> None:
    room, made = room_of(notes), answer()
    says(made, room, "a")
    await room.flush()
    says(made, room, "b")
    room.close()
    await asyncio.sleep(INTERVAL * 2)
    sent: list[tuple[str, Any]] = notes.told("ann")
    assert len(sent) == 1
