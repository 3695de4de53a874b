"""Which month partitions `predictions` needs. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shared.contract.ids import first_id_of_month


@dataclass(frozen=True, slots=True)
class Partition:
    """A month's partition: ids from `first` up to, not including, `end`."""

    name: str
    first: UUID
    end: UUID


def partitions_from(now: datetime, months_ahead: int) -> Iterator[Partition]:
    """The partition of the month of `now` (UTC) and of the months after it."""
    year, month = now.year, now.month
    for _ in range(months_ahead + 1):
        next_year, next_month = (year, month + 1) if month < 12 else (year + 1, 1)
        yield Partition(
            f"predictions_{year:04d}_{month:02d}",
            first_id_of_month(year, month),
            first_id_of_month(next_year, next_month),
        )
        year, month = next_year, next_month
