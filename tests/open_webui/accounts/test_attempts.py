"""Limits on attempts: a sliding window, in bounded memory."""

import pytest

from open_webui.errors import TooManyRequests
from open_webui.services.attempts import Attempts


class Clock:
    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def test_the_window_slides() -> None:
    clock = Clock()
    attempts = Attempts(3, window=10, clock=clock)
    for clock.at in (0.0, 4.0, 8.0):
        attempts.take("a")
    with pytest.raises(TooManyRequests) as refused:
        attempts.take("a")
    assert refused.value.headers == {"Retry-After": "2"}
    attempts.take("b")
    clock.at = 10.0
    attempts.take("a")
    with pytest.raises(TooManyRequests):
        attempts.take("a")


def test_a_refused_attempt_does_not_prolong_the_wait() -> None:
    clock = Clock()
    attempts = Attempts(1, window=10, clock=clock)
    attempts.take("a")
    for clock.at in range(1, 10):
        with pytest.raises(TooManyRequests):
            attempts.take("a")
    clock.at = 10.0
    attempts.take("a")


def test_what_has_passed_is_forgotten() -> None:
    clock = Clock()
    attempts = Attempts(3, window=10, clock=clock)
    for n in range(100):
        attempts.take(f"key {n}")
    assert len(attempts) == 100
    clock.at = 20.0
    attempts.take("late")
    assert len(attempts) == 1


def test_memory_is_bounded_whatever_keys_are_tried() -> None:
    attempts = Attempts(3, window=10, max_keys=50, clock=Clock())
    for n in range(1000):
        attempts.take(f"{n}" * 1000)
    attempts.take("\ud800 no text")
    assert len(attempts) == 50
