"""The errors of the core. They know no HTTP: an API turns each into a response of its protocol.

CoreError
├── Unauthenticated      it is not known who asks
├── NotAllowed           who asks may not do this
├── UnknownModel         no model has that name, or none of its versions has that name
├── UnknownPrediction    no prediction has that id
├── UnknownExperiment    the model has no experiment
├── UnknownErasure       no erasure has that id
├── UnknownDeadLetter    no dead letter has that id: it was replayed or deleted, or never existed
├── UnknownApiKey        no API key has that id: it was taken back, or never existed
├── Conflict             it does not fit what is there; says why in a short name too
│   └── PredictionGone   what was accepted is not there any more: erased, or older than what is kept
├── Outdated             what is to be changed was changed since it was read
├── NotReplayable        the dead letter cannot be replayed: unreadable, its version is gone, or too often already
├── InvalidOrder         a field of the order is wrong
├── IdempotencyConflict  the idempotency key was used with another request
├── RedactionFailed      a text could not be redacted, so it was not accepted
├── LimitReached         who asks has used up a limit of its own; says when to retry
└── Refused              not now: overloaded or stopping; says when to retry

A store that cannot be reached raises `shared.contract.errors.StoreUnavailable`, as everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from shared.contract.errors import MillstreamError
from shared.contract.limits import Rate

Place = Sequence[str | int]
FieldErrors = Sequence[tuple[Place, str]]

_SHOWN_CHARS = 100


class CoreError(MillstreamError):
    """Base of the core's errors; the message is for the client."""


class Unauthenticated(CoreError):
    """It is not known who asks.

    Attributes:
        code: of RFC 6750, section 3.1: `invalid_request`, `invalid_token`, or empty if no credentials were sent.
        reason: why, in a word or two, also used as a metric label.
    """

    def __init__(
        self, detail: str, code: Literal["", "invalid_request", "invalid_token"] = "invalid_token", reason: str = ""
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.reason = reason


class NotAllowed(CoreError):
    """Who asks may not do this.

    Attributes:
        scopes: any of these would be enough.
    """

    def __init__(self, scopes: Sequence[str], how: str = "") -> None:
        wanted = " ".join(filter(None, (" or ".join(scopes), how)))
        super().__init__(f"this needs the scope {wanted}, which these credentials do not have")
        self.scopes = scopes


class UnknownModel(CoreError):
    """There is no such model, or no such version of it; with an empty version: it has no default."""

    def __init__(self, model: str, version: str | None = None, known: Sequence[str] = ()) -> None:
        if version is None:
            missing, others = f"there is no model {model[:_SHOWN_CHARS]!r}", "there are"
        else:
            which = f"version {version[:_SHOWN_CHARS]!r}" if version else "default version: name one"
            missing, others = f"model {model!r} has no {which}", "it has"
        super().__init__(f"{missing}; {others}: {', '.join(known)}" if known else missing)
        self.missing: Literal["model", "version"] = "model" if version is None else "version"


class UnknownPrediction(CoreError):
    """No prediction has that id."""

    def __init__(self, prediction_id: str) -> None:
        super().__init__(f"there is no prediction {prediction_id[:_SHOWN_CHARS]!r}")


class UnknownExperiment(CoreError):
    """A model has no experiment, or none that runs."""

    def __init__(self, model: str, *, running: bool = False) -> None:
        super().__init__(f"model {model!r} has no experiment{' that runs' if running else ''}")


class UnknownErasure(CoreError):
    """No erasure has that id."""

    def __init__(self, erasure_id: str) -> None:
        super().__init__(f"there is no erasure {erasure_id[:_SHOWN_CHARS]!r}")


class UnknownDeadLetter(CoreError):
    """There is no such dead letter (any more)."""

    def __init__(self, entry: str) -> None:
        super().__init__(f"there is no dead letter {entry[:50]!r}")


class UnknownApiKey(CoreError):
    """There is no such API key (any more)."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"there is no API key {key_id[:_SHOWN_CHARS]!r} that could be taken back")


class Conflict(CoreError):
    """What is asked for does not fit what is there.

    Attributes:
        kind: a short name of the conflict.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class PredictionGone(Conflict):
    """What was accepted is not there any more, so nobody will ever answer it."""

    def __init__(self) -> None:
        detail = (
            "what was accepted for this request is not there any more: it was erased, or is older than what is kept; "
            "send it with another Idempotency-Key to have it computed"
        )
        super().__init__("prediction-gone", detail)


class Outdated(CoreError):
    """What is to be changed was changed since it was read.

    Attributes:
        generation: what it is now.
    """

    def __init__(self, model: str, generation: int) -> None:
        super().__init__(f"model {model!r} was changed since it was read: read it again, and decide again")
        self.generation = generation


class NotReplayable(CoreError):
    """A dead letter cannot be replayed."""

    def __init__(self, entry: str, why: str) -> None:
        super().__init__(f"dead letter {entry} cannot be replayed: {why}")


class InvalidOrder(CoreError):
    """Fields of the order are wrong.

    Attributes:
        errors: the place of each in the caller's request, and what is wrong with it.
    """

    def __init__(self, errors: FieldErrors) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, place))}: {message}" for place, message in errors))
        self.errors = errors


class IdempotencyConflict(CoreError):
    """The idempotency key was used with another request."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"the Idempotency-Key {key[:40]!r} was used with another body; use a new key for a new request"
        )


class Refused(CoreError):
    """The order is valid but not accepted now.

    Attributes:
        reason: `overloaded`, `stopping`, `queue-unavailable` if Redis would not keep what is accepted,
            `redaction-unavailable` if texts cannot be redacted in time, or `keys-unavailable` if it cannot be found out
            now who asks.
        limit: a short name of the limit that was reached, also used as a metric label; empty if there is none.
        retry_after_s: when to retry, in seconds.
    """

    def __init__(
        self,
        reason: Literal["overloaded", "stopping", "queue-unavailable", "redaction-unavailable", "keys-unavailable"],
        detail: str,
        retry_after_s: int,
        limit: str = "",
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self.limit = limit
        self.retry_after_s = retry_after_s


class RedactionFailed(CoreError):
    """A text could not be redacted. Nothing was published; the gateway's log says more."""

    def __init__(self) -> None:
        super().__init__("a text could not be redacted, so nothing was accepted; the gateway's log says why")


class LimitReached(CoreError):
    """A limit of the caller alone is reached; nothing was accepted or charged.

    Attributes:
        limit: its name, also a metric label.
        retry_after_s: when there is room for this, in seconds; None if it is more than there ever is room for, or if
            that depends on when other requests of the caller end.
        rates: the caller's rates by name, each with the ms until it is full again.
        counts: the caller's other limits by name: the most, and how many are used.
    """

    def __init__(
        self,
        limit: str,
        detail: str,
        wait_ms: float | None,
        rates: Mapping[str, tuple[Rate, float]],
        counts: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        super().__init__(detail)
        self.limit = limit
        self.retry_after_s = None if wait_ms is None or math.isinf(wait_ms) else max(1, math.ceil(wait_ms / 1000))
        self.rates = rates
        self.counts = counts or {}
