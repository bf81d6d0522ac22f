"""Files of calendars: their form, read and written; time zones that they describe, and that are described in them."""

import contextlib
import datetime as dt
import io
from zoneinfo import ZoneInfo

import pytest
from dateutil import tz
from hypothesis import given
from hypothesis import strategies as st

from open_webui.errors import BadRequest
from open_webui.utils import ical, ical_zones, recurring
from open_webui.utils.ical import Component
from open_webui.utils.recurring import SECOND

TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"))


def read(text: str | bytes) -> list[Component]:
    data = text.encode() if isinstance(text, str) else text
    return ical.read(data, lambda _component, _name: True)


def one(*lines: str, end: str = "\r\n") -> Component:
    """An event with these lines."""
    text = end.join(["BEGIN:VCALENDAR", "BEGIN:VEVENT", *lines, "END:VEVENT", "END:VCALENDAR", ""])
    return read(text)[0].parts[0]


class TestForm:
    @given(TEXTS, TEXTS)
    def test_what_is_written_is_read(self, text: str, name: str) -> None:
        line = ical.line(f"SUMMARY;CN={ical.quoted(name)}", ical.escaped(text))
        rows = line.split("\r\n")
        assert rows.pop() == ""
        assert all(len(row.encode()) <= 75 for row in rows)
        (found,) = one(*rows).properties
        assert found.text == text
        assert found.parameters["CN"].strip() == name.replace("\t", " ").strip()

    @given(st.binary())
    def test_whatever_comes_is_read_or_refused(self, data: bytes) -> None:
        for text in (data, b"BEGIN:VCALENDAR\n" + data + b"\nEND:VCALENDAR"):
            with contextlib.suppress(BadRequest):
                read(text)

    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_lines(self, end: str) -> None:
        found = one(
            "summary;language=de:A\\, b\\; c\\\\d\\nnext", 'X-P;A="x:y;z";B=^n^^^\':v', "DESCRIPTION:one ", "  two", "\tthree",
            "", "no property", end=end,
        )  # fmt: skip
        assert [(row.name, row.text) for row in found.properties] == [
            ("SUMMARY", "A, b; c\\d\nnext"), ("X-P", "v"), ("DESCRIPTION", "one  twothree"),
        ]  # fmt: skip
        assert found.properties[0].parameters == {"LANGUAGE": "de"}
        assert found.properties[1].parameters == {"A": "x:y;z", "B": '\n^"'}

    def test_characters(self) -> None:
        text = "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nSUMMARY:Größe\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
        for data in (text.encode(), text.encode("utf-8-sig"), text.encode("utf-16"), text.encode("cp1252")):
            assert read(data)[0].parts[0].text("SUMMARY") == "Größe"
        # Some programs fold in the middle of a character.
        folded = text.encode().replace("ö".encode(), b"\xc3\r\n \xb6")
        assert read(folded)[0].parts[0].text("SUMMARY") == "Größe"

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("", "no calendar file"),
            ("<html></html>", "no calendar file"),
            ("hello: you\n", "no calendar file"),
            ("BEGIN:VCARD\nEND:VCARD\n", "no calendar file"),
            ("BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:x\n", "the end of a VEVENT is missing"),
            ("BEGIN:VCALENDAR\nEND:VEVENT\n", "END:VEVENT stands where no VEVENT has begun"),
            ("BEGIN:VCALENDAR\nEND:VCALENDAR\nEND:VCALENDAR", "Line 3"),
            ("BEGIN:VCALENDAR\n" + "BEGIN:VEVENT\n" * 9, "more than 4 deep"),
        ],
    )
    def test_refused(self, text: str, told: str) -> None:
        with pytest.raises(BadRequest) as error:
            read(text)
        assert told in error.value.detail

    def test_too_many_lines(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ical, "MAX_LINES", 3)
        with pytest.raises(BadRequest, match="more than"):
            one("SUMMARY:x")


def zone_of(text: str, year: int = 2026) -> ical_zones.Described | None:
    (definition,) = read(f"BEGIN:VCALENDAR\r\n{text}END:VCALENDAR\r\n")[0].parts
    return recurring.bounded(lambda: ical_zones.described(definition, year))


OUTLOOK = """BEGIN:VTIMEZONE
TZID:W. Europe Standard Time
BEGIN:STANDARD
DTSTART:16010101T030000
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
RRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=10
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:16010101T020000
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
RRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=3
END:DAYLIGHT
END:VTIMEZONE
"""


class TestZones:
    @pytest.mark.parametrize(
        "name",
        [
            "Europe/Berlin", "America/New_York", "Australia/Sydney", "Asia/Kolkata", "Africa/Casablanca", "America/Sao_Paulo",
            "Australia/Lord_Howe", "Asia/Jerusalem", "America/Santiago", "Europe/London",
        ],
    )  # fmt: skip
    def test_written(self, name: str) -> None:
        """As another reader of such files understands it, and as this one does."""
        text = ical_zones.written(name, 2019, 2036)
        there = tz.tzical(io.StringIO(text.replace("\r\n ", ""))).get()
        zone = ZoneInfo(name)
        for day in range(0, 365 * 7, 5):
            at = dt.datetime(2020, 1, 1, 12, tzinfo=dt.UTC) + dt.timedelta(days=day)
            local = at.astimezone(zone).replace(tzinfo=None)
            assert local.replace(tzinfo=there).utcoffset() == local.replace(tzinfo=zone).utcoffset(), local
        found = zone_of(text)
        assert found is not None
        for hours in range(0, 24 * 366, 7):
            at = dt.datetime(2026, 1, 1) + dt.timedelta(hours=hours)  # noqa: DTZ001
            assert found.offset(at) == at.replace(tzinfo=dt.UTC).astimezone(zone).utcoffset().total_seconds()  # type: ignore[union-attr]
            assert found.instant(at) == recurring.instant(at, zone)

    def test_goes_on(self) -> None:
        text = ical_zones.written("Europe/Berlin", 2025, 2036)
        assert "RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU\r\n" in text
        assert "RRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=1SU\r\n" in ical_zones.written("America/New_York", 2025, 2036)
        # Clocks that aren't set.
        assert ical_zones.written("Asia/Kolkata", 2025, 2036).count("BEGIN") == 2

    @pytest.mark.parametrize(
        ("told", "name"),
        [
            ("Europe/Berlin", "Europe/Berlin"),
            ("/citadel.org/20210210_1/Europe/Berlin", "Europe/Berlin"),
            ("/x/America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
            ("UTC", "UTC"),
            ("W. Europe Standard Time", None),
            ("", None),
            ("../../etc/passwd", None),
            ("Europe", None),
        ],
    )
    def test_known(self, told: str, name: str | None) -> None:
        assert ical_zones.known(told) == name

    def test_by_what_it_does(self) -> None:
        found = zone_of(OUTLOOK)
        assert found is not None
        assert ical_zones.like(found, 2026) == "Europe/Berlin"
        summer = dt.datetime(2026, 7, 1, 9)  # noqa: DTZ001
        assert found.instant(summer) == int(dt.datetime(2026, 7, 1, 7, tzinfo=dt.UTC).timestamp()) * SECOND
        # A time that is there twice is the first, one that is missing is as much later.
        for local in (dt.datetime(2026, 10, 25, 2, 30), dt.datetime(2026, 3, 29, 2, 30)):  # noqa: DTZ001
            assert found.instant(local) == recurring.instant(local, ZoneInfo("Europe/Berlin"))

    @pytest.mark.parametrize("name", ical_zones.COMMON)
    def test_each_is_found_again(self, name: str) -> None:
        text = ical_zones.written(name, 2024, 2030).replace(f"TZID:{name}", "TZID:Some name")
        found = zone_of(text)
        assert found is not None
        other = ical_zones.like(found, 2026)
        assert other is not None
        for hours in range(0, 24 * 365, 36):
            at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(hours=hours)
            assert at.astimezone(ZoneInfo(name)).utcoffset() == at.astimezone(ZoneInfo(other)).utcoffset()

    def test_one_offset(self) -> None:
        lines = "DTSTART:19700101T000000\nTZOFFSETFROM:-0700\nTZOFFSETTO:-0700\n"
        found = zone_of(f"BEGIN:VTIMEZONE\nTZID:x\nBEGIN:STANDARD\n{lines}END:STANDARD\nEND:VTIMEZONE\n")
        assert found is not None
        assert ical_zones.like(found, 2026) == "America/Phoenix"
        odd = zone_of(OUTLOOK.replace("+0200", "+0217").replace("+0100", "+0017"))
        assert odd is not None
        assert ical_zones.like(odd, 2026) is None

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("BYDAY=-1SU", "BYDAY=9XX"),
            ("FREQ=YEARLY", "FREQ=MINUTELY"),
            ("INTERVAL=1", "INTERVAL=7"),
            ("16010101T030000", "never"),
            ("TZOFFSETTO:+0100", "TZOFFSETTO:lots"),
            ("TZOFFSETFROM:+0100", "TZOFFSETFROM:+9900"),
        ],
    )
    def test_that_can_not_be_used(self, old: str, new: str) -> None:
        assert zone_of(OUTLOOK.replace(old, new)) is None
