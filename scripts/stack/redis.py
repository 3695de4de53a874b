"""A Redis of our own: loopback only, append-only file on, never evicting."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from scripts.stack.binaries import redis_server
from scripts.stack.ports import LOOPBACK, free_port
from scripts.stack.server import DataServer

AppendFsync = Literal["always", "everysec", "no"]
ANSWER_TIMEOUT_S = 1.0


class RedisServer(DataServer):
    """A Redis or Valkey over one folder."""

    name = "redis"
    stop_signal = signal.SIGTERM

    def __init__(
        self,
        directory: Path,
        port: int,
        *,
        appendfsync: AppendFsync = "always",
        maxmemory: str = "512mb",
        settings: Mapping[str, str] | None = None,
        program: Path | None = None,
    ) -> None:
        super().__init__(directory.absolute(), port)
        self._options = {
            "bind": LOOPBACK,
            "port": str(port),
            "dir": str(self.directory),
            "appendonly": "yes",
            "appendfsync": appendfsync,
            "save": "",  # the append-only file holds everything
            "maxmemory": maxmemory,
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "set-proc-title": "no",  # a title overwrites the environment, by which strays.py knows it
            **(settings or {}),
        }
        self._program = program or redis_server()

    @property
    def url(self) -> str:
        return redis_url(self.port)

    def prepare(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)  # its file holds the texts that clients send

    def command(self) -> list[str]:
        flags = [part for name, value in self._options.items() for part in (f"--{name}", value)]
        return [str(self._program), *flags]

    def is_ready(self, pid: int) -> bool:
        """It answers PING with PONG; while it loads its file it answers with an error."""
        return ping(self.port)


def redis_url(port: int, host: str = LOOPBACK) -> str:
    """Where a local Redis is."""
    return f"redis://{host}:{port}/0"


def ping(port: int, host: str = LOOPBACK) -> bool:
    """Whether a Redis without a password answers on the port."""
    try:
        with socket.create_connection((host, port), timeout=ANSWER_TIMEOUT_S) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


@contextlib.contextmanager
def running_redis(
    directory: Path,
    *,
    port: int | None = None,
    appendfsync: AppendFsync = "everysec",
    maxmemory: str = "512mb",
    settings: Mapping[str, str] | None = None,
    program: Path | None = None,
) -> Iterator[RedisServer]:
    """A started Redis for the length of the block, on a free port unless one is given; its folder is kept."""
    server = RedisServer(
        directory,
        port or free_port(),
        appendfsync=appendfsync,
        maxmemory=maxmemory,
        settings=settings,
        program=program,
    )
    try:
        server.start()
        yield server
    finally:
        server.stop()
