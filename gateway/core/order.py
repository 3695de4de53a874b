"""What an API passes to the core, and what it gets back. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gateway.core.errors import Place
from gateway.core.finished import Finished
from gateway.core.principal import ANYBODY, Principal
from gateway.core.tracing import Trace
from shared.contract.inputs import text_of
from shared.contract.limits import CallerLimits
from shared.contract.queues import Priority


class CacheWish(NamedTuple):
    """What a caller wants of the cache: whether it may be given a result again, and leave its own."""

    reads: bool = True
    stores: bool = True


class Input(NamedTuple):
    """What one prediction is made of: a text or any other JSON value, and its place in the caller's request.

    Attributes:
        value: a text that was sent as such is a `str`.
        place: for error messages.
        sent_as_input: whether it was sent as JSON, and not as a text.
    """

    value: Any
    place: Place
    sent_as_input: bool = False

    @property
    def text(self) -> str | None:
        """The text that it is; None for other JSON."""
        return self.value if isinstance(self.value, str) else text_of(self.value)


class Order(NamedTuple):
    """Inputs for one model, accepted together or not at all.

    Attributes:
        version: None for the default version.
        options: those of the model's task; validated by the core.
        options_place: their place in the caller's request, for error messages.
        wait_s: seconds to wait for the answers; 0 to return at once.
        timeout_ms: how long the requests may stay in the queue before they expire.
        idempotency_key: the caller's; repeating the order with it publishes nothing new; '' for none.
        fingerprint: a digest of the order; required with a key.
        traceparent: the caller's W3C trace context, or ''.
        caller: who asks.
        limits: the caller's own limits; None for none.
        cache: what the caller wants of the cache.
        subject: whom the caller asks for, so that an experiment treats them always alike; '' if it does not say.
        priority: whether somebody waits, or it may take its time.
        tags: what the caller wants to find its predictions by, see `shared.contract.tags`.
        callback_url: where to tell that a prediction has finished; '' for nowhere.
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
    caller: Principal = ANYBODY
    limits: CallerLimits | None = None
    cache: CacheWish = CacheWish()
    subject: str = ""
    priority: Priority = Priority.INTERACTIVE
    tags: Mapping[str, str] | None = None
    callback_url: str = ""
    trace: Trace | None = None


class Answer(NamedTuple):
    """One prediction of an order; `finished` is None if it is not finished yet, and `note` may say why."""

    id: str
    finished: Finished | None
    note: str = ""
