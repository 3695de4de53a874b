"""What the server tells, as dataclasses. Each is made from JSON by `of`, which ignores what it does not know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Self

UNFINISHED = ("queued", "running")
REFUSED = "refused"


@dataclass(frozen=True)
class _Told:
    """What was told, as fields and whole."""

    raw: Mapping[str, Any] = field(repr=False, compare=False, kw_only=True, default_factory=dict)

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Self:
        """Made from JSON."""
        known = {each.name for each in fields(cls)} - {"raw"}
        told = {name: value for name, value in body.items() if name in known}
        return cls(**cls._read(told), raw=body)

    @classmethod
    def _read(cls, told: dict[str, Any]) -> dict[str, Any]:
        """Fields as they are kept, from fields as they are told."""
        return told


@dataclass(frozen=True)
class Prediction(_Told):
    """A finished prediction.

    Attributes:
        prediction_id: its id; empty if it was refused.
        status: `succeeded`, `failed`, `expired`, `cancelled`; of `predict_many` also `refused`: the input is not one
            that the model takes, and nothing was stored.
        result: output of the model; None unless it succeeded.
        confidence: 0 to 1; None if the task has no score.
        processing_time_ms: how long the batch with this prediction took to compute.
        created_at: when it was accepted.
        error: what went wrong.
        input, options: what is kept of the input, when it is read.
    """

    prediction_id: str
    model: str
    version: str
    status: str
    result: Mapping[str, Any] | None = None
    confidence: float | None = None
    processing_time_ms: int = 0
    created_at: datetime | None = None
    error: str | None = None
    priority: str = "interactive"
    cached: bool = False
    input: Any = None
    options: Mapping[str, Any] | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        """Whether there is a result."""
        return self.status == "succeeded"

    @classmethod
    def _read(cls, told: dict[str, Any]) -> dict[str, Any]:
        return {**told, "created_at": _time(told.get("created_at")), "tags": told.get("tags") or {}}


@dataclass(frozen=True)
class Queue:
    """The queue that a prediction waits in.

    Attributes:
        depth: how many wait or run.
        drains_per_s: how many finish in a second, as measured.
        eta_s: seconds until all that is in it now will have left at that rate; None if that is not known.
    """

    depth: int = 0
    drains_per_s: float | None = None
    eta_s: float | None = None


@dataclass(frozen=True)
class Unfinished(_Told):
    """A prediction that is not finished.

    Attributes:
        status: `queued` or `running`.
        queued_for_s: seconds since it was accepted.
        progress: 0 to 1, of a task that tells it.
        note: why it will not finish soon.
    """

    prediction_id: str
    status: str = "queued"
    model: str = ""
    version: str = ""
    queued_for_s: float | None = None
    queue: Queue = Queue()
    progress: float | None = None
    note: str | None = None

    @classmethod
    def _read(cls, told: dict[str, Any]) -> dict[str, Any]:
        queue = told.get("queue") or {}
        known = {each.name for each in fields(Queue)}
        return {**told, "queue": Queue(**{name: value for name, value in queue.items() if name in known})}


def state_of(body: Mapping[str, Any]) -> Prediction | Unfinished:
    """A prediction, finished or not."""
    return Unfinished.of(body) if body["status"] in UNFINISHED else Prediction.of(body)


def refused_input(model: str, version: str, error: str) -> Prediction:
    """What stands for an input of many that was refused."""
    body = {"prediction_id": "", "model": model, "version": version, "status": REFUSED, "error": error}
    return Prediction.of(body)


@dataclass(frozen=True)
class Version(_Told):
    """One version of a model.

    Attributes:
        workers: live workers that serve it; if 0, requests wait until there is one.
        limits: how much an input may be.
        load_error: why a worker cannot load it.
        schemas: JSON Schemas of what it takes and gives, when one model is read.
    """

    version: str
    is_default: bool = False
    is_active: bool = True
    workers: int = 0
    limits: Mapping[str, Any] = field(default_factory=dict)
    load_error: str | None = None
    schemas: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Model(_Told):
    """A model and its versions."""

    name: str
    task: str
    description: str = ""
    group: str | None = None
    versions: Sequence[Version] = ()

    @property
    def default(self) -> str | None:
        """The version that is taken if none is named; None if there is none."""
        return next((each.version for each in self.versions if each.is_default), None)

    @classmethod
    def _read(cls, told: dict[str, Any]) -> dict[str, Any]:
        return {**told, "versions": tuple(Version.of(each) for each in told.get("versions", ()))}


@dataclass(frozen=True)
class DeadLetter(_Told):
    """A request or result that was given up.

    Attributes:
        reason: a short code.
        deliveries: how often it was tried.
        replayable: whether it can be tried again.
    """

    dead_letter_id: str
    source: str
    reason: str
    error: str
    deliveries: int = 0
    dead_at: datetime | None = None
    prediction_id: str | None = None
    model: str | None = None
    version: str | None = None
    attempt: int | None = None
    replayable: bool = False

    @classmethod
    def _read(cls, told: dict[str, Any]) -> dict[str, Any]:
        return {**told, "dead_at": _time(told.get("dead_at"))}


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        kind: of a prediction `state`, `progress`, `token` or `result`; of the server `queues`, `workers`,
            `predictions`.
        data: its JSON.
        id: by which a stream goes on after it was cut off; empty if there is none.
    """

    kind: str
    data: Mapping[str, Any]
    id: str = ""

    @property
    def prediction(self) -> Prediction | None:
        """Of a `result`: the finished prediction."""
        return Prediction.of(self.data) if self.kind == "result" else None


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
