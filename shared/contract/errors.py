"""The errors of the pipeline.

MillstreamError
├── ConfigurationError    a setting or the catalogue is wrong: correct it and restart
├── RetryableError        the same call may succeed later
│   └── StoreUnavailable  Redis or Postgres cannot be reached, or cannot do now what it is asked for
└── PermanentError        the same call will fail again; carries a short reason code
    └── MalformedMessage  a stream entry that cannot be decoded
"""

from __future__ import annotations


class MillstreamError(Exception):
    """Base of every error that Millstream raises on purpose."""


class ConfigurationError(MillstreamError):
    """A setting or the model catalogue is wrong; the message says which, and what to do."""


class RetryableError(MillstreamError):
    """The same call may succeed later."""


class StoreUnavailable(RetryableError):
    """Redis or Postgres cannot be reached, or cannot do now what it is asked for.

    Attributes:
        store: `redis` or `postgres`.
        detail: a sentence for people; may be empty.
        reason: a short code, also used in metric labels, such as `read_only`; `connection` if it cannot be reached.
    """

    def __init__(self, store: str, detail: str = "", reason: str = "unavailable") -> None:
        how = "reached" if reason in ("unavailable", "connection") else "used"
        super().__init__(f"{store} cannot be {how}" + (f": {detail}" if detail else ""))
        self.store = store
        self.detail = detail
        self.reason = reason


class PermanentError(MillstreamError):
    """The same call will fail again.

    Attributes:
        reason: a short code, also used as a metric label.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class MalformedMessage(PermanentError):
    """A stream entry that this version cannot decode; it belongs in the dead-letter stream."""


def is_closed_transport(error: RuntimeError) -> bool:
    """Whether a driver wrote to a connection that had just been cut: uvloop then raises a bare RuntimeError."""
    return "the handler is closed" in str(error)
