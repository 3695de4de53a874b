"""Ids are UUIDv7: they sort by time, and a month of them is a range."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.ids import RANDOM_BITS, Batch, first_id_of_month, id_time, is_id, read_batch, uuid7

TIMES = st.integers(0, 4_000_000_000_000)  # until 2096
RANDOM = st.integers(0, 2**90)


@given(now_ms=TIMES, random_bits=RANDOM)
def test_an_id_is_a_version_7_uuid_in_its_canonical_form(now_ms: int, random_bits: int) -> None:
    text = uuid7(now_ms, random_bits)
    parsed = UUID(text)
    assert str(parsed) == text and is_id(text)
    assert parsed.version == 7 and parsed.variant == RFC_4122
    assert parsed.int >> 80 == now_ms


@given(now_ms=TIMES, random_bits=RANDOM)
def test_an_id_keeps_its_time(now_ms: int, random_bits: int) -> None:
    expected = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=now_ms)
    assert abs(id_time(uuid7(now_ms, random_bits)) - expected) < timedelta(milliseconds=0.01)


@given(first=TIMES, second=TIMES, one=RANDOM, other=RANDOM)
def test_ids_sort_by_time_as_texts_and_as_numbers(first: int, second: int, one: int, other: int) -> None:
    a, b = uuid7(first, one), uuid7(second, other)
    if first < second:
        assert a < b and UUID(a) < UUID(b)


@given(now_ms=TIMES, one=RANDOM, other=RANDOM)
def test_ids_differ_where_their_random_bits_do(now_ms: int, one: int, other: int) -> None:
    mask = (1 << RANDOM_BITS) - 1
    assert (uuid7(now_ms, one) == uuid7(now_ms, other)) is (one & mask == other & mask)


@given(moment=st.datetimes(datetime(1970, 1, 1), datetime(2096, 1, 1)), random_bits=RANDOM)
def test_an_id_lies_within_its_month_and_no_other(moment: datetime, random_bits: int) -> None:
    now_ms = int((moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))
    following = (moment.year, moment.month + 1) if moment.month < 12 else (moment.year + 1, 1)
    assert first_id_of_month(moment.year, moment.month) <= UUID(uuid7(now_ms, random_bits))
    assert UUID(uuid7(now_ms, random_bits)) < first_id_of_month(*following)


@pytest.mark.parametrize("text", ["", "x", uuid7(1, 1).upper().replace("0", "A"), uuid7(1, 1) + "\n", uuid7(1, 1)[:-1]])
def test_only_the_canonical_form_is_an_id(text: str) -> None:
    assert not is_id(text)


@given(now_ms=TIMES, shard=st.integers(0, 4095), count=st.integers(1, 1000))
def test_a_batch_always_makes_the_same_ids_and_no_other_batch_makes_them(now_ms: int, shard: int, count: int) -> None:
    batch = Batch(now_ms, shard, "0" * 32, count)
    ids = batch.ids()
    assert len(set(ids)) == count and ids == read_batch(batch.text()).ids()
    assert all(is_id(each) and UUID(each).int >> 80 == now_ms and UUID(each).int >> 64 & 0xFFF == shard for each in ids)
    assert not set(ids) & set(batch._replace(seed="0" * 31 + "1").ids())
    assert len(batch.text()) < 70, "what is remembered of a batch is short"
