"""HTTP as bytes on a socket."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.processes import Service

JSON = b"Content-Type: application/json\r\n"


@contextmanager
def connected(gateway: Service, timeout_s: float = 30) -> Iterator[socket.socket]:
    """A connection."""
    port = int(gateway.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as made:
        yield made


def get(path: str, *headers: bytes) -> bytes:
    """A GET."""
    return b"\r\n".join([b"GET %s HTTP/1.1" % path.encode(), b"Host: x", *headers, b"", b""])


def post(path: str, body: bytes, *headers: bytes) -> bytes:
    """A POST of JSON."""
    lines = [b"POST %s HTTP/1.1" % path.encode(), b"Host: x", b"Content-Type: application/json"]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), *headers, b"", body])


def until_closed(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while some := connection.recv(65_536):
            received += some
    return received


def answered(gateway: Service, sent: bytes, *, ends: bool = False) -> bytes:
    """What comes back for these bytes until the connection is closed.

    Args:
        ends: shut down the writing side after them.
    """
    with connected(gateway) as connection:
        connection.sendall(sent)
        if ends:
            connection.shutdown(socket.SHUT_WR)
        return until_closed(connection)


def goes_on_sending(connection: socket.socket, chunk: bytes, most_bytes: int, most_s: float) -> int:
    """Send until the other side closes; returns how many bytes it took."""
    sent, end = 0, time.monotonic() + most_s
    connection.settimeout(most_s)
    try:
        while sent < most_bytes and time.monotonic() < end:
            sent += connection.send(chunk)
    except OSError:
        pass
    return sent
