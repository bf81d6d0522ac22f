"""When something that repeats takes place: in time zones, over summer time, with ends, and with a bound on the work."""

import contextlib
import datetime as dt
import itertools
import sys
import time
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from open_webui.errors import BadRequest
from open_webui.utils import recurring
from open_webui.utils.recurring import LAST, NEVER, SECOND

NOW: Final = int(dt.datetime(2026, 11, 20, 14, 25, 23, tzinfo=dt.UTC).timestamp()) * SECOND

UP_TO_59: Final = ",".join(map(str, range(60)))


def times(
    text: str, zone: str | None = None, *, after: int = NOW, before: int = LAST, most: int = 4, anchor: int = NOW
) -> list[str]:
    """The next times, in UTC."""
    found = recurring.bounded(lambda: recurring.between(recurring.parse(text), anchor, zone, after, before, most))
    return [f"{dt.datetime.fromtimestamp(at / SECOND, dt.UTC):%Y-%m-%d %H:%M:%S}" for at in found]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("DTSTART:20261120T090000\nRRULE:FREQ=DAILY", ["2026-11-21 09:00:00", "2026-11-22 09:00:00"]),
        ("RRULE:FREQ=DAILY", ["2026-11-20 14:25:23", "2026-11-21 14:25:23"]),
        ("freq=weekly;byday=mo;byhour=9;byminute=0;bysecond=0", ["2026-11-23 09:00:00", "2026-11-30 09:00:00"]),
        (
            "DTSTART:20000103T000000\nRRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=MO",
            ["2026-11-30 00:00:00", "2026-12-14 00:00:00"],
        ),
        ("DTSTART:20000101T000000Z\nRRULE:FREQ=HOURLY;INTERVAL=7", ["2026-11-20 17:00:00", "2026-11-21 00:00:00"]),
        ("DTSTART:19000131T000000\nRRULE:FREQ=MONTHLY", ["2026-12-31 00:00:00", "2027-01-31 00:00:00"]),
        ("DTSTART:20240229T000000\nRRULE:FREQ=YEARLY", ["2028-02-29 00:00:00", "2032-02-29 00:00:00"]),
        ("DTSTART:20261119T000000\nRRULE:FREQ=DAILY;COUNT=3", ["2026-11-21 00:00:00"]),
        ("DTSTART:20261119T000000\nRRULE:FREQ=DAILY;UNTIL=20261121", ["2026-11-21 00:00:00"]),
        ("DTSTART:20261119T000000\nRRULE:FREQ=DAILY;COUNT=1", []),
        ("DTSTART:20261119T000000\nRRULE:FREQ=DAILY;UNTIL=20261101T000000Z", []),
    ],
)
def test_the_next_times(rule: str, expected: list[str]) -> None:
    assert times(rule, most=2) == expected


class TestZones:
    @pytest.mark.parametrize(
        ("day", "expected"),
        [
            # On the 29th of March 02:30 is missing: it is 03:30 there. On the 25th of October it is there twice.
            ("20260328", ["2026-03-28 01:30:00", "2026-03-29 01:30:00", "2026-03-30 00:30:00"]),
            ("20261024", ["2026-10-24 00:30:00", "2026-10-25 00:30:00", "2026-10-26 01:30:00"]),
        ],
    )
    def test_summer_time(self, day: str, expected: list[str]) -> None:
        own = f"DTSTART;TZID=Europe/Berlin:{day}T023000\nRRULE:FREQ=DAILY"
        assert times(own, "Asia/Tokyo", after=0, most=3) == expected
        assert times(f"DTSTART:{day}T023000\nRRULE:FREQ=DAILY", "Europe/Berlin", after=0, most=3) == expected

    def test_an_hour_is_an_hour(self) -> None:
        rule = "DTSTART;TZID=Europe/Berlin:20261025T010000\nRRULE:FREQ=HOURLY;COUNT=4"
        assert times(rule, after=0) == [
            "2026-10-24 23:00:00", "2026-10-25 00:00:00", "2026-10-25 01:00:00", "2026-10-25 02:00:00",
        ]  # fmt: skip

    @pytest.mark.parametrize("name", ["Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia", "America/St_Johns"])
    def test_odd_zones(self, name: str) -> None:
        found = recurring.bounded(
            lambda: recurring.between(
                recurring.parse("DTSTART:20110101T233000\nRRULE:FREQ=DAILY"), NOW, name, 0, LAST, 800
            )
        )
        assert len(found) == 800
        where = recurring.zone(name)
        shown = {recurring.local(at, where).time() for at in found}
        # Apia left out a whole day; nothing else moves a time in the evening.
        assert shown == {dt.time(23, 30)}
        assert all(later > earlier for earlier, later in itertools.pairwise(found))

    def test_a_zone_that_nobody_knows(self) -> None:
        with pytest.raises(BadRequest, match="time zone 'Mars/Olympus'"):
            times("DTSTART;TZID=Mars/Olympus:20260101T000000\nRRULE:FREQ=DAILY")
        assert recurring.zone("../../etc/passwd") is dt.UTC
        assert recurring.zone("x" * 5_000) is dt.UTC
        assert not recurring.is_zone("nowhere")
        assert recurring.is_zone("UTC")


@pytest.mark.parametrize(
    "rule",
    [
        "", "nonsense", "RRULE", "RRULE:", "RRULE:FREQ=SECONDLY", "RRULE:FREQ=DAILY;FREQ=DAILY", "RRULE:FREQ=DAILY;COUNT=0",
        "RRULE:FREQ=DAILY;COUNT=9999999", "RRULE:FREQ=DAILY;INTERVAL=0", "RRULE:FREQ=DAILY;INTERVAL=-1",
        "RRULE:FREQ=DAILY;INTERVAL=²", "RRULE:FREQ=DAILY;COUNT=1;UNTIL=20270101", "RRULE:FREQ=DAILY;BYEASTER=1",
        "RRULE:FREQ=DAILY;BYHOUR=25", "RRULE:FREQ=DAILY;BYDAY=XX", "RRULE:FREQ=DAILY;UNTIL=tomorrow",
        "RRULE:FREQ=DAILY;UNTIL=20261399T000000", "DTSTART:20261120T090000", "DTSTART:00010101\nRRULE:FREQ=DAILY",
        "DTSTART:20261120\nDTSTART:20261120\nRRULE:FREQ=DAILY", "RRULE:FREQ=DAILY\nRRULE:FREQ=DAILY",
        "RRULE:FREQ=DAILY\nEXRULE:FREQ=WEEKLY", "RRULE:FREQ=DAILY;BYDAY=" + ",".join(["MO"] * 500), "x" * 3_000,
        "RRULE:FREQ=DAILY;WKST=MO,TU", "RRULE:FREQ=MINUTELY;BYMINUTE=70",
        f"RRULE:FREQ=HOURLY;BYMINUTE={UP_TO_59};BYSECOND=0,1,2", f"RRULE:FREQ=DAILY;BYHOUR={UP_TO_59};BYMINUTE={UP_TO_59}",
    ],
)  # fmt: skip
def test_what_is_no_rule(rule: str) -> None:
    with pytest.raises(BadRequest, match=r"This rule can't be used: .*\."):
        times(rule)


@pytest.mark.parametrize(
    "rule",
    [
        f"RRULE:FREQ={frequency};{never}"
        for frequency in ("MINUTELY", "HOURLY", "DAILY", "YEARLY")
        for never in ("BYMONTH=2;BYMONTHDAY=30", "BYMONTH=13", "BYSETPOS=366;BYMONTH=1")
    ],
)
def test_a_rule_that_is_never_due_ends_soon(rule: str) -> None:
    """By itself it would take up to many minutes. What is counted here are steps, so that it is the same on any machine."""
    begun = time.process_time()
    with pytest.raises(BadRequest, match="can't be used"):
        times(rule)
    assert time.process_time() - begun < 5
    assert sys.gettrace() is None or "recurring" not in repr(sys.gettrace())


def test_a_step_that_takes_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps, but no time of the processor: what it would take doesn't matter here."""
    assert len(times("FREQ=DAILY", most=3)) == 3
    monkeypatch.setattr(recurring, "CPU_SECONDS", -1.0)
    with pytest.raises(BadRequest, match="too long"):
        times("FREQ=DAILY", most=3)


def test_a_beginning_long_ago_costs_nothing() -> None:
    for frequency in ("MINUTELY", "HOURLY", "DAILY", "WEEKLY"):
        rule = recurring.parse(f"DTSTART:19000101T000000\nRRULE:FREQ={frequency};INTERVAL=3")
        assert len(recurring.bounded(lambda rule=rule: recurring.between(rule, 0, None, NOW, LAST, 5), 10_000)) == 5  # type: ignore[misc]


def test_ends() -> None:
    def last(text: str) -> int:
        return recurring.bounded(lambda: recurring.ends(recurring.parse(text), NOW, None))

    assert last("FREQ=DAILY") == NEVER
    assert last("FREQ=DAILY;COUNT=3") == NOW + 2 * 86_400 * SECOND
    assert last("FREQ=DAILY;UNTIL=20261122T000000Z") == 1_795_305_600 * SECOND


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["MINUTELY", "HOURLY", "DAILY", "WEEKLY"]),
    st.integers(1, 50),
    st.integers(0, 20_000),
    st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"]),
)
def test_a_nearer_beginning_changes_nothing(frequency: str, interval: int, days: int, zone: str) -> None:
    """Whole intervals are left out before the first time that is asked about, and nothing else."""
    anchor = NOW - days * 86_400 * SECOND // (1 if frequency in {"DAILY", "WEEKLY"} else 1_000)
    rule = recurring.parse(f"FREQ={frequency};INTERVAL={interval}")
    counted = recurring.parse(f"FREQ={frequency};INTERVAL={interval};COUNT=5000")
    # No fixture: what it patches would stay for all examples, and hypothesis refuses that.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recurring, "CPU_SECONDS", 60.0)
        near, far = (
            recurring.bounded(lambda rule=one: recurring.between(rule, anchor, zone, NOW, LAST, 3), 10**6)  # type: ignore[misc]
            for one in (rule, counted)
        )
    assert near[: len(far)] == far


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="FREQ=DAILYWKBMOUN;:,-0123456789TZ\n ", max_size=80))
def test_any_text_is_a_rule_or_refused(text: str) -> None:
    for rule in (text, f"FREQ=DAILY;{text}"):
        with contextlib.suppress(BadRequest):
            times(rule)
