"""The breaker, on a clock of its own."""

from open_webui.connections.breaker import LONGEST_PAUSE, Breaker


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_opens_half_opens_and_closes() -> None:
    clock = Clock()
    breaker = Breaker(clock, jitter=lambda: 0.5)
    assert breaker.state == "closed"
    breaker.failed()
    assert (breaker.state, breaker.pause()) == ("open", 2.0)
    clock.now += 2
    assert (breaker.state, breaker.pause()) == ("half-open", 0.0)
    breaker.failed()
    assert (breaker.state, breaker.pause()) == ("open", 4.0)
    clock.now += 4
    breaker.succeeded()
    assert (breaker.state, breaker.failures, breaker.pause()) == ("closed", 0, 0.0)


def test_pauses_grow_to_a_limit_and_are_spread() -> None:
    clock = Clock()
    short, long = Breaker(clock, jitter=lambda: 0.0), Breaker(clock, jitter=lambda: 1.0)
    for _ in range(100):
        short.failed()
        long.failed()
    assert short.pause() == LONGEST_PAUSE * 0.75
    assert long.pause() == LONGEST_PAUSE * 1.25
