"""One line an event, for machines or for people, with its data in fields and no secret in it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from pydantic import SecretStr

from shared.service.logs import configure_logging
from shared.service.settings import Settings


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """The root logger as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_json_line_has_what_machines_ask_for(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(environment="staging"), "gateway")
    logging.getLogger("gateway.http.middleware").warning("hints lost", extra={"detail": "a\nb", "count": 3})
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    record: dict[str, Any] = json.loads(line)
    assert datetime.fromisoformat(record.pop("time")).tzinfo is not None
    assert record == {
        "level": "WARNING",
        "logger": "gateway.http.middleware",
        "event": "hints lost",
        "service": "gateway",
        "environment": "staging",
        "detail": "a\nb",
        "count": 3,
    }


def test_an_exception_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(), "worker")
    try:
        raise ValueError("no good")
    except ValueError:
        logging.getLogger("x").exception("handler failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert "ValueError: no good" in json.loads(line)["exc_info"]


async def test_a_console_line_shows_its_fields_and_nothing_of_the_machinery(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_format="console"), "worker")
    logging.getLogger("x").info("loaded", extra={"model": "echo:1.0.0", "seconds": 0.5})
    (line,) = capsys.readouterr().err.splitlines()
    assert line[8:] == " INFO    loaded  model=echo:1.0.0  seconds=0.5"


def test_what_is_less_severe_than_the_level_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_level="ERROR"), "worker")
    logging.getLogger("x").warning("quiet")
    logging.getLogger("x").error("loud")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["loud"]


def test_configuring_twice_does_not_log_twice(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        configure_logging(Settings(), "worker")
    logging.getLogger("x").info("once")
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_settings_in_a_log_line_do_not_show_their_secrets(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(redis_url=SecretStr("redis://:hunter2@cache/0"), log_format=log_format)
    configure_logging(settings, "worker")
    logging.getLogger("x").info("started with %s", settings, extra={"settings": settings, "url": settings.redis_url})
    text = capsys.readouterr().err
    assert "started" in text and "hunter2" not in text


def test_a_console_line_gives_a_terminal_nothing_to_obey(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_format="console"), "worker")
    logging.getLogger("x").warning("hints lost", extra={"detail": "a\x1b[2Jb\nINFO forged\u2028c\x9b"})
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(r"detail=a\x1b[2Jb\nINFO forged\u2028c\x9b")
