"""Calls as httpx2 makes them, and its answers and errors as ours: what both clients share."""

from __future__ import annotations

import ssl
from typing import Any

import httpx2

from millstream_client.calls import ANSWER_WITHIN_S, Call, Lost, Reply, decode
from millstream_client.connection import Connection
from millstream_client.errors import MillstreamError

CONNECT_WITHIN_S = 10.0
MOST_CONNECTIONS = 100
MOST_EVENT_BYTES = 64_000_000  # a result in one event
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)


def settings(connection: Connection) -> dict[str, Any]:
    """How a client of httpx2 is made: redirects are not followed, so that no token goes elsewhere."""
    limits = httpx2.Limits(max_connections=MOST_CONNECTIONS, max_keepalive_connections=MOST_CONNECTIONS)
    return {"base_url": connection.url, "follow_redirects": False, "limits": limits}


def request(connection: Connection, call: Call) -> dict[str, Any]:
    """A call as arguments of httpx2's `request` or `stream`."""
    timeout = httpx2.Timeout(ANSWER_WITHIN_S + call.wait_s, connect=CONNECT_WITHIN_S, pool=None)
    return {
        "method": call.method,
        "url": connection.url + call.path,
        "params": call.params,
        "content": call.content,
        "headers": connection.headers(call),
        "timeout": timeout,
    }


def reply(response: httpx2.Response, sent_at: float, at: float) -> Reply:
    """An answer that was read."""
    return Reply(
        _without_query(response.url), response.status_code, response.headers, decode(response.content), sent_at, at
    )


def lost(connection: Connection, call: Call, error: httpx2.RequestError, at: float) -> Lost:
    """An answer that did not come."""
    return Lost(connection.url + call.path, reason_of(error), not isinstance(error, _NOT_SENT), at)


def ended(response: httpx2.Response, at: float) -> Lost:
    """A stream that ended without its last event."""
    return Lost(_without_query(response.url), "the stream of events ended", True, at)


def reason_of(error: httpx2.RequestError) -> str:
    """Why there is no answer, in words."""
    if isinstance(error, httpx2.ConnectTimeout):
        return f"no connection within {CONNECT_WITHIN_S:g} s; is this its address?"
    if isinstance(error, httpx2.TimeoutException):
        return "no answer in time"
    if isinstance(error, httpx2.ConnectError):
        return f"cannot be reached ({_first_cause(error)}); does it run, and is this its address?"
    return f"the connection was lost ({error or type(error).__name__})"


def _first_cause(error: BaseException) -> str:
    """What the system says: a refused connection, an unknown name, a certificate."""
    cause: BaseException = error
    while (deeper := cause.__cause__ or cause.__context__) is not None:
        cause = deeper
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(error)


def cause(error: Exception) -> MillstreamError:
    """The error of ours that another stands for."""
    assert isinstance(error.__cause__, MillstreamError)
    return error.__cause__


def _without_query(url: httpx2.URL) -> str:
    return str(url.copy_with(query=None))
