"""Load: more work at once, and a loop that is late, make turns rarer; never endlessly rare."""

from open_webui.internal.load import (
    ANSWERS_AT_ONCE,
    EARLY_SECONDS,
    FRAME_SECONDS,
    LATE_SECONDS,
    LOOK_SECONDS,
    MOST_STRETCH,
    SLOWEST_FRAME_SECONDS,
    SLOWEST_STREAM_SECONDS,
    STREAMS_AT_ONCE,
    TOGETHER_SECONDS,
    Load,
)
from tests.open_webui.fake_clock import FakeClock


def test_few_streams_are_passed_on_as_they_come_and_many_are_read_in_turns() -> None:
    load = Load(FakeClock())
    for _ in range(STREAMS_AT_ONCE):
        load.begin_stream()
    assert load.until_stream_read() == 0
    load.begin_stream()
    assert 0 < load.until_stream_read() < 0.01
    for _ in range(2_000):
        load.begin_stream()
    assert load.until_stream_read() == SLOWEST_STREAM_SECONDS


def test_a_late_loop_slows_everything_down_to_a_bound_and_goes_faster_again() -> None:
    clock = FakeClock()
    load = Load(clock)
    load.begin_answer()
    clock.late = LATE_SECONDS * 2
    clock.advance(LOOK_SECONDS * 4)
    assert 1 < load.stretch < MOST_STRETCH
    assert load.until_stream_read() > 0
    clock.advance(LOOK_SECONDS * 100)
    assert load.stretch == MOST_STRETCH
    assert load.frame_seconds == FRAME_SECONDS * MOST_STRETCH
    load.answers = 10_000
    assert load.frame_seconds == SLOWEST_FRAME_SECONDS * MOST_STRETCH == 2.0
    load.answers = 1
    clock.late = 0
    clock.advance(LOOK_SECONDS * 100)
    assert load.stretch == 1.0


def test_between_late_and_early_nothing_changes() -> None:
    clock = FakeClock()
    load = Load(clock)
    clock.late = (LATE_SECONDS + EARLY_SECONDS) / 2
    load.begin_stream()
    load.stretch = 2.0
    clock.advance(LOOK_SECONDS * 20)
    assert load.stretch == 2.0


def test_an_idle_process_does_not_look_at_the_clock() -> None:
    clock = FakeClock()
    load = Load(clock)
    assert clock.waiting == 0
    load.begin_answer()
    load.begin_stream()
    assert clock.waiting == 1
    load.stretch = 3.0
    load.end_answer()
    load.end_stream()
    clock.advance(LOOK_SECONDS)
    assert (clock.waiting, load.stretch) == (0, 1.0)
    load.begin_answer()
    assert clock.waiting == 1


def test_answers_are_read_as_they_come_while_there_are_few_and_together_when_there_are_many() -> None:
    clock = FakeClock()
    load = Load(clock)
    for _ in range(ANSWERS_AT_ONCE):
        load.begin_answer()
    assert load.until_frame_read() == 0
    load.stretch = 2.0
    assert load.until_frame_read() >= load.frame_seconds
    load.stretch = 1.0
    load.answers = 100
    moments = set()
    for _ in range(50):
        wait = load.until_frame_read()
        assert load.frame_seconds <= wait + 1e-9 <= load.frame_seconds + TOGETHER_SECONDS + 1e-9
        moments.add(round(clock.time() + wait, 6))
        clock.advance(0.0013)
    # 50 answers that were read over 65 ms are read again at four or five moments.
    assert len(moments) <= 5
