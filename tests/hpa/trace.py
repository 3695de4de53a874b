"""The traffic that the autoscalers are tried on: a day in six hours, with a burst, a stop and two failures.

Six hours, since what an autoscaler does takes minutes: the day's slopes are four times steeper than real ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

HOUR = 3600.0
END = 6 * HOUR
BURST = (2.25 * HOUR, 2.25 * HOUR + 600)  # ten minutes of twice as much, from one second to the next
POSTGRES_AWAY = (2.85 * HOUR, 2.85 * HOUR + 90)  # results pile up
ADAPTER_AWAY = (3.3 * HOUR, 3.3 * HOUR + 600)  # ten minutes without metrics but CPU
STOP = (3.75 * HOUR, 3.75 * HOUR + 1200)  # twenty minutes without a request, and back at once
NIGHT = 5.5 * HOUR  # from here on next to nothing
NIGHT_SHARE = 0.04


@dataclass(frozen=True)
class Stream:
    """What is asked of the models that one Deployment serves.

    Attributes:
        peak: requests a second at noon.
        cpu_s: CPU seconds that one request takes of a worker (`python -m tests.load.model_rates`, rounded).
    """

    deployment: str
    peak: float
    cpu_s: float


STREAMS = (
    Stream("worker-sentiment", 700, 0.0045),
    Stream("worker-embeddings", 300, 0.006),
    Stream("worker-summarization", 50, 0.043),
    Stream("worker-abstractive", 2.5, 1.8),
)


def within(now: float, span: tuple[float, float]) -> bool:
    """Whether a moment lies in a span."""
    return span[0] <= now < span[1]


def share(now: float) -> float:
    """How much of the peak is asked for at a moment."""
    if within(now, STOP):
        return 0.0
    day = math.pow(max(0.0, math.sin(math.pi * min(now, NIGHT) / NIGHT)), 1.5)
    return (NIGHT_SHARE + (1 - NIGHT_SHARE) * day) * (2.0 if within(now, BURST) else 1.0)
