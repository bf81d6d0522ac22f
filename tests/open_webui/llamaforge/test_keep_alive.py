"""What a client says of the time for which a model stays: in any form, and of any length."""

import pytest

from open_webui.services.local_ollama import is_no_time
from tests.support.turns import spent


@pytest.mark.parametrize("given", [0, 0.0, -0.0, "0", "00", "0s", " 0m ", "0ms", "0.0s", "0h0m0s", "-0"])
def test_no_time_at_all(given: object) -> None:
    assert is_no_time(given)


@pytest.mark.parametrize("given", [None, "", "s", ".", 1, -1, "5m", "10", "0h5m", "0x", [], {}, [0], True, False])
def test_some_time_or_none_that_is_said(given: object) -> None:
    assert not is_no_time(given)


@pytest.mark.parametrize("given", ["0" * 1_000_000 + "x", "0s" * 500_000 + "x", "0." * 500_000 + "1", "." * 1_000_000])
def test_a_long_text_takes_no_longer_than_it_is_long(given: str) -> None:
    """It is read on the event loop, and comes from anybody who may ask a model."""
    with spent() as cost:
        assert not is_no_time(given)
    assert cost.seconds < 0.5
