"""Which month partitions `predictions` needs. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime


def months_from(now: datetime, months_ahead: int) -> Iterator[date]:
    """The first day of the month of `now` (UTC), and of each of the months after it."""
    months = now.year * 12 + now.month - 1
    for number in range(months, months + months_ahead + 1):
        yield date(number // 12, number % 12 + 1, 1)
