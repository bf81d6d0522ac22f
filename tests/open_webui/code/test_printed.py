"""What is kept of what code prints."""

import pytest

from oui_sandbox.printed import KEPT, MOST, Printed, bounded


def test_a_little_is_kept_whole() -> None:
    printed = Printed()
    print("one", "two", file=printed)
    assert printed.text() == "one two\n"


@pytest.mark.parametrize("piece", [1, 999, KEPT, 3 * KEPT])
def test_of_much_the_beginning_and_the_end_are_kept(piece: int) -> None:
    printed = Printed()
    whole = "".join(chr(97 + n % 26) for n in range(4 * KEPT))
    for at in range(0, len(whole), piece):
        printed.write(whole[at : at + piece])
    kept = printed.text()
    assert kept.startswith(whole[:KEPT])
    assert kept.endswith(whole[-KEPT:])
    assert f"{2 * KEPT:,} characters are left out" in kept
    assert bounded(whole) == kept


def test_what_fits_exactly_has_no_gap() -> None:
    printed = Printed()
    printed.write("a" * (2 * KEPT))
    assert printed.text() == bounded("a" * (2 * KEPT)) == "a" * (2 * KEPT)


def test_far_too_much_is_refused() -> None:
    printed = Printed()
    printed.write("x" * MOST)
    with pytest.raises(OSError, match="16 million"):
        printed.write("x")
