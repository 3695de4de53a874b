"""What a face hands to the core, and what it gets back. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gateway.core.errors import Place
from gateway.core.finished import Finished
from gateway.core.tracing import Trace


class Input(NamedTuple):
    """One text to predict on, and where it stands in the caller's request, for error messages."""

    text: str
    place: Place


class Order(NamedTuple):
    """Texts for one model, accepted together or not at all.

    Attributes:
        version: None for the model's default.
        options: what the model's task takes besides the text; checked by the core.
        options_place: where they stand in the caller's request, for error messages.
        wait_s: seconds to wait for the answers; 0 for none.
        timeout_ms: until the requests expire unless they were computed.
        idempotency_key: a caller's key: repeating the order with it makes nothing new; '' for none.
        fingerprint: a digest of the order, needed beside a key.
        traceparent: the caller's W3C trace context, or ''.
        trace: the span of the caller's request; None if traces are off.
    """

    model: str
    version: str | None
    inputs: Sequence[Input]
    options: Mapping[str, Any] | None
    options_place: Place
    wait_s: float
    timeout_ms: int
    idempotency_key: str = ""
    fingerprint: str = ""
    traceparent: str = ""
    trace: Trace | None = None


class Answer(NamedTuple):
    """One prediction of an order; `finished` is None while it is queued or running."""

    id: str
    finished: Finished | None
