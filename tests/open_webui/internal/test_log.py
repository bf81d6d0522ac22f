"""Log lines: events with fields and request ids, as text or JSON, levels by component, on request into a file."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from open_webui.env import Settings
from open_webui.errors import StartupError
from open_webui.internal import log


@pytest.fixture(autouse=True)
def kept() -> Iterator[None]:
    """Leaves logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        if handler not in handlers:
            root.removeHandler(handler)
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("open_webui.a", "open_webui.b"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def set_up(**given: object) -> io.StringIO:
    log.set_up(Settings(_env_file=None, **given))
    stream = io.StringIO()
    handler = next(h for h in logging.getLogger().handlers if type(h) is logging.StreamHandler)
    handler.setStream(stream)
    return stream


def test_text_has_the_event_its_fields_and_where_from() -> None:
    stream = set_up()
    log.get_logger("open_webui.a").info("signed in", user_id="u 1", count=3)
    line = stream.getvalue()
    assert "info     signed in user_id='u 1' count=3" in line
    assert line.rstrip().endswith("[open_webui.a]")


def test_a_value_cannot_forge_a_line() -> None:
    stream = set_up()
    log.get_logger("open_webui.a").info("said", text="x\n2026 error  all is lost", title="\x1b[31m")
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()


def test_json_has_one_object_a_line_also_for_odd_values() -> None:
    stream = set_up(log_format="json")
    log.get_logger("open_webui.a").warning("odd", path=Path("/x"), error=ValueError("no"))
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"], line["logger"]) == ("odd", "warning", "open_webui.a")
    assert (line["path"], line["error"]) == ("/x", "no")


def test_lines_carry_the_request_they_belong_to() -> None:
    stream = set_up(log_format="json")
    bound = log.request_id.set("abc")
    log.get_logger("open_webui.a").info("inside")
    log.request_id.reset(bound)
    log.get_logger("open_webui.a").info("outside")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first.get("request_id"), second.get("request_id")) == ("abc", None)


def test_a_traceback_comes_with_an_exception() -> None:
    stream = set_up()
    try:
        raise KeyError("gone")
    except KeyError:
        log.get_logger("open_webui.a").exception("it failed")
    assert "Traceback" in stream.getvalue()


def test_levels_by_component() -> None:
    stream = set_up(global_log_level="WARNING", log_levels="open_webui.a=DEBUG, open_webui.b=error")
    for name in ("open_webui.a", "open_webui.b", "open_webui.c"):
        log.get_logger(name).debug("fine", who=name)
        log.get_logger(name).warning("careful", who=name)
    told = [line.split()[2] + " " + line.split("who=")[1].split()[0] for line in stream.getvalue().splitlines()]
    assert told == ["fine open_webui.a", "careful open_webui.a", "careful open_webui.c"]


@pytest.mark.parametrize("levels", ["open_webui", "open_webui=LOUD", "=DEBUG,"])
def test_levels_that_are_none(levels: str) -> None:
    if levels.startswith("="):
        log.set_up(Settings(_env_file=None, log_levels=levels))  # the root's
        return
    with pytest.raises(StartupError, match="LOG_LEVELS"):
        log.set_up(Settings(_env_file=None, log_levels=levels))


def test_on_request_into_a_file(tmp_path: Path) -> None:
    set_up(log_to_file=True, log_dir=tmp_path / "logs")
    log.get_logger("open_webui.a").info("kept", n=1)
    line = json.loads((tmp_path / "logs" / "oui-backend.log").read_text())
    assert (line["event"], line["n"]) == ("kept", 1)


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="log folder"):
        set_up(log_to_file=True, log_dir=tmp_path / "file" / "logs")


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/api/v1/channels/webhooks/w1/s3cret", "/api/v1/channels/webhooks/w1/***"),
        ("/api/v1/channels/webhooks/w1/s3cret/more", "/api/v1/channels/webhooks/w1/***"),
        ("/api/v1/channels/webhooks/w1/profile/image", "/api/v1/channels/webhooks/w1/profile/image"),
        ("/api/v1/channels/c1/webhooks/w1/update", "/api/v1/channels/c1/webhooks/w1/update"),
        ("/api/v1/chats/x", "/api/v1/chats/x"),
    ],
)
def test_no_line_has_the_token_of_a_webhook(path: str, shown: str) -> None:
    assert log.shown_path(path) == shown
