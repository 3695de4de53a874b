"""The Python client of Millstream, synchronous and asynchronous. Needs httpx2 alone.

from millstream_client import Job, Millstream

with Millstream() as client:
    print(client.predict("sentiment-analysis", "This is great!").result)
"""

from millstream_client.aio import AsyncJob, AsyncMillstream
from millstream_client.client import Job, Millstream
from millstream_client.connection import VERSION as __version__
from millstream_client.errors import (
    Conflict,
    FieldError,
    InvalidRequest,
    LimitReached,
    MillstreamError,
    NotAllowed,
    NotFinished,
    NotFound,
    PredictionFailed,
    Refused,
    ServerFault,
    Unavailable,
    Unreachable,
)
from millstream_client.results import DeadLetter, Event, Model, Prediction, Queue, Unfinished, Version

__all__ = [
    "AsyncJob",
    "AsyncMillstream",
    "Conflict",
    "DeadLetter",
    "Event",
    "FieldError",
    "InvalidRequest",
    "Job",
    "LimitReached",
    "Millstream",
    "MillstreamError",
    "Model",
    "NotAllowed",
    "NotFinished",
    "NotFound",
    "Prediction",
    "PredictionFailed",
    "Queue",
    "Refused",
    "ServerFault",
    "Unavailable",
    "Unfinished",
    "Unreachable",
    "Version",
    "__version__",
]
