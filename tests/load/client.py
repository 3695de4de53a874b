"""A closed-loop HTTP client, cheap enough to share two cores with what it measures: one process, raw sockets.

Closed loop: each connection sends its next request when the last is answered. That gives the peak rate; it hides
stalls, since a stalled server is sent nothing meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import cast

import uvloop


class Connection(asyncio.Protocol):
    """One connection that repeats one request until told to stop."""

    def __init__(self, request: bytes, until: float, latencies: list[float], statuses: Counter[bytes]) -> None:
        self._request = request
        self._until = until
        self._latencies = latencies
        self._statuses = statuses
        self._buffer = b""
        self._sent = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is not registered as one
        self._send()

    def data_received(self, data: bytes) -> None:
        """Collect an answer; when it is whole, send the next request."""
        answer = self._buffer + data if self._buffer else data
        if not self._is_whole(answer):
            self._buffer = answer
            return
        now = time.perf_counter()
        self._latencies.append(now - self._sent)
        self._statuses[answer[9:12]] += 1
        self._buffer = b""
        if now < self._until:
            self._send()
        else:
            self._transport.close()
            self._finish()

    def _is_whole(self, answer: bytes) -> bool:
        """Whether an answer has come in full."""
        head = answer.find(b"\r\n\r\n") + 4
        if head < 4:
            return False
        field = answer.find(b"Content-Length: ") + 16
        return len(answer) - head >= int(answer[field : answer.find(b"\r\n", field)])

    def connection_lost(self, error: Exception | None) -> None:
        """A connection that the server closes early is an error of its own."""
        if not self.done.done():
            self._statuses[b"lost"] += 1
        self._finish()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def load(
    port: int, path: str, body: bytes, connections: int, seconds: float, headers: Sequence[str] = ()
) -> dict[str, object]:
    """Send requests for some seconds; the answer has the rate, latency percentiles in ms, and answers by status."""
    fields = ["Host: x", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    head = "\r\n".join([f"POST {path} HTTP/1.1", *fields, "", ""])
    latencies: list[float] = []
    statuses: Counter[bytes] = Counter()
    started = time.perf_counter()
    loop = asyncio.get_running_loop()
    all_connections = []
    for _ in range(connections):
        _, connection = await loop.create_connection(
            lambda: Connection(head.encode() + body, started + seconds, latencies, statuses), "127.0.0.1", port
        )
        all_connections.append(connection)
    await asyncio.gather(*(connection.done for connection in all_connections))
    took = time.perf_counter() - started
    latencies.sort()
    percentiles = {f"p{p}_ms": round(latencies[int(len(latencies) * p / 100)] * 1000, 3) for p in (50, 99)}
    return {
        "rate": round(len(latencies) / took, 1),
        **percentiles,
        "statuses": {status.decode(): count for status, count in statuses.items()},
    }


def main() -> None:
    """Run as a process of its own; prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("body")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--header", action="append", default=[], help="one more, as NAME: VALUE")
    a = parser.parse_args()
    json.dump(uvloop.run(load(a.port, a.path, a.body.encode(), a.connections, a.seconds, a.header)), sys.stdout)


if __name__ == "__main__":
    main()
