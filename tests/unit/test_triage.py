"""Each entry that was read is computed, expired or given up: one of the three, for one reason."""

from __future__ import annotations

import pytest

from inference_worker.triage import triage
from shared.contract.ids import uuid7
from shared.streams.request_stream import Delivery, Read

NOW_MS = 1_733_000_000_000
FIELDS = {
    b"schema": b"1",
    b"id": uuid7(NOW_MS, 1).encode(),
    b"model": b"m",
    b"version": b"1",
    b"input": b'{"text":"hello"}',
    b"submitted_at": str(NOW_MS - 10).encode(),
    b"deadline_at": str(NOW_MS).encode(),
}


def test_a_request_within_its_deadline_is_computed() -> None:
    delivery = Delivery("1-0", FIELDS, deliveries=3)
    ((computed, request),) = triage(Read([delivery], NOW_MS), max_deliveries=3).to_compute
    assert computed is delivery and request.input == "hello"


def test_a_request_past_its_deadline_expires() -> None:
    found = triage(Read([Delivery("1-0", FIELDS)], NOW_MS + 1), max_deliveries=3)
    assert [delivery.entry for delivery, _ in found.expired] == ["1-0"]
    assert not found.to_compute and not found.given_up


@pytest.mark.parametrize(
    ("changes", "deliveries", "reason", "error"),
    [
        ({}, 4, "max_deliveries", "given up after 3 deliveries"),
        ({b"schema": b"2"}, 1, "unknown_schema", "schema 2 is unknown"),
        ({b"input": b"{"}, 1, "bad_json", "field 'input' is not JSON"),
        # whatever else is wrong with it: it has killed its workers
        ({b"schema": b"2"}, 5, "max_deliveries", "given up after 4 deliveries"),
    ],
)
def test_what_cannot_be_computed_is_given_up_with_its_reason_and_stops_nothing(
    changes: dict[bytes, bytes], deliveries: int, reason: str, error: str
) -> None:
    bad, good = Delivery("1-0", {**FIELDS, **changes}, deliveries), Delivery("2-0", FIELDS)
    found = triage(Read([bad, good], NOW_MS), max_deliveries=3)
    ((delivery, said, words),) = found.given_up
    assert delivery is bad and said == reason and words.startswith(error)
    assert [each for each, _ in found.to_compute] == [good] and not found.expired


def test_the_order_of_the_read_is_kept() -> None:
    entries = [Delivery(f"{number}-0", FIELDS) for number in range(5)]
    found = triage(Read(entries, NOW_MS), max_deliveries=3)
    assert [delivery.entry for delivery, _ in found.to_compute] == [each.entry for each in entries]
