"""The month partitions of `predictions`: which it needs, and what their names say. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime

_NAME = re.compile(r"predictions_([0-9]{4})_([0-9]{2})")


def months_from(now: datetime, months_ahead: int) -> Iterator[date]:
    """The first day of the month of `now` (UTC), and of each of the months after it."""
    months = now.year * 12 + now.month - 1
    for number in range(months, months + months_ahead + 1):
        yield date(number // 12, number % 12 + 1, 1)


def month_of(partition: str) -> date | None:
    """The first day of a partition's month; None for that of rows of no month."""
    found = _NAME.fullmatch(partition)
    return None if found is None else date(int(found[1]), int(found[2]), 1)


def end_of(month: date) -> datetime:
    """When a month is over."""
    *_, following = months_from(datetime(month.year, month.month, 1), 1)
    return datetime(following.year, following.month, 1, tzinfo=UTC)
