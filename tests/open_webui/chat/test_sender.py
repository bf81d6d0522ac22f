"""The sender: deltas that wait are joined, in order, and a page that comes late can tell what it knows already.

Time is the test's own: what is due when can be said exactly.
"""

import pytest

from llamaforge.events import Text
from open_webui.chat.assemble import Answer
from open_webui.chat.delivery.sender import AnswerSender
from open_webui.events import Audience
from open_webui.internal.load import ANSWERS_AT_ONCE, FRAME_SECONDS, SLOWEST_FRAME_SECONDS, Load
from tests.open_webui.chat.conftest import Notes
from tests.open_webui.fake_clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def load(clock: FakeClock) -> Load:
    return Load(clock)


def sender_of(notes: Notes, load: Load, people: frozenset[str] = frozenset({"ann"})) -> AnswerSender:
    return AnswerSender(notes, load, Audience(people), "c", "a")


def says(answer: Answer, sender: AnswerSender, text: str) -> None:
    sender.add(answer.feed([Text(text)]), answer.version)


def answer() -> Answer:
    return Answer(lambda: 0.0)


def deltas(notes: Notes, who: str = "ann") -> list[tuple[str, int]]:
    return [(data["delta"], data["sequence_number"]) for kind, data in notes.told(who) if kind == "response:completion"]


def texts(notes: Notes) -> list[str]:
    return [text for text, _ in deltas(notes)]


async def test_the_first_words_go_out_at_once_and_later_ones_together_when_they_are_due(
    notes: Notes, load: Load, clock: FakeClock
) -> None:
    sender, made = sender_of(notes, load), answer()
    says(made, sender, "a")
    assert texts(notes) == ["a"]
    says(made, sender, "b")
    clock.advance(FRAME_SECONDS * 0.9)
    says(made, sender, "c")
    assert texts(notes) == ["a"]
    clock.advance(FRAME_SECONDS * 0.1)
    assert deltas(notes)[-1] == ("bc", made.version)
    clock.advance(FRAME_SECONDS * 3)
    says(made, sender, "d")
    assert texts(notes) == ["a", "bc", "d"]


async def test_a_steady_stream_makes_a_steady_row_of_frames(notes: Notes, load: Load, clock: FakeClock) -> None:
    sender, made = sender_of(notes, load), answer()
    for _ in range(100):
        says(made, sender, "x")
        clock.advance(0.01)
    assert len(texts(notes)) in {25, 26}
    assert set(texts(notes)[2:-1]) == {"x" * 4}


async def test_a_flush_sends_what_waits_and_counts_as_a_frame(notes: Notes, load: Load, clock: FakeClock) -> None:
    sender, made = sender_of(notes, load), answer()
    for word in ("a ", "b ", "c"):
        says(made, sender, word)
    await sender.flush()
    assert texts(notes) == ["a ", "b c"]
    says(made, sender, "d")
    clock.advance(FRAME_SECONDS / 2)
    assert texts(notes) == ["a ", "b c"]
    clock.advance(FRAME_SECONDS / 2)
    assert texts(notes) == ["a ", "b c", "d"]
    assert clock.waiting == 1  # Load looks at the clock; the sender's own timers are gone


async def test_a_cut_keeps_later_words_out_of_a_frame_that_was_counted(notes: Notes, load: Load) -> None:
    """Whoever reads the answer at a version drops the frames up to it and takes the others: nothing twice, no gap."""
    sender, made = sender_of(notes, load), answer()
    for word in "xab":
        says(made, sender, word)
    reached, known = sender.cut(), made.text
    assert reached == made.version
    says(made, sender, "c")
    await sender.flush()
    assert known + "".join(text for text, number in deltas(notes) if number > reached) == made.text
    assert texts(notes) == ["x", "ab", "c"]
    assert sender.cut() == made.version


async def test_numbers_only_grow_and_order_is_kept(notes: Notes, load: Load, clock: FakeClock) -> None:
    sender, made = sender_of(notes, load), answer()
    for n in range(50):
        says(made, sender, f"{n} ")
        clock.advance(0.007)
        if n % 7 == 0:
            sender.cut()
        if n % 11 == 0:
            await sender.flush()
    await sender.ordered("chat:completion", {"done": True})
    numbers = [number for _, number in deltas(notes)]
    assert numbers == sorted(set(numbers))
    assert "".join(texts(notes)) == made.text
    assert notes.told("ann")[-1] == ("chat:completion", {"done": True})


async def test_everybody_concerned_is_told_once(notes: Notes, load: Load) -> None:
    sender = sender_of(notes, load, people=frozenset({"ann", "bob"}))
    await sender.event("status", {"done": True})
    assert sorted(who for who, _ in notes.sent) == ["ann", "bob", "watcher"]
    assert {(e.chat_id, e.message_id) for _, e in notes.sent} == {("c", "a")}


async def test_many_answers_slow_each_other_down(notes: Notes, load: Load, clock: FakeClock) -> None:
    senders = [sender_of(notes, load) for _ in range(ANSWERS_AT_ONCE * 2)]
    assert load.frame_seconds == FRAME_SECONDS * 2
    made = answer()
    says(made, senders[0], "a")
    says(made, senders[0], "b")
    clock.advance(FRAME_SECONDS)
    assert texts(notes) == ["a"]
    clock.advance(FRAME_SECONDS)
    assert texts(notes) == ["a", "b"]
    senders += [sender_of(notes, load) for _ in range(1_000)]
    assert load.frame_seconds == SLOWEST_FRAME_SECONDS
    for sender in senders:
        sender.close()
    assert (load.answers, load.frame_seconds) == (0, FRAME_SECONDS)


async def test_a_closed_sender_sends_nothing_later(notes: Notes, load: Load, clock: FakeClock) -> None:
    sender, made = sender_of(notes, load), answer()
    says(made, sender, "a")
    says(made, sender, "b")
    sender.close()
    clock.advance(10)
    assert texts(notes) == ["a"]


async def test_words_that_wait_when_the_loop_is_late_are_never_kept_for_good(
    notes: Notes, load: Load, clock: FakeClock
) -> None:
    sender, made = sender_of(notes, load), answer()
    load.stretch = 8.0
    for _ in range(200):
        says(made, sender, "x")
        clock.advance(0.02)
    assert len(texts(notes)) > 4
    clock.advance(FRAME_SECONDS * 8)
    assert "".join(texts(notes)) == made.text
