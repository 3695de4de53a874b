"""What is to be known of a stream of events (SSE) that may be cut off: where it goes on, and when it is given up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from millstream_client.calls import Call, Lost, Reply, checked, decode, retry_after_s
from millstream_client.errors import NotFound, Unreachable
from millstream_client.operations import prediction_path
from millstream_client.results import Event, Unfinished
from millstream_client.retrying import Patience, worth_repeating

SILENCE_S = 45.0  # the server sends something every 15 s
POLL_S = 2.0  # how long to wait for a change, from a server that has no events


class NoEvents(Exception):
    """The server has no such stream: it is older than events."""


class EventStream:
    """One stream, over all its connections.

    Args:
        path: of the stream.
        ends_with: the kind of event after which it ends; empty: it does not.
    """

    def __init__(self, path: str, patience: Patience, ends_with: str = "") -> None:
        self._path = path
        self._patience = patience
        self._ends_with = ends_with
        self._last_id = ""
        self._tries = 0
        self._first_at: float | None = None  # when it was lost first since its last event
        self.ended = False

    @classmethod
    def of(cls, prediction_id: str | None, patience: Patience) -> EventStream:
        """The events of a prediction; without an id those of the server."""
        if prediction_id is None:
            return cls("/api/v1/events", patience)
        return cls(f"{prediction_path(prediction_id)}/events", patience, "result")

    @property
    def call(self) -> Call:
        """How it is opened, or goes on."""
        last = {"Last-Event-ID": self._last_id} if self._last_id else {}
        return Call("GET", self._path, headers={"Accept": "text/event-stream", **last}, wait_s=SILENCE_S)

    def take(self, kind: str, data: str, event_id: str | None) -> Event | None:
        """An event that came; None if it is none of the server's."""
        self._tries, self._first_at = 0, None
        self._last_id = event_id or self._last_id
        body = decode(data.encode())
        if not isinstance(body, Mapping):
            return None
        self.ended = kind == self._ends_with
        return Event(kind, body, event_id or "")

    def cut_off(self, outcome: Reply | Lost) -> float:
        """How long to pause before it is opened again, after it was refused or lost, in seconds.

        Raises:
            NoEvents: there is no such stream.
            Refused: it was refused.
            Unreachable: it was lost for as long as patience lasts.
        """
        if not worth_repeating(self.call, outcome):
            _raise(self.call, outcome)
        asked = retry_after_s(outcome.headers) if isinstance(outcome, Reply) else None
        pause = self._patience.pause_s(self._tries, asked)
        self._tries += 1
        self._first_at = outcome.at if self._first_at is None else self._first_at
        if outcome.at + pause - self._first_at > self._patience.seconds:
            _raise(self.call, outcome)
        return pause


def _raise(call: Call, outcome: Reply | Lost) -> None:
    if isinstance(outcome, Lost):
        raise Unreachable(outcome.url, outcome.reason)
    try:
        checked(call, outcome)
    except NotFound as error:
        if not error.kind.startswith("unknown-"):
            raise NoEvents from error
        raise
    raise Unreachable(outcome.url, "answers, but not with events")


def noticed(state: Unfinished) -> tuple[Any, ...]:
    """What of a state makes it another one to whoever watches."""
    return state.status, state.progress, state.queue.depth
