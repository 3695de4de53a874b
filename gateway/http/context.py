"""What the handlers of one gateway process share."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from aiohttp import web

from gateway.core.history import History
from gateway.core.lookup import Predictions
from gateway.core.submissions import Submissions
from gateway.core.waiting import Waiters
from gateway.settings import GatewaySettings
from gateway.upkeep.queue_metrics import Sampling
from gateway.upkeep.throughput import Drain
from shared.contract.catalogue import Catalogue
from shared.contract.ids import uuid7
from shared.contract.keys import Keys
from shared.service.liveness import Liveness
from shared.streams.dead_letters import DeadLetters
from shared.streams.shard import Shard
from shared.streams.workers import WorkerDirectory

if TYPE_CHECKING:
    from shared.telemetry.spans import Span, Traces


class Trace(NamedTuple):
    """The span of a request, its name for others, and what leads to it from the metrics (None: it is not kept)."""

    span: Span
    traceparent: str
    exemplar: dict[str, str] | None


@dataclass(slots=True)
class Gateway:
    """One gateway process.

    Attributes:
        draining: it was told to stop: `/readyz` says so, and it goes on for a moment, until the balancer knows.
        closing: it takes no more, and answers those that wait.
        traces: what makes its spans; None where traces are off.
    """

    settings: GatewaySettings
    catalogue: Catalogue
    keys: Keys
    shard: Shard
    history: History
    predictions: Predictions
    submissions: Submissions
    drain: Drain
    dead_letters: DeadLetters
    waiters: Waiters
    workers: WorkerDirectory
    sampling: Sampling
    liveness: Liveness
    traces: Traces | None = None
    draining: bool = False
    closing: bool = False

    @staticmethod
    def new_id() -> str:
        """An id for a prediction accepted now; unique, not secret."""
        return uuid7(time.time_ns() // 1_000_000, random.getrandbits(80))


GATEWAY: web.AppKey[Gateway] = web.AppKey("gateway", Gateway)
# the predictions that a request made or repeats, for its log line
PREDICTIONS: web.RequestKey[Sequence[str]] = web.RequestKey("predictions", Sequence)
MODEL: web.RequestKey[str] = web.RequestKey("model", str)  # the model that a request is about, for its metrics
TRACE: web.RequestKey[Trace] = web.RequestKey("trace", Trace)  # where traces are on: the request's own
