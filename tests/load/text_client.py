"""A client of model servers, in a process of its own. It sends texts, each another one.

Closed loop: so many clients each send their next text when the last is answered. Open loop: texts are sent at random
intervals (Poisson), so many a second, and a latency counts from when its text should have been sent. Raw sockets, so
that the client takes little of the cores that it shares with what it measures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import uvloop

from tests.processes import REPOSITORY

WORDS = (
    "the a movie film was really great terrible plot acting of and but story with scenes I loved hated it service "
    "food slow wonderful boring"
).split()
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Seen(NamedTuple):
    """What the client saw: seconds until the last answer, and how long each took, sorted."""

    seconds: float
    latencies: list[float]


def texts(seed: int) -> Iterator[str]:
    """Texts of 3 to 62 words, 22 in the median."""
    chance = random.Random(seed)
    while True:
        yield " ".join(chance.choices(WORDS, k=max(3, min(62, int(chance.lognormvariate(3.09, 0.8))))))


class Connection(asyncio.Protocol):
    """One connection, which sends one request at a time.

    Attributes:
        answered: called with each answer's status, once it is whole; b"lost" if the server hangs up before.
    """

    answered: Callable[[bytes], None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Nothing is sent yet."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is not registered as one
        self._buffer, self._waits = b"", False

    def send(self, request: bytes) -> None:
        """Send a request; `answered` is called later."""
        self._waits = True
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Collect an answer."""
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        length = _LENGTH.search(self._buffer, 0, head + 2) if head >= 0 else None
        if length is not None and len(self._buffer) >= head + 4 + int(length[1]):
            status, self._buffer, self._waits = self._buffer[9:12], b"", False
            self.answered(status)

    def connection_lost(self, error: Exception | None) -> None:
        """A connection that the server closes early is an error of its own."""
        if self._waits:
            self._waits = False
            self.answered(b"lost")


class Client:
    """Sends texts to one server.

    Attributes:
        latencies: how long each took, in seconds.
        statuses: of the answers.
    """

    def __init__(self, port: int, path: str, template: str, seed: int) -> None:
        self._port, self._path, self._template, self._texts = port, path, template, texts(seed)
        self.latencies: list[float] = []
        self.statuses: Counter[bytes] = Counter()

    async def closed(self, clients: int, seconds: float) -> None:
        """So many clients, for some seconds."""
        until = time.perf_counter() + seconds

        async def one() -> None:
            connection = await self._connected()
            while (now := time.perf_counter()) < until:
                await self._ask(connection, now)

        await asyncio.gather(*(one() for _ in range(clients)))

    async def open(self, rate: float, seconds: float, chance: random.Random) -> None:
        """So many texts a second, for some seconds; on a further connection if all others wait."""
        idle: list[Connection] = []
        asked: list[asyncio.Task[None]] = []

        async def one(since: float) -> None:
            connection = idle.pop() if idle else await self._connected()
            await self._ask(connection, since)
            idle.append(connection)

        at = time.perf_counter()
        until = at + seconds
        while (at := at + chance.expovariate(rate)) < until:
            await asyncio.sleep(max(0.0, at - time.perf_counter()))
            asked.append(asyncio.create_task(one(at)))
        await asyncio.gather(*asked)

    async def _connected(self) -> Connection:
        return (await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", self._port))[1]

    def _ask(self, connection: Connection, since: float) -> asyncio.Future[None]:
        done = asyncio.get_running_loop().create_future()

        def answered(status: bytes) -> None:
            self.latencies.append(time.perf_counter() - since)
            self.statuses[status] += 1
            done.set_result(None)

        connection.answered = answered
        connection.send(self._request())
        return done

    def _request(self) -> bytes:
        body = self._template.replace("TEXT", next(self._texts)).encode()
        head = f"POST {self._path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def measure(
    port: int, path: str, body: dict[str, Any], *, clients: int = 0, rate: float = 0, seconds: float, seed: int
) -> Seen:
    """Run the client in a process of its own, as a closed loop of so many clients or as an open one of a rate.

    Args:
        body: of a request; the value "TEXT" in it is replaced.

    Raises:
        SystemExit: an answer was no 200.
    """
    command = [sys.executable, "-m", "tests.load.text_client", str(port), path, json.dumps(body)]
    command += [f"--clients={clients}", f"--rate={rate}", f"--seconds={seconds}", f"--seed={seed}"]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True)
    seen = json.loads(done.stdout)
    if set(seen["statuses"]) != {"200"}:
        raise SystemExit(f"answers of {path} by status: {seen['statuses']}")
    return Seen(seen["seconds"], seen["latencies"])


async def _run(client: Client, clients: int, rate: float, seconds: float, seed: int) -> float:
    started = time.perf_counter()
    if clients:
        await client.closed(clients, seconds)
    else:
        await client.open(rate, seconds, random.Random(seed))
    return time.perf_counter() - started


def main() -> None:
    """Be a client; prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("body")
    parser.add_argument("--clients", type=int, default=0)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=7)
    a = parser.parse_args()
    client = Client(a.port, a.path, a.body, a.seed)
    took = uvloop.run(_run(client, a.clients, a.rate, a.seconds, a.seed))
    statuses = {status.decode(): count for status, count in client.statuses.items()}
    json.dump({"seconds": took, "latencies": sorted(client.latencies), "statuses": statuses}, sys.stdout)


if __name__ == "__main__":
    main()
