"""Which month partitions are made ahead."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from persister.partitions import partitions_from
from shared.contract.ids import uuid7


@given(st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2200, 1, 1)), st.integers(1, 24))
def test_partitions_cover_the_months_without_gap_or_overlap(now: datetime, ahead: int) -> None:
    partitions = list(partitions_from(now, ahead))
    assert len(partitions) == ahead + 1 == len({each.name for each in partitions})
    for first, second in zip(partitions, partitions[1:], strict=False):
        assert first.end == second.first
    made_now = UUID(uuid7(int(now.replace(tzinfo=UTC).timestamp() * 1000), 0))
    assert partitions[0].first <= made_now < partitions[0].end
