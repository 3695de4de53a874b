"""UUIDv7 prediction ids (RFC 9562, section 5.7): the first 48 bits are the time of acceptance, in ms since the epoch.

Ids therefore sort by time, which makes the primary key of `predictions` an append-mostly index, its month partitions
contiguous ranges of ids, and the history's cursor a single id.
"""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

_RANDOM_BITS = 74


def uuid7(now_ms: int, random_bits: int) -> UUID:
    """A version 7 UUID.

    Args:
        now_ms: milliseconds since the epoch.
        random_bits: at least 74 random bits; the rest is ignored.
    """
    random_bits &= (1 << _RANDOM_BITS) - 1
    high, low = random_bits >> 62, random_bits & ((1 << 62) - 1)
    return UUID(int=(now_ms << 80) | (0x7 << 76) | (high << 64) | (0b10 << 62) | low)


def id_time_ms(prediction_id: UUID) -> int:
    """When the id was made, in ms since the epoch."""
    return prediction_id.int >> 80


def id_time(prediction_id: UUID) -> datetime:
    """When the id was made, in UTC."""
    return datetime.fromtimestamp(id_time_ms(prediction_id) / 1000, UTC)


def first_id_of_month(year: int, month: int) -> UUID:
    """The lowest UUID a version 7 id of that UTC month can have: the bound of its partition."""
    return UUID(int=int(datetime(year, month, 1, tzinfo=UTC).timestamp() * 1000) << 80)


def parse_id(text: str) -> UUID | None:
    """The id that this text spells in its canonical form; None where it spells none."""
    try:
        parsed = UUID(text)
    except ValueError:
        return None
    return parsed if str(parsed) == text.lower() else None
