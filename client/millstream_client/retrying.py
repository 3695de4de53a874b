"""When a call is made again: if it was lost or the server is busy, and making it twice does no more than once.

Predictions carry an idempotency key, so they may be sent again whatever happened to them. Pure: chance is an argument.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from millstream_client.calls import Call, Lost, Reply, Steps, checked, retry_after_s
from millstream_client.errors import Unreachable

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
LATER = (429, 502, 503, 504)


@dataclass(frozen=True)
class Patience:
    """How long to go on trying.

    Attributes:
        seconds: from the first try that failed to the last; 0: nothing is tried twice.
        chance: a number from 0 to 1, another at each call.
    """

    seconds: float
    chance: Callable[[], float]

    def pause_s(self, tries: int, asked_s: float | None = None) -> float:
        """How long to pause after so many tries: what the server asked for, and a while that doubles, of which the
        second half is chance, so that many who were refused together do not come back together."""
        backoff = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(tries, 20))
        return (asked_s or 0) + backoff * (0.5 + 0.5 * self.chance())


def answered(call: Call, patience: Patience) -> Steps[Reply]:
    """Make a call, again if need be; the answer is a success.

    Raises:
        Unreachable: it was lost for as long as patience lasts.
        Refused: it was refused, or for as long as patience lasts.
        PredictionFailed: its prediction ended otherwise.
    """
    outcome = yield call
    first_at, tries = outcome.at, 0
    while worth_repeating(call, outcome):
        asked = retry_after_s(outcome.headers) if isinstance(outcome, Reply) else None
        pause = patience.pause_s(tries, asked)
        if outcome.at + pause - first_at > patience.seconds:
            break
        outcome = yield replace(call, after_s=pause)
        tries += 1
    if isinstance(outcome, Lost):
        raise Unreachable(outcome.url, outcome.reason + (f" (tried {tries + 1} times)" if tries else ""))
    return checked(call, outcome)


def worth_repeating(call: Call, outcome: Reply | Lost) -> bool:
    """Whether the same call may have another outcome, and does no harm."""
    if isinstance(outcome, Lost):
        return call.repeatable or not outcome.arrived
    ended = isinstance(outcome.body, dict) and "prediction_id" in outcome.body
    again = call.repeatable or outcome.status in (429, 503)  # which say that nothing was done
    return outcome.status in LATER and not ended and again
