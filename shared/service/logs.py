"""Logging: one line per event, with a constant name and its data in fields. Ids, never payloads or secrets.

Levels: ERROR, something was given up and somebody should look; WARNING, something is wrong and is being retried or
worked around; INFO, what happened; DEBUG, how.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

from pythonjsonlogger.json import JsonFormatter

from shared.service.settings import Settings

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
# What a terminal would obey, or take for the end of a line.
_ESCAPED = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}


class ConsoleFormatter(logging.Formatter):
    """For people: time, level, message, then the fields as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one record."""
        line = super().format(record).translate({**_ESCAPED, ord("\n"): "\n"})  # a traceback has lines
        fields = [f"{name}={value}" for name, value in vars(record).items() if name not in _STANDARD]
        return "  ".join([line, *(each.translate(_ESCAPED) for each in fields)])


class JsonLines(JsonFormatter):
    """For machines: one JSON object per line, with RFC 3339 times."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 (logging's name)
        """The record's time in UTC, to the millisecond."""
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def configure_logging(settings: Settings, service: str) -> None:
    """Send all logs to stderr, in the configured format."""
    handler = logging.StreamHandler(sys.stderr)
    if settings.log_format == "json":
        handler.setFormatter(
            JsonLines(
                "{asctime}{levelname}{name}{message}",
                style="{",
                rename_fields={"asctime": "time", "levelname": "level", "name": "logger", "message": "event"},
                static_fields={"service": service, "environment": settings.environment},
            )
        )
    else:
        handler.setFormatter(ConsoleFormatter("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
