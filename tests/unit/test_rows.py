"""From results to rows, and which partitions they need."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import orjson
from hypothesis import given
from hypothesis import strategies as st

from persister.partitions import partitions_from
from persister.rows import rejected, row_of
from shared.contract.ids import uuid7
from shared.contract.messages import Outcome, PredictionResult, Status, input_of

ID = uuid7(1_733_000_000_000, 1)


def result(**changes: object) -> PredictionResult:
    base = PredictionResult(
        id=ID,
        model="m",
        version="1",
        outcome=Outcome(Status.SUCCEEDED, b'{"label":"A"}', 0.5, 10, 20, worker="w"),
        input=b'{"text":"hello"}',
        principal="team",
        completed_at=1_733_000_000_500,
    )
    return base._replace(**changes)  # type: ignore[arg-type]


def test_a_result_becomes_a_row() -> None:
    row = row_of(result())
    assert row.id == ID
    assert (row.input_data, row.output_data) == ('{"text":"hello"}', '{"label":"A"}')
    assert row.created_at == datetime.fromtimestamp(1_733_000_000, UTC)
    assert row.completed_at == datetime.fromtimestamp(1_733_000_000.5, UTC)
    assert (row.status, row.confidence, row.error, row.principal) == ("succeeded", 0.5, None, "team")


def test_options_are_kept_beside_the_text() -> None:
    assert orjson.loads(input_of(result(options=b'{"labels":["a","b"]}'))) == {
        "text": "hello",
        "options": {"labels": ["a", "b"]},
    }


def test_a_rejected_row_keeps_who_and_why_but_no_data() -> None:
    row = rejected(row_of(result()), "r" * 600)
    assert (row.id, row.model, row.status, row.input_data, row.output_data) == (ID, "m", "failed", "{}", None)
    assert row.error is not None and row.error.startswith("the result could not be stored: r") and len(row.error) == 500


@given(st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2200, 1, 1)), st.integers(1, 24))
def test_partitions_cover_the_months_without_gap_or_overlap(now: datetime, ahead: int) -> None:
    partitions = list(partitions_from(now, ahead))
    assert len(partitions) == ahead + 1 == len({each.name for each in partitions})
    for first, second in zip(partitions, partitions[1:], strict=False):
        assert first.end == second.first
    made_now = UUID(uuid7(int(now.replace(tzinfo=UTC).timestamp() * 1000), 0))
    assert partitions[0].first <= made_now < partitions[0].end
