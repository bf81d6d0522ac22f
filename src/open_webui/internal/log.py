"""Structured logs with request ids: to the console as text or JSON, on request to a file, levels by component.

The standard library does all of it but the fields, so this adds just those. (structlog would too, but it brings rich,
4 MB of a process that is to idle under 100 MB, for coloured tracebacks that a server does not print.)
"""

import logging
import logging.handlers
import re
import sys
import time
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from open_webui.errors import StartupError

# Every file of log lines begins so: `oui-backend.log`, and those of workers, which must not turn each other's over.
FILE_NAME: Final = "oui-backend"
# The id of the request or event that is being handled; every line logged meanwhile carries it.
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
# Whether the response of the request that is being handled was ended early on purpose, as where its caller lost the right.
ended_early: ContextVar[bool] = ContextVar("ended_early", default=False)
# What uvicorn then says, which takes it for a mistake of the application.
INCOMPLETE: Final = "ASGI callable returned without completing response."
# Loggers of others that tell what ours tell better, or too much.
# httpx2 tells whole addresses, which may have keys in them.
_QUIET: Final = ("uvicorn.access", "uvicorn.error", "aiosqlite", "engineio", "socketio", "alembic", "asyncio", "httpx2")


# The token in the address of a channel's webhook (routers/channels.py).
_TOKEN: Final = re.compile(r"(/channels/webhooks/[^/]+/)(?!profile/image$).+", re.DOTALL)

# Which of several workers this process is, from 1; 0: of none. Its lines say so, once `set_up` was called.
worker_number = 0
_process: dict[str, Any] = {}


class LogSettings(Protocol):
    """What of env.Settings is said about logs."""

    @property
    def log_format(self) -> str: ...
    @property
    def log_to_file(self) -> bool: ...
    @property
    def log_dir(self) -> Path | str: ...
    @property
    def log_levels(self) -> str: ...
    @property
    def global_log_level(self) -> str: ...
    @property
    def main_log_level(self) -> str: ...


class _OnPurpose(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.msg == INCOMPLETE and ended_early.get())


_on_purpose = _OnPurpose()


class Logger:
    """A standard logger whose lines are an event and fields: log.info("signed in", user_id=...)."""

    __slots__ = ("_logger",)

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **fields: Any) -> None:
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, *, exc_info: bool | BaseException = False, **fields: Any) -> None:
        self._log(logging.WARNING, event, fields, exc_info)

    def error(self, event: str, *, exc_info: bool | BaseException = False, **fields: Any) -> None:
        self._log(logging.ERROR, event, fields, exc_info)

    def exception(self, event: str, **fields: Any) -> None:
        """An error, with the traceback of the exception that is being handled."""
        self._log(logging.ERROR, event, fields, True)

    def _log(self, level: int, event: str, fields: dict[str, Any], exc_info: bool | BaseException = False) -> None:
        if self._logger.isEnabledFor(level):
            extra = {"fields": fields, "request_id": request_id.get()}
            self._logger.log(level, event, extra=extra, exc_info=exc_info or None)


def shown_path(path: str) -> str:
    """An address as logs have it: without the token that is a part of a webhook's, and lets write who knows it."""
    return _TOKEN.sub(r"\1***", path)


def get_logger(name: str) -> Logger:
    return Logger(name)


class TextFormatter(logging.Formatter):
    """One line for a person: time, level, event, fields, where from."""

    def format(self, record: logging.LogRecord) -> str:
        fields = _process | getattr(record, "fields", {})
        if rid := getattr(record, "request_id", None):
            fields["request_id"] = rid
        said = "".join(f" {name}={_plain(value)}" for name, value in fields.items())
        line = f"{_stamp(record)} {record.levelname.lower():8} {record.getMessage()}{said}  [{record.name}]"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line, for what collects logs."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "timestamp": _stamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        if rid := getattr(record, "request_id", None):
            line["request_id"] = rid
        line |= _process | getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def _stamp(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


def _plain(value: Any) -> str:
    """A value on one line: what somebody else chose can't forge a second one."""
    text = value if isinstance(value, str) else repr(value)
    return text if text.isprintable() and " " not in text and text else repr(text)


def set_up(settings: LogSettings) -> None:
    """Configures logging for the process. Raises StartupError when LOG_LEVELS or the log folder can't be used."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    handlers[0].setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    if settings.log_to_file:
        handlers.append(_file(settings))
    levels = _levels(settings.log_levels)
    if worker_number:
        _process["worker"] = worker_number
    root = logging.getLogger()
    for old in [h for h in root.handlers if type(h) in {logging.StreamHandler, logging.handlers.RotatingFileHandler}]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(settings.global_log_level or logging.INFO)
    logging.getLogger("open_webui").setLevel(settings.main_log_level or logging.NOTSET)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_on_purpose)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def _file(settings: LogSettings) -> logging.Handler:
    folder = Path(settings.log_dir)
    name = f"{FILE_NAME}-{worker_number}.log" if worker_number else f"{FILE_NAME}.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handler = logging.handlers.RotatingFileHandler(
            folder / name, maxBytes=20_000_000, backupCount=5, encoding="utf-8", delay=False
        )
    except OSError as error:
        raise StartupError(f"The log folder {folder} can't be written to ({error.strerror}).") from None
    handler.setFormatter(TextFormatter() if settings.log_format == "console" else JsonFormatter())
    return handler


def _levels(text: str) -> dict[str, str]:
    out = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, sep, level = part.partition("=")
        if not sep or level.strip().upper() not in logging.getLevelNamesMapping():
            raise StartupError(f"LOG_LEVELS: '{part}' should look like open_webui.chat=DEBUG.")
        out[name.strip()] = level.strip().upper()
    return out
