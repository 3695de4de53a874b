"""UUIDv7 prediction ids (RFC 9562, section 5.7): the first 48 bits are the time of acceptance, in ms since the epoch.

Ids therefore sort by time: the primary key of `predictions` is an append-mostly index, each of its month partitions a
contiguous range of ids, and the cursor of the history a single id. The 12 bits that the RFC calls `rand_a` hold the
number of the shard (the Redis) that the request went to; the 62 bits of `rand_b` are random.

The ids of one HTTP request are made from its batch: the time, the shard, a secret seed and how many. What remembers 256
ids keeps that, a short text. From ids nobody can tell the seed, nor the other ids.
"""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

RANDOM_BITS = 62
MAX_SHARD = (1 << 12) - 1
_PRINCIPAL = re.compile(r"p_[a-z2-7]{26}")
_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def uuid7(now_ms: int, random_bits: int, shard: int = 0) -> str:
    """A version 7 UUID in its canonical form.

    Args:
        now_ms: milliseconds since the epoch.
        random_bits: at least `RANDOM_BITS` random bits; more are ignored.
        shard: number of the shard, 0 to `MAX_SHARD`.
    """
    random_bits &= (1 << RANDOM_BITS) - 1
    text = f"{(now_ms << 80) | (0x7 << 76) | (shard << 64) | (0b10 << 62) | random_bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class Batch(NamedTuple):
    """What the ids of one HTTP request are made from.

    Attributes:
        now_ms: milliseconds since the epoch.
        seed: 128 random bits as hexadecimal digits, which nobody can guess.
        number: of the ids.
    """

    now_ms: int
    shard: int
    seed: str
    number: int

    def ids(self) -> list[str]:
        """The ids: always the same."""
        size = 8 * self.number
        bits = hashlib.shake_128(self.seed.encode()).digest(size)
        return [
            uuid7(self.now_ms, int.from_bytes(bits[start : start + 8], "big"), self.shard)
            for start in range(0, size, 8)
        ]

    def text(self) -> str:
        """What is remembered of it."""
        return ".".join(map(str, self))


def read_batch(text: str) -> Batch:
    """The batch of which this is the text."""
    now_ms, shard, seed, number = text.split(".")
    return Batch(int(now_ms), int(shard), seed, int(number))


def principal_id(issuer: str, subject: str) -> str:
    """The opaque id of who asks: `p_` and 26 characters of base32 (RFC 4648, in lower case) of a SHA-256."""
    digest = hashlib.sha256(f"{issuer}\0{subject}".encode()).digest()
    return f"p_{base64.b32encode(digest).decode()[:26].lower()}"


def is_principal(text: str) -> bool:
    """Whether this has the form of a principal's id."""
    return _PRINCIPAL.fullmatch(text) is not None


def is_id(text: str) -> bool:
    """Whether this is a UUID in its canonical form: lower case, with hyphens."""
    return _CANONICAL.fullmatch(text) is not None


def id_time(prediction_id: str) -> datetime:
    """When the id was created, in UTC."""
    return datetime.fromtimestamp(int(prediction_id[:8] + prediction_id[9:13], 16) / 1000, UTC)


def first_id_at(time: datetime) -> UUID:
    """A lower bound of all version 7 ids made at that time or later."""
    return UUID(int=max(0, int(time.timestamp() * 1000)) << 80)


def first_id_of_month(year: int, month: int) -> UUID:
    """A lower bound of all version 7 ids of that UTC month: the bound of its partition."""
    return first_id_at(datetime(year, month, 1, tzinfo=UTC))
