"""Which month partitions are made ahead."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from persister.partitions import end_of, month_of, months_from


@given(st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2200, 1, 1)), st.integers(1, 24))
def test_months_follow_each_other_without_gap(now: datetime, ahead: int) -> None:
    months = list(months_from(now, ahead))
    assert len(months) == ahead + 1 == len(set(months))
    assert months[0] == date(now.year, now.month, 1)
    for first, second in zip(months, months[1:], strict=False):
        assert second == (first + timedelta(days=31)).replace(day=1)


def test_a_partitions_name_says_its_month() -> None:
    assert month_of("predictions_2026_12") == date(2026, 12, 1)
    assert month_of("predictions_default") is None
    assert end_of(date(2026, 12, 1)) == datetime(2027, 1, 1, tzinfo=UTC)
