"""What is asked and what is answered, as values; no I/O.

An operation of the API is a generator, `Steps`: it yields each `Call` that is to be made, is sent what came of it, and
returns its result. Who runs it does the I/O: `Millstream` with threads that block, `AsyncMillstream` with asyncio.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, TypeVar

from millstream_client.errors import FieldError, NotAllowed, PredictionFailed, Refused, Unreachable, refusal_of

T = TypeVar("T")
JSON = Any
TOKEN_NEEDED = "set MILLSTREAM_TOKEN to a token or an API key, or name a file that holds one"
ANSWER_WITHIN_S = 30.0  # beside what the server was asked to wait


@dataclass(frozen=True)
class Call:
    """One HTTP request.

    Attributes:
        query: parameters; those that are None are left out.
        wait_s: how long the server was asked to wait, in seconds.
        repeatable: whether it does no more if it arrives twice.
        after_s: seconds to let pass before it is made.
    """

    method: str
    path: str
    query: Mapping[str, str | float | None] = field(default_factory=dict)
    body: JSON = None
    headers: Mapping[str, str] = field(default_factory=dict)
    wait_s: float = 0
    repeatable: bool = True
    after_s: float = 0

    @property
    def params(self) -> dict[str, str]:
        """The query as it is sent."""
        return {name: _text(value) for name, value in self.query.items() if value is not None}

    @property
    def content(self) -> bytes | None:
        """The body as it is sent.

        Raises:
            ValueError, TypeError: it cannot be JSON.
        """
        return None if self.body is None else encode(self.body)


@dataclass(frozen=True)
class Reply:
    """What was answered.

    Attributes:
        body: its JSON; None if it has none.
        sent_at, at: when it was asked and answered, in seconds on a steady clock.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: JSON
    sent_at: float
    at: float


@dataclass(frozen=True)
class Lost:
    """Nothing was answered.

    Attributes:
        arrived: whether the request may have arrived.
    """

    url: str
    reason: str
    arrived: bool
    at: float


Steps = Generator[Call, Reply | Lost, T]


def encode(body: JSON) -> bytes:
    """JSON as UTF-8; what cannot be UTF-8 is escaped, so that the server says where it stands.

    Raises:
        ValueError, TypeError: it cannot be JSON.
    """
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(body, allow_nan=False).encode()


def decode(content: bytes) -> JSON:
    """The JSON of an answer; None if it is not JSON."""
    try:
        return json.loads(content) if content else None
    except ValueError:
        return None


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Retry-After in seconds: a number, or a date, which is compared with the answer's own `Date`."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        later = parsedate_to_datetime(text) - parsedate_to_datetime(headers.get("date", ""))
    except (TypeError, ValueError):
        return None
    return max(0.0, later.total_seconds())


def checked(call: Call, reply: Reply) -> Reply:
    """The answer, if it is a success of Millstream's.

    Raises:
        PredictionFailed: it says that a prediction has ended otherwise.
        Refused: it is an error.
        Unreachable: it is no answer of Millstream's.
    """
    if reply.status < 300:
        if reply.body is None and reply.status != HTTPStatus.NO_CONTENT:
            kind = reply.headers.get("content-type", "nothing")
            raise Unreachable(reply.url, f"answers, but not as Millstream does ({kind}): is this its address?")
        return reply
    problem = reply.body if isinstance(reply.body, dict) else {}
    if "prediction_id" in problem:
        raise _failed(problem)
    raise _refused(call, reply, problem)


def _failed(problem: Mapping[str, Any]) -> PredictionFailed:
    status = "expired" if problem.get("status") == 504 else "failed"
    detail = str(problem.get("detail", ""))
    return PredictionFailed(str(problem["prediction_id"]), status, detail, _errors_of(problem))


def _refused(call: Call, reply: Reply, problem: Mapping[str, Any]) -> Refused:
    error = refusal_of(reply.status)
    title = str(problem.get("title") or _in_words(reply.status))
    kind = str(problem.get("type", "")).rpartition(":")[2]
    detail = str(problem.get("detail") or _without_words(reply))
    if error is NotAllowed and reply.status == 401:
        detail = f"{detail}; {TOKEN_NEEDED}"
    errors, later = _errors_of(problem), retry_after_s(reply.headers)
    return error(call.method, reply.url, reply.status, kind, title, detail, errors, later)


def _errors_of(problem: Mapping[str, Any]) -> list[FieldError]:
    return [FieldError(tuple(each["loc"]), str(each["msg"])) for each in problem.get("errors") or ()]


def _without_words(reply: Reply) -> str:
    """What to say of an error that is not Millstream's own, as one of a proxy before it."""
    if location := reply.headers.get("location"):
        return f"it leads to {location}: use that address"
    return "no reason is given; is this a Millstream, or what stands before it?"


def _in_words(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _text(value: str | float | None) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
