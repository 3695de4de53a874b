"""What becomes of the entries that a worker has read: they are computed, or have expired, or are given up. Pure."""

from __future__ import annotations

from typing import NamedTuple

from shared.contract.errors import MalformedMessage
from shared.contract.messages import PredictionRequest, decode_request
from shared.streams.request_stream import Delivery, Read

Readable = tuple[Delivery, PredictionRequest]


class GivenUp(NamedTuple):
    """An entry that belongs in the dead letters; `reason` is a short code, `error` says it in words."""

    delivery: Delivery
    reason: str
    error: str


class Triage(NamedTuple):
    """The entries of one read, each in one of three lists."""

    to_compute: list[Readable]
    expired: list[Readable]
    given_up: list[GivenUp]


def triage(read: Read, max_deliveries: int) -> Triage:
    """Sort the entries of a read; deadlines are judged by the clock of Redis, as it stood right after the read."""
    sorted_out = Triage([], [], [])
    for delivery in read.deliveries:
        if delivery.deliveries > max_deliveries:
            died = delivery.deliveries - 1
            error = f"given up after {died} deliveries: each time the worker that computed it died or lost it"
            sorted_out.given_up.append(GivenUp(delivery, "max_deliveries", error))
            continue
        try:
            request = decode_request(delivery.fields)
        except MalformedMessage as error:
            sorted_out.given_up.append(GivenUp(delivery, error.reason, str(error)))
            continue
        late = request.deadline_at < read.now_ms
        (sorted_out.expired if late else sorted_out.to_compute).append((delivery, request))
    return sorted_out
