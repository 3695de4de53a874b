"""The life of a prediction in the logs: whole or not at all, and bounded."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.telemetry.prediction_log import ALWAYS_ENDING, PredictionLog


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def logger() -> logging.Logger:
    made = logging.getLogger("test.predictions")
    made.setLevel(logging.INFO)
    return made


def test_at_a_low_rate_everything_is_logged_above_it_a_bounded_part(logger: logging.Logger) -> None:
    clock = Clock()
    log = PredictionLog(logger, most_per_s=10, clock=clock)
    assert sum(log.wants(f"id-{number:x}1") for number in range(1000)) == 10
    clock.now = 1.0
    assert log.wants("id-1")


@given(st.lists(st.uuids().map(str), min_size=1, max_size=200))
def test_two_busy_services_choose_the_same_ids(ids: list[str]) -> None:
    logger = logging.getLogger("test.predictions")
    logger.setLevel(logging.INFO)
    chosen = []
    for _ in range(2):
        busy = PredictionLog(logger, most_per_s=0, clock=Clock())
        chosen.append([each for each in ids if busy.wants(each)])
    assert chosen[0] == chosen[1] == [each for each in ids if each.endswith(ALWAYS_ENDING)]


def test_where_info_is_off_nothing_is_counted(logger: logging.Logger) -> None:
    logger.setLevel(logging.WARNING)
    assert not PredictionLog(logger).wants("id")


def test_an_event_has_its_trace_and_no_empty_fields(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    log = PredictionLog(logger)
    with caplog.at_level(logging.INFO):
        log.event("stored", "id-1", f"00-{'a' * 32}-{'b' * 16}-01", status="succeeded", error="", lag_ms=0)
        log.event("stored", "id-2", "nonsense")
        log.event("stored", "id-3", "a caller's-own text-goes nowhere-01")
    first, second, third = (vars(record) for record in caplog.records)
    assert (first["msg"], first["prediction_id"], first["trace_id"]) == ("stored", "id-1", "a" * 32)
    assert (first["status"], first["lag_ms"]) == ("succeeded", 0) and "error" not in first
    assert "trace_id" not in second and "trace_id" not in third
