"""What may go wrong, as exceptions.

MillstreamError
├── Unreachable          no answer, or not one of Millstream's
├── NotFinished          the wait ended before the prediction did
├── PredictionFailed     the prediction ended, but did not succeed
└── Refused              the server answered with an error
    ├── InvalidRequest   400, 405, 408, 413, 415, 421, 422: change the request
    ├── NotAllowed       401, 403: another token
    ├── NotFound         404
    ├── Conflict         409, 412, 428
    ├── LimitReached     429: later
    ├── Unavailable      502, 503, 504: later
    └── ServerFault      any other 5xx
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from millstream_client.results import Prediction


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field.

    Attributes:
        place: where it is: `body`, `query` or `header`, then names and indexes.
        message: what is wrong with it.
    """

    place: tuple[str | int, ...]
    message: str


class MillstreamError(Exception):
    """The base of all errors of this package."""


class Unreachable(MillstreamError):
    """There is no answer, or what answers is no Millstream.

    Attributes:
        url: what was asked.
    """

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url}: {reason}")
        self.url = url
        self.reason = reason


class NotFinished(MillstreamError):
    """The wait ended before the prediction did: it goes on, and can be read by its id later.

    Attributes:
        prediction_id: of the prediction, or of the first of a batch.
    """

    def __init__(self, prediction_id: str, waited_s: float, note: str = "") -> None:
        super().__init__(f"{prediction_id} was not finished within {waited_s:g} s" + (f": {note}" if note else ""))
        self.prediction_id = prediction_id


class PredictionFailed(MillstreamError):
    """A prediction ended, but did not succeed.

    Attributes:
        prediction_id: of the prediction.
        status: `failed`, `expired` or `cancelled`.
        detail: why.
        errors: places in the request that the model did not take.
        prediction: all that is known of it; None if the answer to the request itself said that it failed.
    """

    def __init__(
        self,
        prediction_id: str,
        status: str,
        detail: str,
        errors: Sequence[FieldError] = (),
        prediction: Prediction | None = None,
    ) -> None:
        super().__init__(f"{prediction_id} {status}: {detail}")
        self.prediction_id = prediction_id
        self.status = status
        self.detail = detail
        self.errors = tuple(errors)
        self.prediction = prediction


class Refused(MillstreamError):
    """The server answered with an error (RFC 9457).

    Attributes:
        method, url: what was asked.
        status: HTTP status code.
        kind: a short name, such as `unknown-model`: the last part of the problem's `type`.
        title: the status in words.
        detail: what is wrong and what to do.
        errors: the invalid fields.
        retry_after_s: when to ask again; None if the server did not say.
    """

    def __init__(
        self,
        method: str,
        url: str,
        status: int,
        kind: str,
        title: str,
        detail: str,
        errors: Sequence[FieldError] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{method} {url} was answered with {status} {title}: {detail}")
        self.method = method
        self.url = url
        self.status = status
        self.kind = kind
        self.title = title
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after_s = retry_after_s


class InvalidRequest(Refused):
    """The request must be changed; `errors` names the fields, if it is about fields."""


class NotAllowed(Refused):
    """It is not known who asks (401), or they may not do this (403)."""


class NotFound(Refused):
    """There is no such model, prediction, dead letter or path."""


class Conflict(Refused):
    """It does not fit what is there: the prediction is finished, the idempotency key stands for another body."""


class LimitReached(Refused):
    """A limit of the caller is reached: come back after `retry_after_s`."""


class Unavailable(Refused):
    """The server is overloaded, stopping, or a store of it is unavailable: come back after `retry_after_s`."""


class ServerFault(Refused):
    """A fault of the server."""


_BY_STATUS: dict[int, type[Refused]] = {
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    412: Conflict,
    428: Conflict,
    429: LimitReached,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def refusal_of(status: int) -> type[Refused]:
    """The class of the error that a status stands for."""
    return _BY_STATUS.get(status, ServerFault if status >= 500 else InvalidRequest)
