"""A Redis of our own: loopback only, append-only file on, never evicting, with a user for each service."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from scripts.stack.binaries import redis_server
from scripts.stack.ports import LOOPBACK, free_port
from scripts.stack.server import DataServer

AppendFsync = Literal["always", "everysec", "no"]
ANSWER_TIMEOUT_S = 1.0


class RedisServer(DataServer):
    """A Redis or Valkey over one folder.

    Args:
        password: of the operator; it must be that in `users`.
        users: the content of its file of users; without it everybody may do everything.
    """

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
        password: str = "",
        users: str = "",
    ) -> None:
        super().__init__(directory.absolute(), port)
        self._password = password
        self._users = users
        self._options = {
            "bind": LOOPBACK,
            "port": str(port),
            "dir": str(self.directory),
            "appendonly": "yes",
            "appendfsync": appendfsync,
            "aof-use-rdb-preamble": "no",  # which would keep the bytes of deleted entries (docs/PRIVACY.md)
            "save": "",  # the append-only file holds everything
            "maxmemory": maxmemory,
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "set-proc-title": "no",  # a title overwrites the environment, by which strays.py knows it
            **({"aclfile": str(self._users_file)} if users else {}),
            **(settings or {}),
        }
        self._program = program or redis_server()

    @property
    def url(self) -> str:
        return redis_url(self.port, self._password)

    @property
    def _users_file(self) -> Path:
        return self.directory / "users.acl"

    def prepare(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)  # its file holds the texts that clients send
        if self._users:
            self._users_file.unlink(missing_ok=True)
            descriptor = os.open(self._users_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(self._users)

    def command(self) -> list[str]:
        flags = [part for name, value in self._options.items() for part in (f"--{name}", value)]
        return [str(self._program), *flags]

    def is_ready(self, pid: int) -> bool:
        """It answers PING with PONG; while it loads its file it answers with an error."""
        return _answer(self.port, self._password).startswith(b"+PONG")


def redis_url(port: int, password: str = "", user: str = "", host: str = LOOPBACK) -> str:
    """Where a local Redis is, for the operator or another user."""
    login = f"{user}:{quote(password, safe='')}@" if password else ""
    return f"redis://{login}{host}:{port}/0"


def ping(port: int, host: str = LOOPBACK) -> bool:
    """Whether a Redis answers on the port: it may want a password first."""
    return _answer(port, host=host).startswith((b"+PONG", b"-NOAUTH"))


def _answer(port: int, password: str = "", host: str = LOOPBACK) -> bytes:
    """The answer to PING, after the operator's login if there is a password; empty if there is none in time."""
    login = b"*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n" % (len(password.encode()), password.encode()) if password else b""
    try:
        with socket.create_connection((host, port), timeout=ANSWER_TIMEOUT_S) as connection:
            connection.sendall(login + b"PING\r\n")
            with connection.makefile("rb") as answers:
                if login and answers.readline() != b"+OK\r\n":
                    return b""
                return answers.readline()
    except OSError:
        return b""


@contextlib.contextmanager
def running_redis(
    directory: Path,
    *,
    port: int | None = None,
    appendfsync: AppendFsync = "everysec",
    maxmemory: str = "512mb",
    settings: Mapping[str, str] | None = None,
    program: Path | None = None,
    users: str = "",
) -> Iterator[RedisServer]:
    """A started Redis for the length of the block, on a free port unless one is given; its folder is kept."""
    server = RedisServer(
        directory,
        port or free_port(),
        appendfsync=appendfsync,
        maxmemory=maxmemory,
        settings=settings,
        program=program,
        users=users,
    )
    try:
        server.start()
        yield server
    finally:
        server.stop()
